"""The house as ARCHITECTURE.md draws it: no circles, no giants, no rooms that are not there."""

import re
from graphlib import CycleError, TopologicalSorter
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
