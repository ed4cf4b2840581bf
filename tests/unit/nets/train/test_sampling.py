"""The torch sampler: agreement with NumPy, edges of the uniforms, threads, dtypes."""

import math
from functools import partial

import numpy as np
import pytest
import torch

import prunable.numerics.stable.sampling as stable_sampling
from prunable.errors import InputError
from prunable.nets.train import sampling
from prunable.nets.train.sampling import (
    add_stable_,
    positive_from_uniforms_,
    sample_stable,
    symmetric_from_uniforms_,
)
from prunable.numerics.stable.sampling import positive_transform, symmetric_transform

ALPHAS = (0.3, 0.5, 0.9, 0.999, 1.0, 1.001, 1.1, 1.5, 1.8, 1.99, 2.0)


@pytest.fixture
def uniforms():
    rng = np.random.default_rng(7)
    t = 1 - rng.random(4000)
    t[:4] = 2.0**-100, 2.0**-53, 1.0, 0.5
    w = rng.uniform(-1, 1, 4000)
    w[:4] = 1.0, -1.0, 2.0**-100, -(2.0**-53)
    return t, w


@pytest.mark.parametrize("alpha", ALPHAS)
def test_symmetric_twin_agrees_with_numpy(alpha, uniforms):
    t, w = uniforms
    expected = symmetric_transform(t, w, alpha)
    found = symmetric_from_uniforms_(torch.tensor(t), torch.tensor(w), alpha).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("a", [0.15, 0.25, 0.5, 0.75, 0.9, 0.995, 1.0])
def test_positive_twin_agrees_with_numpy(a, uniforms):
    t, w = uniforms
    inner = slice(4, None)  # |w| = 1 is not among the uniforms that are drawn for it
    expected = positive_transform(t[inner], w[inner], a)
    found = positive_from_uniforms_(torch.tensor(t[inner]), torch.tensor(w[inner]), a).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-11)


@pytest.mark.parametrize("alpha", [a for a in ALPHAS if a >= 0.5])
def test_float32_edges_give_finite_draws(alpha):
    # the extreme values the uniforms can take, in every combination
    t = torch.tensor([2.0**-48, 2.0**-24, 2.0**-11, 0.5, 1 - 2.0**-24, 1.0])
    w = torch.tensor([-1.0, -(1 - 2.0**-23), -(2.0**-47), 2.0**-47, 2.0**-23, 1 - 2.0**-23])
    grid_t, grid_w = (g.flatten().clone() for g in torch.meshgrid(t, w, indexing="ij"))
    draws = symmetric_from_uniforms_(grid_t, grid_w.clone(), alpha)
    assert torch.isfinite(draws).all()
    assert (torch.sign(draws) * torch.sign(grid_w) >= 0).all()


@pytest.mark.parametrize("a", [0.25, 0.5, 0.75, 0.9, 0.995])
def test_float32_positive_draws_are_right_at_both_ends(a):
    # the two ends of t with w at its grid; the reference is the float64 transform
    t = torch.tensor([2.0**-20, 2.0**-11, 0.3, 0.7, 1 - 2.0**-10, 1 - 2.0**-24, 1.0])
    w = torch.tensor([2.0**-10, -0.25, 0.5, -0.75, 1 - 2.0**-23, 0.5, 0.5])
    expected = positive_transform(t.double().numpy(), w.double().numpy(), a)
    found = positive_from_uniforms_(t.clone(), w.clone(), a).double().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_tiny_alpha_saturates_instead_of_overflowing(generator):
    draws = sample_stable((200_000,), 0.05, generator=generator())
    assert torch.isfinite(draws).all()
    assert draws.abs().max() > 1e37


@pytest.mark.parametrize("kind", ["iid", "shared", "isotropic"])
def test_threads_do_not_change_a_bit(kind, generator):
    before = torch.get_num_threads()
    draws = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            draws.append(sample_stable((900, 250), 1.7, kind=kind, generator=generator(3)))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(draws[0], draws[1])
    assert torch.equal(draws[0], draws[2])


def test_kinds_have_their_structure(generator):
    shared = sample_stable((5, 7), 1.5, kind="shared", generator=generator())
    assert torch.equal(shared, shared[:, :1].expand(5, 7))
    iid = sample_stable((5, 7), 1.5, kind="iid", generator=generator())
    assert iid.unique().numel() == 35


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_is_kept(dtype, generator):
    for kind in ("iid", "shared", "isotropic"):
        draws = sample_stable((64, 3), 1.9, kind=kind, generator=generator(), dtype=dtype)
        assert draws.dtype == dtype
        assert draws.std() > 0


def test_adding_works_through_any_strides():
    base = torch.zeros(40, 30)
    add_stable_(base.T, 1.6, scale=2.0, kind="iid", seed=11)
    plain = add_stable_(torch.zeros(30, 40), 1.6, scale=2.0, kind="iid", seed=11)
    assert torch.equal(base.T, plain)


