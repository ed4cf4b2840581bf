"""Gram matrices against patches cut out by loops, and predicted errors against measured ones."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import prunable
from prunable.budgets import Keep
from prunable.errors import InputError
from prunable.nets.calibration.calibrating import calibrate
from prunable.nets.networks.views import out_in
from prunable.strategies import (
    BrainSurgery,
    InputWeightedPruning,
    MagnitudePruning,
    NMPruning,
    NodePruning,
    Refitted,
)


class Conv1D(nn.Module):
    """As in transformers: the weight is stored (in, out)."""

    def __init__(self, n_out, n_in):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_in, n_out) / n_in**0.5)
        self.bias = nn.Parameter(torch.randn(n_out))

    def forward(self, x):
        return x @ self.weight + self.bias


LAYERS = {
    "linear": (lambda: nn.Linear(8, 5), (3, 8)),
    "conv1d-of-transformers": (lambda: Conv1D(5, 8), (3, 8)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, stride=2), (4, 11)),
    "conv2d": (lambda: nn.Conv2d(4, 6, (3, 2), padding=(1, 0), dilation=(2, 1)), (4, 9, 8)),
    "conv3d": (lambda: nn.Conv3d(2, 4, 2, stride=(1, 2, 1)), (2, 4, 5, 4)),
    "same": (lambda: nn.Conv2d(4, 6, (3, 5), padding="same"), (4, 7, 7)),
    "reflecting": (lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (4, 7, 7)),
    "circular": (lambda: nn.Conv1d(4, 6, 3, padding=2, padding_mode="circular"), (4, 7)),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2), (4, 6, 6)),
    "depthwise": (lambda: nn.Conv2d(4, 8, 3, groups=4, stride=2), (4, 7, 7)),
    "transposed": (
        lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1),
        (4, 5, 5),
    ),
    "transposed-grouped": (
        lambda: nn.ConvTranspose1d(4, 6, 4, stride=3, dilation=2, groups=2),
        (4, 5),
    ),
    "transposed-3d": (lambda: nn.ConvTranspose3d(2, 4, 2, padding=1), (2, 4, 4, 4)),
}
STRATEGIES = (
    MagnitudePruning(),
    InputWeightedPruning(),
    BrainSurgery(damping=0.01),
    Refitted(NodePruning(axis="input")),
)


def made(kind, seed=0):
    torch.manual_seed(seed)
    build, shape = LAYERS[kind]
    # inputs with a mean and with correlations, as layers inside of networks have them
    x = torch.randn(24, *shape)
    return build(), (x + 0.7 * x.roll(1, 1) + 0.5).float()


@pytest.mark.parametrize("kind", LAYERS)
def test_gram_matrix_is_that_of_patches(kind):
    """Each output's answers to single weights are the inputs that those meet."""
    layer, x = made(kind)
    found = calibrate(nn.Sequential(layer), x).grams["0.weight"]
    stored = layer.weight.detach().clone()
    transposed = isinstance(layer, nn.modules.conv._ConvTransposeNd) or kind.endswith("mers")
    groups = getattr(layer, "groups", 1)
    index = out_in(np.arange(stored.numel()).reshape(stored.shape), transposed, groups)
    with torch.no_grad():
        empty = stored * 0
        layer.weight.data = empty
        still = layer(x)
        columns = []
        for place in range(stored.numel()):
            impulse = empty.clone()
            impulse.view(-1)[place] = 1.0
            layer.weight.data = impulse
            columns.append((layer(x) - still).double().flatten().numpy())
    answers = np.stack(columns)
    rows = len(index) // len(found.products)
    for group in range(len(found.products)):
        own = answers[index[group * rows]]
        np.testing.assert_allclose(found.products[group], own @ own.T, rtol=1e-4, atol=1e-3)
    positions = answers.shape[1] // len(index)
    assert found.count == positions


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", LAYERS)
def test_predicted_output_error_is_the_measured_one(kind, strategy):
    layer, x = made(kind)
    model = nn.Sequential(layer)
    before, dense = model(x).detach(), layer.weight.detach().clone()
    result = prunable.prune(model, strategy, Keep(0.5), calibration=x, only=["*weight"])
    (output,) = result.outputs
    assert output.predicted == pytest.approx(output.measured, rel=1e-4)
    assert output.predicted <= output.masked * (1 + 1e-9)
    after = model(x).detach()
    with torch.no_grad():
        layer.weight.copy_(dense)
        layer.bias.zero_()
        whole = model(x)
    apart = float((after - before).double().norm() / whole.double().norm())
    assert output.predicted == pytest.approx(apart, rel=1e-4)


def test_tied_weights_have_the_sum_and_parametrized_ones_their_effective_value():
    torch.manual_seed(0)
    first, second = nn.Linear(6, 6), nn.Linear(6, 6)
    second.weight = first.weight
    model = nn.Sequential(first, nn.Tanh(), second, weight_norm(nn.Linear(6, 3)))
    x = torch.randn(40, 6)
    found = calibrate(model, x)
    assert set(found.grams) == {"0.weight", "3.weight"}
    hidden = torch.tanh(first(x)).detach()
    wanted = (x.T @ x + hidden.T @ hidden).numpy()
    np.testing.assert_allclose(found.grams["0.weight"].products[0], wanted, rtol=1e-4, atol=1e-3)
    assert found.grams["0.weight"].count == 80
    result = prunable.prune(model, BrainSurgery(), Keep(0.5), calibration=found, only=["*weight"])
    assert result.baked == ("3.weight",)
    for output in result.outputs:
        assert output.predicted == pytest.approx(output.measured, rel=1e-4)
    assert model[0].weight is model[2].weight


