"""Strategies by the names of `choices.methods`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from prunable import plugins
from prunable.errors import InputError, check_one_of
from prunable.nets.networks.views import WeightView
from prunable.nets.prune.choices import Axis, Center, Method, methods
from prunable.nets.prune.plan import Budget, PruningPlan
from prunable.nets.prune.strategies.base import Strategy
from prunable.nets.prune.strategies.calibrated import BrainSurgery, InputWeightedPruning, Refitted
from prunable.nets.prune.strategies.centring import MedianCentred
from prunable.nets.prune.strategies.chosen import CalibratedPruning
from prunable.nets.prune.strategies.magnitude import MagnitudePruning
from prunable.nets.prune.strategies.n_m import NMPruning
from prunable.nets.prune.strategies.node import NodePruning
from prunable.nets.prune.strategies.randomly import RandomizedMagnitudePruning, RandomPruning
from prunable.nets.prune.strategies.sharing import Division
from prunable.nets.prune.strategies.singular_value import SingularValuePruning


@dataclass(frozen=True)
class _Guarded:
    """A strategy of another package; what it raises names it."""

    plugin: plugins.Plugin
    strategy: Strategy

    @property
    def axis(self) -> Axis:
        return self.strategy.axis

    def plan(
        self, views: Sequence[WeightView], budget: Budget, *, rng: np.random.Generator
    ) -> PruningPlan:
        found = self.plugin.call(self.strategy.plan, views, budget, rng=rng)
        if not isinstance(found, PruningPlan):
            raise self.plugin.wrong("a PruningPlan", found)
        return found


def strategy_named(
    method: str,
    allocation: Division = "threshold",
    center: Center = "zero",
    n_m: tuple[int, int] | None = None,
    refit: bool = False,
) -> Strategy:
    """The strategy of a name; `allocation` is for single weights, `n_m` for patterns.

    That of a plugin is what its entry point names, called without arguments if it has no `plan`.

    Raises InputError if there is no such strategy, a plugin is broken, or weights are refitted that
    `center` or the method changes otherwise.
    """
    check_one_of(method, methods(), "method", "prune")
    strategies: dict[str, Strategy] = {
        "magnitude": MagnitudePruning(allocation=allocation),
        "unit": NodePruning(axis="unit"),
        "node": NodePruning(axis="input"),
        "kernel": NodePruning(axis="kernel"),
        "randomized": RandomizedMagnitudePruning(),
        "singular-value": SingularValuePruning(),
        "random": RandomPruning(),
        "n:m": NMPruning(*(n_m or (2, 4))),
        "wanda": InputWeightedPruning(allocation=allocation, n_m=n_m),
        "obs": BrainSurgery(allocation=allocation, n_m=n_m),
        # one threshold is what is left out
        "calibrated": CalibratedPruning("lamp" if allocation == "threshold" else allocation, n_m),
    }
    if refit and method == "calibrated":
        raise InputError(
            "`--refit` of `prune` has no effect with --method calibrated, which refits where that "
            "is best. Leave it out."
        )
    strategy = strategies[method] if method in get_args(Method) else _added(method)
    if center == "zero":
        return Refitted(strategy) if refit else strategy
    if refit or method in ("obs", "calibrated"):
        raise InputError(
            "`--center median` of `prune` does not go with weights that make up for the pruned "
            "ones. Leave it out."
        )
    return MedianCentred(strategy)


def _added(method: str) -> Strategy:
    plugin = plugins.plugins(plugins.STRATEGIES)[method]
    found = plugin.load()
    if isinstance(found, type) or not hasattr(found, "plan"):
        found = plugin.call(found)
    known = plugin.call(lambda: getattr(found, "axis", None) in get_args(Axis))
    if not (known and hasattr(found, "plan")):
        wanted = f"a strategy, which plans and has an axis ({', '.join(get_args(Axis))})"
        raise plugin.wrong(wanted, found)
    return _Guarded(plugin, found)
