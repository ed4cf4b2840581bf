"""Pruning of coupled units, by the scores that any strategy gives their weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, get_args

import numpy as np
from numpy.typing import NDArray

from prunable.errors import InputError, check_at_least, check_one_of
from prunable.nets.networks.views import WeightView
from prunable.nets.prune.choices import Aggregate, Axis
from prunable.nets.prune.grouped import Group, GroupPlan
from prunable.nets.prune.plan import Budget, Keep, PruningPlan
from prunable.nets.prune.strategies.base import Strategy, check_views, plan_of, select
from prunable.nets.prune.strategies.calibrated import BrainSurgery, InputWeightedPruning
from prunable.nets.prune.strategies.magnitude import MagnitudePruning
from prunable.nets.prune.strategies.node import NodePruning
from prunable.nets.prune.strategies.randomly import RandomPruning
from prunable.nets.prune.strategies.scored import SaliencyPruning
from prunable.numerics.weights.selection import kept_count, top_k_masks

Floats = NDArray[np.float64]
OfWeight = Callable[[str, NDArray[Any]], Floats]


@dataclass(frozen=True)
class UnitPruning:
    """Keep the units whose weights another strategy scores highest.

    A unit's score gathers those of all matrices that make or read it: `sum` adds them, so that
    large matrices count for more; `mean` and `max` first take each matrix's scores relative to
    their mean over the units.

    >>> import torch, prunable
    >>> net = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
    >>> example = torch.zeros(1, 8)
    >>> pruned = prunable.prune(net, UnitPruning(), Keep(0.3), example=example)
    >>> prunable.shrink(net, pruned, example).model[0].out_features
    20
    >>> rng, weights = np.random.default_rng(0), {"0.weight": np.diag([1.0, 3.0, 2.0])}
    >>> from prunable.nets.prune.grouped import Member
    >>> rows = Member("0.weight", 0, 3, np.arange(3), np.arange(3), made=True)
    >>> groups = [Group("0.weight", 3, (rows,))]
    >>> np.argsort(UnitPruning().scores(groups, weights, rng=rng)[0]).tolist()
    [0, 2, 1]
    >>> UnitPruning().kept(groups, weights, Keep(0.5), rng=rng)[0].kept.tolist()
    [False, True, True]
    >>> units = UnitPruning(round_to=8)
    >>> units.name, units.rounded(20, 64)
    ('unit', 24)
    """

    axis: ClassVar[Axis] = "unit"

    # what scores a weight: |w|^p of `NodePruning`, w^2 of `MagnitudePruning`, a saliency, chance.
    # With calibration inputs also what the outputs of readers lose without a unit: as they are
    # (`InputWeightedPruning`), or once all other weights make up for it (`BrainSurgery`)
    of: Strategy = field(default_factory=NodePruning)
    aggregate: Aggregate = "mean"
    round_to: int = 1  # units are kept in multiples of this, where a group has as many

    def __post_init__(self) -> None:
        check_one_of(self.aggregate, get_args(Aggregate), "aggregate", "UnitPruning")
        check_at_least(self.round_to, 1, "round_to", "UnitPruning")
        if not isinstance(self.of, InputWeightedPruning | BrainSurgery):
            _scores_of(self.of)

    @property
    def name(self) -> str:
        """What the scores are called in plans."""
        own = {RandomPruning: "random", InputWeightedPruning: "input-weighted unit"}
        own |= {BrainSurgery: "unit by brain surgery"}
        if isinstance(self.of, SaliencyPruning):
            return self.of.method
        return own.get(type(self.of), "unit")

    def plan(
        self, views: Sequence[WeightView], budget: Budget, *, rng: np.random.Generator
    ) -> PruningPlan:
        """Choose rows of matrices, each by itself; see `Strategy.plan`."""
        check_views(views, "UnitPruning")
        of_weight = _scores_of(self.of)
        totals = [
            rng.random(len(v.matrix))
            if of_weight is None
            else of_weight(v.name, v.matrix).reshape(len(v.matrix), -1).sum(1)
            for v in views
        ]
        norms = [np.sqrt(total) for total in totals]
        masks = select(norms, budget, p=2.0, rounding="ceil", where="UnitPruning")
        return plan_of(self.name, views, budget, "unit", masks, norms, 2.0)

    def kept(
        self,
        groups: Sequence[Group],
        weights: Mapping[str, NDArray[Any]],
        budget: Budget,
        *,
        rng: np.random.Generator,
    ) -> tuple[GroupPlan, ...]:
        """Choose units of groups; of each group at least one stays.

        `weights` are the parameters that groups name, by name. With global scope the scores of
        all groups compete relative to their group's mean.
        """
        scores = self.scores(groups, weights, rng=rng)
        if isinstance(budget, Keep):
            masks = self._share(scores, budget)
        else:
            norms = [np.sqrt(score) for score in scores]
            masks = select(norms, budget, p=2.0, rounding="ceil", where="UnitPruning")
        return tuple(
            GroupPlan(g, _one_stays(k, s)) for g, k, s in zip(groups, masks, scores, strict=True)
        )

    def scores(
        self,
        groups: Sequence[Group],
        weights: Mapping[str, NDArray[Any]],
        *,
        rng: np.random.Generator,
    ) -> list[Floats]:
        """Scores of the units of each group; the higher, the more they count."""
        return [self._scores(group, weights, rng) for group in groups]

    def _share(self, scores: Sequence[Floats], budget: Keep) -> list[NDArray[np.bool_]]:
        if budget.scope == "global":
            relative = [score / (score.mean() or 1.0) for score in scores]
            count = kept_count(budget.kappa, sum(s.size for s in scores))
            counts = [int(mask.sum()) for mask in top_k_masks(relative, count)]
        else:
            counts = [kept_count(budget.kappa, s.size) for s in scores]
        counts = [self.rounded(n, s.size) for n, s in zip(counts, scores, strict=True)]
        return [top_k_masks([s], n)[0] for s, n in zip(scores, counts, strict=True)]

    def rounded(self, count: int, total: int) -> int:
        """The count of units to keep that `round_to` allows."""
        if total < self.round_to:
            return total
        rounded = math.floor(count / self.round_to + 0.5) * self.round_to
        return min(max(rounded, self.round_to), total // self.round_to * self.round_to)

    def _scores(
        self, group: Group, weights: Mapping[str, NDArray[Any]], rng: np.random.Generator
    ) -> Floats:
        of_weight = _scores_of(self.of)
        if of_weight is None:
            return rng.random(group.n_units)
        found = []
        for member in group.members:
            if member.buffer or weights[member.parameter].ndim < 2:
                continue
            scores = of_weight(member.parameter, weights[member.parameter])
            lines = np.moveaxis(scores, member.dim, 0).reshape(member.size, -1).sum(1)
            counted = np.bincount(member.units, lines[member.places], group.n_units)
            total = counted.astype(np.float64)
            found.append(total if self.aggregate == "sum" else total / (total.mean() or 1.0))
        scores = np.array(found)
        if self.aggregate == "max":
            return np.asarray(scores.max(axis=0))
        return np.asarray(scores.sum(axis=0) if self.aggregate == "sum" else scores.mean(axis=0))


def _one_stays(kept: NDArray[np.bool_], scores: Floats) -> NDArray[np.bool_]:
    kept = kept.copy()
    if not kept.any():
        kept[np.argmax(scores)] = True
    return kept


def _scores_of(strategy: Strategy) -> OfWeight | None:
    """The function that scores a parameter's weights; None for chance."""
    if isinstance(strategy, NodePruning):
        return lambda _, w: np.abs(w.astype(np.float64)) ** strategy.p
    if isinstance(strategy, MagnitudePruning):
        return lambda _, w: w.astype(np.float64) ** 2
    if isinstance(strategy, SaliencyPruning):
        return lambda name, w: strategy.of(name, w.shape)
    if isinstance(strategy, RandomPruning):
        return None
    if isinstance(strategy, InputWeightedPruning | BrainSurgery):
        raise InputError(
            f"`UnitPruning({type(strategy).__name__}())` needs a network, an `example` to follow "
            "and `calibration`: unlabelled inputs. Give them to `prune`."
        )
    raise InputError.parameter(
        "of",
        "UnitPruning",
        "a strategy that scores weights",
        type(strategy).__name__,
        "Give NodePruning, MagnitudePruning, SaliencyPruning or RandomPruning.",
    )
