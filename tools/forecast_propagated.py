"""Measure forecasts at speed propagated beside exact ones and outcomes; fit their error.

Usage:
    python tools/forecast_propagated.py measure RUNS OUT.json [--draws 1] [NETWORK ...]
    python tools/forecast_propagated.py fit OUT.json

RUNS is the folder `runs` of a finished `prunable reproduce study-forecast --scale laptop`, whose
logits say what every copy does; the networks and pictures are those of the study. `measure` adds
what is missing to OUT.json: for each network and draw of 256 inputs the losses propagated, exact
and true, and seconds of the processor. `fit` writes the constants of `propagation_error` into
`model_error.json`, and prints the table: each network judged with the constants of the others.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.stats import spearmanr
from usage import typed

from prunable.experiments.prune.trained import TRAINED
from prunable.experiments.reproduce.document import Scale
from prunable.files import read_arrays, write_text
from prunable.forecast.estimators import forecast_curve
from prunable.forecast.forecasting import forecast
from prunable.forecast.study.item import SIZES, logits_specs
from prunable.forecast.study.logits import LOGITS, LogitsSpec
from prunable.numerics.randomness import rng

SCALE: Scale = "laptop"
INPUTS, SMALL = 256, 0.2
WAYS = ("magnitude/global", "magnitude/lamp", "magnitude/layer", "wanda/lamp", "unit/layer", "n:4")
CONSTANTS = Path("src/prunable/forecast/estimators/model_error.json")


def measured(specs: tuple[LogitsSpec, ...], runs: Path, draw: int) -> dict[str, Any]:
    """Losses of all copies of one network from one draw of inputs."""
    wanted = ("dense", "renewed", *WAYS)
    stored = {s.way: read_arrays(runs / s.run_id / LOGITS) for s in specs if s.way in wanted}
    size, labels = SIZES[SCALE], stored["dense"]["labels"]
    rest = slice(size.n_first, None)
    whole = {way: arrays["logits"].astype(np.float64) for way, arrays in stored.items()}
    dense, again = whole["dense"][0], whole["renewed"][0]
    accuracy = float((dense[rest].argmax(1) == labels[rest]).mean())
    first = np.arange(size.n_inputs, size.n_first)
    chosen = rng(0, "forecast", INPUTS, draw).choice(first, INPUTS, replace=False)
    spec = specs[0]
    trained = TRAINED[spec.network]
    x = torch.from_numpy(spec.dataset.load(flatten=False).x_test[: size.n_first].copy())
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in trained.moments)
    x = ((x / (255.0 if float(x.max()) > 1 else 1.0) - mean) / deviation)[chosen]
    start = time.process_time()
    model = trained.load(spec.digest)
    found = forecast(model, x, accuracy=accuracy, strategies=WAYS, speed="propagated")
    seconds = time.process_time() - start
    rows = []
    for curve, way in zip(found.curves, WAYS, strict=True):
        copies = whole[way]
        new = way.startswith("wanda") and bool((again != dense).any())
        known: dict[str, Any] = {"accuracy": accuracy, "renewed": again[chosen] if new else None}
        kappas = [point.kappa for point in curve.points]
        exact = forecast_curve(dense[chosen], list(copies[:, chosen]), kappas, **known)
        truth = accuracy - (copies[:, rest].argmax(2) == labels[rest]).mean(1)
        for point, other, loss in zip(curve.points, exact.points, truth, strict=True):
            assert point.low is not None
            assert point.high is not None
            inside = point.low <= accuracy - loss <= point.high
            rows.append(
                {
                    "way": way,
                    "kappa": point.kappa,
                    "loss": float(loss),
                    "propagated": point.loss,
                    "exact": other.loss,
                    "changed": 1 - (point.retention or 0.0),
                    "changed_exact": 1 - other.retention,
                    "covered": bool(inside),
                    "width": point.high - point.low,
                }
            )
    return {"network": spec.network, "draw": draw, "seconds": seconds, "rows": rows}


def fitted(errors: np.ndarray, changed: np.ndarray) -> tuple[float, float]:
    """The likeliest deviation of errors: whatever changes, and a changed decision."""

    def surprise(logs: np.ndarray) -> float:
        variance = np.exp(2 * logs[0]) + np.exp(2 * logs[1]) * changed**2
        return float((np.log(variance) + errors**2 / variance).sum())

    least, by_change = np.exp(minimize(surprise, np.log([0.003, 0.1]), method="Nelder-Mead").x)
    return float(least), float(by_change)


def ranks(rows: list[dict[str, Any]], key: str) -> list[float]:
    """Rank correlations of ways with the truth at each share where the best loses under 20 points.

    And where they differ by more than 2 points, which is beyond the noise of the truth.
    """
    found = []
    for kappa in sorted({row["kappa"] for row in rows}):
        here = [r for r in rows if r["kappa"] == kappa and ":" not in r["way"]]
        losses = [row["loss"] for row in here]
        if len(here) > 3 and min(losses) < SMALL and np.ptp(losses) > 0.02:
            found.append(float(spearmanr([row[key] for row in here], losses)[0]))
    return found


def main(arguments: list[str]) -> None:
    """See the usage."""
    if arguments[0] == "measure":
        runs, out = Path(arguments[1]), Path(arguments[2])
        draws = int(arguments[arguments.index("--draws") + 1]) if "--draws" in arguments else 1
        done = json.loads(out.read_text()) if out.exists() else []
        for draw in range(draws):
            for network, specs in logits_specs(SCALE).items():
                if any((one["network"], one["draw"]) == (network, draw) for one in done):
                    continue
                done.append(measured(specs, runs, draw))
                write_text(out, json.dumps(done, indent=1) + "\n")
                print(network, draw, f"{done[-1]['seconds']:.1f} s", flush=True)
        return
    report(json.loads(Path(arguments[1]).read_text()))


def report(done: list[dict[str, Any]]) -> None:
    """Fit on all networks, judge each with the others' constants, print a table."""
    names = list(dict.fromkeys(one["network"] for one in done))
    rows = {
        name: [r for one in done if one["network"] == name for r in one["rows"]] for name in names
    }

    def arrays(kept: list[str], truth: str) -> tuple[np.ndarray, np.ndarray]:
        some = [r for name in kept for r in rows[name]]
        key = "changed" if truth == "changed_exact" else "propagated"
        return np.array([r[key] - r[truth] for r in some]), np.array([r["changed"] for r in some])

    print("| network | error under 20 | exact | all | exact | ranks | exact | by mean loss |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    lines, inside = [], []
    for name in names:
        mine = rows[name]
        loss, told, exact = (
            np.array([r[k] for r in mine]) for k in ("loss", "propagated", "exact")
        )
        small = loss < SMALL
        parts = [
            abs(told - loss)[small],
            abs(exact - loss)[small],
            abs(told - loss),
            abs(exact - loss),
        ]
        numbers = [100 * float(part.mean()) for part in parts]
        of = [one["rows"] for one in done if one["network"] == name]
        numbers += [
            float(np.nanmean([r for x in of for r in ranks(x, k)])) for k in ("propagated", "exact")
        ]
        ways = [w for w in WAYS if ":" not in w]
        means = [
            [np.mean([r[k] for r in mine if r["way"] == w]) for w in ways]
            for k in ("propagated", "loss")
        ]
        numbers.append(float(spearmanr(means[0], means[1])[0]))
        others = [n for n in names if n != name]
        least, by_change = fitted(*arrays(others, "exact")) if others else (0.0, 0.0)
        errors, changed = arrays([name], "exact")
        z = abs(errors) / np.hypot(least, by_change * changed)
        inside.append(float((z < 1.645).mean()))
        lines.append(numbers)
        cells = [f"{x:.2f}" for x in numbers]
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"| all | {' | '.join(f'{x:.2f}' for x in np.mean(lines, axis=0))} |")
    print(
        f"within 90 % by the others' constants: {np.mean(inside):.1%}, at least {min(inside):.0%}"
    )
    least, by_change = fitted(*arrays(names, "exact"))
    kept = fitted(*arrays(names, "changed_exact"))[1]
    document = json.loads(CONSTANTS.read_text())
    document["propagated"] = {
        "least": round(least, 4),
        "accuracy": round(by_change, 3),
        "kept": round(kept, 3),
    }
    write_text(CONSTANTS, json.dumps(document, indent=1) + "\n")
    print(document["propagated"], "mean seconds", np.mean([one["seconds"] for one in done]))


if __name__ == "__main__":
    main(typed(__doc__, 2))
