"""Controls and the randomized pruning of the sketching paper."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from prunable.errors import InputError, check_at_least, require
from prunable.nets.networks.views import WeightView
from prunable.nets.prune.choices import Axis
from prunable.nets.prune.plan import Budget, Keep, PruningPlan
from prunable.nets.prune.strategies.base import check_views, plan_of
from prunable.numerics.weights.selection import kept_count


@dataclass(frozen=True)
class RandomPruning:
    """Keep weights chosen uniformly at random: the control at equal count.

    >>> import torch, prunable
    >>> net = torch.nn.Linear(20, 10)
    >>> prunable.prune(net, RandomPruning(), prunable.budgets.Keep(0.25), seed=1).n_nonzero
    60
    """

    axis: ClassVar[Axis] = "weight"

    def plan(
        self, views: Sequence[WeightView], budget: Budget, *, rng: np.random.Generator
    ) -> PruningPlan:
        """Choose the weights to keep; the budget is a `Keep`, for chance promises no error."""
        check_views(views, "RandomPruning")
        if not isinstance(budget, Keep):
            raise InputError.parameter("budget", "RandomPruning.plan", "Keep", budget)
        weights = [view.matrix.ravel() for view in views]
        sizes = [x.size for x in weights]
        if budget.scope == "global":
            pooled = _chosen(sum(sizes), kept_count(budget.kappa, sum(sizes)), rng)
            masks = np.split(pooled, np.cumsum(sizes)[:-1])
        else:
            masks = [_chosen(n, kept_count(budget.kappa, n), rng) for n in sizes]
        return plan_of("random", views, budget, "weight", masks, weights, 2.0)


@dataclass(frozen=True)
class RandomizedMagnitudePruning:
    """Prune each weight w with probability exp(-w^2 / (d Psi)).

    Algorithm 1 of Guha, Dubey and Huo (2023); Psi is the variance of the layer's weights about
    their mean. For Gaussian weights the expected kept share is
    1 - sqrt(d / (d + 2)) (lemma 4.1).

    >>> import torch, prunable
    >>> net = torch.nn.Linear(20, 10)
    >>> plan = prunable.prune(net, RandomizedMagnitudePruning(), prunable.budgets.Keep(0.5)).plan
    >>> 0.2 < plan.kappa < 0.8
    True
    """

    axis: ClassVar[Axis] = "weight"

    # strength of the compression, >= 0: 0 prunes nothing, infinity everything. If None, each
    # layer's strength is solved for the share of the budget
    d: float | None = None
    # whether weights at (i, i) are never pruned, as in the paper; its authors' code prunes them too
    keep_diagonal: bool = True

    def __post_init__(self) -> None:
        check_at_least(self.d or 0.0, 0, "d", "RandomizedMagnitudePruning")

    def plan(
        self, views: Sequence[WeightView], budget: Budget, *, rng: np.random.Generator
    ) -> PruningPlan:
        """Draw the weights to keep; see `Strategy.plan`.

        With a `d` of its own the strategy keeps what chance leaves, and the budget only stands
        in the plan. Otherwise the *expected* share of each layer is the budget's, which must
        then be one.
        """
        where = "RandomizedMagnitudePruning"
        check_views(views, where)
        suits = self.d is not None or (isinstance(budget, Keep) and budget.scope == "layer")
        require(suits, "budget", f"{where}.plan", 'Keep(kappa, scope="layer")', budget)
        masks = []
        for view in views:
            squares = view.matrix.astype(np.float64) ** 2
            variance = float(view.matrix.var(dtype=np.float64))
            if self.d is None:
                assert isinstance(budget, Keep)
                exponent = self._solve(squares, budget.kappa)
            else:
                exponent = math.inf if self.d == 0 else 1 / (self.d * (variance or 1.0))
            kept = rng.random(squares.shape) >= self._pruned(squares, exponent)
            masks.append(kept.ravel())
        weights = [view.matrix.ravel() for view in views]
        return plan_of("randomized", views, budget, "weight", masks, weights, 2.0)

    def _pruned(self, squares: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
        """Probability of pruning each weight."""
        if math.isinf(exponent):
            # no compression: zero weights stay too
            return np.zeros(squares.shape)
        probability = np.exp(-squares * exponent)
        if self.keep_diagonal:
            np.fill_diagonal(probability, 0.0)
        return np.asarray(probability)

    def _solve(self, squares: NDArray[np.float64], kappa: float) -> float:
        """The 1 / (d Psi) whose expected kept share is `kappa`."""
        if kappa >= 1:
            return math.inf
        scale = float(squares.mean()) or 1.0

        def excess(log_exponent: float) -> float:
            pruned = self._pruned(squares, math.exp(log_exponent) / scale)
            return 1 - float(pruned.mean()) - kappa

        low, high = -60.0, 60.0
        if excess(low) >= 0:  # the diagonal alone is more than the share
            return math.exp(low) / scale
        if excess(high) <= 0:  # zero weights, which always go, are more than the rest
            return math.exp(high) / scale
        return math.exp(float(brentq(excess, low, high, xtol=1e-9))) / scale


def _chosen(n: int, k: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    mask = np.zeros(n, dtype=np.bool_)
    mask[rng.choice(n, k, replace=False)] = True
    return mask
