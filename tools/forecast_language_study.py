"""Forecasts of a language model's perplexity after pruning, tested on other windows of its text.

`python tools/forecast_language_study.py MODEL VALID TEST OUT [--windows 48] [--dtype bfloat16]`
prunes a folder of transformers or a GGUF file in three ways to five shares, and runs each copy on
windows spread over TEST; ways that go by inputs see the first windows of VALID. Then 8 of the
windows are drawn again and again, from which the log-perplexity on the rest is forecast, the dense
model's there being known. OUT receives study.json, which another call goes on from, study.md and
study.svg. `--only magnitude,wanda` leaves ways out, `--tables` only judges what was run.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from stored_study import begun

from prunable.files import write_bytes, write_json, write_text
from prunable.forecast.estimators import forecast_curve
from prunable.forecast.logits import Copies
from prunable.forecast.texts import Text, calls_for, first_windows, language_model, spread_windows
from prunable.forecast.ways import LANGUAGE, LANGUAGE_KEEPS, way_named
from prunable.numerics.randomness import rng
from prunable.report.figures import PALETTE, STYLE, as_svg

GIVEN = 8  # windows that forecasts are made from
COLUMNS = ("forecast", "by laws", "by tokens", "plain mean")


def run(asked: argparse.Namespace, place: Path, document: dict[str, Any]) -> None:
    """Run the model and its copies on all windows; every copy is stored when it is done."""
    windows = spread_windows(asked.model, asked.test, asked.length, asked.windows)
    dense = language_model(asked.model)
    other = first_windows(asked.model, asked.valid, asked.length, asked.calibrated)
    text = Text.of(dense.to(getattr(torch, asked.dtype)), windows)
    if "dense" not in document["figures"]:
        document["figures"]["dense"] = text.scores(dense).tolist()
        write_json(place, document)
    copies = Copies(language_model(asked.model), text, calls_for(dense, other))
    for keep in (0.6, 0.4, 0.8, 0.5, 0.7):
        for name in LANGUAGE:
            label = f"{name} {keep:g}"
            if label in document["figures"] or name.partition("/")[0] not in asked.only:
                continue
            copy = copies.pruned(way_named(name), keep).model.to(getattr(torch, asked.dtype))
            document["figures"][label] = text.scores(copy).tolist()
            write_json(place, document)


def judged(
    dense: NDArray[np.float64], copy: NDArray[np.float64], draws: int
) -> dict[str, float | list[float]]:
    """Errors of forecasts from a few windows against the rest, relative to what comes there."""
    generator = rng(0, "forecast", "language")
    errors, inside, widths, truths = [], [], [], []
    for _ in range(draws):
        order = generator.permutation(len(dense))
        some, rest = order[:GIVEN], order[GIVEN:]
        known, truth = float(dense[rest, 0].mean()), float(copy[rest, 0].mean())
        options: dict[str, Any] = {"accuracy": known, "kind": "language"}
        (point,) = forecast_curve(dense[some], [copy[some]], [0.5], **options).points
        value, low, high = (float(x or 0.0) for x in (point.value, point.low, point.high))
        parts = (float(x or 0.0) for x in (point.laws, point.tokens))
        found = (value, *parts, float(copy[some, 0].mean()))
        errors.append([abs(x - truth) / truth for x in found])
        # what comes is a mean over few windows as well, of which intervals know nothing
        wide = np.sqrt(1 + GIVEN / len(rest))
        inside.append(abs(truth - value) <= wide * (high - low) / 2)
        widths.append((high - low) / truth)
        truths.append(truth)
    return {
        "truth": float(np.mean(truths)),
        "errors": np.mean(errors, axis=0).tolist(),
        "covered": float(np.mean(inside)),
        "width": float(np.mean(widths)),
        "change": float((copy[:, 0] - dense[:, 0]).mean()),
        "laws": float((copy[:, 3] - dense[:, 3]).mean()),
    }


def tables(document: dict[str, Any], draws: int) -> dict[str, Any]:
    """What is judged of every copy that was run, by name."""
    figures = {name: np.array(rows) for name, rows in document["figures"].items()}
    dense = figures.pop("dense")
    keys = [f"{name} {keep:g}" for name in LANGUAGE for keep in LANGUAGE_KEEPS]
    return {key: judged(dense, figures[key], draws) for key in keys if key in figures}


def page(document: dict[str, Any]) -> str:
    """The table of all copies, and what holds over them."""
    lines = [
        f"| copy | log-perplexity | change | by laws | {' | '.join(f'{c}, %' for c in COLUMNS)} | "
        "in the 90 % interval, % | its width, % |",
        "|---|" + "---:|" * (5 + len(COLUMNS)),
    ]
    for name, row in document["judged"].items():
        errors = " | ".join(f"{100 * x:.2f}" for x in row["errors"])
        numbers = f"{row['truth']:.3f} | {row['change']:.3f} | {row['laws']:.3f} | {errors}"
        lines.append(f"| {name} | {numbers} | {row['covered']:.0%} | {100 * row['width']:.1f} |")
    rows = list(document["judged"].values())
    mean = " | ".join(f"{100 * x:.2f}" for x in np.mean([row["errors"] for row in rows], axis=0))
    covered = f"{np.mean([row['covered'] for row in rows]):.0%}"
    width = f"{100 * np.mean([row['width'] for row in rows]):.1f}"
    lines.append(f"| mean of {len(rows)} | | | | {mean} | {covered} | {width} |")
    return "\n".join([*lines, ""])


def figure(document: dict[str, Any]) -> Figure:
    """Log-perplexity that came, and intervals of forecasts around it, by share and way."""
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(7.0, 4.2), layout="constrained")
        axes = drawn.add_subplot()
        for place, name in enumerate(LANGUAGE):
            rows = {float(k.split()[1]): v for k, v in document["judged"].items() if name in k}
            if rows:
                x, found = list(rows), list(rows.values())
                truth = [row["truth"] for row in found]
                half = [row["width"] * row["truth"] / 2 for row in found]
                axes.errorbar(x, truth, half, capsize=4, color=PALETTE[1 + place], label=name)
        axes.set(
            xlabel="kappa: share kept of weights",
            ylabel="log-perplexity (nats a token)",
            title=f"What comes, with the width of forecasts from {GIVEN} windows",
        )
        axes.legend(fontsize=8)
    return drawn


def main() -> None:
    """Run the study, or judge what was run."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("model", "valid", "test", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--windows", type=int, default=48)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--calibrated", type=int, default=16, help="Windows of VALID.")
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--only", default="magnitude,wanda,obs")
    parser.add_argument("--tables", action="store_true")
    asked = parser.parse_args()
    asked.only = asked.only.split(",")
    asked.out.mkdir(parents=True, exist_ok=True)
    place = asked.out / "study.json"
    fresh = {
        "model": asked.model.name,
        "windows": asked.windows,
        "length": asked.length,
        "calibrated": asked.calibrated,
        "dtype": asked.dtype,
        "figures": {},
    }
    document = begun(place, fresh, "figures")
    if not asked.tables:
        run(asked, place, document)
    document["judged"] = tables(document, asked.draws)
    write_json(place, document)
    write_text(asked.out / "study.md", page(document))
    write_bytes(asked.out / "study.svg", as_svg(figure(document)))


if __name__ == "__main__":
    main()
