"""Rounds on digits: resumed runs, exact byte counts, comparisons, and their pages."""

import json
import subprocess
import sys

import pytest
import torch

from prunable.errors import DataIntegrityError, InputError, RunsFailedError, SpecError
from prunable.experiments.federate import rounds as module
from prunable.experiments.federate.comparing import compare_methods, federated_document
from prunable.experiments.federate.rounds import answer, federate, initial_state, run_rounds
from prunable.experiments.federate.specs import FederatedMethod, FederatedSpec, standard_methods
from prunable.nets.federated.message import decode
from prunable.report.simulate.federated import (
    federated_markdown,
    federated_table,
    save_federated_figure,
)
from prunable.runs.backends import SerialBackend

METHODS = {method.label: method for method in standard_methods(sigma=1e-3)}
TOP_K = METHODS["top-k with error feedback"]


STATE = "state.safetensors"


def spec_of(method, rounds=1, **options):
    fields = {
        "dataset": "digits",
        "rounds": rounds,
        "width": 16,
        "clients": 3,
        "batch_size": 100,
        "lr": 0.3,
    }
    return FederatedSpec.create(**(fields | options), method=method)


@pytest.mark.parametrize("label", ["heavy-tailed, pruned weights", TOP_K.label])
def test_killed_and_resumed_runs_are_identical(label, tmp_path):
    spec = spec_of(METHODS[label], 4, partition="dirichlet")
    whole = run_rounds(spec, tmp_path / "whole")

    def kill(row):
        if row["round"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_rounds(spec, tmp_path / "killed", on_round=kill)
    seen = []
    resumed = run_rounds(spec, tmp_path / "killed", on_round=seen.append)
    assert resumed == whole == seen
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "killed").read_bytes()


def test_bytes_are_the_lengths_of_the_messages(tmp_path):
    spec = spec_of(TOP_K)
    row = run_rounds(spec, tmp_path / STATE)[0]
    federation = federate(spec)
    state = initial_state(federation)
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


def test_a_round_of_full_batches_is_one_step_of_gradient_descent(tmp_path):
    """Weights n_k / n times gradients of means over n_k examples: the gradient over all n."""
    spec = spec_of(METHODS["dense FedAvg"], batch_size=10_000, partition="dirichlet")
    row = run_rounds(spec, tmp_path / STATE)[0]
    federation = federate(spec)
    sizes = [len(part) for part in federation.parts]
    assert len(set(sizes)) > 1
    network = federation.model
    torch.nn.functional.cross_entropy(network(federation.x), federation.y).backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter -= spec.lr * parameter.grad
    found = module._load(tmp_path / STATE)[0]
    for name, expected in network.state_dict().items():
        torch.testing.assert_close(found[name], expected, rtol=1e-5, atol=1e-6)
    logits = network(federation.x_test)
    right = (logits.argmax(dim=1) == federation.y_test).double().mean()
    assert row["accuracy"] == pytest.approx(float(right), abs=1e-12)
    loss = torch.nn.functional.cross_entropy(logits, federation.y_test)
    assert row["loss"] == pytest.approx(float(loss.detach()), rel=1e-5)


def test_models_can_be_sent_in_place_of_updates(tmp_path):
    dense = METHODS["dense FedAvg"]
    models = FederatedMethod.create(label="models", sends="model")
    one, two = (run_rounds(spec_of(m, 2), tmp_path / m.label)[-1] for m in (dense, models))
    assert one["bytes_up"] == two["bytes_up"]
    assert one["loss"] == pytest.approx(two["loss"], rel=1e-4)


def test_the_comparison_and_its_pages(tmp_path):
    specs = [spec_of(method, 2) for method in METHODS.values()]
    document, again = (compare_methods(specs, tmp_path, backend=SerialBackend()) for _ in range(2))
    assert document == again
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
    assert [row.cells[0] for row in federated_table(document).rows] == list(METHODS)


def test_a_diverged_client_is_left_out_and_named(tmp_path, monkeypatch):
    spec = spec_of(METHODS["dense FedAvg"])
    real = module.train_locally
    calls = []

    def sometimes(*args, **options):
        outcome = real(*args, **options)
        calls.append(outcome)
        if len(calls) == 2:
            return type(outcome)("diverged", "the loss is nan at step 3", outcome.state)
        return outcome

    monkeypatch.setattr(module, "train_locally", sometimes)
    row = run_rounds(spec, tmp_path / STATE)[0]
    assert row["diverged"] == {"1": "the loss is nan at step 3"}
    assert row["messages"] == 2


def test_divergence_of_all_is_an_error(tmp_path):
    spec = spec_of(METHODS["dense FedAvg"], lr=1e30, epochs=3)
    with pytest.raises(RunsFailedError, match="every client diverged in round 1"):
        run_rounds(spec, tmp_path / STATE)


def test_a_damaged_state_is_named(tmp_path):
    spec = spec_of(TOP_K)
    run_rounds(spec, tmp_path / STATE)
    path = tmp_path / STATE
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataIntegrityError, match=STATE):
        run_rounds(spec, path)


def test_rounds_that_are_there_are_not_run_again(tmp_path, monkeypatch):
    rows = run_rounds(spec_of(TOP_K, 2), tmp_path / STATE)
    monkeypatch.setattr(module, "train_locally", None)
    assert run_rounds(spec_of(TOP_K, 1), tmp_path / STATE) == rows[:1]


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
    with pytest.raises(SpecError, match="`rounds`"):
        spec_of(TOP_K, 0)
    with pytest.raises(InputError, match="method alone"):
        compare_methods([], tmp_path)
    with pytest.raises(InputError, match="method alone"):
        federated_document([spec_of(TOP_K), spec_of(TOP_K, lr=0.5)], [[], []], None)
    with pytest.raises(InputError, match="`clients`"):
        run_rounds(spec_of(TOP_K, clients=10**6), tmp_path / STATE)


def test_flower_gives_the_same_rows(tmp_path):
    pytest.importorskip("flwr", reason="the extra `flower` is not installed")
    pytest.importorskip("ray", reason="the extra `flower` is not installed")
    spec = spec_of(TOP_K, 2)
    # a process of its own: Ray takes over signals and starts from a script that it can find again
    script = (
        "import json, os, sys\n"
        "from prunable.experiments.federate.flower import run_flower\n"
        "from prunable.experiments.federate.specs import FederatedSpec\n"
        "spec = FederatedSpec.model_validate_json(sys.argv[1])\n"
        "print('rows', json.dumps(run_flower(spec, cpus=os.cpu_count())))\n"
    )
    command = [sys.executable, "-c", script, spec.model_dump_json()]
    found = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    rows = [line for line in found.stdout.splitlines() if line.startswith("rows ")]
    assert rows, found.stderr[-2000:]
    assert json.loads(rows[0].removeprefix("rows ")) == run_rounds(spec, tmp_path / STATE)
