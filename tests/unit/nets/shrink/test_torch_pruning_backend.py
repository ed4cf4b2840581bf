"""Surgery on graphs that only Torch-Pruning follows: equal to the masked model, or refused."""

import copy
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from prunable.errors import InputError, UnsupportedModelError
from prunable.nets.networks.views import views_of
from prunable.nets.prune.masks import apply_plan_
from prunable.nets.prune.plan import Keep, LayerPlan, PruningPlan
from prunable.nets.prune.strategies import MagnitudePruning, NodePruning
from prunable.nets.shrink.surgery import shrink
from prunable.nets.shrink.torch_pruning_backend import shrink_structurally
from prunable.numerics.randomness import rng

pytest.importorskip("torch_pruning")


class Net(nn.Module):
    """A forward function over named layers."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *inputs):
        return self.function(self, *inputs)


def randomized(model):
    """Statistics, scales and biases that matter."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return model


def plan_of(model, only, kappa=0.5, strategy=None):
    named = [(n, p) for n, p in model.named_parameters() if n in only]
    assert len(named) == len(only)
    return (strategy or NodePruning(axis="unit")).plan(views_of(named), Keep(kappa), rng=rng(0))


def same(model, plan, *inputs):
    """Shrink and compare with the masked model, in the model's precision and on fresh inputs."""
    before = copy.deepcopy(model.state_dict())
    result = shrink_structurally(model, plan, inputs if len(inputs) > 1 else inputs[0])
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    masked = copy.deepcopy(model)
    apply_plan_(masked.named_parameters(), plan)
    fresh = [torch.randn_like(x) if x.is_floating_point() else x.flip(0) for x in inputs]
    with torch.no_grad():
        expected = masked.eval()(*fresh)
        assert expected.std() > 0
        found = copy.deepcopy(result.model).eval()(*fresh)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert result.max_difference < 1e-5
    assert result.n_parameters == sum(p.numel() for p in result.model.parameters())
    return result


class Block(nn.Module):
    """Attention by hand, with a shape that surgery does not follow, and two layers."""

    def __init__(self, width=8, hidden=20, heads=2):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        n, t, d = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(n, t, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, d)
        x = x + self.proj(y)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(8, 4)

    def forward(self, tokens):
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(1))


def test_a_transformer_loses_its_hidden_units():
    """Their biases, through GELU, go to the next layer: Torch-Pruning alone drops them."""
    model, tokens = Encoder().train(), torch.randint(0, 11, (3, 6))
    hidden = [f"blocks.{i}.fc1.weight" for i in range(2)]
    plan = plan_of(model, hidden, 0.25)
    block = Block()
    with pytest.raises(UnsupportedModelError):
        shrink(block, plan_of(block, ["fc1.weight"]), torch.randn(3, 6, 8))
    result = same(model, plan, tokens)
    assert result.kept["blocks.0.fc1"] == (5, 8)
    assert result.kept["blocks.1.fc2"] == (8, 5)
    assert result.removed == {"blocks.0.fc1": 15, "blocks.1.fc1": 15}
    assert not any(result.left.values())
    assert result.n_parameters_before - result.n_parameters == 2 * 15 * (8 + 1 + 8)
    assert all(module.training for module in result.model.modules())
    assert all(p.requires_grad and p.grad is None for p in result.model.parameters())


def test_the_stream_of_a_transformer_stays():
    """Other layers write to the same places, which are then not zero."""
    model, tokens = Encoder(), torch.randint(0, 11, (3, 6))
    result = same(model, plan_of(model, ["blocks.0.fc2.weight", "blocks.1.proj.weight"]), tokens)
    assert result.n_parameters == result.n_parameters_before
    assert result.left == {"blocks.0.fc2": 4, "blocks.1.proj": 4}


@pytest.mark.parametrize("bias", [True, False])
def test_concatenation_and_batch_normalisation(bias):
    """Of no padding: constants of normalisation are the same everywhere."""
    model = randomized(
        Net(
            lambda m, x: m.out(torch.cat([F.relu(m.bn(m.a(x))), m.b(x)], 1)).amax((2, 3)),
            a=nn.Conv2d(2, 6, 3, bias=bias),
            bn=nn.BatchNorm2d(6),
            b=nn.Conv2d(2, 4, 3, bias=bias),
            out=nn.Conv2d(10, 3, 2, bias=bias),
        )
    )
    with torch.no_grad():
        model.bn.bias += 5
    result = same(model, plan_of(model, ["a.weight", "b.weight"]), torch.randn(2, 2, 7, 7))
    assert result.kept == {"a": (3, 2), "b": (2, 2), "out": (3, 5)}
    assert result.model.out.bias is not None  # holds the constants


