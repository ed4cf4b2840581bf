"""What `pip install prunable` gives: the main commands run where no extra is installed."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# What packages of extras are imported as, where it is not their name.
MODULES = {"pytorch_lightning": ("pytorch_lightning", "lightning"), "mlflow_skinny": ("mlflow",)}

# Nothing of these is found; what imports one of them does so where nobody asked for an extra.
BLOCKED = """
import sys

class Hiding:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            return None
        return self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)

BLOCKED = set(sys.argv[1].split(","))
sys.meta_path[:] = map(Hiding, sys.meta_path)
from typer.testing import CliRunner
from prunable.cli.app import app
for line in sys.argv[2:]:
    done = CliRunner().invoke(app, line.split())
    if done.exit_code:
        raise SystemExit(f"{line}: {done.exit_code} {done.stderr[-2000:]} {done.exception!r}")
if found := BLOCKED & {name.partition(".")[0] for name in sys.modules}:
    raise SystemExit(f"imported all the same: {found}")
"""


def name_of(requirement):
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0].replace("-", "_").lower()


def hidden():
    """Modules of all extras, less those that are needed anyway."""
    core = {name_of(line) for line in PROJECT["dependencies"]}
    extras = [line for group in PROJECT["optional-dependencies"].values() for line in group]
    names = {name_of(line) for line in extras} - core - {PROJECT["name"]}
    return sorted({module for name in names for module in MODULES.get(name, (name,))})


def test_the_main_commands_run_without_any_extra(tmp_path):
    names = hidden()
    assert {"onnx", "transformers", "pandas", "ray", "torchvision"} <= set(names)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            BLOCKED,
            ",".join(names),
            "train --data digits --net two-layer --width 30 --epochs 2 --lr 0.1 --out run",
            "measure run/model.safetensors",
            "prune run/model.safetensors --keep 0.5 --data digits --batch-size 1 "
            "--out small.safetensors",
            "predict lgp --n 50 --p 100 --s 10 --sigma 0.5",
            "certify small.safetensors --data digits --epochs 1 --student none --out c.json",
            "demo --data digits --seeds 1 --width 20 --steps 5 --workers 1 --out demo",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PRUNABLE_CACHE": str(tmp_path / "empty")},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_versions_that_are_promised_are_tried():
    promised = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    tried = re.search(r"^PYTHONS = \((.*)\)", (ROOT / "noxfile.py").read_text(), flags=re.MULTILINE)
    assert promised == re.findall(r"\d\.\d+", tried[1])
    assert PROJECT["requires-python"] == f">={promised[0]}"


def test_what_is_shown_to_package_indices_is_whole():
    assert PROJECT["dynamic"] == ["readme"]  # README.md by its hook, which test_readme.py looks at
    assert all((ROOT / name).is_file() for name in PROJECT["license-files"])
