"""What every pruning strategy is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from prunable.nets.networks.views import WeightView
from prunable.nets.prune.plan import Axis, Budget, PruningPlan


class Strategy(Protocol):
    """A way to choose what is pruned; it sees weights and never a model.

    Attributes
    ----------
    axis : str
        What is pruned; see `LayerPlan`.
    """

    @property
    def axis(self) -> Axis:
        """What is pruned."""

    def plan(
        self, views: Sequence[WeightView], budget: Budget, *, rng: np.random.Generator
    ) -> PruningPlan:
        """Choose what to keep.

        Parameters
        ----------
        views : sequence of WeightView
            Exactly the layers to prune, whatever their role; at least one.
        budget : Keep, Error or Energy
        rng : numpy.random.Generator
            Source of randomness; deterministic strategies leave it untouched.

        Returns
        -------
        PruningPlan
            One layer plan per view, in the same order.

        Raises
        ------
        InputError
            If there is no view, or the strategy cannot meet such a budget.
        """
