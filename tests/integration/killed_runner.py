"""Runs a small sweep in children that are killed at random moments; prints what came of it.

Called by test_reproduction_engine.py. A process of its own: it forks, which is safe only
while it has one thread.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from prunable.experiments.prune.specs import EvaluateSpec
from prunable.experiments.train.specs import TrainSpec
from prunable.runs.backends import SerialBackend
from prunable.runs.runner import run_all
from prunable.runs.store import Store

KILLS = 24


def specs():
    """Six networks, and two prunings of each."""
    noise = {"noise": "type2", "alpha": 1.7, "sigma": 0.1}
    trained = [
        TrainSpec.create(dataset="digits", width=60, steps=700, lr=0.003, seed=s, **noise)
        for s in range(6)
    ]
    return [
        EvaluateSpec.create(train=train, tolerance=tolerance, eps=(0.1, 0.5), keep=(0.3, 1.0))
        for train in trained
        for tolerance in (0.1, 0.3)
    ]


def sweep(root):
    """The whole sweep, in this process."""
    return run_all(specs(), Store(root), backend=SerialBackend(), batch=1)


def finished(root):
    """Finished runs and when they were finished."""
    return {p.parent.name: p.stat().st_mtime_ns for p in root.glob("runs/*/result.json")}


def main(root):
    torch.set_num_threads(1)
    moments = random.Random(7)
    started = time.monotonic()
    reference = sweep(root / "whole")
    seconds = time.monotonic() - started
    broken, kills, recomputed, in_training = root / "killed", 0, 0, 0
    known = {}
    while kills < KILLS:
        child = os.fork()
        if child == 0:
            sweep(broken)
            os._exit(0)
        # Most moments lie before the next run's end, some just after the start.
        time.sleep(moments.uniform(0.0, 0.12) * seconds)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            kills += 1
            in_training += any(broken.glob("runs/*/checkpoint.safetensors"))
        now = finished(broken)
        recomputed += sum(now.get(run, 0) != when for run, when in known.items())
        known = now
        if len(now) == len(finished(root / "whole")):
            # It got through: begin anew elsewhere, until there were enough kills.
            broken, known = root / f"killed-{kills}", {}
    left = sweep(broken)
    recomputed += sum(finished(broken)[run] != when for run, when in known.items())

    def files(folder):
        return {
            str(path.relative_to(folder)): path.read_bytes().hex()
            for path in sorted((folder / "runs").rglob("*"))
            if path.is_file() and path.name != "execution.json"
        }

    sys.stdout.write(
        json.dumps(
            {
                "kills": kills,
                "with_checkpoint": in_training,
                "recomputed": recomputed,
                "same_rows": left == reference,
                "same_files": files(broken) == files(root / "whole"),
                "names": sorted({Path(name).name for name in files(broken)}),
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
