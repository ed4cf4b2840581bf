"""The numbers that papers print: one schema for all of them, read from their data files."""

from collections.abc import Mapping
from importlib.resources.abc import Traversable
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from prunable.errors import DataIntegrityError


class Printed(NamedTuple):
    """A number as it is printed, and the standard deviation beside it; None where there is none."""

    mean: int | float | None = None
    std: float | None = None


NOTHING = Printed()


def _pair(value: Any) -> Any:
    """A number alone stands for one without a deviation."""
    return value if isinstance(value, list | tuple) else (value, None)


Rows = Mapping[str, Mapping[str, Annotated[Printed, BeforeValidator(_pair)]]]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Slip(_Part):
    """A row whose print is wrong, and how."""

    row: str
    text: str
    unused: bool = False


class PublishedItem(_Part):
    """What a paper prints in one table or figure.

    place : Section or appendix.
    cells : Printed numbers by row and column; [mean, standard deviation] where both are printed.
    stated, inferred : What text and axes say, and what they leave out and we concluded or assumed.
    """

    caption: str = ""
    place: str = ""
    cells: Rows = Field(default_factory=dict)
    stated: dict[str, Any] = Field(default_factory=dict)
    inferred: dict[str, Any] = Field(default_factory=dict)
    slips: tuple[Slip, ...] = ()

    def cell(self, row: str, column: str) -> Printed:
        """What stands in a row and column; nothing where the paper has no such entry."""
        return self.cells.get(row, {}).get(column, NOTHING)

    @property
    def unused(self) -> set[str]:
        """Rows whose print cannot be compared with."""
        return {slip.row for slip in self.slips if slip.unused}


class Published(_Part):
    """What a paper prints: by item, such as "table1" and "fig3", and of the paper as a whole."""

    paper: str
    note: str = ""
    stated: dict[str, Any] = Field(default_factory=dict)
    inferred: dict[str, Any] = Field(default_factory=dict)
    items: dict[str, PublishedItem]


def read_published(file: Traversable) -> Published:
    """Read a paper's data file.

    Raises DataIntegrityError, naming the first wrong key.
    """
    try:
        return Published.model_validate_json(file.read_text("utf-8"))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise DataIntegrityError(
            f"{file.name} does not hold a paper's published numbers: {key}: {first['msg']}."
        ) from error
