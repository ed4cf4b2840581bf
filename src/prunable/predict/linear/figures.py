"""Curves of predicted risks, with simulations and their error bars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prunable.files import write_bytes
from prunable.report.figures import PALETTE, PAPER, SIZE, STYLE, as_svg

NAMES = {
    "dense": "dense",
    "magnitude": "magnitude pruned",
    "hessian": "Hessian pruned",
    "oracle": "oracle pruned",
    "retrained": "retrained (magnitude)",
    "retrained_hessian": "retrained (Hessian)",
    "retrained_oracle": "retrained (oracle)",
    "retrained_same_data": "same data (magnitude)",
    "retrained_same_data_hessian": "same data (Hessian)",
    "retrained_same_data_oracle": "same data (oracle)",
}
AXES = {
    "width": "k, features trained on",
    "sparsity": "s, features kept",
    "sigma": "sigma, standard deviation of the noise",
    "samples": "n, samples",
}


def draw_curve(axes: Axes, document: dict[str, Any], title: str) -> None:
    """Draw one sweep.

    Parameters
    ----------
    axes : Axes
    document : dict
        `curve`, and `simulation` or nothing, as in `predict lgp --json`; `settings`.
    title : str
    """
    curve, simulation = document["curve"], document.get("simulation")
    shown = []
    for place, (name, values) in enumerate(curve["risk"].items()):
        color = PALETTE[place % len(PALETTE)]
        numbers = [float("nan") if value is None else value for value in values]
        shown += [value for value in values if value is not None]
        style = "--" if name.startswith("retrained") else "-"
        axes.plot(curve["points"], numbers, style, color=color, label=NAMES.get(name, name), lw=1.5)
        if simulation and name in simulation["mean"]:
            mean, error = (
                [float("nan") if x is None else x for x in simulation[part][name]]
                for part in ("mean", "standard_error")
            )
            axes.errorbar(
                simulation["points"], mean, yerr=error, fmt="o", ms=3, color=color, lw=1, capsize=2
            )
    _interpolation(axes, curve, document["settings"])
    if shown:
        # the peak at interpolation has no end: show what lies beside it
        ordered = sorted(shown)
        low, high = ordered[0], ordered[int(0.93 * (len(ordered) - 1))]
        axes.set_ylim(max(0.0, low - 0.15 * (high - low)), high + 0.25 * (high - low) + 1e-12)
    axes.set(
        xlabel=AXES.get(curve["variable"], curve["variable"]),
        ylabel="population risk, with sigma²",
        title=title,
    )
    axes.legend(fontsize=8)


def save_curve(document: dict[str, Any], title: str, path: Path) -> None:
    """Write a sweep as an SVG file, atomically.

    Parameters
    ----------
    document : dict
        As in `draw_curve`.
    title : str
    path : Path

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=SIZE, layout="constrained")
        draw_curve(drawn.subplots(), document, title)
    write_bytes(path, as_svg(drawn))


def _interpolation(axes: Axes, curve: dict[str, Any], settings: dict[str, Any]) -> None:
    """Lines at k = n, where the dense risk has no bound, and at k = s."""
    if curve["variable"] != "width":
        return
    for x, text in ((settings["n"], " k = n"), (settings["s"], " k = s")):
        axes.axvline(x, color=PAPER, linestyle=":", linewidth=1)
        axes.text(
            x,
            0.99,
            text,
            fontsize=7,
            color="#555555",
            transform=axes.get_xaxis_transform(),
            va="top",
        )
