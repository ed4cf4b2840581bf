"""What a network costs: counts by hand, memory by hand, times by a clock of known ticks."""

import copy
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import nn

from prunable.errors import InputError
from prunable.nets.networks import timing
from prunable.nets.networks.equality import (
    check_same,
    exact_outputs,
    largest_difference,
    tensors_in,
    within_rounding,
)
from prunable.nets.networks.memory import peak_bytes, stored_bytes
from prunable.nets.networks.timing import interleaved_seconds
from prunable.nets.prune.plan import Keep
from prunable.nets.prune.pruning import prune
from prunable.nets.prune.strategies import MagnitudePruning, NodePruning, SingularValuePruning
from prunable.nets.shrink.factoring import factor
from prunable.nets.shrink.footprint import compare
from prunable.nets.shrink.sparse_layers import SparseLinear
from prunable.nets.shrink.surgery import shrink


def convolutional():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 16, 10),
        nn.Linear(10, 4, bias=False),
    )


def chain():
    return nn.Sequential(nn.Linear(30, 40), nn.ReLU(), nn.Linear(40, 4))


def one(model, x, **options):
    """The footprint of one model."""
    return compare({"model": model}, x, repeats=1, **options).models["model"]


def test_counts_by_hand():
    model = convolutional()
    with torch.no_grad():
        model[5].weight[:3] = 0
    result = compare({"net": model}, torch.randn(5, 3, 8, 8), (1, 4), repeats=2)
    found = result.models["net"]
    conv, dense, last = 8 * 3 * 9 + 8, 10 * 128 + 10, 40
    assert found.parameters == conv + 16 + dense + last
    # new batch normalisation: scales of one, biases of zero
    assert found.nonzeros == conv + 8 + dense - 3 * 128 + last
    assert found.macs == 64 * 8 * 27 + 1280 + 40
    assert list(found.milliseconds) == [1, 4]
    assert [row.name for row in result.layers] == ["0", "5", "6"]
    rows = [row.models["net"] for row in result.layers]
    assert [row.macs for row in rows] == [64 * 8 * 27, 1280, 40]
    assert [row.parameters for row in rows] == [conv, dense, last]
    assert [row.nonzeros for row in rows] == [conv, dense - 3 * 128, last]
    assert rows[0].shapes == ((8, 3, 3, 3),)
    assert found.accuracy is None
    assert result.kappa is None


def test_size_on_disk_is_that_of_the_file(tmp_path):
    """Independent: the bytes that safetensors itself makes of the state."""
    model = chain()
    path = tmp_path / "m"
    path.write_bytes(b"x" * 321)
    sizes = compare({"a": model, "b": model}, torch.randn(1, 30), files={"b": path}, repeats=1)
    assert sizes.models["a"].disk_bytes == len(save(model.state_dict(), {}))
    assert sizes.models["b"].disk_bytes == 321
    tied = nn.Sequential(nn.Linear(30, 30, bias=False), nn.Linear(30, 30, bias=False))
    tied[1].weight = tied[0].weight
    found = one(tied, torch.randn(1, 30))
    assert found.parameters == 900
    assert found.disk_bytes == len(save({"0.weight": tied[0].weight.detach()}, {}))


