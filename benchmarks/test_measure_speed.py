"""Speed and memory of the measurement beside the peers, in one run.

Groups: `network` measures the 133M-parameter shape of VGG-11 with its default initialisation,
beside WeightWatcher's `analyze`, and the shape of a 22.7M-parameter sentence encoder, each in a
process of its own; `log_moment`, `kappa` and `spectrum` set single functions beside the pass
over the weights, the sort and the decomposition that they replace.
"""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from prunable.numerics.measure.spectrum import singular_values
from prunable.numerics.tails import log_moment
from prunable.numerics.weights.compressibility import kappa_curve

COUNT = 10_000_000
EPS = np.linspace(0.02, 0.5, 9)

NETWORK = """
import json, sys, time, warnings
from pathlib import Path
import torch
warnings.filterwarnings("ignore")
torch.manual_seed(0)

def vgg11():
    layers, channels = [], 3
    for width in (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"):
        if width == "M":
            layers.append(torch.nn.MaxPool2d(2))
        else:
            layers += [torch.nn.Conv2d(channels, width, 3, padding=1), torch.nn.ReLU()]
            channels = width
    layers += [torch.nn.Flatten(), torch.nn.Linear(25088, 4096), torch.nn.ReLU(),
               torch.nn.Linear(4096, 4096), torch.nn.ReLU(), torch.nn.Linear(4096, 1000)]
    return torch.nn.Sequential(*layers)

def encoder():
    state = {"word.weight": torch.randn(30522, 384), "position": torch.randn(512, 384)}
    for i in range(6):
        for name in ("query", "key", "value", "output"):
            state[f"{i}.attention.{name}"] = torch.randn(384, 384)
        state[f"{i}.up"], state[f"{i}.down"] = torch.randn(1536, 384), torch.randn(384, 1536)
    return {name: w * (1 + 0.3 * torch.randn_like(w)) for name, w in state.items()}

peer, shape, spectrum = sys.argv[1:]
network = vgg11() if shape == "vgg11" else encoder()
if peer == "prunable":
    from prunable.nets.measure.measuring import measure
    measure({"w": torch.randn(64, 64)})
    run = lambda: measure(network, spectrum=spectrum)
else:
    import weightwatcher
    watcher = weightwatcher.WeightWatcher(model=network)
    run = lambda: watcher.analyze(plot=False)
def memory(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith(key)) / 1024

# the peak that getrusage knows is inherited from the parent process; this one starts here
Path("/proc/self/clear_refs").write_text("5")
before, started = memory("VmRSS"), time.perf_counter()
run()
seconds = time.perf_counter() - started
print("RESULT", json.dumps({"seconds": seconds, "extra_mib": memory("VmHWM") - before}))
"""


@pytest.mark.benchmark(group="network")
@pytest.mark.parametrize(
    ("peer", "shape", "spectrum"),
    [
        ("weightwatcher", "vgg11", "-"),
        ("prunable", "vgg11", "auto"),
        ("prunable", "vgg11", "exact"),
        ("prunable", "encoder", "auto"),
    ],
)
def test_network(benchmark, peer, shape, spectrum):
    if peer == "weightwatcher":
        pytest.importorskip("weightwatcher")

    def run():
        command = [sys.executable, "-c", NETWORK, peer, shape, spectrum]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = next(x for x in done.stdout.splitlines() if x.startswith("RESULT"))
        benchmark.extra_info.update(json.loads(found.removeprefix("RESULT")))

    benchmark.pedantic(run, rounds=1)


@pytest.fixture(scope="module")
def weights():
    return np.random.default_rng(0).standard_normal(COUNT, dtype=np.float32)


@pytest.mark.benchmark(group="log_moment")
def test_log_moment(benchmark, weights):
    benchmark.pedantic(log_moment, (weights,), rounds=7, warmup_rounds=1)


@pytest.mark.benchmark(group="log_moment")
def test_log_pass(benchmark, weights):
    tensor = torch.from_numpy(weights)
    benchmark.pedantic(lambda: tensor.abs().log().mean(), rounds=7, warmup_rounds=1)


@pytest.mark.benchmark(group="kappa")
def test_kappa_curve(benchmark, weights):
    benchmark.pedantic(kappa_curve, (weights, EPS), rounds=5, warmup_rounds=1)


@pytest.mark.benchmark(group="kappa")
def test_torch_sort_cumsum(benchmark, weights):
    tensor, eps = torch.from_numpy(weights), torch.from_numpy(EPS)

    def curve():
        squares = torch.sort(tensor.abs())[0].double() ** 2
        errors = torch.sqrt(torch.cumsum(squares, 0) / squares.sum())
        return 1 - torch.searchsorted(errors, eps, right=True).double() / COUNT

    np.testing.assert_allclose(curve().numpy(), kappa_curve(weights, EPS), atol=1e-6)
    benchmark.pedantic(curve, rounds=3, warmup_rounds=1)


SHAPES = [(2048, 2048), (2048, 3072), (512, 4608), (1024, 4096)]


@pytest.mark.benchmark(group="spectrum")
@pytest.mark.parametrize("shape", SHAPES)
def test_gram(benchmark, shape):
    w = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    exact = np.linalg.svd(w.astype(np.float64), compute_uv=False)[::-1]
    large = exact > 1e-3 * exact[-1]
    error = np.abs(singular_values(w)[large] / exact[large] - 1).max()
    benchmark.extra_info.update(relative_error=float(error), shape=f"{shape[0]} x {shape[1]}")
    benchmark.pedantic(singular_values, (w,), rounds=5, warmup_rounds=1)


@pytest.mark.benchmark(group="spectrum")
@pytest.mark.parametrize("shape", SHAPES)
def test_svdvals(benchmark, shape):
    w = torch.from_numpy(np.random.default_rng(0).standard_normal(shape, dtype=np.float32))
    benchmark.pedantic(torch.linalg.svdvals, (w,), rounds=3, warmup_rounds=1)
