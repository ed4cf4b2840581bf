"""Second moments of random features, equivalent problems, and the bookkeeping of predictions."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from prunable.errors import InputError
from prunable.numerics.randomness import rng
from prunable.predict.features.kernels import (
    Activation,
    Link,
    activation_function,
    cross_moment,
    feature_kernel,
    hermite_coefficients,
    link_function,
    second_moment,
)
from prunable.predict.features.moments import FLOOR, Moments, equivalent_problem
from prunable.predict.features.random_features import (
    RandomFeatures,
    compare,
    nearest_cell,
    predict_random_features,
    simulate_random_features,
    validity_table,
)
from prunable.predict.linear.names import Model
from prunable.predict.linear.simulate import Sample, train_prune


def layer(p=5, d=4, scale=1.0):
    return scale * rng(0, "layer").standard_normal((p, d))


def expectation(f, g, s, t, rho):
    """E[f(s x) g(t y)] by adaptive quadrature in polar coordinates, split at the kinks."""
    sine = math.sqrt(1 - rho**2)

    def ray(angle):
        x, y = math.cos(angle), rho * math.cos(angle) + sine * math.sin(angle)

        def integrand(r):
            return f(s * r * x) * g(t * r * y) * r * math.exp(-r * r / 2)

        return integrate.quad(integrand, 0, 12, epsabs=1e-11, limit=200)[0]

    # x and y change sign at these angles
    turn = math.atan2(-rho, sine) % math.pi
    kinks = {math.pi / 2, 3 * math.pi / 2, turn, turn + math.pi} - {0.0}
    ends = [0.0, *sorted(kinks), 2 * math.pi]
    parts = (
        integrate.quad(ray, a, b, epsabs=1e-9, limit=100)[0] for a, b in itertools.pairwise(ends)
    )
    return sum(parts) / (2 * math.pi)


@pytest.mark.parametrize("activation", Activation)
def test_kernel_against_quadrature(activation):
    g = activation_function(activation)
    rows = np.array([[1.3, 0.0], [0.4, 0.9]])
    norms = np.linalg.norm(rows, axis=1)
    rho = float(rows[0] @ rows[1] / norms.prod())
    scalar = lambda x: float(g(np.array(x)))  # noqa: E731
    found = feature_kernel(rows, activation)
    assert found[0, 1] == pytest.approx(expectation(scalar, scalar, *norms, rho), abs=1e-7)
    for i in range(2):
        own = integrate.quad(
            lambda x, i=i: scalar(norms[i] * x) ** 2 * stats.norm.pdf(x), -12, 12, points=[0.0]
        )[0]
        assert found[i, i] == pytest.approx(own, abs=1e-9)


@pytest.mark.parametrize("activation", ["relu", "erf", "sign", "gelu"])
def test_closed_forms_equal_the_series(activation):
    rows = layer(8, 3)
    series = feature_kernel(rows, activation_function(activation), degree=400)
    # the largest correlation is 0.988: rho^400 is 0.007, times small coefficients
    tolerance = 1e-4 if activation == "sign" else 1e-6
    np.testing.assert_allclose(feature_kernel(rows, activation), series, atol=tolerance)


@pytest.mark.parametrize("activation", Activation)
@pytest.mark.parametrize("link", Link)
def test_cross_moment_against_quadrature(activation, link):
    rows, direction = np.array([[0.5, 0.8]]), np.array([1.0, 0.0])
    rho = 0.5 / math.hypot(0.5, 0.8)
    f, g = activation_function(activation), link_function(link)
    found = cross_moment(rows, direction, activation, link)[0]
    # over y first: E[f(s x) g(y)] on a grid of Gauss-Hermite nodes is too coarse at kinks
    wanted = expectation(
        lambda x: float(f(np.array(x))),
        lambda y: float(g(np.array(y))),
        math.hypot(0.5, 0.8),
        1.0,
        rho,
    )
    assert found == pytest.approx(wanted, abs=1e-6)


def test_the_papers_closed_forms():
    """theta and rho forms for ReLU and the quadratic target, derived by hand."""
    rows, beta = layer(6, 4), np.eye(4)[0]
    norms = np.linalg.norm(rows, axis=1)
    theta = np.arccos(np.clip(rows @ rows.T / np.outer(norms, norms), -1, 1))
    kernel = np.outer(norms, norms) * (np.sin(theta) + (np.pi - theta) * np.cos(theta))
    np.testing.assert_allclose(feature_kernel(rows, "relu"), kernel / (2 * np.pi), atol=1e-7)
    cross = norms * (1 + (rows @ beta / norms) ** 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(cross_moment(rows, beta, "relu", "square"), cross, rtol=1e-12)
    assert second_moment(link_function("square")) == pytest.approx(3, rel=1e-12)


def test_second_moments_of_links():
    expected = {"square": 3, "linear": 1, "absolute": 1, "relu": 0.5, "sign": 1, "cubic": 15}
    for link, value in expected.items():
        assert second_moment(link_function(link)) == pytest.approx(value, rel=1e-12)


def test_hermite_coefficients_of_powers():
    """x^3 = sqrt(6) h_3 + 3 h_1."""
    found = hermite_coefficients(lambda x: x**3, [1.0, 2.0], 6)
    expected = np.zeros((2, 7))
    expected[:, 3], expected[:, 1] = math.sqrt(6), 3
    np.testing.assert_allclose(found, expected * np.array([[1], [8]]), atol=1e-11)


@given(
    st.integers(1, 12),
    st.integers(1, 5),
    st.floats(0.01, 30),
    st.sampled_from(Activation),
    st.integers(0, 9),
)
def test_kernels_are_second_moments(p, d, scale, activation, seed):
    rows = scale * rng(seed, "kernel", p, d).standard_normal((p, d))
    kernel = feature_kernel(rows, activation)
    np.testing.assert_array_equal(kernel, kernel.T)
    values = np.linalg.eigvalsh(kernel)
    assert values[0] >= -1e-10 * values[-1]
    diagonal = np.diagonal(kernel)
    assert np.all(np.abs(kernel) <= np.sqrt(np.outer(diagonal, diagonal)) * (1 + 1e-9))
    own = [second_moment(activation_function(activation), r) for r in np.linalg.norm(rows, axis=1)]
    np.testing.assert_allclose(diagonal, own, rtol=1e-6)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_rotations_change_nothing(activation):
    rows, direction = layer(6, 4), np.array([1.0, 2.0, 0.0, -1.0])
    turn = np.linalg.qr(rng(1).standard_normal((4, 4)))[0]
    for one, other in (
        (feature_kernel(rows, activation), feature_kernel(rows @ turn, activation)),
        (
            cross_moment(rows, direction, activation, "tanh"),
            cross_moment(rows @ turn, direction @ turn, activation, "tanh"),
        ),
    ):
        np.testing.assert_allclose(one, other, atol=1e-9)


def test_equivalent_problem_solves_the_normal_equations():
    a = rng(2).standard_normal((300, 7))
    x, y = a[:, :6], a @ np.arange(7.0)
    moments = Moments(x.T @ x / 300, x.T @ y / 300, float(np.mean(y**2)))
    equivalent = equivalent_problem(moments)
    weights, residuals, *_ = np.linalg.lstsq(x, y, rcond=None)
    np.testing.assert_allclose(equivalent.problem.coefficients, weights, rtol=1e-9)
    assert equivalent.problem.sigma**2 == pytest.approx(residuals[0] / 300, rel=1e-9)
    assert moments.risk(weights) == pytest.approx(residuals[0] / 300, rel=1e-9)
    assert equivalent.n_floored == 0
    w = rng(3).standard_normal((4, 6))
    np.testing.assert_allclose(moments.risk(w), equivalent.problem.risk_of(w), rtol=1e-9)


def test_floor_of_ill_conditioned_covariances():
    x = rng(4).standard_normal((50, 3)) @ np.array([[1, 0, 1.0], [0, 1, 1], [0, 0, 0]])
    moments = Moments(x.T @ x / 50, x.T @ x[:, 0] / 50, float(np.mean(x[:, 0] ** 2)))
    equivalent = equivalent_problem(moments)
    assert equivalent.n_floored == 1
    assert equivalent.condition == pytest.approx(1 / FLOOR, rel=1e-3)
    # the target is one of the features: it is explained all the same, with small weights
    assert equivalent.problem.sigma < 1e-3
    assert np.abs(equivalent.problem.coefficients).max() < 2
    dependent = equivalent_problem(moments, null=1e-12)
    assert dependent.n_floored == 0
    assert dependent.condition < 100
    assert np.count_nonzero(dependent.problem.eigenvalues) == 2
    np.testing.assert_allclose(
        dependent.problem.coefficients, equivalent.problem.coefficients, atol=1e-4
    )


@pytest.mark.parametrize(
    ("second", "cross", "target", "culprit"),
    [
        ([[1, 0], [0, -1e-3]], [1, 1], 3, "feature 1"),
        ([[1, np.nan], [0, 1]], [1, 1], 3, "`second`"),
        ([[1, 0], [0, 1]], [1, np.inf], 3, "`cross`"),
        ([[1, 0], [0, 1]], [1, 1], -1, "`target`"),
        ([[1, 0], [0, 1]], [1, 1, 1], 3, "`cross`"),
        ([[1, 0.5], [0, 1]], [1, 1], 3, "symmetric"),
        ([[1, 0, 0], [0, 1, 0]], [1, 1], 3, "square"),
    ],
)
def test_bad_moments_are_named(second, cross, target, culprit):
    with pytest.raises(InputError, match=culprit):
        Moments(np.array(second, dtype=float), np.array(cross, dtype=float), target)


def test_moments_of_no_distribution_are_named():
    with pytest.raises(InputError, match="noise variance"):
        equivalent_problem(Moments(np.eye(2), np.array([1.0, 1.0]), 1.0))
    with pytest.raises(InputError, match="positive semidefinite"):
        equivalent_problem(Moments(np.array([[1.0, 2], [2, 1]]), np.zeros(2), 1.0))
    with pytest.raises(InputError, match="not all 0"):
        equivalent_problem(Moments(np.zeros((2, 2)), np.zeros(2), 1.0))


@pytest.mark.parametrize(
    ("options", "culprit"),
    [
        ({"d": 0}, "`d`"),
        ({"activation": "swish"}, "`activation`"),
        ({"link": "cosine"}, "`link`"),
        ({"noise": -1.0}, "`noise`"),
        ({"noise": math.nan}, "`noise`"),
        ({"weight_scale": 0.0}, "`weight_scale`"),
    ],
)
def test_bad_settings_are_named(options, culprit):
    with pytest.raises(InputError, match=culprit):
        RandomFeatures(**options)


@pytest.mark.parametrize(
    ("n", "p", "kept", "options", "culprit"),
    [
        (2, 10, [3], {}, "`n`"),
        (20, 0, [3], {}, "`p`"),
        (20, 10, [11], {}, "p = 10"),
        (20, 10, [0], {}, "`s`"),
        (20, 10, [], {}, "`s`"),
        (20, 10, [3], {"draws": 0}, "`draws`"),
    ],
)
def test_bad_sizes_are_named(n, p, kept, options, culprit):
    for function in (predict_random_features, simulate_random_features):
        with pytest.raises(InputError, match=culprit):
            function(RandomFeatures(3), n, p, kept, **options)


def test_functions_of_the_user():
    mine = RandomFeatures(3, lambda x: np.maximum(x, 0), np.square)
    rows = layer(4, 3)
    named = RandomFeatures(3).moments(rows)
    np.testing.assert_allclose(mine.moments(rows).second, named.second, atol=1e-5)
    np.testing.assert_allclose(mine.moments(rows).cross, named.cross, rtol=1e-9)
    with pytest.raises(InputError, match="entry by entry"):
        RandomFeatures(3, lambda x: np.log(x - 1e9)).moments(rows)


def test_prediction_is_reproducible_and_ordered():
    features = RandomFeatures(5, noise=0.3)
    first, second = (
        predict_random_features(features, 40, 90, [10, 90], draws=2, seed=4) for _ in range(2)
    )
    for model in first.risks:
        np.testing.assert_array_equal(first.risks[model], second.risks[model])
    # keeping all features is no pruning, and no risk is below the noise
    for model in (Model.MAGNITUDE, Model.HESSIAN, Model.ORACLE):
        np.testing.assert_allclose(first.mean(model)[1], first.mean(Model.DENSE)[1], rtol=1e-9)
    assert all(np.nanmin(risks) > 0.09 for risks in first.risks.values())
    assert first.residual < 1e-9


def test_interpolation_is_infinite_and_not_hidden():
    found = predict_random_features(RandomFeatures(5, noise=0.3), 40, 40, [10], draws=1)
    assert np.isinf(found.mean(Model.DENSE)).all()
    assert np.isinf(found.mean(Model.MAGNITUDE)).all()
    assert np.isnan(found.stderr(Model.DENSE)).all()


def test_train_prune_against_plain_steps():
    r = rng(5)
    data = Sample(r.standard_normal((20, 8)), r.standard_normal(20))
    fresh = Sample(r.standard_normal((20, 8)), r.standard_normal(20))
    saliency = r.random(8)
    found = train_prune(data, [3, 8], saliency, fresh=fresh)
    fit = np.linalg.lstsq(data.x, data.y, rcond=None)[0]
    hessian = np.argsort(-np.abs(fit) * np.linalg.norm(data.x, axis=0))[:3]
    assert set(np.flatnonzero(found[Model.HESSIAN][0])) == set(hessian)
    assert set(np.flatnonzero(found[Model.ORACLE][0])) == set(np.argsort(-saliency)[:3])
    largest = np.argsort(-np.abs(fit))[:3]
    pruned = np.where(np.isin(np.arange(8), largest), fit, 0)
    np.testing.assert_allclose(found[Model.MAGNITUDE][0], pruned, atol=1e-10)
    for model, source in ((Model.RETRAINED, fresh), (Model.RETRAINED_SAME, data)):
        again = np.linalg.lstsq(source.x[:, largest], source.y, rcond=None)[0]
        np.testing.assert_allclose(found[model][0, largest], again, atol=1e-10)
    np.testing.assert_allclose(found[Model.RETRAINED_SAME][1], fit, atol=1e-10)
    assert Model.RETRAINED not in train_prune(data, [3], saliency)


def test_comparison_is_paired():
    features = RandomFeatures(5)
    predicted = predict_random_features(features, 40, 20, [10], draws=3, seed=1)
    same = compare(predicted, predicted, Model.DENSE)
    assert same.percent == pytest.approx(0)
    assert same.stderr_percent == pytest.approx(0)


def test_validity_table():
    cells = validity_table()["cells"]
    cell = nearest_cell(20, 100, 300, 30)
    assert (cell.d, cell.n, cell.p_over_n, cell.s_over_n) == (20, 100, 3, 0.3)
    assert cell.inside
    assert not nearest_cell(10_000, 100, 300, 30).inside
    assert not nearest_cell(20, 100, 300_000, 30).inside
    assert set(cell.error_percent) == set(Model)
    # what the documentation says of it
    wide = [c for c in cells if c["d"] >= 20]
    dense = np.abs([c["error_percent"]["dense"] for c in wide])
    assert np.median(dense) < 5
