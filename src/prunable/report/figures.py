"""What all figures share: colours, style, and how one becomes a file."""

import io
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

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


def as_svg(drawn: Figure) -> bytes:
    """A figure as SVG; equal figures give equal bytes."""
    stream = io.BytesIO()
    with mpl.rc_context(STYLE):
        drawn.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()
