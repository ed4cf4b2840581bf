"""What each kind of output gives to a curve: a protocol, and what it finds at one share kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from prunable.forecast.estimators.checks import Check, enough
from prunable.forecast.estimators.estimate import Estimate
from prunable.numerics.arrays import FloatArray


@dataclass(frozen=True)
class Found:
    """The forecast at one share kept: None without a known figure; what stays of the outputs.

    `model` is the standard error of `estimate` by the model of confidence. Of language models
    `laws` and `tokens` are what the laws and the tokens of the text say by themselves.
    """

    estimate: Estimate | None
    model: float
    kept: Estimate
    laws: float | None = None
    tokens: float | None = None
    flips: float | None = None  # share of decisions that are believed to turn right or wrong


class Network(Protocol):
    """A dense network's outputs, ready to be compared with those of its pruned copies."""

    @property
    def known(self) -> float | None:
        """The dense network's figure: accuracy, R2 or log-perplexity."""
        ...

    @property
    def temperature(self) -> float | None: ...

    @property
    def known_error(self) -> float | None:
        """The standard error of `known` where it was measured on what was drawn."""
        ...

    @property
    def units(self) -> int:
        """How many inputs, pictures or windows were drawn."""
        ...

    @property
    def checks(self) -> tuple[Check, ...]: ...

    def found(self, pruned: Any) -> Found:
        """Compare with a copy's outputs on the same inputs: an array, or of language windows."""
        ...


@dataclass(frozen=True, eq=False)
class Undecided:
    """What networks have in common that decide nothing, whose outputs (n, d) are numbers."""

    outputs: FloatArray
    known: float | None = None
    temperature: float | None = None
    known_error: float | None = None

    @property
    def units(self) -> int:
        """How many were drawn."""
        return len(self.outputs)

    @property
    def checks(self) -> tuple[Check, ...]:
        """Of the assumptions only the number of inputs can be seen."""
        return (enough(len(self.outputs)),)
