"""Every public function that takes a path takes its text as well."""

import importlib
import inspect
import pkgutil
import re
import typing
from pathlib import Path

import prunable

# Readers of one format, which get what their room opened, and commands, whose parser makes paths.
INSIDE = re.compile(
    r"prunable\.(nets\.archive\.(base|codes|folder|rewriting|\w+_file)|data|cli|papers|verify_certificate)\b"
    r"|command$"
)
OPEN_TO_ALL = "prunable.nets.archive.safetensors_file"


def functions_of(module):
    for name, found in vars(module).items():
        if name.startswith("_") or getattr(found, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(found):
            yield name, found
        elif inspect.isclass(found):
            for own, method in vars(found).items():
                if inspect.isfunction(method) and not own.startswith("_"):
                    yield f"{name}.{own}", method


def alternatives(kind):
    return [getattr(one, "__name__", str(one)) for one in (kind, *typing.get_args(kind))]


def refusing_text(module):
    for name, function in functions_of(module):
        for parameter, kind in function.__annotations__.items():
            # postponed annotations are text
            options = re.split(r"\s*\|\s*", kind) if isinstance(kind, str) else alternatives(kind)
            if parameter != "return" and "Path" in options and "str" not in options:
                yield f"{module.__name__}.{name}({parameter})"


def test_paths_may_be_text():
    found = []
    for entry in pkgutil.walk_packages(prunable.__path__, "prunable."):
        if entry.name == OPEN_TO_ALL or not INSIDE.search(entry.name):
            found += refusing_text(importlib.import_module(entry.name))
    found.remove(f"{OPEN_TO_ALL}.open_safetensors(path)")
    assert found == []


def test_the_search_finds_what_takes_paths_only(monkeypatch):
    module = importlib.import_module("prunable.files")

    def careless(path: Path) -> None:
        del path

    careless.__module__ = module.__name__
    monkeypatch.setattr(module, "careless", careless, raising=False)
    assert "prunable.files.careless(path)" in refusing_text(module)
