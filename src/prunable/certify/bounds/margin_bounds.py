"""What norm and margin bounds share: a raw capacity, and a bound for any margin and any norms.

Each is a `MarginBound` that says which norms its capacity multiplies and what its bound adds to
the empirical risk at a margin.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from prunable.certify.bounds import grid
from prunable.certify.bounds.assumptions import RELU, Assumption, positive_margin
from prunable.certify.bounds.base import PRODUCT, SUM, BoundResult, Rule, Term, powers
from prunable.certify.bounds.checks import check_delta
from prunable.certify.bounds.facts import NetworkFacts, default_tau, margin_loss_term
from prunable.certify.bounds.logs import safe_exp, safe_log
from prunable.errors import check_one_of

_NO_BOUND = Assumption(
    "the number bounds a risk", "violated", "root, sample size and constants are left out"
)


@dataclass(frozen=True)
class GridMargin:
    """A margin on the grid, and the logarithm of its share of the failure probability."""

    gamma: float
    log_share: float

    @classmethod
    def of(cls, facts: NetworkFacts, gamma: float | None) -> GridMargin:
        """Move a margin, `default_tau` if None, down to the grid; one <= 0 stays as it is."""
        if gamma is None:
            gamma = default_tau(facts.margins) if facts.margins.max() > 0 else 0.0
        if gamma <= 0:
            return cls(gamma, 0.0)
        log_margin, share = grid.down(math.log(gamma))
        return cls(safe_exp(log_margin), share)

    def loss(self, facts: NetworkFacts) -> Term:
        """Empirical risk at the margin; 1 where the margin is not positive."""
        known = margin_loss_term(facts.margins, self.gamma)
        return known if self.gamma > 0 else Term.of(known.symbol, 1.0, known.meaning)

    def inverse_square(self) -> Term:
        """1 / gamma^2."""
        return Term("1/gamma^2", "margin, on the grid", _log_inverse(self.gamma, 2))


class MarginBound(ABC):
    """One method: a raw capacity, and the bound with all its constants.

    The raw capacity is a product of norms over gamma^2, and bounds no risk. The bound holds for
    all margins, and all norms that a method moves to the grid, at once.
    """

    name: str
    source: ClassVar[str]
    # statement of the source, where the capacity names one
    capacity_statement: ClassVar[str] = ""
    statement: ClassVar[str] = ""
    # readings of the capacity, and that taken if none is named
    variants: ClassVar[tuple[str, ...]] = ("paper",)
    usual: ClassVar[str] = "paper"
    # whether the bound is one of ReLU networks whose inputs have a known norm
    of_relu: ClassVar[bool] = False

    @abstractmethod
    def norms(self, facts: NetworkFacts, variant: str) -> tuple[Term, ...]:
        """Factors of the capacity beside 1 / gamma^2."""

    @abstractmethod
    def price(self, facts: NetworkFacts, margin: GridMargin, delta: float) -> tuple[Term, ...]:
        """What the bound adds to the empirical risk at the margin."""

    def capacity_conditions(self, facts: NetworkFacts) -> tuple[Assumption, ...]:
        """Assumptions of the capacity of its own."""
        del facts
        return ()

    def capacity(
        self, facts: NetworkFacts, gamma: float | None = None, variant: str | None = None
    ) -> BoundResult:
        """Evaluate the raw capacity.

        The margin is the smallest of the training set if None, as in the tables of 2023; the
        value is infinite if it is not positive.
        """
        reading = variant or self.usual
        check_one_of(reading, self.variants, "variant", self.name)
        margin = float(facts.margins.min()) if gamma is None else gamma
        inverse = Term("1/gamma^2", f"margin {margin:.4g}", _log_inverse(margin, 2))
        found = positive_margin(margin, "smallest training margin" if gamma is None else "margin")
        return BoundResult(
            self.name,
            (inverse, *self.norms(facts, reading)),
            PRODUCT,
            (found, _NO_BOUND, *self.capacity_conditions(facts), facts.no_biases()),
            _cited(self.source, self.capacity_statement),
            n=facts.n,
            quantity="capacity",
            variant=reading,
        )

    def bound(
        self, facts: NetworkFacts, *, gamma: float | None = None, delta: float = 0.05
    ) -> BoundResult:
        """Bound the risk of the network.

        The margin is `default_tau` of the training margins if None; it is moved down to the grid.
        """
        check_delta(delta, self.name)
        margin = GridMargin.of(facts, gamma)
        inputs = (facts.input_limit()[1], RELU) if self.of_relu else ()
        return BoundResult(
            self.name,
            (margin.loss(facts), *self.price(facts, margin, delta)),
            SUM,
            (positive_margin(margin.gamma), *inputs, *facts.form()),
            _cited(self.source, self.statement),
            n=facts.n,
            delta=delta,
            variant="normalised",
        )

    def rademacher(
        self,
        facts: NetworkFacts,
        margin: GridMargin,
        delta: float,
        *factors: Term,
        log_shares: Sequence[float],
    ) -> tuple[Term, Term]:
        """Make the price from a Rademacher complexity that is linear in 1 / gamma.

        The factors are those of twice the complexity of the ramp loss, but for 1 / gamma;
        `log_shares` are the shares of the grid points of the norms in them. The second term is
        3 sqrt(ln(2/delta') / (2 n)) of Bartlett and Mendelson (2002).
        """
        log_delta = math.log(delta) + margin.log_share + math.fsum(log_shares)
        inverse = Term("1/gamma", "inverse margin, on the grid", _log_inverse(margin.gamma, 1))
        complexity = Term.made(
            "complexity",
            PRODUCT,
            "twice the Rademacher complexity",
            *factors,
            inverse,
            equation=_cited(self.source, self.statement),
        )
        confidence = Term.made(
            "confidence",
            powers(1, 0.5, -0.5),
            "price of confidence",
            Term.of("3", 3.0, "constant"),
            Term.of("ln(2/delta')", math.log(2) - log_delta, "with the price of the grid"),
            Term.of("2n", 2 * facts.n, f"n = {facts.n} examples"),
            equation="Bartlett and Mendelson (2002)",
        )
        return complexity, confidence


def on_grid(symbol: str, log_value: float, meaning: str) -> tuple[Term, float]:
    """Make a term moved up to the grid, and the logarithm of its share; zero stays zero."""
    if not math.isfinite(log_value):
        return Term(symbol, meaning, log_value), 0.0
    rounded, share = grid.up(log_value)
    return Term(symbol, f"{meaning}, on the grid", rounded), share


def summed(symbol: str, logs: Sequence[float], meaning: str, rule: Rule = SUM) -> Term:
    """Make a sum over layers of which only the parts' logarithms are known."""
    parts = [Term(f"layer {i}", "part of one layer", x) for i, x in enumerate(logs, 1)]
    return Term.made(symbol, rule, meaning, *parts)


def spectral_square(facts: NetworkFacts) -> Term:
    """prod ||A_l||_2^2."""
    return Term("prod||A_l||_2^2", "squared spectral norms", 2 * facts.log_spectral_product)


def mean_inputs(facts: NetworkFacts) -> Term:
    """||X||_F / n."""
    return Term("||X||_F/n", "inputs", safe_log(facts.input_rms) - 0.5 * math.log(facts.n))


def _log_inverse(margin: float, power: int) -> float:
    return -power * math.log(margin) if margin > 0 else math.inf


def _cited(source: str, statement: str) -> str:
    return f"{source}, {statement}" if statement else source
