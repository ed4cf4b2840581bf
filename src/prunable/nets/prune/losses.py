"""Shares of layers by what their pruning does to the outputs of the network, by running it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
from torch import Tensor

from prunable.nets.calibration.divergence import Probe
from prunable.nets.networks.examples import Example
from prunable.nets.networks.inputs import batch_size_of
from prunable.nets.networks.views import WeightView, out_in, to_numpy
from prunable.nets.prune.masks import apply_plan_
from prunable.nets.prune.plan import Budget, Keep
from prunable.nets.prune.strategies.allocations import (
    NAMED,
    DepthShares,
    GivenCounts,
    LeastLoss,
    grid_counts,
)
from prunable.nets.prune.strategies.base import Strategy
from prunable.nets.prune.strategies.calibrated import BrainSurgery
from prunable.nets.prune.strategies.chosen import CalibratedPruning
from prunable.nets.prune.strategies.magnitude import MagnitudePruning
from prunable.nets.prune.strategies.sharing import Division, shared_counts
from prunable.numerics.randomness import rng
from prunable.numerics.reconstruction.gram import output_error
from prunable.numerics.reconstruction.refit import USUAL
from prunable.numerics.weights.optimum import LossCurve, least_loss, losses_of_errors
from prunable.numerics.weights.selection import Rounding, kept_count

RUN = (0.0, 0.02, 0.07, 0.2, 0.45, 0.7)  # shares at which the network is run, a layer at a time
# How losses add up: as powers of what each layer does alone. Errors that have nothing to do with
# each other add up by their squares, power 1; those that all shrink what flows on by size, 1/2.
POWERS = (0.5, 0.75, 1.0)
# Divisions that are tried beside.
OTHERS: tuple[Division, ...] = ("threshold", "lamp", "erk", "relative")
ROUNDS = 3  # of curves measured again where the last division ended
STEP = 0.8  # of a layer's weights that stay where it is tried what a few more would do
# The most that a layer's share grows or shrinks in a round, as a factor: smaller if that fails.
REACHES = (1.5, 1.2, 1.08)
FACTORS = 2**30  # bytes of factors of layers' inputs that are kept while shares are looked for


def settled(
    strategy: Strategy,
    views: Sequence[WeightView],
    budget: Budget,
    model: Any,
    batches: Sequence[Example],
    recalibrated: bool = False,
) -> Strategy:
    """A strategy whose shares of layers are those at which the outputs of a network change least.

    Of strategies with `LeastLoss`, or `DepthShares` without a slope, and a share of all layers
    together; others are given back as they are. `recalibrated` says that BatchNorm statistics are
    estimated again in the end.
    """
    rule = division_of(strategy)
    if rule is None or not isinstance(budget, Keep) or budget.scope != "global":
        return strategy
    how = rule if isinstance(rule, LeastLoss) else LeastLoss()
    some, by_batch = first_of(batches, how.n_inputs), recalibrated or how.recalibrated
    probe = Probe(model, some, how.outputs, by_batch)
    search = _Search(_quick(strategy), views, budget, probe)
    counts = search.least() if isinstance(rule, LeastLoss) else search.progression(rule)
    return _with_division(strategy, GivenCounts(tuple(counts)))


def first_of(batches: Sequence[Example], count: int) -> Sequence[Example]:
    """The first batches, of so many inputs in all at least, if there are so many."""
    so_far = np.cumsum([batch_size_of(batch) for batch in batches])
    return batches[: int(np.searchsorted(so_far, count)) + 1]


def division_of(strategy: Any) -> LeastLoss | DepthShares | None:
    """The division of a strategy, or of the one inside it, that a network can be run for."""
    if hasattr(strategy, "strategy"):
        return division_of(strategy.strategy)
    rule = getattr(strategy, "allocation", None)
    rule = next((one for name, one in NAMED.items() if name == rule), rule)
    return rule if isinstance(rule, LeastLoss) or rule == DepthShares() else None


class _Search:
    """The search for the shares of one pruning."""

    def __init__(
        self, strategy: Strategy, views: Sequence[WeightView], budget: Keep, probe: Probe
    ) -> None:
        self.strategy, self.views, self.probe = strategy, _sharing(views), probe
        self.sizes = [view.matrix.size for view in views]
        inner: Any = strategy
        while hasattr(inner, "strategy"):
            inner = inner.strategy
        self.made_up = False  # whether other weights make up for pruned ones, which takes long
        rounding: Rounding = getattr(inner, "rounding", "ceil")
        self.k = kept_count(budget.kappa, sum(self.sizes), rounding)

    def progression(self, rule: DepthShares) -> list[int]:
        """The counts of the best of the progressions."""
        scores = [view.matrix for view in self.views]
        tried = [one.counts(self.views, scores, self.k) for one in rule.tried(self.views, self.k)]
        return min(tried, key=self.together)

    def least(self) -> list[int]:
        """The counts at which the outputs change least, as far as they can be found."""
        losses, errors = self.curves()
        sums = [[curve.power(p) for curve in x] for x in (losses, errors) for p in POWERS]
        tried = [least_loss(curves, self.k) for curves in sums]
        scores = [view.matrix for view in self.views]
        others = [shared_counts(self.views, scores, self.k, rule) for rule in OTHERS]
        if not self.made_up:  # each try prunes all layers
            steps = DepthShares().tried(self.views, self.k)
            others += [one.counts(self.views, scores, self.k) for one in steps]
        tried += [counts for counts in others if min(counts) > 0]  # no layer goes as a whole
        reached = [self.together(counts) for counts in tried]
        best, loss = tried[int(np.argmin(reached))], min(reached)
        curves = sums[int(np.argmin(reached[: len(sums)]))]
        for _ in range(ROUNDS):
            steeper = self.curves_at(best, loss, curves)
            for reach in REACHES:
                near = [curve.near(n, reach) for curve, n in zip(steeper, best, strict=True)]
                found = least_loss(near, self.k)
                now = self.together(found)
                if now < loss:
                    break
            else:
                break
            best, loss = found, now
        return best

    def together(self, counts: Sequence[int]) -> float:
        """How far the outputs move where each layer keeps so many weights."""
        return self.probe.divergence(
            {v.name: self.pruned(i, counts[i])[0] for i, v in enumerate(self.views)}
        )

    def curves(self) -> tuple[list[LossCurve], list[LossCurve]]:
        """What each layer's pruning does by itself at each number of weights.

        To the outputs of the network, and to its own: relative squared errors.
        """
        found = [self.curve(i) for i in range(len(self.views))]
        losses, errors = [x[0] for x in found], [x[1] for x in found]
        whole = [float(curve.loss[0]) for curve in losses if curve.loss[0] > 0]
        for i, view in enumerate(self.views):
            if view.gram is None and not losses[i].loss.any():
                # nothing is known of what no input reaches: it counts as others do by their errors
                usual = float(np.median(whole or [1.0]))
                losses[i] = LossCurve(errors[i].kept, errors[i].loss * usual)
        return losses, errors

    def curve(self, layer: int) -> tuple[LossCurve, LossCurve]:
        """What one layer's pruning does by itself."""
        name, size = self.views[layer].name, self.sizes[layer]
        run = sorted({kept_count(share, size) for share in RUN} - {size})
        errors, losses = {size: 0.0}, []
        for count in run:
            weight, errors[count] = self.pruned(layer, count)
            losses.append(self.probe.divergence({name: weight}))
        # what other weights become takes long to find at each number
        kept = np.array([*run, size]) if self.made_up else grid_counts(size)
        errors |= {n: self.pruned(layer, n)[1] for n in map(int, kept) if n not in errors}
        known = np.array([errors[count] for count in run])
        at = np.array([errors[int(count)] for count in kept])
        found = losses_of_errors(at, known, np.array(losses))
        return LossCurve(kept, found), LossCurve(kept, at)

    def curves_at(
        self, counts: Sequence[int], loss: float, curves: Sequence[LossCurve]
    ) -> list[LossCurve]:
        """The curves as steep as they are where all layers are pruned, to some counts.

        A layer by itself does less, or more, than where all are pruned. Each curve is scaled to
        what a part of the layer's weights does there.
        """
        weights = {v.name: self.pruned(i, counts[i])[0] for i, v in enumerate(self.views)}
        found = []
        for i, (count, curve) in enumerate(zip(counts, curves, strict=True)):
            fewer = max(1, round(STEP * count))
            expected = curve.at(fewer) - curve.at(count)
            if fewer >= count or expected <= 0:
                found.append(curve)
                continue
            changed = weights | {self.views[i].name: self.pruned(i, fewer)[0]}
            rise = max(self.probe.divergence(changed) - loss, 0.0)
            found.append(LossCurve(curve.kept, rise / expected * curve.loss))
        return found

    def pruned(self, layer: int, count: int) -> tuple[Tensor, float]:
        """A layer with so many weights, and the relative squared error of its outputs."""
        view = self.views[layer]
        # what no input reaches goes by its weights
        strategy = MagnitudePruning() if view.gram is None else self.strategy
        budget = Keep(count / view.matrix.size)
        plan = strategy.plan([view], budget, rng=rng(0, "losses"))
        weight = self.probe.weight(view.name).clone()
        apply_plan_([(view.name, weight)], plan)
        changed = out_in(to_numpy(weight), view.transposed, view.groups)
        if view.gram is None:
            apart = np.linalg.norm(view.matrix.astype(np.float64) - changed)
            error = float(apart / (np.linalg.norm(view.matrix.astype(np.float64)) or 1.0))
        else:
            error = output_error(view.matrix, changed, view.gram.products)
        self.made_up |= plan.layers[0].values is not None
        return weight, error**2


