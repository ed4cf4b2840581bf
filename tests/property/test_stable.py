"""What holds for every symmetric stable law."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from prunable.numerics.stable import StableLaw, symmetric_transform

alphas = st.one_of(st.sampled_from([1.0, 2.0]), st.floats(0.05, 2.0))
scales = st.floats(1e-6, 1e6)
points = st.lists(st.floats(-1e12, 1e12), min_size=2, max_size=20).map(np.array)


@given(alphas, scales, points)
def test_symmetry(alpha, scale, x):
    law = StableLaw(alpha, scale)
    np.testing.assert_array_equal(law.pdf(-x), law.pdf(x))
    np.testing.assert_array_equal(law.cdf(-x), law.sf(x))
    np.testing.assert_array_equal(law.cf(-x), law.cf(x))
    np.testing.assert_allclose(law.cdf(x) + law.sf(x), 1, rtol=1e-14)


@given(alphas, scales, points)
def test_distribution_function_increases(alpha, scale, x):
    probabilities = StableLaw(alpha, scale).cdf(np.sort(x))
    # Equal to the last digits of the table is equal.
    assert (np.diff(probabilities) >= -1e-12 * probabilities[1:]).all()
    assert ((probabilities >= 0) & (probabilities <= 1)).all()


@given(alphas, scales, points)
def test_quantile_inverts_the_lower_tail(alpha, scale, x):
    law, x = StableLaw(alpha, scale), -np.abs(x)
    probability, density = law.cdf(x), law.pdf(x)
    x, probability, density = (v[probability > 1e-300] for v in (x, probability, density))
    # A relative error of the probability moves the quantile by probability / density.
    tolerance = 1e-11 * (np.abs(x) + probability / density)
    assert (np.abs(law.ppf(probability) - x) <= tolerance).all()


@given(alphas, st.lists(st.floats(1e-300, 1.0), min_size=1, max_size=20).map(np.array))
def test_distribution_function_inverts_the_quantile(alpha, q):
    law = StableLaw(alpha)
    x = law.ppf(q)
    inside = np.isfinite(x)
    np.testing.assert_allclose(law.cdf(x[inside]), q[inside], rtol=1e-10)


@given(alphas, scales, st.floats(1e-3, 1e3), points)
def test_scale_is_a_unit(alpha, scale, factor, x):
    law, stretched = StableLaw(alpha, scale), StableLaw(alpha, scale * factor)
    np.testing.assert_allclose(stretched.sf(factor * x), law.sf(x), rtol=1e-9)


@given(
    alphas,
    st.floats(0, 1, exclude_min=True, allow_subnormal=False),
    st.floats(-1, 1, allow_subnormal=False).filter(lambda w: w != 0),
)
def test_draws_are_finite_and_odd_in_their_sign(alpha, t, w):
    plus, minus = (symmetric_transform(np.array([t]), np.array([s]), alpha) for s in (w, -w))
    assert np.isfinite(plus).all()
    np.testing.assert_array_equal(plus, -minus)
