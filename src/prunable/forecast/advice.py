"""Which pruned network to take: the smallest whose loss is held, among many forecasts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from prunable.errors import InputError, check_between, require
from prunable.forecast.estimators.estimate import quantile
from prunable.forecast.forecasting import Curve, Point

Verdict = Literal["ACCEPT", "UNSURE", "INFEASIBLE"]
Cost = Literal["parameters", "macs"]
WHERE = "advise"
LEVEL = 0.9  # of the intervals of forecasts
MOST_INPUTS = 1_000_000  # beyond which more inputs are no advice


@dataclass(frozen=True)
class Target:
    """A share of parameters or of multiplications that must not be exceeded."""

    cost: Cost
    share: float

    @classmethod
    def of_text(cls, text: str) -> Target:
        """The target of a text such as macs=0.5; InputError if it is none."""
        cost, _, number = text.partition("=")
        try:
            share = float(number)
        except ValueError:
            share = math.nan
        known = cost in ("parameters", "macs") and 0 < share <= 1
        wanted = "parameters=SHARE or macs=SHARE, with a share above 0 and at most 1"
        require(known, "target", WHERE, wanted, text)
        return cls("macs" if cost == "macs" else "parameters", share)


@dataclass(frozen=True)
class Bounded:
    """A point of a curve with the bounds of its loss, each of which fails with small chance.

    They are `z` standard errors away.
    """

    curve: Curve
    point: Point
    low: float
    high: float
    z: float


@dataclass(frozen=True)
class Decision:
    """A verdict, and the point that it is about.

    `point` is the one to take (ACCEPT); the one nearest to being held (UNSURE); or the nearest
    that is feasible: the smallest that holds the loss but misses the target, or else the one that
    loses least (INFEASIBLE). `more_inputs` is about how many more would decide, None if none would.
    """

    verdict: Verdict
    point: Bounded | None
    more_inputs: int | None
    said: str


def decide(
    curves: Sequence[Curve],
    at_most_loss: float,
    *,
    inputs: int,
    level: float = LEVEL,
    confidence: float = 0.9,
    target: Target | None = None,
    ways: int | None = None,
) -> Decision:
    """Choose the smallest network whose loss is at most so much, with a confidence.

    Many points are looked at and the best is chosen, so that errors would be chosen too. Therefore
    each of the m curves (`ways`, if some were left out) has a share (1 - confidence) / m of the
    chance to err (Bonferroni); within a curve shares are tested from large to small, each at that
    chance, and the first that fails ends it (a fixed sequence, which needs no correction; Maurer,
    Hothorn and Lehmacher 1995). A curve searched by halves is tested in another order, each of its
    tests with an equal part of the chance: if losses grow as shares fall, the tests that could err
    are at most those of the one way through the halves that leads to the edge. So with the
    confidence every point that passes holds the loss, whichever is chosen.

    `level` is that of the points' intervals, `inputs` their number. Raises InputError without a
    known accuracy, or for a loss that is none.
    """
    check_between(confidence, 0.5, 0.999, "confidence", WHERE)
    check_loss(at_most_loss)
    if any(point.loss is None for curve in curves for point in curve.points):
        raise InputError(f"`accuracy` of `{WHERE}` must be known; give that of the dense network.")
    chance = (1 - confidence) / (ways or len(curves))
    bounded = [
        [Bounded(c, p, *_bounds(p, chance / c.tests, inputs, level)) for p in c.points]
        for c in curves
    ]
    meeting = [[b for b in found if _meets(b, target)] for found in bounded]
    held = [b for found in meeting for b in _held(found, at_most_loss)]
    if held:
        best = min(held, key=lambda b: (_cost(b, target), b.high))
        return Decision("ACCEPT", best, None, _accepted(best, at_most_loss, confidence, target))
    open_ = [b for found in meeting for b in found if b.low <= at_most_loss]
    if open_:
        wanting = [(_more(b, at_most_loss, inputs), b) for b in open_]
        more, nearest = min(wanting, key=lambda x: (x[0] is None, x[0] or 0, x[1].high))
        return Decision("UNSURE", nearest, more, _unsure(nearest, at_most_loss, more))
    return _infeasible(bounded, at_most_loss, target)


def in_points(loss: float) -> str:
    """A difference of accuracies in points.

    >>> in_points(0.0125)
    '1.25 points'
    """
    return f"{100 * loss:.2f} points"


def check_loss(at_most_loss: float) -> None:
    """Raise InputError unless a loss is a share of accuracy; per cent are asked back."""
    in_percent = f"Did you mean {at_most_loss / 100:g}?" if at_most_loss >= 1 else ""
    fits = 0 <= at_most_loss < 1
    require(fits, "at_most_loss", WHERE, "a share from 0 to below 1", at_most_loss, in_percent)


def _infeasible(
    bounded: Sequence[Sequence[Bounded]], at_most_loss: float, target: Target | None
) -> Decision:
    elsewhere = [b for found in bounded for b in _held(found, at_most_loss)]
    every = [b for found in bounded for b in found]
    if elsewhere:  # the target is what cannot be met
        near = min(elsewhere, key=lambda b: _cost(b, target))
        said = (
            f"{_target_words(target)} cannot be met at a loss of {in_points(at_most_loss)}; the "
            f"nearest that holds it is {_named(near)}."
        )
        return Decision("INFEASIBLE", near, None, said)
    near = min(every, key=lambda b: b.high)
    said = (
        f"No network looked at holds a loss of {in_points(at_most_loss)}; {_named(near)} comes "
        f"nearest, and holds {in_points(max(0.0, near.high))}."
    )
    return Decision("INFEASIBLE", near, None, said)


def is_held(
    point: Point, *, at_most_loss: float, confidence: float, tests: int, ways: int, inputs: int
) -> bool:
    """Whether a point holds a loss by one of the `tests` of one of the `ways`; see `decide`."""
    chance = (1 - confidence) / ways / tests
    return _bounds(point, chance, inputs, LEVEL)[1] <= at_most_loss


def _bounds(point: Point, chance: float, inputs: int, level: float) -> tuple[float, float, float]:
    """Bounds of a loss each of which fails with a chance, and how many errors they are away.

    `level` is that of the point's interval.
    """
    loss, high = point.loss, point.loss_high
    assert loss is not None
    assert high is not None
    z = quantile(1 - 2 * chance, inputs)
    half = z / quantile(level, inputs) * (high - loss)
    return loss - half, loss + half, z


def _meets(bounded: Bounded, target: Target | None) -> bool:
    return target is None or _cost(bounded, target) <= target.share


def _cost(bounded: Bounded, target: Target | None) -> float:
    cost = "parameters" if target is None else target.cost
    return float(getattr(bounded.point, cost))


def _held(found: Sequence[Bounded], at_most_loss: float) -> Iterator[Bounded]:
    """Points from the largest share down to the first whose loss may be larger."""
    for one in sorted(found, key=lambda b: -b.point.kappa):
        if one.high > at_most_loss:
            return
        yield one


def _more(bounded: Bounded, at_most_loss: float, inputs: int) -> int | None:
    """About how many more inputs would show that a loss is held, if it is what it seems."""
    point, z = bounded.point, bounded.z
    error = (bounded.high - bounded.low) / (2 * z)
    assert point.loss is not None
    room = at_most_loss - point.loss
    sampling = min(point.sampling or 0.0, error)
    rest = z * math.sqrt(max(0.0, error**2 - sampling**2))
    if room <= rest:
        return None
    wanted = inputs * (z * sampling) ** 2 / (room**2 - rest**2)
    more = math.ceil(wanted - inputs)
    return max(1, more) if more <= MOST_INPUTS else None


def _named(bounded: Bounded) -> str:
    point = bounded.point
    assert point.loss is not None
    return (
        f"{bounded.curve.name} at {point.kappa:g} (loss {in_points(point.loss)}, "
        f"{point.parameters:.1%} of the numbers)"
    )


def _target_words(target: Target | None) -> str:
    return "" if target is None else f"The target {target.cost}={target.share:g}"


def _accepted(best: Bounded, loss: float, confidence: float, target: Target | None) -> str:
    meets = "" if target is None else f", {target.cost} {_cost(best, target):.1%}"
    return (
        f"{_named(best)}{meets}: a loss of at most {in_points(loss)} is held with a confidence of "
        f"{confidence:.0%}, all networks looked at counted in."
    )


def _unsure(nearest: Bounded, loss: float, more: int | None) -> str:
    sure = f"at most {in_points(nearest.high)} is sure."
    said = f"{_named(nearest)} may hold a loss of {in_points(loss)}: {sure}"
    if more is None:
        return f"{said} More inputs do not decide it; inputs with their classes would."
    return f"{said} About {more:,} more inputs decide it."
