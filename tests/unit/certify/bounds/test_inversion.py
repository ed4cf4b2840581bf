"""Bounds at another number of examples: against the same network measured on repeated examples."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from prunable.certify.bounds.base import SUM, BoundResult, Term, powers
from prunable.certify.bounds.inversion import log_examples_below_one, log_value_at, why_vacuous
from prunable.certify.bounds.lottery import WinningTicket, widest
from prunable.certify.bounds.of_network import all_bounds
from prunable.certify.bounds.sketched_network import Constants
from prunable.certify.bounds.stable_weights import StableLaws
from prunable.certify.network_bounds import bounds_of_model, facts_of_model

REPEATS = 4


def results(repeats):
    """Every bound of one network on its examples, each of which stands there so many times."""
    torch.manual_seed(0)
    layers = [nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 4)]
    model = nn.Sequential(nn.Flatten(), *layers).requires_grad_(False)
    pruned = nn.Sequential(nn.Flatten(), nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 4))
    pruned.load_state_dict(model.state_dict())
    pruned.requires_grad_(False)
    pruned[1].weight[pruned[1].weight.abs() < 0.02] = 0
    x = torch.randn(64, 12)
    y = model(x).argmax(1)
    x, y = x.repeat(repeats, 1), y.repeat(repeats)
    found = bounds_of_model(model, x, y, pruned, d=0.1, fold=True, tickets=True)
    laws = StableLaws((1.5, 1.6), (0.1, 0.1))
    facts = facts_of_model(model, x, y, pruned, fold=True)
    return (*found, *all_bounds(facts, laws=laws, constants=Constants()))


@pytest.fixture(scope="module")
def pairs():
    few, many = results(8), results(8 * REPEATS)
    return [(a, b) for a, b in zip(few, many, strict=True) if a.quantity == "risk"]


def test_terms_move_with_n_as_measuring_again_does(pairs):
    assert len(pairs) > 20
    for few, many in pairs:
        found = log_value_at(few, math.log(many.n))
        assert found == pytest.approx(many.log_value, abs=1e-9), few.name


def test_the_number_of_examples_is_where_a_bound_crosses_one(pairs):
    above = [few for few, _ in pairs if few.log_value >= 0]
    assert len(above) > 10
    for bound in above:
        found = log_examples_below_one(bound)
        if found is None:
            continue
        assert log_value_at(bound, found) < 0 <= log_value_at(bound, found - 1e-6), bound.name
        assert "examples on" in why_vacuous(bound)


def test_counting_is_inverted_in_closed_form(pairs):
    """sqrt(nats / 2 n) = 1 - R at n = nats / (2 (1 - R)^2)."""
    (bound,) = {b.name: b for b, _ in pairs if b.name == "parameter counting, dense"}.values()
    if bound.log_value < 0:
        pytest.fail("the network is too small for the case")
    nats, risk = bound.term("ln(J)+ln(1/delta)").value, bound.terms[0].value
    wanted = math.log(nats / (2 * (1 - risk) ** 2))
    assert log_examples_below_one(bound) == pytest.approx(wanted, abs=1e-6)


def test_bounds_below_one_need_no_excuse(pairs):
    bound, _ = pairs[0]
    assert why_vacuous(bound)
    assert not any(why_vacuous(b) for b, _ in pairs if b.log_value < 0)


def test_a_share_of_margins_of_one_is_never_made_up_for():
    """At a margin that no example reaches there are no examples enough."""
    margins = np.full(50, -1.0)
    ticket = WinningTicket(3, 2, 1, 40, step=2.0**-8, approximation=0.1)
    bound = ticket.bound(margins)
    assert log_examples_below_one(bound) is None
    assert "at any number of examples" in why_vacuous(bound)


def test_infinite_terms_are_said_to_be_so():
    huge = Term("x", "a norm", math.inf)
    bound = BoundResult("norms", (huge, Term.of("2n", 20, "examples")), SUM, (), "none", n=10)
    said = "It is not below 1 at any number of examples as long as a norm (x) is infinity."
    assert why_vacuous(bound) == said


def test_what_stays_is_named_and_not_what_is_large(pairs):
    """Where margins leave no chance no norm is to blame, and terms below 1 may add up."""
    risks = Term.of("R(g)", 0.9, "bound of the student"), Term.of("P(f != g)", 0.2, "disagreement")
    said = why_vacuous(BoundResult("sum", risks, SUM, (), "none", n=100))
    assert "bound of the student (R(g)) is 0.9 and disagreement (P(f != g)) is 0.2" in said
    assert "each alone is below it" in said
    never = [b for b, _ in pairs if b.log_value >= 0 and log_examples_below_one(b) is None]
    assert never
    for bound in never:
        said = why_vacuous(bound)
        assert "as long as share of training margins" in said, bound.name
        assert " is 1." in said, bound.name


def test_of_what_is_added_the_larger_is_the_cause():
    """A factor of a small summand is none, however large it is."""
    small = Term.made("s", powers(1, -1), "small", Term.of("a", 90, "a"), Term.of("b", 900, "b"))
    large = Term.made("l", powers(1, -0.5), "large", Term.of("c", 80, "c"), Term.of("n", 9, "n"))
    said = why_vacuous(BoundResult("sum", (small, large), SUM, (), "none", n=9))
    assert "since c (c) comes to 80; " in said


def test_widest_target_against_all_widths():
    ticket = WinningTicket(5, 400, 3, 40, step=2.0**-8, approximation=0.1)
    n = 60_000

    def price(hidden):
        wide = math.ceil(5 * hidden * 3 / 0.1)
        numbers = (hidden * 5 + 3 * hidden**2) * math.log(wide) ** 2
        return math.sqrt(numbers * 8 * math.log(2) / n)

    fitting = [hidden for hidden in range(1, 400) if price(hidden) < 1]
    assert widest(ticket, n) == max(fitting) == len(fitting)
    assert widest(ticket, 1) == 0


def test_counts_of_weights_are_asked_at_32_bits():
    ticket = WinningTicket(10, 20, 2, 40, step=2.0**-8, approximation=0.1)
    weights = 10 * 20 + 20**2 * 2
    needed = math.ceil(weights * 32 * math.log(2) / 2)
    assert f"{needed:,} examples on" in why_vacuous(ticket.weights())
