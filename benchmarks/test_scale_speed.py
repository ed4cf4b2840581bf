"""Files beyond memory: measuring and pruning beside reading, summing and copying them.

Processor seconds of one thread, user and system, since other programs may run; three repeats of
all in turn, the shortest of each. Files lie in the page cache. What is read and summed is summed in
float64, tensor by tensor, by torch.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RUN = """
import json, shutil, sys, time
from pathlib import Path
import torch
from safetensors import safe_open
from prunable.nets.archive import open_archive
from prunable.nets.measure.measuring import measure
from prunable.nets.prune.plan import Keep
from prunable.nets.prune.strategies import MagnitudePruning
from prunable.nets.prune.streaming import Streaming

torch.set_num_threads(1)
folder, out = Path(sys.argv[1]), Path(sys.argv[2])
file = next(folder.glob("*.safetensors"))

def summed():
    with safe_open(file, "pt") as handle:
        for name in handle.keys():
            handle.get_tensor(name).sum(dtype=torch.float64)

def copied():
    with file.open("rb") as source, out.open("wb") as target:
        shutil.copyfileobj(source, target, 2**22)

def pruned():
    with open_archive(folder) as archive:
        budget = Keep(0.5, scope="global")
        Streaming(archive, MagnitudePruning(), budget).prune(out, {"format": "pt"})

def memory(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith(key)) / 1024

ways = {
    "summed": summed,
    "measured": lambda: measure(folder, spectrum="none", workers=1),
    "with_spectra": lambda: measure(folder, workers=1),
    "copied": copied,
    "pruned": pruned,
}
measure({"w": torch.randn(300, 300).bfloat16()})
found = {}
for _ in range(3):
    for name, way in ways.items():
        Path("/proc/self/clear_refs").write_text("5")
        started, before = time.process_time(), memory("VmRSS")
        way()
        seconds = time.process_time() - started
        found[name] = min(found.get(name, seconds), seconds)
        extra = memory("VmHWM") - before
        found[name + "_mib"] = max(found.get(name + "_mib", extra), extra)
out.unlink()
print("RESULT", json.dumps(found))
"""


@pytest.mark.benchmark(group="scale")
@pytest.mark.parametrize(("weights", "layers"), [("1e8", "10"), ("1e8", "1")], ids=["1e7", "1e8"])
def test_scale(benchmark, tmp_path, weights, layers):
    make = [sys.executable, Path(__file__).with_name("synthetic.py"), tmp_path / "model"]
    subprocess.run([*make, "--weights", weights, "--layers", layers], check=True)

    def run():
        command = [sys.executable, "-c", RUN, tmp_path / "model", tmp_path / "out.safetensors"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        line = next(x for x in done.stdout.splitlines() if x.startswith("RESULT"))
        benchmark.extra_info.update(json.loads(line.removeprefix("RESULT")))

    benchmark.pedantic(run, rounds=1)
    shutil.rmtree(tmp_path / "model")
