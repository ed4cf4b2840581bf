"""Centring by medians or means: pruned weights take that value instead of 0."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from prunable.nets.networks.views import WeightView
from prunable.nets.prune.choices import Axis
from prunable.nets.prune.plan import Budget, PruningPlan
from prunable.nets.prune.strategies.base import Strategy, check_views

CENTRED_OVER: dict[Axis, tuple[int, ...]] = {
    "weight": (0, 1, 2),
    "input": (1, 2),
    "unit": (0,),
    "singular_value": (0,),
    "kernel": (0, 1),
}


@dataclass(frozen=True)
class MedianCentred:
    """Any strategy, on weights less their medians; what it prunes becomes the median.

    With `location="mean"` means stand for medians: appendix A.5 of Barsbey et al. (2021) finds no
    difference.

    The strategy sees the centred weights; errors, asked and realised, are relative to those.

    As the code released with Barsbey et al. (2021) prunes: the median of the whole layer for
    single weights, of each row for input nodes, of each column for singular values, of each tap
    over all kernels for kernels; of each column for units, which it does not have.

    >>> import torch, prunable
    >>> from prunable.strategies import MagnitudePruning
    >>> net = torch.nn.Linear(3, 1, bias=False)
    >>> net.weight.data = torch.tensor([[1.0, 1.5, 9.0]])
    >>> pruned = prunable.prune(net, MedianCentred(MagnitudePruning()), prunable.budgets.Keep(0.3))
    >>> net.weight.tolist(), MedianCentred(MagnitudePruning()).axis
    ([[1.5, 1.5, 9.0]], 'weight')
    """

    strategy: Strategy
    location: Literal["median", "mean"] = "median"

    @property
    def axis(self) -> Axis:
        """What is pruned."""
        return self.strategy.axis

    def plan(
        self, views: Sequence[WeightView], budget: Budget, *, rng: np.random.Generator
    ) -> PruningPlan:
        """Choose what to keep; see `Strategy.plan`."""
        check_views(views, "MedianCentred")
        blocks = [_blocks(view) for view in views]
        location = np.median if self.location == "median" else np.mean
        medians = [location(x, axis=CENTRED_OVER[self.axis], keepdims=True) for x in blocks]
        centred = [
            replace(view, matrix=(x - m).reshape(view.matrix.shape))
            for view, x, m in zip(views, blocks, medians, strict=True)
        ]
        plan = self.strategy.plan(centred, budget, rng=rng)
        layers = (replace(x, fill=m) for x, m in zip(plan.layers, medians, strict=True))
        return PruningPlan(f"{self.location}-centred {plan.method}", plan.budget, tuple(layers))


def _blocks(view: WeightView) -> NDArray[np.float64]:
    out, width = view.matrix.shape
    return view.matrix.astype(np.float64).reshape(out, width // view.taps, view.taps)
