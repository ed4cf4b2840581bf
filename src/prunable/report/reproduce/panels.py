"""What is drawn of an item, for pictures and for the page alike."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from prunable.experiments.reproduce import document
from prunable.report.reproduce.words import as_text, heading, paired

Numbers = tuple[document.Number, ...]
MANY = 12  # panels of tables; with more the figure leads with what the paper has numbers for
WIDE = 1e3  # values that span a larger factor are drawn on a logarithmic axis
# Ends of labels that tell two sides of one thing, which style tells apart already.
SIDES = re.compile(
    r"[\s,:]*\(?\b(the paper('s)?|paper|ours|theory|predicted|simulated|measured)\)?$",
    re.IGNORECASE,
)
OURS, PAPERS = 2, 3  # colours of our numbers and of the paper's in figures of tables


@dataclass(frozen=True)
class Drawn:
    """One series as it is drawn.

    x, y : None where a number is missing or a logarithmic axis has no place for it.
    low, high : Ends of the error bars: along y, or along x in a panel with rows.
    look : Place of its label among the panels' labels: decides on colour, dash and marker.
    shade : Place on the colour bar, 0 to 1; it has no place among the labels then.
    names : Of the points.
    """

    label: str
    style: document.Style
    x: Numbers
    y: Numbers
    low: Numbers | None
    high: Numbers | None
    look: int
    shade: float | None
    runs: tuple[tuple[str, ...], ...]
    names: tuple[str, ...] | None


@dataclass(frozen=True)
class View:
    """One panel as it is drawn.

    rows : Names of y = 0, 1, ..., downwards: a figure of a table.
    bar : Label and ends of the colour bar.
    left_out : Points at or below zero, which a logarithmic axis cannot show.
    """

    title: str
    x_label: str
    y_label: str
    x_log: bool
    y_log: bool
    series: tuple[Drawn, ...]
    rows: tuple[str, ...] | None = None
    bar: tuple[str, float, float] | None = None
    left_out: int = 0


def item_views(doc: document.ItemDocument) -> list[View]:
    """The panels of an item; those of its tables' numbers if it brings none.

    Of many only those of tables that the paper has numbers for.
    """
    if doc.panels:
        labels: dict[str, int] = {}
        views = [_panel_view(panel, labels) for panel in doc.panels]
    else:
        ours = "smoke run" if doc.smoke else "ours"
        several = len(doc.tables) > 1
        by_table = [(table, _table_views(table, ours, several=several)) for table in doc.tables]
        if sum(len(views) for _, views in by_table) > MANY:
            beside = [pair for pair in by_table if any(paired(pair[0]))]
            by_table = beside or by_table
        views = [view for _, views in by_table for view in views]
    views = [replace(view, series=tuple(filter(_has_points, view.series))) for view in views]
    return [view for view in views if view.series or view.left_out]


def _has_points(series: Drawn) -> bool:
    return any(x is not None and y is not None for x, y in zip(series.x, series.y, strict=True))


# --- panels --------------------------------------------------------------------------------


def _panel_view(panel: document.Panel, labels: dict[str, int]) -> View:
    values = [series.colour_value for series in panel.series if series.colour_value is not None]
    bar = (panel.colour_label or "", min(values), max(values)) if values else None
    drawn = tuple(_drawn(series, labels, bar) for series in panel.series)
    axes = (panel.title, panel.x_label, panel.y_label, panel.x_log, panel.y_log)
    return _on_axes(View(*axes, drawn, bar=bar))


def _drawn(
    series: document.Series, labels: dict[str, int], bar: tuple[str, float, float] | None
) -> Drawn:
    shade = None
    if series.colour_value is not None and bar is not None:
        _, least, most = bar
        shade = 0.5 if least == most else (series.colour_value - least) / (most - least)
    low = high = None
    if series.y_std is not None:
        ends = list(zip(series.y, series.y_std, strict=True))
        low = tuple(None if y is None or std is None else y - std for y, std in ends)
        high = tuple(None if y is None or std is None else y + std for y, std in ends)
    return Drawn(
        label=series.label,
        style=series.style,
        x=series.x,
        y=series.y,
        low=low,
        high=high,
        look=0 if shade is not None else _look(series.label, labels),
        shade=shade,
        runs=(series.runs,) * len(series.x),
        names=series.labels,
    )


def _look(label: str, labels: dict[str, int]) -> int:
    """Equal labels look alike in all panels; "SGD", "SGD (paper)", "SGD, theory" share a colour."""
    return labels.setdefault(SIDES.sub("", label), len(labels))


def _on_axes(view: View) -> View:
    """Leave out what a logarithmic axis cannot show, and keep error bars above zero."""
    left_out = 0
    kept: list[Drawn] = []
    for series in view.series:
        x, y = list(series.x), list(series.y)
        for place, (a, b) in enumerate(zip(series.x, series.y, strict=True)):
            if a is None or b is None:
                continue
            if (view.x_log and a <= 0) or (view.y_log and b <= 0):
                x[place] = y[place] = None
                left_out += 1
        kept.append(replace(series, x=tuple(x), y=tuple(y)))
    if (view.x_log if view.rows else view.y_log) and any(series.low for series in kept):
        values = [value for s in kept for value in (*(s.x if view.rows else s.y), *(s.low or ()))]
        floor = min((value for value in values if value is not None and value > 0), default=1.0) / 2
        for place, s in enumerate(kept):
            low = s.low and tuple(end if end is None else max(end, floor) for end in s.low)
            kept[place] = replace(s, low=low)
    return replace(view, series=tuple(kept), left_out=left_out)


# --- tables --------------------------------------------------------------------------------


def _table_views(table: document.Table, ours: str, *, several: bool) -> list[View]:
    """A panel for each column of numbers: ours and the paper's, row by row."""
    pairs = paired(table)
    places = range(len(table.columns))
    columns = [[row[place] for row in table.rows] for place in places]
    numeric = [
        any(_is_number(cell.value) or _is_number(cell.published) for cell in cells)
        for cells in columns
    ]
    results = [
        numeric[place]
        and (pairs[place] or any(cell.runs or cell.std is not None for cell in columns[place]))
        for place in places
    ]
    # columns left of the first result say which row it is
    keys = next((place for place in places if place > 0 and results[place]), min(1, len(columns)))
    # what the paper prints too, else what came out of runs, else any number
    shown = next((kind for kind in (pairs, results, numeric) if any(kind[keys:])), numeric)
    names = tuple(_row_name(table, row, keys) for row in table.rows)
    views = []
    for place in places[keys:]:
        if not (shown[place] and numeric[place]):
            continue
        column = table.columns[place]
        sides = [_side(columns[place], column.scale, ours, published=False)]
        if pairs[place]:
            sides.append(_side(columns[place], column.scale, "paper", published=True))
        values = [abs(x) for side in sides for x in side.x if x is not None]
        signs = [x > 0 for side in sides for x in side.x if x is not None]
        label = heading(column)
        view = View(
            title=f"{table.title}: {label}" if several else label,
            x_label="",
            y_label="",
            x_log=bool(values) and all(signs) and max(values) > WIDE * min(values),
            y_log=False,
            series=tuple(side for side in sides if side.x),
            rows=names,
        )
        views.append(_on_axes(view))
    return views


