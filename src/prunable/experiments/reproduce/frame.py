"""What an item's runs found, in one tidy frame: condition, seed, metric, value."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from prunable.experiments.reproduce.plans import Plan
from prunable.runs.spec import Spec

Result = dict[str, Any]
Measure = Callable[[Spec, Result], Iterable[tuple[Any, ...]]]


class Observation(NamedTuple):
    """One number of one run; `x` is its place on a curve, `error` its own standard error."""

    condition: str
    seed: str
    metric: str
    value: float
    run: str
    x: float | None = None
    error: float | None = None


@dataclass(frozen=True)
class Frame:
    """Observations, and what is asked of them; in the order of the plan's runs."""

    rows: tuple[Observation, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, condition: str | None = None, metric: str | None = None) -> Frame:
        """Those of one condition, of one metric, or of both."""
        groups = self._groups
        if condition is not None and metric is not None:
            return Frame(tuple(groups.get((condition, metric), ())))
        names = [k for k in groups if condition in (None, k[0]) and metric in (None, k[1])]
        return Frame(tuple(row for name in names for row in groups[name]))

    def where(self, wanted: Callable[[Observation], bool]) -> Frame:
        """Those that a function wants."""
        return Frame(tuple(filter(wanted, self.rows)))

    def group(self, column: str) -> dict[Any, Frame]:
        """Frames by a column's values: "condition", "seed", "metric", "x", or "run"."""
        found: dict[Any, list[Observation]] = {}
        for row in self.rows:
            found.setdefault(getattr(row, column), []).append(row)
        return {key: Frame(tuple(rows)) for key, rows in found.items()}

    @cached_property
    def _groups(self) -> dict[tuple[str, str], list[Observation]]:
        found: dict[tuple[str, str], list[Observation]] = {}
        for row in self.rows:
            found.setdefault((row.condition, row.metric), []).append(row)
        return found

    @property
    def values(self) -> tuple[float, ...]:
        return tuple(row.value for row in self.rows)

    @property
    def seeds(self) -> tuple[str, ...]:
        """Seeds, each once."""
        return tuple(dict.fromkeys(row.seed for row in self.rows))

    @property
    def runs(self) -> tuple[str, ...]:
        """Run ids, each once."""
        return tuple(dict.fromkeys(row.run for row in self.rows))

    @property
    def by_seed(self) -> dict[str, float]:
        return {row.seed: row.value for row in self.rows}

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.values) if self.rows else None

    @property
    def std(self) -> float | None:
        """Standard deviation (ddof 1); None of fewer than two numbers."""
        return statistics.stdev(self.values) if len(self.rows) > 1 else None

    @property
    def median(self) -> float | None:
        return statistics.median(self.values) if self.rows else None


def numbers(spec: Spec, result: Result) -> Iterator[tuple[str, float]]:
    """Every number of a result by its dotted path; those under `metrics` by their own name."""
    del spec
    for name, value in result.items():
        yield from _numbers("" if name == "metrics" else name, value)


def _numbers(path: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _numbers(f"{path}.{name}" if path else str(name), part)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, float(value)


@dataclass(frozen=True)
class Found:
    """A plan and the results of its runs: what tables, panels and claims are made from.

    Keys of a plan's runs are "CONDITION/SEED", the seed after the last slash; a key without a
    slash is a condition of a single run.

    results : Stored results, or rows of failed and diverged runs, by the plan's keys.
    measure : From a run's spec and result to rows (metric, value), (metric, value, x) or (metric,
        value, x, error) of the frame; by default every number of the result.
    """

    plan: Plan
    results: Mapping[str, Result]
    measure: Measure = numbers

    @cached_property
    def usable(self) -> dict[str, Result]:
        """Results of the runs that are done, in the order of the plan."""
        rows = ((key, self.results[key]) for key in self.plan.runs)
        return {key: row for key, row in rows if row["status"] == "done"}

    @cached_property
    def frame(self) -> Frame:
        """One row for each number of each run that is done."""
        rows = []
        for key, result in self.usable.items():
            spec = self.plan.runs[key]
            for metric, value, *more in self.measure(spec, result):
                if value is not None:
                    rows.append(Observation(*_place(key), metric, value, spec.run_id, *more))
        return Frame(tuple(rows))

    def of(self, condition: str, metric: str) -> Frame:
        """The numbers of a metric under a condition."""
        return self.frame.select(condition, metric)

    def results_of(self, condition: str) -> dict[str, Result]:
        """Usable results of a condition by seed, for what is no number."""
        places = ((_place(key), result) for key, result in self.usable.items())
        return {seed: result for (name, seed), result in places if name == condition}

    def lost(self, most: int = 4) -> tuple[str, ...]:
        """A sentence on the runs that could not be used, if there are any."""
        lost = {key: self.results[key] for key in self.plan.runs if key not in self.usable}
        if not lost:
            return ()
        named = "; ".join(f"{key}: {row['reason']}" for key, row in list(lost.items())[:most])
        return (f"{len(lost)} of {len(self.plan.runs)} runs are left out ({named}).",)


def _place(key: str) -> tuple[str, str]:
    """Condition and seed of a run's key."""
    condition, _, seed = key.rpartition("/")
    return (condition, seed) if condition else (seed, "")
