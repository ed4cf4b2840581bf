"""The one document of a reproduced item: filled where numbers arise, stored, read, rendered."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import ConfigDict, Field, StringConstraints, model_validator
from pydantic.dataclasses import dataclass

from prunable.files import Document, damage_named, read_json

Scale = Literal["smoke", "laptop", "paper"]
Convention = Literal["paper", "authors-code"]
Kind = Literal["table", "figure", "study"]
Outcome = Literal["holds", "fails", "contradicted", "underpowered", "not applicable"]
Status = Literal[
    "reproduced", "partly", "not reproduced", "contradicted", "incomplete", "not judged"
]
Style = Literal["line", "points", "line+points", "published", "bars"]
SCALES: tuple[Scale, ...] = get_args(Scale)
STATUSES: tuple[Status, ...] = get_args(Status)
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

# Parts of file names and of addresses: nothing that could lead to another folder.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Number = float | None
Value = bool | int | float | str | None
PART = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, config=PART)
class Column:
    """A column; so many decimals are shown of its values.

    In the unit "%" these are shares, in "points" differences of shares: both are shown times 100.
    """

    key: str
    label: str
    unit: str = ""
    digits: Annotated[int, Field(ge=0, le=15)] = 3

    @property
    def scale(self) -> float:
        """What values are shown times."""
        return 100.0 if self.unit in ("%", "points") else 1.0


@dataclass(frozen=True, config=PART)
class Cell:
    """Our number, the paper's, and the ids of the runs behind ours; None where there is none."""

    value: Value = None
    std: Number = None
    published: Value = None
    published_std: Number = None
    runs: tuple[str, ...] = ()


@dataclass(frozen=True, config=PART)
class Table:
    """Rows of cells under columns."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        if wrong := {len(row) for row in self.rows} - {len(self.columns)}:
            raise ValueError(
                f"every row must have {len(self.columns)} cells, as there are columns, "
                f"not {min(wrong)}"
            )


@dataclass(frozen=True, config=PART)
class Series:
    """One curve or set of points; `y_std` are half lengths of error bars, `labels` of points.

    The style "published" marks the paper's own numbers; `colour_value` is a place on the
    panel's colour bar.
    """

    label: str
    x: tuple[Number, ...]
    y: tuple[Number, ...]
    y_std: tuple[Number, ...] | None = None
    style: Style = "line"
    colour_value: Number = None
    runs: tuple[str, ...] = ()
    labels: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        lists = {"x": self.x, "y": self.y, "y_std": self.y_std, "labels": self.labels}
        lengths = {name: len(values) for name, values in lists.items() if values is not None}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the lists must have one length, not {lengths}")


@dataclass(frozen=True, config=PART)
class Panel:
    """Axes with series; coloured along a colour bar where series have a colour value."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    x_log: bool = False
    y_log: bool = False
    colour_label: str | None = None


@dataclass(frozen=True, config=PART)
class Check:
    """A claim as a statement that the numbers decide; see `checks` for how they are made.

    holds : None where the numbers cannot decide.
    essential : Whether the paper's point rests on it: essential checks make the verdict.
    outcome : "contradicted" if the interval excludes the claim; "underpowered" if the design could
        not have seen it. Without one, what `holds` says.
    needs : What could decide an underpowered claim, or one that a reduced size cannot: how many
        seeds or networks, what width.
    printed : Whether a number that the paper prints is what it compares with.
    """

    statement: str
    holds: bool | None
    evidence: str
    essential: bool = True
    outcome: Outcome = "not applicable"
    needs: str = ""
    printed: bool = False

    def aside(self, yes: bool = True) -> "Check":
        """The same check, beside the paper's point."""
        return replace(self, essential=self.essential and not yes)

    def __post_init__(self) -> None:
        if self.holds is not None and self.outcome == "not applicable":
            object.__setattr__(self, "outcome", "holds" if self.holds else "fails")
        expected = {"holds": True, "fails": False, "contradicted": False}.get(self.outcome)
        if self.holds is not expected:
            raise ValueError(f"a check that is {self.outcome!r} cannot have holds={self.holds}")


@dataclass(frozen=True, config=PART)
class Findings:
    """What an item's runs show."""

    tables: tuple[Table, ...] = ()
    panels: tuple[Panel, ...] = ()
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()


class PaperInfo(Document):
    """A paper, as reports name it."""

    short: str
    title: str
    authors: str
    year: int


class Verdict(Document):
    """What the checks come to."""

    status: Status
    why: str


class RunInfo(Document):
    """One run of an item, and the specification that it was computed from."""

    key: str
    id: str
    kind: str
    status: str
    reason: str | None = None
    spec: dict[str, Any]


class Cost(Document):
    """What the runs of an item took, those that they build on among them.

    hours : Of one worker each, added up; items that share runs count them again.
    """

    machines: tuple[str, ...]
    hours: float
    runs: int


