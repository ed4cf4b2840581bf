"""The usable results of an item, by width and row."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prunable.experiments.reproduce.items import Cell, Plan, Result
from prunable.papers.guha2023.published import Published, nearest

BARTLETT = {"paper": "bartlett2017_intended", "authors-code": "bartlett2017_code"}
LABELS = {
    "neyshabur2015": "Neyshabur 2015",
    "neyshabur2017": "Neyshabur 2017",
    "bartlett2017": "Bartlett 2017",
    "ours": "new bound",
    "true_error": "true error",
    "theorem": "theorem 5.2, every factor",
    "counting": "plain counting",
}
ROWS = ("neyshabur2015", "neyshabur2017", "bartlett2017", "ours")
# Rows that are bounds or errors already; others are raw capacities.
_AS_THEY_ARE = ("ours", "true_error", "theorem")


@dataclass(frozen=True)
class Found:
    """Results of the runs that are done.

    Parameters
    ----------
    plan : Plan
    usable : dict of str to dict
        By the plan's keys.
    """

    plan: Plan
    usable: Mapping[str, Result]

    @classmethod
    def of(cls, plan: Plan, results: Mapping[str, Result]) -> Found:
        """Leave out runs that failed or diverged."""
        return cls(plan, {key: row for key, row in results.items() if row["status"] == "done"})

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence about the runs that are left out, if there are any."""
        lost = [key for key in self.plan.runs if key not in self.usable]
        if not lost:
            return ()
        return (f"{len(lost)} of {len(self.plan.runs)} runs are left out: {', '.join(lost[:5])}.",)

    @property
    def dataset(self) -> str:
        """Registered name."""
        return str(self.plan.settings["data"])

    @property
    def widths(self) -> tuple[int, ...]:
        """Hidden widths of which there is a network."""
        return tuple(sorted({int(key.split("/")[0]) for key in self.usable}))

    def published(self, width: int) -> Published | None:
        """The paper's column for a width, or its only one of the data set."""
        return nearest(self.dataset, width)

    def networks(self, width: int | None = None) -> Iterator[tuple[str, Result]]:
        """Keys such as "500/0" and results of the trained networks."""
        for key, row in self.usable.items():
            if key.count("/") == 1 and (width is None or key.startswith(f"{width}/")):
                yield key, row

    def parts(self, ending: str) -> Iterator[tuple[str, Result]]:
        """Keys of networks and results of their runs of one kind, such as "bounds"."""
        for key, row in self.usable.items():
            if key.count("/") == 2 and key.rsplit("/", 1)[1].startswith(ending):
                yield key, row

    def log_of(self, result: Result, row: str, *, rate: bool = False) -> float | None:
        """Natural logarithm of a row of one network; None if it is infinite.

        Parameters
        ----------
        result : dict
        row : str
            A key of `LABELS`.
        rate : bool
            Whether to take the root per example of raw capacities.
        """
        if row == "true_error":
            error = result["errors"]["pruned_test"]
            return math.log(error) if error > 0 else None
        name = BARTLETT[self.plan.convention] if row == "bartlett2017" else row
        value: float | None = result["logs"][name]
        if value is None or not rate or row in _AS_THEY_ARE:
            return value
        return (value - math.log(result["n"])) / 2

    def values(self, width: int, row: str, *, rate: bool = False) -> list[float]:
        """A row's logarithms on the networks of a width; infinite ones as such."""
        found = [self.log_of(result, row, rate=rate) for _, result in self.networks(width)]
        return [math.inf if value is None else value for value in found]

    def mean(self, width: int, row: str, *, rate: bool = False) -> float:
        """Mean logarithm over seeds; NaN without a network, infinite if one is."""
        values = self.values(width, row, rate=rate)
        return statistics.fmean(values) if values else math.nan

    def cell(self, width: int, row: str, *, rate: bool = False) -> Cell:
        """A row's mean and deviation over seeds, beside the published number."""
        known = self.published(width)
        stated = None
        if known is not None and row in known.logs:
            stated = known.rate(row) if rate else known.logs[row]
        if known is not None and row == "counting" and rate:
            stated = known.counting_rate
        return cell_of(
            self.values(width, row, rate=rate),
            stated,
            self.ids(key for key, _ in self.networks(width)),
        )

    def ids(self, keys: Iterator[str] | Sequence[str]) -> tuple[str, ...]:
        """Run ids of keys."""
        return tuple(self.plan.runs[key].run_id for key in keys)


def cell_of(
    values: Sequence[float], published: float | None = None, runs: tuple[str, ...] = ()
) -> Cell:
    """Mean and standard deviation; in words if a number is infinite."""
    if not values:
        return Cell(published=published)
    if not all(map(math.isfinite, values)):
        infinite = sum(not math.isfinite(value) for value in values)
        return Cell(f"infinite ({infinite} of {len(values)})", published=published, runs=runs)
    std = statistics.stdev(values) if len(values) > 1 else None
    return Cell(statistics.fmean(values), std, published, runs=runs)
