"""Figures of reproduced items: our numbers, and the paper's as hollow marks."""

import hashlib
import io
import math
import textwrap
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from prunable.experiments.reproduce.document import ItemDocument
from prunable.report.figures import PALETTE, STYLE, as_svg, space_ticks
from prunable.report.reproduce.panels import Drawn, Numbers, View, item_views
from prunable.report.reproduce.words import SMOKE
from prunable.report.tables import printable

ACROSS = 2  # panels a row: with more, words cannot be read at 700 pixels
SIZE = (4.4, 3.5)
ROW_HEIGHT = 0.3
LEGEND_LINE = 0.19
TICKS: dict[Any, Any] = {"axes.formatter.min_exponent": 4}  # 0.01 and 100 in full
TITLE_WIDTH, TITLE_WIDTH_BESIDE_NAMES = 38, 30
MARKERS = "osv^Dx*P"
DASHES = ("-", "--", ":", "-.")
NAMED_POINTS = 15  # with more, names of points would cover each other
# The lightest part of viridis cannot be seen on white.
SHADES = LinearSegmentedColormap.from_list(
    "shades", [mpl.colormaps["viridis"](0.92 * place / 63) for place in range(64)]
)


def item_figure(doc: ItemDocument) -> Figure | None:
    """Draw an item: its panels, or the numbers of its tables; None if there is nothing."""
    views = item_views(doc)
    if not views:
        return None
    rows = _in_rows(views)
    across = max(map(len, rows))
    heights = [_height(row[0]) for row in rows]
    with mpl.rc_context(TICKS), mpl.rc_context(STYLE):
        drawn = Figure(figsize=(SIZE[0] * across, sum(heights)), layout="constrained")
        grid = drawn.subplots(len(rows), across, squeeze=False, height_ratios=heights)
        handles: dict[str, Any] = {}
        for row, line in zip(rows, grid, strict=True):
            for place, axes in enumerate(line):
                if place >= len(row):
                    axes.set_axis_off()
                    continue
                _draw(axes, row[place], handles, named=place == 0)
                _add_colour_bar(drawn, axes, row[place])
        if handles:
            _add_legend(drawn, handles, across)
        if doc.smoke:
            drawn.suptitle(SMOKE, color="#b00020", fontweight="bold", fontsize=11)
    return drawn


def item_svg(doc: ItemDocument, old: bytes = b"") -> bytes | None:
    """The figure of an item as SVG; equal documents give equal bytes. See `item_figure`.

    `old` is one drawn before: it is given back if the same is to be drawn, which takes a second.
    """
    mark = f"<!-- drawn of {_digest(doc)} -->\n".encode()
    if old.endswith(mark):
        return old
    drawn = item_figure(doc)
    if drawn is None:
        return None
    with mpl.rc_context(TICKS):
        return as_svg(drawn) + mark


def _digest(doc: ItemDocument) -> str:
    """Of a document, and of the code that draws it."""
    found = _code().copy()
    found.update(doc.model_dump_json().encode())
    return found.hexdigest()


@cache
def _code() -> Any:
    found = hashlib.sha256(mpl.__version__.encode())
    for source in sorted(Path(__file__).parents[1].rglob("*.py")):
        found.update(source.read_bytes())
    return found


def item_png(doc: ItemDocument) -> bytes | None:
    """The figure of an item as PNG. See `item_figure`."""
    drawn = item_figure(doc)
    if drawn is None:
        return None
    stream = io.BytesIO()
    with mpl.rc_context(TICKS):
        drawn.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    return stream.getvalue()


def _in_rows(views: Sequence[View]) -> list[list[View]]:
    """Panels of a row share its names: each table starts a row."""
    rows: list[list[View]] = []
    for view in views:
        if rows and len(rows[-1]) < ACROSS and rows[-1][0].rows == view.rows:
            rows[-1].append(view)
        else:
            rows.append([view])
    return rows


def _height(view: View) -> float:
    return SIZE[1] if view.rows is None else 1.2 + ROW_HEIGHT * len(view.rows)


def _add_colour_bar(drawn: Figure, axes: Axes, view: View) -> None:
    if view.bar is None:
        return
    label, low, high = view.bar
    pad = 0.5 if low == high else 0.0
    colours = ScalarMappable(Normalize(low - pad, high + pad), SHADES)
    drawn.colorbar(colours, ax=axes, label=_plain(label))


def _add_legend(drawn: Figure, handles: dict[str, Any], across: int) -> None:
    """One legend for all panels below them, in a strip of its own."""
    longest = max(map(len, handles))
    columns = max(1, min(len(handles), int(17 * across / (6 + 0.3 * longest))))
    drawn.legend(
        handles.values(), handles.keys(), loc="outside lower center", fontsize=8, ncols=columns
    )
    lines = math.ceil(len(handles) / columns)
    drawn.set_figheight(drawn.get_figheight() + LEGEND_LINE * lines)


