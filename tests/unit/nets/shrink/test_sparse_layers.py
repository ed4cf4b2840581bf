"""Compressed rows: the same numbers as the dense layer, used only where they win."""

import copy
import json

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from prunable.errors import InputError
from prunable.nets.shrink import sparse_layers
from prunable.nets.shrink.sparse_layers import SparseLinear, sparsify


def thinned(model, share=0.9, seed=1):
    """Zero a share of all weight matrices."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim > 1:
                p *= torch.rand(p.shape, generator=generator) >= share
    return model


def always(ratio):
    """A stand-in for the clock: compressed rows take `ratio` of the dense time."""

    def seconds(calls, *, repeats):
        names = list(calls)
        for call in calls.values():
            call()
        return {name: np.full(repeats, ratio if name == names[0] else 1.0) for name in names}

    return seconds


@given(
    st.integers(1, 7),
    st.integers(1, 7),
    st.floats(0, 1),
    st.booleans(),
    st.lists(st.integers(0, 3), max_size=3),
)
@settings(max_examples=60, deadline=None)
def test_computes_what_the_linear_layer_does(into, out, share, bias, lead):
    linear = thinned(nn.Linear(into, out, bias=bias, dtype=torch.float64), share)
    sparse = SparseLinear.from_linear(linear)
    x = torch.randn(*lead, into, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(sparse(x), linear(x), rtol=1e-12, atol=1e-12)
    assert torch.equal(sparse.dense_weight(), linear.weight)
    assert torch.equal(sparse.to_linear().weight, linear.weight)
    assert sparse.bias is linear.bias
    assert sparse.n_nonzero == int((linear.weight != 0).sum())


def test_rows_are_those_of_scipy():
    linear = thinned(nn.Linear(20, 30), 0.8)
    sparse = SparseLinear.from_linear(linear)
    theirs = scipy.sparse.csr_array(linear.weight.detach().numpy())
    assert sparse.crow_indices.dtype == sparse.col_indices.dtype == torch.int32
    assert np.array_equal(sparse.crow_indices, theirs.indptr)
    assert np.array_equal(sparse.col_indices, theirs.indices)
    assert np.array_equal(sparse.values.detach(), theirs.data)
    assert "n_nonzero" in repr(sparse)


def test_gradients_reach_the_input_only():
    linear = thinned(nn.Linear(6, 4))
    sparse, x = SparseLinear.from_linear(linear), torch.randn(3, 6, requires_grad=True)
    sparse(x).sum().backward()
    torch.testing.assert_close(x.grad, linear.weight.sum(0).expand(3, 6))
    assert not sparse.values.requires_grad


def test_state_dict_round_trip(tmp_path):
    sparse = SparseLinear.from_linear(thinned(nn.Linear(12, 8)))
    torch.save(sparse.state_dict(), tmp_path / "m.pt")
    state = torch.load(tmp_path / "m.pt")
    assert list(state) == ["values", "bias", "crow_indices", "col_indices"]
    for assign in (False, True):
        again = SparseLinear(12, 8)
        again.load_state_dict(state, assign=assign)
        x = torch.randn(3, 12)
        assert torch.equal(again(x), sparse(x))
    nested = nn.Sequential(SparseLinear(12, 8))
    nested.load_state_dict(nn.Sequential(sparse).state_dict())
    assert torch.equal(nested[0].dense_weight(), sparse.dense_weight())


@pytest.mark.parametrize(
    ("name", "value"), [("col_indices", 99), ("col_indices", -1), ("crow_indices", 99)]
)
def test_indices_out_of_the_matrix_are_refused(name, value):
    """They would read foreign memory."""
    sparse = SparseLinear.from_linear(thinned(nn.Linear(12, 8)))
    state = {n: t.clone() for n, t in sparse.state_dict().items()}
    state[name][-1] = value
    with pytest.raises(RuntimeError, match="0 holds no compressed rows"):
        nn.Sequential(SparseLinear(12, 8)).load_state_dict({f"0.{n}": t for n, t in state.items()})


class Odd(nn.Module):
    """Layers that stay dense for one reason each."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 2, 3, padding=1)
        self.full = nn.Linear(8, 8)
        self.tied, self.twin = nn.Linear(8, 8), nn.Linear(8, 8)
        self.twin.weight = self.tied.weight
        self.read = nn.Linear(8, 8)
        self.hooked = nn.Linear(8, 8)
        self.hooked.register_forward_hook(lambda *_: None)
        self.idle = nn.Linear(8, 8)
        self.good = nn.Linear(8, 8)
        self.coarse = nn.Linear(8, 8)

    def forward(self, x):
        x = self.full(self.conv(x[:, None]).sum(1))
        x = self.hooked(self.twin(self.tied(x)))
        x = self.coarse(x.bfloat16()).float()
        return self.good(self.read(x) + self.read.weight.sum())


