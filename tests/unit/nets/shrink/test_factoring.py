"""Factored layers: equal to the truncated ones, and only where they are smaller."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from prunable.errors import InputError, UnsupportedModelError
from prunable.nets.networks.views import views_of
from prunable.nets.prune.masks import apply_plan_
from prunable.nets.prune.plan import Keep, LayerPlan, PruningPlan
from prunable.nets.prune.strategies import MagnitudePruning, SingularValuePruning
from prunable.nets.shrink.factoring import factor
from prunable.numerics.randomness import rng


def plan_of(model, kappa=0.2, strategy=None):
    named = [(n, p) for n, p in model.named_parameters() if p.ndim > 1]
    return (strategy or SingularValuePruning()).plan(views_of(named), Keep(kappa), rng=rng(0))


def factored(model, plan, x, tolerance=1e-5):
    """Factor and compare with the truncated model, on other inputs too."""
    before = copy.deepcopy(model.state_dict())
    result = factor(model, plan, x)
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    masked = copy.deepcopy(model)
    apply_plan_(masked.named_parameters(), plan)
    other = torch.randn(x.shape, generator=torch.Generator().manual_seed(5)).to(x)
    with torch.no_grad():
        expected, found = masked.eval()(other), copy.deepcopy(result.model).eval()(other)
    assert expected.std() > 0
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    assert result.max_difference < tolerance
    assert result.n_parameters == sum(p.numel() for p in result.model.parameters())
    assert result.n_parameters_before == sum(p.numel() for p in model.parameters())
    return result


def test_linear_layers():
    model = nn.Sequential(nn.Linear(30, 40), nn.Tanh(), nn.Linear(40, 3, bias=False)).train()
    result = factored(model, plan_of(model), torch.randn(4, 30))
    first, last = result.layers
    # rank 6 of 30 is smaller than 30 40 / 70 = 17.1; rank 1 of 3 than 3 40 / 43 = 2.8
    assert (first.rank, first.factored, last.rank, last.factored) == (6, True, 1, True)
    assert first.n_parameters == 6 * 70
    assert last.n_parameters == 43
    assert result.n_parameters == 6 * 70 + 40 + 43
    inner, outer = result.model[0]
    assert inner.bias is None
    assert torch.equal(outer.bias, model[0].bias)
    # both factors have the singular values' roots: their Gram matrices are equal
    gram = inner.weight @ inner.weight.T, outer.weight.T @ outer.weight
    torch.testing.assert_close(*gram, atol=1e-5, rtol=1e-4)
    assert result.model.training
    assert result.to_dict()["layers"][0]["reason"] == "two factors of 420 weights instead of 1200"


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(6, 24, 3, padding=1), (2, 6, 8, 8)),
        (nn.Conv2d(6, 24, (3, 2), stride=(2, 1), padding=(1, 0), dilation=2), (2, 6, 9, 9)),
        (nn.Conv2d(6, 24, 3, padding="same", padding_mode="reflect", bias=False), (2, 6, 8, 8)),
        (nn.Conv1d(6, 24, 5, padding=2), (2, 6, 9)),
        (nn.Conv3d(4, 20, 2), (2, 4, 5, 5, 5)),
    ],
)
def test_convolutions(layer, shape):
    model = nn.Sequential(layer, nn.ReLU(), nn.Flatten())
    result = factored(model, plan_of(model), torch.randn(shape))
    inner, outer = result.model[0]
    assert inner.kernel_size == layer.kernel_size
    assert set(outer.kernel_size) == {1}
    assert result.layers[0].factored


def test_layers_stay_whole_where_factors_are_not_smaller():
    model = nn.Sequential(nn.Linear(10, 10), nn.ReLU(), nn.Linear(10, 10))
    for kappa, smaller in [(0.4, True), (0.5, False)]:  # 100 / 20 = 5
        result = factored(model, plan_of(model, kappa), torch.randn(4, 10))
        assert [layer.factored for layer in result.layers] == [smaller, smaller]
        kept = result.model[0]
        assert isinstance(kept, nn.Sequential if smaller else nn.Linear)
    assert "below rank 5, and 5 are kept" in result.layers[0].reason
    assert result.n_parameters == result.n_parameters_before


def test_nothing_kept_is_a_layer_of_its_bias():
    model = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 4))
    plan = plan_of(model)
    first = LayerPlan("0.weight", (10, 10), "singular_value", np.zeros(10, bool), eps=1.0)
    result = factor(
        model, PruningPlan("none", Keep(0.0), (first, plan.layers[1])), torch.ones(2, 10)
    )
    assert result.max_difference < 1e-6
    assert torch.equal(result.model[0](torch.randn(2, 10)), model[0].bias.expand(2, 10))


def test_other_layers_are_masked():
    model = nn.Sequential(nn.Linear(30, 30), nn.ReLU(), nn.Linear(30, 30))
    spectral, masks = plan_of(model).layers[0], plan_of(model, 0.3, MagnitudePruning()).layers[1]
    result = factored(model, PruningPlan("both", Keep(0.2), (spectral, masks)), torch.randn(4, 30))
    assert isinstance(result.model[0], nn.Sequential)
    assert int((result.model[2].weight != 0).sum()) == 270
    assert [layer.name for layer in result.layers] == ["0.weight"]


class Odd(nn.Module):
    """Layers that are more than their weights."""

    def __init__(self):
        super().__init__()
        self.grouped = nn.Conv1d(8, 8, 3, groups=2, padding=1)
        self.tied = nn.Linear(8, 8)
        self.twin = nn.Linear(8, 8)
        self.twin.weight = self.tied.weight
        self.read = nn.Linear(8, 8)
        self.hooked = nn.Linear(8, 8)
        self.hooked.register_forward_hook(lambda *_: None)
        self.plain = nn.Linear(8, 8)
        self.scale = nn.Parameter(torch.randn(8, 8))

    def forward(self, x):
        x = self.grouped(x[:, :, None])[:, :, 0] @ self.scale
        x = self.hooked(self.twin(self.tied(x).tanh()))
        return self.plain(nn.functional.linear(x, self.read.weight))


def test_layers_that_are_more_than_their_weights_stay_whole():
    model = Odd()
    result = factored(model, plan_of(model, 0.25), torch.randn(3, 8))
    reasons = {layer.name.removesuffix(".weight"): layer for layer in result.layers}
    assert [name for name, layer in reasons.items() if layer.factored] == ["plain"]
    for name, reason in {
        "grouped": "2 groups",
        "tied": "tied",
        "read": "other code reads",
        "hooked": "hooks",
        "scale": "Odd has no factored form",
    }.items():
        assert reason in reasons[name].reason
    assert result.model.twin.weight is result.model.tied.weight


def test_a_fill_of_medians_stays_whole():
    model = nn.Sequential(nn.Linear(10, 10))
    kept = np.arange(10) < 2
    fill = np.full((1, 1, 1), 0.5)
    layer = LayerPlan("0.weight", (10, 10), "singular_value", kept, eps=0.1, fill=fill)
    result = factored(model, PruningPlan("centred", Keep(0.2), (layer,)), torch.randn(4, 10))
    assert "medians" in result.layers[0].reason


def test_shared_modules_tied_biases_and_single_layers():
    shared = nn.Linear(9, 9)
    model = nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(9, 9))
    model[3].bias = shared.bias
    result = factored(model, plan_of(model), torch.randn(3, 9)).model
    assert result[0] is result[2]
    assert result[3][1].bias is result[0][1].bias
    alone = factored(nn.Linear(9, 9), plan_of(nn.Linear(9, 9)), torch.randn(3, 9))
    assert isinstance(alone.model, nn.Sequential)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_precision_and_gradients_are_kept(dtype):
    model = nn.Sequential(nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 5)).to(dtype)
    model[0].weight.requires_grad_(False)
    result = factor(model, plan_of(model), torch.randn(3, 20, dtype=dtype))
    assert {p.dtype for p in result.model.parameters()} == {dtype}
    assert not result.model[0][0].weight.requires_grad
    assert result.model[2][0].weight.requires_grad
    eps = torch.finfo(dtype).eps
    assert result.max_difference < 8 * eps


def test_mistakes(monkeypatch):
    model = nn.Sequential(nn.Linear(10, 10))
    plan = plan_of(model)
    with pytest.raises(InputError, match=r"`example` of shape \(2, 3\) does not fit"):
        factor(model, plan, torch.ones(2, 3))
    with pytest.raises(InputError, match="does not fit the model"):
        factor(nn.Linear(3, 3), plan, torch.ones(2, 3))
    # against the model as it was, truncation is no rounding
    monkeypatch.setattr("prunable.nets.shrink.factoring.apply_plan_", lambda *_: None)
    with pytest.raises(UnsupportedModelError, match=r"`Sequential`.*differs by"):
        factor(model, plan, torch.randn(2, 10))
