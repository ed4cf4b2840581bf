"""Federated runs compared with dense FedAvg, as one JSON document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from prunable.data.partition import class_counts
from prunable.errors import InputError
from prunable.experiments.federate.federated import Federation, Row, federate, run_federated
from prunable.experiments.federate.federated_specs import FederatedSpec
from prunable.runs.store import Store

LAST = 3  # rounds whose accuracies are averaged, to be rid of the noise of a single one
FEWER_BYTES, POINTS = 4.0, 1.0


def compare_methods(
    specs: Sequence[FederatedSpec],
    rounds: int,
    out: Path,
    *,
    on_round: Callable[[FederatedSpec, Row], None] | None = None,
) -> Row:
    """Run methods on the same clients, going on where an interrupted run stopped.

    Parameters
    ----------
    specs : sequence of FederatedSpec
        Differing in the method alone; the first is the reference, dense FedAvg.
    rounds : int
        >= 1.
    out : Path
        Folder of a `Store`.
    on_round : callable, optional
        Told each spec and row.

    Returns
    -------
    dict
        See `federated_document`.

    Raises
    ------
    InputError
        If there is no spec, or they differ in more than the method.
    """
    store = Store(out)
    federation: Federation | None = None
    runs = []
    for spec in specs:
        # every run starts from the same fresh weights
        federation = federate(spec)

        def told(row: Row, spec: FederatedSpec = spec) -> None:
            if on_round is not None:
                on_round(spec, row)

        runs.append(
            run_federated(spec, rounds, store.folder(spec), federation=federation, on_round=told)
        )
    if federation is None:
        raise InputError("`specs` of `compare_methods` must not be empty; name a method.")
    return federated_document(specs, runs, federation)


def federated_document(
    specs: Sequence[FederatedSpec], runs: Sequence[Sequence[Row]], federation: Federation
) -> Row:
    """Put rows and their comparison with the first run into one document.

    Parameters
    ----------
    specs : sequence of FederatedSpec
        Differing in the method alone; the first is the reference.
    runs : sequence of sequence of dict
        Rows of `run_federated`, as many for each.

    Returns
    -------
    dict
        settings; clients, their numbers of examples by class; and runs, each with method, rows
        and summary: accuracy (mean of the last 3 rounds, test set), accuracy_last,
        bytes_up_round (mean), fewer_bytes (the reference's over its own), points_below (the
        reference's accuracy less its own, in percent), holds (at least 4 times fewer bytes
        and at most 1 point below), diverged (local trainings that diverged).

    Raises
    ------
    InputError
        If there is no run, or specs differ in more than the method.
    """
    settings = [
        spec.model_dump(mode="json", exclude={"method"}) | {"dataset": spec.dataset.name}
        for spec in specs
    ]
    if not specs or any(other != settings[0] for other in settings):
        raise InputError("`specs` of `federated_document` must differ in the method alone.")
    reference = _summary(runs[0])
    documents = []
    for spec, rows in zip(specs, runs, strict=True):
        summary = _summary(rows)
        fewer = reference["bytes_up_round"] / summary["bytes_up_round"]
        below = 100 * (reference["accuracy"] - summary["accuracy"])
        summary |= {
            "fewer_bytes": fewer,
            "points_below": below,
            "holds": fewer >= FEWER_BYTES and below <= POINTS,
        }
        documents.append(
            {
                "method": spec.method.to_dict(),
                "run_id": spec.run_id,
                "summary": summary,
                "rows": list(rows),
            }
        )
    return {
        "schema_version": 1,
        "experiment": "federated",
        "settings": settings[0],
        "rounds": len(runs[0]),
        "required": {"fewer_bytes": FEWER_BYTES, "points": POINTS},
        "clients": class_counts(federation.y.numpy(), federation.parts).tolist(),
        "runs": documents,
    }


def _summary(rows: Sequence[Row]) -> dict[str, Any]:
    return {
        "accuracy": fmean(row["accuracy"] for row in rows[-LAST:]),
        "accuracy_last": rows[-1]["accuracy"],
        "bytes_up_round": fmean(row["bytes_up"] for row in rows),
        "error": fmean(row["error"] for row in rows),
        "diverged": sum(len(row["diverged"]) for row in rows),
    }
