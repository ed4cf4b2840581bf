"""Pruning to n of each m neighbouring weights, the pattern that sparse tensor cores read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from prunable.errors import InputError, check_at_least, require
from prunable.nets.networks.views import WeightView
from prunable.nets.prune.choices import Axis
from prunable.nets.prune.plan import Budget, Keep, LayerPlan, PruningPlan
from prunable.nets.prune.strategies.base import check_views
from prunable.numerics.weights.compressibility import relative_error


@dataclass(frozen=True)
class NMPruning:
    """Keep the n largest of each m consecutive inputs of every output; of a kernel, at each tap.

    The share is n / m of each layer and no budget can change it. A layer whose number of inputs is
    no multiple of m, such as one that reads colours, is left whole.

    Mishra, Latorre, Pool, Stosic, Stosic, Venkatesh, Yu and Micikevicius (2021).
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
        where = "NMPruning.plan"
        check_views(views, "NMPruning")
        right = isinstance(budget, Keep) and budget.scope == "layer" and budget.kappa == self.share
        wanted = f"Keep({self.share:g}), the share of {self.n}:{self.m}"
        require(right, "budget", where, wanted, budget)
        layers = tuple(self._layer(view) for view in views)
        if all(layer.kappa_asked is None for layer in layers):
            raise InputError(
                f"`views` of `{where}` have no layer whose inputs are a multiple of {self.m}: "
                f"{', '.join(view.name for view in views[:8])}. Choose another m, or method."
            )
        return PruningPlan(f"{self.n}:{self.m}", budget, layers)

    def _layer(self, view: WeightView) -> LayerPlan:
        out, width = view.matrix.shape
        inputs = width // view.taps
        if inputs % self.m:
            kept, asked = np.ones(view.matrix.size, dtype=np.bool_), None
        else:
            groups = view.matrix.reshape(out, inputs // self.m, self.m, view.taps)
            kept, asked = _largest(groups, self.n).ravel(), self.share
        eps = relative_error(view.matrix.ravel(), kept, 2.0)
        shape = (out, width)
        return LayerPlan(view.name, shape, "weight", kept, eps, 2.0, asked, view.taps)


def _largest(groups: NDArray[np.floating[Any]], n: int) -> NDArray[np.bool_]:
    """Mark the n largest magnitudes along the third axis, of equal ones the first."""
    order = np.argsort(-np.abs(groups), axis=2, kind="stable")
    kept = np.zeros(groups.shape, dtype=np.bool_)
    np.put_along_axis(kept, order[:, :, :n], True, axis=2)
    return kept
