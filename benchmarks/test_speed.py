"""Speed beside the peers, in one run; `make bench` turns it into ratios.

Groups: `sampling` draws 1e7 symmetric stable numbers (alpha = 1.8, float32 or the peer's own
type); `step` is one full training step of 784-10000-10 at batch 5,000, and the noise that
is added to it. Extra peak memory is measured in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
import scipy.stats
import torch

from prunable.nets.train.noise import HeavyTailedNoise, attach_noise
from prunable.nets.train.sampling import sample_stable

COUNT = 10_000_000
ALPHA = 1.8

PEAK = """
import sys
import numpy as np, scipy.stats, torch
from pathlib import Path
from prunable.nets.train.sampling import sample_stable

def memory(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(x.split()[1]) for x in lines if x.startswith(key))

draw = {
    "prunable": lambda n: sample_stable((n,), 1.8, generator=torch.Generator()),
    "scipy": lambda n: scipy.stats.levy_stable.rvs(1.8, 0, size=n, random_state=0),
}[sys.argv[1]]
draw(10_000)
# the peak that getrusage knows is inherited from the parent process; this one starts here
Path("/proc/self/clear_refs").write_text("5")
before = memory("VmRSS")
x = draw(10_000_000)
print((memory("VmHWM") - before) / x.nbytes)
"""


def peak_over_output(sampler: str) -> float:
    """Growth of peak memory while drawing 1e7 numbers, over the size of the output."""
    run = [sys.executable, "-c", PEAK, sampler]
    return float(subprocess.run(run, capture_output=True, text=True, check=True).stdout)


@pytest.mark.benchmark(group="sampling")
def test_prunable(benchmark):
    generator = torch.Generator().manual_seed(0)
    benchmark.extra_info["peak_over_output"] = peak_over_output("prunable")
    benchmark.pedantic(
        sample_stable, ((COUNT,), ALPHA), {"generator": generator}, rounds=7, warmup_rounds=1
    )


@pytest.mark.benchmark(group="sampling")
def test_prunable_one_thread(benchmark):
    generator = torch.Generator().manual_seed(0)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        benchmark.pedantic(
            sample_stable, ((COUNT,), ALPHA), {"generator": generator}, rounds=7, warmup_rounds=1
        )
    finally:
        torch.set_num_threads(before)


@pytest.mark.benchmark(group="sampling")
def test_scipy(benchmark):
    benchmark.extra_info["peak_over_output"] = peak_over_output("scipy")
    benchmark.pedantic(
        scipy.stats.levy_stable.rvs,
        (ALPHA, 0),
        {"size": COUNT, "random_state": 0},
        rounds=3,
        warmup_rounds=1,
    )


@pytest.mark.benchmark(group="sampling")
def test_torch_normal(benchmark):
    benchmark.pedantic(lambda: torch.empty(COUNT).normal_(), rounds=7, warmup_rounds=1)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(784, 10_000, bias=False),
        torch.nn.ReLU(),
        torch.nn.Linear(10_000, 10, bias=False),
    )
    return model, torch.randn(5000, 784), torch.randint(0, 10, (5000,))


@pytest.mark.benchmark(group="step")
def test_training_step(benchmark, network):
    model, x, y = network
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    benchmark.pedantic(step, rounds=7, warmup_rounds=1)


@pytest.mark.benchmark(group="step")
@pytest.mark.parametrize("kind", ["type1", "type2", "type3"])
def test_noise_of(benchmark, network, kind):
    """The noise of one step alone: an optimizer that holds no gradients does nothing else."""
    model, _, _ = network
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)
    optimizer.zero_grad()
    attach_noise(optimizer, model.named_parameters(), HeavyTailedNoise(kind, ALPHA, 1e-6), seed=0)
    benchmark.pedantic(optimizer.step, rounds=15, warmup_rounds=2)
