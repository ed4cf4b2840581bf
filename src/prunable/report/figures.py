"""What all figures share: colours, style, and how one becomes a file."""

import io
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

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
# Below this quotient of its ends a logarithmic axis has too few powers of ten to go by.
FEW_DECADES, ONE_DECADE, PART_OF_A_DECADE = 100.0, 15.0, 4.0
SIZE = (5.6, 4.2)  # of a panel; panels stand below each other, legible on a phone
# What readers who prefer dark pages see instead; paper stays white.
DARK = {
    "#ffffff": "#1c2126",
    "#000000": "#e6e9ec",
    "#e4e4e4": "#333b44",
    "#cccccc": "#333b44",
    "#555555": "#a3adb8",
    "#0072b2": "#6f7bf7",
}
_DARKENED = "".join(
    f'[style*="{what}: {light}"] {{{what}: {dark} !important}}'
    for light, dark in DARK.items()
    for what in ("fill", "stroke")
)
_STYLES = (
    f"<style>@media screen and (prefers-color-scheme: dark) "
    f"{{.drawn {{fill: {DARK['#000000']}}} {_DARKENED}}}</style>"
)


def as_svg(drawn: Figure, name: str = "") -> bytes:
    """A figure as SVG, which follows a reader's dark scheme; equal figures give equal bytes.

    name : Its class beside `drawn`, where several stand in one page: their parts differ then.
    """
    stream = io.BytesIO()
    with mpl.rc_context(STYLE | {"svg.hashsalt": f"prunable{name}"}):
        drawn.savefig(stream, format="svg", metadata={"Date": None})
    start, tag, rest = stream.getvalue().decode().partition("<svg ")
    attributes, end, content = rest.partition(">")
    classes = f"drawn {name}".rstrip()
    return f'{start}{tag}class="{classes}" {attributes}{end}{_STYLES}{content}'.encode()


def space_ticks(axis: Axis) -> None:
    """On a short logarithmic axis label few multiples only: Matplotlib's would overlap."""
    low, high = axis.get_view_interval()
    if axis.get_scale() != "log" or high >= FEW_DECADES * low:
        return
    if high < PART_OF_A_DECADE * low:
        axis.set_major_locator(MaxNLocator(4))
    else:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < ONE_DECADE * low else (1, 3)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def legend_below(drawn: Figure, axes: Axes, columns: int = 2) -> None:
    """One legend below the panels, of what stands in these; their names do not hide lines."""
    handles, labels = axes.get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower left", fontsize=9, ncols=columns)
