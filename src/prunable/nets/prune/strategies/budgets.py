"""From scores and a budget to masks: the part that strategies by score share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunable.errors import InputError
from prunable.nets.networks.views import WeightView
from prunable.nets.prune.plan import Axis, Budget, Energy, Error, Keep, LayerPlan, PruningPlan
from prunable.numerics.parallel import each
from prunable.numerics.weights.compressibility import kept_counts, relative_error
from prunable.numerics.weights.selection import Rounding, kept_count, top_k_masks

Scores = NDArray[np.floating[Any]]


def select(
    scores: Sequence[Scores], budget: Budget, *, p: float, rounding: Rounding, where: str
) -> list[NDArray[np.bool_]]:
    """Mark the candidates of largest scores that a budget keeps.

    Parameters
    ----------
    scores : sequence of ndarray, shape (n,)
        Scores of each layer's candidates; their absolute values compete.
    budget : Keep, Error or Energy
        Error budgets ask for scores whose l_p norm is that of the weights.
    p : float
        That order; budgets of error must have the same.
    rounding : {"ceil", "floor"}
        How `Keep` turns a share into a count.
    where : str
        Name of the strategy, for messages.

    Returns
    -------
    list of ndarray of bool

    Raises
    ------
    InputError
        If the budget is of an unknown kind or another order.
    """
    if isinstance(budget, Keep):
        if budget.scope == "global":
            total = sum(x.size for x in scores)
            return top_k_masks(scores, kept_count(budget.kappa, total, rounding))
        return [top_k_masks([x], kept_count(budget.kappa, x.size, rounding))[0] for x in scores]
    if not isinstance(budget, Error | Energy):
        raise InputError.parameter("budget", f"{where}.plan", "Keep, Error or Energy", budget)
    if budget.p != p:
        raise InputError.parameter("p", where, f"the budget's order, {budget.p:g}", p)
    return [top_k_masks([x], int(kept_counts(x, budget.eps, p)))[0] for x in scores]


def plan_of(
    method: str,
    views: Sequence[WeightView],
    budget: Budget,
    axis: Axis,
    masks: Sequence[NDArray[np.bool_]],
    scores: Sequence[Scores],
    p: float,
) -> PruningPlan:
    """Put masks together into a plan.

    Parameters
    ----------
    method : str
        Name of the strategy.
    views : sequence of WeightView
    budget : Keep, Error or Energy
    axis : str
        What the masks' entries are.
    masks : sequence of ndarray of bool
        What is kept of each layer.
    scores : sequence of ndarray
        Norms of the candidates, of order `p`; their errors are those of the weights.
    p : float

    Returns
    -------
    PruningPlan
    """
    asked = budget.kappa if isinstance(budget, Keep) and budget.scope == "layer" else None
    for kept in masks:
        kept.flags.writeable = False
    errors = each(lambda i: relative_error(scores[i], masks[i], p), range(len(masks)))
    layers = (
        LayerPlan(
            view.name,
            view.matrix.shape,
            axis,
            kept,
            eps=eps,
            p=p,
            kappa_asked=asked,
            taps=view.taps,
        )
        for view, kept, eps in zip(views, masks, errors, strict=True)
    )
    return PruningPlan(method, budget, tuple(layers))


def check_views(views: Sequence[WeightView], where: str) -> None:
    """Raise InputError unless there is a view."""
    if not views:
        raise InputError.parameter("views", f"{where}.plan", "at least one view", "none")