def test_depthwise_convolutions_and_two_inputs():
    model = Net(
        lambda m, x, y: m.out((m.deep(m.a(x)) + m.b(y)).flatten(1)),
        a=nn.Conv2d(2, 6, 1, bias=False),
        deep=nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False),
        b=nn.Conv2d(1, 6, 1, bias=False),
        out=nn.Linear(6 * 16, 5),
    )
    kept = np.array([True, False, True, False, True, True])
    also = np.array([True, False, False, False, True, True])
    layers = (
        LayerPlan("a.weight", (6, 2), "unit", kept, eps=0.0),
        LayerPlan("b.weight", (6, 1), "unit", also, eps=0.0),
    )
    plan = PruningPlan("by hand", Keep(0.5), layers)
    result = same(model, plan, torch.randn(2, 2, 4, 4), torch.randn(2, 1, 4, 4))
    assert result.kept["a"] == (4, 2)
    assert result.kept["out"] == (5, 4 * 16)
    # unit 2 is zero in b alone
    assert result.left == {"a": 0, "b": 1}


def test_borders_are_refused_by_name():
    """A constant that meets zero padding differs at the borders."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1))
    nn.init.ones_(model[0].bias)
    with pytest.raises(UnsupportedModelError, match=r"`0` cannot be shrunk.*padding of `2`"):
        shrink_structurally(model, plan_of(model, ["0.weight"]), torch.randn(2, 1, 6, 6))
    nn.init.constant_(model[0].bias, -1.0)
    result = same(model, plan_of(model, ["0.weight"]), torch.randn(2, 1, 6, 6))
    assert result.kept == {"0": (2, 1), "2": (2, 2)}


def test_what_varies_is_refused_by_name():
    """A bias that the model multiplies by its input is no constant."""
    model = Net(
        lambda m, x: m.b(m.a(x) * x.sum(1, keepdim=True)), a=nn.Linear(4, 6), b=nn.Linear(6, 2)
    )
    with pytest.raises(UnsupportedModelError, match=r"`a` cannot be shrunk.*no constants at `b`"):
        shrink_structurally(model, plan_of(model, ["a.weight"]), torch.randn(3, 4))


def test_outputs_are_refused_by_name():
    model = Net(lambda m, x: m.b(m.a(x)), a=nn.Linear(4, 6), b=nn.Linear(6, 4))
    with pytest.raises(UnsupportedModelError, match=r"`b` cannot be shrunk.*another shape"):
        shrink_structurally(model, plan_of(model, ["a.weight", "b.weight"]), torch.randn(3, 4))


def test_sizes_written_down_are_refused_by_name():
    model = Net(lambda m, x: m.b(m.a(x).reshape(-1, 6)), a=nn.Linear(4, 6), b=nn.Linear(6, 2))
    with pytest.raises(UnsupportedModelError, match="`a` cannot be shrunk"):
        shrink_structurally(model, plan_of(model, ["a.weight"]), torch.randn(3, 4))


def test_tied_layers_keep_their_places():
    model = Net(
        lambda m, x: m.out(m.a(x) + m.b(x)),
        a=nn.Linear(4, 6),
        b=nn.Linear(4, 6),
        out=nn.Linear(6, 2),
    )
    model.b.weight = model.a.weight
    result = same(model, plan_of(model, ["a.weight"]), torch.randn(3, 4))
    assert result.model.b.weight is result.model.a.weight
    assert result.removed == {"a": 0}


def test_a_layer_keeps_one_unit_and_frozen_parameters_stay_frozen():
    model = Net(lambda m, x: m.b(torch.tanh(m.a(x))), a=nn.Linear(4, 6), b=nn.Linear(6, 2))
    model.a.weight.requires_grad_(False)
    plan = plan_of(model, ["a.weight"], 0.0)
    result = same(model.double(), plan, torch.randn(3, 4, dtype=torch.float64))
    assert result.kept == {"a": (1, 4), "b": (2, 1)}
    assert [p.requires_grad for p in result.model.parameters()] == [False, True, True, True]
    assert result.max_difference < 1e-13
    assert next(result.model.parameters()).dtype == torch.float64


def test_bad_arguments(monkeypatch):
    model = Net(lambda m, x: m.b(m.a(x)), a=nn.Linear(4, 6), b=nn.Linear(6, 2))
    x = torch.randn(3, 4)
    weights = plan_of(model, ["a.weight"], strategy=MagnitudePruning())
    with pytest.raises(InputError, match=r"`plan` of `shrink_structurally` must be of units"):
        shrink_structurally(model, weights, x)
    plan = plan_of(model, ["a.weight"])
    with pytest.raises(InputError, match=r"`example` of shape \(3, 5\) does not fit"):
        shrink_structurally(model, plan, torch.randn(3, 5))
    with pytest.raises(InputError, match="does not fit the model"):
        shrink_structurally(nn.Linear(4, 6), plan, x)
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(InputError, match=r"prunable\[structural\]"):
        shrink_structurally(model, plan, x)