def _sharing(views: Sequence[WeightView]) -> list[WeightView]:
    """The views; what is made of the widest ones' inputs is kept, as far as there is room."""
    found, room = list(views), FACTORS
    known = {i: view.gram for i, view in enumerate(views) if view.gram is not None}
    for i, gram in sorted(known.items(), key=lambda one: -one[1].products.nbytes):
        room -= 3 * gram.products.nbytes  # correlations, damped ones and their factors
        if room >= 0:
            found[i] = replace(views[i], gram=gram.shared())
    return found


def _quick(strategy: Any) -> Strategy:
    """A strategy that does nearly as well in a fraction of the time: strengths are the usual."""
    if isinstance(strategy, CalibratedPruning):
        return BrainSurgery(damping=USUAL)
    if hasattr(strategy, "strategy"):
        strategy = replace(strategy, strategy=_quick(strategy.strategy))
    usual = {x: USUAL for x in ("damping", "ridge") if getattr(strategy, x, 0.0) is None}
    return cast(Strategy, replace(strategy, **usual))


def _with_division(strategy: Any, rule: GivenCounts) -> Strategy:
    if hasattr(strategy, "strategy"):
        return cast(Strategy, replace(strategy, strategy=_with_division(strategy.strategy, rule)))
    return cast(Strategy, replace(strategy, allocation=rule))
