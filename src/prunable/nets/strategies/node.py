"""Pruning of whole nodes by the norms of their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from prunable.errors import InputError
from prunable.nets.plan import (
    Axis,
    Budget,
    Energy,
    Error,
    Keep,
    LayerPlan,
    PruningPlan,
    check_axis,
    check_order,
)
from prunable.nets.views import WeightView
from prunable.numerics.compressibility import kept_counts, relative_error
from prunable.numerics.selection import Rounding, kept_count, top_k_mask


@dataclass(frozen=True)
class NodePruning:
    """Keep the nodes of largest l_p norm.

    Parameters
    ----------
    axis : {"unit", "input"}
        Nodes are the rows of the (out, in) matrix, a hidden unit's incoming weights (the
        columns theta^i of Wan, Zaidi and Simsekli 2023, section 3); or its columns, an
        input node's outgoing weights (theorem 4 of Barsbey et al. 2021).
    p : float
        Order of the norm, positive and finite. Error budgets must have the same order, since
        only then are the largest nodes the best to keep.
    rounding : {"ceil", "floor"}
        How `Keep` turns a share into a count.

    Raises
    ------
    InputError
        If a value is out of range.
    """

    axis: Axis = "unit"
    p: float = 2.0
    rounding: Rounding = "ceil"

    def __post_init__(self) -> None:
        check_axis(self.axis, "NodePruning")
        check_order(self.p, "NodePruning")
        if self.rounding not in get_args(Rounding):
            raise InputError.parameter(
                "rounding", "NodePruning", f"one of {get_args(Rounding)}", self.rounding
            )

    def plan(
        self, views: Sequence[WeightView], budget: Budget, *, rng: np.random.Generator
    ) -> PruningPlan:
        """Choose the nodes to keep; see `Strategy.plan`. The choice is not random.

        With global scope the norms of all layers compete as they are; of equal norms the
        earlier node stays.
        """
        del rng
        if not views:
            raise InputError.parameter("views", "NodePruning.plan", "at least one view", "none")
        top = max(float(np.abs(view.matrix).max()) for view in views)
        norms = [self._norms(view.matrix, top) for view in views]
        masks = self._masks(norms, budget)
        asked = budget.kappa if isinstance(budget, Keep) and budget.scope == "layer" else None
        layers = (
            LayerPlan(
                view.name,
                view.matrix.shape,
                self.axis,
                kept,
                eps=relative_error(scores, kept, self.p),
                p=self.p,
                kappa_asked=asked,
            )
            for view, scores, kept in zip(views, norms, masks, strict=True)
        )
        return PruningPlan("node", budget, tuple(layers))

    def _norms(self, matrix: NDArray[np.floating[Any]], top: float) -> NDArray[np.float64]:
        """Norms of the nodes in units of `top`, the largest weight of all layers."""
        nodes = np.abs(matrix if self.axis == "unit" else matrix.T).astype(np.float64)
        largest = nodes.max(axis=1)
        # relative to each node's largest weight, so that no power underflows
        nodes /= np.where(largest > 0, largest, 1)[:, np.newaxis]
        nodes **= self.p
        return largest / (top or 1) * nodes.sum(axis=1) ** (1 / self.p)

    def _masks(self, norms: list[NDArray[np.float64]], budget: Budget) -> list[NDArray[np.bool_]]:
        if isinstance(budget, Keep):
            if budget.scope == "layer":
                return [
                    top_k_mask(x, kept_count(budget.kappa, x.size, self.rounding)) for x in norms
                ]
            pooled = np.concatenate(norms)
            mask = top_k_mask(pooled, kept_count(budget.kappa, pooled.size, self.rounding))
            return np.split(mask, np.cumsum([x.size for x in norms])[:-1])
        if not isinstance(budget, Error | Energy):
            raise InputError.parameter(
                "budget", "NodePruning.plan", "Keep, Error or Energy", budget
            )
        if budget.p != self.p:
            raise InputError.parameter(
                "p", "NodePruning", f"the budget's order, {budget.p:g}", self.p
            )
        return [top_k_mask(x, int(kept_counts(x, budget.eps, self.p))) for x in norms]
