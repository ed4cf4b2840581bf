"""Symmetric stable laws against closed forms and an integral over the sampling formula."""

import subprocess
import sys

import mpmath
import numpy as np
import pytest
import scipy.special
import scipy.stats

from prunable.errors import InputError
from prunable.numerics.stable import StableLaw, check_alpha, positive_transform, symmetric_transform
from prunable.numerics.stable.half_line import COARSE, contour_integrals, half_line, sf_at

ALPHAS = [0.1, 0.3, 0.5, 0.8, 0.99, 1.01, 1.3, 1.49, 1.5, 1.8, 1.95, 1.99, 1.999, 2 - 1e-9]
# Both sides of the join of table and series at x = 16.
POINTS = np.array([1e-3, 0.1, 0.7, 2.0, 5.0, 9.0, 12.0, 15.9, 16.1, 40.0, 1e4, 1e8])


def zolotarev(x: float, alpha: float) -> tuple[float, float]:
    """P(X > x) and density as integrals of positive functions over the angle.

    From X = S(phi) E^((alpha - 1)/alpha) with phi uniform and E exponential, the condition
    on E is integrated exactly; the pole distance t = expit(s) of phi by the trapezoid rule.
    """
    s, step = np.linspace(-150, 50, 400_001, retstep=True)
    t = scipy.special.expit(s)
    away = scipy.special.expit(-s)
    dt = t * away * step
    gap = abs(1 - alpha)
    log_cos = np.log(np.sin(np.pi / 2 * t))
    near_zero = np.sin(alpha * np.pi / 2 * away)
    near_pole = np.sin((2 - alpha) * np.pi / 2 + alpha * np.pi / 2 * t)
    log_sin = np.log(np.where(alpha * away < 1, near_zero, near_pole))
    log_cos_gap = np.log(np.sin((1 - gap) * np.pi / 2 + gap * np.pi / 2 * t))
    power = alpha / (alpha - 1)
    log_w = power * (np.log(x) - log_sin + log_cos / alpha) + log_cos_gap
    w = np.exp(np.minimum(log_w, 700))
    tail = np.exp(-w) if alpha > 1 else -np.expm1(-w)
    return 0.5 * tail @ dt, 0.5 * abs(power) / x * (w * np.exp(-w)) @ dt


@pytest.mark.parametrize("alpha", ALPHAS)
def test_tail_and_density_are_relatively_accurate(alpha):
    expected = np.array([zolotarev(x, alpha) for x in POINTS])
    np.testing.assert_allclose(StableLaw(alpha).sf(POINTS), expected[:, 0], rtol=1e-11)
    np.testing.assert_allclose(StableLaw(alpha).pdf(POINTS), expected[:, 1], rtol=1e-11)


@pytest.mark.parametrize("alpha", [0.5, 0.8, 1.0, 1.3, 1.49, 1.5, 1.8, 1.95, 1.999, 2.0])
def test_coarse_tables_and_single_points(alpha):
    expected = StableLaw(alpha).sf(POINTS)
    np.testing.assert_allclose(half_line(alpha, COARSE).sf(POINTS), expected, rtol=1e-9)
    np.testing.assert_allclose(sf_at(POINTS, alpha), expected, rtol=1e-11)
    q = np.geomspace(1e-9, 0.49, 30)
    np.testing.assert_allclose(half_line(alpha, COARSE).isf(q), StableLaw(alpha).isf(q), rtol=2e-9)


@pytest.mark.parametrize("alpha", [*ALPHAS, 1.0, 2.0])
def test_density_at_zero(alpha):
    expected = scipy.special.gamma(1 + 1 / alpha) / np.pi
    assert StableLaw(alpha).pdf(0.0) == pytest.approx(expected, rel=1e-12)
    assert StableLaw(alpha).cdf(0.0) == pytest.approx(0.5, abs=1e-14)


def test_half_has_the_fresnel_density():
    x = np.geomspace(0.01, 1e6, 41)
    s, c = scipy.special.fresnel(1 / np.sqrt(2 * np.pi * x))
    angle = 1 / (4 * x)
    expected = (np.sin(angle) * (0.5 - s) + np.cos(angle) * (0.5 - c)) / np.sqrt(2 * np.pi * x**3)
    np.testing.assert_allclose(StableLaw(0.5).pdf(x), expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("alpha", "reference"), [(1.0, scipy.stats.cauchy()), (2.0, scipy.stats.norm(0, np.sqrt(2)))]
)
def test_closed_forms(alpha, reference):
    x = np.linspace(-12, 12, 49)
    q = np.geomspace(1e-14, 0.5, 30)
    for name in ("pdf", "cdf", "sf"):
        actual = getattr(StableLaw(alpha), name)(x)
        np.testing.assert_allclose(actual, getattr(reference, name)(x), rtol=1e-12, err_msg=name)
    for name in ("ppf", "isf"):
        actual = getattr(StableLaw(alpha), name)(q)
        np.testing.assert_allclose(actual, getattr(reference, name)(q), rtol=1e-12, atol=1e-15)


