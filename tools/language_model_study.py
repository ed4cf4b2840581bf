"""A language model pruned from a text and judged on another, by the commands that users give.

`python tools/language_model_study.py MODEL VALID TEST OUT [--windows 128]` prunes a folder of
transformers or a GGUF file in every way of `WAYS` from the first windows of VALID. Each pruned
folder is judged on the last tenth of VALID, by which ways are compared, and on the first windows of
TEST. Of each command the minutes and the largest memory are noted. OUT receives study.json, which
another call goes on from, study.md and study.svg. The whole of TEST is read for the best way at
each share, as VALID has it, and for the dense network. `--show` writes what OUT has by now.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from stored_study import begun

from prunable.files import write_bytes, write_json, write_text
from prunable.report.figures import PALETTE, SIZE, STYLE, as_svg, space_ticks

LENGTH, WINDOWS = 512, 4  # of what is judged; the protocol of the tables
HELD = 10  # the last one of so many parts of the text for calibration is for comparing ways

WANDA, OBS = "--method wanda", "--method obs"
IN_ORDER, TOWARDS = "--in-order", "--towards network"
SHARED = "--scope global --allocation"
# What is done, by name, most wanted first.
WAYS = {
    f"{name}, {share}": f"{how} {budget}"
    for share, budget in (
        ("kappa .5", "--keep .5"),
        ("2:4", "--n-m 2:4"),
        ("kappa .4", "--keep .4"),
        ("kappa .7", "--keep .7"),
    )
    for name, how in (
        ("weights times inputs", WANDA),
        ("surgery", OBS),
        ("surgery in order", f"{OBS} {IN_ORDER}"),
        ("surgery towards the network", f"{OBS} {TOWARDS}"),
        ("magnitude", "--method magnitude"),
        ("weights times inputs, one threshold", f"{WANDA} {SHARED} threshold"),
        ("weights times inputs, linear in depth", f"{WANDA} {SHARED} atp"),
        ("surgery in order, linear in depth", f"{OBS} {IN_ORDER} {SHARED} atp"),
    )
    if share != "2:4" or ("--scope" not in how and "--method magnitude" not in how)
}


def command(*arguments: object) -> tuple[dict[str, Any], float, float]:
    """What a command prints as JSON, its minutes and the most memory it took, in GB."""
    program = "from prunable.cli.app import main; main()"
    call = [sys.executable, "-c", program, *map(str, arguments), "--json"]
    begun = time.monotonic()
    with tempfile.TemporaryFile() as printed:
        actions = [(os.POSIX_SPAWN_DUP2, printed.fileno(), 1)]
        process = os.posix_spawn(sys.executable, call, dict(os.environ), file_actions=actions)
        _, status, usage = os.wait4(process, 0)
        if status:
            raise SystemExit(f"{' '.join(call[3:])} failed.")
        printed.seek(0)
        found: dict[str, Any] = json.loads(printed.read())
    return found, (time.monotonic() - begun) / 60, usage.ru_maxrss / 2**20


def judged(model: Path, held: Path, test: Path) -> dict[str, float]:
    """Perplexities of a network on what ways are compared by, and on the start of the test text."""
    options = ("--length", LENGTH, "--windows", WINDOWS)
    return {
        name: command("evaluate", model, "--text", text, *options)[0]["perplexity"]
        for name, text in (("held_out", held), ("test", test))
    }


def pruned(
    model: Path, how: str, valid: Path, windows: int, out: Path
) -> dict[str, float | int | str]:
    """Prune by one way into a folder; what it took, and what is left."""
    shutil.rmtree(out, ignore_errors=True)
    options = how.split()
    if "magnitude" not in how:
        options += ["--calibrate", str(valid), "--calibrate-size", str(windows)]
    found, minutes, memory = command("prune", model, *options, "--batch-size", 1, "--out", out)
    kappa = found["plan"]["kappa"]
    return {"options": how, "kappa": kappa, "minutes": minutes, "gigabytes": memory}


def page(document: dict[str, Any]) -> str:
    """The table of all ways that were tried."""
    rows = [
        "| way | held out | test, 4 windows | whole test text | minutes | GB |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in document["ways"].items():
        whole = f"{found['whole']:.2f}" if "whole" in found else ""
        took = f"{found['minutes']:.1f} | {found['gigabytes']:.1f}" if "minutes" in found else " | "
        numbers = f"{found['held_out']:.2f} | {found['test']:.2f} | {whole} | {took}"
        rows.append(f"| {name} | {numbers} |")
    head = (
        f"Perplexity of {document['model']} in windows of {LENGTH} tokens; calibrated with "
        f"{document['windows']} windows of {document['valid']}."
    )
    shown = ["![Perplexity of each way](study.svg)", "", *rows]
    call = "python tools/language_model_study.py MODEL VALID TEST OUT --windows"
    how = ["Minutes are of one core that other programs used as well. Made by:", ""]
    how += [f"    {call} {document['windows']}", ""]
    return "\n".join(["# Ways to prune a language model", "", head, *how, *shown, ""])


def figure_of(document: dict[str, Any]) -> Figure:
    """Perplexities of all ways on the start of the test text, beside the dense network's."""
    ways = {name: found["test"] for name, found in document["ways"].items()}
    dense = ways.pop("dense")
    with mpl.rc_context(STYLE):
        figure = Figure((SIZE[0] * 1.3, 1.2 + 0.3 * len(ways)), layout="constrained")
        axes = figure.add_subplot(title="Perplexity on the start of the test text")
        places = range(len(ways))
        axes.barh(places, list(ways.values()), color=PALETTE[2], height=0.6)
        axes.axvline(dense, color=PALETTE[0], linestyle="--", label=f"dense: {dense:.1f}")
        for place, value in zip(places, ways.values(), strict=True):
            axes.annotate(f" {value:.1f}", (value, place), va="center")
        axes.set_yticks(places, list(ways))
        axes.invert_yaxis()
        axes.set_xscale("log")
        space_ticks(axes.xaxis)
        axes.grid(axis="y", visible=False)
        axes.legend()
    return figure


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("model", "valid", "test", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--windows", type=int, default=128)
    parser.add_argument("--only", default="", help="Ways whose names have this.")
    parser.add_argument("--show", action="store_true", help="Run nothing.")
    asked = parser.parse_args()
    out: Path = asked.out
    out.mkdir(parents=True, exist_ok=True)
    whole = asked.valid.read_text(encoding="utf-8")
    cut = whole.rindex("\n", 0, len(whole) - len(whole) // HELD) + 1
    valid, held = out / "valid.txt", out / "held.txt"
    write_text(valid, whole[:cut])
    write_text(held, whole[cut:])
    place, folder = out / "study.json", out / "pruned"
    fresh = {
        "model": asked.model.name,
        "valid": asked.valid.name,
        "windows": asked.windows,
        "ways": {},
    }
    document = begun(place, fresh, "ways")
    ways = document["ways"]

    def show() -> None:
        write_text(out / "study.md", page(document))
        if len(ways) > 1:
            write_bytes(out / "study.svg", as_svg(figure_of(document)))

    def keep(name: str, found: dict[str, Any]) -> None:
        ways[name] = ways.get(name, {}) | found
        write_json(place, document)
        show()

    def read_whole(name: str, model: Path) -> None:
        found, _, _ = command("evaluate", model, "--text", asked.test, "--length", LENGTH)
        keep(name, {"whole": found["perplexity"]})

    if asked.show:
        show()
        return
    if "dense" not in ways:
        keep("dense", judged(asked.model, held, asked.test))
    for name, how in WAYS.items():
        if asked.only in name and name not in ways:
            took = pruned(asked.model, how, valid, asked.windows, folder)
            keep(name, took | judged(folder, held, asked.test))
    if asked.only:
        return
    if "whole" not in ways["dense"]:
        read_whole("dense", asked.model)
    for share in ("kappa .5", "2:4", "kappa .4", "kappa .7"):
        names = [name for name in WAYS if name.endswith(share)]
        best = min(names, key=lambda name: float(ways[name]["held_out"]))
        if "whole" not in ways[best]:
            pruned(asked.model, WAYS[best], valid, asked.windows, folder)
            read_whole(best, folder)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
