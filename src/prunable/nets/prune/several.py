"""Plans of one strategy for several shares: what they have in common is found once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from prunable.nets.calibration.calibrating import Calibration
from prunable.nets.prune.coupled import plans_of_units
from prunable.nets.prune.plan import Keep, PruningPlan
from prunable.nets.prune.selecting import Weights, selected
from prunable.nets.prune.strategies import Strategy, UnitPruning
from prunable.numerics.randomness import rng


def plans_for(
    model: nn.Module,
    strategy: Strategy,
    budgets: Sequence[Keep],
    *,
    calibration: Calibration | None = None,
    example: Any = None,
    seed: int = 0,
) -> list[PruningPlan]:
    """The plans that `prune` makes for each share, for a model that computes no weights.

    `example` is what the model is called with, where units go. Of strategies that run the network
    for the shares of layers, or prune in order, this is not the plan of `prune`.

    Raises InputError as `prune` does.
    """
    if isinstance(strategy, UnitPruning):
        return plans_of_units(model, strategy, budgets, example, seed=seed)
    weights = Weights.of(model, None)
    if calibration is not None:
        weights = weights.without_scores_of_tokens()
    chosen, _ = selected(weights, strategy.axis, ("*",), ())
    views = weights.views(chosen, strategy)
    if calibration is not None:
        views = calibration.seen(views)
    found = [strategy.plan(views, budget, rng=rng(seed, "prune")) for budget in budgets]
    return [replace(p, layers=tuple(map(weights.with_followers, p.layers))) for p in found]
