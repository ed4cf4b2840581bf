"""Bounds side by side, like with like: capacities, their roots per example, and bounds.

The tables of Guha, Dubey and Huo (2023) print the logarithm of a bound, sqrt(numbers / n), for
their own method beside logarithms of raw capacities, without root and without n, for the
others. Here every method has all three.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prunable.certify.bounds.base import BoundResult


@dataclass(frozen=True)
class Row:
    """One method in every convention, as natural logarithms.

    Attributes
    ----------
    name, variant : str
    log_capacity : float
        Of the raw capacity, or of the number of parameters.
    log_rate : float
        Of sqrt(capacity / n).
    log_bound : float, optional
        Of the bound with all constants; None if there is none.
    vacuous : bool, optional
        Of that bound.
    """

    name: str
    variant: str
    log_capacity: float
    log_rate: float
    log_bound: float | None
    vacuous: bool | None

    def to_dict(self) -> dict[str, Any]:
        """Show as JSON; infinite numbers are null."""

        def finite(value: float | None) -> float | None:
            return value if value is not None and math.isfinite(value) else None

        return {
            "name": self.name,
            "variant": self.variant,
            "log_capacity": finite(self.log_capacity),
            "log_rate": finite(self.log_rate),
            "log_bound": finite(self.log_bound),
            "vacuous": self.vacuous,
        }


# The bound on a risk that belongs to a capacity, where the names differ.
BOUND_OF = {
    "parameter count, dense": "parameter counting, dense",
    "parameter count, kept": "parameter counting, kept",
    "parameter count, sketch": "sketched pruned network",
}


def like_with_like(results: Sequence[BoundResult]) -> tuple[Row, ...]:
    """Line up capacities with their bounds.

    Parameters
    ----------
    results : sequence of BoundResult
        Such as `all_bounds` returns. Where a bound has several variants, that of the paper
        with all its factors counts.

    Returns
    -------
    tuple of Row
        One a capacity, by increasing rate.
    """
    risks: dict[str, BoundResult] = {}
    for result in results:
        if result.quantity == "risk" and result.variant != "authors-code":
            risks.setdefault(result.name, result)
    rows = []
    for result in results:
        if result.quantity != "capacity" or result.n is None:
            continue
        # variants that the released code evaluates belong to no theorem
        proven = result.variant == "paper"
        bound = risks.get(BOUND_OF.get(result.name, result.name)) if proven else None
        rows.append(
            Row(
                result.name,
                result.variant,
                result.log_value,
                (result.log_value - math.log(result.n)) / 2,
                None if bound is None else bound.log_value,
                None if bound is None else bound.vacuous,
            )
        )
    return tuple(sorted(rows, key=lambda row: row.log_rate))
