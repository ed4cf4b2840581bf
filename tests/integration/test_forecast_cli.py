"""`prunable forecast`, `advise` and `check` on a network of the user's own."""

import json
import os
import re
import runpy
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import prunable
from prunable import load
from prunable.budgets import Keep
from prunable.nets.prune.plan_file import PlanFile, write_plan
from prunable.strategies import MagnitudePruning

MODULE = """
from torch import nn

def build():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(48, 4),
    )

def features():
    return nn.Conv2d(1, 8, 3, padding=1)
"""
COMMON = "net.pt --net forecastnet:build --inputs x.npz"


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """A trained network, inputs, and inputs with their classes."""
    place, before = tmp_path_factory.mktemp("forecast"), Path.cwd()
    os.chdir(place)
    (place / "forecastnet.py").write_text(MODULE)
    made: dict = {}
    exec(MODULE, made)
    torch.manual_seed(0)
    net = made["build"]()
    x = torch.randn(1600, 1, 8, 8)
    y = torch.randint(4, (1600,))
    rows, columns = 4 * (y // 2), 4 * (y % 2)
    for row, column, picture in zip(rows, columns, x, strict=True):
        picture[0, row : row + 4, column : column + 4] += 0.6
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(25):
        for part in torch.randperm(1000).split(100):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[part]), y[part]).backward()
            optimizer.step()
    torch.save(net.state_dict(), "net.pt")
    torch.save(nn.Conv2d(1, 8, 3, padding=1).state_dict(), "features.pt")
    np.savez("x.npz", x=x[1000:1300].numpy())
    np.savez("xy.npz", x=x[1300:].numpy(), y=y[1300:].numpy())
    np.savez("few.npz", x=x[:20].numpy())
    np.savez("constant.npz", x=np.zeros((64, 1, 8, 8), np.float32))
    np.savez("shape.npz", x=np.zeros((64, 3, 8, 8), np.float32))
    np.savez("nan.npz", x=np.full((64, 1, 8, 8), np.nan, np.float32))
    np.savez("words.npz", x=x[:64].numpy(), y=np.array(["cat"] * 64))
    np.savez("classes.npz", x=x[:64].numpy(), y=np.full(64, 9))
    np.savez("more.npz", x=x[:64].numpy(), z=np.zeros(3))
    (place / "broken.npz").write_bytes(b"PK nothing")
    with torch.no_grad():
        accuracy = float((net.eval()(x[1000:]).argmax(1) == y[1000:]).double().mean())
    yield place, accuracy
    os.chdir(before)


def test_the_document_of_a_forecast(document_of, folder):
    found = document_of("forecast", COMMON, f"--accuracy {folder[1]} --keep .8 --keep .5")
    assert (found["schema_version"], found["model"], found["inputs"]) == (1, "net.pt", 300)
    assert {"method": "magnitude", "allocation": "global"}.items() <= found["curves"][0].items()
    for curve in found["curves"]:
        for point in curve["points"]:
            assert point["low"] <= point["accuracy"] <= point["high"]
            assert 0 < point["macs"] <= 1
    assert {"name", "passed", "text"} == set(found["checks"][0])


def test_pages_figures_and_tables(run, folder):
    options = "--methods magnitude/lamp,2:4 --keep .5 --report a.html --figure a.svg"
    done = run("forecast", COMMON, f"--accuracy {folder[1]}", options)
    assert done.exit_code == 0, done.output
    assert "magnitude/lamp" in done.stdout
    page = Path("a.html").read_text()
    assert "<svg" in page
    assert "magnitude/lamp" in page
    assert Path("a.svg").read_bytes().startswith(b"<?xml")


def test_classes_in_the_file_sharpen_unless_told_otherwise(document_of, folder):
    options = f"net.pt --net forecastnet:build --inputs xy.npz --accuracy {folder[1]} --keep .3"
    with_them = document_of("forecast", options, "--methods magnitude")
    without = document_of("forecast", options, "--methods magnitude --no-labels")
    first, second = (x["curves"][0]["points"][0] for x in (with_them, without))
    assert first["accuracy"] != second["accuracy"]


def test_advice_is_carried_out_and_checked(run, document_of, folder):
    options = f"--accuracy {folder[1]} --at-most-loss .1 --methods magnitude/lamp --keep .9"
    found = document_of("advise", COMMON, options, "--store kept")
    assert found["verdict"] == "ACCEPT"
    assert found["plan"] == "net.plan.json"
    words = shlex.split(found["command"])
    assert words[:2] == ["prunable", "prune"]
    done = run(shlex.join(words[1:]), "--batch-size 1")
    assert done.exit_code == 0, done.output
    pruned = load("net-pruned.safetensors", net="forecastnet:build")
    dense = load("net.pt", net="forecastnet:build")
    x = torch.from_numpy(np.load("x.npz")["x"])
    with torch.no_grad():
        kept = float((pruned(x).argmax(1) == dense(x).argmax(1)).double().mean())
    assert kept == pytest.approx(found["chosen"]["retention"])
    check = run("check net.plan.json net.pt --net forecastnet:build --inputs xy.npz --json")
    outcome = json.loads(check.stdout)
    assert check.exit_code == {"HOLDS": 0, "FAILS": 1, "UNSURE": 3}[outcome["verdict"]]
    assert outcome["inputs"] == 300
    again = run(
        "prune net.pt --net forecastnet:build --input-shape 1,8,8 --out b.safetensors",
        "--plan net.plan.json --keep .5",
    )
    assert again.exit_code == 2
    assert "--keep" in again.stderr


