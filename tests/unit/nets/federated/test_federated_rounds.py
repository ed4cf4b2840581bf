"""Rounds on digits: resumed runs, exact byte counts, comparisons, and their pages."""

import json
import subprocess
import sys

import pytest
import torch

from prunable.errors import DataIntegrityError, InputError, RunsFailedError, SpecError
from prunable.experiments.federate import federated
from prunable.experiments.federate.federated import answer, federate, initial_state, run_federated
from prunable.experiments.federate.federated_results import compare_methods, federated_document
from prunable.experiments.federate.federated_specs import (
    FederatedMethod,
    FederatedSpec,
    standard_methods,
)
from prunable.nets.federated import decode
from prunable.report.simulate.federated_figures import save_federated_figure
from prunable.report.simulate.federated_tables import federated_markdown, federated_table

METHODS = {method.label: method for method in standard_methods(sigma=1e-3)}
TOP_K = METHODS["top-k with error feedback"]


def spec_of(method, **options):
    fields = {"dataset": "digits", "width": 16, "clients": 3, "batch_size": 100, "lr": 0.3}
    return FederatedSpec.create(**(fields | options), method=method)


@pytest.mark.parametrize("label", ["heavy-tailed, pruned weights", TOP_K.label])
def test_killed_and_resumed_runs_are_identical(label, tmp_path):
    spec = spec_of(METHODS[label], partition="dirichlet")
    whole = run_federated(spec, 4, tmp_path / "whole")

    def kill(row):
        if row["round"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_federated(spec, 4, tmp_path / "killed", on_round=kill)
    seen = []
    resumed = run_federated(spec, 4, tmp_path / "killed", on_round=seen.append)
    assert resumed == whole == seen
    one, two = (tmp_path / name / federated.STATE_FILE for name in ("whole", "killed"))
    assert one.read_bytes() == two.read_bytes()


def test_bytes_are_the_lengths_of_the_messages(tmp_path):
    spec = spec_of(TOP_K)
    row = run_federated(spec, 1, tmp_path)[0]
    federation = federate(spec)
    state = initial_state(spec, federation)
    answers = [
        answer(spec, federation.model, state, None, federation.examples(c), round_=0, client=c)
        for c in range(3)
    ]
    assert row["bytes_up"] == sum(len(given.message) for given in answers)
    assert row["messages"] == 3
    for given, part in zip(answers, federation.parts, strict=True):
        message = decode(given.message, like=state)
        assert message.n_examples == len(part)
        entries = sum(t.numel() for t in message.tensors.values())
        kept = sum(int(t.count_nonzero()) for t in message.tensors.values())
        assert kept == -(-entries // 10)


def test_one_client_that_sends_all_is_plain_training(tmp_path):
    """With one client the server's model is the client's, round after round."""
    spec = spec_of(METHODS["dense FedAvg"], clients=1)
    run_federated(spec, 1, tmp_path)
    tensors = federated._load(tmp_path / federated.STATE_FILE)[0]
    federation = federate(spec)
    state = initial_state(spec, federation)
    given = answer(spec, federation.model, state, None, federation.examples(0), round_=0, client=0)
    update = decode(given.message).tensors
    for name, tensor in tensors.items():
        torch.testing.assert_close(tensor, state[name] + update[name], rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(
            tensor, federation.model.state_dict()[name], rtol=1e-5, atol=1e-6
        )


def test_models_can_be_sent_in_place_of_updates(tmp_path):
    dense = METHODS["dense FedAvg"]
    models = FederatedMethod.create(label="models", sends="model")
    one, two = (run_federated(spec_of(m), 2, tmp_path / m.label)[-1] for m in (dense, models))
    assert one["bytes_up"] == two["bytes_up"]
    assert one["loss"] == pytest.approx(two["loss"], rel=1e-4)


def test_the_comparison_and_its_pages(tmp_path):
    specs = [spec_of(method) for method in METHODS.values()]
    document = compare_methods(specs, 2, tmp_path)
    assert document == compare_methods(specs, 2, tmp_path)
    json.dumps(document, allow_nan=False)
    runs = {run["method"]["label"]: run["summary"] for run in document["runs"]}
    assert runs["dense FedAvg"]["fewer_bytes"] == 1
    assert runs["dense FedAvg"]["points_below"] == 0
    assert not runs["dense FedAvg"]["holds"]
    assert runs[TOP_K.label]["fewer_bytes"] > 4
    assert sum(map(sum, document["clients"])) == len(federate(specs[0]).y)
    save_federated_figure([document, document], tmp_path / "figure.svg")
    drawn = (tmp_path / "figure.svg").read_bytes()
    save_federated_figure([document, document], tmp_path / "again.svg")
    assert drawn == (tmp_path / "again.svg").read_bytes()
    text = federated_markdown(document)
    assert all(f"| {label} |" in text for label in METHODS)
    assert len(federated_table(document).rows) == len(METHODS)


def test_a_diverged_client_is_left_out_and_named(tmp_path, monkeypatch):
    spec = spec_of(METHODS["dense FedAvg"])
    real = federated.train_locally
    calls = []

    def sometimes(*args, **options):
        outcome = real(*args, **options)
        calls.append(outcome)
        if len(calls) == 2:
            return type(outcome)("diverged", "the loss is nan at step 3", outcome.state)
        return outcome

    monkeypatch.setattr(federated, "train_locally", sometimes)
    row = run_federated(spec, 1, tmp_path)[0]
    assert row["diverged"] == {"1": "the loss is nan at step 3"}
    assert row["messages"] == 2


def test_divergence_of_all_is_an_error(tmp_path):
    spec = spec_of(METHODS["dense FedAvg"], lr=1e30, epochs=3)
    with pytest.raises(RunsFailedError, match="every client diverged in round 1"):
        run_federated(spec, 1, tmp_path)


def test_a_damaged_state_is_named(tmp_path):
    spec = spec_of(TOP_K)
    run_federated(spec, 1, tmp_path)
    path = tmp_path / federated.STATE_FILE
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataIntegrityError, match=federated.STATE_FILE):
        run_federated(spec, 2, tmp_path)


def test_rounds_that_are_there_are_not_run_again(tmp_path, monkeypatch):
    spec = spec_of(TOP_K)
    rows = run_federated(spec, 2, tmp_path)
    monkeypatch.setattr(federated, "train_locally", None)
    assert run_federated(spec, 1, tmp_path) == rows[:1]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kappa": 0.5}, "`kappa` of `FederatedMethod` must be 1"),
        ({"selection": "topk", "kappa": 0.0}, "`kappa`"),
        ({"sends": "model", "feedback": True}, "`feedback`"),
        ({"sigma": 0.1}, "`noise` is none"),
        ({"noise": "type1", "sigma": 0.1}, "`alpha`"),
        ({"noise": "type1", "alpha": 2.5, "sigma": 0.1}, "`alpha`"),
        ({"noise": "type1", "alpha": 1.5, "sigma": -1.0}, "`sigma`"),
        ({"precision": "float8"}, "`precision`"),
    ],
)
def test_methods_that_make_no_sense_are_named(fields, message):
    with pytest.raises(SpecError, match=message):
        FederatedMethod.create(label="x", **fields)


