"""The best share to keep in each layer under one budget of error.

Pruning weight w of layer l adds w^2 / ||w_l||^2 to the sum of squared relative errors, and
removes one weight. All weights save the same, so the cheapest go first: the fewest weights
are kept by one threshold on |w| / ||w_l||. Two simpler rules stand beside: one relative
error for every layer, and one threshold on |w| itself, which is also the best rule where the
bound is on the error of all weights taken as one vector.

Layers are seen twice: first as histograms, which bracket the thresholds, then the few
weights inside the brackets decide exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from prunable.errors import require
from prunable.numerics.weights.magnitudes import BINS, Ordered, bin_edges

# The logarithms of two doubles are at most 1,500 apart: brackets end 1e-4 wide.
HALVINGS = 24

FloatArray = NDArray[np.float64]
Counts = NDArray[np.int64]
Mask = NDArray[np.bool_]
# What `Ordered.inside` gives for the bins asked of a layer; None where none are.
Inside = tuple[FloatArray, Counts] | None
Look = Callable[[Sequence[Mask | None]], Iterable[Inside]]


class Rule(StrEnum):
    """In which order weights of all layers go, and what is bounded.

    By |w| / ||w_l|| or by |w|, under a bound on the sum of squared relative errors; and by |w|
    under a bound on the relative error of all weights as one vector, in its p-th power.
    """

    BEST = "best"
    GLOBAL_THRESHOLD = "global_threshold"
    ONE_VECTOR = "one_vector"


@dataclass(frozen=True, eq=False)
class LayerBins:
    """What one layer's first pass leaves: its occupied bins, by increasing number.

    `n` weights of positive Euclidean norm `norm`, and of l_p norm `p_norm`. `counts`, `squares` and
    `powers` are the weights below and up to the end of each bin, and their sums of squares and
    p-th powers over those of the norms; shape (len(bins) + 1,), from 0. `low` and `high` are the
    smallest and largest magnitude that each bin can hold.
    """

    n: int
    norm: float
    bins: Counts
    counts: Counts
    squares: FloatArray
    low: FloatArray
    high: FloatArray
    p: float
    p_norm: float
    powers: FloatArray

    @classmethod
    def of(cls, magnitudes: Ordered, p: float = 2.0) -> LayerBins | None:
        """Sum up a layer; None if it is all zero, or one of its norms is no double."""
        histogram = magnitudes.histogram
        total = float(histogram.sums.sum())
        norm = math.sqrt(total) * histogram.unit
        if not 0 < norm < math.inf:
            return None
        bins = np.flatnonzero(histogram.counts)
        edges = bin_edges(magnitudes.dtype).astype(np.float64)
        counts = np.append(0, np.cumsum(histogram.counts[bins]))
        squares = np.append(0.0, np.cumsum(histogram.sums[bins])) / total
        above = np.append(edges, np.inf)[bins + 1]
        powers, p_norm = squares, norm
        if p != 2:
            sums = magnitudes.binned_powers(p, magnitudes.top).sums[bins]
            with np.errstate(over="ignore"):
                p_norm = float(magnitudes.top * np.float64(sums.sum()) ** (1 / p))
            powers = np.append(0.0, np.cumsum(sums)) / sums.sum()
            if not p_norm < math.inf:
                return None
        low = edges[bins]
        return cls(magnitudes.size, norm, bins, counts, squares, low, above, p, p_norm, powers)

    def unit(self, rule: Rule) -> float:
        """What a common threshold is multiplied by to meet this layer's magnitudes."""
        return self.norm if rule == Rule.BEST else 1.0

    def below(self, threshold: float) -> int:
        """Occupied bins that lie wholly below a magnitude."""
        return int(np.searchsorted(self.high, threshold, side="right"))

    def up_to(self, threshold: float) -> int:
        """Occupied bins that start at or below a magnitude."""
        return int(np.searchsorted(self.low, threshold, side="right"))