def test_a_checked_plan_that_leaves_no_decisions_says_so(run):
    plan = prunable.prune(
        load("net.pt", net="forecastnet:build"), MagnitudePruning(), Keep(0.01), dry_run=True
    ).plan
    chosen = dict.fromkeys(("accuracy", "loss", "low", "high"), 0.5)
    notes = {"chosen": chosen, "at_most_loss": 0.1, "accuracy": 0.9}
    write_plan("lost.json", PlanFile(plan, {}, notes))
    asked = "check lost.json net.pt --net forecastnet:build --inputs xy.npz --json"
    done = run(asked)
    assert done.exit_code == 1, done.output
    assert json.loads(done.stdout)["lost"] == np.bincount(np.load("xy.npz")["y"]).max() / 300
    assert "lost its decisions" in done.stderr
    assert "prune net.pt --plan lost.json" in done.stderr


def test_what_cannot_be_held_ends_a_pipeline(run, folder):
    options = f"--accuracy {folder[1]} --at-most-loss .001 --methods magnitude --keep .05"
    done = run("advise", COMMON, options, "--junit a.xml --github --report b.html")
    assert done.exit_code == 1, done.output
    assert "INFEASIBLE" in done.stdout
    assert "<failure" in Path("a.xml").read_text()
    assert "::error title=prunable advise::" in done.stderr
    assert "INFEASIBLE" in Path("b.html").read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--inputs x.npz --accuracy 93", "Did you mean 0.93"),
        ("--inputs x.npz --accuracy .2", "above chance"),
        ("--inputs x.npz --accuracy nan", "accuracy"),
        ("--inputs few.npz --accuracy .9", "30 inputs"),
        ("--inputs constant.npz --accuracy .9", "different for different inputs"),
        ("--inputs shape.npz --accuracy .9", "`--inputs` of shape (64, 3, 8, 8) does not fit"),
        ("--inputs shape.npz --accuracy .9", "Its first layer, 0, takes (n, 1, ...)"),
        ("--inputs nan.npz --accuracy .9", "NaN"),
        ("--inputs words.npz --accuracy .9", "under the name y, no numbers"),
        ("--inputs classes.npz --accuracy .9", "classes from 0 to 3"),
        ("--inputs more.npz --accuracy .9", "beside x"),
        ("--inputs broken.npz --accuracy .9", "cannot be read"),
        ("--inputs none.npz --accuracy .9", "is missing"),
        ("--inputs net.txt --accuracy .9", "ending in"),
        ("--inputs x.npz --accuracy .9 --methods lottery", "methods"),
        ("--inputs x.npz --accuracy .9 --methods ,", "methods"),
        ("--inputs x.npz --accuracy .9 --keep 2", "`--keep` of `forecast`"),
        ("--inputs x.npz --accuracy .9 --report a.pdf", ".html"),
        ("--inputs x.npz --accuracy-inputs 100", "no effect without --accuracy"),
    ],
)
def test_bad_input_is_one_message(run, options, said):
    done = run("forecast net.pt --net forecastnet:build", options)
    assert done.exit_code == 2, done.output
    message = " ".join(done.stderr.split())
    assert message.startswith("error:")
    assert said in message
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("forecast features.pt --net forecastnet:features --inputs x.npz", "scores of classes"),
        (f"advise {COMMON} --accuracy .9 --at-most-loss 5", "Did you mean 0.05"),
        (f"advise {COMMON} --accuracy .9 --target speed=2", "target"),
        ("check none.json net.pt --net forecastnet:build --inputs xy.npz", "missing"),
        ("check x.npz net.pt --net forecastnet:build --inputs xy.npz", "cannot be read"),
    ],
)
def test_other_mistakes(run, command, said):
    done = run(command)
    assert done.exit_code == 2, done.output
    assert said in " ".join(done.stderr.split())


def test_the_notebook_runs_and_its_advice_is_judged(tmp_path, monkeypatch, capsys):
    place = Path(__file__).parents[2] / "docs/notebooks/forecast.py"
    monkeypatch.setattr(sys, "argv", [str(place), str(tmp_path)])
    runpy.run_path(str(place))
    said = capsys.readouterr().out
    assert "Advice(ACCEPT" in said
    assert "0.weight" in said
    assert re.search(r"the loss of [-.0-9]+ holds", said)
    assert (tmp_path / "forecast.svg").read_text().startswith("<?xml")
