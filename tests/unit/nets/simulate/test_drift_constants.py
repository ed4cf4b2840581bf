"""Lemma A.1: the drift against its constants, on random particles, and where the print fails."""

import pytest
import torch

from prunable.errors import InputError
from prunable.nets.simulate.drift_constants import drift_constants
from prunable.nets.simulate.particles import MeanFieldProblem

F64 = torch.float64
READOUT = 3.0


def problem(loss, activation="tanh", m=9, p=4, decay=0.0):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(m, p, dtype=F64, generator=generator)
    y = torch.randn(m, 1, dtype=F64, generator=generator)
    outputs = 1
    if loss == "logistic":
        y = y.sign()
    elif loss == "cross-entropy":
        outputs, y = 3, torch.arange(m) % 3
    return MeanFieldProblem(x, y, activation, loss, outputs, decay)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
@pytest.mark.parametrize("loss", ["squared", "logistic", "cross-entropy"])
def test_the_inequalities_hold_on_random_particles(loss, activation):
    at = problem(loss, activation)
    found = drift_constants(at, READOUT)
    generator = torch.Generator().manual_seed(4)
    n, p, pairs = 6, at.inputs.shape[1], 200
    c = torch.randn(pairs, n, at.outputs, dtype=F64, generator=generator)
    c *= READOUT / c.norm(dim=2, keepdim=True)
    first = 2 * torch.randn(pairs, n, p, dtype=F64, generator=generator)
    step = torch.randn(pairs, n, p, dtype=F64, generator=generator)
    scale = 10.0 ** torch.empty(pairs, 1, 1, dtype=F64).uniform_(-4, 1, generator=generator)
    second = first + scale * step
    (b1, f1), (b2, f2) = at.drift(first, c), at.drift(second, c)
    slack = 1 + 1e-9
    assert b1.norm(dim=2).max() <= found.bound
    own = (first - second).norm(dim=2)
    outputs = ((f1 - f2) ** 2).sum(dim=2).mean(dim=1).sqrt()
    change = (b1 - b2).norm(dim=2)
    assert (change <= slack * found.bound * (own + outputs[:, None])).all()
    others = found.by_others * own.mean(dim=1, keepdim=True)
    assert (change <= slack * (found.bound * own + others)).all()
    assert found.by_others <= found.bound**2 / 2


def test_the_printed_last_constant_is_exceeded_by_large_readouts():
    # One example of length 1, readouts 100, logistic loss: f = 0 is far from saturation, and
    # moving all other particles by d changes the drift by 100^2 / 4 * d.
    at = MeanFieldProblem(
        torch.ones(1, 1, dtype=F64), torch.ones(1, 1, dtype=F64), "tanh", "logistic"
    )
    n, d = 1000, 1e-6
    c = torch.full((1, n, 1), 100.0, dtype=F64)
    first = torch.zeros(1, n, 1, dtype=F64)
    second = first.clone()
    second[:, 1:] += d
    change = float((at.drift(first, c)[0] - at.drift(second, c)[0])[0, 0].abs())
    found = drift_constants(at, 100.0)
    moved = float((first - second).norm(dim=2).mean())
    assert change == pytest.approx(2500 * moved, rel=1e-3)
    assert change > 5 * found.bound * moved  # as printed
    assert change <= found.by_others * moved


def test_what_the_assumption_excludes_is_refused():
    for wrong in (problem("squared", "relu"), problem("squared", decay=0.1)):
        with pytest.raises(InputError):
            drift_constants(wrong, READOUT)
    with pytest.raises(InputError, match="readout"):
        drift_constants(problem("squared"), 0.0)
