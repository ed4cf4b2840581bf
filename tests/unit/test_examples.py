"""Examples in docstrings: public names have one, and all are run, each module's in a folder."""

import doctest
import importlib
import inspect
import re
from functools import cached_property
from pathlib import Path

import pytest

import prunable
from prunable.nets.prune.strategies import Strategy
from prunable.nets.prune.strategies.allocations import Allocation

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
MODULES = [
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted(SOURCE.rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]
# What these ask for is shown once, where they stand, and not by each class that answers them.
ASKED = {name for protocol in (Strategy, Allocation) for name in vars(protocol) if name[0] != "_"}


def named(path):
    """The object of a dotted path, and the path of the module that holds it."""
    module, names = path, []
    while True:
        try:
            found = importlib.import_module(module)
            break
        except ModuleNotFoundError:
            module, _, name = module.rpartition(".")
            names.insert(0, name)
    for name in names:
        found = getattr(found, name)
    return found


def public():
    """Functions and classes by name: of the API's page, of the front door, of their modules."""
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    paths = re.findall(r"^::: (\S+)", page, re.MULTILINE)
    todo = {path: named(path) for path in paths}
    todo |= {f"prunable.{name}": getattr(prunable, name) for name in prunable.__all__}
    found = {}
    for path, thing in todo.items():
        if inspect.ismodule(thing) and not callable(thing):
            own = [n for n, x in vars(thing).items() if getattr(x, "__module__", "") == path]
            inside = getattr(thing, "__all__", own)
            found |= {f"{path}.{name}": getattr(thing, name) for name in inside if name[0] != "_"}
        else:
            found[path] = inspect.unwrap(thing)
    ours = ((path, thing) for path, thing in found.items() if hasattr(thing, "__qualname__"))
    once = {thing: path for path, thing in ours if thing.__module__.startswith("prunable.")}
    return {path: thing for thing, path in once.items()}


PUBLIC = public()


def members(cls):
    """Names of the public methods and properties that a class itself has documented."""
    kinds = (property, cached_property, classmethod, staticmethod)
    for name, value in vars(cls).items():
        if name[0] != "_" and (inspect.isfunction(value) or isinstance(value, kinds)):
            yield name, value


def test_examples_are_found():
    assert "prunable.front" in MODULES
    assert len(PUBLIC) > 100


@pytest.mark.parametrize("path", PUBLIC)
def test_public_names_have_an_example(path):
    """One that is run; a method is shown in its own or in that of its class."""
    thing = PUBLIC[path]
    shown = "\n".join(re.findall(r"^ *(?:>>>|\.\.\.) (.*)", thing.__doc__ or "", re.MULTILINE))
    assert shown, f"the docstring of {path} has no example"
    if inspect.isclass(thing):
        lack = [
            name
            for name, value in members(thing)
            if name not in ASKED and f".{name}" not in shown and ">>> " not in (value.__doc__ or "")
        ]
        assert not lack, f"no example shows {', '.join(lack)} of {path}"
        assert thing.__module__ in MODULES


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0
    assert found.failed == 0
