"""Tail estimators against their published formulas, written out naively, and against SciPy."""

import math

import numpy as np
import pytest
import scipy.stats

from prunable.errors import InputError
from prunable.numerics.randomness import rng
from prunable.numerics.stable import StableLaw
from prunable.numerics.tails import (
    Status,
    authors_procedure,
    ecf_regression,
    ecf_two_point,
    extreme_value_index,
    fit_stable,
    hill,
    log_moment,
    log_variance,
    quantile,
)
from prunable.numerics.tails.authors import block_sizes
from prunable.numerics.tails.hill import hill_of_sorted
from prunable.numerics.weights.calibration import alpha_of_quantile_ratio, load

STABLE = (log_moment, log_variance, quantile, ecf_two_point, ecf_regression)
ALL = (*STABLE, hill)


def draws(alpha, n, seed=0):
    return StableLaw(alpha).sample(n, rng(seed, "tail tests", repr(alpha)))


@pytest.mark.parametrize("estimator", STABLE)
@pytest.mark.parametrize("alpha", [0.8, 1.0, 1.2, 1.5, 1.75, 1.9, 1.95, 2.0])
def test_recovers_alpha(estimator, alpha):
    """Five standard errors: false alarm 6e-7 each, 3e-5 for all."""
    found = estimator(draws(alpha, 200_000))
    assert found.status is Status.OK
    assert abs(found.alpha - alpha) < 5 * found.stderr
    assert found.stderr < 0.05
    assert found.method == estimator.__name__
    assert found.n > 199_000


@pytest.mark.parametrize("side", [500, 2048])
@pytest.mark.parametrize("alpha", [1.2, 1.5, 1.75, 1.9, 1.95])
def test_within_four_standard_errors_on_matrices(side, alpha):
    """The estimates of whole matrices; four standard errors of fixed seeds."""
    x = StableLaw(alpha).sample(side * side, rng(1, "matrix", side)).astype(np.float32)
    for estimator in STABLE:
        found = estimator(x)
        assert abs(found.alpha - alpha) < 4 * found.stderr, estimator.__name__


@pytest.mark.parametrize("estimator", ALL)
def test_unit_of_the_weights_does_not_matter(estimator):
    x = draws(1.6, 5000)
    found = estimator(x)
    for unit in (1e-200, 1e-38, 7.0, 1e38, 1e200):
        assert estimator(unit * x).alpha == pytest.approx(found.alpha, rel=1e-9)
    single = estimator((1e-41 * x).astype(np.float32))
    assert single.alpha == pytest.approx(found.alpha, rel=0.02)


@pytest.mark.parametrize("estimator", ALL)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ratio", [1e20, 1e35, 1e60, 1e130, 1e300])
def test_no_ratio_of_weights_is_too_large(estimator, dtype, ratio):
    """A weight may be larger than the typical one by more than the type can hold."""
    x = draws(1.6, 500) * (1e-30 if dtype == np.float32 else 1e-150)
    x[::100] = 1e-30 * min(ratio, 1e60) if dtype == np.float32 else 1e-150 * ratio
    found = estimator(x.astype(dtype))
    assert math.isfinite(found.alpha) or found.status is not Status.OK


def test_a_weight_beyond_every_phase_counts_as_any_other_far_one():
    """35 values of 4e-30 and one of 1e10: the float32 angle of the last would be infinite."""
    x = np.array([4.0571159e-30] * 35 + [1.0986188e10], dtype=np.float32)
    assert ecf_regression(x).status is not Status.DEGENERATE
    x = draws(1.6, 5000).astype(np.float32)
    x[7] = 1e27
    near, far = ecf_regression(x), ecf_regression(np.where(x == x[7], 1e300, x.astype(np.float64)))
    assert far.alpha == pytest.approx(near.alpha, abs=0.01)
    single = (1e-20 * x).astype(np.float32)
    single[7] = 1e27
    assert ecf_regression(single).alpha == pytest.approx(near.alpha, abs=0.01)


def test_the_mean_of_many_large_weights_is_finite():
    x = np.full(200_000, 3e33, dtype=np.float32)
    x[::2] = 4e33
    assert log_variance(x, center="mean").status is Status.NOT_STABLE


def test_extreme_value_index_of_ratios_beyond_the_doubles():
    x = np.sort(np.r_[np.full(50, 1e-300), np.geomspace(1e-200, 1e200, 10)])
    assert math.isfinite(extreme_value_index(x, 20).extreme_value_index)


@pytest.mark.parametrize("estimator", ALL)
def test_zeros_are_left_out_and_reported(estimator):
    x = draws(1.6, 5000)
    found = estimator(np.concatenate([x, np.zeros(15_000)]))
    assert found.alpha == pytest.approx(estimator(x).alpha, rel=1e-12)
    assert found.zeros_share == 0.75


