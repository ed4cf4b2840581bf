"""What `measure` and `prune` cost by the number of weights: the tables of docs/scale.md.

    python benchmarks/scale.py FOLDER [--large 2e9]

Processor seconds of one thread and extra peak memory of the work itself, without imports, the
best of three; then a least-squares fit of relative errors, seconds = a layers + b weights. With
--large a checkpoint of so many weights in 200 layers and four shards is measured as well, once, to
set beside the fit. Files are removed when they are done with. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from synthetic import write

SIZES = ((1e6, 1), (1e7, 1), (1e7, 10), (1e8, 1), (1e8, 10))
ASKED = ((2e9, 200), (7e10, 560), (1e12, 1000))
WAYS = ("measure --spectrum none", "measure", "prune --scope global")
RUN = """
import json, shutil, sys, time
from pathlib import Path
import torch
from prunable.nets.archive import open_archive
from prunable.nets.measure.measuring import measure
from prunable.nets.prune.plan import Keep
from prunable.nets.prune.strategies import MagnitudePruning
from prunable.nets.prune.streaming import Streaming

torch.set_num_threads(1)
folder, way, times = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])

def memory(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith(key)) * 1024

def prune():
    with open_archive(folder) as archive:
        streaming = Streaming(archive, MagnitudePruning(), Keep(0.5, scope="global"))
        streaming.prune(folder.with_name("pruned"), {"format": "pt"})
    shutil.rmtree(folder.with_name("pruned"))

def measured(**options):
    return lambda: measure(folder, workers=1, **options)

ways = [measured(spectrum="none"), measured(), prune]
measure({"w": torch.randn(300, 300).bfloat16()})
seconds, extra = [], []
for _ in range(times):
    Path("/proc/self/clear_refs").write_text("5")
    started, before = time.process_time(), memory("VmRSS")
    ways[way]()
    seconds.append(time.process_time() - started)
    extra.append(memory("VmHWM") - before)
print("RESULT", json.dumps([min(seconds), max(extra)]))
"""


def cost(
    folder: Path, weights: float, layers: int, times: int, shards: int = 1
) -> list[list[float]]:
    """Seconds and bytes of each way, on a checkpoint that is made for it."""
    write(folder, weights, layers, shards=shards)
    found = []
    for way in range(len(WAYS)):
        command = [sys.executable, "-c", RUN, folder, str(way), str(times)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        line = next(x for x in done.stdout.splitlines() if x.startswith("RESULT"))
        found.append(json.loads(line.removeprefix("RESULT")))
    shutil.rmtree(folder)
    return found


def main() -> None:
    """Measure all sizes and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--large", type=float, default=0)
    options = parser.parse_args()
    found = []
    for weights, layers in SIZES:
        found.append(cost(options.folder / "model", weights, layers, 3))
        print(f"measured {weights:.0e} weights in {layers} layers", file=sys.stderr)
    seconds, extra = np.moveaxis(np.array(found), -1, 0)
    sizes = np.array([(layers, weights) for weights, layers in SIZES])
    # relative errors: every row counts the same
    fits = [np.linalg.lstsq(sizes / y[:, None], np.ones(len(y)))[0] for y in seconds.T]
    worst = [float(abs(sizes @ fit / y - 1).max()) for fit, y in zip(fits, seconds.T, strict=True)]

    def row(*cells: object) -> None:
        print("|", " | ".join(map(str, cells)), "|")

    row("weights", "layers", *(f"`{way}`" for way in WAYS), "MiB, in this order")
    row(*["---"] * (len(WAYS) + 3))

    def power(weights: float) -> str:
        return f"{weights:.0e}".replace("+", "").replace("e0", "e")

    for (weights, layers), times, sizes_of in zip(SIZES, seconds, extra, strict=True):
        memory = ", ".join(f"{x / 2**20:.0f}" for x in sizes_of)
        row(power(weights), layers, *(f"{t:.3g}" for t in times), memory)
    row("a layer", "", *(f"{fit[0]:.2g}" for fit in fits), "")
    row("a weight", "", *(f"{fit[1]:.2g}" for fit in fits), "")
    for weights, layers in ASKED:
        times = [np.dot(fit, (layers, weights)) for fit in fits]
        row(f"{power(weights)}, by the fit", layers, *(f"{t:.3g}" for t in times), "")
    if options.large:
        times, sizes_of = np.array(cost(options.folder / "model", options.large, 200, 1, 4)).T
        memory = ", ".join(f"{x / 2**20:.0f}" for x in sizes_of)
        row(f"{power(options.large)}, measured", 200, *(f"{t:.3g}" for t in times), memory)
    print("\nThe fit is within", ", ".join(f"{x:.0%}" for x in worst), "of the rows above it.")


if __name__ == "__main__":
    main()
