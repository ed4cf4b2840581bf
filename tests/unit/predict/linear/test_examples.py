"""Two examples of the 2020 paper against simulation by numpy, and against the general formulas."""

import math

import numpy as np
import pytest

from prunable.errors import InputError
from prunable.predict.linear.examples import denoising_errors, rank_one_risks
from prunable.predict.linear.law import predict_law
from prunable.predict.linear.problem import LinearGaussianProblem

TRIALS = 4000


def five_errors(values):
    """Mean and five standard errors: false alarm 6e-7 each for the normal law."""
    return np.mean(values), 5 * np.std(values, ddof=1) / math.sqrt(len(values))


@pytest.mark.statistical
@pytest.mark.parametrize("s", [1, 2, 4])
def test_rank_one_features_against_simulation(s):
    rng = np.random.default_rng(s)
    lam, beta, sigma, n = np.array([2.0, -1.0, 0.5, 0.25]), np.array([1.0, 2, 0, -1]), 0.7, 9
    pruned, retrained = [], []
    for _ in range(TRIALS):
        g = rng.standard_normal(n)
        x, y = np.outer(g, lam), g * (lam @ beta) + sigma * rng.standard_normal(n)
        fit = np.linalg.pinv(x) @ y
        kept = np.argsort(-abs(fit))[:s]
        again = np.linalg.pinv(x[:, kept]) @ y
        pruned.append((lam[kept] @ fit[kept] - lam @ beta) ** 2)
        retrained.append((lam[kept] @ again - lam @ beta) ** 2)
    predicted = rank_one_risks(lam, beta, sigma, n, s)
    for value, found in zip(predicted, (pruned, retrained), strict=True):
        mean, errors = five_errors(found)
        assert abs(mean - value) < errors


def test_rank_one_features_kept_whole_lose_nothing():
    found = rank_one_risks([1.0, 1.0], [3.0, 5.0], 0.4, 12, 2)
    assert found.pruned == pytest.approx(found.retrained) == pytest.approx(0.016)
    assert rank_one_risks([1.0, 1.0], [3.0, 5.0], 0.0, 12, 1) == (pytest.approx(16.0), 0.0)


@pytest.mark.statistical
@pytest.mark.parametrize(("n", "sigma"), [(30, 0.0), (30, 0.6), (14, 0.6)])
def test_denoising_against_simulation(n, sigma):
    rng = np.random.default_rng(n)
    p, s = 20, 4
    beta = 1 / np.arange(1.0, p + 1)
    alone, among = [], []
    for _ in range(TRIALS):
        x = rng.standard_normal((n, p))
        y = x @ beta + sigma * rng.standard_normal(n)
        alone.append(((np.linalg.pinv(x[:, :s]) @ y - beta[:s]) ** 2).sum())
        among.append((((np.linalg.pinv(x) @ y)[:s] - beta[:s]) ** 2).sum())
    predicted = denoising_errors(beta, sigma, n, s)
    mean, errors = five_errors(alone)
    assert abs(mean - predicted.alone) < errors
    mean, errors = five_errors(among)
    # with fewer samples than features the law is that of large sizes: 20 is not large
    slack = 0.15 * mean if n < p else 1e-20
    assert abs(mean - predicted.among_all) < errors + slack


def test_denoising_of_all_features_is_the_dense_risk():
    beta = np.linspace(1, 2, 12)
    for n in (5, 40):
        law = predict_law(LinearGaussianProblem.diagonal(1.0, beta, 0.3), n, finite_n=n > 12)
        errors = ((law.means - beta) ** 2 + law.variances).sum()
        if n > 12:
            assert denoising_errors(beta, 0.3, n, 12).among_all == pytest.approx(errors)
            assert denoising_errors(beta, 0.3, n, 12).alone == pytest.approx(errors)
        else:
            with pytest.raises(InputError, match="larger than s"):
                denoising_errors(beta, 0.3, n, 12)


@pytest.mark.parametrize(
    ("call", "culprit"),
    [
        (lambda: rank_one_risks([1.0], [1.0], 0.1, 2, 1), "`n`"),
        (lambda: rank_one_risks([0.0], [1.0], 0.1, 9, 1), "`direction`"),
        (lambda: rank_one_risks([1.0], [1.0, 2.0], 0.1, 9, 1), "`beta`"),
        (lambda: denoising_errors([1.0, 2.0, 3.0], 0.1, 4, 1), "`n`"),
    ],
)
def test_bad_input_is_named(call, culprit):
    with pytest.raises(InputError, match=culprit):
        call()
