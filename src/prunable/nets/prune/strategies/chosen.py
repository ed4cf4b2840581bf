"""Calibrated pruning that needs no choice: each layer takes what does best there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from prunable.nets.networks.views import WeightView
from prunable.nets.prune.choices import Axis
from prunable.nets.prune.plan import Budget, LayerPlan, PruningPlan
from prunable.nets.prune.strategies.base import layer_of
from prunable.nets.prune.strategies.calibrated import Mask, by_magnitude, reconstructed
from prunable.nets.prune.strategies.sharing import Division, check_division
from prunable.numerics.reconstruction.choice import choose
from prunable.numerics.reconstruction.gram import output_error
from prunable.numerics.reconstruction.surgery import Pattern


@dataclass(frozen=True)
class CalibratedPruning:
    """Prune each layer in the way whose outputs are nearest on the inputs held out.

    Ways are the largest weights, or those times the norms of their inputs, as they are or refitted;
    `BrainSurgery`; and weights that go in a few steps, the others refitted in between (`choose`).
    Errors, asked and realised, are those of the layer's outputs on the calibration inputs. Layers
    that no input reached lose their smallest weights. `prune` takes it where it is given a
    calibration and no strategy.

    >>> import torch, prunable
    >>> net, inputs = torch.nn.Linear(20, 5), torch.randn(200, 20)
    >>> half = prunable.budgets.Keep(0.5, "global")
    >>> pruned = prunable.prune(net, CalibratedPruning(), half, calibration=inputs)
    >>> pruned.n_nonzero, [output.name for output in pruned.outputs]
    (55, ['weight'])
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
        named = ("CalibratedPruning", "calibrated")
        return reconstructed(*named, views, budget, self.allocation, self.n_m, _layer)


def _layer(view: WeightView, keep: int | Pattern, by_weights: Mask | None) -> LayerPlan:
    matrix = view.matrix
    if view.gram is None or keep in (0, matrix.size):
        return by_magnitude(view, keep, by_weights)
    _, mask, values = choose(matrix, view.gram, keep, where=view.name)
    eps = output_error(matrix, values, view.gram.products)
    return replace(layer_of(view, mask.ravel(), eps), values=values)