def _row_name(table: document.Table, row: Sequence[document.Cell], keys: int) -> str:
    parts = []
    for cell, column in zip(row[:keys], table.columns, strict=False):
        if cell.value is None:
            continue
        text = as_text(cell.value, column)
        unit = f" {column.unit}" if column.unit else ""
        parts.append(text if isinstance(cell.value, str) else f"{column.label} {text}{unit}")
    return ", ".join(parts)


def _side(cells: Sequence[document.Cell], factor: float, label: str, *, published: bool) -> Drawn:
    """Our numbers of a column, or the paper's; the paper's a little lower in each row."""
    found = []
    for place, cell in enumerate(cells):
        value = cell.published if published else cell.value
        std = cell.published_std if published else cell.std
        if _is_number(value):
            assert isinstance(value, int | float)
            found.append((factor * value, place, None if std is None else factor * std, cell.runs))
    shift = 0.2 if published else 0.0
    return Drawn(
        label=label,
        style="published" if published else "points",
        x=tuple(value for value, *_ in found),
        y=tuple(place + shift for _, place, *_ in found),
        low=tuple(None if std is None else value - std for value, _, std, _ in found),
        high=tuple(None if std is None else value + std for value, _, std, _ in found),
        look=PAPERS if published else OURS,
        shade=None,
        runs=tuple(() if published else runs for *_, runs in found),
        names=None,
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
