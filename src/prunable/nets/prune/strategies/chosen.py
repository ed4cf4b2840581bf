"""Calibrated pruning that needs no choice: each layer takes what does best there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from prunable.errors import InputError, require
from prunable.nets.networks.views import WeightView
from prunable.nets.prune.choices import Axis
from prunable.nets.prune.plan import Budget, Energy, Error, Keep, LayerPlan, PruningPlan
from prunable.nets.prune.strategies.base import layer_of
from prunable.nets.prune.strategies.calibrated import check_inputs, kept_counts_of
from prunable.nets.prune.strategies.n_m import of_pattern, pattern_masks
from prunable.nets.prune.strategies.sharing import Division, check_division
from prunable.numerics.reconstruction.choice import choose
from prunable.numerics.reconstruction.gram import output_error
from prunable.numerics.weights.compressibility import relative_error
from prunable.numerics.weights.selection import top_k_mask


@dataclass(frozen=True)
class CalibratedPruning:
    """Prune each layer in the way whose outputs are nearest on the inputs held out.

    Ways are the largest weights, or those times the norms of their inputs, as they are or refitted;
    `BrainSurgery`; and weights that go in a few steps, the others refitted in between (`choose`).
    Errors, asked and realised, are those of the layer's outputs on the calibration inputs. Layers
    that no input reached lose their smallest weights. `prune` takes it where it is given a
    calibration and no strategy.
    """

    axis: ClassVar[Axis] = "weight"

    # how a share of all layers together is divided, as `BrainSurgery` divides it
    allocation: Division = "lamp"
    n_m: tuple[int, int] | None = None  # keep n of each m consecutive inputs; see `NMPruning`

    def __post_init__(self) -> None:
        check_division(self.allocation, "CalibratedPruning")

    def plan(
        self, views: Sequence[WeightView], budget: Budget, *, rng: np.random.Generator
    ) -> PruningPlan:
        """Choose the weights to keep, and what they become; see `Strategy.plan`.

        Views hold Gram matrices of their inputs: `prune` gives them for its `calibration`. Raises
        InputError if none does, or the budget does not suit. The choice is not random.
        """
        del rng
        check_inputs(views, "CalibratedPruning")
        if self.n_m is not None:
            scores = [view.weighted for view in views]
            masks = pattern_masks(views, scores, budget, self.n_m, "CalibratedPruning.plan")
            n, m = self.n_m
            layers = [
                _layer(v, v.matrix.size if mask.all() else (n, m, v.taps), mask)
                for v, mask in zip(views, masks, strict=True)
            ]
        elif isinstance(budget, Keep):
            scores = [view.weighted for view in views]
            counts = kept_counts_of(views, scores, budget, self.allocation)
            layers = [_layer(v, n) for v, n in zip(views, counts, strict=True)]
        elif isinstance(budget, Error | Energy):
            require(budget.p == 2, "p", "CalibratedPruning", "the budget's order, 2", budget.p)
            layers = [_within(view, budget.eps) for view in views]
        else:
            wanted = "Keep, Error or Energy"
            raise InputError.parameter("budget", "CalibratedPruning.plan", wanted, budget)
        asked = budget.kappa if isinstance(budget, Keep) and budget.scope == "layer" else None
        layers = [replace(layer, kappa_asked=asked) for layer in layers]
        named = "calibrated" if self.n_m is None else f"calibrated {self.n_m[0]}:{self.n_m[1]}"
        plan = PruningPlan(named, budget, tuple(layers))
        return plan if self.n_m is None else of_pattern(plan, views, self.n_m[1])


def _layer(
    view: WeightView,
    keep: int | tuple[int, int, int],
    by_weights: np.ndarray[tuple[int], np.dtype[np.bool_]] | None = None,
) -> LayerPlan:
    matrix = view.matrix
    if view.gram is None or keep in (0, matrix.size):
        mask = by_weights
        if isinstance(keep, int):
            mask = top_k_mask(np.abs(matrix), keep).ravel()
        assert mask is not None
        return layer_of(view, mask, relative_error(matrix.ravel(), mask, 2.0))
    _, mask, values = choose(matrix, view.gram, keep, where=view.name)
    eps = output_error(matrix, values, view.gram.products)
    return replace(layer_of(view, mask.ravel(), eps), values=values)


def _within(view: WeightView, eps: float) -> LayerPlan:
    """The fewest weights with an error of at most eps, by halving their number."""
    low, high = 0, view.matrix.size
    found = _layer(view, low)
    if found.eps <= eps:
        return found
    found = _layer(view, high)
    while high - low > 1:
        middle = (low + high) // 2
        tried = _layer(view, middle)
        low, high = (low, middle) if tried.eps <= eps else (middle, high)
        found = tried if tried.eps <= eps else found
    return found
