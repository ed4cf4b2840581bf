"""Certificates of pruned, quantised networks on MNIST and Fashion-MNIST, and the control.

Run: python tools/certify_study.py OUT WORK [--seeds 3] [--data NAME ...]

WORK keeps one folder a run; a second call goes on where the first stopped. OUT receives
certificates with their code files, results.json and table.md.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from prunable.certify.study import CERTIFICATE, CertifySpec
from prunable.files import read_json, write_json, write_text
from prunable.runs.backends import SerialBackend
from prunable.runs.execution import EXECUTION
from prunable.runs.runner import run_all
from prunable.runs.store import Store

SETTINGS: dict[str, dict[str, Any]] = {
    "mnist": {"net": "c5-8,m4,c3-12,m2,d", "rate": 1.5e-4, "epochs": 16, "lr": 1.2e-2},
    "fashion-mnist": {"net": "c5-8,m4,c3-12,m2,d", "rate": 1.5e-4, "epochs": 16, "lr": 1.2e-2},
}


def specs(names: list[str], seeds: int) -> list[CertifySpec]:
    """Three seeds of each data set, then one control each on random labels."""
    true = [
        CertifySpec.create(data=name, seed=seed, **SETTINGS[name])
        for seed in range(seeds)
        for name in names
    ]
    controls = [
        CertifySpec.create(data=name, random_labels=True, **SETTINGS[name]) for name in names
    ]
    return true + controls


def row(spec: CertifySpec, result: dict[str, Any], seconds: float) -> dict[str, Any]:
    """What the table shows of one run."""
    statement, notes = result["statement"], result["notes"]
    train, test = statement["train"], statement["test"]
    return {
        "dataset": spec.data.name,
        "labels": "random" if spec.random_labels else "true",
        "seed": spec.seed,
        "net": notes["network"],
        "weights": notes["weights"],
        "kept": notes["kept"],
        "bits": statement["bits"],
        "float_train_error": result["latent_errors"] / train["n"],
        "train_error": train["errors"] / train["n"],
        "test_error": test["errors"] / test["n"],
        "bound": train["bound"],
        "bound_with_permutations": notes["bound_with_permutations"],
        "held_out_bound": test["bound"],
        "vacuous": statement["vacuous"],
        "minutes": seconds / 60,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown table of all runs."""
    lines = [
        "| data | labels | seed | net (weights) | kept | bits | train error | test error | "
        "**certified** | with permutations | by test set | vacuous | minutes |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        shares = [
            r[k]
            for k in (
                "train_error",
                "test_error",
                "bound",
                "bound_with_permutations",
                "held_out_bound",
            )
        ]
        train, test, bound, orders, held_out = (f"{100 * share:.2f} %" for share in shares)
        lines.append(
            f"| {r['dataset']} | {r['labels']} | {r['seed']} | {r['net']} ({r['weights']:,}) | "
            f"{r['kept']:,} | {r['bits']:,} | {train} | {test} | **{bound}** | {orders} | "
            f"{held_out} | {'yes' if r['vacuous'] else 'no'} | {r['minutes']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what is missing, and gather everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    given = parser.parse_args()
    store, rows = Store(given.work), []
    runs = specs(given.data, given.seeds)
    results = run_all(runs, store, backend=SerialBackend())
    for spec, result in zip(runs, results, strict=True):
        if result["status"] != "done":
            print(f"{spec.run_id}: {result['reason']}", flush=True)
            continue
        folder = store.folder(spec)
        rows.append(row(spec, result, read_json(folder / EXECUTION)["seconds"]))
        name = f"{spec.data.name}-{'random' if spec.random_labels else f'seed{spec.seed}'}"
        publish(folder, given.out / f"{name}.json")
    stem = "results" if len(given.data) == len(SETTINGS) else "-".join(given.data)
    write_json(given.out / f"{stem}.json", rows)
    write_text(given.out / f"{stem}.md", table(rows))


def publish(folder: Path, target: Path) -> None:
    """Copy a certificate and its code file under one name."""
    document = read_json(folder / CERTIFICATE)
    document["statement"]["file"] = target.with_suffix(".code").name
    write_json(target, document)
    shutil.copyfile((folder / CERTIFICATE).with_suffix(".code"), target.with_suffix(".code"))


if __name__ == "__main__":
    main()