def _draw(axes: Axes, view: View, handles: dict[str, Any], *, named: bool) -> None:
    # before anything else: a change of scale forgets the ticks
    axes.set_xscale("log" if view.x_log else "linear")
    axes.set_yscale("log" if view.y_log else "linear")
    if view.rows is not None:
        axes.set_yticks(range(len(view.rows)), [_plain(row) for row in view.rows] if named else [])
        axes.set_ylim(len(view.rows) - 0.4, -0.6)
        if not view.x_log:
            axes.xaxis.set_major_locator(MaxNLocator(5))
    bars = [series for series in view.series if series.style == "bars"]
    for series in view.series:
        place = bars.index(series) if series in bars else 0
        handle = _draw_series(axes, view, series, place, len(bars))
        if series.shade is None:
            handles.setdefault(_plain(series.label), handle)
    note = f"\n{left_out_words(view)}" if view.left_out else ""
    if view.x_log:
        space_ticks(axes.xaxis)
    width = TITLE_WIDTH if view.rows is None else TITLE_WIDTH_BESIDE_NAMES
    axes.set(
        title=textwrap.fill(_plain(view.title), width),
        xlabel=_plain(view.x_label) + note,
        ylabel=_plain(view.y_label),
    )


def _draw_series(axes: Axes, view: View, series: Drawn, place: int, bars: int) -> Any:
    colour = series_colour(series)
    x, y = (_floats(values) for values in (series.x, series.y))
    errors = _errors(view, series)
    if series.style == "bars":
        width = 0.8 * _least_gap(series.x) / bars
        at = [value + (place - (bars - 1) / 2) * width for value in x]
        if series.names is not None:
            axes.set_xticks(x, [_plain(name) for name in series.names], rotation=20)
        return axes.bar(at, y, width, color=colour, alpha=0.85, yerr=errors, capsize=2)
    joined = series.style in ("line", "line+points")
    marker = "" if series.style == "line" else MARKERS[series.look // len(PALETTE) % len(MARKERS)]
    look: dict[str, Any] = {
        "color": colour,
        "marker": marker,
        "markersize": 5,
        "linewidth": 1.5,
        "linestyle": DASHES[series.look // len(PALETTE) % len(DASHES)] if joined else "none",
    }
    if series.style == "published":
        look |= {"marker": "s", "markerfacecolor": "none", "markeredgewidth": 1.3, "zorder": 3}
    if errors is not None and series.style == "line":
        low, high = (_floats(values or ()) for values in (series.low, series.high))
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        errors = None
    if series.names is not None and len(series.names) <= NAMED_POINTS:
        for name, a, b in zip(series.names, x, y, strict=True):
            if math.isfinite(a) and math.isfinite(b):
                axes.annotate(
                    _plain(name), (a, b), xytext=(4, 4), textcoords="offset points", fontsize=8
                )
    look["xerr" if view.rows is not None else "yerr"] = errors
    return axes.errorbar(x, y, capsize=2, elinewidth=1, **look)


def series_colour(series: Drawn) -> Any:
    """Colour on white: by the label, or along the colour bar."""
    if series.shade is not None:
        return SHADES(series.shade)
    return PALETTE[series.look % len(PALETTE)]


def left_out_words(view: View) -> str:
    """How many points a logarithmic axis cannot show."""
    points = "1 point" if view.left_out == 1 else f"{view.left_out} points"
    return f"{points} at or below 0 left out: logarithmic axis"


def _errors(view: View, series: Drawn) -> list[list[float]] | None:
    if series.low is None or series.high is None:
        return None
    middle = _floats(series.x if view.rows is not None else series.y)
    low, high = _floats(series.low), _floats(series.high)
    down = [max(0.0, m - end) for m, end in zip(middle, low, strict=True)]
    up = [max(0.0, end - m) for m, end in zip(middle, high, strict=True)]
    if not any(value > 0 for value in (*down, *up)):
        return None
    known = [end is not None for end in series.high]
    return [
        [value if k else math.nan for value, k in zip(ends, known, strict=True)]
        for ends in (down, up)
    ]


def _floats(values: Numbers) -> list[float]:
    return [math.nan if value is None else float(value) for value in values]


def _least_gap(values: Numbers) -> float:
    known = sorted({value for value in values if value is not None})
    return min((b - a for a, b in pairwise(known)), default=1.0)


def _plain(text: str) -> str:
    """Text drawn as it is: dollar signs would start a formula, control characters break SVG."""
    return printable(text).replace("$", r"\$")
