"""Which runs an item needs at one scale."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from prunable.experiments.reproduce.document import Convention, Scale
from prunable.runs.spec import Spec


@dataclass(frozen=True)
class Plan:
    """Runs of an item at one scale.

    Parameters
    ----------
    runs : mapping of str to Spec
        By "CONDITION/SEED"; what they build on comes by itself.
    settings : mapping
        Sizes, seeds, data: what a reader must know beside the numbers.
    notes : tuple of str
        How the scale departs from the paper, a sentence each.
    """

    scale: Scale
    convention: Convention
    runs: Mapping[str, Spec]
    settings: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def runs_of(
    conditions: Iterable[str], seeds: Iterable[object], spec: Callable[[str, int], Spec]
) -> dict[str, Spec]:
    """Runs of every condition with every seed, by "CONDITION/SEED"."""
    places = list(enumerate(seeds))
    return {f"{name}/{seed}": spec(name, place) for name in conditions for place, seed in places}