@pytest.mark.parametrize("estimator", ALL)
def test_data_without_an_answer_get_a_status(estimator):
    for x, status in (
        (np.ones(1000), Status.DEGENERATE),
        (np.zeros(1000), Status.DEGENERATE),
        (draws(1.5, 10), Status.TOO_FEW),
        (np.concatenate([np.zeros(1000), draws(1.5, 10)]), Status.TOO_FEW),
    ):
        found = estimator(x)
        assert found.status is status
        assert math.isnan(found.alpha)
        assert math.isnan(found.stderr)


@pytest.mark.parametrize("estimator", ALL)
@pytest.mark.parametrize(
    "bad", [[], [[1.0, 2.0]], [np.nan] * 50, [np.inf] * 50, ["a"] * 50, [1j] * 50]
)
def test_mistakes_raise(estimator, bad):
    with pytest.raises(InputError, match=f"`x` of `{estimator.__name__}`|`x` of `ecf"):
        estimator(np.array(bad))


def test_log_variance_is_the_formula():
    x = draws(1.3, 3000)
    logs = np.log(np.abs(x))
    alpha = (6 * logs.var() / math.pi**2 - 0.5) ** -0.5
    found = log_variance(x)
    assert found.alpha == pytest.approx(alpha, rel=1e-12)
    fourth = ((logs - logs.mean()) ** 4).mean()
    stderr = 3 / math.pi**2 * alpha**3 * math.sqrt((fourth - logs.var() ** 2) / len(x))
    assert found.stderr == pytest.approx(stderr, rel=1e-10)
    assert log_variance(np.exp(0.1 * x[np.abs(x) < 2])).status is Status.NOT_STABLE


@pytest.mark.parametrize("alpha", [0.6, 1.0, 1.37, 1.8, 1.99])
def test_quantile_ratio_is_inverted(alpha):
    """Against SciPy's quantiles, which are good to about 1e-5 here."""
    wide, narrow = scipy.stats.levy_stable.ppf([0.95, 0.75], alpha, 0)
    assert alpha_of_quantile_ratio(wide / narrow)[0] == pytest.approx(alpha, abs=2e-4)


def test_quantile_ratio_beyond_the_laws():
    gaussian = scipy.stats.norm.ppf(0.95) / scipy.stats.norm.ppf(0.75)
    assert alpha_of_quantile_ratio(gaussian)[0] == pytest.approx(2, abs=1e-9)
    lighter, slope = alpha_of_quantile_ratio(gaussian * 0.97)
    assert 2 < lighter < 3
    assert slope < 0
    assert math.isnan(alpha_of_quantile_ratio(1.05)[0])
    assert math.isnan(alpha_of_quantile_ratio(1e9)[0])


def test_quantile_stderr_is_the_spread_of_repetitions():
    """Ratio of standard deviations over 600 samples: 5 standard errors are 15 %."""
    x = draws(1.7, 600 * 2000).reshape(600, 2000)
    found = [quantile(row) for row in x]
    spread = np.std([e.alpha for e in found])
    assert np.mean([e.stderr for e in found]) == pytest.approx(spread, rel=0.15)


def test_two_point_is_the_formula():
    x = draws(1.4, 4000)
    unit = np.median(np.abs(x))
    t = np.array([2, 8]) * math.pi / 25 / unit
    phi = np.cos(np.multiply.outer(t, x)).mean(axis=1)
    alpha = np.diff(np.log(-np.log(phi)))[0] / math.log(4)
    assert ecf_two_point(x).alpha == pytest.approx(alpha, rel=1e-10)


def test_regression_is_least_squares():
    x = draws(1.4, 4000)
    unit = np.median(np.abs(x))
    t = np.arange(1, 11) * math.pi / 25 / unit
    y = np.log(-np.log(np.cos(np.multiply.outer(t, x)).mean(axis=1)))
    slope, intercept = np.polyfit(np.log(t), y, 1)
    fit = fit_stable(x)
    assert fit.estimate.alpha == pytest.approx(slope, rel=1e-10)
    assert fit.alpha == fit.estimate.alpha
    assert fit.scale == pytest.approx(math.exp(intercept / slope), rel=1e-10)


def test_fitted_law_is_never_lighter_than_gaussian():
    fit = fit_stable(rng(0, "uniform").uniform(-1, 1, 20_000))
    assert fit.estimate.alpha > 2
    assert fit.alpha == 2


