"""What can come of a stage of a trial.

ok; refused, by one of the package's own errors, whose reason is kept; or FAULT: any other
exception, a difference beyond rounding, a number pruned that is no weight.
"""

import traceback
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

from prunable.errors import PrunableError

Record = dict[str, Any]


class FaultError(AssertionError):
    """Something that the package did wrongly without saying so."""


def expect(holds: bool, complaint: str) -> None:
    """Raise `FaultError` unless something holds."""
    if not holds:
        raise FaultError(complaint)


def attempt(stage: Callable[[], Mapping[str, Any]]) -> Record:
    """What a stage gives, with its outcome, the reason if it is not ok, and its seconds."""
    started = perf_counter()
    found: Record
    try:
        found = {"outcome": "ok", **stage()}
    except PrunableError as error:
        found = {"outcome": "refused", "why": f"{type(error).__name__}: {error}"}
    except FaultError as fault:
        found = {"outcome": "FAULT", "why": str(fault)}
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{where.filename.rpartition('/')[2]}:{where.lineno}"
        found = {"outcome": "FAULT", "why": f"{type(error).__name__} at {place}: {error}"}
    return found | {"seconds": round(perf_counter() - started, 2)}
