"""The house as ARCHITECTURE.md draws it: no circles, no giants, no rooms that are not there."""

import ast
import re
import sys
import tomllib
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "prunable"
LONGEST = 450


def test_no_circle_of_files():
    graph = grimp.build_graph("prunable")
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def test_no_file_is_too_long():
    lengths = {path: len(path.read_text().splitlines()) for path in SOURCE.rglob("*.py")}
    assert {str(path): n for path, n in lengths.items() if n > LONGEST} == {}


def test_no_line_is_kept_from_the_formatter():
    kept = [
        path for path in SOURCE.rglob("*.py") if re.search(r"# fmt: (skip|off)", path.read_text())
    ]
    assert kept == []


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"])
def test_pages_name_what_is_there(page):
    """Names in code font that look like paths or modules of the package lead somewhere."""
    text = (ROOT / page).read_text()
    rooms = {path.name for path in SOURCE.iterdir()}
    missing = []
    for name in re.findall(r"`([\w./]+)`", text):
        first = name.split("/")[0].split(".")[0]
        if "/" in name and (first in rooms or (ROOT / first).is_dir()):
            places = (ROOT / name, SOURCE / name, SOURCE / f"{name}.py")
            function = SOURCE / (name.rpartition(".")[0] + ".py")
            if not any(place.exists() for place in (*places, function)):
                missing.append(name)
    assert missing == []


def test_what_is_imported_is_asked_for():
    """Another package's dependency may go with its next version, as click went with typer's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *(x for name in extras for x in extras[name])]
    plain = {re.split(r"[^\w.-]", x)[0].lower().replace("_", "-") for x in asked}
    modules = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            modules |= {name.partition(".")[0] for name in names}
    owners = packages_distributions()
    foreign = {name for name in modules - set(sys.stdlib_module_names) if name in owners}
    assert len(foreign) > 10
    known = {name: {x.lower().replace("_", "-") for x in owners[name]} for name in foreign}
    assert {name for name in foreign if not known[name] & (plain | {"prunable"})} == set()
