"""Accuracy against bytes of federated runs, drawn from stored results."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prunable.files import write_bytes
from prunable.report.figures import PALETTE, SIZE, STYLE, as_svg

MEGA = 1e6
MARKERS = "osD^vPX"


def draw_bytes(axes: Axes, document: dict[str, Any]) -> None:
    """Draw the test accuracy against the bytes uploaded so far, a curve a method.

    Parameters
    ----------
    document : dict
        Of `prunable simulate federated`.
    """
    for i, run in enumerate(document["runs"]):
        sent = list(accumulate(row["bytes_up"] / MEGA for row in run["rows"]))
        axes.plot(
            sent,
            [100 * row["accuracy"] for row in run["rows"]],
            color=PALETTE[i % len(PALETTE)],
            linestyle="-" if i < len(PALETTE) else "--",
            marker=MARKERS[i % len(MARKERS)],
            ms=3,
            linewidth=1.2,
            label=run["method"]["label"],
        )
    axes.set(
        xscale="log",
        xlabel="uploaded by all clients so far, MB",
        ylabel="test accuracy, %",
        title=title_of(document),
    )
    axes.xaxis.set_major_formatter("{x:g}")
    axes.legend(fontsize=7, loc="lower right")


def draw_cost(axes: Axes, document: dict[str, Any]) -> None:
    """Draw the loss of accuracy against the saving in bytes, a point a method.

    Parameters
    ----------
    document : dict
        As in `draw_bytes`.
    """
    required = document["required"]
    for i, run in enumerate(document["runs"]):
        summary = run["summary"]
        axes.plot(
            summary["fewer_bytes"],
            -summary["points_below"],
            MARKERS[i % len(MARKERS)],
            color=PALETTE[i % len(PALETTE)],
            fillstyle="full" if i < len(PALETTE) else "none",
            ms=6,
            label=run["method"]["label"],
        )
    axes.axvline(required["fewer_bytes"], color="#8a8a8a", linestyle=":", linewidth=1)
    axes.axhline(-required["points"], color="#8a8a8a", linestyle=":", linewidth=1)
    axes.set(
        xscale="log",
        xlabel="fewer bytes uploaded a round than dense FedAvg, times",
        ylabel="accuracy less that of dense FedAvg, points",
        title="What fewer bytes cost",
    )
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.legend(fontsize=7, loc="best")


def federated_figure(documents: Sequence[dict[str, Any]]) -> Figure:
    """Draw both panels for each partition.

    Parameters
    ----------
    documents : sequence of dict
        One a partition.
    """
    with mpl.rc_context(STYLE):
        size = (2 * SIZE[0], SIZE[1] * len(documents))
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(documents), 2, squeeze=False)
        for (left, right), document in zip(grid, documents, strict=True):
            draw_bytes(left, document)
            draw_cost(right, document)
    return figure


def save_federated_figure(documents: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the figure as SVG, atomically.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    write_bytes(path, as_svg(federated_figure(documents)))


def title_of(document: dict[str, Any]) -> str:
    """Data, clients and partition in a few words."""
    settings = document["settings"]
    shares = (
        "iid"
        if settings["partition"] == "iid"
        else f"Dirichlet({settings['concentration']:g}) classes"
    )
    return f"{settings['dataset']}, {settings['clients']} clients, {shares}"
