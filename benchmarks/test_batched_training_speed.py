"""Many mean-field networks trained at once beside one by one, on ECG5000.

Full steps without noise, shortest of interleaved repeats. `batched` shares the replicas out
over all processors, one thread each; one by one is timed on one thread, as a stage computes,
and with all of torch's threads.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

RUN = """
import json, os, sys, time
import torch
from prunable.data.loaders import load
from prunable.nets.train.batched import Replica, train_together
from prunable.nets.models import MeanFieldNetwork
from prunable.nets.train.settings import TrainingSettings
from prunable.nets.train.training import train

width, replicas, steps, repeats = map(int, sys.argv[1:])
cores = len(os.sched_getaffinity(0))
data = load("ecg5000")
x, y = torch.from_numpy(data.x_train.copy()), torch.from_numpy(data.y_train.copy())

def fresh(seed):
    generator = torch.Generator().manual_seed(seed)
    model = MeanFieldNetwork(x.shape[1], width, len(data.class_names), generator=generator)
    lr = 0.6  # the step size 0.6 / width of the theory
    return Replica(model, TrainingSettings(lr, steps, batch_size=500, seed=seed, log_every=1000))

def one_by_one(group):
    for replica in group:
        train(replica.model, x, y, replica.settings)

def batched(group):
    train_together(group, x, y)

best = {}
for turn in range(repeats):
    for way in (one_by_one, batched):
        for threads in (1, cores):
            torch.set_num_threads(threads)
            group = [fresh(seed) for seed in range(replicas)]
            start = time.perf_counter()
            way(group)
            seconds = (time.perf_counter() - start) / (replicas * steps)
            key = way.__name__ + ("" if threads == 1 else "_all_threads")
            best[key] = min(best.get(key, seconds), seconds)
print(json.dumps(best | {"cores": cores, "replicas": replicas}))
"""


@pytest.mark.benchmark(group="batched-training")
@pytest.mark.parametrize(
    ("width", "replicas", "steps", "repeats"), [(2000, 16, 20, 3), (10_000, 4, 5, 3)]
)
def test_batched_training(benchmark, width, replicas, steps, repeats):
    def run():
        command = [sys.executable, "-c", RUN, *map(str, (width, replicas, steps, repeats))]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        benchmark.extra_info.update(found)

    benchmark.pedantic(run, rounds=1)
