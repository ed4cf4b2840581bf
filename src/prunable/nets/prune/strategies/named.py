"""Strategies by the names of `choices.Method`."""

from prunable.nets.prune.choices import Center, Method, ShareRule
from prunable.nets.prune.strategies.base import Strategy
from prunable.nets.prune.strategies.centring import MedianCentred
from prunable.nets.prune.strategies.magnitude import MagnitudePruning
from prunable.nets.prune.strategies.n_m import NMPruning
from prunable.nets.prune.strategies.node import NodePruning
from prunable.nets.prune.strategies.randomly import RandomizedMagnitudePruning, RandomPruning
from prunable.nets.prune.strategies.singular_value import SingularValuePruning


def strategy_named(
    method: Method,
    allocation: ShareRule = "threshold",
    center: Center = "zero",
    n_m: tuple[int, int] = (2, 4),
) -> Strategy:
    """The strategy of a name; `allocation` is for magnitudes, `n_m` for n:m, `center` for all."""
    strategies: dict[Method, Strategy] = {
        "magnitude": MagnitudePruning(allocation=allocation),
        "unit": NodePruning(axis="unit"),
        "node": NodePruning(axis="input"),
        "kernel": NodePruning(axis="kernel"),
        "randomized": RandomizedMagnitudePruning(),
        "singular-value": SingularValuePruning(),
        "random": RandomPruning(),
        "n:m": NMPruning(*n_m),
    }
    strategy = strategies[method]
    return MedianCentred(strategy) if center == "median" else strategy
