"""What the paper prints, and the results of an item beside it, by width and row."""

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from prunable.certify.bounds.pruning_moments import pruned_share, strength_of
from prunable.certify.bounds.spectral_perturbation import contraction
from prunable.experiments.reproduce.checks import every, undecided
from prunable.experiments.reproduce.document import Cell, Check
from prunable.experiments.reproduce.frame import Found, Frame, Result
from prunable.papers import published
from prunable.papers.guha2023.specs import MarginPruneSpec
from prunable.runs.spec import Spec

PAPER = "guha2023"
DEPTH, CLASSES = 5, 10
BASELINES = ("neyshabur2015", "neyshabur2017", "bartlett2017")
# Bartlett 2017 with the Frobenius norms that the released code's helper returns.
RELEASED_NORM = "bartlett2017_code"
TABLES = {"mnist": "table1", "cifar10": "table2"}
LABELS = {
    "neyshabur2015": "Neyshabur 2015",
    "neyshabur2017": "Neyshabur 2017",
    "bartlett2017": "Bartlett 2017",
    RELEASED_NORM: "Bartlett 2017, released code's norm",
    "ours": "new bound",
    "true_error": "true error",
    "theorem": "theorem 5.2, every factor, as reconstructed",
    "counting": "plain counting",
}
ROWS = (*BASELINES, "ours")
# Rows that are bounds or errors already; others are raw capacities.
_AS_THEY_ARE = ("ours", "true_error", "theorem")

Rows = list[tuple[str, Result]]


@dataclass(frozen=True)
class Published:
    """One column of the tables.

    width, inputs : hidden units of each of the four hidden layers; inputs of the first.
    n : training examples, inferred.
    logs : natural logarithms by row: raw capacities of others, bound of the paper, true error.
    """

    dataset: str
    width: int
    inputs: int
    n: int
    logs: dict[str, float]

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Of the five weight matrices, (outputs, inputs)."""
        sides = [self.inputs, *[self.width] * (DEPTH - 1), CLASSES]
        return list(zip(sides[1:], sides[:-1], strict=True))

    @property
    def weights(self) -> int:
        return sum(a * b for a, b in self.shapes)

    def rate(self, row: str) -> float:
        """A row as the logarithm of a root per example; the paper's own is one already."""
        return self.logs[row] if row == "ours" else (self.logs[row] - math.log(self.n)) / 2

    @property
    def counting_rate(self) -> float:
        """Logarithm of sqrt(weights / n)."""
        return (math.log(self.weights) - math.log(self.n)) / 2

    @property
    def implied_chi(self) -> float:
        """Kept share that makes the row `ours`, if its margin loss is 0."""
        numbers = sum(a * b * math.log(max(a, b)) ** 2 for a, b in self.shapes)
        return math.exp(2 * self.logs["ours"]) * self.n / numbers

    @property
    def implied_d(self) -> float:
        """Strength of the pruning that belongs to `implied_chi`."""
        return strength_of(min(self.implied_chi, 1.0))

    def margin_excess(self, input_norm: float) -> float:
        """Least factor by which the margin needed exceeds the smallest training margin.

        The row Bartlett 2017 says how large the margin is beside the norms of the layers, the
        row `ours` how strong the pruning. By lemma 4.1 ||Delta||_F^2 is r^(3/2) ||A||_F^2 in
        the mean, r = d / (d + 2), and a spectral norm is at least the Frobenius norm over
        sqrt(width); so lemma C.2 needs at least e max||x|| kappa_L r^(3/4) exp(row / 2) /
        sqrt(width) margins, with the released code's norms; `input_norm` is max||x||.
        """
        log_excess = (
            1
            + math.log(input_norm)
            + math.log(contraction(self.width, CLASSES, self.n, variant="authors-code"))
            + 1.5 * math.log(pruned_share(self.implied_d))
            + self.logs["bartlett2017"] / 2
            - 0.5 * math.log(self.width)
        )
        return math.exp(log_excess)


def columns(dataset: str) -> tuple[Published, ...]:
    """Published columns of a data set, by width; none of one the paper does not have."""
    if dataset not in TABLES:
        return ()
    table = published(PAPER).items[TABLES[dataset]]
    return tuple(
        Published(
            dataset,
            int(width),
            table.stated["inputs"],
            table.inferred["n"],
            {row: mean for row in table.cells if (mean := table.cell(row, width).mean) is not None},
        )
        for width in table.cells["ours"]
    )


def nearest(dataset: str, width: int) -> Published | None:
    """The published column of a width, or the only one that the paper has of the data set."""
    known = columns(dataset)
    same = [c for c in known if c.width == width]
    return next(iter(same or (known if len(known) == 1 else ())), None)


