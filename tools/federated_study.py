"""Measure accuracy against bytes uploaded by federated clients on MNIST.

Usage: python tools/federated_study.py docs/federated [WORK]

Writes `mnist.json`, `mnist.md` and `mnist.svg`; 14 runs of 20 rounds of 10 clients, about 40
seconds of one core each. What is finished is kept in WORK (default: OUT/work), so that an
interrupted study goes on. Seeds are fixed.
"""

from __future__ import annotations

from pathlib import Path

from usage import typed

from prunable.data.registry import registered
from prunable.experiments.federate.comparing import compare_methods
from prunable.experiments.federate.specs import FederatedSpec, standard_methods
from prunable.files import write_json, write_text
from prunable.report.simulate.federated import federated_markdown, save_federated_figure
from prunable.report.terminal import counted

PARTITIONS = ("iid", "dirichlet")


def specs(partition: str, dataset: str = "mnist", rounds: int = 20) -> list[FederatedSpec]:
    """The runs of one partition, dense FedAvg first."""
    return [
        FederatedSpec.create(dataset=dataset, partition=partition, rounds=rounds, method=method)
        for method in standard_methods(kappa=0.1, noise="type1", alpha=1.8, sigma=3e-4)
    ]


def main(out: Path, work: Path, dataset: str = "mnist", rounds: int = 20) -> None:
    """Do the missing runs, then write what they say."""
    runs = {partition: specs(partition, dataset, rounds) for partition in PARTITIONS}
    todo = [spec for part in runs.values() for spec in part]
    with counted("runs", len(todo)) as done:
        documents = [compare_methods(part, work, on_done=done) for part in runs.values()]
    found = {"partitions": dict(zip(PARTITIONS, documents, strict=True))}
    write_json(out / f"{dataset}.json", found)
    text = "".join(federated_markdown(document) + "\n" for document in documents)
    write_text(
        out / f"{dataset}.md",
        f"# Federated clients on {registered(dataset).label}\n\n"
        f"Written by `tools/federated_study.py`; {len(todo)} runs.\n\n{text}",
    )
    save_federated_figure(documents, out / f"{dataset}.svg")


if __name__ == "__main__":
    folder, *work = map(Path, typed(__doc__, 1, 2))
    main(folder, work[0] if work else folder / "work")