def test_the_contour_passes_smoothly_through_the_cauchy_law():
    x = np.linspace(0, 16, 33)
    sf, pdf = contour_integrals(x, 1.0)
    np.testing.assert_allclose(sf, scipy.stats.cauchy.sf(x), rtol=1e-12)
    np.testing.assert_allclose(pdf, scipy.stats.cauchy.pdf(x), rtol=1e-12)


@pytest.mark.parametrize("alpha", [*ALPHAS, 1.0, 2.0])
def test_quantiles_are_exact_in_both_tails(alpha):
    law, q = StableLaw(alpha), np.array([1e-12, 1e-6, 1e-3, 0.02, 0.2, 0.4, 0.49, 0.5])
    np.testing.assert_allclose(law.sf(law.isf(q)), q, rtol=1e-11)
    np.testing.assert_array_equal(law.ppf(q), -law.isf(q))
    np.testing.assert_allclose(law.cdf(law.ppf(1 - q)), 1 - q, rtol=1e-11)


@pytest.mark.parametrize("alpha", [0.3, 0.8, 0.99, 1.01, 1.5, 1.8, 1.999])
def test_far_quantile_against_the_integral(alpha):
    for q in (1e-6, 1e-12):
        x = float(StableLaw(alpha).isf(q))
        tail, density = zolotarev(x, alpha)
        assert tail / q == pytest.approx(1, rel=1e-8)
        assert abs(tail - q) / density < 1e-8 * x


@pytest.mark.parametrize("alpha", [0.3, 0.8, 1.0, 1.5, 1.9])
def test_tail_constant_is_the_limit_of_the_tail(alpha):
    law = StableLaw(alpha, scale=3.0)
    x = law.isf(1e-13)
    assert 2 * law.sf(x) * x**alpha == pytest.approx(law.tail_constant, rel=1e-5)
    assert StableLaw(2.0).tail_constant == 0


def test_infinite_points_and_extreme_probabilities():
    for alpha in (0.5, 1.0, 1.7, 2.0):
        assert StableLaw(alpha).sf(np.inf) == 0
        assert StableLaw(alpha).cdf(np.inf) == 1
        assert StableLaw(alpha).pdf(-np.inf) == 0
        np.testing.assert_array_equal(StableLaw(alpha).isf([0, 1]), [np.inf, -np.inf])
        np.testing.assert_array_equal(StableLaw(alpha).ppf([0, 1]), [-np.inf, np.inf])
    assert StableLaw(0.3).isf(1e-300) == np.inf


def test_shapes_follow_the_argument():
    assert isinstance(StableLaw(1.5).pdf(0.5), np.float64)
    assert isinstance(StableLaw(1.5).ppf(0.5), np.float64)
    for shape in ((0,), (3,), (2, 3)):
        assert StableLaw(1.5).sf(np.zeros(shape)).shape == shape
        assert StableLaw(1.5).isf(np.full(shape, 0.3)).shape == shape


def test_law_scales_the_standard_functions():
    law, c, x = StableLaw(1.4, scale=2.5), 2.5, np.array([-30.0, -1.0, 0.0, 2.0, 80.0])
    np.testing.assert_allclose(law.cdf(x), StableLaw(1.4).cdf(x / c), rtol=1e-14)
    np.testing.assert_allclose(law.sf(x), StableLaw(1.4).sf(x / c), rtol=1e-14)
    np.testing.assert_allclose(law.pdf(x), StableLaw(1.4).pdf(x / c) / c, rtol=1e-14)
    np.testing.assert_allclose(law.ppf(0.01), c * StableLaw(1.4).ppf(0.01), rtol=1e-14)
    np.testing.assert_allclose(law.isf(0.01), c * StableLaw(1.4).isf(0.01), rtol=1e-14)
    np.testing.assert_allclose(law.cf([0.0, 1.0, -2.0]), np.exp(-(np.array([0, c, 2 * c]) ** 1.4)))
    assert law.cf(np.inf) == 0
    drawn = law.sample((2, 3), np.random.default_rng(1))
    standard = StableLaw(1.4).sample((2, 3), np.random.default_rng(1))
    np.testing.assert_allclose(drawn, c * standard, rtol=1e-14)


def exact_symmetric(t: float, w: float, alpha: float) -> float:
    """The textbook Chambers-Mallows-Stuck formula in 60 digits."""
    with mpmath.workdps(60):
        a, phi = mpmath.mpf(alpha), mpmath.pi / 2 * (1 - mpmath.mpf(t))
        u = abs(mpmath.mpf(w))
        e = -mpmath.log(u) if alpha >= 1 else -mpmath.log(1 - u)
        x = mpmath.sin(a * phi) / mpmath.cos(phi) ** (1 / a)
        return float(mpmath.sign(w) * x * (mpmath.cos((1 - a) * phi) / e) ** ((1 - a) / a))