@dataclass(frozen=True, eq=False)
class Bracket:
    """For one rule and one budget: bins surely pruned and bins to look into, per layer."""

    rule: Rule
    budget: float
    costs: Sequence[FloatArray]  # of the weights up to the end of each bin, a layer each
    sure: Counts
    open_end: Counts


@dataclass(frozen=True, eq=False)
class KeptWeights:
    """Weights kept in each layer under a bound of errors; see `Rule`.

    `spent` is the sum realised, `kept` one number a layer.
    """

    rule: Rule
    budget: float
    spent: float
    kept: Counts


def allocate(
    sketches: Sequence[LayerBins | None], questions: Sequence[tuple[Rule, float]], look: Look
) -> list[KeptWeights]:
    """Keep the fewest weights under each bound of sum_l ||w_l - w_hat_l||^2 / ||w_l||^2.

    A question is a rule and a bound; `Rule.BEST` is optimal, GLOBAL_THRESHOLD the common
    practice; the bound of ONE_VECTOR is on ||w - w_hat||_p^p / ||w||_p^p of all layers together.
    `look` looks once more at the layers of the sketches, in their order, as `inside` does; those
    that are all zero keep nothing.
    """
    shares = _shares(sketches)
    brackets = [_bracket(sketches, rule, budget, shares) for rule, budget in questions]
    keys: list[list[FloatArray]] = [[] for _ in brackets]
    costs: list[list[FloatArray]] = [[] for _ in brackets]
    owners: list[list[Counts]] = [[] for _ in brackets]
    times: list[list[Counts]] = [[] for _ in brackets]
    asked = [_asked(sketch, place, brackets) for place, sketch in enumerate(sketches)]
    for place, (sketch, seen) in enumerate(zip(sketches, look(asked), strict=True)):
        if sketch is None or seen is None:
            continue
        gathered, counts = seen
        for i, b in enumerate(brackets):
            first, last = int(b.sure[place]), int(b.open_end[place])
            if first == last:
                continue
            ends = np.searchsorted(gathered, [sketch.low[first], sketch.high[last - 1]])
            inside = gathered[ends[0] : ends[1]]
            times[i].append(counts[ends[0] : ends[1]])
            keys[i].append(inside / sketch.unit(b.rule))
            if b.rule == Rule.ONE_VECTOR:
                costs[i].append(shares[place] * (inside / sketch.p_norm) ** sketch.p)
            else:
                costs[i].append((inside / sketch.norm) ** 2)
            owners[i].append(np.full(inside.size, place))
    found = zip(brackets, keys, costs, owners, times, strict=True)
    return [_settle_one(sketches, *one) for one in found]


def inside(layers: Iterable[Ordered]) -> Look:
    """Look into layers of which one is held at a time."""
    return lambda asked: (
        None if mask is None else layer.inside(mask)
        for layer, mask in zip(layers, asked, strict=True)
    )


def _asked(sketch: LayerBins | None, place: int, brackets: Sequence[Bracket]) -> Mask | None:
    asked = np.zeros(BINS, dtype=np.bool_)
    if sketch is not None:
        for b in brackets:
            asked[sketch.bins[b.sure[place] : b.open_end[place]]] = True
    return asked if asked.any() else None


def _shares(sketches: Sequence[LayerBins | None]) -> FloatArray:
    """Of each layer, its part of the p-th power of the norm of all weights."""
    norms = np.array([s.p_norm if s else 0.0 for s in sketches])
    powers = (norms / (norms.max(initial=0.0) or 1.0)) ** next((s.p for s in sketches if s), 2.0)
    return np.asarray(powers / (powers.sum() or 1.0))


