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

import numpy as np
from scipy.special import logsumexp

from prunable.errors import InputError

AssumptionStatus = Literal["holds", "violated", "unchecked"]
# "risk" bounds a probability of error; the others bound or measure something else.
Quantity = Literal["risk", "capacity", "perturbation", "count", "share", "moment"]


@dataclass(frozen=True)
class Rule:
    """How terms make a value: logarithms of the terms in, logarithm of the value out."""

    name: str
    log_combine: Callable[[Sequence[float]], float] = field(compare=False, repr=False)

    def __call__(self, terms: Sequence[Term]) -> float:
        """Combine terms; natural logarithm of the value."""
        logs = [term.log_value for term in terms]
        result = float(self.log_combine(logs))
        require(
            not math.isnan(result), "terms", f"Rule {self.name!r}", "combinable to a number", logs
        )
        return result


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
        return cls(symbol, meaning, rule(parts), equation, rule, parts)

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
class Assumption:
    """One condition of a bound, and whether it holds here.

    The evidence is the numbers looked at, or why it was not checked. The excess is by how much
    a violated one is missed: inf if by no finite amount, a logarithm if the unit is a factor.
    """

    name: str
    status: AssumptionStatus
    evidence: str
    excess: float | None = None
    unit: Literal["factor", "difference"] = "difference"

    @classmethod
    def decided(
        cls,
        holds: bool,
        name: str,
        evidence: str,
        excess: float | None = None,
        unit: Literal["factor", "difference"] = "difference",
    ) -> Assumption:
        """Make an assumption that was checked; the excess counts only if it is violated."""
        if holds:
            return cls(name, "holds", evidence)
        return cls(name, "violated", evidence, excess, unit)

    @property
    def by(self) -> str:
        """By how much the condition is missed, in words; empty unless violated."""
        if self.status != "violated" or self.excess is None:
            return ""
        if self.unit == "factor":
            return f"by a factor of {show(self.excess)}"
        return f"by {self.excess:.4g}"

    def to_dict(self) -> dict[str, Any]:
        """Show as JSON; an infinite excess is null."""
        finite = self.excess is not None and math.isfinite(self.excess)
        return {
            "name": self.name,
            "status": self.status,
            "evidence": self.evidence,
            "excess": self.excess if finite else None,
            "unit": self.unit,
            "by": self.by,
        }


def at_most(
    name: str, log_value: float, log_limit: float, evidence: str = "", *, strict: bool = False
) -> Assumption:
    """Check that a magnitude is at most a limit, both given as natural logarithms.

    The evidence is what to say before the two numbers; if `strict`, equality violates.
    """
    excess = 0.0 if log_value == log_limit else log_value - log_limit
    return _compared(name, log_value, log_limit, excess, evidence, "<" if strict else "<=")


def at_least(
    name: str, log_value: float, log_limit: float, evidence: str = "", *, strict: bool = False
) -> Assumption:
    """Check that a magnitude is at least a limit; as `at_most`."""
    excess = 0.0 if log_value == log_limit else log_limit - log_value
    return _compared(name, log_value, log_limit, excess, evidence, ">" if strict else ">=")


def _compared(
    name: str, log_value: float, log_limit: float, excess: float, evidence: str, sign: str
) -> Assumption:
    before = f"{evidence}: " if evidence else ""
    said = f"{before}{show(log_value)}, needed {sign} {show(log_limit)}"
    holds = excess < 0 or (excess == 0 and sign.endswith("="))
    return Assumption.decided(holds, name, said, excess, "factor")


def positive(name: str, value: float, evidence: str = "") -> Assumption:
    """Check that a signed number is above zero; the excess is the difference."""
    said = f"{evidence + ': ' if evidence else ''}{value:.4g}, needed > 0"
    return Assumption.decided(value > 0, name, said, abs(value))