def measure(spec: Spec, result: Result) -> Iterator[tuple[Any, ...]]:
    """Natural logarithms of a network's rows, infinite ones as such; with "rate" of the root per
    example of raw capacities."""
    if isinstance(spec, MarginPruneSpec):
        bartlett = "bartlett2017_intended" if spec.protect_diagonal else "bartlett2017_code"
        error = result["errors"]["pruned_test"]
        logs = {
            **result["logs"],
            "bartlett2017": result["logs"][bartlett],
            "true_error": math.log(error) if error > 0 else None,
        }
        for row in LABELS:
            value = math.inf if logs[row] is None else logs[row]
            yield row, value
            as_it_is = row in _AS_THEY_ARE
            yield f"{row} rate", value if as_it_is else (value - math.log(result["n"])) / 2


class Bounds(Found):
    """What an item's networks show."""

    @property
    def dataset(self) -> str:
        return str(self.plan.settings["data"])

    @property
    def widths(self) -> tuple[int, ...]:
        """Hidden widths of which there is any result."""
        return tuple(sorted({width_of(key) for key in self.usable}))

    @property
    def trained(self) -> tuple[int, ...]:
        """Hidden widths of which there is a network."""
        return tuple(width for width in self.widths if len(self.logs(width, "ours")))

    def published(self, width: int) -> Published | None:
        return nearest(self.dataset, width)

    @property
    def columns(self) -> tuple[Published, ...]:
        return columns(self.dataset)

    @property
    def printed_bartlett(self) -> str:
        """The row that the tables print as Bartlett 2017: Frobenius norms, in every column.

        Neyshabur 2017 exceeds it by ln 784 at width 784, and elsewhere by a mean of logarithms of
        widths, which other norms would not give.
        """
        return "bartlett2017" if self.plan.convention == "authors-code" else RELEASED_NORM

    def networks(self) -> Rows:
        """Trained networks by names such as `500/0`."""
        usable = self.usable
        return [(key, usable[key]) for key in usable if key.partition("/")[0].isdigit()]

    def parts(self, kind: str) -> Rows:
        """Results of one kind, such as "bounds", by the names of their networks."""
        rows = ((key.split(), row) for key, row in self.usable.items())
        return [
            (f"{words[0]}/{words[-1].rpartition('/')[2]}", row)
            for words, row in rows
            if len(words) > 1 and words[1].partition("/")[0] == kind
        ]

    def strengths(self) -> Rows:
        """Networks pruned at given strengths, one row a strength."""
        return [(key, row) for key, part in self.parts("strengths") for row in part["rows"]]

    def runs(self, name: str, kind: str = "") -> tuple[str, ...]:
        """Id of the run behind one result of a network."""
        width, _, seed = name.partition("/")
        return (self.plan.runs[f"{width}{kind}/{seed}"].run_id,)

    def logs(self, width: int, row: str, *, rate: bool = False) -> Frame:
        """A row's logarithms on the networks of a width."""
        return self.of(str(width), f"{row} rate" if rate else row)

    def mean(self, width: int, row: str, *, rate: bool = False) -> float:
        """Mean logarithm over seeds; NaN without a network, infinite if one is."""
        mean = self.logs(width, row, rate=rate).mean
        return math.nan if mean is None else mean

    def cell(self, width: int, row: str, *, rate: bool = False) -> Cell:
        """A row's mean and deviation over seeds, beside the published number."""
        known, frame = self.published(width), self.logs(width, row, rate=rate)
        stated = None
        name = "bartlett2017" if row == self.printed_bartlett else row
        apart = row == "bartlett2017" != self.printed_bartlett
        if known is not None and name in known.logs and not apart:
            stated = known.rate(name) if rate else known.logs[name]
        if known is not None and row == "counting" and rate:
            stated = known.counting_rate
        return cell_of(frame.values, stated, frame.runs)

    def every_width(
        self,
        statement: str,
        holds: Callable[[int], bool],
        said: Callable[[int], str],
        *,
        baselines: bool = True,
    ) -> Check:
        """Judge every width of which there is a network; not where baselines are infinite."""
        lost = [
            str(width)
            for width in self.trained
            if not all(math.isfinite(self.mean(width, row)) for row in BASELINES)
        ]
        if baselines and lost:
            why = "baselines are infinite, for a smallest training margin is not positive"
            return undecided(statement, f"{why}: width {', '.join(lost)}")
        rows = ((f"width {width}", width) for width in self.trained)
        return every(statement, rows, holds, said)


def width_of(name: str) -> int:
    """Of a run's key or a network's name."""
    return int(name.partition("/")[0].split()[0])


def cell_of(
    values: Sequence[float], published: float | None = None, runs: tuple[str, ...] = ()
) -> Cell:
    """Mean and standard deviation; in words if a number is infinite."""
    if not values:
        return Cell(published=published)
    infinite = sum(not math.isfinite(value) for value in values)
    if infinite:
        return Cell(f"infinite ({infinite} of {len(values)})", published=published, runs=runs)
    std = statistics.stdev(values) if len(values) > 1 else None
    return Cell(statistics.fmean(values), std, published, runs=runs)
