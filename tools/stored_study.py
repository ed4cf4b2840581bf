"""Studies that go on from what another call has stored."""

from pathlib import Path
from typing import Any

from prunable.errors import InputError
from prunable.files import read_json


def begun(place: Path, fresh: dict[str, Any], results: str) -> dict[str, Any]:
    """The study stored at a place, or a fresh one.

    All but `results` are settings. Raises InputError if a stored study has others: their numbers
    would stand in one table.
    """
    if not place.exists():
        return fresh
    found: dict[str, Any] = read_json(place, "delete it to begin again")
    for name, value in fresh.items():
        if name != results and found.get(name) != value:
            raise InputError(
                f"{place} was made with {name} {found.get(name)}, and {value} is asked for. Name "
                "another folder, or ask for the same."
            )
    return found
