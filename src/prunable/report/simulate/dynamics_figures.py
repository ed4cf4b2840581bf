"""Figures and tables of the experiments on dynamics; everything drawn is in the document."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table

from prunable.files import write_bytes
from prunable.report.figures import PALETTE, PAPER, SIZE, STYLE, as_svg

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
    """Draw one panel: lines, points with error bars, and grey guides.

    Parameters
    ----------
    axes : Axes
    panel : dict
        `title`, `x_label`, `y_label`, `scale` and `series`, as in `EXPERIMENT.json`.
    """
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
    axes.legend(fontsize=7)


def save_panels(document: dict[str, Any], path: Path) -> None:
    """Write all panels of an experiment side by side as an SVG file, atomically.

    Parameters
    ----------
    document : dict
        As `run_experiment` returns it.
    path : Path

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    panels = document["panels"]
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(0.8 * SIZE[0] * len(panels), SIZE[1]), layout="constrained")
        for axes, panel in zip(
            drawn.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
        ):
            draw_panel(axes, panel)
    write_bytes(path, as_svg(drawn))


def rate_cells(rate: dict[str, Any]) -> list[str]:
    """One fitted exponent as text, in the order of `RATE_COLUMNS`."""
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


def render(document: dict[str, Any], console: Console) -> None:
    """Print fitted exponents, the table and the notes.

    Parameters
    ----------
    document : dict
        As `run_experiment` returns it.
    console : Console
    """
    if document["rates"]:
        _print(RATE_COLUMNS, [rate_cells(rate) for rate in document["rates"]], console)
    if document["table"]["rows"]:
        rows = [[_cell(value) for value in row] for row in document["table"]["rows"]]
        _print(document["table"]["columns"], rows, console)
    for note in document["notes"]:
        console.print(f"- {note}", highlight=False)


def markdown(document: dict[str, Any], title: str) -> str:
    """The same as a Markdown page.

    Parameters
    ----------
    document : dict
        As `run_experiment` returns it.
    title : str

    Returns
    -------
    str
    """
    name, settings = document["experiment"], document["settings"]
    parts = [f"# {title}", f"![{title}]({name}.svg)"]
    if document["rates"]:
        parts.append(
            f"Noise {settings['noise']}, {settings['activation']}, {settings['loss']} loss; "
            f"{settings['seeds']} seeds, one regression each."
        )
        parts.append(_grid(RATE_COLUMNS, [rate_cells(rate) for rate in document["rates"]]))
    if document["table"]["rows"]:
        rows = [[_cell(value) for value in row] for row in document["table"]["rows"]]
        parts.append(_grid(document["table"]["columns"], rows))
    parts.append("\n".join(f"- {note}" for note in document["notes"]))
    return "\n\n".join(parts) + "\n"


def _grid(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines
    )


def _print(columns: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
