"""Half precision measured from counts of bit patterns, against the floats it stands for."""

import numpy as np
import pytest
import scipy.stats

from prunable.numerics.measure import entries
from prunable.numerics.measure.entries import Coded, Plain
from prunable.numerics.measure.layer import measure_layer
from prunable.numerics.measure.options import Options
from prunable.numerics.randomness import rng
from prunable.numerics.stable import StableLaw
from prunable.numerics.tails import (
    ecf_regression,
    ecf_two_point,
    log_moment,
    log_variance,
    quantile,
)
from prunable.numerics.weights.levels import Levels
from prunable.numerics.weights.magnitudes import Magnitudes

CODES = np.arange(2**16, dtype=np.uint32)
WIDE = (CODES << 16).view(np.float32)  # bfloat16
HALF = CODES.astype(np.uint16).view(np.float16).astype(np.float32)


def stored(w: np.ndarray, kind: str) -> tuple[Coded, np.ndarray]:
    """A matrix rounded to a type, as codes and as floats."""
    if kind == "bfloat16":
        bits = w.astype(np.float32).view(np.uint32)
        coded = Coded(((bits + 2**15) >> 16).astype(np.uint16), WIDE, leading=True)
    else:
        coded = Coded(w.astype(np.float16).view(np.uint16), HALF)
    return coded, coded.decode(coded.raw)


# What depends on the random sample, or on the order of it.
SAMPLED = {
    *("log_moment", "ecf_two_point", "ecf_regression", "stable_fit", "gaussian_fit"),
    *("alpha_stderr", "reason", "expected_if_iid", "gaussian", "stable"),
    *("stable_low", "stable_median", "stable_high"),
}


