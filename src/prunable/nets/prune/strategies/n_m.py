"""Pruning to n of each m neighbouring weights, the pattern that sparse tensor cores read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from prunable.errors import InputError, check_at_least, require
from prunable.nets.networks.views import WeightView
from prunable.nets.prune.choices import Axis
from prunable.nets.prune.plan import Budget, Keep, PruningPlan
from prunable.nets.prune.strategies.base import Masks, check_views, plan_of
from prunable.numerics.reconstruction.surgery import n_of_m


@dataclass(frozen=True)
class NMPruning:
    """Keep the n largest of each m consecutive inputs of every output; of a kernel, at each tap.

    The share is n / m of each layer and no budget can change it. A layer whose number of inputs is
    no multiple of m, such as one that reads colours, is left whole.

    Mishra, Latorre, Pool, Stosic, Stosic, Venkatesh, Yu and Micikevicius (2021).

    >>> import torch, prunable
    >>> net = torch.nn.Linear(8, 2, bias=False)
    >>> pruned = prunable.prune(net, NMPruning(2, 4), prunable.budgets.Keep(0.5))
    >>> (net.weight != 0).reshape(2, 2, 4).sum(-1).tolist(), NMPruning(2, 4).share
    ([[2, 2], [2, 2]], 0.5)
    """

    axis: ClassVar[Axis] = "weight"

    n: int = 2
    m: int = 4

    def __post_init__(self) -> None:
        check_at_least(self.n, 1, "n", "NMPruning")
        require(self.n < self.m, "n", "NMPruning", f"below m, {self.m}", self.n)

    @property
    def share(self) -> float:
        """The share of weights that stays."""
        return self.n / self.m

    def plan(
        self, views: Sequence[WeightView], budget: Budget, *, rng: np.random.Generator
    ) -> PruningPlan:
        """Choose the weights to keep; see `Strategy.plan`. The choice is not random.

        The budget is `Keep(n / m)`. Of equal weights the earlier input stays. Raises InputError if
        it is another, or no layer has a multiple of m inputs.
        """
        del rng
        check_views(views, "NMPruning")
        scores = [view.matrix for view in views]
        masks = pattern_masks(views, scores, budget, (self.n, self.m), "NMPruning.plan")
        weights = [view.matrix.ravel() for view in views]
        plan = plan_of(f"{self.n}:{self.m}", views, budget, "weight", masks, weights, 2.0)
        return of_pattern(plan, views, self.m)


def n_of_each_m(strategy: Any) -> tuple[int, int] | None:
    """The n and m of a strategy, or of the one inside it, that keeps n of each m inputs."""
    if hasattr(strategy, "strategy"):
        return n_of_each_m(strategy.strategy)
    if isinstance(strategy, NMPruning):
        return strategy.n, strategy.m
    found: tuple[int, int] | None = getattr(strategy, "n_m", None)
    return found


def of_pattern(plan: PruningPlan, views: Sequence[WeightView], m: int) -> PruningPlan:
    """The plan, in which nothing was asked of the layers that stay whole."""
    layers = (
        x if fits_pattern(view, m) else replace(x, kappa_asked=None)
        for x, view in zip(plan.layers, views, strict=True)
    )
    return replace(plan, layers=tuple(layers))


def pattern_masks(
    views: Sequence[WeightView],
    scores: Sequence[NDArray[np.floating[Any]]],
    budget: Budget,
    n_m: tuple[int, int],
    where: str,
) -> Masks:
    """Mark the n largest of each m inputs of every output; a layer that has no such is whole.

    Scores have the shape of the matrix. Raises InputError as `NMPruning.plan` does.
    """
    n, m = n_m
    right = isinstance(budget, Keep) and budget.scope == "layer" and budget.kappa == n / m
    require(right, "budget", where, f"Keep({n / m:g}), the share of {n}:{m}", budget)
    if not any(fits_pattern(view, m) for view in views):
        raise InputError(
            f"`views` of `{where}` have no layer whose inputs are a multiple of {m}: "
            f"{', '.join(view.name for view in views[:8])}. Choose another m, or method."
        )
    return [
        n_of_m(np.abs(score), n, m, view.taps).ravel()
        if fits_pattern(view, m)
        else np.ones(score.size, dtype=np.bool_)
        for view, score in zip(views, scores, strict=True)
    ]


def fits_pattern(view: WeightView, m: int) -> bool:
    return view.matrix.shape[1] // view.taps % m == 0
