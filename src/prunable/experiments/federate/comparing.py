"""Federated runs compared with dense FedAvg, as one JSON document."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from prunable.data.partition import class_counts
from prunable.errors import InputError, RunsFailedError
from prunable.experiments.federate.flower import run_flower
from prunable.experiments.federate.rounds import Federation, Row, federate
from prunable.experiments.federate.specs import FederatedSpec
from prunable.files import write_json
from prunable.runs.backends import Backend
from prunable.runs.runner import OnDone, run_all
from prunable.runs.store import Store

LAST = 3  # rounds whose accuracies are averaged, to be rid of the noise of a single one
FEWER_BYTES, POINTS = 4.0, 1.0


def compare_methods(
    specs: Sequence[FederatedSpec],
    out: Path | str,
    *,
    backend: Backend | None = None,
    on_done: OnDone | None = None,
) -> Row:
    """Run methods on the same clients, and write `federated.json`, see `federated_document`.

    Raises InputError if there is no spec, or they differ in more than the method; RunsFailedError
    if all clients of a run diverge. The specs differ in the method alone; the first is the
    reference, dense FedAvg. What an interrupted or shorter run left in `out`, the folder of a
    `Store`, is gone on from.
    """
    _shared_settings(specs)
    out = Path(out)
    results = run_all(specs, Store(out), backend=backend, on_done=on_done)
    for result in results:
        if result["status"] != "done":
            raise RunsFailedError(f"{result['id']}: {result['reason']}")
    document = federated_document(specs, [result["rows"] for result in results], federate(specs[0]))
    write_json(out / "federated.json", document)
    return document


def compare_under_flower(
    specs: Sequence[FederatedSpec], out: Path | str, *, on_done: OnDone | None = None
) -> Row:
    """Do as `compare_methods` with Flower carrying the messages; nothing else is stored.

    Raises InputError if Flower is not installed.
    """
    _shared_settings(specs)
    runs = []
    for spec in specs:
        runs.append(run_flower(spec))
        if on_done is not None:
            on_done(spec, {"rows": runs[-1]})
    document = federated_document(specs, runs, federate(specs[0]))
    write_json(Path(out) / "federated.json", document)
    return document


def federated_document(
    specs: Sequence[FederatedSpec], runs: Sequence[Sequence[Row]], federation: Federation
) -> Row:
    """Put rows and their comparison with the first run into one document.

    Raises InputError if there is no run, or specs differ in more than the method. The document
    holds settings; clients, their numbers of examples by class; and runs, each with method, rows
    and summary: accuracy (mean of the last 3 rounds, test set), accuracy_last, bytes_up_round
    (mean), fewer_bytes (the reference's over its own), points_below (the reference's accuracy less
    its own, in percent), holds (at least 4 times fewer bytes and at most 1 point below), diverged
    (local trainings that diverged). The specs differ in the method alone, the first is the
    reference; `runs` are rows of `run_rounds`, as many for each.
    """
    settings = _shared_settings(specs)
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
        "settings": settings,
        "rounds": len(runs[0]),
        "required": {"fewer_bytes": FEWER_BYTES, "points": POINTS},
        "clients": class_counts(federation.y.numpy(), federation.parts).tolist(),
        "runs": documents,
    }


def _shared_settings(specs: Sequence[FederatedSpec]) -> dict[str, Any]:
    settings = [spec.model_dump(mode="json", exclude={"method", "rounds"}) for spec in specs]
    same = settings and all(other == settings[0] for other in settings)
    if not same or len({spec.rounds for spec in specs}) > 1:
        raise InputError("Federated runs that are compared must differ in the method alone.")
    return settings[0]


def _summary(rows: Sequence[Row]) -> dict[str, Any]:
    return {
        "accuracy": fmean(row["accuracy"] for row in rows[-LAST:]),
        "accuracy_last": rows[-1]["accuracy"],
        "bytes_up_round": fmean(row["bytes_up"] for row in rows),
        "error": fmean(row["error"] for row in rows),
        "diverged": sum(len(row["diverged"]) for row in rows),
    }
