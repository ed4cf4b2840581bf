"""Figures of predicted and measured risks on random and on given features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prunable.files import write_bytes
from prunable.report.figures import PALETTE, SIZE, STYLE, as_svg

Rows = Sequence[dict[str, Any]]

LABELS = {
    "dense": "dense",
    "magnitude": "magnitude pruned",
    "hessian": "Hessian pruned",
    "oracle": "oracle pruned",
    "retrained": "retrained, fresh data",
    "retrained_same_data": "retrained, same data",
}
COLORS = dict(zip(LABELS, PALETTE, strict=False))
MOST_PANELS = 4


def risk_figure(points: Rows, title: str) -> Figure:
    """Draw predicted risks as lines, measured ones as markers with standard errors.

    Parameters
    ----------
    points : sequence of dict
        As in the JSON of `prunable predict rf` and `prunable predict features`.
    title : str

    Returns
    -------
    Figure
        Risk against width, a panel a number kept (at most four); against the number kept if
        there is one width.
    """
    widths = sorted({row["width"] for row in points})
    panels: list[tuple[str, str, list[dict[str, Any]]]]
    if len(widths) == 1:
        panels = [(f"{widths[0]} features", "s", list(points))]
    else:
        sizes = sorted({row["s"] for row in points})[:MOST_PANELS]
        panels = [(f"{s} kept", "width", [r for r in points if r["s"] == s]) for s in sizes]
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(max(SIZE[0], 4.0 * len(panels)), SIZE[1]), layout="constrained")
        axes = np.atleast_1d(drawn.subplots(1, len(panels), sharey=True))
        for ax, (name, key, rows) in zip(axes, panels, strict=True):
            _draw_risks(ax, rows, key)
            ax.set(
                title=name,
                yscale="log",
                xlabel="features before pruning" if key == "width" else "features kept",
            )
        axes[0].set_ylabel("risk, noise included")
        axes[-1].legend(fontsize=8)
        drawn.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return drawn


def save_feature_figures(document: dict[str, Any], folder: Path) -> list[Path]:
    """Write the figures of the study of random and real features.

    Parameters
    ----------
    document : dict
        What tools/predict_features_study.py measured.
    folder : Path

    Returns
    -------
    list of Path

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    real = document["real"]
    figures = {
        "rf-curve": curve_figure(document["curve"]),
        "rf-errors": error_figure(document["cells"]),
        **{
            f"features-{name}": risk_figure(
                real[name]["points"], f"{real[name]['label']}, n = {real[name]['n']}"
            )
            for name in ("mnist", "ecg5000")
        },
    }
    paths = []
    for name, drawn in figures.items():
        paths.append(folder / f"{name}.svg")
        write_bytes(paths[-1], as_svg(drawn))
    return paths


def curve_figure(curve: dict[str, Any]) -> Figure:
    """Draw risk against width for random features, retrained on fresh and on the same data."""
    shares = [point["s_over_n"] for point in curve["rows"][0]["points"]]
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(2 * SIZE[0], SIZE[1]), layout="constrained")
        panels = ("retrained", "retrained_same_data")
        axes = drawn.subplots(1, 2, sharey=True)
        for ax, model in zip(axes, panels, strict=True):
            series = [("dense", 0, PALETTE[0], "dense")]
            series += [
                (model, i, color, f"s/n = {share:g}")
                for i, (share, color) in enumerate(zip(shares, PALETTE[1:], strict=False))
            ]
            for name, place, color, label in series:
                rows = [
                    {
                        "p": row["p"],
                        **{
                            key: point[key][name]
                            for key in ("predicted", "simulated", "simulated_stderr")
                        },
                    }
                    for row in curve["rows"]
                    for point in [row["points"][place]]
                ]
                _line(ax, rows, "p", color, label)
            ax.axvline(curve["n"], color="#8a8a8a", linestyle=":", linewidth=1)
            ax.set(title=LABELS[model], xscale="log", yscale="log", xlabel="random features p")
        axes[0].set_ylabel("risk, noise included")
        axes[0].set_ylim(0.2, 8)
        axes[1].legend(fontsize=8)
    return drawn


def error_figure(cells: Rows) -> Figure:
    """Draw the error of predictions against the number of inputs, at p = 3 n and s = 0.3 n."""
    examples = sorted({cell["n"] for cell in cells})
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(4.0 * len(examples), SIZE[1]), layout="constrained")
        axes = np.atleast_1d(drawn.subplots(1, len(examples), sharey=True))
        for ax, n in zip(axes, examples, strict=True):
            rows = [
                cell
                for cell in cells
                if cell["n"] == n and cell["p_over_n"] == 3 and abs(cell["s_over_n"] - 0.3) < 0.02
            ]
            for model, label in LABELS.items():
                ax.errorbar(
                    [row["d"] for row in rows],
                    [row["error_percent"][model] for row in rows],
                    yerr=[row["stderr_percent"][model] for row in rows],
                    color=COLORS[model],
                    label=label,
                    marker="o",
                    ms=3,
                    capsize=2,
                )
            ax.axhline(0, color="#8a8a8a", linewidth=1)
            ax.set(title=f"n = {n}, p = {3 * n}", xscale="log", xlabel="inputs d")
        axes[0].set_ylabel("predicted over simulated, %")
        axes[-1].legend(fontsize=8)
    return drawn


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
        _line(ax, flat, key, COLORS[model], label)


def _line(ax: Axes, rows: Rows, key: str, color: str, label: str) -> None:
    """A predicted line, and measured markers where there are any."""
    x = [row[key] for row in rows]
    predicted = [_or_nan(row["predicted"]) for row in rows]
    ax.plot(x, predicted, color=color, label=label, marker="_" if len(x) == 1 else None, ms=14)
    measured = [_or_nan(row["simulated"]) for row in rows]
    if np.isfinite(measured).any():
        error = [_or_nan(row["simulated_stderr"]) for row in rows]
        ax.errorbar(x, measured, yerr=np.nan_to_num(error), fmt="o", color=color, ms=3.5, capsize=2)


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
