"""Layers in order, each fitted to the dense network on what the pruned one sends."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import prunable
from prunable.budgets import Error, Keep
from prunable.errors import InputError
from prunable.nets.calibration.calibrating import calibrate
from prunable.nets.prune.masks import apply_plan_
from prunable.nets.prune.plan import plan_from_json, plan_to_json
from prunable.strategies import (
    BrainSurgery,
    CalibratedPruning,
    InOrder,
    InputWeightedPruning,
    MagnitudePruning,
    NodePruning,
    Refitted,
)

REFIT = Refitted(MagnitudePruning(allocation="lamp"), ridge=1e-9)


class Block(nn.Module):
    """A residual network with a depthwise layer, BatchNorm, a bias and a head."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        return self.head((x + self.deep(x)).mean((2, 3)))


def made(n=64):
    torch.manual_seed(0)
    model = Block()
    x = torch.randn(n, 3, 6, 6)
    model.train()(x)
    return model.eval(), (x + 0.7 * x.roll(1, 1) + 0.3)


def towards(x):
    return InOrder(x, towards="network")


def inputs_of(model, layer, x):
    seen = []
    handle = layer.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().clone()))
    with torch.no_grad():
        model(x)
    handle.remove()
    return seen[0].double()


@pytest.mark.parametrize("strategy", [CalibratedPruning(), BrainSurgery(allocation="lamp"), REFIT])
def test_predicted_errors_are_measured_and_are_those_beside_the_dense_network(strategy):
    model, x = made()
    dense = copy.deepcopy(model)
    how = {"bias_correction": False, "recalibrate": False}
    result = prunable.prune(model, strategy, Keep(0.4, "global"), calibration=towards(x), **how)
    assert result.plan.n_parameters_kept == int(np.ceil(0.4 * result.plan.n_parameters))
    assert [output.name for output in result.outputs] == [
        "first.weight",
        "deep.weight",
        "head.weight",
    ]
    for output in result.outputs:
        assert output.predicted == pytest.approx(output.measured, rel=1e-4)
    # by running both networks, of the last layer
    before, after = inputs_of(dense, dense.head, x), inputs_of(model, model.head, x)
    want = before @ dense.head.weight.detach().double().T
    found = after @ model.head.weight.detach().double().T
    apart = float((want - found).norm() / want.norm())
    assert result.outputs[-1].measured == pytest.approx(apart, rel=1e-3)


def test_weights_of_the_last_layer_are_least_squares_towards_the_dense_one():
    """Against numpy, on what both networks really send, with a bias that takes the mean."""
    model, x = made(200)
    dense = copy.deepcopy(model)
    prunable.prune(
        model, REFIT, Keep(0.5), calibration=towards(x), bias_correction=True, recalibrate=True
    )
    want = inputs_of(dense, dense.head, x) @ dense.head.weight.detach().double().T
    want = (want + dense.head.bias.detach().double()).numpy()
    sent = np.c_[inputs_of(model, model.head, x).numpy(), np.ones(len(x))]
    found = np.c_[model.head.weight.detach(), model.head.bias.detach()]
    for row, weights in enumerate(found):
        kept = weights != 0
        solution = np.linalg.lstsq(sent[:, kept], want[:, row], rcond=None)[0]
        # a ridge draws the whole matrix towards the weights, by 1e-4 of each square at least
        np.testing.assert_allclose(weights[kept], solution, rtol=0.05, atol=0.02)


def test_pruning_nothing_changes_nothing():
    model, x = made()
    before = copy.deepcopy(model.state_dict())
    how = {"recalibrate": False}  # statistics were running averages
    prunable.prune(model, CalibratedPruning(), Keep(1.0), calibration=towards(x), **how)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=1e-5, atol=1e-6)


def test_the_usual_way_needs_no_strategy_and_does_all_that_has_an_effect():
    model, x = made()
    dense = copy.deepcopy(model)
    result = prunable.prune(model, Keep(0.4, "global"), calibration=x)
    assert result.plan.method == "calibrated in order"
    assert result.recalibrated is not None
    assert result.recalibrated.layers == ("norm",)
    assert {layer.name: layer.bias and layer.bias[0] for layer in result.plan.layers} == {
        "first.weight": None,
        "deep.weight": "deep.bias",
        "head.weight": "head.bias",
    }
    # statistics are of what reaches the layer now
    sent = inputs_of(model, model.norm, x)
    torch.testing.assert_close(model.norm.running_mean.double(), sent.mean((0, 2, 3)))
    # the means of the outputs are those of the dense network
    with torch.no_grad():
        torch.testing.assert_close(model(x).mean(0), dense(x).mean(0), rtol=1e-3, atol=1e-4)
    # a plan holds the biases too
    again = plan_from_json(plan_to_json(result.plan))
    apply_plan_(dense.named_parameters(), again)
    torch.testing.assert_close(dense.deep.bias, model.deep.bias)
    torch.testing.assert_close(dense.head.weight, model.head.weight)


