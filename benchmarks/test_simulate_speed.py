"""Particle systems: a large one in time, and batched replicas against a loop over them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

RUN = """
import json, sys, time
import torch
from prunable.nets.simulate.particles import (
    MeanFieldProblem, StableDrive, System, initial_particles, simulate,
)

def system(p, m, replicas, width, dtype):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(m, p, dtype=dtype, generator=generator) / p**0.5
    y = torch.tanh(x @ torch.randn(p, 1, dtype=dtype, generator=generator))
    problem = MeanFieldProblem(x, y)
    return problem, *initial_particles(problem, replicas, width, seed=0, dtype=dtype)

torch.set_num_threads(1)
if sys.argv[1] == "large":
    # float32 and 32 examples, on one thread; type II draws 1.4e9 numbers, which take most of it
    problem, theta, c = system(140, 32, 1, 10_000, torch.float32)
    found = {}
    for noise in ("type1", "type2", "type3"):
        start = time.perf_counter()
        simulate(problem, StableDrive(1.8, 0.15, noise), [System(10_000)], theta, c,
                 eta=1e-3, steps=1000, seed=0)
        found[noise] = time.perf_counter() - start
else:
    problem, theta, c = system(4, 16, 64, 32, torch.float64)
    drive, options = StableDrive(1.8, 0.15), dict(eta=0.02, steps=50)
    batched, loop = [], []
    for turn in range(3):
        start = time.perf_counter()
        simulate(problem, drive, [System(32)], theta, c, seed=turn, **options)
        middle = time.perf_counter()
        for r in range(64):
            simulate(problem, drive, [System(32)], theta[r : r + 1], c[r : r + 1],
                     seed=r, **options)
        batched.append(middle - start)
        loop.append(time.perf_counter() - middle)
    found = {"ratio": sorted(loop)[1] / sorted(batched)[1]}
print(json.dumps(found))
"""


@pytest.mark.benchmark(group="simulate")
@pytest.mark.parametrize("what", ["large", "replicas"])
def test_simulate(benchmark, what):
    def run():
        command = [sys.executable, "-c", RUN, what]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        benchmark.extra_info.update(json.loads(done.stdout))

    benchmark.pedantic(run, rounds=1)
