"""Why a bound is above 1, and from how many examples on it would not be: its terms inverted in n.

Everything that training made stays as it is: norms, margins, their share below gamma. Of the terms
those that name n are moved, each by its own law, and the rule combines them anew.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from prunable.certify.bounds.base import BoundResult, Rule, Term, combine
from prunable.certify.bounds.logs import safe_exp

_BITS = 32  # of a weight, where a theorem counts weights
_FURTHEST = 4096.0  # nats; where a bound is not below 1 at n e^4096, it never is
_STEPS = 60
_SIZES = ("n", "2n", "n-1", "m")  # of samples
_LEAST = math.log(1e-3)  # of a term that is worth a word
_NEARLY = math.log(0.9995)  # of one that is shown as 1

# logarithm of a term at m examples, from its own at n: by (its own, log n, log m)
_Law = Callable[[float, float, float], float]


def _power(exponent: float) -> _Law:
    return lambda own, n, m: own + exponent * (m - n)


def _log_over_n(log_n: float) -> float:
    return math.log(log_n) - log_n


_LAWS: dict[str, _Law] = {
    "n": _power(1),
    "2n": _power(1),
    "n-1": lambda _own, _n, m: m + math.log1p(-math.exp(-m)),
    "ln(n)": lambda _own, _n, m: math.log(m),
    "8/n^1.5": _power(-1.5),
    "||X||_F/n": _power(-0.5),
    "max|x_ij| sqrt(2 ln(2 d_0)/n)": _power(-0.5),
    "eps_kappa": lambda own, n, m: own + math.log(n / m),
    "log(n)/n": lambda _own, _n, m: _log_over_n(m),
    "sqrt(d log(n)/n)": lambda own, n, m: own + (_log_over_n(m) - _log_over_n(n)) / 2,
    "ln(6 n/delta')": lambda own, n, m: math.log(math.exp(own) + m - n),
    "ln(n L h/delta)": lambda own, n, m: math.log(math.exp(own) + m - n),
}


def log_value_at(bound: BoundResult, log_examples: float) -> float:
    """Logarithm of a bound as it would be at so many examples (their logarithm), all else equal."""
    assert bound.n is not None
    terms = [_moved(term, math.log(bound.n), log_examples) for term in bound.terms]
    return combine(terms, bound.rule)


def log_examples_below_one(bound: BoundResult) -> float | None:
    """Logarithm of the fewest examples at which a bound of a sum falls below 1; None if at none.

    Examples are only added, never taken away.
    """
    if bound.n is None or bound.n < 3 or bound.rule.name != "sum":
        return None
    low = high = math.log(bound.n)
    reach = 1.0
    while log_value_at(bound, high) >= 0:
        low, high, reach = high, low + reach, 2 * reach
        if reach > _FURTHEST:
            return None
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if log_value_at(bound, middle) >= 0 else (low, middle)
    return high


def why_vacuous(bound: BoundResult) -> str:
    """Say in one sentence what makes a bound 1 or more, and from which n on it would not be.

    Empty for bounds below 1. A count of weights is asked as if each were 32 bits.
    """
    if bound.quantity == "count" and bound.value > 0:
        nats = bound.log_value + math.log(_BITS * math.log(2) / 2)
        return (
            f"It counts weights and bounds no risk by itself: at {_BITS} bits each, counting them "
            f"gives a bound below 1 from {_shown(nats)} examples on.{bound.remark}"
        )
    if bound.quantity != "risk" or bound.log_value < 0 or bound.n is None:
        return ""
    found = log_examples_below_one(bound)
    if found is None:
        log_n = max(math.log(bound.n), 1.0)
        fixed = (t for t in bound.terms if t.log_value > _LEAST and not _vanishes(t, log_n))
        held = [t for t in fixed if t.symbol not in _SIZES] or bound.terms
        stay = " and ".join(_at(t) for t in sorted(held, key=lambda t: -t.log_value))
        few = "" if any(t.log_value > _NEARLY for t in held) else ", though each alone is below it"
        return f"It is not below 1 at any number of examples as long as {stay}{few}.{bound.remark}"
    largest = max(_causes(bound.terms, bound.rule), key=lambda term: term.log_value)
    return (
        f"It is not below 1 since {largest.meaning} ({largest.symbol}) comes to "
        f"{_shown(largest.log_value)}; with the same norms and margins it would be from "
        f"{_shown(found)} examples on, where there are {bound.n:,}.{bound.remark}"
    )


def _at(term: Term) -> str:
    return f"{term.meaning} ({term.symbol}) is {_shown(term.log_value)}"


def _vanishes(term: Term, log_n: float) -> bool:
    """Whether a term is nothing with examples enough."""
    return _moved(term, log_n, _FURTHEST).log_value < _LEAST


def _moved(term: Term, log_n: float, log_m: float) -> Term:
    if term.rule is not None:
        parts = tuple(_moved(part, log_n, log_m) for part in term.parts)
        return replace(term, parts=parts, log_value=combine(parts, term.rule))
    law = _LAWS.get(term.symbol)
    return term if law is None else replace(term, log_value=law(term.log_value, log_n, log_m))


def _causes(terms: tuple[Term, ...], rule: Rule) -> list[Term]:
    """Terms without parts that make a value large: of what is added, those of the largest alone.

    Sizes of samples divide, and are none.
    """
    if rule.name == "sum":
        terms = (max(terms, key=lambda term: term.log_value),)
    found: list[Term] = []
    for term in terms:
        found += [term] if term.rule is None else _causes(term.parts, term.rule)
    return [term for term in found if term.symbol not in _SIZES] or list(terms)


def _shown(log_value: float) -> str:
    value = safe_exp(log_value)
    if log_value == math.inf:
        return "infinity"
    if value < 1e6:
        return f"{math.ceil(value):,}" if value >= 1 else f"{value:.3g}"
    exponent = math.floor(log_value / math.log(10))
    return f"{10 ** (log_value / math.log(10) - exponent):.1f}e{exponent}"
