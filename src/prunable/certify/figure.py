"""Every bound of a network on one logarithmic axis."""

import math
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from prunable.files import write_bytes
from prunable.report.figures import PALETTE, PAPER, STYLE, as_svg

_PATHS = {
    "anywhere": "network, held-out examples, any share",
    "compression": "quantised network, training examples, any share",
}
_ROW = 0.28  # inches a bound


def bounds_figure(document: dict[str, Any]) -> Figure:
    """Draw the bounds on risks of a document of `prunable certify --json`.

    A point for every bound; filled if it certifies more than guessing, hollow if it is vacuous,
    with a cross if an assumption is violated.
    """
    rows = [b for b in document["bounds"] if b["quantity"] == "risk"]
    rows.sort(key=_log10, reverse=True)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 1.4 + _ROW * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        for place, bound in enumerate(rows):
            color = PALETTE[2] if bound["certifies"] else PAPER
            violated = any(a["status"] == "violated" for a in bound["assumptions"])
            axes.plot(
                _log10(bound),
                place,
                "X" if violated else "o",
                color=color,
                markersize=6,
                markerfacecolor=color if bound["certifies"] else "white",
            )
        axes.axvline(math.log10(document["guessing"]), color=PALETTE[3], linewidth=1)
        axes.set_yticks(range(len(rows)), [_label(bound) for bound in rows], fontsize=8)
        axes.set(
            xlabel="log10 of the bound on the error; the line is guessing",
            title=f"{len(rows)} bounds, n = {document['n']:,}, delta = {document['delta']:g}",
        )
    return figure


def write_bounds_figure(document: dict[str, Any], path: Path | str) -> None:
    """Write `bounds_figure` as SVG, or `path_figure` of a document with a path.

    The same document gives the same bytes.
    """
    drawn = bounds_figure if document.get("path") is None else path_figure
    write_bytes(path, as_svg(drawn(document)))


def path_figure(document: dict[str, Any]) -> Figure:
    """Draw the errors of a path and the band under which all of them lie, by the share kept.

    Lines are bounds of a document of `prunable certify --path N --json`, the points errors that
    were counted; the band is between the errors and the bound of all networks of the path.
    """
    path = document["path"]
    rows = path["rows"]
    kappas = [row["kappa"] for row in rows]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.2), layout="constrained")
        axes = figure.add_subplot()
        for place, (size, errors, whole, others) in enumerate(
            (
                ("n", "errors", "anywhere", ("held_out", "envelope")),
                ("coded_n", "coded_errors", "compression", ()),
            )
        ):
            if not path[size]:
                continue
            color, names = PALETTE[place], {"held_out": "grid of shares", "envelope": "envelope"}
            found = [row[errors] / path[size] for row in rows]
            high = [row[whole] for row in rows]
            axes.fill_between(kappas, found, high, color=color, alpha=0.15, linewidth=0)
            axes.plot(kappas, high, color=color, label=_PATHS[whole])
            axes.plot(kappas, found, "o", color=color, markersize=3)
            for other, style in zip(others, ("--", ":"), strict=False):
                line = [row[other] for row in rows]
                axes.plot(kappas, line, style, color=color, label=names[other])
        axes.axhline(document["guessing"], color=PALETTE[3], linewidth=1)
        axes.set(
            xlabel="kappa, share of weights kept",
            ylabel="error, and bounds on it",
            ylim=(0, 1),
            title=f"All shares at once, delta = {path['delta']:g}; the line is guessing",
        )
        axes.legend(loc="center right")
    return figure


def _log10(bound: dict[str, Any]) -> float:
    if bound["log_value"] is None:
        return -6.0 if bound["value"] == 0 else 400.0
    return float(bound["log_value"]) / math.log(10)


def _label(bound: dict[str, Any]) -> str:
    about = f", {bound['about']}" if bound["about"] else ""
    return f"{bound['name']}{about}"[:70]
