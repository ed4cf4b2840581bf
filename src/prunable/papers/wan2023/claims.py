"""Columns of the tables, and the paper's claims about them as statements that the runs decide."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from prunable.experiments.reproduce import agreement, checks, ordering
from prunable.experiments.reproduce.checks import percent
from prunable.experiments.reproduce.document import Check, Column, Convention, Scale
from prunable.experiments.reproduce.frame import Found
from prunable.experiments.reproduce.items import Gather, Item
from prunable.experiments.reproduce.plans import Plan
from prunable.experiments.reproduce.published import PublishedItem
from prunable.experiments.reproduce.tables import Line, Metric, median
from prunable.numerics.dynamics.compression import largest_step
from prunable.papers import published

PUBLISHED = published("wan2023").items
RATIO = "pruning_ratio_squared"
TEST = "test_accuracy"
PRUNED = "test_accuracy_pruned_squared"
NAME = Column("row", "alpha")
COLUMNS = (
    Metric("train_accuracy", "train acc."),
    Metric(TEST, "test acc."),
    Metric(RATIO, "pruned, squared error ≤ 0.1", "%", 2),
    Metric("train_accuracy_pruned_squared", "train acc. a.p."),
    Metric(PRUNED, "test acc. a.p."),
    Metric("median", "median pruned", "%", 2, RATIO, median),
    Metric("pruning_ratio_frobenius", "pruned, error ≤ 0.1", "%", 2),
    Metric("test_accuracy_pruned_frobenius", "test acc. a.p., error ≤ 0.1"),
)
# Without noise the pruned share hangs on the initial weights alone.
NEAR_RATIO = 0.015
NEAR_ACCURACY = 0.01
IN_ORDER = "The lower alpha, the more can be pruned: 1.9, 1.8, 1.75 in this order"


def label_of(condition: str) -> str:
    """What distinguishes a condition: its tail index or level, or no noise."""
    return "no noise" if condition == "none" else condition.partition("-")[2]


@dataclass(frozen=True)
class Rows:
    """Conditions of one table: without noise, and with it from the highest tail index down.

    number : Of the paper's table.
    width : The paper's; comparisons with its numbers are told to be at reduced size below it.
    suffix : Of the conditions, where the table is computed at a second noise level.
    independent : Whether the rows draw noise of their own; those of the demonstration share it.
    """

    number: int
    noise: str
    alphas: tuple[float, ...]
    width: int | None = None
    suffix: str = ""
    independent: bool = True

    @property
    def printed(self) -> PublishedItem:
        """What the paper prints."""
        return PUBLISHED[f"table{self.number}"]

    @property
    def noisy(self) -> dict[str, str]:
        """Conditions with noise, by the paper's rows."""
        return {f"{a:g}": f"{self.noise}-{a:g}{self.suffix}" for a in self.alphas}

    @property
    def all(self) -> dict[str, str]:
        """All conditions by the paper's rows, as it prints them."""
        return {"none": "none", **dict(reversed(self.noisy.items()))}

    def lines(self) -> tuple[Line, ...]:
        """Lines of the table."""
        return tuple(Line(label_of(c), c, row) for row, c in self.all.items())

    def target(self, row: str, metric: str) -> float | None:
        """A printed mean."""
        return self.printed.cell(row, metric).mean

    @property
    def without_noise(self) -> float | None:
        """The printed share without noise."""
        return self.target("none", RATIO)

    def sized(self, check: Check, found: Found) -> Check:
        """A comparison, told to be at reduced size where the networks are narrower."""
        units = found.plan.settings["hidden units"]
        if self.width is None or units == self.width or found.plan.scale == "smoke":
            return check
        return checks.at_reduced_size(check, f"{units:,} hidden units for {self.width:,}")

    def near_without_noise(self, found: Found) -> Check:
        """The pruned share without noise against the paper's."""
        target = self.target("none", RATIO)
        statement = (
            f"Without noise the pruned share is within {100 * NEAR_RATIO:.1f} points of the "
            f"published {percent(target)}"
        )
        plain = found.of("none", RATIO)
        rows = [(f"{len(plain)} runs", plain.mean, target)]
        return self.sized(checks.near(statement, rows, NEAR_RATIO, words=percent), found)

    def more_prunable(self, found: Found) -> Check:
        """Noise makes every row more prunable than no noise."""
        plain, base = found.of("none", RATIO), self.printed.cell("none", RATIO)
        frames = {row: found.of(condition, RATIO) for row, condition in self.noisy.items()}
        text = ", ".join(f"{row}: {percent(frame.mean)}" for row, frame in frames.items())
        return checks.exceeds(
            "With noise more of the columns can be pruned than without",
            [(frame, plain) for frame in frames.values()],
            f"{text}; no noise: {percent(plain.mean)}",
            printed=[(self.printed.cell(row, RATIO), base) for row in frames],
        )

    def rising(self, found: Found, statement: str = IN_ORDER) -> Check:
        """The lower the tail index, the more can be pruned."""
        groups = {row: found.of(condition, RATIO) for row, condition in self.noisy.items()}
        printed = [self.printed.cell(row, RATIO) for row in self.noisy]
        if not self.independent:
            return checks.ordered(statement, groups, printed=printed)
        laws = [self.law(found, row) for row in self.noisy]
        expected: ordering.Expected = [law.draws for law in laws if law is not None]
        if len(expected) < len(laws):
            expected = printed if all(cell.std for cell in printed) else ()
        return ordering.rises(statement, groups, expected=expected)

    def small_loss(self, found: Found) -> Check:
        """Pruning costs little test accuracy at the highest tail index."""
        row, condition = next(iter(self.noisy.items()))
        before, after = (found.of(condition, metric) for metric in (TEST, PRUNED))
        statement = (
            f"At alpha = {row} pruning costs at most {100 * NEAR_ACCURACY:.0f} point of test "
            "accuracy"
        )
        if before.mean is None or after.mean is None:
            return checks.undecided(statement)
        loss, error, n = checks.difference(before, after)
        runs = f"{len(before)} run{'s' * (len(before) != 1)}"
        text = f"{before.mean:.4f} before, {after.mean:.4f} after, {runs}"
        return checks.at_most(statement, loss, NEAR_ACCURACY, text, error=error, n=n)

    def agree(self, found: Found, where: str = "") -> Check:
        """Means against the published ones; rows that the print repeats are left out.

        `where` says, in words, of which of several readings.
        """
        rows = [
            agreement.Comparison(
                row,
                found.of(condition, RATIO),
                self.printed.cell(row, RATIO),
                self.law(found, row),
                _gap(self.target(row, RATIO), self.without_noise),
            )
            for row, condition in self.all.items()
            if row not in self.printed.unused
        ]
        statement = (
            "The mean pruned shares agree with the published ones, as two means of runs of one "
            f"law do{where}"
        )
        return self.sized(agreement.agrees(statement, rows), found)

    def law(self, found: Found, row: str) -> agreement.Law | None:
        """The predicted law of a row's pruned share, where the plan has one."""
        del found, row
        return None

    def small_step(self, found: Found) -> Check:
        """The step size against the condition of theorem 3.1."""
        statement = (
            "The step size meets the condition of theorem 3.1, eta <= n^(-alpha/2 - 1): the table "
            "is within the theorem"
        )
        eta, n = (float(found.plan.settings[name]) for name in ("step size", "hidden units"))
        known = [row for row, condition in self.noisy.items() if found.results_of(condition)]
        rows = [(row, largest_step(int(n), float(row))) for row in known]
        return checks.every(
            statement,
            rows,
            lambda most: eta <= most,
            lambda most: f"eta = {eta:g} against {most:.1e}, {eta / most:,.0f} times",
        ).aside()

    def near_accuracy(self, found: Found, where: str = "") -> Check:
        """Test accuracies before pruning against the published ones."""
        statement = (
            f"Test accuracy before pruning is within {100 * NEAR_ACCURACY:.0f} point of the "
            f"published{where}"
        )
        rows = [
            (row, found.of(condition, TEST).mean, self.target(row, TEST))
            for row, condition in self.all.items()
        ]
        return self.sized(checks.near(statement, rows, NEAR_ACCURACY).aside(), found)

    def slips(self, found: Found) -> list[str]:
        """Slips of the print as sentences."""
        del found
        return [
            f"Print of table {self.number}, row {slip.row}: {slip.text}."
            for slip in self.printed.slips
        ]

    def outliers(self, found: Found) -> list[str]:
        """Where single runs carry a mean."""
        said = []
        for row, condition in self.noisy.items():
            shares = found.of(condition, RATIO)
            if shares.mean is not None and shares.mean > 1.25 * (shares.median or math.inf):
                values = ", ".join(percent(value, 1) for value in sorted(shares.values))
                said.append(
                    f"At alpha = {row} single runs carry the mean: {values}. One large jump of "
                    "one unit is enough to prune nearly all the others."
                )
        return said


def table_item(
    number: int,
    title: str,
    claim: str,
    plan: Callable[[int, Scale, Convention], Plan],
    gather: Gather,
    conventions: tuple[Convention, ...] = ("paper",),
) -> Item:
    """The item of a table; `plan` is told its number."""
    label, chosen = f"Table {number}", partial(plan, number)
    return Item.of("wan2023", label, title, claim, chosen, gather, conventions)


def late(found: Found, conditions: Sequence[str]) -> list[str]:
    """Runs that did not reach the stop rule."""
    named = [
        f"{condition}/{seed}"
        for condition in conditions
        for seed, result in found.results_of(condition).items()
        if not result["stopped"]
    ]
    if not named:
        return []
    return [
        f"{len(named)} runs ended before the training accuracy was reached: {', '.join(named)}."
    ]


def _gap(high: float | None, low: float | None) -> float | None:
    return None if high is None or low is None or high <= low else high - low
