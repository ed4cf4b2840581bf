"""What holds for every linear Gaussian problem."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunable.predict.linear.curves import Wanted, predict_risks
from prunable.predict.linear.diagonal import Mixture
from prunable.predict.linear.law import predict_law
from prunable.predict.linear.names import Method
from prunable.predict.linear.problem import LinearGaussianProblem
from prunable.predict.linear.pruning import pruned_risk, survival
from prunable.predict.linear.solution import Regime

SCALES = st.floats(-6, 6).map(lambda e: 10.0**e)
VARIANCES = st.one_of(st.just(0.0), SCALES)


@st.composite
def problems(draw):
    p = draw(st.integers(1, 40))
    values = draw(st.lists(VARIANCES, min_size=p, max_size=p))
    beta = draw(st.lists(st.floats(-10, 10), min_size=p, max_size=p))
    sigma = draw(st.one_of(st.just(0.0), st.floats(1e-3, 10)))
    return LinearGaussianProblem.diagonal(values, beta, sigma), draw(st.integers(1, 60))


@given(problems())
def test_the_law_explains_its_risk(drawn):
    problem, n = drawn
    law = predict_law(problem, n)
    assert law.residual < 1e-9
    if not law.finite:
        assert law.regime == Regime.AT
        return
    error = (problem.coefficients - law.means) ** 2 + law.variances
    own = problem.sigma**2 + float((problem.covariance * error).sum())
    assert own == pytest.approx(law.risk, rel=1e-6, abs=1e-12)
    assert law.risk >= problem.sigma**2 * (1 - 1e-12)


@given(problems(), st.integers(1, 40), st.sampled_from(list(Method)))
def test_exactly_s_features_survive(drawn, s, method):
    problem, n = drawn
    s = min(s, problem.p)
    law = predict_law(problem, n)
    kept = survival(law, s, method)
    assert kept.sum() == pytest.approx(s, rel=1e-8)
    assert kept.min() >= 0
    assert kept.max() <= 1 + 1e-12
    risk = pruned_risk(law, s, method).value
    assert not math.isnan(risk)
    assert risk >= problem.sigma**2 * (1 - 1e-9) or s == problem.p


@given(problems(), st.integers(1, 40), st.floats(-3, 3))
def test_units_do_not_matter(drawn, s, exponent):
    """Features measured in another unit, all the same: the risk stays."""
    problem, n = drawn
    unit = 10.0**exponent
    s = min(s, problem.p)
    other = LinearGaussianProblem.diagonal(
        problem.covariance * unit**2, problem.coefficients / unit, problem.sigma
    )
    wanted = Wanted(retrain_by=tuple(Method))
    a, b = (predict_risks(which, n, s, wanted).risk for which in (problem, other))
    for name, risk in a.items():
        if math.isfinite(risk.value):
            assert b[name].value == pytest.approx(risk.value, rel=1e-5, abs=1e-9), name


@given(problems(), st.integers(1, 40), st.randoms(use_true_random=False))
def test_the_order_of_features_does_not_matter(drawn, s, random):
    problem, n = drawn
    s = min(s, problem.p)
    order = list(range(problem.p))
    random.shuffle(order)
    other = LinearGaussianProblem.diagonal(
        problem.covariance[order], problem.coefficients[order], problem.sigma
    )
    for method in (Method.MAGNITUDE, Method.HESSIAN):
        a, b = (pruned_risk(predict_law(x, n), s, method).value for x in (problem, other))
        if math.isfinite(a):
            assert a == pytest.approx(b, rel=1e-6, abs=1e-9)


@given(
    st.lists(st.floats(-5, 5), min_size=2, max_size=30),
    st.lists(st.one_of(st.just(0.0), SCALES), min_size=30, max_size=30),
    st.lists(st.floats(0.1, 5), min_size=30, max_size=30),
    st.floats(0.01, 1.0),
)
def test_thresholds_keep_what_is_asked(means, variances, weights, share):
    size = len(means)
    mixture = Mixture(np.array([means]), np.array([variances[:size]]), np.array([weights[:size]]))
    kept = share * mixture.total
    found = mixture.survival(mixture.threshold(kept))
    assert mixture.count(found)[0] == pytest.approx(kept[0], rel=1e-8)


@given(problems(), st.integers(1, 40))
def test_more_noise_never_helps_the_dense_model(drawn, extra):
    problem, n = drawn
    a = predict_law(problem, n).risk
    b = predict_law(problem.with_sigma(problem.sigma + extra / 10), n).risk
    assert b >= a * (1 - 1e-9)
