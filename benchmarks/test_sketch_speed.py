"""Decoding of sparse matrix sketches: peeling at large sizes, and beside l1 and HiGHS at n = 60.

`recovery` times decoding alone, of n x n matrices with 8 entries a row and column at the sizes of
docs/sketch.md; `linear-programme` runs all decoders on one sketch, in one run.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from prunable.numerics.randomness import rng
from prunable.sketch.recovery.channels import decode_tagged, tagged_sketch
from prunable.sketch.recovery.douglas_rachford import decode_l1
from prunable.sketch.recovery.ensembles import delta_random
from prunable.sketch.recovery.entries import Ending, Entries
from prunable.sketch.recovery.linear_program import decode_linear_program
from prunable.sketch.recovery.peeling import peel
from prunable.sketch.recovery.sizes import VERIFICATION_DELTA, VERIFICATION_FACTOR, sketch_size
from prunable.sketch.recovery.sketching import sketch

ALLOWED = {2_000: 1.0, 10_000: 10.0}  # seconds


def regular(n, j, r):
    """j random permutation matrices with Gaussian values, one on another."""
    cols = np.stack([r.permutation(n) for _ in range(j)], axis=1).ravel()
    keys = np.unique(np.repeat(np.arange(n), j) * n + cols)
    return Entries((n, n), keys // n, keys % n, r.standard_normal(keys.size))


def ensembles(entries, r, factor=VERIFICATION_FACTOR, delta=VERIFICATION_DELTA):
    size = sketch_size(entries, factor=factor, delta=delta)
    n = entries.shape[0]
    return delta_random(n, size.m1, delta, r), delta_random(n, size.m2, delta, r)


@pytest.mark.benchmark(group="sketch-recovery")
@pytest.mark.parametrize("n", sorted(ALLOWED))
@pytest.mark.parametrize("decoder", ["peel", "decode_tagged"])
def test_recovery(benchmark, decoder, n):
    r = rng(0, decoder, n)
    entries = regular(n, 8, r)
    if decoder == "peel":
        left, right = ensembles(entries, r)
        measured, decode = sketch(entries, left, right), peel
    else:
        bits = entries.values.astype(np.float32).view(np.uint32)
        entries = Entries(entries.shape, entries.rows, entries.cols, bits)
        left, right = ensembles(entries, r, 1.6, 3)
        measured, decode = tagged_sketch(entries, left, right), decode_tagged
    decoded = benchmark.pedantic(lambda: decode(measured, left, right), rounds=3, warmup_rounds=1)
    assert decoded.verdict == Ending.RECOVERED
    np.testing.assert_array_equal(decoded.entries.cols, entries.cols)
    if decoder == "peel":
        np.testing.assert_allclose(decoded.entries.values, entries.values, atol=1e-12)
    else:
        np.testing.assert_array_equal(decoded.entries.values, entries.values)
    seconds = benchmark.stats.stats.median
    benchmark.extra_info.update(n=n, m=[left.m, right.m], seconds=seconds, allowed=ALLOWED[n])


@pytest.mark.benchmark(group="sketch-linear-programme")
def test_against_the_linear_programme(benchmark):
    r = rng(0, "highs")
    entries = regular(60, 4, r)
    left, right = ensembles(entries, r)
    measured = sketch(entries, left, right)

    def seconds(decode, rounds):
        times = []
        for _ in range(rounds):
            started = time.perf_counter()
            decoded = decode(measured, left, right)
            times.append(time.perf_counter() - started)
            assert decoded.verdict == Ending.RECOVERED
            np.testing.assert_allclose(decoded.entries.dense(), entries.dense(), atol=1e-5)
        return float(np.median(times))

    def interior_points(*arguments):
        return decode_linear_program(*arguments, method="highs-ipm")

    def run():
        with threadpool_limits(1):
            found = {
                "peel": seconds(peel, 21),
                "decode_l1": seconds(decode_l1, 5),
                "highs-ipm": seconds(interior_points, 1),
            }
        found |= {
            f"{name}_times_faster": found["highs-ipm"] / found[name]
            for name in ("peel", "decode_l1")
        }
        benchmark.extra_info.update(found)

    benchmark.pedantic(run, rounds=1)
