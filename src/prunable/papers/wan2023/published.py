"""The paper's own numbers."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Any

Pair = tuple[float | None, float | None]


@functools.cache
def _document() -> dict[str, Any]:
    text = resources.files("prunable.papers").joinpath("wan2023.json").read_text()
    document: dict[str, Any] = json.loads(text)
    return document


def published(table: int, row: str, metric: str) -> Pair:
    """Mean and standard deviation of one entry, None where the paper gives none.

    Parameters
    ----------
    table : int
    row : str
        "none", a tail index such as "1.8", or in table 20 a noise level such as "1e-05".
    metric : str
    """
    rows = _document()["tables"][str(table)]["rows"]
    mean, deviation = rows.get(row, {}).get(metric, (None, None))
    return mean, deviation


def rows_of(table: int) -> tuple[str, ...]:
    """Rows that a table has."""
    return tuple(_document()["tables"][str(table)]["rows"])


def slips(table: int) -> tuple[tuple[str, str], ...]:
    """Slips of a table's print: row and what is wrong with it."""
    return tuple((s["row"], s["text"]) for s in _document()["slips"] if s["table"] == str(table))


def slip_notes(table: int) -> tuple[str, ...]:
    """The same as sentences."""
    return tuple(f"Print of table {table}, row {row}: {text}." for row, text in slips(table))
