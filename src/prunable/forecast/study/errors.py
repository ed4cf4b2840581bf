"""How far forecasts of stored logits are from the accuracy on other inputs: one run a network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from prunable.errors import InputError, require
from prunable.forecast.advice import decide
from prunable.forecast.estimators import (
    DEFAULT,
    ESTIMATORS,
    CurveForecast,
    PointForecast,
    forecast_curve,
)
from prunable.forecast.forecasting import Curve, points_of
from prunable.forecast.study.logits import LogitsSpec, logits_of
from prunable.forecast.ways import way_named
from prunable.numerics.randomness import rng
from prunable.runs.spec import Spec
from prunable.runs.store import Run

LOSS = 0.01  # that advice is to hold
WITH_LABELS, LABELS, DIFFERENCE = "with all labels", "labels alone", "labels, as a difference"
FEW_LABELS, FEW = "with 50 labels", 50
Array = NDArray[Any]


class ErrorsSpec(Spec):
    """Forecasts from drawn inputs of one network's logits, against the accuracy on others."""

    stage: ClassVar[str] = "prunable.forecast.study.errors:errors_stage"

    # the dense network's, those with statistics estimated again, then one a way
    logits: tuple[LogitsSpec, ...]
    n_first: int = Field(ge=1)  # inputs are drawn from the first so many; accuracy is of the others
    sizes: tuple[int, ...]
    draws: int = Field(ge=1)
    revision: int = 3  # of the estimators: rises with their numbers
    seed: int = 0

    def estimated_seconds(self) -> float:
        """Rough time on one core."""
        return 1.5 * self.draws * len(self.logits)


@dataclass(frozen=True, eq=False)
class _Known:
    """The logits of one way's copies, and what is true of them on the other inputs."""

    way: str
    keeps: tuple[float, ...]
    parameters: tuple[float, ...]
    logits: Array  # (keeps, inputs, classes)
    truth: Array  # (keeps,)


def errors_stage(spec: ErrorsSpec, run: Run) -> dict[str, Any]:
    """Forecast by every estimator from drawn inputs; compare with the accuracy on the others.

    What is known beforehand is the dense network's accuracy on those others.
    """
    dense, labels = logits_of(spec.logits[0], run)
    first = np.arange(spec.logits[0].n_inputs, spec.n_first)
    most = max(spec.sizes)
    require(most <= len(first), "sizes", "ErrorsSpec", f"at most {len(first)}", most)
    rest = slice(spec.n_first, None)
    whole = dense[0].astype(np.float64)
    accuracy = float((whole[rest].argmax(1) == labels[rest]).mean())
    again = logits_of(spec.logits[1], run)[0][0].astype(np.float64)
    ways = []
    for one in spec.logits[2:]:
        found, _ = logits_of(one, run)
        truth = (found[:, rest].argmax(2) == labels[rest]).mean(1)
        left = tuple(run.result(one)["parameters"])
        ways.append(_Known(one.way, one.keeps, left, found, truth))
    cases: dict[tuple[str, int, str, float], list[_Case]] = defaultdict(list)
    plans: list[dict[str, Any]] = []
    for size in spec.sizes:
        for draw in range(spec.draws):
            chosen = rng(spec.seed, "forecast", size, draw).choice(first, size, replace=False)
            known: dict[str, Any] = {
                "accuracy": accuracy,
                "outcome_inputs": len(labels) - spec.n_first,
                "same_inputs": True,
            }
            curves = []
            for way in ways:
                parts = [x[chosen].astype(np.float64) for x in way.logits]
                new = way_named(way.way).needs_inputs and (again != whole).any()
                known["renewed"] = again[chosen] if new else None
                for name, curve in _forecasts(whole[chosen], parts, labels[chosen], way, known):
                    for point, truth in zip(curve.points, way.truth, strict=True):
                        cases[name, size, way.way, point.kappa].append(_case(point, float(truth)))
                    if name == DEFAULT:
                        curves.append(_curve(way, curve))
                for name, values in _by_labels(whole[chosen], parts, labels[chosen], accuracy):
                    for kappa, value, truth in zip(way.keeps, values, way.truth, strict=True):
                        cases[name, size, way.way, kappa].append(_Case(value - float(truth)))
            plans.append({"size": size, "draw": draw, **_advised(curves, size, ways, accuracy)})
            run.on_step(len(plans))
    truths = {(w.way, k): float(t) for w in ways for k, t in zip(w.keeps, w.truth, strict=True)}
    rows = [_row(key, found, accuracy - truths[key[2:]]) for key, found in cases.items()]
    fitted = [_in_sample(whole, spec, way) for way in ways if way_named(way.way).refits]
    return {"metrics": {}, "accuracy": accuracy, "rows": rows, "plans": plans, "fitted": fitted}


