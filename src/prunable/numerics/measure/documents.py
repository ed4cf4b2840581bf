"""Measurements made again from the documents that they write."""

import math
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from prunable.errors import DataIntegrityError
from prunable.numerics.measure.layer import MeasuredLayer
from prunable.numerics.measure.network import SCHEMA_VERSION, Measurement, Trajectory

# What `prunable measure --json` does not print.
_LEFT_OUT: Mapping[str, Any] = {"hill_plot": None, "curves": {}, "tail_plot": None}


def measurement_from(document: Any, where: str = "the document") -> Measurement | Trajectory:
    """Make a measurement again from its `to_dict`, with or without curves.

    `where` names the document in messages. Numbers that a document cannot hold, written as null,
    are NaN again; of what documents leave out, the source of an estimate is empty.

    Raises DataIntegrityError if it is no document of a measurement, or of another schema version.
    """
    known = isinstance(document, Mapping) and {"layers", "trajectory"} & document.keys()
    if not known or document.get("schema_version") != SCHEMA_VERSION:
        raise DataIntegrityError(
            f"{where} holds no measurement of schema version {SCHEMA_VERSION}; give a file that "
            "`write` or `prunable measure --json` wrote."
        )
    kind = Measurement if "layers" in document else Trajectory
    try:
        found: Measurement | Trajectory = _restored(kind, document)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise DataIntegrityError(
            f"{where} is no whole measurement ({error}); write it again."
        ) from error
    return found


def _restored(kind: Any, value: Any) -> Any:
    """A value of a type out of plain lists, names and numbers."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        return _restored(next(part for part in inner if part is not type(None)), value)
    if is_dataclass(kind) and isinstance(kind, type):
        return _object(kind, value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {_restored(inner[0], k): _restored(inner[1], v) for k, v in value.items()}
    if origin is tuple:
        parts = [inner[0]] * len(value) if inner[1:] == (...,) else inner
        return tuple(_restored(part, v) for part, v in zip(parts, value, strict=True))
    if origin is np.ndarray:
        dtype = get_args(inner[1])[0]
        return np.array([math.nan if v is None else v for v in value], dtype)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    if kind is float:
        return math.nan if value is None else float(value)
    return value


def _object(kind: type, value: Mapping[str, Any]) -> Any:
    hints = get_type_hints(kind)
    given = {**_LEFT_OUT, **value}
    if kind is MeasuredLayer:  # estimates leave out what their place says
        told = {"source": "", "zeros_share": value["zeros_share"]}
        given["estimators"] = {
            name: {"method": name, **told, **found} for name, found in value["estimators"].items()
        }
    names = [field.name for field in fields(kind) if field.name in given]
    made = kind(**{name: _restored(hints[name], given[name]) for name in names})
    for curves in (made.curves, vars(made)) if isinstance(made, MeasuredLayer) else (vars(made),):
        arrays = [x for x in curves.values() if isinstance(x, np.ndarray)]
        if len({len(x) for x in arrays}) > 1:
            raise ValueError(f"curves of lengths {[len(x) for x in arrays]}")
    return made
