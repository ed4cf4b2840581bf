"""Pruning methods, predicted risks, and the checks they share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from prunable.errors import InputError

FloatArray = NDArray[np.float64]


class Method(StrEnum):
    """Which s features are kept.

    Those of largest |b_i|; of largest sqrt(Sigma_ii) |b_i|; of largest Sigma_ii beta_i^2, with
    the true beta.
    """

    MAGNITUDE = "magnitude"
    HESSIAN = "hessian"
    ORACLE = "oracle"


@dataclass(frozen=True)
class Risk:
    """A predicted risk, including sigma^2.

    Attributes
    ----------
    value : float
    stderr : float
        Of the Monte Carlo part; 0 for closed forms.
    """

    value: float
    stderr: float = 0.0

    @classmethod
    def mean_of(cls, values: FloatArray) -> Risk:
        """Mean of independent draws and its standard error; at least two draws."""
        if not np.isfinite(values).all():
            return cls(math.inf)
        return cls(float(values.mean()), float(values.std(ddof=1)) / math.sqrt(values.size))


def check_kept(s: int, p: int, where: str) -> int:
    """Return `s` if it is a number of features that can be kept.

    Raises
    ------
    InputError
        If it is not an integer in [1, p].
    """
    if isinstance(s, bool) or not isinstance(s, int | np.integer) or not 1 <= s <= p:
        raise InputError.parameter(
            "s", where, f"an integer in [1, p = {p}]", s, "It counts the features kept."
        )
    return int(s)
