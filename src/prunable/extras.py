"""Optional packages, the user's own modules and slow ones, imported where they are used."""

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

from prunable.errors import InputError, nearest, require


def extra(package: str, where: str, group: str) -> Any:
    """The module of an optional package, or an InputError that says which group to install."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        name = package.partition(".")[0].replace("_", "-")
        raise InputError(
            f"`{where}` needs {name}, which is not installed. Install 'prunable[{group}]'."
        ) from error


def called_as(package: str, function: str) -> None:
    """Let a package be called as its main function, MODULE:NAME, which is imported then.

    torch takes seconds to import, and most of the package needs none.
    """

    class Wing(ModuleType):
        """A package of the name of its main function."""

        @property
        def __wrapped__(self) -> Any:
            module, _, name = function.partition(":")
            return getattr(importlib.import_module(module), name)

        @property
        def __signature__(self) -> inspect.Signature:
            return inspect.signature(self.__wrapped__)

        def __call__(self, *arguments: Any, **options: Any) -> Any:
            return self.__wrapped__(*arguments, **options)

    sys.modules[package].__class__ = Wing


@contextmanager
def working_directory_first() -> Iterator[None]:
    """Let modules of the working directory be found first, and those written a moment ago."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)


def own_object(
    reference: str, param: str, where: str, *, ready: Callable[[object], bool] = lambda _: False
) -> Any:
    """What MODULE:NAME of the user's is, if that is `ready`, else what calling it gives.

    The working directory comes first on the path meanwhile, as under uvicorn; the name may have
    dots, and is a function, a class or another object that is called without arguments. What the
    user's code prints goes to standard error, for standard output holds results.

    Raises InputError if there is no such module or name, or the user's code fails: then with the
    file, the line and the cause.
    """
    module, _, name = reference.partition(":")
    require(module and name, param, where, "MODULE:NAME", reference)
    with working_directory_first(), redirect_stdout(sys.stderr):
        try:
            value: Any = importlib.import_module(module)
            for part in name.split("."):
                value = getattr(value, part)
            return value if ready(value) or not callable(value) else value()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # such as SystemExit
            raise InputError(
                f"`{param}` {reference} of `{where}` cannot be built: {_cause(error, module)}"
            ) from error


def source_of(reference: str) -> Path | None:
    """The file that `own_object` runs for MODULE:NAME; None if there is none. It is not run."""
    module = reference.partition(":")[0]
    with working_directory_first():
        try:
            spec = importlib.util.find_spec(module)
        except Exception:  # of a package around it, which runs
            return None
    return None if spec is None or not spec.has_location else Path(str(spec.origin))


def _cause(error: BaseException, module: str) -> str:
    """One line: the file and line of the user's code that failed, and why; else what to give."""
    mend = "Give MODULE:NAME of a function, class or object that is called without arguments."
    said = " ".join(str(error).split())[:300]
    what = f"{type(error).__name__}: {said}" if said else type(error).__name__
    absent = error.name if isinstance(error, ModuleNotFoundError) else None
    if absent is not None and f"{module}.".startswith(f"{absent}."):
        if module.endswith(".py"):
            mend = f"Name the module without .py: {module.removesuffix('.py')}:NAME."
        return f"there is no module {absent} in {Path.cwd()} or among those installed. {mend}"
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}: {what}."
    file = getattr(sys.modules.get(module), "__file__", None)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and "importlib" not in frame.filename
    ]
    own = [frame for frame in frames if frame.filename == file or _is_near(frame.filename)]
    if not frames:
        if isinstance(error, AttributeError) and (inside := sys.modules.get(module)):
            near = nearest(str(error.name), dir(inside)).strip()
            return f"{file or module} has no {error.name}. {near or mend}"
        return f"{file or module}: {what}. {mend}"
    at = (own or frames)[-1]
    return f"{at.filename}, line {at.lineno}: {what}."


def _is_near(file: str) -> bool:
    """Whether a file of code lies in the working directory, but is no installed package there."""
    return Path(file).is_relative_to(Path.cwd()) and "site-packages" not in file
