"""Figures and tables of the experiments on dynamics; everything drawn is in the document."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console

from prunable.files import write_bytes
from prunable.report.figures import PALETTE, PAPER, SIZE, STYLE, as_svg, space_ticks
from prunable.report.tables import Table, table

Document = dict[str, Any]

RATE_COLUMNS = (
    "what",
    "alpha",
    "size",
    "exponent",
    "95 % interval",
    "last local slope",
    "theorem",
    "finding",
)


def draw_panel(axes: Axes, panel: dict[str, Any]) -> None:
    """Draw one panel of `EXPERIMENT.json`: lines, points with error bars, and grey guides."""
    color = iter(PALETTE * 4)
    last = PALETTE[0]
    for one in panel["series"]:
        style = one["style"]
        if style == "guide":
            axes.plot(one["x"], one["y"], ":", color=PAPER, lw=1.2, label=one["label"])
            continue
        paired = style == "line" and panel["scale"] == "linear"
        last = last if paired else next(color)
        marker = "" if paired else "o"
        line = "none" if style == "points" else "-"
        axes.plot(one["x"], one["y"], line, marker=marker, ms=4, color=last, label=one["label"])
        if "low" in one:
            axes.vlines(one["x"], one["low"], one["high"], color=last, lw=1)
    if panel["scale"] == "log":
        axes.set(xscale="log", yscale="log")
    axes.set(xlabel=panel["x_label"], ylabel=panel["y_label"], title=panel["title"])
    for axis in (axes.xaxis, axes.yaxis):
        space_ticks(axis)
    axes.legend(fontsize=8)


def save_panels(document: Document, path: Path | str) -> None:
    """Write all panels of an experiment, below each other, as an SVG file, atomically.

    Raises InputError if the file cannot be written.
    """
    panels = document["panels"]
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(SIZE[0], SIZE[1] * len(panels)), layout="constrained")
        places = drawn.subplots(len(panels), 1, squeeze=False)[:, 0]
        for axes, panel in zip(places, panels, strict=True):
            draw_panel(axes, panel)
    write_bytes(path, as_svg(drawn))


def tables(document: Document) -> list[Table]:
    """Fitted exponents beside the theorems', and the experiment's own table; none is empty."""
    rates = table(RATE_COLUMNS, map(_rate_cells, document["rates"]))
    rows = [[_cell(value) for value in row] for row in document["table"]["rows"]]
    own = table(document["table"]["columns"], rows)
    return [one for one in (rates, own) if one.rows]


def render(document: Document, console: Console) -> None:
    """Print fitted exponents, the table and the notes."""
    for one in tables(document):
        one.print(console)
    for note in document["notes"]:
        console.print(f"- {note}", highlight=False)


def markdown(document: Document, title: str) -> str:
    """The same as a Markdown page."""
    name, settings = document["experiment"], document["settings"]
    parts = [f"# {title}", f"![{title}]({name}.svg)"]
    if document["rates"]:
        parts.append(
            f"Noise {settings['noise']}, {settings['activation']}, {settings['loss']} loss; "
            f"{settings['seeds']} seeds, one regression each."
        )
    parts += [one.markdown().rstrip("\n") for one in tables(document)]
    parts.append("\n".join(f"- {note}" for note in document["notes"]))
    return "\n\n".join(parts) + "\n"


def _rate_cells(rate: dict[str, Any]) -> list[str]:
    return [
        rate["name"],
        f"{rate['alpha']:g}",
        rate["size"],
        f"{rate['exponent']:.3f}",
        f"{rate['low']:.3f} to {rate['high']:.3f}",
        f"{rate['local_slopes'][-1]:.3f} ± {rate['local_stderr'][-1]:.3f}",
        f"{'≤ ' if rate['claim'] == 'upper bound' else ''}{rate['theorem']:.3f}",
        rate["agreement"],
    ]


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
