"""Retraining on fresh and on the same data: closed forms, draws and edges."""

import math

import numpy as np
import pytest

from prunable.errors import InputError
from prunable.numerics.randomness import rng
from prunable.predict.linear.law import predict_law
from prunable.predict.linear.names import Method
from prunable.predict.linear.presets import preset
from prunable.predict.linear.problem import LinearGaussianProblem
from prunable.predict.linear.pruning import pruned_risk
from prunable.predict.linear.retraining import draw_supports, retrained_risk, same_data_risk
from prunable.predict.linear.simulate import simulate_replica


@pytest.mark.parametrize("s", [50, 250, 500])
@pytest.mark.parametrize("method", list(Method))
def test_deterministic_path_meets_definition_5(s, method):
    """Supports drawn and every restricted problem solved, five standard errors and 0.5 %."""
    problem = preset("fig3b", sigma=0.3).problem
    law = predict_law(problem, 300)
    found = retrained_risk(law, s, method)
    assert found.stderr == 0
    supports = draw_supports(law, s, method, rng=rng(0, "supports"), draws=40)
    assert np.all(supports.sum(axis=1) == s)
    risks = np.array([predict_law(problem.restricted(kept), 300).risk for kept in supports])
    error = risks.std(ddof=1) / math.sqrt(40)
    assert abs(found.value - risks.mean()) < 5 * error + 0.005 * found.value


def test_dense_path_meets_the_diagonal_one():
    g = rng(1, "retraining")
    values, beta = g.gamma(1.0, size=300), g.standard_normal(300) / 17
    closed = predict_law(LinearGaussianProblem.diagonal(values, beta, 0.3), 100)
    drawn = predict_law(LinearGaussianProblem.dense(np.diag(values), beta, 0.3), 100)
    for s in (40, 160):
        a = retrained_risk(closed, s)
        b = retrained_risk(drawn, s, rng=g, draws=60)
        assert b.stderr > 0
        assert abs(a.value - b.value) < 5 * b.stderr + 0.01 * a.value


def test_oracle_retraining_is_lemma_7():
    panel = preset("fig3b", sigma=0.5)
    law = predict_law(panel.problem, 300)
    # spiked features hold 100 x 25 of 3,400 units of signal, scaled by 1 / 1,000
    expected = (0.25 + 0.9) / (1 - 100 / 300)
    assert retrained_risk(law, 100, Method.ORACLE).value == pytest.approx(expected)
    exact = retrained_risk(law, 100, Method.ORACLE, finite_n=True).value
    assert exact == pytest.approx((0.25 + 0.9) * 299 / 199)


def test_retraining_everything_changes_nothing():
    law = predict_law(preset("fig3b", p=200).problem, 60)
    assert retrained_risk(law, 200).value == pytest.approx(law.risk)
    assert same_data_risk(law, 200, rng=rng(0)).value == law.risk


def test_as_many_features_as_samples_have_no_finite_risk():
    law = predict_law(preset("fig3b", p=200).problem, 60)
    assert retrained_risk(law, 60).value == math.inf
    with pytest.raises(InputError, match="s different from n"):
        same_data_risk(law, 60, rng=rng(0))


def test_retraining_is_finite_at_interpolation():
    """Figure 7 of the 2020 paper: only there does retraining pay for uncorrelated features."""
    panel = preset("fig3b")
    law = predict_law(panel.problem.restricted(np.arange(300)), 300)
    assert pruned_risk(law, 100).value == math.inf
    # features are chosen by noise of variance 1 / Sigma_ii
    kept = retrained_risk(law, 100)
    drawn = draw_supports(law, 100, Method.MAGNITUDE, rng=rng(0), draws=60)
    risks = [predict_law(law.problem.restricted(mask), 300).risk for mask in drawn]
    assert kept.value == pytest.approx(np.mean(risks), rel=0.02)
    assert math.isfinite(kept.value)


@pytest.mark.parametrize(("k", "n"), [(200, 300), (1000, 300)])
def test_a_fixed_support_learns_nothing_from_pruning(k, n):
    """Salient features are no choice of the data: same data, fresh data and lemma 7 agree."""
    problem = preset("fig3b", sigma=0.4).problem.restricted(np.arange(k))
    law = predict_law(problem, n)
    for s in (50, 150):
        same = same_data_risk(law, s, Method.ORACLE, rng=rng(2, "fixed"), draws=200)
        assert same.value == pytest.approx(retrained_risk(law, s, Method.ORACLE).value, rel=0.02)


def test_same_data_of_more_features_than_samples():
    problem = preset("fig3b", sigma=0.4).problem
    law = predict_law(problem, 300)
    same = same_data_risk(law, 600, Method.ORACLE, rng=rng(2, "wide"), draws=100)
    assert same.value == pytest.approx(retrained_risk(law, 600, Method.ORACLE).value, rel=0.03)


@pytest.mark.parametrize("s", [3, 12, 30])
def test_same_data_with_dependent_features(s):
    """Covariance of rank 8 and 60 features: 200 replicas, five standard errors or 5 %."""
    g = rng(3, "rank")
    A = g.standard_normal((8, 60))
    problem = LinearGaussianProblem.dense(A.T @ A / 8, g.standard_normal(60) / 8, 0.5)
    found = same_data_risk(predict_law(problem, 40), s, rng=g, draws=200)
    rows = [
        simulate_replica(problem, 40, s, seed=4, replica=i)[0]["retrained_same_data"]
        for i in range(200)
    ]
    error = np.hypot(np.std(rows, ddof=1) / math.sqrt(200), found.stderr)
    assert abs(found.value - np.mean(rows)) < max(5 * error, 0.05 * np.mean(rows))


def test_same_data_with_features_of_no_variance():
    values = np.append(np.geomspace(0.1, 2, 50), np.zeros(50))
    for n, s in ((20, 60), (20, 80), (60, 55), (20, 10)):
        law = predict_law(LinearGaussianProblem.diagonal(values, np.ones(100), 0.3), n)
        assert math.isfinite(same_data_risk(law, s, rng=rng(0)).value)


@pytest.mark.parametrize("s", [1, 2])
@pytest.mark.parametrize("scale", [1.0, 1e-70])
def test_lemma_1(s, scale):
    """Perfectly correlated features x = g u, exactly at every n: equations (5) and (6)."""
    u, beta, sigma, n = scale * np.array([3.0, -4.0, 0.0]), np.array([1.0, 1.0, 5.0]), 0.5, 12
    problem = LinearGaussianProblem.dense(np.outer(u, u), beta, sigma)
    law = predict_law(problem, n, finite_n=True)
    fitted, zeta = sigma**2 / (n - 2), (16 / 25, 1.0)[s - 1]
    assert law.risk == pytest.approx(sigma**2 + fitted)
    pruned = zeta**2 * fitted + (1 - zeta) ** 2 * float(u @ beta) ** 2
    for method in (Method.MAGNITUDE, Method.HESSIAN):
        # every draw is a multiple of u, so that the same features are always kept
        drawn = pruned_risk(law, s, method, rng=rng(0), draws=400)
        assert abs(drawn.value - sigma**2 - pruned) < 5 * drawn.stderr + 1e-12
        again = retrained_risk(law, s, method, finite_n=True, rng=rng(0))
        assert again.value == pytest.approx(law.risk)


def test_only_a_spectrum_cannot_be_retrained():
    law = predict_law(LinearGaussianProblem.spectral(np.ones(9), np.ones(9), 0.1), 4)
    for act in (retrained_risk, lambda law, s: same_data_risk(law, s, rng=rng(0))):
        with pytest.raises(InputError, match="features"):
            act(law, 2)
