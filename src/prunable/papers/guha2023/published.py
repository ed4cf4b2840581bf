"""The published numbers, and what follows from them without any network."""

from __future__ import annotations

import math
from dataclasses import dataclass

from prunable.certify.bounds.pruning_moments import pruned_share, strength_of
from prunable.certify.bounds.spectral_perturbation import contraction
from prunable.papers import published

PAPER = "guha2023"
DEPTH, CLASSES = 5, 10
BASELINES = ("neyshabur2015", "neyshabur2017", "bartlett2017")
TABLES = {"mnist": "table1", "cifar10": "table2"}


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
        """Weights of all layers."""
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
