"""Terms make the value; more examples and more risk of failure never make a bound worse."""

import json
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from prunable.certify.bounds.base import MAXIMUM, PRODUCT, SUM, BoundResult, Term, combine, powers
from prunable.certify.bounds.compressed_network import pruned_network_bound
from prunable.certify.bounds.compression import Compression, NormBound, Observed
from prunable.certify.bounds.matrix_facts import network_facts
from prunable.certify.bounds.of_network import all_bounds
from prunable.certify.bounds.pruning_moments import kept_share, strength_of
from prunable.certify.bounds.random_pruning import Draws

LOGS = st.floats(-1e4, 1e4)


@st.composite
def networks(draw):
    """Matrices that follow on each other, some with zeros, and inputs with margins."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    depth = draw(st.integers(1, 4))
    sizes = [draw(st.integers(1, 6)) for _ in range(depth)] + [draw(st.integers(2, 4))]
    scale = 10.0 ** draw(st.integers(-3, 3))
    matrices = [
        scale * rng.standard_normal((m, n)) * (rng.random((m, n)) < draw(st.sampled_from([1, 0.6])))
        for m, n in zip(sizes[1:], sizes[:-1], strict=True)
    ]
    inputs = rng.standard_normal((40, sizes[0])) + 0.1
    margins = rng.normal(draw(st.sampled_from([-1.0, 0.5, 5.0])), 1, 40)
    return matrices, margins, inputs


def everything(matrices, margins, inputs, d=0.3, **options):
    pruned = Draws.of(matrices, np.random.default_rng(0)).pruned(d)
    facts = network_facts(matrices, margins, inputs, pruned=pruned)
    return all_bounds(facts, d=d, pruned_margins=margins - 0.1, **options)


@given(st.lists(LOGS, min_size=1, max_size=5), st.sampled_from([SUM, PRODUCT, MAXIMUM]))
def test_rules_are_monotone_and_exact(logs, rule):
    terms = tuple(Term(f"t{i}", "", x) for i, x in enumerate(logs))
    result = BoundResult("x", terms, rule, (), "")
    assert result.log_value == combine(terms, rule)
    more = (Term("t0", "", logs[0] + 1.0), *terms[1:])
    assert combine(more, rule) >= result.log_value
    root = powers(*[0.5] * len(logs))
    assert math.isclose(combine(terms, root), math.fsum(logs) / 2, abs_tol=1e-9)


def parts_agree(term):
    if term.rule is not None:
        assert term.log_value == combine(term.parts, term.rule)
        for part in term.parts:
            parts_agree(part)


@settings(max_examples=40)
@given(networks())
def test_terms_make_the_value_all_the_way_down(network):
    for result in everything(*network):
        assert combine(result.terms, result.rule) == result.log_value
        for term in result.terms:
            parts_agree(term)
        shown = json.loads(json.dumps(result.to_dict(), allow_nan=False))
        assert shown["vacuous"] == result.vacuous


@settings(max_examples=25)
@given(networks(), st.integers(2, 5))
def test_more_examples_never_hurt(network, times):
    """The same examples repeated: equal norms and margins, a larger n."""
    matrices, margins, inputs = network
    few = everything(matrices, margins, inputs)
    many = everything(matrices, np.tile(margins, times), np.tile(inputs, (times, 1)))
    for a, b in zip(few, many, strict=True):
        if a.quantity == "risk" and (a.name, a.variant) not in UNION_OVER_EXAMPLES:
            assert b.log_value <= a.log_value + 1e-9, a.name


# Their margin, or their number of directions, grows with the logarithm of n.
UNION_OVER_EXAMPLES = {
    ("sketched pruned network", "paper"),
    ("sketched pruned network", "measured"),
    ("sketched pruned network", "authors-code"),
}


@settings(max_examples=25)
@given(networks(), st.floats(1e-6, 0.4), st.floats(1.1, 2.0))
def test_more_risk_of_failure_never_hurts(network, delta, factor):
    strict = everything(*network, delta=delta)
    loose = everything(*network, delta=delta * factor)
    for a, b in zip(strict, loose, strict=True):
        if a.quantity == "risk":
            assert b.log_value <= a.log_value + 1e-9, (a.name, a.variant)


@given(st.floats(0, 1e6), st.floats(1.01, 10))
def test_kept_share_falls_with_the_strength(d, factor):
    assert kept_share(d * factor) <= kept_share(d)
    assert math.isclose(strength_of(kept_share(d)), d, rel_tol=1e-6, abs_tol=1e-12)


@given(st.integers(1, 50), st.integers(0, 49), st.floats(0.01, 3))
def test_pruning_more_costs_margin_and_saves_weights(size, kept, norm):
    """Theorem 5 at one error: the complexity falls with the kept share."""
    margins = np.linspace(0.1, 5, 3000)
    kept = min(kept, size - 1)
    bounds = [
        pruned_network_bound(
            Observed(
                margins, Compression((size * 100,), (count * 100,), (0.1,)), input_norm=1.0, tau=0.5
            ),
            NormBound(norm),
        )
        for count in (kept, kept + 1)
    ]
    shares = [b.term("kappa + eps_kappa").value for b in bounds]
    values = [b.value for b in bounds]
    assert (shares[0] <= shares[1]) == (values[0] <= values[1] + 1e-12)