def test_masked_shrunk_factored_and_sparse_beside_dense():
    """Masks change the non-zeros alone; surgery all of it."""
    model, x = chain(), torch.randn(8, 30)
    plan = prune(model, NodePruning(axis="unit"), Keep(0.25), dry_run=True).plan
    small = shrink(model, plan, x).model
    masked = copy.deepcopy(model)
    prune(masked, NodePruning(axis="unit"), Keep(0.25))
    models = {"dense": model, "masked": masked, "exported": small}
    result = compare(models, x, (1, 8), plan=plan, accuracy=lambda m: float(m is small), repeats=3)
    dense, masked_, exported = result.models.values()
    assert dense.parameters == masked_.parameters == 40 * 31 + 41 * 4
    assert dense.macs == masked_.macs == 40 * 34
    assert dense.disk_bytes == masked_.disk_bytes > exported.disk_bytes
    assert masked_.nonzeros == dense.nonzeros - 30 * 31  # with their biases
    assert exported.parameters == 10 * 31 + 11 * 4
    assert exported.macs == 10 * 34
    assert [found.accuracy for found in result.models.values()] == [0, 0, 1]
    first, last = result.layers
    assert first.kappa_asked == first.kappa == result.kappa == 0.25
    assert last.kappa is None
    assert first.models["exported"].shapes == ((10, 30),)

    spectral = prune(model, SingularValuePruning(), Keep(0.1), dry_run=True, only=("0.*",)).plan
    pair = factor(model, spectral, x).model
    thin = copy.deepcopy(model)
    prune(thin, MagnitudePruning(), Keep(0.1))
    rows = nn.Sequential(SparseLinear.from_linear(thin[0]), thin[1], thin[2])
    result = compare({"dense": model, "pair": pair, "rows": rows}, x, plan=spectral, repeats=1)
    _, two, csr = result.models.values()
    assert two.macs == 3 * 70 + 160
    assert csr.macs == 120 + 160
    assert csr.parameters == 120 + 40 + 164
    assert csr.nonzeros == 120 + 40 + 16 + 4
    layer = result.layers[0]
    assert layer.models["pair"].shapes == ((3, 30), (40, 3))
    assert layer.models["pair"].macs == 210
    assert layer.models["rows"].macs == 120
    document = json.loads(json.dumps(result.to_dict()))
    assert document["layers"][0]["models"]["rows"]["shapes"] == [[40, 30]]
    assert set(document["models"]["pair"]["milliseconds"]["1"]) == {"median", "spread"}


def test_layers_that_a_model_lacks_are_left_out():
    result = compare(
        {"a": chain(), "b": nn.Sequential(nn.Linear(30, 4))}, torch.randn(2, 30), repeats=1
    )
    assert [list(row.models) for row in result.layers] == [["a", "b"], ["a"]]


def test_peak_memory_by_hand():
    """The two largest neighbours of a chain live together, beside the parameters and the input."""
    model = nn.Sequential(
        nn.Linear(10, 1000), nn.Flatten(), nn.Linear(1000, 500), nn.Linear(500, 1)
    )
    model.eval()
    stored = 4 * sum(p.numel() for p in model.parameters())
    assert stored_bytes(model) == stored
    batch = 7
    # of the input, two neighbours, and a view that takes nothing
    assert peak_bytes(model, torch.randn(batch, 10)) == stored + 4 * batch * (10 + 1000 + 500)
    in_place = nn.Sequential(nn.Linear(10, 1000), nn.ReLU(inplace=True))
    stored = 4 * 11 * 1000
    assert peak_bytes(in_place, torch.randn(batch, 10)) == stored + 4 * batch * 1010
    out_of_place = nn.Sequential(nn.Linear(10, 1000), nn.ReLU())
    assert peak_bytes(out_of_place, torch.randn(batch, 10)) == stored + 4 * batch * 2010
    tied = nn.Sequential(nn.Linear(10, 10, bias=False), nn.Linear(10, 10, bias=False))
    tied[1].weight = tied[0].weight
    assert stored_bytes(tied) == 400
    assert one(tied, torch.randn(2, 10), batch_sizes=(1, 3)).peak_bytes == 400 + 3 * 3 * 40


class Skip(nn.Module):
    """Holds its input until the end."""

    def forward(self, x):
        y = x + 1
        return torch.relu(torch.relu(torch.relu(y))) + y


def test_what_is_held_counts():
    x = torch.randn(100)
    # y, the third relu and, before it goes, the second; the first is gone by then
    assert peak_bytes(Skip(), x) == 400 * (1 + 3)


def test_models_are_left_as_they_were():
    model = convolutional().train()
    model[1].eval()
    before = copy.deepcopy(model.state_dict())
    one(model, torch.randn(2, 3, 8, 8))
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert [m.training for m in model] == [True, False, True, True, True, True, True]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_precision_is_that_of_the_model(dtype):
    found = one(chain().to(dtype), torch.randn(2, 30, dtype=dtype))
    plain = one(chain(), torch.randn(2, 30))
    assert found.macs == plain.macs
    assert found.peak_bytes == plain.peak_bytes * dtype.itemsize // 4


