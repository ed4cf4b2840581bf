"""Conditions that fail a build: read, judged, and written for build servers."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest
import torch

import prunable
from prunable.errors import InputError
from prunable.report.checks import Case, Condition, github, junit
from prunable.report.measure.advice import advice, failures, next_command


@pytest.fixture(scope="module")
def measured():
    torch.manual_seed(0)
    layers = [torch.nn.Linear(60, 60, bias=False) for _ in range(3)]
    with torch.no_grad():
        layers[1].weight.copy_(torch.randn(60, 60) ** 3)
    return prunable.measure(torch.nn.Sequential(*layers), spectrum="none")


@pytest.mark.parametrize("text", ["kept>", "kept=1", "> 3", "kept@x>1", "kept>one", "kept>1e"])
def test_other_conditions_are_refused(text):
    with pytest.raises(InputError, match="NAME>NUMBER or NAME@EPS>NUMBER"):
        Condition.of(text, "measure")


@pytest.mark.parametrize("sign", ["<", "<=", ">", ">="])
def test_signs_mean_what_they_say(sign):
    condition = Condition.of(f"kept@0.1{sign}0.5", "measure")
    assert (condition.name, condition.eps, condition.bound) == ("kept", 0.1, 0.5)
    assert [condition.holds(x) for x in (0.4, 0.5, 0.6)] == ["<" in sign, "=" in sign, ">" in sign]
    assert not condition.holds(float("nan"))


def test_conditions_meet_the_numbers_of_the_measurement(measured):
    kept = measured.overall.kappa["common_eps"]["0.1"]
    asked = [f"kept>{kept - 0.01}", f"kept>{kept + 0.01}", "layer.kept<0.5", "kept@0.2>=0"]
    found = failures(measured, [Condition.of(text, "measure") for text in asked])
    assert [case.failed for case in found] == [True, False, True, True]
    assert found[2].said.startswith("1 of 3 layers: 1.weight (0.")


@pytest.mark.parametrize(
    ("text", "message"), [("size>3", "a condition on one of kept"), ("kept@0.3>0", "Add --eps 0.3")]
)
def test_what_was_not_measured_is_refused(measured, text, message):
    with pytest.raises(InputError, match=message):
        failures(measured, [Condition.of(text, "measure")])


def test_build_servers_can_read_it():
    cases = [Case("kept>0.8", "kept is 0.9\n<&>", True), Case("alpha<1", "alpha is 2", False)]
    suite = ElementTree.fromstring(junit("net, a", cases))
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert suite[0][0].tag == "failure"
    assert github("net, a", cases) == [
        "::error title=net%2C a::kept>0.8: kept is 0.9%0A<&>",
        "::notice title=net%2C a::alpha<1: alpha is 2",
    ]


def test_advice_names_the_layer_with_most_room_and_the_next_command(measured, tmp_path):
    (tmp_path / "net.pt").touch()
    stored = replace(measured, model=str(tmp_path / "net.pt"))
    first, rules, *_, next_, last = advice(stored)
    assert first.split(": ")[1].startswith("1.weight (keeps")
    assert "LAMP" in rules
    best = measured.overall.allocation["0.1"].best
    assert next_ == f"Next: {next_command(stored, best)}"
    assert f"--keep {best:.3g} --scope global --allocation relative" in next_
    assert next_.endswith("net-pruned.safetensors")
    assert "--data" in last


def test_advice_names_no_command_that_cannot_run(measured, tmp_path):
    (tmp_path / "net.onnx").touch()
    for model in (measured.model, str(tmp_path / "net.onnx")):
        assert not any("Next: " in line for line in advice(replace(measured, model=model)))
    folder = next_command(replace(measured, model=str(tmp_path)), 0.5)
    assert folder.endswith(f"{tmp_path}-pruned")


def test_embeddings_which_pruning_leaves_alone_have_no_room(measured):
    layers = [replace(layer, kind="embedding") for layer in measured.layers[1:2]]
    layers = (measured.layers[0], *layers, *measured.layers[2:])
    assert "1.weight" not in advice(replace(measured, layers=layers))[0]
