"""Figures of predicted risks: lines, with markers and error bars for what was measured."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prunable.files import write_bytes
from prunable.predict.tables import LABELS, NAMES
from prunable.report.figures import PALETTE, PAPER, SIZE, STYLE, as_svg, legend_below, space_ticks

Rows = Sequence[dict[str, Any]]

COLORS = dict(zip(LABELS, PALETTE, strict=False))
AXES = {
    "width": "k, features trained on",
    "sparsity": "s, features kept",
    "sigma": "sigma, standard deviation of the noise",
    "samples": "n, samples",
}
MOST_PANELS = 4


def curve_figure(document: dict[str, Any], title: str) -> Figure:
    """Draw one sweep: `curve`, `settings` and maybe `simulation` of `predict lgp --json`."""
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(SIZE[0], 1.15 * SIZE[1]), layout="constrained")
        axes = drawn.subplots()
        _draw_curve(axes, document, title)
        legend_below(drawn, axes)
    return drawn


def risk_figure(points: Rows, title: str) -> Figure:
    """Draw the points of `predict rf --json` or `predict features --json`.

    Risk against width, a panel a number kept (at most four); against the number kept if there
    is one width.
    """
    widths = sorted({row["width"] for row in points})
    panels: list[tuple[str, str, list[dict[str, Any]]]]
    if len(widths) == 1:
        panels = [(f"{widths[0]} features", "s", list(points))]
    else:
        sizes = sorted({row["s"] for row in points})[:MOST_PANELS]
        panels = [(f"{s} kept", "width", [r for r in points if r["s"] == s]) for s in sizes]
    with mpl.rc_context(STYLE):
        height = SIZE[1] * (0.3 + 0.7 * len(panels))
        drawn = Figure(figsize=(SIZE[0], height), layout="constrained")
        axes = np.atleast_1d(drawn.subplots(len(panels), 1, sharey=True, sharex=True))
        for ax, (name, key, rows) in zip(axes, panels, strict=True):
            _draw_risks(ax, rows, key)
            ax.set(title=name, yscale="log", ylabel="risk, noise included")
            space_ticks(ax.yaxis)
        axes[-1].set_xlabel(
            "features before pruning" if panels[0][1] == "width" else "features kept"
        )
        legend_below(drawn, axes[-1])
        drawn.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return drawn


def save(drawn: Figure, path: Path | str) -> None:
    """Write a figure as SVG, atomically."""
    write_bytes(path, as_svg(drawn))


def draw_line(ax: Axes, rows: Rows, key: str, color: str, label: str) -> None:
    """Draw `predicted` as a line, and `simulated` as markers where there are any."""
    x = [row[key] for row in rows]
    predicted = _numbers(row["predicted"] for row in rows)
    ax.plot(x, predicted, color=color, label=label, marker="_" if len(x) == 1 else None, ms=14)
    measured = _numbers(row["simulated"] for row in rows)
    if np.isfinite(measured).any():
        error = np.nan_to_num(_numbers(row["simulated_stderr"] for row in rows))
        ax.errorbar(x, measured, yerr=error, fmt="o", color=color, ms=3.5, capsize=2)


def _draw_curve(axes: Axes, document: dict[str, Any], title: str) -> None:
    curve, simulation = document["curve"], document.get("simulation")
    shown: list[float] = []
    for place, (name, values) in enumerate(curve["risk"].items()):
        color = PALETTE[place % len(PALETTE)]
        shown += [value for value in values if value is not None]
        style = "--" if name.startswith("retrained") else "-"
        x, label = curve["points"], NAMES.get(name, name)
        axes.plot(x, _numbers(values), style, color=color, label=label, lw=1.5)
        if simulation and name in simulation["mean"]:
            mean, error = (_numbers(simulation[part][name]) for part in ("mean", "standard_error"))
            axes.errorbar(
                simulation["points"], mean, yerr=error, fmt="o", ms=3, color=color, lw=1, capsize=2
            )
    if curve["variable"] == "width":
        # at k = n the dense risk has no bound
        _mark(axes, {letter: document["settings"][letter] for letter in "ns"})
    if shown:
        # the peak at interpolation has no end: show what lies beside it
        ordered = sorted(shown)
        low, high = ordered[0], ordered[int(0.93 * (len(ordered) - 1))]
        axes.set_ylim(max(0.0, low - 0.15 * (high - low)), high + 0.25 * (high - low) + 1e-12)
    axes.set(
        xlabel=AXES.get(curve["variable"], curve["variable"]), ylabel="population risk, with sigma²"
    )
    axes.set_title(title, pad=30 if curve["variable"] == "width" else None)


def _mark(axes: Axes, places: Mapping[str, float]) -> None:
    """Name widths above the panel, one line each, so that no name covers another or a curve."""
    where, (low, high) = axes.get_xaxis_transform(), axes.get_xlim()
    for row, x in enumerate(sorted(set(places.values()))):
        names = " = ".join(["k", *(name for name, value in places.items() if value == x)])
        side = "right" if x > (low + high) / 2 else "left"
        text = f"{names} " if side == "right" else f" {names}"
        axes.plot(
            [x, x], [0, 1.06 + 0.06 * row], ":", color=PAPER, lw=1, transform=where, clip_on=False
        )
        axes.text(x, 1.06 + 0.06 * row, text, fontsize=9, transform=where, va="top", ha=side)


def _draw_risks(ax: Axes, rows: list[dict[str, Any]], key: str) -> None:
    for model, label in LABELS.items():
        flat = [
            {
                key: row[key],
                "predicted": row["risk"].get(model),
                "simulated": row.get("measured", {}).get(model),
                "simulated_stderr": row.get("measured_stderr", {}).get(model),
            }
            for row in sorted(rows, key=lambda row: row[key])
        ]
        draw_line(ax, flat, key, COLORS[model], label)


def _numbers(values: Iterable[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]
