"""Strategies by the names of `choices.Method`."""

from prunable.errors import InputError
from prunable.nets.prune.choices import Center, Method
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


def strategy_named(
    method: Method,
    allocation: Division = "threshold",
    center: Center = "zero",
    n_m: tuple[int, int] | None = None,
    refit: bool = False,
) -> Strategy:
    """The strategy of a name; `allocation` is for single weights, `n_m` for patterns.

    Raises InputError if weights are refitted that `center` or the method changes otherwise.
    """
    strategies: dict[Method, Strategy] = {
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
    strategy = strategies[method]
    if center == "zero":
        return Refitted(strategy) if refit else strategy
    if refit or method in ("obs", "calibrated"):
        raise InputError(
            "`--center median` of `prune` does not go with weights that make up for the pruned "
            "ones. Leave it out."
        )
    return MedianCentred(strategy)
