"""Options of commands made from settings, so that each is named, typed and explained once."""

import functools
import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from prunable.errors import require
from prunable.report.terminal import refuse_both
from prunable.runs.spec import Frozen

UNITS = {"": 1, "B": 1, **{f"{x}iB": 2**e for x, e in zip("KMGT", (10, 20, 30, 40), strict=True)}}
UNITS |= {f"{x}B": 1000**e for x, e in zip("KMGT", (1, 2, 3, 4), strict=True)}

Given = dict[str, Any]
Command = Callable[..., None]


def options_of(
    settings: type[Frozen],
    *,
    flags: Mapping[str, str] | None = None,
    optional: Mapping[str, str] | None = None,
    without: Collection[str] = (),
    old: Mapping[str, str] | None = None,
    panels: Mapping[str, Collection[str]] | None = None,
    choices: Mapping[str, Collection[str]] | None = None,
) -> Callable[[Command], Command]:
    """Give a command an option for every field of settings: its type, default and description.

    The command's first parameter receives what was given, nested as the settings are, for
    `settings.create(**given)`; options that were left out without a default are not in it.

    Parameters
    ----------
    settings : Settings within are spread out; their fields are named by paths such as
        "dataset.name".
    flags : Flags by field, where they are not the field's name.
    optional : Fields that may be left out, and what then stands for them, in words.
    without : Fields that the command sets itself.
    old : Former flags by field; they still work, and no help shows them. Together with the
        present one they are refused.
    panels : Fields by the title that the help shows them under.
    choices : What a field of text may be, where plugins add to it.
    """
    flags, optional, old = flags or {}, optional or {}, old or {}
    panel_of = {path: title for title, paths in (panels or {}).items() for path in paths}
    parameters: dict[str, inspect.Parameter] = {}
    paths: dict[str, str] = {}
    renamed: dict[str, str] = {}

    def add(name: str, path: str, annotation: Any, default: Any, **kind: Any) -> None:
        flag, panel = kind.pop("flag", None), panel_of.get(path)
        option = typer.Option(*([flag] if flag else []), rich_help_panel=panel, **kind)
        paths[name] = path
        parameters[name] = inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=Annotated[annotation, option],
        )

    for path, field in _fields(settings):
        if path in without:
            continue
        name = path.replace(".", "_")
        annotation, default = _type(field), field.default
        help_ = field.description or ""
        if choices and path in choices:
            annotation = Literal[tuple(choices[path])] | None
        if field.is_required():
            default = inspect.Parameter.empty
        if path in optional:
            annotation, default, help_ = annotation | None, None, f"{help_} {optional[path]}"
        flag = flags.get(path) or (None if annotation is bool else f"--{_leaf(path)}")
        if annotation is bool:
            flag = f"--{_leaf(path)}/--no-{_leaf(path)}" if default else f"--{_leaf(path)}"
        add(name, path, annotation, default, flag=flag, help=help_)
        if path in old:
            renamed[f"old_{name}"] = name
            add(f"old_{name}", path, _type(field) | None, None, flag=old[path], hidden=True)

    def decorated(command: Command) -> Command:
        _, *own = inspect.signature(command, eval_str=True).parameters.values()

        @functools.wraps(command)
        def wrapper(running: typer.Context, **values: Any) -> None:
            refuse_both(running, renamed)
            given: Given = {}
            for name, path in paths.items():
                value = values.pop(name)
                if value is not None:
                    *parents, leaf = path.split(".")
                    place = functools.reduce(lambda at, key: at.setdefault(key, {}), parents, given)
                    place[leaf] = tuple(value) if isinstance(value, list) else value
            command(given, **values)

        shown = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        own_context = inspect.Parameter(
            "running", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context
        )
        signature = inspect.Signature([own_context, *shown, *parameters.values()])
        wrapper.__dict__["__signature__"] = signature
        wrapper.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        return wrapper

    return decorated


def _fields(settings: type[Frozen], at: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Frozen):
            yield from _fields(kind, f"{at}{name}.")
        elif name != "schema_version":
            yield at + name, field


def _type(field: FieldInfo) -> Any:
    """The annotation as typer reads it: a tuple is an option that may be repeated."""
    kind: Any = field.annotation
    return list[get_args(kind)[0]] if get_origin(kind) is tuple else kind  # type: ignore[misc]


def _leaf(path: str) -> str:
    return path.rpartition(".")[2].replace("_", "-")


def bytes_of(text: str, name: str, where: str) -> int:
    """A size such as 512MiB, 2GiB or 1.5GB in bytes; InputError if it is none.

    >>> bytes_of("1.5GiB", "memory", "measure")
    1610612736
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?i?B?)\s*", text)
    size = float(found[1]) * UNITS[found[2]] if found and found[2] in UNITS else 0.0
    require(1 <= size < 2**63, name, where, "a size such as 512MiB or 2GiB", text)
    return int(size)
