"""Figures of the demonstration, drawn on figure objects without global state."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prunable.files import write_bytes
from prunable.report.demo.results import ConditionResults, Results

# Okabe and Ito's colours, told apart by colour-blind readers; black is the reference.
PALETTE = ("#000000", "#56b4e9", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
PAPER = "#8a8a8a"
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.hashsalt": "prunable",
}
SIZE = (6.4, 4.2)

Draw = Callable[[Axes, Results], None]


def draw_norm_histograms(axes: Axes, results: Results) -> None:
    """Draw the norms of the hidden units, one outline a condition."""
    for color, condition in _colored(results):
        histogram = condition.norm_histogram
        if histogram.counts:
            axes.stairs(
                histogram.counts, histogram.edges, color=color, label=condition.label, linewidth=1.4
            )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="norm of a hidden unit's incoming weights",
        ylabel="units, all seeds",
        title="Noise gives few units very large norms",
    )
    axes.set_ylim(bottom=0.7)
    axes.legend(fontsize=8)


def draw_kappa_curves(axes: Axes, results: Results) -> None:
    """Draw the kept share that a relative error allows, with the range over seeds."""
    for color, condition in _colored(results):
        curves = condition.curves
        if curves.kappa_mean:
            axes.plot(curves.eps, curves.kappa_mean, color=color, label=condition.label)
            axes.fill_between(
                curves.eps, curves.kappa_min, curves.kappa_max, color=color, alpha=0.12, lw=0
            )
    for eps, name in ((0.1, "Frobenius criterion"), (0.1**0.5, "squared criterion")):
        axes.axvline(eps, color=PAPER, linestyle=":", linewidth=1)
        axes.text(eps, 0.02, f" {name}", rotation=90, fontsize=7, color="#555555", ha="right")
    axes.set(
        xscale="log",
        ylim=(0, 1.02),
        xlabel="eps, relative error allowed",
        ylabel="kappa, share of units kept",
        title="Heavier noise needs fewer units at equal error",
    )
    axes.legend(fontsize=8, loc="lower left")


def draw_accuracy_curves(axes: Axes, results: Results) -> None:
    """Draw the test accuracy against the kept share, with the range over seeds."""
    for color, condition in _colored(results):
        curves = condition.curves
        if curves.test_accuracy_mean:
            axes.plot(
                curves.keep,
                curves.test_accuracy_mean,
                color=color,
                label=condition.label,
                ms=3,
                marker="o",
            )
            axes.fill_between(
                curves.keep,
                curves.test_accuracy_min,
                curves.test_accuracy_max,
                color=color,
                alpha=0.12,
                lw=0,
            )
    axes.set(
        xscale="log",
        xlabel="kappa, share of units kept",
        ylabel="test accuracy",
        title="What pruning costs at equal size",
    )
    axes.legend(fontsize=8, loc="lower right")


def draw_pruning_ratios(axes: Axes, results: Results) -> None:
    """Draw the pruning ratio under the squared criterion: seeds, mean, and the paper's."""
    for place, (color, condition) in enumerate(_colored(results)):
        found = condition.summary.get("pruning_ratio_squared")
        if found is not None:
            values = [100 * value for value in found.values]
            axes.plot([place - 0.15] * len(values), values, "o", color=color, ms=4, alpha=0.55)
            axes.plot([place - 0.3, place], [100 * found.mean] * 2, color=color, linewidth=2.5)
        paper = condition.paper.values.get("pruning_ratio_squared") if condition.paper else None
        if paper is not None:
            axes.errorbar(
                place + 0.22,
                100 * paper.mean,
                yerr=100 * (paper.std or 0),
                fmt="s",
                ms=5,
                color=PAPER,
                capsize=3,
            )
    if any(condition.paper for condition in results.conditions):
        axes.plot([], [], "s", color=PAPER, label="paper, mean ± std")
    axes.plot([], [], "o", color="black", alpha=0.55, label="our seeds")
    axes.plot([], [], color="black", linewidth=2.5, label="our mean")
    axes.set_xticks(
        range(len(results.conditions)),
        [condition.label.replace(", ", ",\n") for condition in results.conditions],
        fontsize=8,
    )
    axes.set(ylabel="pruned units, %", ylim=(0, 100), title="Units pruned at squared error ≤ 0.1")
    axes.grid(axis="x", visible=False)
    axes.legend(fontsize=8, loc="upper left")


FIGURES: dict[str, tuple[Draw, str]] = {
    "pruning_ratios": (
        draw_pruning_ratios,
        "Share of hidden units that can be removed while the squared relative error stays "
        "at most 0.1; beside each condition the paper's mean and standard deviation.",
    ),
    "norm_histograms": (
        draw_norm_histograms,
        "Histogram of the Euclidean norms of the hidden units' incoming weights.",
    ),
    "kappa_curves": (
        draw_kappa_curves,
        "Smallest share of units kept against the relative error allowed; bands span the seeds.",
    ),
    "accuracy_curves": (
        draw_accuracy_curves,
        "Test accuracy against the share of units kept; bands span the seeds.",
    ),
}


def figure(name: str, results: Results) -> Figure:
    """One figure by its name in `FIGURES`."""
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=SIZE, layout="constrained")
        FIGURES[name][0](drawn.subplots(), results)
    return drawn


def overview(results: Results) -> Figure:
    """All figures on one sheet."""
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(2 * SIZE[0], 2 * SIZE[1]), layout="constrained")
        for axes, (draw, _) in zip(drawn.subplots(2, 2).flat, FIGURES.values(), strict=True):
            draw(axes, results)
    return drawn


def as_svg(drawn: Figure) -> bytes:
    """A figure as SVG; equal figures give equal bytes."""
    stream = io.BytesIO()
    with mpl.rc_context(STYLE):
        drawn.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def save_figures(results: Results, folder: Path) -> list[Path]:
    """Write every figure as SVG, and the overview as PNG, atomically.

    Parameters
    ----------
    results : Results
    folder : Path

    Returns
    -------
    list of Path

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    paths = []
    for name in FIGURES:
        paths.append(folder / f"{name}.svg")
        write_bytes(paths[-1], as_svg(figure(name, results)))
    stream = io.BytesIO()
    overview(results).savefig(stream, format="png", dpi=110, metadata={"Software": None})
    paths.append(folder / "overview.png")
    write_bytes(paths[-1], stream.getvalue())
    return paths


def _colored(results: Results) -> list[tuple[str, ConditionResults]]:
    return list(zip(PALETTE, results.conditions, strict=False))
