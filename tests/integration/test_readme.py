"""README and documentation say what the code does: their commands and programs are run."""

import json
import math
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from prunable.cli.app import app
from prunable.experiments.reproduce.document import load_documents
from prunable.report.reproduce.words import shown

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
TEXTS = [ROOT / name for name in ("README.md", "AGENTS.md", "llms.txt")]
PAGES = [*TEXTS, *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs/howto").glob("*.md"))]
# Of a page, in order: commands to type, programs to run, and files to write.
BLOCKS = re.compile(r"^```(sh|python)\n(?:%%writefile (\S+)\n)?(.*?)^```", re.DOTALL | re.MULTILINE)
PROGRAMS = [ROOT / name for name in ("README.md", "AGENTS.md", "docs/python.md")]
RUN = [*PROGRAMS, *(path for path in PAGES if path.parent.name == "howto")]


@pytest.mark.parametrize("page", RUN, ids=[path.stem for path in RUN])
def test_commands_and_programs_run_and_print_what_they_say(page, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    names = {}
    for kind, title, code in BLOCKS.findall(page.read_text()):
        if title:
            (tmp_path / title).write_text(code)
            monkeypatch.delitem(sys.modules, Path(title).stem, raising=False)
        elif kind == "sh":
            for line in code.splitlines():
                program, *words = shlex.split(line)
                assert program == "prunable"
                done = CliRunner().invoke(app, words)
                assert done.exit_code == 0, f"{line}\n{done.output}"
        else:
            capsys.readouterr()
            exec(compile(code, str(page), "exec"), names)
            promised = re.findall(r"# (\S+ \[.*)", code)
            printed = [line for line in capsys.readouterr().out.splitlines() if "[" in line]
            assert printed == promised


@pytest.mark.parametrize("program", sorted((ROOT / "docs/notebooks").glob("*2*.py")), ids=str)
def test_papers_from_their_equations_agree_with_the_library(program):
    assert len(program.read_text().splitlines()) <= 300
    derived, against = program.read_text().split("# ## Against the library")
    assert not re.search(r"^\s*(from|import) prunable", derived, flags=re.MULTILINE)
    assert "prunable" in against
    command = [sys.executable, str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr  # it compares its numbers with ours to 1e-12
    assert f"```\n{done.stdout}```" in (ROOT / "docs/papers" / f"{program.stem}.md").read_text()


def test_the_site_starts_as_the_readme_does():
    (typed,) = [code for kind, _, code in BLOCKS.findall(README) if kind == "sh"]
    assert f"```sh\n{typed}```" in (ROOT / "docs" / "index.md").read_text()


def test_the_readme_is_read_in_a_few_minutes():
    assert len(README.split()) <= 900


def test_indices_of_packages_show_the_readme_without_what_they_lack():
    hook = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["metadata"][
        "hooks"
    ]
    hook = hook["fancy-pypi-readme"]
    before = hook["fragments"][0]["end-before"]
    assert README.count(before) == 1
    shown = README.partition(before)[0]
    for rule in hook["substitutions"]:
        shown, count = re.subn(rule["pattern"], rule["replacement"], shown)
        assert count > 0, rule
    links = re.findall(r"\]\(([^)]*)\)", shown)
    assert [link for link in links if not link.startswith("https://")] == []
    assert "## What else it does" in shown
    assert "[architecture](ARCHITECTURE.md)" not in shown


def test_the_score_is_that_of_the_reproduced_items():
    found = (ROOT / "docs" / "reproduce" / "README.md").read_text()
    (line,) = re.findall(r"^\d+ documents of \d+ items: .*$", found, flags=re.MULTILINE)
    assert f"<!-- score -->\n{line}\n<!-- end of score -->" in README


def test_certified_errors_are_those_of_the_certificates():
    kept = sorted((ROOT / "docs" / "certify").glob("mnist-seed*.json"))
    bounds = [json.loads(path.read_text())["statement"]["train"]["bound"] for path in kept]
    low, high = (f"{math.ceil(1000 * bound) / 10:.1f}" for bound in (min(bounds), max(bounds)))
    assert f"<!-- certified -->{low} to {high} %<!-- end -->" in README


def test_table_and_findings_are_those_of_the_stored_results():
    page = (ROOT / "docs" / "demo.md").read_text()
    results = json.loads((ROOT / "docs" / "demo" / "results.json").read_text())
    (document,) = load_documents(ROOT / "docs" / "demo")
    table = document.tables[0]
    assert shown(table).markdown() in page
    assert results["findings"]
    assert all(finding["text"] in page for finding in results["findings"])
    for row, condition in zip(table.rows, results["conditions"], strict=True):
        for cell, column in zip(row[1:], table.columns[1:], strict=True):
            assert cell.value == pytest.approx(condition["summary"][column.key]["mean"], rel=1e-9)
    assert (ROOT / "docs" / "demo" / "overview.png").stat().st_size > 10_000


def test_commands_named_exist():
    texts = "\n".join(path.read_text() for path in PAGES)
    named = set(re.findall(r"(?:`|^)prunable ([a-z]+)\b(?! \d)", texts, flags=re.MULTILINE))
    assert len(named) > 10
    for name in named:
        assert CliRunner().invoke(app, [name, "--help"]).exit_code == 0, name


def test_make_targets_named_exist():
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"`make (\w+)", README))
    assert {"demo", "test", "docs"} <= named
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in named)


@pytest.mark.parametrize("page", [*TEXTS, *sorted((ROOT / "docs").rglob("*.md"))], ids=str)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!http)([^)#\s]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_site_holds_its_pages():
    site = (ROOT / "mkdocs.yml").read_text()
    pages = re.findall(r": (\S+\.(?:md|py))$", site, flags=re.MULTILINE)
    notebooks = [path for path in RUN if path.parent.name == "howto"]
    notebooks += (ROOT / "docs/notebooks").glob("*.py")
    assert {str(path.relative_to(ROOT / "docs")) for path in notebooks} <= set(pages)
    assert len(pages) > 30
    assert all((ROOT / "docs" / page).is_file() for page in pages)
    names = re.findall(r"^::: (\S+)$", (ROOT / "docs" / "api.md").read_text(), flags=re.MULTILINE)
    for name in names:
        module, _, last = name.rpartition(".")
        place = ROOT / "src" / Path(*name.split("."))
        if not (place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()):
            assert hasattr(__import__(module, fromlist=[last]), last), name
