"""Brings a specification to its stored result, with everything that it builds on."""

import os
import pkgutil
import platform
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any

import numpy as np
import torch

from prunable.files import write_json
from prunable.runs.devices import described, devices_of, processor
from prunable.runs.spec import Spec
from prunable.runs.store import Run, Store, read_result, write_result

# Where long stages keep what they need to go on after being killed.
CHECKPOINT = "checkpoint.safetensors"
# How a run was computed: time, device, versions. It differs between machines; results do not.
EXECUTION = "execution.json"

Result = dict[str, Any]


def execute(spec: Spec, store: Store, *, device: str = "auto") -> Result:
    """Bring one run, and the runs it builds on, to its stored result.

    Other runners may share the store: each run is computed by one of them, and one that is done
    is read, not repeated. The device ("auto", or a name of torch's) is recorded, but no part of
    the run's identity. The result has id, spec, status ("done" or "diverged"), reason, and what
    the stage found.
    """
    return execute_batch([spec], store, device=device)[0]


def execute_batch(specs: Sequence[Spec], store: Store, *, device: str = "auto") -> list[Result]:
    """As `execute`: one run, or several of one `batch_key`, computed together."""
    missing = [spec for spec in specs if stored(spec, store) is None]
    inputs = {part.run_id: part for spec in missing for part in spec.inputs()}
    broken = {
        run_id: result
        for run_id, part in inputs.items()
        if (result := execute(part, store, device=device))["status"] != "done"
    }
    with ExitStack() as held:
        # In one order everywhere, so that two runners cannot wait for each other.
        for spec in sorted(missing, key=lambda spec: spec.run_id):
            held.enter_context(store.run_locked(spec))
        # Another runner may have finished some while this one waited.
        missing = [spec for spec in missing if stored(spec, store) is None]
        ready = []
        for spec in missing:
            causes = [broken[part.run_id] for part in spec.inputs() if part.run_id in broken]
            if causes and not spec.tolerates_failed_inputs:
                cause = {key: causes[0][key] for key in ("status", "reason")}
                write_result(store.folder(spec), spec, cause)
            else:
                ready.append(spec)
        if ready:
            place = devices_of(device)[0]
            compute_runs(ready, [Run(store, store.folder(spec), place) for spec in ready])
    return [Run(store, store.folder(spec)).result(spec) for spec in specs]


def compute_runs(specs: Sequence[Spec], runs: Sequence[Run]) -> list[Result]:
    """Call the stage, together where the runs have a `batch_key`, and store what it finds."""
    started = time.monotonic()
    if specs[0].batch_key() is not None:
        # Also for one: what a run finds shall not depend on its company.
        rows: list[Result] = pkgutil.resolve_name(specs[0].batch_stage)(specs, runs)
    else:
        pairs = zip(specs, runs, strict=True)
        rows = [pkgutil.resolve_name(spec.stage)(spec, run) for spec, run in pairs]
    seconds = time.monotonic() - started
    results = []
    for spec, run, row in zip(specs, runs, rows, strict=True):
        write_json(run.folder / EXECUTION, _execution(seconds, len(specs), run.device))
        results.append(write_result(run.folder, spec, {"status": "done", "reason": "", **row}))
        (run.folder / CHECKPOINT).unlink(missing_ok=True)
    return results


def _execution(seconds: float, together: int, device: str) -> dict[str, Any]:
    """How runs were computed; `seconds` of wall time since the last interruption."""
    return {
        "seconds": round(seconds, 2),
        "runs_together": together,
        "device": described(device),
        "threads": torch.get_num_threads(),
        "processors": os.cpu_count(),
        "processor": processor(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def stored(spec: Spec, store: Store) -> Result | None:
    """Stored result of a run, or None; clears what a process killed just after it left."""
    folder = store.folder(spec)
    result = read_result(folder, spec)
    if result is not None:
        with suppress(OSError):  # the store may be read only
            (folder / CHECKPOINT).unlink(missing_ok=True)
    return result
