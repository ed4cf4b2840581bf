"""Any finite weights are measured: whatever a damaged file or a diverged training holds."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from prunable.nets.measure.measuring import measure
from prunable.numerics.randomness import rng

SHAPES = array_shapes(min_dims=2, max_dims=4, max_side=6)


def check(found):
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    for layer in document["layers"]:
        for shares in layer["kappa"].values():
            assert all(0 <= share <= 1 for share in shares.values())
            values = list(shares.values())
            assert values == sorted(values, reverse=True)
    for entry in document["overall"]["allocation"].values():
        assert 0 <= entry["best"] <= entry["common_eps"] + 1e-9


@settings(max_examples=120)
@given(
    st.one_of(
        arrays(
            np.float32, SHAPES, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
        ),
        arrays(np.float64, SHAPES, elements=st.floats(allow_nan=False, allow_infinity=False)),
    ),
    st.sampled_from([1.0, 2.0, 3.5]),
)
def test_anything_small(w, p):
    check(measure({"w": torch.from_numpy(w)}, p=p, workers=1))


@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([torch.float32, torch.float64]),
    st.sampled_from(["any", "two sizes", "few large", "one size a row"]),
)
def test_weights_of_any_exponents(seed, dtype, kind):
    """Enough weights for every estimator and fit, their sizes from subnormal to the largest."""
    r = rng(0, "exponents", seed)
    low, high = (-44, 37) if dtype == torch.float32 else (-320, 305)
    shape = (20, 20)
    exponents = {
        "any": lambda: r.uniform(low, high, shape),
        "two sizes": lambda: r.choice(r.uniform(low, high, 2), shape),
        "few large": lambda: np.where(
            r.random(shape) < 0.02, r.uniform(0, high, shape), r.uniform(low, 0)
        ),
        "one size a row": lambda: np.repeat(r.uniform(low, high, (20, 1)), 20, 1),
    }[kind]()
    w = torch.from_numpy(10.0**exponents * r.uniform(-1, 1, shape)).to(dtype)
    check(measure({"w": w}, workers=1))


def large(kind):
    r = rng(0, "extremes")
    w = 0.02 * r.standard_normal((400, 300))
    if kind == "one bit of an exponent flipped":
        w[17, 5] *= 2.0**120
    elif kind == "one subnormal":
        w[17, 5] = 1e-42
    elif kind == "all tiny":
        w *= 1e-38
    elif kind == "all huge":
        w *= 1e39
    elif kind == "two values":
        w = np.sign(w)
    elif kind == "one weight":
        w = np.zeros_like(w)
        w[3, 3] = 1.0
    elif kind == "cauchy cubed":
        w = r.standard_cauchy(w.shape) ** 3
    elif kind == "integers":
        w = np.round(100 * w)
    elif kind == "equal":
        w = np.full_like(w, -0.1)
    return w


@pytest.mark.parametrize(
    "kind",
    [
        "one bit of an exponent flipped",
        "one subnormal",
        "all tiny",
        "all huge",
        "two values",
        "one weight",
        "cauchy cubed",
        "integers",
        "equal",
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_anything_large(kind, dtype):
    w = torch.from_numpy(large(kind)).to(dtype)
    assert torch.isfinite(w).all()
    found = measure({"w": w, "ordinary": torch.ones(20, 20)})
    check(found)
    measured = found.layers[0]
    if kind in ("all tiny", "all huge") and dtype == torch.float64:
        assert measured.verdict == "gaussian-like"
    if kind in ("two values", "one weight", "equal"):
        assert math.isnan(measured.alpha)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("exponent", [-70, 60])
def test_estimated_spectra_have_no_unit(monkeypatch, dtype, exponent):
    """Squares of these singular values are beyond float32, or lost in it."""
    monkeypatch.setattr("prunable.numerics.measure.layer.EXACT_SIDE", 100)
    w = torch.from_numpy(rng(0, "unit").standard_normal((150, 120))).to(dtype)
    one, other = (measure({"w": x}, workers=1).layers[0] for x in (w, w * 2.0**exponent))
    assert not one.spectrum.exact
    np.testing.assert_allclose(other.curves["singular_value"], one.curves["singular_value"], 5e-3)
