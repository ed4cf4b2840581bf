"""Every bound of a network on one logarithmic axis."""

import math
import textwrap
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from prunable.files import write_bytes
from prunable.report.figures import PALETTE, SIZE, STYLE, as_svg, legend_below

_PATHS = {
    "anywhere": "network, held-out examples, any share",
    "compression": "quantised network, training examples, any share",
}
_LINE = 0.155  # inches a line of a label
_WRAP = 32  # characters a line
# Of each kind of bound: its marker, whether it is filled, and what the legend says.
_LOOKS = {
    "certifies": ("o", True, "certifies more than guessing"),
    "vacuous": ("o", False, "vacuous"),
    "violated": ("X", False, "an assumption is violated"),
}
_INFINITE = (">", False, "infinite")


def bounds_figure(document: dict[str, Any]) -> Figure:
    """Draw the bounds on risks of a document of `prunable certify --json`.

    A point for every bound; filled if it certifies more than guessing, hollow if it is vacuous,
    with a cross if an assumption is violated. One that is infinite stands at the right end.
    """
    rows = [b for b in document["bounds"] if b["quantity"] == "risk"]
    rows.sort(key=_log10, reverse=True)
    labels = [textwrap.fill(_label(bound), _WRAP) for bound in rows]
    lines = [label.count("\n") + 1.6 for label in labels]
    places = list(accumulate(((a + b) / 2 for a, b in pairwise(lines)), initial=0.0))
    end = max([_log10(bound) for bound in rows if math.isfinite(_log10(bound))], default=0.0) + 1
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(SIZE[0], 2.0 + _LINE * sum(lines)), layout="constrained")
        axes = figure.add_subplot()
        for place, bound in zip(places, rows, strict=True):
            finite = math.isfinite(_log10(bound))
            marker, filled, said = _LOOKS[_kind(bound)] if finite else _INFINITE
            color = PALETTE[2] if filled else PALETTE[0]
            look: dict[str, Any] = {
                "color": color,
                "markersize": 7,
                "markerfacecolor": color if filled else "white",
            }
            at = min(_log10(bound), end)
            axes.plot(at, place, marker, linestyle="none", label=said, clip_on=False, **look)
        guessing = f"guessing, {document['guessing']:.0%} error"
        axes.axvline(math.log10(document["guessing"]), color=PALETTE[3], lw=1, label=guessing)
        axes.set_yticks(places[: len(rows)], labels, fontsize=9)
        axes.set_xscale("symlog", linthresh=1)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set(xlabel="log10 of the bound on the error", xlim=(None, 1.3 * end))
        axes.set_ylim(-1, places[-1] + 1)
        title = f"{len(rows)} bounds, n = {document['n']:,}, delta = {document['delta']:g}"
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=11)
        found = dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
        figure.legend(
            found.values(), found.keys(), loc="outside lower left", fontsize=9, ncols=2, numpoints=1
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
        figure = Figure(figsize=SIZE, layout="constrained")
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
        axes.axhline(document["guessing"], color=PALETTE[3], linewidth=1, label="guessing")
        axes.set(
            xlabel="kappa, share of weights kept",
            ylabel="error, and bounds on it",
            ylim=(0, 1),
            title=f"All shares at once, delta = {path['delta']:g}",
        )
        legend_below(figure, axes, columns=1)
    return figure


def _log10(bound: dict[str, Any]) -> float:
    if bound["log_value"] is None:
        return -6.0 if bound["value"] == 0 else math.inf
    return float(bound["log_value"]) / math.log(10)


def _kind(bound: dict[str, Any]) -> str:
    if any(assumption["status"] == "violated" for assumption in bound["assumptions"]):
        return "violated"
    return "certifies" if bound["certifies"] else "vacuous"


def _label(bound: dict[str, Any]) -> str:
    variant = f" ({bound['variant']})" if bound["variant"] != "paper" else ""
    about = f", {bound['about']}" if bound["about"] else ""
    return f"{bound['name']}{variant}{about}"
