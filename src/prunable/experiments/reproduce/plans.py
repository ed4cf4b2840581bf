"""Which runs an item needs at one scale."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from prunable.experiments.reproduce.document import Convention, Scale
from prunable.runs.spec import Spec


@dataclass(frozen=True)
class Plan:
    """Runs of an item at one scale.

    runs : By "CONDITION/SEED"; what they build on comes by itself.
    settings : Sizes, seeds, data: what a reader must know beside the numbers.
    notes : How the scale departs from the paper, a sentence each.
    """

    scale: Scale
    convention: Convention
    runs: Mapping[str, Spec]
    settings: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
