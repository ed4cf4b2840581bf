"""What a forecast is: curves of ways to prune, points of shares kept, checks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prunable.forecast.estimators import Check, CurveForecast
from prunable.forecast.specs import Speed
from prunable.forecast.stored import Left
from prunable.forecast.wanted import Output
from prunable.results import Result, as_plain

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Point:
    """What to expect of one pruned network; shares, not per cent.

    `parameters` is the share of the network's numbers that stay and are not zero, `macs` that of
    its multiplications by weights that are not. Accuracy and loss
    (dense less pruned) with their intervals are None where no accuracy is known; `retention` is the
    share of decisions that stay as they are, None without inputs. Of language models the figure is
    the log-perplexity in nats a token, `laws` what the divergence of next-token laws says of it,
    and `tokens` what the tokens of the windows say. `output_error` is the relative l_2 error
    of the outputs at speed propagated, growing and shrinking as a whole aside.
    """

    kappa: float
    accuracy: float | None
    low: float | None
    high: float | None
    parameters: float
    macs: float
    loss: float | None
    loss_low: float | None
    loss_high: float | None
    retention: float | None
    retention_low: float | None
    retention_high: float | None
    sampling: float | None = None
    model: float | None = None
    laws: float | None = None
    tokens: float | None = None
    output_error: float | None = None


@dataclass(frozen=True)
class Curve:
    """One way to prune, from large shares to small.

    `tests` is 1 where all shares asked for were looked at. Where they were searched by halves for
    the smallest that holds a loss, which costs few networks, it is how many such a search takes.
    """

    method: str
    allocation: str
    points: tuple[Point, ...]
    tests: int = 1

    @property
    def name(self) -> str:
        """As `--methods` takes it."""
        return self.method if ":" in self.method else f"{self.method}/{self.allocation}"


@dataclass(frozen=True)
class LayerEffect:
    """What pruning one layer alone does, to half of its weights: relative l_2 errors.

    `error` is that of its weights, which is that of its outputs for independent inputs of one size;
    `output_error` that of the network's outputs, growing and shrinking as a whole aside.
    """

    name: str
    error: float
    output_error: float


@dataclass(frozen=True, repr=False)
class Forecast(Result):
    """Curves of expected accuracy, one a way to prune, and checks of what they assume.

    `skipped` are usual ways that do not suit the network, with the reason. Without inputs, which
    is `inputs` 0, `layers` says what pruning each by itself does to the outputs.
    """

    model: str
    accuracy: float | None
    inputs: int
    level: float
    kind: Output
    curves: tuple[Curve, ...]
    checks: tuple[Check, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    temperature: float | None = None
    speed: Speed = "exact"
    layers: tuple[LayerEffect, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The document of `prunable forecast --json`."""
        return {
            "schema_version": SCHEMA_VERSION,
            **super().to_dict(),
            "skipped": [{"method": name, "reason": reason} for name, reason in self.skipped],
        }

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [
            {"method": curve.method, "allocation": curve.allocation, **as_plain(point)}
            for curve in self.curves
            for point in curve.points
        ]

    def _plots(self) -> Sequence[tuple[str, Sequence[float]]]:
        return [(curve.name, [_shown(point) for point in curve.points]) for curve in self.curves]

    def __repr__(self) -> str:
        known = "no accuracy" if self.accuracy is None else f"accuracy {self.accuracy:.1%}"
        if self.kind == "language" and self.accuracy is not None:
            known = f"log-perplexity {self.accuracy:.3f}"
        failed = sum(not check.passed for check in self.checks)
        doubts = f", {failed} of {len(self.checks)} checks failed" if failed else ""
        return (
            f"Forecast({self.model}, {known}: {len(self.curves)} ways from {self.inputs:,} "
            f"inputs{doubts})"
        )


def _shown(point: Point) -> float:
    """The figure of a point that is known."""
    known = (point.accuracy, point.retention, point.output_error)
    return next(value for value in known if value is not None)


def points_of(
    found: CurveForecast, left: Sequence[Left], errors: Sequence[float] | None = None
) -> tuple[Point, ...]:
    """What is forecast of each copy, with the shares that are left of it.

    `errors` are relative squared errors of outputs, where these are what is known.
    """
    outputs = [None] * len(left) if errors is None else [math.sqrt(error) for error in errors]
    return tuple(
        Point(
            kappa=one.kappa,
            accuracy=one.value,
            low=one.low,
            high=one.high,
            parameters=parameters,
            macs=macs,
            loss=one.loss,
            loss_low=one.loss_low,
            loss_high=one.loss_high,
            retention=one.retention,
            retention_low=one.retention_low,
            retention_high=one.retention_high,
            sampling=one.sampling,
            model=one.model,
            laws=one.laws,
            tokens=one.tokens,
            output_error=output,
        )
        for one, (parameters, macs), output in zip(found.points, left, outputs, strict=True)
    )