@dataclass(frozen=True)
class BoundResult:
    """A bound on a risk, or another quantity that enters one, itemised.

    Attributes
    ----------
    source
        Paper and statement.
    n
        Examples the bound speaks about; None where none enter.
    delta
        Probability with which the statement may fail, all of its parts together; at 1 or
        more it says nothing. None for statements that cannot fail.
    quantity
        What is bounded; only a "risk" is a bound on a probability of error.
    variant
        "paper", "authors-code", or another named reading.
    about
        Which network it speaks of.
    """

    name: str
    terms: tuple[Term, ...]
    rule: Rule
    assumptions: tuple[Assumption, ...]
    source: str
    n: int | None = None
    delta: float | None = None
    quantity: Quantity = "risk"
    variant: str = "paper"
    about: str = ""
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
    return rule(terms)


def number(log_value: float) -> dict[str, float | None]:
    """Show a magnitude as JSON, by "value" and "log_value".

    Zero has no logarithm, and a value beyond the doubles only its logarithm; infinity has
    neither.
    """
    value = safe_exp(log_value)
    return {
        "value": value if math.isfinite(value) else None,
        "log_value": log_value if math.isfinite(log_value) else None,
    }


def safe_log(value: float) -> float:
    """Natural logarithm; -inf of zero."""
    return math.log(value) if value > 0 else -math.inf


def safe_exp(log_value: float) -> float:
    """Exponential; inf beyond the doubles."""
    try:
        return math.exp(log_value)
    except OverflowError:
        return math.inf


def log_expm1(x: float) -> float:
    """log(exp(x) - 1) for x >= 0, without overflow; -inf at 0."""
    if x <= 0:
        return -math.inf
    return math.log(math.expm1(x)) if x < 30 else x + math.log1p(-math.exp(-x))


def show(log_value: float) -> str:
    """Write a magnitude with four digits, as a power of ten if it is huge or tiny."""
    if not math.isfinite(log_value):
        return "0" if log_value < 0 else "infinity"
    if abs(log_value) < 690:
        return f"{math.exp(log_value):.4g}"
    exponent = math.floor(log_value / math.log(10))
    return f"{math.exp(log_value - exponent * math.log(10)):.3f}e{exponent:+d}"


def require(
    holds: bool, param: str, where: str, constraint: str, value: object, action: str = ""
) -> None:
    """Refuse a parameter that breaks a constraint; see `InputError.parameter`."""
    if not holds:
        raise InputError.parameter(param, where, constraint, value, action)


def check_n(n: int, where: str) -> int:
    """Check a number of examples: a positive integer."""
    whole = isinstance(n, int | np.integer) and not isinstance(n, bool)
    action = "The training set must not be empty."
    require(whole and n >= 1, "n", where, "a positive integer", n, action)
    return int(n)


def check_delta(delta: float, where: str, name: str = "delta") -> float:
    """Check a failure probability, inside (0, 1)."""
    action = "0.05 means that the bound holds 19 times of 20."
    require(0 < delta < 1, name, where, "inside (0, 1)", delta, action)
    return float(delta)


def check_share(value: float, name: str, where: str) -> float:
    """Check a probability, risk or share, inside [0, 1]."""
    require(0 <= value <= 1, name, where, "inside [0, 1]", value)
    return float(value)


def check_positive(value: float, name: str, where: str, action: str = "") -> float:
    """Check a scale, a norm or a factor."""
    require(0 < value < math.inf, name, where, "positive and finite", value, action)
    return float(value)


def check_finite(value: float, name: str, where: str) -> float:
    """Check a magnitude that may be zero."""
    require(0 <= value < math.inf, name, where, "finite and >= 0", value)
    return float(value)


def check_layers(where: str, **values: Sequence[object]) -> None:
    """Check that there is a layer, and that each named sequence has one entry a layer."""
    (first, some), *others = values.items()
    lengths = [len(entries) for entries in values.values()]
    alike = f"one number a layer, as {' and '.join(name for name, _ in others)}"
    require(len(some) > 0 and len(set(lengths)) == 1, first, where, alike, lengths)
