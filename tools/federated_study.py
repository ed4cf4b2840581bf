"""Measure accuracy against bytes uploaded by federated clients on MNIST.

Usage: python tools/federated_study.py docs/federated [WORK]

Writes `mnist.json`, `mnist.md` and `mnist.svg`; 14 runs of 20 rounds of 10 clients, about 40
seconds of one core each, two at a time. What is finished is kept in WORK (default: OUT/work), so
that an interrupted study goes on. Seeds are fixed.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from prunable.experiments.federate.federated import run_federated
from prunable.experiments.federate.federated_results import compare_methods
from prunable.experiments.federate.federated_specs import FederatedSpec, standard_methods
from prunable.files import read_json, write_json, write_text
from prunable.report.simulate.federated_figures import save_federated_figure
from prunable.report.simulate.federated_tables import federated_markdown
from prunable.runs.store import Store

ROUNDS, WORKERS = 20, 2
PARTITIONS = ("iid", "dirichlet")


def specs(partition: str) -> list[FederatedSpec]:
    """The runs of one partition, dense FedAvg first."""
    return [
        FederatedSpec.create(dataset="mnist", partition=partition, method=method)
        for method in standard_methods(kappa=0.1, noise="type1", alpha=1.8, sigma=3e-4)
    ]


def run(spec: FederatedSpec, work: Path) -> float:
    """One run; the seconds of processor time it took, 0 if it was finished."""
    torch.set_num_threads(1)
    seconds = work / f"{spec.run_id}.json"
    if not seconds.exists():
        start = time.process_time()
        run_federated(spec, ROUNDS, Store(work).folder(spec))
        write_json(seconds, time.process_time() - start)
    return float(read_json(seconds))


def main(out: Path, work: Path) -> None:
    """Do the missing runs, then write what they say."""
    todo = [spec for pair in zip(*map(specs, PARTITIONS), strict=True) for spec in pair]
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(run, spec, work) for spec in todo]
        seconds = [future.result() for future in track(futures, "runs")]
    documents: list[dict[str, Any]] = [
        compare_methods(specs(partition), ROUNDS, work) for partition in PARTITIONS
    ]
    write_json(
        out / "mnist.json",
        {"partitions": dict(zip(PARTITIONS, documents, strict=True)), "cpu_seconds": sum(seconds)},
    )
    text = "".join(federated_markdown(document) + "\n" for document in documents)
    minutes = sum(seconds) / 60
    write_text(
        out / "mnist.md",
        "# Federated clients on MNIST\n\nWritten by `tools/federated_study.py`; "
        f"{len(todo)} runs, {minutes:.1f} minutes of processor time in all.\n\n{text}",
    )
    save_federated_figure(documents, out / "mnist.svg")


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    main(folder, Path(sys.argv[2]) if len(sys.argv) == 3 else folder / "work")
