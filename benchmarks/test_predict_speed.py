"""Curves of predicted risks beside their simulation, and problems of a million features."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from prunable import predict
from prunable.numerics.randomness import rng
from prunable.predict.linear.curves import sweep_curve
from prunable.predict.linear.law import predict_law
from prunable.predict.linear.names import Method
from prunable.predict.linear.problem import LinearGaussianProblem
from prunable.predict.linear.pruning import pruned_risk

WIDTHS = list(range(10, 1001, 10))
REPLICAS = 30
# Replicas timed; the others take as long.
TIMED = 3
P = 1_000_000


@pytest.mark.benchmark(group="predict")
@pytest.mark.parametrize("kind", ["fig3b", "all different"])
def test_curve(benchmark, kind):
    """100 widths, dense and three ways of pruning, beside 30 replicas on one core."""
    panel = predict.preset("fig3b")
    problem = panel.problem
    if kind == "all different":
        values = problem.variances * rng(0, "benchmark").uniform(0.5, 1.5, problem.p)
        problem = LinearGaussianProblem.diagonal(values, problem.coefficients, 0.0)
    with threadpool_limits(1):
        predict.simulate(problem, panel.n, panel.s, 2, widths=[500], retrain_by=())
        started = time.perf_counter()
        predict.simulate(problem, panel.n, panel.s, TIMED, widths=WIDTHS, retrain_by=())
        simulated = (time.perf_counter() - started) * REPLICAS / TIMED
        benchmark.pedantic(
            lambda: sweep_curve("width", problem, panel.n, panel.s, WIDTHS),
            rounds=9,
            warmup_rounds=1,
        )
    seconds = benchmark.stats.stats.median
    benchmark.extra_info.update(
        {"simulated_seconds": simulated, "times_faster": simulated / seconds}
    )


@pytest.mark.benchmark(group="predict")
@pytest.mark.parametrize("part", ["dense", "pruned"])
def test_a_million_features(benchmark, part):
    """Dense risk alone, or with magnitude, Hessian and oracle pruning; memory in numbers."""
    problem = LinearGaussianProblem.diagonal(np.geomspace(1e-12, 1, P), np.full(P, 1e-3), 0.5)

    def run():
        law = predict_law(problem, 10_000)
        if part == "pruned":
            for method in Method:
                pruned_risk(law, 5_000, method)
        return law

    benchmark.pedantic(run, rounds=5, warmup_rounds=1)
    tracemalloc.start()
    run()
    benchmark.extra_info["peak_numbers_a_feature"] = tracemalloc.get_traced_memory()[1] / 8 / P
    tracemalloc.stop()
    assert benchmark.extra_info["peak_numbers_a_feature"] < 60