class Experts(nn.Module):
    """Two layers of which inputs reach one."""

    def __init__(self):
        super().__init__()
        self.used, self.idle = nn.Linear(6, 8), nn.Linear(6, 8)

    def forward(self, x):
        return self.used(x)


@pytest.mark.parametrize(
    "strategy", [InputWeightedPruning(), BrainSurgery(), Refitted(MagnitudePruning())]
)
def test_layers_that_no_input_reaches_are_named_and_go_by_their_weights(strategy):
    torch.manual_seed(0)
    model = Experts()
    dense = model.idle.weight.detach().clone()
    result = prunable.prune(model, strategy, Keep(0.5), calibration=torch.randn(32, 6))
    assert result.unreached == ("idle.weight",)
    assert [output.name for output in result.outputs] == ["used.weight"]
    size = dense.abs().flatten().sort().values[24]
    assert torch.equal(model.idle.weight, torch.where(dense.abs() >= size, dense, 0.0))


def test_every_fourth_batch_is_held_out():
    model = nn.Sequential(nn.Linear(3, 2))
    x = torch.randn(80, 3)
    found = calibrate(model, x, chunk=10).grams["0.weight"]
    held = torch.cat([x[30:40], x[70:80]])
    np.testing.assert_allclose(found.held_out[0], (held.T @ held).numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.fitted + found.held_out, found.products)
    assert calibrate(model, [x]).grams["0.weight"].held_out is None


def test_the_model_keeps_its_mode_and_hooks():
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(), nn.Linear(4, 2)).train()
    calibrate(model, torch.randn(8, 3))
    assert model.training
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_bad_inputs_are_refused_by_name():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    x = torch.randn(8, 3)
    with pytest.raises(InputError, match="`inputs` of `calibrate` must be one or more inputs"):
        calibrate(model, x[:0])
    with pytest.raises(InputError, match="`inputs` of `calibrate` must be a tensor"):
        calibrate(model, {"x": x})
    with pytest.raises(InputError, match=r"bring NaN or infinity to `0\.weight`"):
        calibrate(model, torch.full((8, 3), torch.nan))
    with torch.no_grad():
        model[0].bias.fill_(torch.inf)
    with pytest.raises(InputError, match=r"bring NaN or infinity to `1\.weight`"):
        calibrate(model, x)
    embedding = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 2))
    with pytest.raises(InputError, match="does not fit the model: index out of range"):
        calibrate(embedding, torch.tensor([[1, 7]]))


def test_strategies_that_need_inputs_say_so():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    for strategy in (InputWeightedPruning(), BrainSurgery(), Refitted(MagnitudePruning())):
        with pytest.raises(InputError, match="say nothing of what flows into the layers"):
            prunable.prune(model, strategy, Keep(0.5))
    few = torch.randn(2, 3)
    with pytest.raises(InputError, match=r"The inputs of `0\.weight` do not determine"):
        prunable.prune(model, BrainSurgery(damping=0), Keep(0.5), calibration=few)
    with pytest.raises(InputError, match="`calibration` of `prune` must be left out, unless"):
        prunable.prune(model.state_dict(), BrainSurgery(), Keep(0.5), calibration=few)


@pytest.mark.parametrize(
    "strategy", [NMPruning(), InputWeightedPruning(n_m=(2, 4)), BrainSurgery(n_m=(2, 4))]
)
@pytest.mark.parametrize("kind", ["linear", "conv1d-of-transformers", "conv2d", "transposed"])
def test_patterns_run_along_inputs_however_the_weight_is_stored(kind, strategy):
    layer, x = made(kind)
    prunable.prune(nn.Sequential(layer), strategy, Keep(0.5), calibration=x, only=["*weight"])
    weight = layer.weight.detach()
    first = kind in ("conv1d-of-transformers", "transposed")
    by_output = weight.transpose(0, 1) if first else weight
    groups = by_output.reshape(len(by_output), -1, 4, by_output[0, 0].numel())
    assert ((groups != 0).sum(dim=2) == 2).all()


@pytest.mark.parametrize("name", ["linear", "grouped", "transposed-grouped"])
def test_root_mean_squares_and_means_are_those_of_the_products(name):
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    model, inputs = nn.Sequential(make()), torch.randn(12, *shape) + 0.5
    whole, light = calibrate(model, inputs), calibrate(model, inputs, products=False)
    assert not light.grams
    assert light.n_inputs == 12
    gram, (rms, means) = whole.grams["0.weight"], light.moments["0.weight"]
    np.testing.assert_allclose(rms, gram.rms, rtol=1e-6)
    np.testing.assert_allclose(means, gram.means, rtol=1e-6, atol=1e-9)


def test_pruning_by_inputs_sizes_needs_no_products_and_measures_nothing():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    inputs = torch.randn(40, 8) + 0.3
    found = []
    for products in (True, False):
        pruned = copy.deepcopy(model)
        known = calibrate(pruned, inputs, products=products)
        how = {"calibration": known, "bias_correction": True}
        result = prunable.prune(pruned, InputWeightedPruning(), Keep(0.4), **how)
        assert bool(result.outputs) == products
        assert not result.unreached
        found.append(pruned.state_dict())
    for name, one in found[0].items():
        torch.testing.assert_close(one, found[1][name], rtol=1e-6, atol=1e-7)