def test_it_loses_less_than_each_layer_by_itself():
    losses = {}
    for name in ("alone", "in order"):
        model, x = made(128)
        dense = copy.deepcopy(model)
        given = x if name == "in order" else calibrate(model, x)
        prunable.prune(model, Keep(0.25, "global"), calibration=given)
        with torch.no_grad():
            fresh = x.roll(1, 0) + 0.1 * torch.randn(x.shape)
            losses[name] = float((model(fresh) - dense(fresh)).norm())
    assert losses["in order"] < losses["alone"]


@pytest.mark.parametrize("seed", range(3))
def test_corrected_biases_keep_the_means_of_outputs(seed):
    """Of one layer, in any way of pruning, also of units."""
    torch.manual_seed(seed)
    for strategy in (MagnitudePruning(), InputWeightedPruning(), NodePruning(axis="input")):
        model, x = nn.Sequential(nn.Linear(6, 4)), torch.randn(50, 6) + 1
        with torch.no_grad():
            before = model(x).mean(0)
            prunable.prune(
                model, strategy, Keep(0.5), calibration=x, bias_correction=True, only=["0.weight"]
            )
            torch.testing.assert_close(model(x).mean(0), before, rtol=1e-4, atol=1e-5)


def test_a_dry_run_and_a_failure_change_nothing():
    model, x = made()
    before = copy.deepcopy(model.state_dict())
    dry = prunable.prune(model, Keep(0.3), calibration=x, dry_run=True)
    with pytest.raises(InputError, match=r"NaN or infinity to `first\.weight`"):
        prunable.prune(model, Keep(0.3), calibration=x * torch.nan)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert prunable.prune(model, Keep(0.3), calibration=x).n_nonzero == dry.n_nonzero


def test_weights_made_of_others_batches_and_errors_as_budgets():
    torch.manual_seed(1)
    model = nn.Sequential(weight_norm(nn.Linear(6, 8)), nn.ReLU(), nn.Linear(8, 3))
    batches = [torch.randn(8, 6), torch.randn(8, 6), torch.randn(5, 6)]
    result = prunable.prune(model, Error(0.3), calibration=batches, only=["*weight"])
    assert result.baked == ("0.weight",)
    assert all(layer.eps <= 0.3 for layer in result.plan.layers)
    assert len(result.outputs) == 2


class Mixing(nn.Module):
    """What one input becomes depends on the others of its batch."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(x - x.mean(0))


class TokensFirst(nn.Module):
    """Positions come before examples inside."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(x.transpose(0, 1)).transpose(0, 1)


@pytest.mark.parametrize(("model", "shape"), [(Mixing(), (12, 4)), (TokensFirst(), (12, 3, 4))])
def test_networks_whose_halves_cannot_be_told_are_refused(model, shape):
    with pytest.raises(InputError, match="inputs of a batch one after the other"):
        prunable.prune(model, Keep(0.5), calibration=torch.randn(shape), only=["layer.weight"])


def test_options_without_effect_are_refused():
    model, x = made()
    plain = nn.Sequential(nn.Linear(3, 4, bias=False))
    flat = torch.randn(9, 3)
    how = {"only": ["0.weight"]}
    cases = (
        (lambda: prunable.prune(model, Keep(0.5)), "may only be left out with `calibration`"),
        (lambda: prunable.prune(model, MagnitudePruning()), "`budget` of `prune`"),
        (lambda: prunable.prune(model, Keep(0.5), Keep(0.5)), "`budget` of `prune`"),
        (
            lambda: prunable.prune(model, MagnitudePruning(), Keep(0.5), recalibrate=True),
            "`recalibrate` of `prune` needs inputs",
        ),
        (
            lambda: prunable.prune(plain, Keep(0.5), calibration=flat, bias_correction=True, **how),
            "no layer that is pruned has a bias",
        ),
        (
            lambda: prunable.prune(plain, Keep(0.5), calibration=flat, recalibrate=True, **how),
            "no BatchNorm layer keeps statistics",
        ),
        (
            lambda: prunable.prune(model, MagnitudePruning(), Keep(0.5), calibration=towards(x)),
            "leaves weights as they are",
        ),
        (lambda: InOrder(x, towards="network", store="x"), "`store` of `InOrder`"),
        (lambda: InOrder(x, towards="nowhere"), "`towards` of `InOrder`"),
    )
    for call, message in cases:
        with pytest.raises(InputError, match=message):
            call()
