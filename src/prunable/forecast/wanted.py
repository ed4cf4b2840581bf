"""What a forecast is to be of, and what is refused before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from numpy.typing import ArrayLike

from prunable.errors import check_one_of, require
from prunable.forecast.specs import Speed
from prunable.forecast.ways import (
    KEEPS,
    LANGUAGE,
    LANGUAGE_KEEPS,
    USUAL,
    Way,
    checked_keeps,
    ways_named,
)

WHERE = "forecast"
Output = Literal[
    "classification", "top5", "multilabel", "segmentation", "regression", "embedding", "language"
]
OnPoint = Callable[[int, int, str], None]  # networks done, all, and the way at hand


@dataclass(frozen=True, eq=False)
class Wanted:
    """What a forecast is to be of; see `forecast`."""

    accuracy: float | None = None
    strategies: Sequence[str] | None = None
    keeps: Sequence[float] | None = None
    labels: ArrayLike | None = None
    kind: Output = "classification"
    level: float = 0.9
    accuracy_inputs: int | None = None
    calibration: Any = None
    store: Path | str | None = None
    seed: int = 0
    beside: tuple[str, ...] = ()  # ways beside the usual ones
    speed: Speed = "exact"

    def check(self, inputs: Any, input_shape: Sequence[int] | None) -> None:
        """Raise InputError for what the speed does not take."""
        check_one_of(self.speed, get_args(Speed), "speed", WHERE)
        if self.speed == "exact":
            require(inputs is not None, "inputs", WHERE, "given at speed exact", None)
        else:
            known = self.kind in ("classification", "top5")
            wanted = "classification or top5 at speed propagated"
            require(known, "kind", WHERE, wanted, self.kind)
            wanted = "left out at speed propagated, which runs no copy on all inputs"
            require(self.store is None, "store", WHERE, wanted, self.store)
        if inputs is not None:
            wanted = "left out where there are inputs"
            require(input_shape is None, "input_shape", WHERE, wanted, input_shape)
            return
        for name in ("accuracy", "labels", "calibration", "accuracy_inputs"):
            wanted = "left out without inputs, which alone could tell an accuracy"
            require(getattr(self, name) is None, name, WHERE, wanted, getattr(self, name))
        sizes = tuple(input_shape or ())
        fits = bool(sizes) and all(isinstance(n, int) and n > 0 for n in sizes)
        wanted = "the sizes of one input, such as 3,32,32, where there are no inputs"
        require(fits, "input_shape", WHERE, wanted, input_shape)

    @property
    def ways(self) -> tuple[Way, ...]:
        """The ways by their names, those that are cheap to prune first."""
        usual = (*(LANGUAGE if self.kind == "language" else USUAL), *self.beside)
        names = usual if self.strategies is None else self.strategies
        return tuple(sorted(ways_named(names, WHERE, self.kind), key=lambda way: way.refits))

    @property
    def shares(self) -> tuple[float, ...]:
        """The shares to keep, falling."""
        usual = LANGUAGE_KEEPS if self.kind == "language" else KEEPS
        return checked_keeps(usual if self.keeps is None else self.keeps, WHERE)