def test_hill_is_the_formula():
    x = rng(0, "pareto").pareto(1.5, 20_000) + 1
    found, plot = hill_of_sorted(np.sort(x))
    descending = np.sort(x)[::-1]
    for k, alpha in zip(plot.k, plot.alpha, strict=True):
        assert alpha == pytest.approx(1 / np.mean(np.log(descending[:k] / descending[k])))
    assert found.alpha == plot.alpha[list(plot.k).index(found.n)]
    assert found.stderr == pytest.approx(found.alpha / math.sqrt(found.n))
    assert plot.plateau[1] == found.n
    assert plot.plateau[0] <= found.n / 3.5
    assert abs(found.alpha - 1.5) < 5 * found.stderr
    assert hill(x).alpha == found.alpha


def test_hill_refuses_a_plot_without_plateau():
    assert hill(np.linspace(1, 2, 5000)).status is Status.NOT_CONVERGED


def test_hill_knows_that_it_saw_only_the_largest():
    x = np.sort(rng(0, "pareto").pareto(1.5, 20_000) + 1)
    whole, part = hill_of_sorted(x)[0], hill_of_sorted(x[-2500:], total=20_000)[0]
    assert (whole.alpha, whole.n) == (part.alpha, part.n)


@pytest.mark.parametrize(
    ("law", "index"),
    [(scipy.stats.t(3), 1 / 3), (scipy.stats.pareto(2), 0.5), (scipy.stats.uniform, -1.0)],
)
def test_extreme_value_index(law, index):
    x = np.sort(np.abs(law.rvs(size=100_000, random_state=0)))
    found = extreme_value_index(x, 2000)
    assert abs(found.extreme_value_index - index) < 5 * found.stderr
    log = np.log(x[-2000:] / x[-2001])
    m1, m2 = log.mean(), (log**2).mean()
    assert found.extreme_value_index == pytest.approx(m1 + 1 - 0.5 / (1 - m1**2 / m2))


def test_extreme_value_index_without_answer():
    assert math.isnan(extreme_value_index(np.ones(100)).extreme_value_index)
    with pytest.raises(InputError, match="`k`"):
        extreme_value_index(np.ones(100), 100)


def naive_authors(vectors, orders):
    """The procedure as its authors' paper and code describe it, written out."""
    centred = vectors - np.median(vectors, axis=0)
    n = len(centred)
    sizes = []
    for size in (2, 5, 10, 20, 50, 100, 500, 1000):
        if size <= n / 2:
            while n % size:
                size -= 1
            sizes.append(size)
    largest = int(math.sqrt(n))
    while n % largest:
        largest -= 1
    sizes = sorted({*sizes, largest} - {1})
    eps = np.spacing(1)
    medians = []
    for order in orders:
        x = centred[order]
        found = []
        for k1 in sizes:
            y = np.array([x[i : i + k1].sum(axis=0) for i in range(0, n, k1)])
            log_y = np.log(np.linalg.norm(y, axis=1) + eps).mean()
            log_x = np.log(np.linalg.norm(x, axis=1) + eps).mean()
            found.append(1 / ((log_y - log_x) / math.log(k1)))
        medians.append(np.median(found))
    return min(np.median(medians), 2.0)


@pytest.mark.parametrize("n", [96, 300, 1000])
def test_authors_procedure_is_theirs(n):
    x = StableLaw(1.7).sample_isotropic(n, 6, rng(3, n))
    x /= np.abs(x).max()
    generator = rng(4, n)
    orders = [generator.permutation(n) for _ in range(5)]
    found = authors_procedure(x, rng=rng(4, n))
    assert found.alpha == pytest.approx(naive_authors(x, orders), rel=1e-9)
    assert found.stderr > 0


def test_authors_block_sizes():
    assert block_sizes(2048) == (2, 4, 8, 16, 32, 64, 256, 512)
    assert all(1000 % k == 0 for k in block_sizes(1000))
    assert block_sizes(97) == ()


def test_authors_cap_and_refusals():
    gaussian = rng(0, "g").standard_normal((997, 4))  # a prime number of rows
    found = authors_procedure(gaussian, rng=rng(1))
    assert found.alpha <= 2
    assert found.status is Status.OK
    assert authors_procedure(np.ones((100, 3)), rng=rng(1)).status is Status.DEGENERATE
    assert authors_procedure(np.ones((10, 3)), rng=rng(1)).status is Status.TOO_FEW


def test_calibration_tables_are_whole():
    tables = load()
    assert np.all(np.diff(tables.log_ratio) < 0)
    assert np.all(np.diff(tables.stable, axis=1) > 0)
    assert np.all(np.diff(tables.gaussian) > 0)
    assert tables.stable.shape == (len(tables.law_alpha), len(tables.levels))
    wide, narrow = StableLaw(1.5).isf(np.array([0.05, 0.25]))
    place = list(tables.ratio_alpha).index(1.5)
    assert tables.log_ratio[place] == pytest.approx(math.log(wide / narrow), abs=1e-11)
