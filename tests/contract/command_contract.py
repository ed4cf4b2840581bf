"""What the commands promised: their options, and the keys of their JSON.

`python -m tests.contract.command_contract FILE` writes what today's code does; the file beside this
one was written before the second layout of the package and grows, but never shrinks.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import typer
from safetensors.torch import save_file

from prunable.data.loaders import load

STORED = Path(__file__).with_suffix(".json")
# A checkpoint of dense layers whose names, shapes and numbers never change.
SIZES = (64, 48, 40, 10)
COMMANDS = {
    "data list": "data list --json",
    "measure": "measure net.safetensors --authors --json",
    "measure against": "measure net.safetensors --against other.safetensors --json",
    "measure trajectory": "measure net.safetensors other.safetensors --json",
    "prune": "prune net.safetensors --keep 0.3 --out pruned.safetensors --json",
    "prune unit": "prune net.safetensors --method unit --keep 0.5 --shrink --data digits --net mlp"
    " --batch-size 1 --out small.safetensors --json",
    "prune retrain": "prune net.safetensors --keep 0.5 --scope global --data digits --net mlp"
    " --retrain 1 --batch-size 1 --out retrained.safetensors --json",
    "prune singular values": "prune net.safetensors --method singular-value --energy 0.9"
    " --out factors.safetensors --json",
    "prune dry run": "prune net.safetensors --eps 0.1 --dry-run --json",
    "train": "train --data digits --net two-layer --width 20 --epochs 20 --batch 20 --eta 0.1"
    " --out run --json",
    "prune compare": "prune run/model.safetensors --compare --data digits --out compared --json",
    "forecast": "forecast run/model.safetensors --inputs inputs.npz --accuracy 0.9 --keep 0.9"
    " --methods magnitude --json",
    "advise": "advise run/model.safetensors --inputs inputs.npz --accuracy 0.9 --keep 0.95"
    " --at-most-loss 0.5 --methods magnitude --out advice.json --json",
    "check": "check advice.json run/model.safetensors --inputs inputs.npz --json",
    "iterate": "iterate --data digits --net two-layer --width 20 --keep 0.3 --rounds 2 --epochs 2"
    " --last-epochs 2 --lr 0.1 --control random --control dense --out iterated --json",
    "predict lgp": "predict lgp --n 100 --p 200 --s 20 --sigma 0.5 --json",
    "predict lgp simulated": "predict lgp --n 30 --p 60 --s 5 --sigma 0.5 --simulate 3 --json",
    "predict lgp sweep": "predict lgp --n 100 --s 20 --sigma 0.5 --p 200 --sweep width --json",
    "predict lgp advice": "predict lgp --n 60 --p 90 --s 9 --law --recommend --json",
    "predict rf": "predict rf --n 60 --d 10 --s 10 --p 50 --p 150 --draws 2 --simulate 2 --json",
    "predict features": "predict features features.npz --n 30 --s 5 --json",
    "sketch encode": "sketch encode pruned.safetensors --only *.weight --out pruned.sketch --json",
    "sketch decode": "sketch decode pruned.sketch --out decoded.safetensors --json",
    "certify": "certify run/model.safetensors --data digits --epochs 10 --draws 20"
    " --out cert.json --json",
    "certify path": "certify run/model.safetensors --data digits --epochs 1 --draws 0"
    " --student none --learned none --path 4 --json",
    "verify": "verify cert.json --json",
    "reproduce list": "reproduce list --json",
    "reproduce": "reproduce chang2020-fig1 --scale smoke --backend serial --out items --json",
    "simulate chaos": "simulate chaos --scale smoke --seeds 2 --out chaos --json",
    "simulate moments": "simulate moments --scale smoke --out moments --json",
    "simulate federated": "simulate federated --data digits --clients 2 --rounds 1 --width 20"
    " --out federated --json",
}
FILES = {
    "certificate": "cert.json",
    "result of a run": "run/result.json",
    "item": "items/items/chang2020-fig1--smoke--paper.json",
}


def prepare() -> None:
    """Write the inputs of the commands into the working folder."""
    generator = np.random.default_rng(0)
    for name in ("net", "other"):
        tensors = {}
        for place, (inputs, outputs) in enumerate(pairwise(SIZES)):
            drawn = generator.standard_t(3, size=(outputs, inputs)) / inputs
            tensors[f"{2 * place}.weight"] = torch.from_numpy(drawn).float()
            tensors[f"{2 * place}.bias"] = torch.zeros(outputs)
        save_file(tensors, f"{name}.safetensors")
    x = generator.standard_normal((60, 12))
    np.savez("features.npz", X=x, y=x @ generator.standard_normal(12))
    digits = load("digits")
    np.savez("inputs.npz", x=digits.x_test[:200], y=digits.y_test[:200])


def run(command: str) -> str:
    """Standard output of one command; raises if it fails."""
    from prunable.cli.app import app

    found, talk = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(found), contextlib.redirect_stderr(talk):
        code = app(command.split(), standalone_mode=False)
    if code:
        raise RuntimeError(f"{command}: exit status {code}; {talk.getvalue()}")
    return found.getvalue()


def keys(value: object, at: str = "") -> set[str]:
    """Paths of a JSON value: `.key` into an object, `[]` into the items of an array."""
    if isinstance(value, dict):
        return {at, *(path for k, v in value.items() for path in keys(v, f"{at}.{k}"))}
    if isinstance(value, list):
        return {at, *(path for item in value for path in keys(item, f"{at}[]"))}
    return {at}


def options() -> dict[str, dict[str, list[str]]]:
    """Flags of every command, and the choices of those that have some."""
    from prunable.cli.app import app

    found: dict[str, dict[str, list[str]]] = {}

    def visit(command: object, name: str) -> None:
        for sub, part in getattr(command, "commands", {}).items():
            visit(part, f"{name} {sub}".strip())
        found[name] = {
            flag: sorted(str(getattr(choice, "value", choice)) for choice in _choices(option))
            for option in command.params
            for flag in option.opts
            if flag.startswith("-")
        }

    visit(typer.main.get_command(app), "")
    return found


def _choices(option: object) -> tuple[object, ...]:
    described = getattr(option, "type_descriptor", None)
    return tuple(described.choices) if getattr(described, "is_choice", False) else ()


def contract() -> dict[str, dict[str, object]]:
    """Options and keys of all commands, run in a folder of their own."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            prepare()
            found = {name: sorted(keys(json.loads(run(c)))) for name, c in COMMANDS.items()}
            found |= {n: sorted(keys(json.loads(Path(f).read_text()))) for n, f in FILES.items()}
        finally:
            os.chdir(before)
    return {"options": options(), "json": found}


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(contract(), indent=1, sort_keys=True) + "\n")