def test_other_bad_input_is_named(tmp_path):
    with pytest.raises(InputError, match="`rounds`"):
        run_federated(spec_of(TOP_K), 0, tmp_path)
    with pytest.raises(InputError, match="must not be empty"):
        compare_methods([], 1, tmp_path)
    with pytest.raises(InputError, match="method alone"):
        federated_document([spec_of(TOP_K), spec_of(TOP_K, lr=0.5)], [[], []], None)
    with pytest.raises(InputError, match="`clients`"):
        run_federated(spec_of(TOP_K, clients=10**6), 1, tmp_path)


def test_flower_gives_the_same_rows(tmp_path):
    pytest.importorskip("flwr", reason="the extra `flower` is not installed")
    pytest.importorskip("ray", reason="the extra `flower` is not installed")
    spec = spec_of(TOP_K)
    # a process of its own: Ray takes over signals and starts from a script that it can find again
    script = (
        "import json, os, sys\n"
        "from prunable.experiments.federate.federated_flower import run_flower\n"
        "from prunable.experiments.federate.federated_specs import FederatedSpec\n"
        "spec = FederatedSpec.model_validate_json(sys.argv[1])\n"
        "print('rows', json.dumps(run_flower(spec, 2, cpus=os.cpu_count())))\n"
    )
    command = [sys.executable, "-c", script, spec.model_dump_json()]
    found = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    rows = [line for line in found.stdout.splitlines() if line.startswith("rows ")]
    assert rows, found.stderr[-2000:]
    assert json.loads(rows[0].removeprefix("rows ")) == run_federated(spec, 2, tmp_path)