def test_integers_are_inputs_too():
    model = nn.Sequential(nn.Embedding(9, 6), nn.Flatten(), nn.Linear(18, 2))
    found = compare({"net": model}, torch.randint(0, 9, (4, 3)), (1, 9), repeats=1)
    assert found.models["net"].macs == 36
    assert [row.name for row in found.layers] == ["0", "2"]
    assert found.layers[0].models["net"].macs == 0


def test_mistakes():
    x = torch.randn(2, 30)
    for models, example, sizes in (
        ({}, x, (1,)),
        ({"a": chain()}, x, ()),
        ({"a": chain()}, x, (0,)),
        ({"a": chain()}, x[:0], (1,)),
        ({"a": chain()}, torch.tensor(1.0), (1,)),
    ):
        with pytest.raises(InputError, match="`compare` needs models, batch sizes"):
            compare(models, example, sizes)
    with pytest.raises(InputError, match=r"`example` of shape \(1, 30\) does not fit.*'b'"):
        compare({"a": chain(), "b": nn.Linear(3, 3)}, x)


# the clock


class Clock:
    """Time that passes only when somebody works."""

    def __init__(self):
        self.now = 0.0
        self.calls = []

    def work(self, name, seconds):
        self.calls.append(name)
        self.now += seconds


def test_candidates_take_turns(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timing, "perf_counter", lambda: clock.now)
    cost = {"a": 0.25, "b": 0.5}
    calls = {name: lambda name=name: clock.work(name, cost[name]) for name in cost}
    found = interleaved_seconds(calls, repeats=4)
    # each warmed up and timed once, then to and fro
    assert "".join(clock.calls) == "aabb" + "abba" * 2
    assert {name: list(times) for name, times in found.items()} == {"a": [0.25] * 4, "b": [0.5] * 4}
    with pytest.raises(InputError, match="`repeats` of `interleaved_seconds` must be at least 1"):
        interleaved_seconds(calls, repeats=0)


def test_short_calls_are_repeated_within_a_sample(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timing, "perf_counter", lambda: clock.now)
    found = interleaved_seconds({"a": lambda: clock.work("a", 2.0**-12)}, repeats=2)
    assert len(clock.calls) == 2 + 2 * round(1e-3 * 2**12)
    np.testing.assert_array_equal(found["a"], 2.0**-12)


def test_times_are_medians_and_ranges(monkeypatch):
    seconds = np.array([1.0, 2.0, 3.0, 4.0, 100.0])
    monkeypatch.setattr(
        "prunable.nets.shrink.footprint.interleaved_seconds",
        lambda calls, *, repeats: dict.fromkeys(calls, seconds[:repeats]),
    )
    found = compare({"a": chain()}, torch.randn(1, 30), repeats=5).models["a"].milliseconds[1]
    assert (found.median, found.spread) == (3000.0, 2000.0)


# equality


def test_outputs_of_any_form_are_compared():
    a, b = torch.zeros(2), torch.ones(2)
    assert len(tensors_in({"x": a, "y": (b, [a, None, 3])})) == 3
    assert largest_difference([a, b], [b, b]) == 1
    assert largest_difference([a], [a, b]) == np.inf
    assert np.isnan(largest_difference([a, a], [a, a * np.nan]))
    assert np.isnan(largest_difference([a * np.nan, a], [a, b]))
    assert largest_difference([a[:0]], [a[:0]]) == 0
    endless = torch.tensor([np.inf, -np.inf, np.nan, 2.0])
    assert largest_difference([endless], [endless.clone()]) == 0
    assert largest_difference([endless], [-endless]) == np.inf
    assert not within_rounding(1.0, [endless], nn.Linear(2, 2))
    model = nn.Linear(2, 2).half().train()
    (y,) = exact_outputs(model, torch.ones(1, 2).half())
    assert y.dtype == torch.float64
    assert model.training
    assert model.weight.dtype == torch.float16
    assert check_same([b + 1e-5], [b], nn.Linear(2, 2), "n", "cut") == pytest.approx(1e-5, rel=1e-2)
