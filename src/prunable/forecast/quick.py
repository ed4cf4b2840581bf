"""Forecasts at speed propagated, and rankings of ways and layers without inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from prunable.errors import InputError, UnsupportedModelError, require
from prunable.forecast.estimators import Check, forecast_curve
from prunable.forecast.estimators.propagation import FAR, propagation_error
from prunable.forecast.logits import Copies, Examples, Scores, batches_for
from prunable.forecast.propagated import Foreseen, Propagation
from prunable.forecast.results import Curve, Forecast, Point, points_of
from prunable.forecast.wanted import WHERE, OnPoint, Wanted
from prunable.forecast.ways import Way

GAUSSIAN = 64  # inputs drawn where there are none


def propagated(
    copies: Copies,
    dense: Scores,
    wanted: Wanted,
    settings: Mapping[str, Any],
    on_point: OnPoint | None,
) -> tuple[list[Curve], list[tuple[str, str]], tuple[Check, ...]]:
    """Curves of all ways from some copies that see a handful of inputs, what is left out, a check.

    `settings` are those of `forecast_curve`. Labels show the network's accuracy, and nothing of
    copies that are not run.
    """
    job = Propagation(copies, dense)
    found, skipped = _foreseen(job, wanted.ways, wanted, on_point)
    known = dict(settings)
    if wanted.accuracy is None and wanted.labels is not None:
        known["accuracy_inputs"] = int((np.asarray(wanted.labels) >= 0).sum())
    curves = []
    for one in found:
        renewed = job.renewed if one.again else None
        told = forecast_curve(dense, job.likely(one), one.keeps, renewed=renewed, **known)
        points = points_of(told, one.left, one.errors)
        curves.append(Curve(one.way.method, one.way.allocation, points))
    return curves, skipped, () if known["accuracy"] is None else (_near(curves),)


def ranked(
    model: nn.Module, shape: Sequence[int], wanted: Wanted, on_point: OnPoint | None
) -> Forecast:
    """Ways and layers by what they do to the outputs of Gaussian inputs; no accuracy.

    Raises InputError if the network does not take inputs of the shape, or a named way needs some.
    """
    draw = torch.Generator().manual_seed(wanted.seed)
    batches = batches_for(model, torch.randn(GAUSSIAN, *shape, generator=draw))
    read = Examples(batches, wanted.kind)
    job = Propagation(Copies(model, read, None, wanted.seed), read.scores(model))
    ways = [way for way in wanted.ways if not way.needs_inputs]
    without = [way.name for way in wanted.ways if way.needs_inputs]
    if without and wanted.strategies is not None:
        raise InputError.parameter("methods", WHERE, "such as need no inputs", without[0])
    found, skipped = _foreseen(job, ways, wanted, on_point)
    require(found, "model", WHERE, "a network that can be pruned", type(model).__name__)
    reason = "it goes by what flows into layers, and there are no inputs"
    skipped = [*skipped, *((name, reason) for name in without)]
    curves = tuple(Curve(x.way.method, x.way.allocation, _unseen(x)) for x in found)
    name, level, kind = type(model).__name__, wanted.level, wanted.kind
    known = (None, 0, level, kind, curves, (), tuple(skipped), None, wanted.speed)
    return Forecast(name, *known, job.layers())


def _foreseen(
    job: Propagation, ways: Sequence[Way], wanted: Wanted, on_point: OnPoint | None
) -> tuple[list[Foreseen], list[tuple[str, str]]]:
    """What is foreseen of each way; usual ones that do not suit are left out, with the reason."""
    found, skipped = [], []
    for number, way in enumerate(ways):
        if on_point is not None:
            on_point(number, len(ways), way.name)
        try:
            found.append(job.of(way, way.keeps(wanted.shares)))
        except (InputError, UnsupportedModelError) as error:
            if wanted.strategies is not None:
                raise
            skipped.append((way.name, str(error)))
    return found, skipped


def _unseen(found: Foreseen) -> tuple[Point, ...]:
    """Points of which the errors of outputs are known, and nothing else."""
    unknown = (None,) * 3
    return tuple(
        Point(keep, *unknown, *left, *unknown, *unknown, output_error=math.sqrt(error))
        for keep, left, error in zip(found.keeps, found.left, found.errors, strict=True)
    )


def _near(curves: Sequence[Curve]) -> Check:
    """Whether propagation is likely to be off by at most three points, everywhere."""
    wide = [
        (curve.name, [p.kappa for p in curve.points if _error(p) > FAR], len(curve.points))
        for curve in curves
    ]
    name, points = "propagation is off by at most 3 points", sum(n for _, _, n in wide)
    far = [(way, kappas) for way, kappas, _ in wide if kappas]
    if not far:
        return Check(name, True, f"at all {points} points, by its standard error")
    said = ", ".join(f"{way} from {max(kappas):g} down" for way, kappas in far)
    count = sum(len(kappas) for _, kappas in far)
    text = f"at {count} of {points} points it may be off by more: {said}; forecast these exactly"
    return Check(name, False, text)


def _error(point: Point) -> float:
    return 0.0 if point.retention is None else propagation_error(1 - point.retention)
