"""Three statements about a network as it is, against scipy and against what may enter them."""

import json
import subprocess

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.optimize import brentq
from scipy.stats import beta, binom
from torch import nn

from prunable.certify import student as student_room
from prunable.certify import verifying
from prunable.certify.architecture import count_errors
from prunable.certify.bounds.occam import occam_bound
from prunable.certify.certificate import answers_beside, write_certificate
from prunable.certify.code_file import encode_network
from prunable.certify.examples import examples_of
from prunable.certify.pipeline import certify_model
from prunable.certify.student import Students, distilled
from prunable.certify.verifying import MissingDataError, RefutedError, verify
from prunable.data.loaders import load
from prunable.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")

DELTA = 0.05
QUICK = Students("d8,d", 4, "d16,d", 3, share=0.4)


class Convolutional(nn.Module):
    """A network with a shortcut, which no code file can name."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Linear(4 * 16, 10)

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = nn.functional.max_pool2d(x + torch.relu(self.second(x)), 2)
        return self.last(x.flatten(1))


@pytest.fixture(scope="module")
def digits():
    return examples_of(load("digits", flatten=False))


@pytest.fixture(scope="module")
def model(tmp_path_factory, digits):
    """Weights of a network trained for a moment, and how the command is told what it is."""
    torch.manual_seed(0)
    network, (x, y) = Convolutional(), digits[0].tensors
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    path = tmp_path_factory.mktemp("given") / "net.safetensors"
    save_file(network.state_dict(), path)
    return path, f"{__name__}:Convolutional", network


@pytest.fixture(scope="module")
def certified(model):
    path, net, _ = model
    return certify_model(path, "digits", net=net, students=QUICK, draws=0)


def upper(k, n, delta):
    """Clopper and Pearson's limit by the beta distribution."""
    return beta.ppf(1 - delta, k + 1, n - k)


@torch.no_grad()
def test_three_statements_in_order_each_with_its_examples(certified, digits, model):
    document, (train, test) = certified.to_dict(), digits
    kinds = [(s["kind"], s["prior"]) for s in document["statements"]]
    assert kinds == [
        ("held-out examples", "none"),
        ("compression", "data-free"),
        ("compression and disagreement", "data-free"),
        ("compression and disagreement", "learned"),
    ]
    held_out, _, student, learned = document["statements"]
    x, y = test.tensors
    errors = int((model[2](x).argmax(1) != y).sum())
    assert held_out["value"] == pytest.approx(upper(errors, len(y), DELTA), abs=1e-9)
    assert (held_out["labelled"], held_out["unlabelled"]) == (len(y), 0)
    assert f"{len(y):,} labelled examples" in held_out["text"]
    assert (student["labelled"], student["unlabelled"]) == (len(train.y), len(y))
    rest = len(train.y) - round(0.4 * len(train.y))
    assert (learned["labelled"], learned["unlabelled"]) == (rest, len(y))
    for statement in document["statements"]:
        assert statement["delta"] == pytest.approx(DELTA)
        assert statement["vacuous"] == (statement["value"] >= document["guessing"])
    assert "1 - 0.2" in document["together"]


@torch.no_grad()
def test_a_network_is_bounded_by_student_and_disagreement(certified, digits, model):
    """Both parts anew: the student's tail by scipy at delta / 2, disagreement by both logits."""
    test, certificate = digits[1], certified.student
    statement = certificate.statement
    assert statement["delta"] == pytest.approx(DELTA / 2)
    k, n, bits = statement["train"]["errors"], statement["train"]["n"], statement["bits"]
    log_delta = np.log(DELTA / 2) - bits * np.log(2)
    wanted = brentq(lambda p: binom.logcdf(k, n, p) - log_delta, k / n + 1e-9, 1 - 1e-9)
    logits = certificate.network.logits(test.tensors[0])
    top, second = logits.sort(1).values[:, [-1, -2]].T
    tied = top - second <= 1e-9 * logits.abs().amax(1)  # a tie of the student is no answer
    apart = int(((logits.argmax(1) != model[2](test.tensors[0]).argmax(1)) | tied).sum())
    assert statement["network"]["errors"] == apart
    between = upper(apart, len(test.y), DELTA / 2)
    value = certified.statements[2].bound.value
    assert value == pytest.approx(wanted + between, abs=1e-7)
    assert statement["train"]["bound"] + statement["network"]["bound"] == pytest.approx(value)


def test_what_no_code_file_names_is_counted_as_stored(certified, model):
    bits = 32 * sum(p.numel() for p in model[2].parameters())
    assert f"{bits:,} bits as stored" in certified.statements[1].text
    assert certified.statements[1].to_dict()["vacuous"]
    assert certified.certificate is certified.student
    assert certified.to_dict()["best"]["name"] == "held-out set"


def test_certificates_of_students_verify_and_their_answers_are_bound(certified, tmp_path):
    path = tmp_path / "cert.json"
    write_certificate(path, certified.student)
    document = json.loads(path.read_text())
    assert document["format"] == "prunable certificate 3"
    found = verify(path)
    assert "If its inputs served no choice" in str(found)
    assert "with probability at least 1 - 0.05: " in str(found)
    answers = np.load(answers_beside(path))
    answers[0] = (answers[0] + 1) % 10
    np.save(answers_beside(path), answers)
    with pytest.raises(RefutedError, match="not the data"):
        verify(path)
    answers_beside(path).unlink()
    with pytest.raises(MissingDataError, match="lie beside it"):
        verify(path)


def test_want_of_memory_refutes_nothing(certified, tmp_path, monkeypatch):
    path = tmp_path / "cert.json"
    write_certificate(path, certified.student)
    said = json.dumps({"verified": False, "outcome": "malformed", "reason": "MemoryError()"})
    done = subprocess.CompletedProcess([], 2, said, "")
    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "run", lambda *_, **__: done)
        with pytest.raises(MemoryError):
            verify(path)

    def full(*_, **__):
        raise InputError("no examples") from MemoryError("there is none")

    monkeypatch.setattr(verifying.DataSpec, "load", full)
    with pytest.raises(MemoryError, match="there is none"):
        verify(path)


def test_the_integers_of_a_student_are_searched(digits, monkeypatch):
    """What comes back answers as the network does at a lower bound than what was trained."""
    train, answers = digits[0], (digits[0].y + (digits[0].y % 3 == 0)) % 10
    found = distilled(answers, train, 10, QUICK, DELTA)
    monkeypatch.setattr(student_room, "polish", lambda network, *_: network)
    trained = distilled(answers, train, 10, QUICK, DELTA)
    bounds = [
        occam_bound(
            count_errors(network.logits, torch.from_numpy(train.x), torch.from_numpy(answers)),
            len(answers),
            8 * len(encode_network(network)),
            DELTA,
        ).value
        for network in (found, trained)
    ]
    assert bounds[0] < bounds[1] - 0.01


def test_a_network_without_a_code_needs_a_student(model):
    with pytest.raises(InputError, match="student"):
        certify_model(model[0], "digits", net=model[1], draws=0)


def test_without_held_out_examples_compression_alone_is_said(model):
    found = certify_model(
        model[0], "digits", net=model[1], held_out="none", students=QUICK, draws=0
    )
    assert [statement.kind for statement in found.statements] == ["compression"]
    assert "network" not in found.student.statement


@pytest.mark.parametrize("share", [0, 1, -0.1])
def test_shares_leave_examples_on_both_sides(share):
    with pytest.raises(InputError, match="share"):
        Students(share=share)
