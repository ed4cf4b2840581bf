"""Put the certificates of `prunable reproduce study-certificates` into the documentation.

    prunable reproduce study-certificates --scale paper --out study
    python tools/publish_certificates.py study docs/certify [SCALE]

OUT receives certificates with their code files, results.jsonl and results.md; of runs that are not
done it keeps what it has.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any, get_args

from usage import typed

from prunable.certify.statements import above
from prunable.certify.study import CERTIFICATE, CERTIFICATES, CertifySpec, measure
from prunable.experiments.reproduce.document import Scale
from prunable.files import read_json, write_json, write_text
from prunable.report.tables import Column, Table, as_percent, table
from prunable.runs.execution import EXECUTION
from prunable.runs.store import Store, read_result

SHARES = {"train_error": "train error", "test_error": "test error"}
BOUNDS = {
    "bound": "certified",
    "bound_with_permutations": "with permutations",
    "held_out_bound": "by test set",
}


def publish(source: Path, target: Path, scale: Scale = "paper") -> None:
    """Copy certificates and code files under the names of their runs, and sum them up."""
    store, rows, path = Store(source), [], target / "results.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    published = {identity(row): row for row in map(json.loads, lines)}
    for spec in CERTIFICATES.plan(scale, "paper").runs.values():
        assert isinstance(spec, CertifySpec)
        folder = store.folder(spec)
        result = read_result(folder, spec)
        if result is None or result["status"] != "done":
            labels = "random" if spec.random_labels else "true"
            kept = published.get((spec.data.name, labels, spec.seed))
            rows += [kept] if kept else []
            continue
        rows.append(row(spec, result, read_json(folder / EXECUTION)["seconds"]))
        label = "random" if spec.random_labels else f"seed{spec.seed}"
        path = target / f"{spec.data.name}-{label}.json"
        document = read_json(folder / CERTIFICATE)
        document["statement"]["file"] = path.with_suffix(".code").name
        write_json(path, document)
        code = (folder / CERTIFICATE).with_suffix(".code")
        shutil.copyfile(code, path.with_suffix(".code"))
    write_text(target / "results.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write_text(target / "results.md", summary(rows).markdown())


def identity(row: dict[str, Any]) -> tuple[str, str, int]:
    """What a line is about."""
    return row["dataset"], row["labels"], row["seed"]


def row(spec: CertifySpec, result: dict[str, Any], seconds: float) -> dict[str, Any]:
    """What the table shows of one run."""
    found = dict(measure(spec, result))
    del found["guessing"]
    return {
        "dataset": spec.data.name,
        "labels": "random" if spec.random_labels else "true",
        "seed": spec.seed,
        "net": result["notes"]["network"],
        **found,
        "vacuous": result["statement"]["vacuous"],
        "minutes": seconds / 60,
    }


def summary(rows: list[dict[str, Any]]) -> Table:
    """One line a run."""
    words = [Column(name, words=True) for name in ("data", "labels")]
    net = Column("net (weights)", words=True)
    return table(
        [
            *words,
            "seed",
            net,
            "kept",
            "bits",
            *SHARES.values(),
            *BOUNDS.values(),
            "vacuous",
            "minutes",
        ],
        [
            (
                r["dataset"],
                r["labels"],
                str(r["seed"]),
                f"{r['net']} ({r['weights']:,})",
                f"{r['kept']:,}",
                f"{r['bits']:,}",
                *(f"{as_percent(r[key], 2)} %" for key in SHARES),
                *(above(r[key]).replace("%", " %") for key in BOUNDS),  # never in their favour
                "yes" if r["vacuous"] else "no",
                f"{r['minutes']:.1f}",
            )
            for r in rows
        ],
    )


def main(source: str, target: str, scale: str = "paper") -> None:
    """Publish, or say how to call."""
    for known in get_args(Scale):
        if scale == known:
            publish(Path(source), Path(target), known)
            return
    sys.exit(__doc__)


if __name__ == "__main__":
    main(*typed(__doc__, 2, 3))
