"""The paper's own numbers."""

from __future__ import annotations

from prunable.experiments.reproduce.published import Printed, PublishedItem
from prunable.papers import published as published_of

PUBLISHED = published_of("wan2023").items


def table_of(number: int) -> PublishedItem:
    """What the paper prints in a table."""
    return PUBLISHED[f"table{number}"]


def published(table: int, row: str, metric: str) -> Printed:
    """Mean and standard deviation of one entry.

    Parameters
    ----------
    row : str
        "none", a tail index such as "1.8", or in table 20 a noise level such as "1e-05".
    """
    return table_of(table).cell(row, metric)


def rows_of(table: int) -> tuple[str, ...]:
    """Rows that a table has."""
    return tuple(table_of(table).cells)


def slips(table: int) -> tuple[tuple[str, str], ...]:
    """Slips of a table's print: row and what is wrong with it."""
    return tuple((slip.row, slip.text) for slip in table_of(table).slips)


def slip_notes(table: int) -> tuple[str, ...]:
    """The same as sentences."""
    return tuple(f"Print of table {table}, row {row}: {text}." for row, text in slips(table))
