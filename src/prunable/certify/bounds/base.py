"""What every bound returns: a value, the terms it is made of, and what it assumes.

All magnitudes are non-negative and held as natural logarithms, since norms of real networks
multiply beyond the doubles. A value is never stored beside its terms: it is what the rule
makes of them, so `combine(terms) == value` holds by construction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from scipy.special import logsumexp

from prunable.certify.bounds.assumptions import Assumption
from prunable.certify.bounds.logs import number, safe_exp, safe_log
from prunable.errors import require

# "risk" bounds a probability of error; the others bound or measure something else.
Quantity = Literal["risk", "capacity", "perturbation", "count", "share", "moment"]
DENSE, PRUNED = "dense network", "pruned network"  # which a bound is about


@dataclass(frozen=True)
class Rule:
    """How terms make a value: logarithms of the terms in, logarithm of the value out."""

    name: str
    log_combine: Callable[[Sequence[float]], float] = field(compare=False, repr=False)


def _log_sum(logs: Sequence[float]) -> float:
    if math.inf in logs:
        return math.inf
    return float(logsumexp(logs)) if any(x > -math.inf for x in logs) else -math.inf


def _log_product(logs: Sequence[float]) -> float:
    # zero times anything is zero: a term that is not there does not make the value infinite
    return -math.inf if -math.inf in logs else math.fsum(logs)


SUM = Rule("sum", _log_sum)
PRODUCT = Rule("product", _log_product)
MAXIMUM = Rule("maximum", max)


def powers(*exponents: float) -> Rule:
    """Make the rule of a product of powers, one exponent a term: 0.5 a root, -1 a divisor."""

    def combine(logs: Sequence[float]) -> float:
        return _log_product([e * x for e, x in zip(exponents, logs, strict=True)])

    return Rule(" * ".join(f"t{i}^{e:g}" for i, e in enumerate(exponents, 1)), combine)


@dataclass(frozen=True)
class Term:
    """One named magnitude of a bound, >= 0, and the parts that `rule` makes it of.

    The symbol is that of `docs/notation.md` or the source, the meaning is in words with the
    unit, and the natural logarithm is -inf for zero and +inf for infinity.
    """

    symbol: str
    meaning: str
    log_value: float
    equation: str = ""
    rule: Rule | None = None
    parts: tuple[Term, ...] = ()

    def __post_init__(self) -> None:
        require(not math.isnan(self.log_value), self.symbol, "Term", "a number", "NaN")

    @classmethod
    def of(cls, symbol: str, value: float, meaning: str, equation: str = "") -> Term:
        """Make a term of a value >= 0."""
        require(value >= 0, symbol, "Term", ">= 0", value)
        return cls(symbol, meaning, safe_log(value), equation)

    @classmethod
    def made(cls, symbol: str, rule: Rule, meaning: str, *parts: Term, equation: str = "") -> Term:
        """Make a term of other terms."""
        return cls(symbol, meaning, combine(parts, rule), equation, rule, parts)

    @property
    def value(self) -> float:
        """The magnitude; inf if it is beyond the doubles."""
        return safe_exp(self.log_value)

    def to_dict(self) -> dict[str, Any]:
        """Show as JSON: finite numbers or null, see `number`."""
        shown: dict[str, Any] = {
            "symbol": self.symbol,
            "meaning": self.meaning,
            **number(self.log_value),
            "equation": self.equation,
        }
        if self.rule is not None:
            shown |= {"rule": self.rule.name, "parts": [part.to_dict() for part in self.parts]}
        return shown


@dataclass(frozen=True)
class BoundResult:
    """A bound on a risk, or another quantity that enters one, itemised."""

    name: str
    terms: tuple[Term, ...]
    rule: Rule
    assumptions: tuple[Assumption, ...]
    source: str  # paper and statement
    n: int | None = None  # examples the bound speaks about; None where none enter
    # Probability with which the statement may fail, all of its parts together; at 1 or more it
    # says nothing. None for statements that cannot fail.
    delta: float | None = None
    quantity: Quantity = "risk"
    variant: str = "paper"  # or "authors-code", or another named reading
    about: str = ""  # which network it speaks of
    remark: str = ""  # a sentence behind that of `why_vacuous`
    log_value: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "log_value", combine(self.terms, self.rule))

    @property
    def value(self) -> float:
        """The bound; inf if it is beyond the doubles."""
        return safe_exp(self.log_value)

    @property
    def vacuous(self) -> bool:
        """Whether it says nothing: a risk of 1 or more, or a statement that may always fail."""
        if self.delta is not None and self.delta >= 1:
            return True
        return self.quantity == "risk" and self.value >= 1

    @property
    def violated(self) -> tuple[Assumption, ...]:
        """The conditions that do not hold."""
        return tuple(a for a in self.assumptions if a.status == "violated")

    @property
    def proven(self) -> bool:
        """Whether every condition was checked and holds."""
        return all(a.status == "holds" for a in self.assumptions)

    def term(self, symbol: str) -> Term:
        """Find a term, or a part of one, by its symbol; KeyError if there is none."""
        open_terms = list(self.terms)
        while open_terms:
            found = open_terms.pop(0)
            if found.symbol == symbol:
                return found
            open_terms.extend(found.parts)
        raise KeyError(symbol)

    def to_dict(self) -> dict[str, Any]:
        """Show as JSON of finite numbers, keys in snake_case; see `number` for the value."""
        return {
            "name": self.name,
            "variant": self.variant,
            "about": self.about,
            "quantity": self.quantity,
            **number(self.log_value),
            "vacuous": self.vacuous,
            "proven": self.proven,
            "n": self.n,
            "delta": self.delta if self.delta is None else min(float(self.delta), 1e300),
            "rule": self.rule.name,
            "terms": [term.to_dict() for term in self.terms],
            "assumptions": [assumption.to_dict() for assumption in self.assumptions],
            "source": self.source,
        }


def combine(terms: Sequence[Term], rule: Rule) -> float:
    """Combine terms by a rule; natural logarithm of the value."""
    logs = [term.log_value for term in terms]
    value = float(rule.log_combine(logs))
    known = not math.isnan(value)
    require(known, "terms", f"Rule {rule.name!r}", "combinable to a number", logs)
    return value