def _bracket(
    sketches: Sequence[LayerBins | None], rule: Rule, budget: float, shares: FloatArray
) -> Bracket:
    """Find the bins in which the threshold lies."""
    require(0 <= budget < math.inf, "budget", "allocate", "finite and >= 0", budget)
    whole = zip(sketches, shares, strict=True)
    costs = [
        np.zeros(1) if s is None else s.powers * part if rule == Rule.ONE_VECTOR else s.squares
        for s, part in whole
    ]
    low, high = _threshold(sketches, rule, budget, costs)
    sure = [s.below(low * s.unit(rule)) if s else 0 for s in sketches]
    ends = [s.up_to(high * s.unit(rule)) if s else 0 for s in sketches]
    return Bracket(rule, budget, costs, np.array(sure), np.array(ends))


def _settle_one(
    sketches: Sequence[LayerBins | None],
    b: Bracket,
    keys: list[FloatArray],
    costs: list[FloatArray],
    owners: list[Counts],
    times: list[Counts],
) -> KeptWeights:
    pruned = np.array([s.counts[b.sure[i]] if s else 0 for i, s in enumerate(sketches)])
    spent = sum(float(b.costs[i][b.sure[i]]) for i, s in enumerate(sketches) if s)
    if keys:
        # equal keys go in the order of the layers
        order = np.argsort(np.concatenate(keys), kind="stable")
        cost, count = np.concatenate(costs)[order], np.concatenate(times)[order]
        running = spent + np.append(0.0, np.cumsum(cost * count))
        allowed = b.budget * (1 + 1e-12)  # a budget met up to rounding is met
        more = max(int(np.searchsorted(running, allowed, side="right")) - 1, 0)
        spent = float(running[more])
        owner = np.concatenate(owners)[order]
        gone = np.bincount(owner[:more], weights=count[:more], minlength=len(sketches))
        pruned = pruned + gone.astype(np.int64)
        if more < count.size and count[more] > 1 and running[more] <= allowed:
            # of equal weights some may be affordable
            part = min(int((allowed - spent) / cost[more]), int(count[more]) - 1)
            pruned[owner[more]] += part
            spent += part * float(cost[more])
    sizes = np.array([s.n if s else 0 for s in sketches])
    return KeptWeights(b.rule, b.budget, spent, sizes - pruned)


def _threshold(
    sketches: Sequence[LayerBins | None], rule: Rule, budget: float, costs: Sequence[FloatArray]
) -> tuple[float, float]:
    """A common threshold that the budget surely allows, and one that it surely exceeds."""
    used = [s for s in sketches if s]
    priced = [(s, cost) for s, cost in zip(sketches, costs, strict=True) if s]
    if not used:
        return 0.0, 0.0

    def certain(log_t: float) -> float:
        """Cost of all weights that lie below the threshold, at least."""
        return sum(float(cost[s.up_to(math.exp(log_t) * s.unit(rule))]) for s, cost in priced)

    def possible(log_t: float) -> float:
        return sum(float(cost[s.below(math.exp(log_t) * s.unit(rule))]) for s, cost in priced)

    lowest = min(float(s.low[s.low > 0].min(initial=s.norm)) / s.unit(rule) for s in used)
    highest = max(float(s.low[-1]) / s.unit(rule) for s in used)
    ends = _log(lowest) - 1, _log(highest) + 2
    # up to `low` even whole bins that begin there are affordable; above `high` not even
    # the bins that end there
    low = _last(lambda t: certain(t) <= budget, *ends)
    high = _last(lambda t: possible(t) <= budget, *ends)
    return math.exp(low), math.exp(high) * (1 + 1e-9)


def _log(value: float) -> float:
    """Logarithm, inside the doubles by a margin."""
    return min(max(math.log(value) if value > 0 else -740.0, -740.0), 700.0)


def _last(allowed: Callable[[float], bool], low: float, high: float) -> float:
    """Largest argument, to 1e-4, at which a monotone condition still holds."""
    if not allowed(low):
        return low
    if allowed(high):
        return high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if allowed(middle) else (low, middle)
    return low
