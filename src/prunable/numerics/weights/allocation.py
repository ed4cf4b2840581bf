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
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from prunable.errors import require
from prunable.numerics.weights.magnitudes import Ordered, bin_edges

ROUNDING = 1e-9  # of sums over all layers, relative

FloatArray = NDArray[np.float64]
Counts = NDArray[np.int64]
# What `Ordered.inside` gives for the bins asked of a layer; None where none are.
Inside = tuple[FloatArray, Counts] | None
Look = Callable[[Sequence[Counts | None]], Iterable[Inside]]


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
        """What this layer's magnitudes are divided by where all layers are compared."""
        return self.norm if rule == Rule.BEST else 1.0


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
    orders = {rule: _Order.of(sketches, rule, shares) for rule, _ in questions}
    brackets = [orders[rule].bracket(budget) for rule, budget in questions]
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
        None if bins is None else layer.inside(bins)
        for layer, bins in zip(layers, asked, strict=True)
    )


def _asked(sketch: LayerBins | None, place: int, brackets: Sequence[Bracket]) -> Counts | None:
    """The numbers of the bins to look into: few, as all layers' are there at once."""
    if sketch is None or not brackets:
        return None
    asked = [sketch.bins[b.sure[place] : b.open_end[place]] for b in brackets]
    found = np.unique(np.concatenate(asked))
    return found if found.size else None


def _shares(sketches: Sequence[LayerBins | None]) -> FloatArray:
    """Of each layer, its part of the p-th power of the norm of all weights."""
    norms = np.array([s.p_norm if s else 0.0 for s in sketches])
    powers = (norms / (norms.max(initial=0.0) or 1.0)) ** next((s.p for s in sketches if s), 2.0)
    return np.asarray(powers / (powers.sum() or 1.0))


@dataclass(frozen=True, eq=False)
class _Order:
    """Bins of all layers by one rule: whose they are, where they start and end, what each costs."""

    rule: Rule
    costs: Sequence[FloatArray]
    owners: Counts
    starts: FloatArray
    ends: FloatArray
    gains: FloatArray

    @classmethod
    def of(cls, sketches: Sequence[LayerBins | None], rule: Rule, shares: FloatArray) -> _Order:
        """Put the bins of all layers side by side; those that are all zero have none."""
        costs = [
            np.zeros(1) if s is None else s.powers * part if rule == Rule.ONE_VECTOR else s.squares
            for s, part in zip(sketches, shares, strict=True)
        ]
        sizes = [0 if s is None else s.bins.size for s in sketches]
        owners = np.repeat(np.arange(len(sketches)), sizes)
        ends = np.zeros((2, owners.size))
        used = [s for s in sketches if s]
        if used:
            units = np.repeat([s.unit(rule) for s in used], [s.bins.size for s in used])
            ends[0] = np.concatenate([s.low for s in used]) / units
            ends[1] = np.concatenate([s.high for s in used]) / units
        gains = np.concatenate([np.diff(cost) for cost in costs]) if costs else np.empty(0)
        return cls(rule, costs, owners, ends[0], ends[1], gains)

    @cached_property
    def _by_start(self) -> tuple[FloatArray, FloatArray]:
        return self._spent(self.starts)

    @cached_property
    def _by_end(self) -> tuple[FloatArray, FloatArray]:
        return self._spent(self.ends)

    def _spent(self, keys: FloatArray) -> tuple[FloatArray, FloatArray]:
        order = np.argsort(keys)
        return np.append(keys[order], np.inf), np.cumsum(self.gains[order])

    def bracket(self, budget: float) -> Bracket:
        """Find the bins in which the threshold lies.

        Up to `low` even whole bins that begin before it are affordable; above `high` not even the
        bins that end there.
        """
        require(0 <= budget < math.inf, "budget", "allocate", "finite and >= 0", budget)
        starts, certain = self._by_start
        low = starts[np.searchsorted(certain, budget * (1 - ROUNDING), side="right")]
        ends, possible = self._by_end
        high = ends[np.searchsorted(possible, budget * (1 + ROUNDING), side="right")]
        size = len(self.costs)
        sure = np.bincount(self.owners[(self.starts < low) & (self.ends <= low)], minlength=size)
        open_end = np.bincount(self.owners[self.starts <= high], minlength=size)
        return Bracket(self.rule, budget, self.costs, sure, open_end)


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
