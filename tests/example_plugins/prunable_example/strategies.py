"""A strategy: of every row of a matrix the same share of weights stays, those of largest size."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunable.budgets import Keep
from prunable.errors import InputError
from prunable.nets.networks.views import WeightView
from prunable.nets.prune.choices import Axis
from prunable.nets.prune.plan import Budget, PruningPlan
from prunable.nets.prune.strategies.base import check_views, plan_of


@dataclass(frozen=True)
class RowMagnitude:
    """Weights compete with those of their row alone."""

    axis: ClassVar[Axis] = "weight"

    def plan(
        self, views: Sequence[WeightView], budget: Budget, *, rng: np.random.Generator
    ) -> PruningPlan:
        """Choose the weights to keep, the ceiling of the share in every row."""
        del rng
        check_views(views, "RowMagnitude")
        if not isinstance(budget, Keep) or budget.scope != "layer":
            wanted = "a share of each layer, --keep"
            raise InputError.parameter("budget", "RowMagnitude.plan", wanted, budget)
        masks = []
        for view in views:
            ranks = np.argsort(np.argsort(-np.abs(view.matrix), axis=1, kind="stable"), axis=1)
            masks.append((ranks < np.ceil(budget.kappa * view.matrix.shape[1])).ravel())
        weights = [view.matrix.ravel() for view in views]
        return plan_of("row-magnitude", views, budget, "weight", masks, weights, 2.0)
