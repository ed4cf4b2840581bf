"""Pruning by saliencies that somebody else computed: Hessian, gradient, oracle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from prunable.errors import InputError, require
from prunable.nets.networks.views import WeightView, out_in
from prunable.nets.prune.choices import Axis
from prunable.nets.prune.plan import Budget, Keep, PruningPlan
from prunable.nets.prune.strategies.base import check_views, plan_of, select


@dataclass(frozen=True, eq=False)
class SaliencyPruning:
    """Keep the weights of largest saliency.

    `saliencies` holds that of each weight, >= 0, in the shape of the parameter, by its name;
    `method` says what they are, such as "hessian", and names the plan.

    Of linear problems: Hessian pruning selects by Shat_ii b_i^2 with Shat the diagonal of the
    empirical second moment, oracle pruning by Sigma_ii (beta*_i)^2 (Chang, Li, Oymak and
    Thrampoulidis 2020, sections 2 and 3). Of networks: see `prunable.nets.prune.saliency`.

    >>> import numpy as np
    >>> import torch, prunable
    >>> strategy = SaliencyPruning({"weight": np.array([[1.0, 2.0], [4.0, 3.0]])})
    >>> float(strategy.of("weight", (2, 2)).max())
    4.0
    >>> net = torch.nn.Linear(2, 2)
    >>> prunable.prune(net, strategy, Keep(0.5)).plan.layers[0].kept.tolist()
    [False, False, True, True]
    """

    axis: ClassVar[Axis] = "weight"

    saliencies: Mapping[str, NDArray[Any]]
    method: str = "saliency"

    def plan(
        self, views: Sequence[WeightView], budget: Budget, *, rng: np.random.Generator
    ) -> PruningPlan:
        """Choose the weights to keep; see `Strategy.plan`. The choice is not random.

        An InputError names a budget that is not `Keep`, and saliencies that are missing,
        negative, not finite or of another shape than their weights.
        """
        del rng
        where = "SaliencyPruning"
        check_views(views, where)
        if not isinstance(budget, Keep):
            raise InputError.parameter("budget", f"{where}.plan", "Keep", budget)
        scores = [self._scores(view) for view in views]
        masks = select(scores, budget, p=2.0, rounding="ceil", where=where)
        weights = [view.matrix.ravel() for view in views]
        return plan_of(self.method, views, budget, "weight", masks, weights, 2.0)

    def of(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """The saliencies of a parameter of this shape, as it is stored.

        Raises InputError if they are missing, negative, not finite or of another shape.
        """
        found = np.asarray(self.saliencies.get(name, ()), dtype=np.float64)
        fits = found.shape == shape
        require(fits, name, "SaliencyPruning", f"a saliency of shape {shape}", f"{found.shape}")
        sound = np.isfinite(found).all() and found.min() >= 0
        require(sound, name, "SaliencyPruning", "finite saliencies >= 0", "others")
        return found

    def _scores(self, view: WeightView) -> NDArray[np.float64]:
        found = np.asarray(self.saliencies.get(view.name, ()), dtype=np.float64)
        where, wanted = (
            "SaliencyPruning",
            f"a saliency of the shape of its {view.matrix.size} weights",
        )
        fits = found.size == view.matrix.size and found.ndim > view.transposed
        require(fits, view.name, where, wanted, f"shape {found.shape}")
        sound = np.isfinite(found).all() and found.min() >= 0
        require(sound, view.name, where, "finite saliencies >= 0", "others")
        # views orient what is stored with inputs first, and so are its saliencies
        return np.asarray(out_in(found, view.transposed, view.groups).ravel())
