"""Plugins by entry points: an example package that brings one of each kind, and broken ones."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from prunable import plugins
from prunable.errors import InputError
from prunable.experiments.reproduce.registry import papers, studies
from prunable.nets.prune.choices import methods
from prunable.nets.prune.strategies.named import strategy_named
from prunable.numerics import tails

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "tests" / "example_plugins"


def installed(folder, name, version, groups):
    """What installers leave of a package: its metadata, from which entry points are read."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [
        line
        for group, points in groups.items()
        for line in (f"[{group}]", *(f"{key} = {value}" for key, value in points.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def seen(tmp_path, monkeypatch):
    """A folder whose packages are found, until the test ends."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for known in (plugins.plugins, papers, studies):
        known.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    for known in (plugins.plugins, papers, studies):
        known.cache_clear()


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The example package as installed, and a checkpoint of its own network."""
    place = tmp_path_factory.mktemp("plugins")
    shutil.copytree(EXAMPLE / "prunable_example", place / "prunable_example")
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    installed(place, project["name"], project["version"], project["entry-points"])
    return place


def commands(place, *lines):
    """Run commands in a process of their own, whose path holds the package."""
    program = (
        "import sys, json\n"
        "from typer.testing import CliRunner\n"
        "from prunable.cli.app import app\n"
        "for line in sys.argv[1:]:\n"
        "    done = CliRunner().invoke(app, line.split())\n"
        "    print(json.dumps([done.exit_code, done.stdout, done.stderr, repr(done.exception)]))\n"
    )
    path = os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", program, *lines],
        capture_output=True,
        text=True,
        check=True,
        cwd=place,
        env=os.environ | {"PYTHONPATH": path, "COLUMNS": "100"},
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_each_of_the_five_is_used_where_its_kind_is(example):
    make = (
        "import torch, prunable\n"
        "net = prunable.load('tiny:chain3?width=32')\n"
        "torch.save(net.state_dict(), 'net.pt')\n"
    )
    path = os.pathsep.join([str(example), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | {"PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", make], check=True, cwd=example, env=env)
    net = "--net tiny:chain3?width=32"
    done = commands(
        example,
        "measure net.pt --json",
        f"prune net.pt {net} --data rings --method row-magnitude --keep .25 --batch-size 1 "
        "--out small.safetensors --json",
        "prune --help",
        "certify net.pt --data rings --epochs 1 --student-epochs 1 --out c.json --json",
        "data list",
        "data list --json",
        "train --data rings --net two-layer --epochs 1 --out run",
        "prune net.pt --net tiny:ring --method row-magnitude --keep .25 --out other.safetensors",
        "verify c.json --data rings",
        "prune net.pt --net tiny:chain3?widht=32 --method unit --keep .25 --out other.safetensors",
    )
    ends = [(exit_code, error[-400:], raised) for exit_code, _, error, raised in done]
    assert [exit_code for exit_code, *_ in ends] == [0, 0, 0, 0, 0, 0, 2, 2, 0, 2], ends
    measured, pruned, _, certified, _, listed = (
        json.loads(out) if out.lstrip().startswith(("{", "[")) else out for _, out, *_ in done[:6]
    )
    assert {"top_twentieth", "hill"} <= measured["layers"][0]["estimators"].keys()
    kept = {layer["name"]: layer["n_kept"] for layer in pruned["plan"]["layers"]}
    assert kept == {"0.weight": 32, "2.weight": 32 * 8, "4.weight": 4 * 8}
    assert "row-magnitude" in "".join(done[2][1].replace("│", "").split())
    (bound,) = [b for b in certified["bounds"] if b["name"] == "half precision"]
    numbers = 2 * 32 + 32 * 32 + 32 * 4 + 32 + 32 + 4
    nats = 16 * np.log(2) * numbers + np.log(1 / 0.05)
    assert bound["value"] - bound["terms"][0]["value"] == pytest.approx(np.sqrt(nats / 1600))
    assert "prunable_example.data:rings" in done[4][1]
    (rings,) = [entry for entry in listed if entry["name"] == "rings"]
    assert rings["plugin"] == "prunable_example.data:rings"
    assert "`prune`, `certify` or `verify`" in " ".join(done[6][2].split())
    assert "chainN with N of 2 or more" in " ".join(done[7][2].split())
    assert "Did you mean width?" in " ".join(done[9][2].split())


@pytest.mark.usefixtures("seen")
def test_the_example_estimator_finds_the_index_of_pareto(example, monkeypatch):
    """Off by more than 5 standard errors in one of 1.7 million."""
    monkeypatch.syspath_prepend(str(example))
    found = tails.estimators()["top_twentieth"]
    x = np.random.default_rng(3).pareto(1.5, 100_000) + 1
    estimate = found(x)
    assert abs(estimate.alpha - 1.5) < 5 * estimate.stderr
    assert estimate.method == "top_twentieth"
    # few distinct values come counted, and are told one by one
    coarse = np.ceil(x)
    values, counts = np.unique(coarse, return_counts=True)
    assert found(tails.Repeated(values, counts)) == found(coarse)


def test_each_is_at_most_50_lines_and_the_page_shows_them():
    page = (ROOT / "docs" / "plugins.md").read_text()
    files = [path for path in (EXAMPLE / "prunable_example").glob("*.py") if path.stem[0] != "_"]
    assert len(files) == 5
    for path in files:
        assert len(path.read_text().splitlines()) <= 50
        assert f"tests/example_plugins/prunable_example/{path.name}" in page
    shown = re.findall(r"^```(?:python|toml)\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    assert (EXAMPLE / "prunable_example" / "tails.py").read_text() in shown
    points = (EXAMPLE / "pyproject.toml").read_text().partition("\n\n[project.entry-points")[2]
    assert f"[project.entry-points{points}" in shown


BROKEN = "import nowhere_at_all\n"
WRONG = """
def estimate(x, *, center=None):
    return 1.7

def explode(*args, **kwargs):
    raise ZeroDivisionError("by nothing")

class Own(BaseException):
    pass

def end(*args, **kwargs):
    raise Own("of its own kind")

def lie(x, *, center=None):
    from prunable.numerics.tails import Status, TailEstimate
    return TailEstimate("many", 0.1, 3, "lie", Status.OK, "", 0.0)

class Sideways:
    axis = "sideways"
    plan = explode

class Hidden:
    plan = explode

    @property
    def axis(self):
        raise ZeroDivisionError("by nothing")
"""


def test_a_broken_plugin_is_one_message_that_names_it(seen):
    (seen / "brokenplugin.py").write_text(BROKEN)
    (seen / "wrongplugin.py").write_text(WRONG)
    installed(
        seen,
        "broken-package",
        "2.1",
        {
            "prunable.strategies": {
                "gone": "brokenplugin:X",
                "absent": "wrongplugin:nothing",
                "odd": "wrongplugin:explode",
                "own": "wrongplugin:end",
                "sideways": "wrongplugin:Sideways",
                "hidden": "wrongplugin:Hidden",
            },
            "prunable.papers": {"lost2024": "brokenplugin:PAPER"},
            "prunable.studies": {"no-study": "wrongplugin:explode"},
        },
    )
    assert {"gone", "absent", "odd"} <= set(methods())
    named = (
        r"The plugin `gone` \(prunable.strategies, brokenplugin:X of broken-package 2.1\) fails "
    )
    with pytest.raises(InputError, match=named + ".*nowhere_at_all.*Mend or uninstall"):
        strategy_named("gone")
    with pytest.raises(InputError, match=r"`absent`.*AttributeError"):
        strategy_named("absent")
    with pytest.raises(InputError, match=r"`odd`.*ZeroDivisionError: by nothing"):
        strategy_named("odd")
    with pytest.raises(InputError, match=r"`own`.*Own: of its own kind"):
        strategy_named("own")
    with pytest.raises(InputError, match=r"`sideways`.* must give a strategy, which .*axis \(w"):
        strategy_named("sideways")
    with pytest.raises(InputError, match=r"`hidden`.*ZeroDivisionError"):
        strategy_named("hidden")
    with pytest.raises(InputError, match=r"`lost2024`.*broken-package"):
        papers()
    with pytest.raises(InputError, match=r"`no-study`.* must give an Item"):
        studies()


def test_what_a_plugin_gives_is_looked_at(seen):
    (seen / "wrongplugin2.py").write_text(WRONG)
    groups = {
        "prunable.tails": {"wrong": "wrongplugin2:estimate", "lie": "wrongplugin2:lie"},
        "prunable.papers": {"lost2025": "wrongplugin2:estimate"},
    }
    installed(seen, "wrong-package", "1.0", groups)
    with pytest.raises(InputError, match=r"`lie`.* fails \(ValidationError: .*alpha"):
        tails.estimators()["lie"](np.ones(100))
    with pytest.raises(InputError, match=r"`lost2025`.* must give a Paper; got function"):
        papers()
    with pytest.raises(InputError, match=r"`wrong`.* must give a TailEstimate; got float"):
        tails.estimators()["wrong"](np.ones(100))


def test_what_is_built_in_stays_and_two_of_a_name_are_refused(seen):
    for package in ("first", "second"):
        installed(
            seen,
            package,
            "1.0",
            {"prunable.strategies": {"magnitude": "brokenplugin:X", "twice": "brokenplugin:X"}},
        )
    assert strategy_named("magnitude") is not None
    assert methods().count("magnitude") == 1
    with pytest.raises(InputError, match=r"`twice`.*first 1.0 and second 1.0"):
        strategy_named("twice")
