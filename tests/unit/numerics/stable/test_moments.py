"""Moments of the standard stable law against quadrature of its density and known values."""

import math

import pytest
from scipy import integrate

from prunable.errors import InputError
from prunable.numerics.stable import StableLaw, absolute_moment, continued_moment, truncated_moment


@pytest.mark.parametrize(("alpha", "p"), [(1.5, 2.0), (1.9, 2.0), (1.2, 1.0), (2.0, 2.0)])
def test_truncated_moment_against_quadrature(alpha, p):
    law = StableLaw(alpha)
    threshold = law.isf(0.05)
    wanted = integrate.quad(lambda x: 2 * x**p * law.pdf(x), 0, threshold, limit=200)[0]
    assert truncated_moment(alpha, p, 0.1) == pytest.approx(wanted, rel=1e-7)


@pytest.mark.parametrize(("alpha", "p"), [(1.8, 1.0), (1.8, 0.5), (1.2, 0.4), (0.7, 0.2), (2, 3.0)])
def test_absolute_moment_against_quadrature(alpha, p):
    law = StableLaw(alpha)
    # beyond the threshold the leading term of the tail, and the next one's size as the tolerance
    far, law = 1e6 if alpha < 2 else 40.0, StableLaw(alpha)
    wanted = integrate.quad(
        lambda v: 2 * math.exp((p + 1) * v) * law.pdf(math.exp(v)), -60, math.log(far), limit=500
    )[0]
    if alpha < 2:
        wanted += law.tail_constant * alpha / (alpha - p) * far ** (p - alpha)
    assert absolute_moment(alpha, p) == pytest.approx(wanted, rel=1e-6)


def test_moments_of_cauchy_and_gauss():
    for p in (0.25, 0.5, 0.75):
        assert absolute_moment(1.0, p) == pytest.approx(1 / math.cos(math.pi * p / 2))
    assert absolute_moment(2.0, 2.0) == pytest.approx(2.0)
    assert absolute_moment(2.0, 4.0) == pytest.approx(12.0)


def test_continuation_meets_the_moment_and_vanishes_at_2():
    assert continued_moment(1.7, 1.2) == absolute_moment(1.7, 1.2)
    assert continued_moment(1.7, 1.8) < 0
    assert continued_moment(1.7, 2.0) == pytest.approx(0.0, abs=1e-12)


def test_truncation_tends_to_the_whole_moment():
    whole = absolute_moment(1.8, 0.5)
    gaps = [whole - truncated_moment(1.8, 0.5, kappa) for kappa in (1e-2, 1e-4, 1e-6)]
    assert gaps[0] > gaps[1] > gaps[2] > 0
    assert gaps[2] < 1e-3 * whole


@pytest.mark.parametrize(
    "call",
    [
        lambda: absolute_moment(1.5, 1.5),
        lambda: absolute_moment(1.5, 0.0),
        lambda: absolute_moment(2.5, 1.0),
        lambda: continued_moment(1.5, 3.0),
        lambda: continued_moment(1.5, -1.0),
        lambda: truncated_moment(1.5, -1, 0.5),
        lambda: truncated_moment(1.5, math.inf, 0.5),
        lambda: truncated_moment(1.5, 1.0, 1.0),
        lambda: truncated_moment(1.5, 1.0, 0.0),
    ],
)
def test_bad_arguments_are_refused(call):
    with pytest.raises(InputError, match="must be"):
        call()
