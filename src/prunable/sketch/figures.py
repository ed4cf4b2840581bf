"""The phase diagram of sketch recovery, drawn from stored results."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prunable.report.figures import STYLE

WIDTH, HEIGHT = 4.0, 4.2  # inches of one panel
LINES = {"sketch_size": ("-", "chosen size"), "paper": (":", "(jn)^½ ln n")}


def draw_phase(axes: Axes, panel: dict[str, Any]) -> Any:
    """Draw the share of recovered matrices over j and m, and lines of sizes.

    Parameters
    ----------
    axes : Axes
    panel : dict
        `title`, `n`, `j` (increasing), `factors` (increasing), `share`, a list for each factor
        of the share recovered (None: not measured) for each j at m = factor sqrt(n j), and
        `lines`, from names in `LINES` to one m for each j.

    Returns
    -------
    QuadMesh
        The coloured cells, for a colour bar.
    """
    j = np.asarray(panel["j"], dtype=np.float64)
    factors = np.asarray(panel["factors"], dtype=np.float64)
    edges_j, edges_f = _edges(np.log2(j)), _edges(np.log2(factors))
    across = 2 ** np.broadcast_to(edges_j, (edges_f.size, edges_j.size))
    up = 2 ** edges_f[:, None] * np.sqrt(panel["n"] * across)
    share = np.asarray(panel["share"], dtype=np.float64)
    mesh = axes.pcolormesh(across, up, share, cmap="cividis", vmin=0, vmax=1)
    for name, (style, label) in LINES.items():
        if name in panel["lines"]:
            axes.plot(j, panel["lines"][name], style, color="#d55e00", label=label, linewidth=1.8)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set(
        xlabel="j, entries a row and column",
        ylabel="m",
        title=panel["title"],
        xlim=(2 ** edges_j[0], 2 ** edges_j[-1]),
    )
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(visible=False)
    if axes.lines:
        axes.legend(fontsize=8, loc="upper left")
    return mesh


def phase_figure(panels: list[dict[str, Any]]) -> Figure:
    """Draw several phase diagrams side by side, with one colour bar.

    Parameters
    ----------
    panels : list of dict
        As in `draw_phase`.

    Returns
    -------
    Figure
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH * len(panels), HEIGHT), layout="constrained")
        row = figure.subplots(1, len(panels), squeeze=False)[0]
        meshes = [draw_phase(axes, panel) for axes, panel in zip(row, panels, strict=True)]
        figure.colorbar(meshes[-1], ax=list(row), label="share recovered")
    return figure


def _edges(centres: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Borders half-way between centres; the outer cells are as wide as their neighbours."""
    if centres.size == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    middle = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])