def exact_positive(t: float, w: float, a: float) -> float:
    """Kanter's formula in 60 digits."""
    with mpmath.workdps(60):
        b, u = mpmath.mpf(a), mpmath.pi * (1 - mpmath.mpf(t))
        e = -mpmath.log(1 - abs(mpmath.mpf(w)))
        x = mpmath.sin(b * u) / mpmath.sin(u) ** (1 / b)
        return float(x * (mpmath.sin((1 - b) * u) / e) ** ((1 - b) / b))


TINY = np.finfo(np.float64).tiny
UNIFORMS = [(t, w) for t in (2.0**-53, 1e-9, 0.1, 0.5, 0.8) for w in (2.0**-53, -1e-5, 0.4, -0.95)]


@pytest.mark.parametrize("alpha", [0.3, 0.7, 0.99, 1.0, 1.01, 1.5, 1.9, 1.999, 2.0])
def test_symmetric_transform_keeps_its_digits_near_the_pole(alpha):
    t, w = np.array(UNIFORMS).T
    expected = [exact_symmetric(*pair, alpha) for pair in UNIFORMS]
    np.testing.assert_allclose(symmetric_transform(t, w, alpha), expected, rtol=1e-12)


@pytest.mark.parametrize("a", [0.1, 0.25, 0.5, 0.75, 0.95, 0.9995])
def test_positive_transform_keeps_its_digits_at_both_ends(a):
    pairs = [*UNIFORMS, (1 - 2.0**-53, 0.5), (1 - 1e-9, 0.01)]
    t, w = np.array(pairs).T
    expected = [exact_positive(*pair, a) for pair in pairs]
    np.testing.assert_allclose(positive_transform(t, w, a), expected, rtol=1e-12)


def test_positive_transform_at_the_removable_point():
    limit = 0.3 * (0.7 / -np.log1p(-0.4)) ** (0.7 / 0.3)
    one = positive_transform(np.array([1.0]), np.array([0.4]), 0.3)
    assert one[0] == pytest.approx(limit, rel=1e-12)
    assert positive_transform(np.array([0.2]), np.array([0.4]), 1.0)[0] == 1


@pytest.mark.parametrize("alpha", [0.02, 0.3, 0.9, 1.0, 1.1, 1.7, 2.0])
def test_no_uniform_gives_nan_or_infinity(alpha):
    t, w = np.meshgrid([TINY, 2.0**-53, 0.5, 1.0], [-1.0, -0.5, TINY, 2.0**-53, 1.0])
    draws = symmetric_transform(t, w, alpha)
    assert np.isfinite(draws).all()
    if alpha != 1:
        assert (np.abs(draws[np.abs(w) == 1]) < 1e-280).all()
    assert np.isfinite(positive_transform(t, w, alpha / 2)).all()


@pytest.mark.parametrize("alpha", [0, 2.1, -1, np.nan, np.inf, True, "1.5", None, 1.5 + 0j])
def test_bad_alpha_is_named(alpha):
    with pytest.raises(InputError, match=r"`alpha` of `train` must be a real number in \(0, 2\]"):
        check_alpha(alpha, "train")
    with pytest.raises(InputError, match="`alpha` of `StableLaw`"):
        StableLaw(alpha)


def test_numpy_numbers_are_numbers():
    law = StableLaw(np.float32(1.5), scale=np.int64(2))
    assert (type(law.alpha), type(law.scale)) == (float, float)
    assert check_alpha(2, "train") == 2.0


@pytest.mark.parametrize("scale", [0, -1.0, np.nan, np.inf, "1"])
def test_bad_scale_is_named(scale):
    with pytest.raises(InputError, match="`scale` of `StableLaw` must be a positive finite"):
        StableLaw(1.5, scale)


def test_bad_points_and_probabilities_are_named():
    with pytest.raises(InputError, match=r"`x` of `StableLaw\.cdf` must be free of NaN; got 1 NaN"):
        StableLaw(1.5).cdf([0.0, np.nan])
    with pytest.raises(InputError, match=r"`x` of `StableLaw\.sf` must be real numbers"):
        StableLaw(1.5).sf(["a"])
    with pytest.raises(InputError, match=r"`q` of `StableLaw.isf` must be in \[0, 1\]; got 1.5"):
        StableLaw(1.5).isf([0.5, 1.5])
    with pytest.raises(InputError, match="`a` of `positive_transform`"):
        positive_transform(np.ones(1), np.ones(1), 1.2)
    with pytest.raises(
        InputError, match=r"`alpha` of `StableLaw.sf` must be at least 0.01.* Smaller tail indices"
    ):
        StableLaw(0.005).sf(1.0)


def test_needs_no_torch():
    program = "import prunable.numerics.stable, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
