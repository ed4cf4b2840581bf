"""Arguments of public functions, looked at before anything runs: their names and their kinds."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import cache, wraps
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from prunable.errors import CallError, InputError, check_one_of, kind_of, nearest, require

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
# How the annotations of numbers and paths are met, and what they are called.
SIMPLE: Mapping[Any, tuple[type, str]] = {
    float: (Real, "number"),
    int: (Integral, "whole number"),
    str: (str, "str"),
    Path: (PathLike, "path"),
    NoneType: (NoneType, "None"),
}


def checked(where: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Refuse unknown arguments, and those of another kind than the annotation, by one message.

    `where` is the name that users know. Annotations that no `isinstance` decides are not looked at.

    >>> @checked("half")
    ... def half(x: float) -> float:
    ...     return x / 2
    >>> half("3")
    Traceback (most recent call last):
        ...
    prunable.errors.InputError: `x` of `half` must be a number; got '3' (str).
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        last = [*signature.parameters.values()][-1:]
        open_ended = last and last[0].kind is inspect.Parameter.VAR_KEYWORD

        @cache
        def hints() -> dict[str, Any]:  # when first called, since what they name may come later
            return get_type_hints(function)

        @wraps(function)
        def looked_at(*args: P.args, **kwargs: P.kwargs) -> R:
            for name in () if open_ended else kwargs:
                if name not in signature.parameters:
                    near = nearest(name, signature.parameters)
                    raise CallError(f"`{where}` has no argument `{name}`.{near}")
            try:
                given = signature.bind(*args, **kwargs).arguments
            except TypeError as error:
                raise CallError(f"`{where}` is called wrongly: {error}.") from None
            known = hints()
            for name, value in given.items():
                parameter = signature.parameters[name]
                if value is not parameter.default and name in known:
                    several = parameter.kind is inspect.Parameter.VAR_POSITIONAL
                    for one in value if several else (value,):
                        _check(one, known[name], name, where)
            return function(*args, **kwargs)

        return looked_at

    return decorate


def check_fields(settings: Any, where: str) -> None:
    """Raise the standard InputError for the first field of a dataclass of another kind.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Step:
    ...     lr: float = 0.1
    >>> check_fields(Step("fast"), "train")
    Traceback (most recent call last):
        ...
    prunable.errors.InputError: `lr` of `train` must be a number; got 'fast' (str).
    """
    for name, hint in get_type_hints(type(settings)).items():
        _check(getattr(settings, name), hint, name, where)


def as_named(named_parameters: Iterable[tuple[str, T]], where: str) -> dict[str, T]:
    """Parameters by name; the standard InputError unless they come with their names.

    >>> as_named([("weight", 1.0)], "hold_masks")
    {'weight': 1.0}
    """
    pairs = list(named_parameters)
    fine = all(isinstance(x, tuple) and len(x) == 2 and isinstance(x[0], str) for x in pairs)
    wanted = "pairs of a name and a parameter, such as model.named_parameters()"
    found = next((kind_of(x) for x in pairs if not isinstance(x, tuple)), "others")
    require(fine, "named_parameters", where, wanted, found)
    return dict(pairs)


def _check(value: Any, hint: Any, name: str, where: str) -> None:
    """Raise the standard InputError unless a value is of the annotated kind."""
    if _fits(value, hint):
        return
    parts = [part for part in _parts(hint) if part is not NoneType]
    if all(get_origin(part) is Literal for part in parts):
        check_one_of(value, [one for part in parts for one in get_args(part)], name, where)
    names = [_a(_named(part)) for part in parts if part is not str or Path not in parts]
    wanted = " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    shown, mend = _shown(value, parts), _mend(value, wanted, parts)
    raise InputError.parameter(name, where, wanted, shown, mend)


def _parts(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _fits(value: Any, hint: Any) -> bool:
    origin, of = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in of)
    if hint in SIMPLE:
        return isinstance(value, SIMPLE[hint][0]) and not (
            isinstance(value, bool) and hint in (int, float)
        )
    if origin is Literal:
        return isinstance(value, str | int | float | NoneType) and value in of
    if origin is Callable:
        return callable(value)
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(_fits(v, of[1]) for v in value.values())
    if _is_list(origin):
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
            return False
        if origin is tuple and of[-1] is not ...:
            each = isinstance(value, tuple) and len(value) == len(of)
            return each and all(map(_fits, value, of))
        return not isinstance(value, list | tuple) or all(_fits(v, of[0]) for v in value)
    if not inspect.isclass(hint) or (isinstance(value, type) and hint is not type):
        return not isinstance(value, type)
    try:
        return isinstance(value, hint)
    except TypeError:  # a protocol that is not for this
        return True


def _named(hint: Any) -> str:
    origin, of = get_origin(hint), get_args(hint)
    if hint in SIMPLE:
        return SIMPLE[hint][1]
    if origin is Callable:
        return "function"
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return f"mapping of names to {_named(of[1])}s"
    if origin is tuple and of[-1] is not ...:
        return f"pair of {' and '.join(map(_named, of))}"
    if _is_list(origin):
        return f"list of {_named(of[0])}s"
    return getattr(hint, "__name__", "value")


def _a(noun: str) -> str:
    return f"a{'n' * (noun[0] in 'AEIOUaeiou')} {noun}"


def _shown(value: Any, parts: list[Any]) -> str:
    """What was given: of a collection of the right kind, what in it is wrong."""
    for part in parts:
        origin, of = get_origin(part), get_args(part)
        if isinstance(value, Mapping) and origin is Mapping:
            wrong = next(key for key, inside in value.items() if not _fits(inside, of[1]))
            return f"{kind_of(value[wrong])} at {wrong!r}"
        if isinstance(value, list | tuple) and _is_list(origin) and origin is not tuple:
            return kind_of(next(inside for inside in value if not _fits(inside, of[0])))
    return kind_of(value)


def _is_list(origin: Any) -> bool:
    several = inspect.isclass(origin) and issubclass(origin, Iterable)
    return several and not issubclass(origin, Mapping)


def _mend(value: Any, wanted: str, parts: list[Any]) -> str:
    """What is probably meant; may be empty."""
    inside = next(iter(value.values()), None) if isinstance(value, Mapping) else value
    if isinstance(value, type):
        return f"Did you mean {value.__name__}()?"
    if any(_is_list(get_origin(part)) and _fits(value, get_args(part)[0]) for part in parts):
        return f"Did you mean [{value!r}]?"
    if "Module" in wanted and isinstance(value, str | PathLike):
        return "Load it by `prunable.load` first."
    if wanted == "a path" and callable(getattr(value, "state_dict", None)):
        return "Give the file that holds it."
    if "Tensor" in wanted and isinstance(inside, Mapping):
        return "Give the part that holds the weights alone."
    if "Tensor" in wanted and type(inside).__module__ == "numpy":
        return "Give torch.from_numpy of it."
    return ""
