"""What is predicted: pruning methods, the models they give, their risks, and what sweeps change."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from prunable.errors import InputError


class Method(StrEnum):
    """Which s features are kept.

    Those of largest |b_i|; of largest sqrt(Sigma_ii) |b_i|; of largest Sigma_ii beta_i^2, with
    the true beta.
    """

    MAGNITUDE = "magnitude"
    HESSIAN = "hessian"
    ORACLE = "oracle"


class Model(StrEnum):
    """Models whose risks are predicted; the last two are retrained after magnitude pruning."""

    DENSE = "dense"
    MAGNITUDE = "magnitude"
    HESSIAN = "hessian"
    ORACLE = "oracle"
    RETRAINED = "retrained"
    RETRAINED_SAME = "retrained_same_data"

    def after(self, method: Method) -> str:
        """Name of a retrained model: plain after magnitude pruning, else with the method's."""
        return self.value if method == Method.MAGNITUDE else f"{self.value}_{method.value}"


class Variable(StrEnum):
    """What a sweep changes: features trained on, features kept, noise, samples."""

    WIDTH = "width"
    SPARSITY = "sparsity"
    SIGMA = "sigma"
    SAMPLES = "samples"

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise InputError.parameter("variable", "a sweep", f"one of {', '.join(cls)}", value)


@dataclass(frozen=True)
class Risk:
    """A risk, including sigma^2, and the standard error of its Monte Carlo part, 0 for none."""

    value: float
    stderr: float = 0.0

    @classmethod
    def mean_of(cls, values: NDArray[np.float64]) -> Risk:
        """Mean of independent draws and its standard error; at least two draws."""
        if not np.isfinite(values).all():
            return cls(math.inf)
        return cls(float(values.mean()), float(values.std(ddof=1)) / math.sqrt(values.size))


def or_none(value: float) -> float | None:
    """The number, or None for what JSON cannot hold."""
    return float(value) if math.isfinite(value) else None
