"""Federated runs from stored results: accuracy against bytes, drawn and in tables."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prunable.data.registry import REGISTRY
from prunable.files import write_bytes
from prunable.report.figures import PALETTE, PAPER, SIZE, STYLE, as_svg, legend_below, space_ticks
from prunable.report.tables import Column, Table, as_percent, table

MEGA = 1e6
MARKERS = "osD^vPX"


def draw_bytes(axes: Axes, document: dict[str, Any]) -> None:
    """Draw the test accuracy against the bytes uploaded so far, a curve a method.

    Parameters
    ----------
    document : Of `prunable simulate federated`.
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
    space_ticks(axes.xaxis)


def draw_cost(axes: Axes, document: dict[str, Any]) -> None:
    """Draw the loss of accuracy against the saving in bytes, a point a method.

    Parameters
    ----------
    document : As in `draw_bytes`.
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
    axes.axvline(required["fewer_bytes"], color=PAPER, linestyle=":", linewidth=1)
    axes.axhline(-required["points"], color=PAPER, linestyle=":", linewidth=1)
    axes.set(
        xscale="log",
        xlabel="fewer bytes uploaded a round than dense FedAvg, times",
        ylabel="accuracy less that of dense FedAvg, points",
        title="What fewer bytes cost",
    )
    axes.xaxis.set_major_formatter("{x:g}")
    space_ticks(axes.xaxis)


def federated_figure(documents: Sequence[dict[str, Any]]) -> Figure:
    """Draw both panels for each partition.

    Parameters
    ----------
    documents : One a partition.
    """
    with mpl.rc_context(STYLE):
        size = (SIZE[0], 2 * SIZE[1] * len(documents) + 1)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(2 * len(documents), 1, squeeze=False)[:, 0]
        for place, document in enumerate(documents):
            draw_bytes(panels[2 * place], document)
            draw_cost(panels[2 * place + 1], document)
        legend_below(figure, panels[0])
    return figure


def save_federated_figure(documents: Sequence[dict[str, Any]], path: Path | str) -> None:
    """Write the figure as SVG, atomically.

    Raises InputError if the file cannot be written.
    """
    write_bytes(path, as_svg(federated_figure(documents)))


def title_of(document: dict[str, Any]) -> str:
    """Data, clients and partition in a few words."""
    settings = document["settings"]
    name = settings["dataset"]["name"]
    data = REGISTRY[name].label if name in REGISTRY else name
    shares = (
        "classes alike (iid)"
        if settings["partition"] == "iid"
        else f"classes unlike (Dirichlet, {settings['concentration']:g})"
    )
    return f"{data}, {settings['clients']} clients, {shares}"


def federated_table(document: dict[str, Any]) -> Table:
    """Accuracy and bytes of every method beside dense FedAvg."""
    required = document["required"]
    rows = [
        (
            run["method"]["label"],
            as_percent(run["summary"]["accuracy"], 2),
            f"{run['summary']['points_below']:+.2f}",
            f"{run['summary']['bytes_up_round']:,.0f}",
            f"{run['summary']['fewer_bytes']:.2f}",
            "yes" if run["summary"]["holds"] else "no",
        )
        for run in document["runs"]
    ]
    return table(
        (
            "clients send",
            "accuracy, %",
            "points below dense",
            "bytes a round",
            "fewer bytes, times",
            Column("holds", words=True),
        ),
        rows,
        title=f"{title_of(document)}, {document['rounds']} rounds",
        notes=(
            f"holds: at least {required['fewer_bytes']:g} times fewer bytes uploaded, "
            f"at most {required['points']:g} point below dense FedAvg",
        ),
    )


def compressibility_table(document: dict[str, Any]) -> Table:
    """Errors of keeping a tenth of the first client's update and model, means over rounds."""
    names = ("update_weights", "update_units", "model_weights", "model_units")
    rows = []
    for run in document["runs"]:
        found = [row["compressibility"] for row in run["rows"] if row["compressibility"]]
        means = []
        for name in names:
            values = [row[name] for row in found if row[name] is not None]
            means.append(f"{sum(values) / len(values):.3f}" if values else "")
        rows.append((run["method"]["label"], *means))
    titles = [" of the ".join(reversed(name.split("_"))) for name in names]
    return table(("clients send", *titles), rows)


def federated_markdown(document: dict[str, Any]) -> str:
    """Both tables and the clients' classes in Markdown."""
    shown = federated_table(document)
    width = max(len(str(count)) for row in document["clients"] for count in row) + 1
    counts = ["".join(f"{count:>{width}}" for count in row) for row in document["clients"]]
    return (
        f"### {shown.title}\n\n{shown.markdown()}\n{' '.join(shown.notes)}.\n\n"
        "Relative l2 error of keeping a tenth, mean over rounds, of the first client:\n\n"
        f"{compressibility_table(document).markdown()}\n"
        "Examples of each class (columns) at each client (rows):\n\n"
        + "\n".join(["```", *counts, "```", ""])
    )
