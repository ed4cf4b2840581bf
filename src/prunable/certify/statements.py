"""What is guaranteed about a network, in plain words: three statements, the tightest first."""

import math
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context
from typing import Any, Literal

from prunable.certify.bounds.base import BoundResult

Kind = Literal["held-out examples", "compression", "compression and disagreement"]
Prior = Literal["none", "data-free", "learned"]


@dataclass(frozen=True)
class Statement:
    """One guarantee: whose error, how it was found, from how many examples, at which delta.

    `labelled` examples are those whose labels were used, `unlabelled` those without. The prior says
    what was fixed before the labelled examples: nothing is needed for held-out ones, the code alone
    is data-free, and a learned one is a network trained on other examples.
    """

    kind: Kind
    prior: Prior
    about: str
    bound: BoundResult
    labelled: int
    unlabelled: int
    guessing: float
    how: str  # the parts of the bound, in words

    @property
    def value(self) -> float:
        """Bound on the probability of an error, at most 1."""
        return min(self.bound.value, 1.0)

    @property
    def text(self) -> str:
        """The statement as a sentence."""
        prior = {"none": "", "data-free": ", data-free", "learned": ", with a learned prior"}
        seen = f"{self.labelled:,} labelled examples"
        if self.unlabelled:
            seen += f" and {self.unlabelled:,} unlabelled inputs"
        vacuous = ", no more than guessing" if self.value >= self.guessing else ""
        return (
            f"By {self.kind}{prior[self.prior]}, from {seen}: with probability at least 1 - "
            f"{self.bound.delta:g} the {self.about} errs on a new example with probability at most "
            f"{above(self.value)}{vacuous}. {self.how}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Show as JSON."""
        return {
            "kind": self.kind,
            "prior": self.prior,
            "about": self.about,
            "value": self.value,
            "delta": self.bound.delta,
            "labelled": self.labelled,
            "unlabelled": self.unlabelled,
            "vacuous": self.value >= self.guessing,
            "text": self.text,
            "bound": self.bound.to_dict(),
        }


def together(statements: tuple[Statement, ...]) -> str:
    """Say at which probability all of some statements hold at once: the union of their deltas."""
    total = math.fsum(statement.bound.delta or 0.0 for statement in statements)
    return (
        f"Each statement stands alone; all {len(statements)} hold together with probability at "
        f"least 1 - {total:g}, the union of their deltas, so choose among them at that price."
    )


def above(bound: float) -> str:
    """In percent, rounded up."""
    return f"{math.ceil(bound * 1e4 - 1e-9) / 1e4:.2%}"


def upwards(bound: float) -> str:
    """In four digits, rounded up."""
    return f"{float(Context(4, ROUND_CEILING).create_decimal(bound - 1e-13 * abs(bound))):.4g}"