@dataclass(frozen=True)
class _Case:
    """One forecast beside the truth."""

    error: float
    covered: bool | None = None
    width: float | None = None


def _case(point: PointForecast, truth: float) -> _Case:
    assert point.value is not None
    assert point.low is not None
    assert point.high is not None
    return _Case(point.value - truth, point.low <= truth <= point.high, point.high - point.low)


def _row(key: tuple[str, int, str, float], cases: Sequence[_Case], loss: float) -> dict[str, Any]:
    """What all draws of one point come to."""
    errors = np.array([case.error for case in cases])
    found: dict[str, Any] = dict(zip(("estimator", "size", "way", "kappa"), key, strict=True))
    found |= {"loss": loss, "mae": float(np.abs(errors).mean()), "bias": float(errors.mean())}
    known = all(case.covered is not None for case in cases)
    for name in ("covered", "width"):
        values = [getattr(case, name) for case in cases]
        found[name] = float(np.mean(values)) if known else None
    return found


def _forecasts(
    dense: Array, parts: Sequence[Array], labels: Array, way: _Known, known: dict[str, Any]
) -> Iterator[tuple[str, CurveForecast]]:
    for name in ESTIMATORS:
        try:
            yield name, forecast_curve(dense, parts, way.keeps, estimator=name, **known)
        except InputError:  # temperatures of classes need more inputs of each
            if name == DEFAULT:
                raise
    some = np.where(np.arange(len(labels)) < FEW, labels, -1)
    for name, given in ((FEW_LABELS, some), (WITH_LABELS, labels)):
        yield name, forecast_curve(dense, parts, way.keeps, labels=given, **known)


def _by_labels(
    dense: Array, parts: Sequence[Array], labels: Array, accuracy: float
) -> Iterator[tuple[str, list[float]]]:
    """What as many labelled inputs tell by themselves, of each copy."""
    was = float((dense.argmax(1) == labels).mean())
    right = [float((part.argmax(1) == labels).mean()) for part in parts]
    yield LABELS, right
    yield DIFFERENCE, [accuracy + value - was for value in right]


def _curve(way: _Known, found: CurveForecast) -> Curve:
    named = way_named(way.way)
    left = [(share, share) for share in way.parameters]
    return Curve(named.method, named.allocation, points_of(found, left))


def _advised(
    curves: Sequence[Curve], size: int, ways: Sequence[_Known], accuracy: float
) -> dict[str, Any]:
    """What is advised at a loss of one point, and what that plan loses on the other inputs."""
    decision = decide(curves, LOSS, inputs=size)
    found: dict[str, Any] = {"verdict": decision.verdict, "more_inputs": decision.more_inputs}
    if decision.point is None:
        return found
    way = ways[list(curves).index(decision.point.curve)]
    truth = way.truth[way.keeps.index(decision.point.point.kappa)]
    return found | {
        "way": way.way,
        "kappa": decision.point.point.kappa,
        "parameters": decision.point.point.parameters,
        "bound": decision.point.high,
        "loss": round(accuracy - float(truth), 9),  # of as many images as it is, not more
    }


def _in_sample(whole: Array, spec: ErrorsSpec, way: _Known) -> dict[str, Any]:
    """By how much more decisions stay on inputs that a copy was fitted to than on others."""
    n = spec.logits[0].n_inputs
    stays = way.logits.argmax(2) == whole.argmax(1)
    apart = stays[:, :n].mean(1) - stays[:, n:].mean(1)
    return {"way": way.way, "keeps": list(way.keeps), "apart": apart.tolist()}
