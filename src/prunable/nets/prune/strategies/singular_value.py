"""Pruning of singular values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunable.nets.networks.views import WeightView
from prunable.nets.prune.choices import Axis
from prunable.nets.prune.plan import Budget, PruningPlan
from prunable.nets.prune.strategies.base import check_views, plan_of, select
from prunable.numerics.checks import check_order
from prunable.numerics.measure.spectrum import singular_values


@dataclass(frozen=True)
class SingularValuePruning:
    """Keep the largest singular values of each (out, in * taps) matrix.

    `p`, positive and finite, is the order of the norm of the vector of singular values; for
    p = 2 the error is that of the weights in the Frobenius norm.

    Theorem 3 of Barsbey et al. (2021). A layer of shape (m, n) is smaller as two factors only
    if fewer than m n / (m + n) singular values are kept.

    >>> import torch, prunable
    >>> net = torch.nn.Linear(20, 10)
    >>> pruned = prunable.prune(net, SingularValuePruning(), prunable.budgets.Keep(0.5))
    >>> int(torch.linalg.matrix_rank(net.weight))
    5
    """

    axis: ClassVar[Axis] = "singular_value"

    p: float = 2.0

    def __post_init__(self) -> None:
        check_order(self.p, "SingularValuePruning")

    def plan(
        self, views: Sequence[WeightView], budget: Budget, *, rng: np.random.Generator
    ) -> PruningPlan:
        """Choose the singular values to keep; see `Strategy.plan`. The choice is not random."""
        del rng
        check_views(views, "SingularValuePruning")
        values = [singular_values(view.matrix)[::-1] for view in views]
        masks = select(values, budget, p=self.p, rounding="ceil", where="SingularValuePruning")
        return plan_of("singular value", views, budget, "singular_value", masks, values, self.p)