def test_scale_multiplies():
    one = add_stable_(torch.zeros(1000, dtype=torch.float64), 1.3, scale=1.0, kind="iid", seed=5)
    ten = add_stable_(torch.zeros(1000, dtype=torch.float64), 1.3, scale=10.0, kind="iid", seed=5)
    torch.testing.assert_close(ten, 10 * one, rtol=1e-15, atol=0)


def test_same_generator_state_same_draws_and_it_advances(generator):
    source = generator(1)
    first = sample_stable((100,), 1.5, generator=source)
    second = sample_stable((100,), 1.5, generator=source)
    assert torch.equal(first, sample_stable((100,), 1.5, generator=generator(1)))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0)])
def test_empty_shapes(shape, generator):
    for kind in ("iid", "shared", "isotropic"):
        assert sample_stable(shape, 1.5, kind=kind, generator=generator()).shape == shape


@pytest.mark.parametrize(
    ("change", "culprit"),
    [
        ({"alpha": 0.0}, "alpha"),
        ({"alpha": 2.1}, "alpha"),
        ({"alpha": math.nan}, "alpha"),
        ({"scale": -1.0}, "scale"),
        ({"scale": math.inf}, "scale"),
        ({"kind": "gaussian"}, "kind"),
        ({"dtype": torch.int64}, "dtype"),
    ],
)
def test_bad_arguments_are_named(change, culprit, generator):
    arguments = {"alpha": 1.5, "generator": generator()} | change
    with pytest.raises(InputError, match=culprit):
        sample_stable((3,), **arguments)


def source_of(whole, fractions):
    """A source whose whole numbers are given, and whose fractions are one number."""

    class Given(sampling._Source):
        def whole(self, count, bits):
            assert (whole.shape, whole.dtype) == ((2, count), bits)
            return whole

        def fractions(self, count):
            return torch.full((2, count), fractions, dtype=torch.float64)

    return Given(0)


@pytest.mark.parametrize("alpha", [0.02, 0.1, *ALPHAS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_draw_is_zero_whatever_the_uniforms(alpha, dtype):
    """The ends of both uniforms, in every combination, with the fractions that may follow."""
    bits = torch.int32 if dtype == torch.float32 else torch.int64
    size = torch.iinfo(bits).bits - 1
    near = [0, 1, 2 ** (size - 13), 2 ** (size - 13) - 1, 2 ** (size - 1)]
    near += [2**size - 2 ** (size - 13), 2**size - 2 ** (size - 13) + 1, 2**size - 1]
    ends = torch.tensor([*near, *(-x for x in near if x), -(2**size)], dtype=bits)
    whole = torch.stack([g.flatten() for g in torch.meshgrid(ends, ends, indexing="ij")])
    for fraction in (0.0, 0.5, 1 - 2.0**-53):
        for transform in (
            partial(symmetric_from_uniforms_, alpha=alpha),
            partial(positive_from_uniforms_, a=alpha / 2),
        ):
            source = source_of(whole, fraction)
            draws = sampling._transformed(whole.shape[1], dtype, source, transform)
            assert draws.dtype == dtype
            assert torch.isfinite(draws).all()
            assert (draws != 0).all()


@pytest.mark.parametrize("bits", [torch.int32, torch.int64])
def test_random_numbers_have_all_values(bits):
    """The sign, the last bit, the size and the mean of fractions: 8 comparisons, 5e-6."""
    n, source = 200_000, sampling._Source(5)
    whole = source.whole(n, bits)
    assert (whole.shape, whole.dtype) == ((2, n), bits)
    for one in (whole < 0, whole % 2 == 0, whole.abs() > torch.iinfo(bits).max // 2):
        assert abs(one.double().mean() - 0.5) < 5 * 0.5 / math.sqrt(2 * n)
    fractions = source.fractions(n)
    assert fractions.min() >= 0
    assert fractions.max() < 1
    assert abs(fractions.mean() - 0.5) < 5 * math.sqrt(1 / 12 / (2 * n))


@pytest.mark.parametrize("alpha", [0.1, *ALPHAS])
def test_no_draw_of_the_numpy_sampler_is_zero(alpha):
    class Ends:
        def random(self, shape):
            ends = np.array([0.0, 2.0**-53, 0.5, 1 - 2.0**-53])
            return np.array(np.meshgrid(ends, ends)).reshape(2, -1).T.reshape(shape)

    t, w = stable_sampling._uniforms(16, Ends())
    assert t.max() < 1
    assert t.min() > 0
    draws = symmetric_transform(t, w, alpha)
    assert np.isfinite(draws).all()
    assert (draws != 0).all()


def test_gaussians_are_never_zero(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "normal_", lambda self, **_: self.zero_())
    draws = sampling._gaussian((300, 40), torch.float32, 0)
    assert (draws != 0).all()
    assert 1e-12 < draws.abs().min() < draws.abs().median() < draws.abs().max() < 2.0**-11
