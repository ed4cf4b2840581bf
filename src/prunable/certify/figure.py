"""Every bound of a network on one logarithmic axis."""

import math
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from prunable.files import write_bytes
from prunable.report.figures import PALETTE, PAPER, STYLE, as_svg

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
    """Write `bounds_figure` as SVG, the same bytes for the same document."""
    write_bytes(path, as_svg(bounds_figure(document)))


def _log10(bound: dict[str, Any]) -> float:
    if bound["log_value"] is None:
        return -6.0 if bound["value"] == 0 else 400.0
    return float(bound["log_value"]) / math.log(10)


def _label(bound: dict[str, Any]) -> str:
    about = f", {bound['about']}" if bound["about"] else ""
    return f"{bound['name']}{about}"[:70]
