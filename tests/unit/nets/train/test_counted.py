"""Draws of accelerators, on the CPU: against numbers of Python, as laws, and compiled."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from prunable.nets.train import counted, sampling
from prunable.nets.train.counted import STEP, add_symmetric_, positive
from prunable.nets.train.sampling import sample_stable
from prunable.numerics.stable import StableLaw
from prunable.numerics.stable.sampling import positive_transform

ALPHAS = (0.3, 0.5, 0.9, 1.0, 1.1, 1.5, 1.8, 1.99, 2.0)
WORD = 2**64


@pytest.fixture
def pretended(monkeypatch):
    """A CPU that is taken for an accelerator."""
    monkeypatch.setattr(sampling, "_is_accelerator", lambda _: True)


def drawn(shape, alpha, seed=3, dtype=torch.float64, compiled=False):
    out = torch.zeros(shape, dtype=dtype)
    add_symmetric_(out, alpha, torch.ones(1, 1, dtype=dtype), seed, compiled)
    return out


def hashed(z):
    """splitmix64 by Python's whole numbers."""
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % WORD
    z = (z ^ z >> 27) * 0x94D049BB133111EB % WORD
    return z ^ z >> 31


def uniforms(count, seed):
    words = [hashed((seed + place * STEP) % WORD) for place in range(1, 2 * count + 1)]
    t, v = (np.array([(x % 2**63 + 0.5) / 2**63 for x in words[k::2]]) for k in (0, 1))
    return t, v, np.array([1 if x < 2**63 else -1 for x in words[::2]])


def test_the_hash_is_splitmix64():
    # its first number for the seed 0, as published
    assert hashed(STEP % WORD) == 0xE220A8397B1DCDAF
    found = counted._hashed(torch.tensor([STEP, -1, 0, 2**62]))
    assert [x % WORD for x in found.tolist()] == [hashed(x % WORD) for x in (STEP, -1, 0, 2**62)]


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("seed", [0, 5, 2**63 - 1])
def test_draws_are_those_of_the_formula(alpha, seed):
    t, v, sign = uniforms(3000, seed)
    angle, exponential = math.pi / 2 * (1 - t), -np.log(v)
    power = (np.cos((1 - alpha) * angle) / exponential) ** ((1 - alpha) / alpha)
    wanted = sign * np.sin(alpha * angle) / np.sin(math.pi / 2 * t) ** (1 / alpha) * power
    found = drawn((1500, 2), alpha, seed).flatten().numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-9)
    single = drawn((1500, 2), alpha, seed, torch.float32).flatten().numpy()
    np.testing.assert_allclose(single, wanted, rtol=2e-4)


@pytest.mark.parametrize("a", [0.15, 0.5, 0.9, 0.995])
def test_positive_draws_are_those_of_the_formula(a):
    t, v, _ = uniforms(3000, 7)
    wanted = positive_transform(t, 1 - v, a)
    found = positive(3000, a, 7, torch.empty(0, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.8, 2.0])
def test_both_ends_are_fine_in_float32(alpha, monkeypatch):
    """Every uniform within 2^-40 of an end is told from the end, to the precision of float32."""
    ends = [0, 1, 2**20, 2**40, 2**62, 2**63 - 2**40, 2**63 - 2**20, 2**63 - 2, 2**63 - 1]
    t, v = (
        g.flatten() for g in torch.meshgrid(torch.tensor(ends), torch.tensor(ends), indexing="ij")
    )
    found = {}
    for dtype in (torch.float32, torch.float64):
        words = iter((t, v))
        monkeypatch.setattr(counted, "_hashed", lambda _, words=words: next(words).view(-1, 1))
        found[dtype] = drawn((len(t), 1), alpha, dtype=dtype).double().clamp(1e-37, 1e37)
    torch.testing.assert_close(found[torch.float32], found[torch.float64], rtol=2e-4, atol=0)
    assert (found[torch.float64] > 0).all()


def test_pieces_do_not_change_a_bit(monkeypatch):
    whole = drawn((1000, 7), 1.7)
    monkeypatch.setattr(counted, "PIECE", 50)
    assert torch.equal(drawn((1000, 7), 1.7), whole)


def test_a_compiled_kernel_draws_the_same():
    if counted._compiled("cpu") is None:
        pytest.skip("torch finds no compiler here")
    for alpha, shape in ((0.7, (300, 40)), (1.8, (17, 3)), (2.0, (2, 5000))):
        single, kernel = (
            drawn(shape, alpha, dtype=torch.float32, compiled=how) for how in (False, True)
        )
        torch.testing.assert_close(kernel, single, rtol=1e-4, atol=0)


def test_without_a_compiler_operations_run_one_by_one(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: broken)
    counted._compiled.cache_clear()
    try:
        assert torch.equal(drawn((30, 4), 1.5, compiled=True), drawn((30, 4), 1.5))
    finally:
        counted._compiled.cache_clear()


@pytest.mark.usefixtures("pretended")
@pytest.mark.parametrize("kind", ["iid", "shared", "isotropic"])
@pytest.mark.parametrize("alpha", [0.8, 1.8, 2.0])
def test_laws_of_the_three_kinds(kind, alpha, generator):
    """Kolmogorov-Smirnov of 200,000 marginals: 9 tests, false alarm 9e-6; and of one projection."""
    x = sample_stable((200_000, 3), alpha, kind=kind, generator=generator(11), scale=0.5)
    law = StableLaw(alpha, 0.5)
    some = x[:20_000].double().numpy()
    assert scipy.stats.kstest(some[:, 1], law.cdf).pvalue > 1e-6
    direction = np.array([1.0, -2.0, 0.5])
    norm = {
        "iid": (np.abs(direction) ** alpha).sum() ** (1 / alpha),
        "shared": abs(direction.sum()),
        "isotropic": np.linalg.norm(direction),
    }[kind]
    assert scipy.stats.kstest(some @ direction / norm, law.cdf).pvalue > 1e-6
    assert (x != 0).all()


@pytest.mark.usefixtures("pretended")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_devices_keep_types_strides_and_seeds(dtype, generator):
    for kind in ("iid", "shared", "isotropic"):
        first, again = (
            sample_stable((64, 3), 1.9, kind=kind, generator=generator(2), dtype=dtype)
            for _ in range(2)
        )
        assert first.dtype == dtype
        assert torch.equal(first, again)
        turned = torch.zeros(3, 64, dtype=dtype).T
        sampling.add_stable_(turned, 1.9, scale=1.0, kind=kind, seed=8)
        plain = sampling.add_stable_(
            torch.zeros(64, 3, dtype=dtype), 1.9, scale=1.0, kind=kind, seed=8
        )
        assert torch.equal(turned, plain)
