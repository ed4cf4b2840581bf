"""What an item is: a plan of runs, and findings gathered from their results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from prunable.runs.spec import Spec

Scale = Literal["smoke", "laptop", "paper"]
Convention = Literal["paper", "authors-code"]
Result = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """Runs of an item at one scale.

    Parameters
    ----------
    scale : {"smoke", "laptop", "paper"}
    convention : {"paper", "authors-code"}
    runs : mapping of str to Spec
        By a key of the item's choosing; what they build on comes by itself.
    settings : mapping
        Sizes, seeds, data: what a reader must know beside the numbers.
    notes : tuple of str
        How the scale departs from the paper, a sentence each.
    """

    scale: Scale
    convention: Convention
    runs: Mapping[str, Spec]
    settings: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """A column of a table; in the unit "%" values are shares, shown times 100."""

    key: str
    label: str
    unit: str = ""
    digits: int = 3


@dataclass(frozen=True)
class Cell:
    """Our number beside the paper's.

    Parameters
    ----------
    value : float or str, optional
        None where there is none.
    std : float, optional
        Standard deviation over seeds.
    published, published_std
        The paper's.
    runs : tuple of str
        Ids of the runs behind the number.
    """

    value: float | str | None = None
    std: float | None = None
    published: float | str | None = None
    published_std: float | None = None
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Series:
    """One curve or set of points.

    Parameters
    ----------
    label : str
    x, y : tuple of float
    y_std : tuple of float, optional
        Half lengths of error bars.
    style : {"line", "points", "line+points", "published", "bars"}
        "published" marks the paper's own numbers.
    colour_value : float, optional
        Place on the panel's colour bar.
    runs : tuple of str
        Ids of the runs behind it.
    labels : tuple of str, optional
        Of the points.
    """

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    y_std: tuple[float, ...] | None = None
    style: Literal["line", "points", "line+points", "published", "bars"] = "line"
    colour_value: float | None = None
    runs: tuple[str, ...] = ()
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Panel:
    """Axes with series."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    x_log: bool = False
    y_log: bool = False
    colour_label: str | None = None


@dataclass(frozen=True)
class Check:
    """A claim as a statement that the numbers decide.

    Parameters
    ----------
    statement : str
    holds : bool, optional
        None where it cannot be judged.
    evidence : str
        The numbers that decide.
    essential : bool
        Whether the paper's point rests on it.
    """

    statement: str
    holds: bool | None
    evidence: str
    essential: bool = True


@dataclass(frozen=True)
class Findings:
    """What an item's runs show."""

    tables: tuple[Table, ...] = ()
    panels: tuple[Panel, ...] = ()
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Item:
    """A table or figure of a paper.

    Parameters
    ----------
    name : str
        Such as "wan2023-table1".
    paper : str
        Key of `prunable.papers.PAPERS`.
    kind : {"table", "figure"}
    label : str
        As the paper numbers it.
    title : str
        What it shows.
    claim : str
        The statement it makes.
    plan : callable
        From scale and convention to the plan.
    gather : callable
        From the plan and the results by its keys to the findings; pure.
    conventions : tuple of str
        Those that it distinguishes.
    """

    name: str
    paper: str
    kind: Literal["table", "figure"]
    label: str
    title: str
    claim: str
    plan: Callable[[Scale, Convention], Plan]
    gather: Callable[[Plan, Mapping[str, Result]], Findings]
    conventions: tuple[Convention, ...] = ("paper",)