class ItemDocument(Document):
    """A table or figure of a paper, or a study, reproduced at one scale: no times, no paths.

    cost : Of a published document alone: the same runs give the same document everywhere.
    """

    item: Name
    paper: str | None
    paper_info: PaperInfo | None
    kind: Kind
    label: str
    title: str
    claim: str
    scale: Scale
    convention: Name
    settings: dict[str, Value]
    plan_notes: tuple[str, ...]
    notes: tuple[str, ...]
    tables: tuple[Table, ...]
    panels: tuple[Panel, ...]
    checks: tuple[Check, ...]
    verdict: Verdict
    runs: tuple[RunInfo, ...]
    cost: Cost | None = None
    schema_version: Literal[1] = Field(default=1)

    @model_validator(mode="after")
    def _paper_is_whole(self) -> Self:
        if (self.paper is None) != (self.paper_info is None):
            raise ValueError("paper and paper_info must be given together, or neither of them")
        return self

    @property
    def smoke(self) -> bool:
        """Whether its numbers say nothing about the paper."""
        return self.scale == "smoke"

    @property
    def stem(self) -> str:
        """Name of its files, without the ending; another for each scale and convention."""
        return f"{self.item}--{self.scale}--{self.convention}"

    @property
    def heading(self) -> str:
        """Paper and number of the item."""
        return f"{self.paper_info.short}, {self.label}" if self.paper_info else self.label

    @property
    def scale_words(self) -> str:
        """The scale, and the convention where it is not that of the paper's text."""
        words = "smoke run" if self.smoke else f"{self.scale} scale"
        return words if self.convention == "paper" else f"{words}, {self.convention} convention"

    @property
    def lost(self) -> list[RunInfo]:
        """Runs without a usable result."""
        return [run for run in self.runs if run.status != "done"]

    def to_dict(self) -> dict[str, Any]:
        """As it is stored."""
        left_out = {"cost"} if self.cost is None else None
        return self.model_dump(mode="json", exclude=left_out)


def as_document(document: ItemDocument | Mapping[str, Any]) -> ItemDocument:
    """Check a document.

    Raises DataIntegrityError if it is malformed; names the item and the first wrong key.
    """
    if isinstance(document, ItemDocument):
        return document
    return _checked(document, f"the document of {document.get('item', 'an unnamed item')}")


def load_documents(folder: Path | str) -> list[ItemDocument]:
    """Read the documents `items/*.json` that `prunable reproduce` left in a folder, in order.

    Raises DataIntegrityError if a file is malformed; names the file and the first wrong key.
    """
    paths = sorted((Path(folder) / "items").glob("*.json"))
    return in_order(_checked(read_json(path), str(path)) for path in paths)


def in_order(documents: Iterable[ItemDocument]) -> list[ItemDocument]:
    """By paper, by figure and table as numbered, the largest scale first; studies last."""

    def place(document: ItemDocument) -> tuple[Any, ...]:
        parts = re.split(r"(\d+)", document.label.lower())
        number = [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part]
        info = document.paper_info
        paper = (True, 0, "") if info is None else (False, info.year, document.paper)
        return *paper, number, document.item, -SCALES.index(document.scale), document.convention

    return sorted(documents, key=place)


def _checked(content: Any, name: str) -> ItemDocument:
    mend = (
        "it is not the document of an item. Delete it and run `prunable reproduce` again; runs "
        "that are done are kept"
    )
    with damage_named(name, mend):
        return ItemDocument.model_validate(content)


def shows_print(tables: Iterable[Table], panels: Iterable[Panel]) -> bool:
    """Whether numbers that a paper prints stand beside ours."""
    cells = (cell for table in tables for row in table.rows for cell in row)
    series = (one for panel in panels for one in panel.series)
    return any(cell.published is not None for cell in cells) or any(
        one.style == "published" for one in series
    )


def judge(
    scale: Scale,
    checks: Iterable[Check],
    unfinished: int = 0,
    runs: int = 0,
    *,
    prints: bool = False,
) -> Verdict:
    """Judge an item by its essential checks (by all where none is essential).

    unfinished, runs : Runs without a usable result, of how many.
    prints : Whether the paper prints numbers for it: one essential check must compare with them.

    Gives "contradicted" if the interval of one of them excludes its claim; "reproduced" if each
    one that applies holds; "not reproduced" if none of those decided does, "partly" if some do;
    "incomplete" if what could be decided holds but a check is underpowered, needs the published
    size or lacks its runs, or none compares with print; "not judged" at "smoke" and without any
    evidence.
    """
    if scale == "smoke":
        return Verdict(status="not judged", why="a smoke run says nothing about the paper")
    found = list(checks)
    deciding = [check for check in found if check.essential] or found
    lost = f"; {unfinished} of {runs} runs have no usable result" if unfinished else ""
    decided = [check for check in deciding if check.holds is not None]
    weak = [check for check in deciding if check.holds is None and (check.needs or check.printed)]
    undecided = weak or (unfinished and len(decided) < len(deciding))
    if not decided and not undecided:
        return Verdict(status="not judged", why=f"no check has evidence{lost}")
    held = sum(bool(check.holds) for check in decided)
    why = _why(found, deciding) + lost
    status: Status
    if any(check.outcome == "contradicted" for check in decided):
        status = "contradicted"
    elif held < len(decided):
        status = "partly" if held else "not reproduced"
    elif prints and not any(check.essential and check.printed for check in found):
        status = "incomplete"
        why += "; no essential check compares with the printed numbers"
    else:
        status = "incomplete" if undecided else "reproduced"
    return Verdict(status=status, why=why)


def _why(found: list[Check], deciding: list[Check]) -> str:
    """How many checks hold, in words: those that decide, and the others."""
    kind = "essential checks" if len(deciding) < len(found) else "checks"
    parts = [f"{sum(bool(c.holds) for c in deciding)} of {len(deciding)} {kind} hold"]
    others = [check for check in found if check not in deciding]
    if others:
        parts.append(f"{sum(bool(c.holds) for c in others)} of {len(others)} others")
    missing = sum(c.outcome == "not applicable" and bool(c.needs) for c in deciding)
    if missing:
        parts.append(f"{missing} need the published size")
    for outcome in ("contradicted", "underpowered"):
        if count := sum(check.outcome == outcome for check in found):
            parts.append(f"{count} {outcome}")
    return ", ".join(parts)
