"""Exported networks beside the dense one: a 784-2048x4-10 MLP at a tenth of its parameters.

Speeds are of one thread, which other work on the machine disturbs least, and of all threads.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# each in its own process; the models take turns, so that the ratios are of one time
EXPORT = """
import json, sys, tempfile
from functools import partial
from itertools import pairwise
from pathlib import Path
import numpy as np
import torch
from torch import nn
from prunable.nets.archive import save_tensors
from prunable.nets.shrink.export import load_exported, save_exported
from prunable.nets.prune.plan import Keep
from prunable.nets.prune.pruning import prune
from prunable.nets.shrink.sparse_layers import sparsify
from prunable.nets.prune.strategies import MagnitudePruning, NodePruning
from prunable.nets.shrink.surgery import shrink
from prunable.nets.networks.timing import interleaved_seconds

threads = torch.get_num_threads()
torch.set_num_threads(1)
torch.manual_seed(0)
sizes = [784, 2048, 2048, 2048, 2048, 10]
layers = []
for into, out in pairwise(sizes):
    layers += [nn.Linear(into, out), nn.ReLU()]
model = nn.Sequential(*layers[:-1]).eval()
batches = {size: torch.randn(size, 784) for size in (1, 32, 256)}
found = {}
if sys.argv[1] == "node":
    # 568 of 2048 units in each of four layers are just under a tenth of the parameters
    plan = prune(model, NodePruning(axis="unit"), Keep(568 / 2048), dry_run=True).plan
    result = shrink(model, plan, batches[32])
    found["parameters"] = result.n_parameters / result.n_parameters_before
else:
    prune(model, MagnitudePruning(), Keep(0.1))
for name, count in (("", 1), ("_all_threads", threads)):
    torch.set_num_threads(count)
    if sys.argv[1] == "node":
        exported, found["max_difference"] = result.model, result.max_difference
    else:
        # which layout wins depends on the threads
        exported, report = sparsify(model, list(batches.values()))
        found["max_difference"] = report.max_difference
        found["sparse_layers" + name] = report.n_sparse
    with tempfile.TemporaryDirectory() as folder:
        dense_file, file = Path(folder) / "dense", Path(folder) / "exported"
        save_tensors(dense_file, model.state_dict())
        save_exported(file, exported)
        found["size"] = dense_file.stat().st_size / file.stat().st_size
        loaded = load_exported(file)
    with torch.no_grad():
        for size, x in batches.items():
            seconds = interleaved_seconds(
                {"dense": partial(model, x), "exported": partial(loaded, x)}, repeats=25
            )
            ratio = np.median(seconds["dense"]) / np.median(seconds["exported"])
            found[f"speed{name}_{size}"] = float(ratio)
print(json.dumps(found))
"""


@pytest.mark.benchmark(group="export")
@pytest.mark.parametrize("method", ["node", "unstructured"])
def test_export(benchmark, method):
    def run():
        command = [sys.executable, "-c", EXPORT, method]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        benchmark.extra_info.update(found)
        assert found["max_difference"] < 1e-5
        if method == "node":
            assert found["parameters"] <= 0.1

    benchmark.pedantic(run, rounds=1)
