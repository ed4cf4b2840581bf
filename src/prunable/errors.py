"""Exceptions of the package: one class per kind of failure, one message style.

A message names the culprit, the constraint it breaks, the value found and the mend.
Every class carries the exit status that the command line returns for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Real
from typing import TypeGuard

__all__ = [
    "CallError",
    "DataIntegrityError",
    "InputError",
    "PrunableError",
    "RunsFailedError",
    "SpecError",
    "UnsupportedModelError",
]


def printable(text: str, keep: str = "") -> str:
    """Spell out control characters, which could rewrite the reader's terminal."""
    return "".join(c if c.isprintable() or c in keep else f"\\x{ord(c):02x}" for c in text)


class PrunableError(Exception):
    """Base class of every error this package raises on purpose.

    Its text may quote names out of files, so that control characters in it are spelled out.

    >>> import prunable
    >>> try:
    ...     prunable.budgets.Keep(2)
    ... except prunable.errors.PrunableError as error:
    ...     print(error.exit_code)
    2
    """

    exit_code: int = 1

    def __str__(self) -> str:
        return printable(super().__str__(), keep="\n")


class InputError(PrunableError, ValueError):
    """A caller's argument, file or option breaks a stated constraint.

    >>> import prunable
    >>> prunable.budgets.Keep(-1)
    Traceback (most recent call last):
        ...
    prunable.errors.InputError: `kappa` of `Keep` must be between 0 and 1; got -1.
    """

    exit_code = 2

    @classmethod
    def parameter(
        cls, param: str, where: str, constraint: str, value: object, action: str = ""
    ) -> InputError:
        """Build the package's standard sentence about one bad parameter.

        >>> str(InputError.parameter("k", "top", "at least 1", 0, "Give 1."))
        '`k` of `top` must be at least 1; got 0. Give 1.'

        Parameters
        ----------
        param, where : Name of the parameter and of the function, command or object that takes it.
        constraint : What the value must be, completing "must be ...".
        value : The value found; shown through `repr` unless it is a string.
        action : What the user can do about it; may be empty.
        """
        shown = value if isinstance(value, str) else repr(value)
        text = f"`{param}` of `{where}` must be {constraint}; got {shown}."
        return cls(f"{text} {action}".rstrip())


class CallError(InputError, TypeError):
    """A function is called without an argument that it needs, or with one that it has not.

    >>> import prunable
    >>> prunable.load()
    Traceback (most recent call last):
        ...
    prunable.errors.CallError: `load` is called wrongly: missing a required argument: 'path'.
    """


class SpecError(InputError):
    """An experiment specification is malformed, or contradicts a stored run.

    >>> import prunable
    >>> prunable.train("run")
    Traceback (most recent call last):
        ...
    prunable.errors.SpecError: give either --epochs or --until-accuracy (or --until-loss).
    """


class DataIntegrityError(PrunableError):
    """A data set or stored file is missing, truncated, or fails its checksum.

    >>> import prunable
    >>> prunable.load("missing.safetensors")
    Traceback (most recent call last):
        ...
    prunable.errors.DataIntegrityError: missing.safetensors is missing; check the path.
    """

    exit_code = 2


class UnsupportedModelError(PrunableError):
    """A model holds a layer or layout that the requested operation cannot handle safely.

    >>> import torch, prunable
    >>> prunable.recalibrate(torch.nn.Linear(2, 2), torch.zeros(4, 2))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    prunable.errors.UnsupportedModelError: `Linear` cannot be recalibrated: it has no BatchNorm...
    """

    exit_code = 4


class RunsFailedError(PrunableError):
    """Some runs of an experiment failed; the finished ones are kept.

    >>> str(RunsFailedError("1 of 4 runs failed.")), RunsFailedError.exit_code
    ('1 of 4 runs failed.', 5)
    """

    exit_code = 5


# What torch, mapped files and the linker say where they have no kind of error for it.
_SHORT = re.compile(
    r"not enough memory|can(?:no|')t allocate memory|out of memory|start new thread|map segment",
    re.IGNORECASE,
)


def shortage(error: BaseException | None) -> BaseException | None:
    """The first cause of an error if memory was asked for in vain, else None.

    >>> str(shortage(MemoryError("4 GB"))), shortage(ValueError("4 GB"))
    ('4 GB', None)
    """
    while error is not None:
        said = "" if isinstance(error, PrunableError) else str(error)
        if isinstance(error, MemoryError) or _SHORT.search(said):
            return error
        error = error.__cause__
    return None


def require(
    holds: object, param: str, where: str, constraint: str, value: object, action: str = ""
) -> None:
    """Raise the standard InputError unless a constraint holds; see `InputError.parameter`."""
    if not holds:
        raise InputError.parameter(param, where, constraint, value, action)


def nearest(given: str, known: Iterable[str]) -> str:
    """A question that offers the nearest name there is; empty if none is near.

    >>> nearest("--kep", ["--eps", "--keep"])
    ' Did you mean --keep?'
    """
    found = get_close_matches(given, list(known), 1, 0.6)
    return f" Did you mean {found[0]}?" if found else ""


def kind_of(value: object) -> str:
    """A value for messages: itself if it is short, and its type.

    >>> kind_of("half"), kind_of([1, 2]), kind_of(None), kind_of(int)
    ("'half' (str)", 'list', 'None', 'class int')
    """
    if value is None or isinstance(value, type):
        return "None" if value is None else f"class {value.__name__}"
    kind = type(value).__name__
    short = isinstance(value, str | int | float) and len(repr(value)) < 80
    return f"{value!r} ({kind})" if short else kind


def is_real(value: object) -> TypeGuard[Real]:
    """Whether a value is a real number of Python or NumPy, and no truth value."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_number(value: object, param: str, where: str) -> None:
    """Raise the standard InputError unless a value is a real number, of Python or NumPy."""
    require(is_real(value), param, where, "a number", kind_of(value))


def check_one_of(value: object, choices: Iterable[object], param: str, where: str) -> None:
    """Raise the standard InputError, with the nearest choice, unless a value is one of them."""
    known = tuple(choices)
    names = [name for name in known if isinstance(name, str)]
    near = nearest(value, names).strip() if isinstance(value, str) else ""
    simple = isinstance(value, str | int | float | tuple | type(None))
    shown = value if simple else kind_of(value)
    require(simple and value in known, param, where, f"one of {known}", shown, near)


def check_between(value: float, low: float, high: float, param: str, where: str) -> None:
    """Raise the standard InputError unless low <= value <= high; NaN is neither."""
    check_number(value, param, where)
    meant = value / 100  # where shares are wanted and per cent given
    action = f"Did you mean {meant:g}?" if value > high == 1 or value > 1 > high >= meant else ""
    action = action if low <= meant <= high else ""
    require(low <= value <= high, param, where, f"between {low:g} and {high:g}", value, action)


def check_at_least(value: float, least: float, param: str, where: str) -> None:
    """Raise the standard InputError unless value >= least."""
    check_number(value, param, where)
    require(value >= least, param, where, f"at least {least:g}", value)
