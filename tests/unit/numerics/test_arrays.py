"""Medians by vector instructions."""

import numpy as np
import pytest

from prunable.numerics.arrays import medians


@pytest.mark.parametrize("size", [1, 2, 3, 10, 4097])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_medians_are_those_of_numpy(size, dtype):
    x = np.random.default_rng(size).standard_normal((7, size)).round(1).astype(dtype)
    before = x.copy()
    found = medians(x)
    np.testing.assert_array_equal(found, np.median(x, axis=-1))
    assert found.dtype == dtype
    np.testing.assert_array_equal(x, before)
    assert medians(x[0]) == np.median(x[0])