def equal(a, b, where=""):
    """Numbers equal to the rounding of float64, all else exactly, but for what is sampled."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a.keys() - SAMPLED:
            equal(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            equal(x, y, f"{where}[{i}]")
    elif isinstance(a, float) and isinstance(b, float):
        assert a == pytest.approx(b, rel=1e-9, abs=1e-12, nan_ok=True), where
    elif isinstance(a, np.ndarray):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12, err_msg=where)
    else:
        assert a == b, where


def normal(shape, seed=0):
    return rng(seed).standard_normal(shape) * 0.02


CASES = {
    "normal": (lambda: normal((300, 250)), 1),
    "small": (lambda: normal((6, 40)), 1),
    "kernels": (lambda: normal((40, 90)), 9),
    "stable": (lambda: StableLaw(1.6, 0.01).sample((400, 300), rng(1)), 1),
    "pruned": (lambda: np.where(abs(normal((300, 300))) > 0.02, normal((300, 300)), 0), 1),
    "few": (lambda: np.sign(normal((300, 300))) * 0.5, 1),
    "zero": (lambda: np.zeros((300, 300)), 1),
    "tiny": (lambda: normal((300, 300)) * 1e-34, 1),
    "zeros among": (lambda: normal((1200, 60)) * (rng(4).random((1200, 60)) > 0.002), 1),
}


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
@pytest.mark.parametrize("case", CASES)
def test_codes_are_measured_as_floats(case, kind):
    """Two estimates of one sample, or of parts of it, are within 5 standard errors of each other.

    Their difference has at most twice the variance of one: false alarms 4e-4 a comparison at worst,
    at fixed seeds.
    """
    make, taps = CASES[case]
    if (case, kind) == ("tiny", "float16"):
        pytest.skip("float16 holds no such numbers")
    coded, floats = stored(np.clip(make(), -6e4, 6e4), kind)
    options = Options()
    found, sketch = measure_layer(coded, options, rng(7), taps=taps)
    wanted, other = measure_layer(floats, options, rng(7), taps=taps)
    one, other_one = found.to_dict(), wanted.to_dict()
    assert (one.pop("alpha") is None) == (other_one.pop("alpha") is None)
    equal(one, other_one)
    for name in wanted.curves.keys() - SAMPLED | {"gaussian"}:
        equal(found.curves[name], wanted.curves[name], name)
    for name in ("log_moment", "ecf_two_point", "ecf_regression"):
        here, there = found.estimators[name], wanted.estimators[name]
        assert here.status == there.status
        if here.status == "ok":
            assert abs(here.alpha - there.alpha) < 5 * here.stderr
            assert here.n < 10_000 or here.stderr == pytest.approx(there.stderr, rel=0.6)
    equal(sketch.kappa_1, other.kappa_1)
    equal(sketch.kappa_2, other.kappa_2)


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("pruned", [False, True])
def test_samples_of_codes_have_the_law_of_those_of_floats(monkeypatch, pruned, many):
    """150 samples of each of one matrix of independent weights.

    Kolmogorov-Smirnov at 1e-6 between samples of codes and of floats, of six estimates; means of
    counts of five ranges within 5 standard errors: 60 comparisons in all, false alarm below 1e-4.
    Drawn with repetition, as of a thousand million weights, samples vary by a hundredth more.
    """
    monkeypatch.setattr(entries, "SAMPLE_SIZE", 2**12)
    monkeypatch.setattr(entries, "TEST_SIZE", 2**10)
    monkeypatch.setattr(entries, "MANY", 0 if many else 10**9)
    w = StableLaw(1.7, 0.01).sample((700, 500), rng(0))
    coded, floats = stored(np.where(abs(w) > 0.01, w, 0) if pruned else w, "bfloat16")
    estimators = (log_moment, log_variance, quantile, ecf_two_point, ecf_regression)
    edges = [0, 0.012, 0.02, 0.05, 0.2, np.inf]

    def looked_at(drawn):
        values = getattr(drawn.values, "ordered", drawn.values)
        part = getattr(drawn.part, "ordered", drawn.part)
        assert (drawn.size, part.size) == (values.size, 2**10)
        assert np.count_nonzero(values) == values.size
        alphas = [estimator(drawn.values).alpha for estimator in estimators]
        alphas.append(ecf_regression(drawn.part).alpha)
        return np.nan_to_num(alphas, nan=-1), np.histogram(abs(values), edges)[0]

    ours, theirs = (
        [looked_at(one.draw(rng(seed, kind))) for seed in range(150)]
        for kind, one in (("codes", coded), ("floats", Plain(floats)))
    )
    for place in range(6):
        a, b = ([alphas[place] for alphas, _ in found] for found in (ours, theirs))
        assert scipy.stats.ks_2samp(a, b).pvalue > 1e-6
    counts = np.array([found for _, found in ours])
    weights = abs(floats[floats != 0] if pruned else floats - np.median(floats))
    shares = np.histogram(weights, edges)[0] / weights.size
    errors = np.sqrt(2**12 * shares * (1 - shares) / 150)
    # a median of a sample moves the edges by its own error, far less than theirs
    assert (np.abs(counts.mean(axis=0) - 2**12 * shares) < 5 * errors + 1e-9).all()


def test_few_weights_are_their_own_sample():
    coded, floats = stored(normal((90, 70)), "float16")
    found, wanted = coded.draw(rng(3)), Plain(floats).draw(rng(3))
    np.testing.assert_array_equal(np.sort(found.values.ordered), np.sort(wanted.values))
    assert found.values.counts.sum() == found.part.counts.sum() == wanted.size
    again = coded.draw(rng(3))
    np.testing.assert_array_equal(found.values.ordered, again.values.ordered)


@pytest.mark.parametrize("p", [0.5, 1.0, 2.0, 3.7, 6.0])
def test_levels_answer_as_the_sorted_magnitudes(p):
    for seed, size in enumerate((1, 2, 50, 70_000)):
        w = np.round(rng(seed).standard_normal(size) * 8).astype(np.float32) / 8
        values, counts = np.unique(w, return_counts=True)
        levels, whole = Levels.of(values, counts), Magnitudes.of(w)
        assert (levels.size, levels.zeros, levels.top) == (whole.size, whole.zeros, whole.top)
        eps = np.array([0, 1e-9, 0.01, 0.3, 0.999, 1, 2])
        np.testing.assert_array_equal(levels.kept_counts(eps, p), whole.kept_counts(eps, p))
        np.testing.assert_array_equal(levels.largest(size // 3), whole.largest(size // 3))
        for found, wanted in zip(levels.survival(20), whole.survival(20), strict=True):
            np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(levels.histogram.counts, whole.histogram.counts)
        np.testing.assert_allclose(levels.histogram.sums, whole.histogram.sums, rtol=1e-12)


def test_equal_weights_go_one_by_one():
    """A third of nine equal weights has a relative error of the root of a third."""
    levels = Levels.of(np.array([-0.5, 0.5], np.float32), np.array([4, 5]))
    assert levels.kept_counts(
        [np.sqrt(1 / 3) * (1 - 1e-9), np.sqrt(1 / 3) * (1 + 1e-9)]
    ).tolist() == [7, 6]