def test_reasons_are_named(monkeypatch):
    monkeypatch.setattr(sparse_layers, "interleaved_seconds", always(0.5))
    model = thinned(Odd())
    nn.init.ones_(model.full.weight)
    model.coarse.bfloat16()
    before = copy.deepcopy(model.state_dict())
    result, report = sparsify(model, [torch.randn(2, 8), torch.randn(5, 8)])
    reasons = {layer.name: layer for layer in report.layers}
    assert [name for name, layer in reasons.items() if layer.layout == "csr"] == ["good"]
    for name, reason in {
        "conv": "no sparse kernel",
        "full": "100% of its weights",
        "tied": "tied",
        "hooked": "hooks",
        "idle": "does not call",
        "read": "compressed rows fail here",
        "coarse": "compressed rows fail here",
    }.items():
        assert reason in reasons[name].reason, name
    assert reasons["good"].times == {2: 0.5, 5: 0.5}
    assert report.n_sparse == 1
    assert report.max_difference < 1e-5
    assert isinstance(result.good, SparseLinear)
    assert result.coarse.weight.dtype == torch.bfloat16
    assert result.training
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert json.loads(json.dumps(report.to_dict()))["times"] == {"2": 0.5, "5": 0.5}


@pytest.mark.parametrize("ratio", [0.94, 0.96, 1.5])
def test_the_clock_decides(monkeypatch, ratio):
    monkeypatch.setattr(sparse_layers, "interleaved_seconds", always(ratio))
    model = thinned(nn.Sequential(nn.Linear(9, 9), nn.ReLU(), nn.Linear(9, 9)))
    result, report = sparsify(model, [torch.randn(4, 9)])
    wins = ratio < 0.95
    assert isinstance(result[0], SparseLinear) == wins
    assert report.n_sparse == 2 * wins
    assert report.times == {4: ratio if wins else 1.0}
    assert ("faster" if wins else "take 0.96" if ratio < 1 else "take 1.50") in (
        report.layers[0].reason
    )


def test_one_slow_batch_size_keeps_a_layer_dense(monkeypatch):
    def seconds(calls, *, repeats):
        batch = len(next(iter(calls.values())).args[-1])
        return always(2.0 if batch == 7 else 0.1)(calls, repeats=repeats)

    monkeypatch.setattr(sparse_layers, "interleaved_seconds", seconds)
    model = thinned(nn.Sequential(nn.Linear(9, 9)))
    _, report = sparsify(model, [torch.randn(4, 9), torch.randn(7, 9)])
    took = "compressed rows take 2.00 ± 0.00 times the dense time at batch size 7"
    assert report.layers[0].reason == took
    assert report.layers[0].spread == {4: 0.0, 7: 0.0}
    assert report.times == {4: 1.0, 7: 1.0}


def test_the_whole_model_has_the_last_word(monkeypatch):
    """Each layer gains, yet together they lose."""

    def seconds(calls, *, repeats):
        return always(0.5 if "csr" in calls else 1.1)(calls, repeats=repeats)

    monkeypatch.setattr(sparse_layers, "interleaved_seconds", seconds)
    model = thinned(nn.Sequential(nn.Linear(9, 9), nn.Linear(9, 9)))
    result, report = sparsify(model, [torch.randn(4, 9)])
    assert report.n_sparse == 0
    assert "whole model is slower in compressed rows at batch size 4" in report.layers[1].reason
    assert report.times == {4: 1.0}
    assert report.max_difference == 0
    assert all(isinstance(layer, nn.Linear) for layer in result)


def test_shared_layers_and_single_layers(monkeypatch):
    monkeypatch.setattr(sparse_layers, "interleaved_seconds", always(0.5))
    shared = nn.Linear(9, 9)
    result, _ = sparsify(thinned(nn.Sequential(shared, nn.ReLU(), shared)), [torch.randn(4, 9)])
    assert result[0] is result[2]
    assert isinstance(result[0], SparseLinear)
    alone, _ = sparsify(thinned(nn.Linear(9, 9)), [torch.randn(4, 9)])
    assert isinstance(alone, SparseLinear)


def test_a_real_probe_returns_what_it_timed():
    """By the real clock, whatever that chooses."""
    model = thinned(nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 64)), 0.95)
    batches = [torch.randn(1, 512), torch.randn(64, 512)]
    result, report = sparsify(model, batches, repeats=9)
    assert all(ratio <= 1 for ratio in report.times.values())
    assert report.n_sparse == sum(isinstance(m, SparseLinear) for m in result.modules())
    with torch.no_grad():
        torch.testing.assert_close(result(batches[1]), model(batches[1]), rtol=1e-4, atol=1e-5)


def test_mistakes():
    model = nn.Sequential(nn.Linear(9, 9))
    for batches in ([], [torch.zeros(0, 9)], [torch.tensor(1.0)]):
        with pytest.raises(InputError, match="`example_batches` of `sparsify` must be one or more"):
            sparsify(model, batches)
    with pytest.raises(InputError, match=r"`example_batches\[1\]` of shape \(2, 3\) does not fit"):
        sparsify(model, [torch.zeros(2, 9), torch.zeros(2, 3)])
