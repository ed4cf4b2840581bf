"""Documents of `prunable reproduce`, one an item, as they are stored and read back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError, model_validator

from prunable.errors import DataIntegrityError
from prunable.files import read_json

Status = Literal["reproduced", "partly", "not reproduced", "not judged", "incomplete"]
STATUSES: tuple[Status, ...] = (
    "reproduced",
    "partly",
    "not reproduced",
    "incomplete",
    "not judged",
)
SCALES = ("paper", "laptop", "smoke")
SMOKE = "Smoke run: says nothing about the paper"
SMOKE_WHY = (
    "Tiny data, tiny networks, few steps: it shows that the code of this item runs from end to "
    "end. Its numbers are not to be compared with the paper's."
)

# Parts of file names and of addresses: nothing that could lead to another folder.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Number = float | None
Value = bool | int | float | str | None


class _Part(BaseModel):
    # Unknown keys are ignored: a newer version may add some without changing the rest.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class PaperInfo(_Part):
    """A paper, as reports name it."""

    short: str
    title: str
    authors: str
    year: int


class Column(_Part):
    """A column; in the unit "%" values are shares, shown times 100, with so many decimals."""

    key: str
    label: str
    unit: str = ""
    digits: int = 3


class Cell(_Part):
    """Our number, the paper's, and the ids of the runs behind ours; None where there is none."""

    value: Value = None
    std: Number = None
    published: Value = None
    published_std: Number = None
    runs: tuple[str, ...] = ()


class Table(_Part):
    """Rows of cells under columns."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @model_validator(mode="after")
    def _rows_fit(self) -> Self:
        if wrong := {len(row) for row in self.rows} - {len(self.columns)}:
            raise ValueError(
                f"every row must have {len(self.columns)} cells, as there are columns, "
                f"not {min(wrong)}"
            )
        return self


class Series(_Part):
    """One curve or set of points, and the ids of the runs behind it."""

    label: str
    x: tuple[Number, ...]
    y: tuple[Number, ...]
    y_std: tuple[Number, ...] | None = None
    style: Literal["line", "points", "line+points", "published", "bars"] = "line"
    colour_value: Number = None
    runs: tuple[str, ...] = ()
    labels: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        lists = {"x": self.x, "y": self.y, "y_std": self.y_std, "labels": self.labels}
        lengths = {name: len(values) for name, values in lists.items() if values is not None}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the lists must have one length, not {lengths}")
        return self


class Panel(_Part):
    """Axes with series; coloured along a colour bar where series have a colour value."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    x_log: bool = False
    y_log: bool = False
    colour_label: str | None = None


class Check(_Part):
    """A claim as a statement that the numbers decide; None where they cannot."""

    statement: str
    holds: bool | None
    evidence: str
    essential: bool = True


class Verdict(_Part):
    """What the checks come to."""

    status: Status
    why: str


class RunInfo(_Part):
    """One run of an item, and the specification that it was computed from."""

    key: str
    id: str
    kind: str
    status: str
    reason: str | None = None
    spec: dict[str, Any]


class ItemDocument(_Part):
    """A table or figure of a paper, reproduced at one scale."""

    item: Name
    paper: str
    paper_info: PaperInfo
    kind: Literal["table", "figure"]
    label: str
    title: str
    claim: str
    scale: Literal["smoke", "laptop", "paper"]
    convention: Name
    settings: dict[str, Value]
    plan_notes: tuple[str, ...]
    notes: tuple[str, ...]
    tables: tuple[Table, ...]
    panels: tuple[Panel, ...]
    checks: tuple[Check, ...]
    verdict: Verdict
    runs: tuple[RunInfo, ...]

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
        return f"{self.paper_info.short}, {self.label}"

    @property
    def scale_words(self) -> str:
        """The scale, and the convention where it is not that of the paper's text."""
        words = "smoke run" if self.smoke else f"{self.scale} scale"
        return words if self.convention == "paper" else f"{words}, {self.convention} convention"

    @property
    def lost(self) -> list[RunInfo]:
        """Runs without a usable result."""
        return [run for run in self.runs if run.status != "done"]


def as_document(document: ItemDocument | Mapping[str, Any]) -> ItemDocument:
    """Check a document.

    Parameters
    ----------
    document : ItemDocument or mapping
        The latter as `prunable.experiments.reproduce.documents.item_document` gives it.

    Returns
    -------
    ItemDocument

    Raises
    ------
    DataIntegrityError
        If it is malformed; names the item and the first wrong key.
    """
    if isinstance(document, ItemDocument):
        return document
    return _checked(document, f"the document of {document.get('item', 'an unnamed item')}")


def load_documents(folder: Path) -> list[ItemDocument]:
    """Read the documents that `prunable reproduce` left in a folder.

    Parameters
    ----------
    folder : Path
        Holds `items/*.json`.

    Returns
    -------
    list of ItemDocument
        In the order of `in_order`; empty if there are none.

    Raises
    ------
    DataIntegrityError
        If a file is malformed; names the file and the first wrong key.
    """
    paths = sorted((folder / "items").glob("*.json"))
    return in_order(_checked(read_json(path), str(path)) for path in paths)


def in_order(documents: Iterable[ItemDocument]) -> list[ItemDocument]:
    """Documents by paper, by figure and table as numbered, the largest scale first."""

    def place(document: ItemDocument) -> tuple[Any, ...]:
        parts = re.split(r"(\d+)", document.label.lower())
        number = [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part]
        info = document.paper_info
        scale = SCALES.index(document.scale)
        return info.year, document.paper, number, document.item, scale, document.convention

    return sorted(documents, key=place)


def _checked(content: Any, name: str) -> ItemDocument:
    try:
        return ItemDocument.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the whole document"
        raise DataIntegrityError(
            f"{name} is not the document of an item: {key}: {first['msg']}. "
            "Delete it and run `prunable reproduce` again; runs that are done are kept."
        ) from error
