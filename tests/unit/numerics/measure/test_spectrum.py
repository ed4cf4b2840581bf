"""Singular values against LAPACK's SVD, and the power law of a spectrum."""

import math

import numpy as np
import pytest

from prunable.errors import InputError
from prunable.numerics.measure.spectrum import (
    Spectrum,
    exact_spectrum,
    fit_spectrum,
    lanczos_spectrum,
    singular_values,
)
from prunable.numerics.randomness import rng
from prunable.numerics.stable import StableLaw
from prunable.numerics.tails import Status
from prunable.numerics.weights.compressibility import kappa_curve

EPS = np.array([0.02, 0.05, 0.1, 0.2, 0.5])


def matrices():
    r = rng(0, "spectrum")
    q, _ = np.linalg.qr(r.standard_normal((300, 200)))
    decaying = q * np.geomspace(1, 1e-6, 200) @ np.linalg.qr(r.standard_normal((200, 200)))[0]
    return {
        "tall": r.standard_normal((700, 300)),
        "wide": r.standard_normal((40, 3000)),
        "square float32": r.standard_normal((400, 400)).astype(np.float32),
        "one": np.array([[3.0]]),
        "row": r.standard_normal((1, 50)),
        "low rank": r.standard_normal((100, 5)) @ r.standard_normal((5, 80)),
        "decaying": decaying,
        "clustered": q * np.repeat([1.0, 0.5, 0.499999, 0.01], 50) @ q[:200].T,
        "heavy": StableLaw(1.2).sample((300, 300), r),
        "tiny": 1e-200 * r.standard_normal((50, 50)),
        "huge": 1e200 * r.standard_normal((50, 50)),
        "zero": np.zeros((30, 20)),
    }


@pytest.mark.parametrize("name", list(matrices()))
def test_singular_values_are_those_of_the_svd(name):
    w = matrices()[name]
    expected = np.linalg.svd(w.astype(np.float64), compute_uv=False)[::-1]
    found = singular_values(w)
    assert np.all(np.diff(found) >= 0)
    large = expected > 1e-3 * expected[-1]
    np.testing.assert_allclose(found[large], expected[large], rtol=1e-9)
    np.testing.assert_allclose(found, expected, atol=1e-7 * max(expected[-1], 1e-300))
    np.testing.assert_allclose(singular_values(w.T), found, atol=1e-7 * expected[-1])


@pytest.mark.parametrize("bad", [np.zeros((0, 3)), np.zeros(3), np.zeros((2, 2, 2))])
def test_no_matrix_raises(bad):
    for function in (singular_values, exact_spectrum):
        with pytest.raises(InputError, match="non-empty matrix"):
            function(bad)


@pytest.mark.parametrize("p", [1.0, 2.0])
def test_kept_shares_of_an_exact_spectrum(p):
    w = matrices()["decaying"]
    spectrum = exact_spectrum(w)
    expected = kappa_curve(np.linalg.svd(w, compute_uv=False), EPS, p)
    np.testing.assert_allclose(spectrum.kept_shares(EPS, p), expected)
    assert exact_spectrum(np.zeros((4, 4))).kept_shares(EPS, p).max() == 0


@pytest.mark.parametrize("shape", [(900, 700), (700, 2000)])
def test_lanczos_estimates_the_distribution(shape):
    """Two probes of 48 steps: the share kept is right to a hundredth at this size."""
    w = rng(1, "lanczos").standard_normal(shape).astype(np.float32)
    exact, found = exact_spectrum(w), lanczos_spectrum(w, rng(2))
    assert found.count == min(shape)
    assert found.weights.sum() == pytest.approx(min(shape), rel=1e-6)
    assert not found.exact
    np.testing.assert_allclose(found.kept_shares(EPS, 2.0), exact.kept_shares(EPS, 2.0), atol=0.015)
    assert found.values[-1] == pytest.approx(exact.values[-1], rel=1e-3)


def test_lanczos_of_small_and_singular_matrices():
    low_rank = matrices()["low rank"].astype(np.float32)
    found = lanczos_spectrum(low_rank, rng(0))
    assert np.isfinite(found.values).all()
    assert found.values[-1] == pytest.approx(np.linalg.norm(low_rank, 2), rel=1e-3)
    assert lanczos_spectrum(np.zeros((60, 50), np.float32), rng(0)).values.max() == 0


def pareto_spectrum(exponent, n=4000):
    x = (1 - rng(0, "pareto", repr(exponent)).random(n)) ** (-1 / (exponent - 1))
    return Spectrum(np.sqrt(np.sort(x)), np.ones(n), n, exact=True)


@pytest.mark.parametrize("exponent", [1.6, 2.0, 3.0])
def test_exponent_of_a_power_law(exponent):
    found = fit_spectrum(pareto_spectrum(exponent))
    assert found.status is Status.OK
    assert abs(found.spectral_alpha - exponent) < 5 * found.stderr
    assert found.n_tail > 100
    assert fit_spectrum(pareto_spectrum(exponent), 1.5).expected_if_iid == 1.75


def test_multiplicities_count():
    single = pareto_spectrum(2.0, 1000)
    double = Spectrum(single.values, 2 * single.weights, 2000, exact=False)
    a, b = fit_spectrum(single), fit_spectrum(double)
    assert b.n_tail >= a.n_tail
    assert b.spectral_alpha == pytest.approx(a.spectral_alpha, rel=0.1)


def test_spectrum_of_light_weights_is_refused():
    for seed in range(5):
        w = rng(seed, "light").standard_normal((600, 500))
        found = fit_spectrum(exact_spectrum(w))
        assert found.status is Status.NOT_POWER_LAW
        assert math.isnan(found.spectral_alpha)


def test_spectrum_of_heavy_weights_is_near_one_plus_half_alpha():
    """Four estimates at alpha = 1.5: the mean is 1.75 up to a bias of about 0.15."""
    found = [
        fit_spectrum(exact_spectrum(StableLaw(1.5).sample((800, 800), rng(s, "h"))))
        for s in range(4)
    ]
    assert all(f.status is Status.OK for f in found)
    assert np.mean([f.spectral_alpha for f in found]) == pytest.approx(1.75, abs=0.25)


def test_too_small_spectra():
    assert fit_spectrum(exact_spectrum(np.eye(5))).status is Status.TOO_FEW
    assert fit_spectrum(exact_spectrum(np.zeros((50, 50)))).status is Status.TOO_FEW
    assert fit_spectrum(exact_spectrum(np.eye(50))).status is Status.TOO_FEW
