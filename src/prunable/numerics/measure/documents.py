"""Measurements made again from the documents that they write."""

import math
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from prunable.errors import DataIntegrityError
from prunable.numerics.measure.layer import MeasuredLayer
from prunable.numerics.measure.network import SCHEMA_VERSION, Measurement, Trajectory
from prunable.numerics.measure.options import eps_key

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
        if isinstance(found, Measurement):
            _check_eps(found)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise DataIntegrityError(
            f"{where} is no whole measurement ({error}); write it again."
        ) from error
    return found


def _check_eps(found: Measurement) -> None:
    """Raise KeyError unless there are shares for each eps that was asked for."""
    rules = (found.overall.kappa[rule] for rule in ("common_eps", "global_threshold"))
    layers = (layer.kappa["weight"] for layer in found.layers)
    keys = {eps_key(eps) for eps in found.settings.eps}
    for shares in (found.overall.allocation, *rules, *layers):
        if missing := keys - shares.keys():
            raise KeyError(f"no share at eps {min(missing)}")


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
        _check(value, Mapping)
        return {_restored(inner[0], k): _restored(inner[1], v) for k, v in value.items()}
    if origin is tuple:
        _check(value, list)
        parts = [inner[0]] * len(value) if inner[1:] == (...,) else inner
        return tuple(_restored(part, v) for part, v in zip(parts, value, strict=True))
    if origin is np.ndarray:
        dtype = get_args(inner[1])[0]
        whole = [math.nan if v is None else _check(v, int, float) for v in _check(value, list)]
        return np.array(whole, dtype)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    if origin is Literal:
        if value not in inner:
            raise ValueError(f"{_short(value)} where {', '.join(map(str, inner))} may stand")
        return value
    if kind is float:
        return math.nan if value is None else float(_check(value, int, float))
    return _check(value, kind)


def _check(value: Any, *kinds: type) -> Any:
    """A value, if it is of one of some kinds."""
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise TypeError(f"{_short(value)} where {kinds[-1].__name__} is meant")
    return value


def _short(value: Any) -> str:
    return str(value) if isinstance(value, int | float) else f"a {type(value).__name__}"


def _object(kind: type, value: Mapping[str, Any]) -> Any:
    hints = get_type_hints(kind)
    given = {**_LEFT_OUT, **value}
    if kind is MeasuredLayer:  # estimates leave out what their place says
        told = {"source": "", "zeros_share": value["zeros_share"]}
        given["estimators"] = {
            name: {"method": name, **told, **found} for name, found in value["estimators"].items()
        }
    _check(value, Mapping)
    names = [field.name for field in fields(kind) if field.name in given]
    made = kind(**{name: _restored(hints[name], given[name]) for name in names})
    for curves in (made.curves, vars(made)) if isinstance(made, MeasuredLayer) else (vars(made),):
        arrays = [x for x in curves.values() if isinstance(x, np.ndarray)]
        if len({len(x) for x in arrays}) > 1:
            raise ValueError(f"curves of lengths {[len(x) for x in arrays]}")
    return made
