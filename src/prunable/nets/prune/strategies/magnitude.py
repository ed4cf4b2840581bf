"""Pruning of single weights by magnitude."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, get_args

import numpy as np

from prunable.errors import check_one_of
from prunable.nets.networks.views import WeightView
from prunable.nets.prune.choices import Axis
from prunable.nets.prune.plan import Budget, Keep, PruningPlan
from prunable.nets.prune.strategies.base import check_views, plan_of, select
from prunable.nets.prune.strategies.sharing import Division, check_division, shared_masks
from prunable.numerics.checks import check_order
from prunable.numerics.weights.selection import Rounding, kept_count


@dataclass(frozen=True)
class MagnitudePruning:
    """Keep the weights of largest magnitude, of each layer or of all layers together.

    Theorem 2 of Barsbey et al. (2021): (i) one threshold for all layers, (ii) layer by layer.

    >>> import torch, prunable
    >>> net = torch.nn.Linear(2, 2, bias=False)
    >>> net.weight.data = torch.tensor([[3.0, 0.1], [0.2, 4.0]])
    >>> pruned = prunable.prune(net, MagnitudePruning(), Keep(0.5))
    >>> net.weight.tolist()
    [[3.0, 0.0], [0.0, 4.0]]
    """

    axis: ClassVar[Axis] = "weight"

    # order in which plans report errors, and of error budgets; positive and finite. The kept
    # weights do not depend on it
    p: float = 2.0
    # how `Keep` turns a share into a count; ceil as in the 2021 paper's definition
    rounding: Rounding = "ceil"
    allocation: Division = "threshold"  # how a share of all layers together is divided among them

    def __post_init__(self) -> None:
        where = "MagnitudePruning"
        check_order(self.p, where)
        check_one_of(self.rounding, get_args(Rounding), "rounding", where)
        check_division(self.allocation, where)

    def plan(
        self, views: Sequence[WeightView], budget: Budget, *, rng: np.random.Generator
    ) -> PruningPlan:
        """Choose the weights to keep; see `Strategy.plan`. The choice is not random."""
        del rng
        where = "MagnitudePruning"
        check_views(views, where)
        weights = [view.magnitudes for view in views]
        if isinstance(budget, Keep) and budget.scope == "global":
            count = kept_count(budget.kappa, sum(w.size for w in weights), self.rounding)
            masks = shared_masks(views, count, self.allocation)
        else:
            masks = select(weights, budget, p=self.p, rounding=self.rounding, where=where)
        return plan_of("magnitude", views, budget, "weight", masks, weights, self.p)
