"""What every pruning strategy is, and the way from scores and a budget to a plan."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from prunable.errors import InputError, require
from prunable.nets.networks.views import WeightView
from prunable.nets.prune.choices import Axis
from prunable.nets.prune.plan import Budget, Energy, Error, Keep, LayerPlan, PruningPlan
from prunable.numerics.parallel import each
from prunable.numerics.weights.compressibility import kept_counts, relative_error
from prunable.numerics.weights.magnitudes import Magnitudes
from prunable.numerics.weights.selection import Rounding, kept_count, top_k_masks

Scores = NDArray[np.floating[Any]] | Magnitudes
Masks = list[NDArray[np.bool_]]
FEW = 2**20  # weights


@runtime_checkable
class Strategy(Protocol):
    """A way to choose what is pruned; it sees weights and never a model.

    >>> import numpy as np
    >>> from prunable.strategies import MagnitudePruning
    >>> strategy: Strategy = MagnitudePruning()
    >>> layer = WeightView("weight", np.array([[3.0, 0.1], [0.2, 4.0]]))
    >>> plan = strategy.plan([layer], Keep(0.5), rng=np.random.default_rng(0))
    >>> strategy.axis, plan.layers[0].kept.tolist()
    ('weight', [True, False, False, True])
    """

    @property
    def axis(self) -> Axis:
        """What is pruned; see `LayerPlan`."""

    def plan(
        self, views: Sequence[WeightView], budget: Budget, *, rng: np.random.Generator
    ) -> PruningPlan:
        """Choose what to keep of exactly these layers, whatever their role.

        The plan has one layer a view, in their order; strategies that draw nothing leave `rng`
        untouched. An InputError says that there is no view, or that the budget does not suit.
        """


def select(
    scores: Sequence[Scores], budget: Budget, *, p: float, rounding: Rounding, where: str
) -> Masks:
    """Mark, of each layer's (n,) scores, those of largest absolute value that a budget keeps.

    `p` is the order of the scores' norm that is the norm of the weights; budgets of error must have
    the same, or an InputError names it. `rounding` says how `Keep` turns a share into a count.
    """
    if isinstance(budget, Keep):
        if budget.scope == "global":
            total = sum(x.size for x in scores)
            return top_k_masks(scores, kept_count(budget.kappa, total, rounding))
        return top_of_each(scores, [kept_count(budget.kappa, x.size, rounding) for x in scores])
    if not isinstance(budget, Error | Energy):
        wanted = "Keep, Error or Energy, or Target where units of a network that can be run go"
        raise InputError.parameter("budget", f"{where}.plan", wanted, budget)
    require(budget.p == p, "p", where, f"the budget's order, {budget.p:g}", p)
    return top_of_each(scores, [int(kept_counts(x, budget.eps, p)) for x in scores])


def top_of_each(scores: Sequence[Scores], counts: Sequence[int]) -> Masks:
    """Mark so many of the largest magnitudes of each layer."""
    return [top_k_masks([x], n)[0] for x, n in zip(scores, counts, strict=True)]


def plan_of(
    method: str,
    views: Sequence[WeightView],
    budget: Budget,
    axis: Axis,
    masks: Masks,
    norms: Sequence[Scores],
    p: float,
) -> PruningPlan:
    """Put masks together into a plan; the l_p norms of the candidates give its errors."""
    asked = budget.kappa if isinstance(budget, Keep) and budget.scope == "layer" else None
    for kept in masks:
        kept.flags.writeable = False

    def error(layer: int) -> float:
        return relative_error(norms[layer], masks[layer], p)

    numbers = range(len(masks))
    # threads take longer to start than few weights to look at
    few = sum(x.size for x in norms) <= FEW
    errors = list(map(error, numbers)) if few else each(error, numbers)
    layers = (
        layer_of(view, kept, eps, axis, p, asked)
        for view, kept, eps in zip(views, masks, errors, strict=True)
    )
    return PruningPlan(method, budget, tuple(layers))


def layer_of(
    view: WeightView,
    kept: NDArray[np.bool_],
    eps: float,
    axis: Axis = "weight",
    p: float = 2.0,
    asked: float | None = None,
) -> LayerPlan:
    """The plan of the layer that a view shows."""
    return LayerPlan(
        view.name,
        view.matrix.shape,
        axis,
        kept,
        eps,
        p,
        asked,
        view.taps,
        transposed=view.transposed,
        groups=view.groups,
    )


def check_views(views: Sequence[WeightView], where: str) -> None:
    """Raise InputError unless there is a view."""
    require(views, "views", f"{where}.plan", "at least one view", "none")
