"""Bounds side by side, like with like: capacities, their roots per example, and bounds.

The tables of Guha, Dubey and Huo (2023) print the logarithm of a bound, sqrt(numbers / n), for
their own method beside logarithms of raw capacities, without root and without n, for the
others. Here every method has all three.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from prunable.certify.bounds.base import BoundResult

# The bound on a risk that belongs to a capacity, where the names differ.
BOUND_OF = {
    "parameter count, dense": "parameter counting, dense",
    "parameter count, kept": "parameter counting, kept",
    "parameter count, sketch": "sketched pruned network",
}


@dataclass(frozen=True)
class Compared:
    """One method in every convention, as natural logarithms.

    They are those of the raw capacity or number of parameters, of sqrt(capacity / n), and of the
    bound with all constants, None if there is none.
    """

    name: str
    variant: str
    log_capacity: float
    log_rate: float
    log_bound: float | None
    vacuous: bool | None

    def to_dict(self) -> dict[str, Any]:
        """Show as JSON; infinite numbers are null."""
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(self).items()
        }


def like_with_like(results: Sequence[BoundResult]) -> tuple[Compared, ...]:
    """Line up capacities with their bounds, such as `all_bounds` returns, by increasing rate.

    Where a bound has several variants, that of the paper with all its factors counts.
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
            Compared(
                result.name,
                result.variant,
                result.log_value,
                (result.log_value - math.log(result.n)) / 2,
                None if bound is None else bound.log_value,
                None if bound is None else bound.vacuous,
            )
        )
    return tuple(sorted(rows, key=lambda row: row.log_rate))
