"""The result type: terms make the value, assumptions say by how much, JSON holds finite numbers."""

import json
import math
from dataclasses import FrozenInstanceError

import pytest

from prunable.certify.bounds.assumptions import Assumption, at_least, at_most, positive_margin
from prunable.certify.bounds.base import MAXIMUM, PRODUCT, SUM, BoundResult, Term, combine, powers
from prunable.certify.bounds.checks import check_delta, check_n
from prunable.certify.bounds.logs import show
from prunable.errors import InputError


def terms(*values):
    return [Term.of(f"t{i}", value, "a number") for i, value in enumerate(values)]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (SUM, 2 + 3 + 0.5),
        (PRODUCT, 2 * 3 * 0.5),
        (MAXIMUM, 3),
        (powers(1, 0.5, -2), 2 * math.sqrt(3) / 0.25),
    ],
)
def test_rules_are_arithmetic(rule, expected):
    assert math.exp(combine(terms(2, 3, 0.5), rule)) == pytest.approx(expected, rel=1e-14)


def test_zero_and_infinity():
    assert combine(terms(0.0, 0.0), SUM) == -math.inf
    assert combine(terms(0.0, 5.0), PRODUCT) == -math.inf
    infinite = Term("x", "infinite", math.inf)
    assert combine([*terms(1.0), infinite], SUM) == math.inf
    # what is not there stays away
    assert combine([*terms(0.0), infinite], PRODUCT) == -math.inf
    assert combine(terms(2.0, 0.0), powers(1, -1)) == math.inf


def test_value_is_what_the_terms_make():
    huge = Term.made("h", PRODUCT, "huge", Term("a", "", 800.0), Term("b", "", 900.0))
    result = BoundResult("x", (huge, *terms(1.0)), SUM, (), "source", n=3, delta=0.1)
    assert huge.log_value == 1700
    assert result.log_value == combine(result.terms, result.rule)
    assert result.value == math.inf
    assert result.vacuous
    assert result.term("b").log_value == 900
    with pytest.raises(KeyError):
        result.term("c")
    with pytest.raises(FrozenInstanceError):
        result.delta = 0.5


@pytest.mark.parametrize(
    ("value", "delta", "quantity", "vacuous"),
    [
        (0.999, 0.05, "risk", False),
        (1.0, 0.05, "risk", True),
        (0.2, 1.0, "risk", True),
        (7.0, None, "capacity", False),
        (7.0, 1.5, "count", True),
    ],
)
def test_vacuous(value, delta, quantity, vacuous):
    result = BoundResult("x", tuple(terms(value)), SUM, (), "", delta=delta, quantity=quantity)
    assert result.vacuous is vacuous


def test_json_is_finite():
    numbers = (Term("a", "", math.inf), Term("b", "", -math.inf), Term("c", "", 900.0))
    broken = Assumption("x", "violated", "said", math.inf)
    result = BoundResult("x", numbers, SUM, (broken,), "source")
    shown = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert {"name", "value", "log_value", "vacuous", "terms", "assumptions", "n", "delta"} <= set(
        shown
    )
    assert [term["value"] for term in shown["terms"]] == [None, 0.0, None]
    assert [term["log_value"] for term in shown["terms"]] == [None, None, 900.0]
    assert shown["assumptions"][0]["excess"] is None


def test_assumptions_say_by_how_much():
    fine, broken = at_most("a", 1.0, 1.0), at_most("a", math.log(6), math.log(2))
    assert fine.status == "holds"
    assert broken.status == "violated"
    assert broken.by == "by a factor of 3"
    assert at_most("a", 1.0, 1.0, strict=True).status == "violated"
    assert at_least("a", 0.0, math.log(4)).by == "by a factor of 4"
    assert at_least("a", -math.inf, 0.0).by == "by a factor of infinity"
    assert positive_margin(-2.5).by == "by 2.5"
    assert positive_margin(1e-9).by == ""
    assert Assumption("x", "unchecked", "").by == ""


@pytest.mark.parametrize(
    ("log_value", "text"), [(math.log(1234.25), "1234"), (-math.inf, "0"), (math.inf, "infinity")]
)
def test_show(log_value, text):
    assert show(log_value).startswith(text)
    assert show(2000 * math.log(10) + math.log(3)).startswith("3.000e+2000")


def test_bad_numbers_are_named():
    with pytest.raises(InputError, match="`x` of `Term` must be >= 0"):
        Term.of("x", -1.0, "")
    with pytest.raises(InputError, match="`x`"):
        Term.of("x", math.nan, "")
    with pytest.raises(InputError, match="`x`"):
        Term("x", "", math.nan)
    for delta in (0.0, 1.0, -0.1, math.nan):
        with pytest.raises(InputError, match=r"`delta` of `f` must be inside \(0, 1\)"):
            check_delta(delta, "f")
    for n in (0, -1, 2.0, True):
        with pytest.raises(InputError, match=r"positive integer.*must not be empty"):
            check_n(n, "f")
