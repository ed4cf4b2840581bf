"""n of each m neighbouring weights, counted group by group by other means."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

import prunable
from prunable.budgets import Energy, Error, Keep
from prunable.errors import InputError
from prunable.nets.networks.views import WeightView
from prunable.nets.prune.masks import masks_of
from prunable.nets.prune.plan import plan_from_json, plan_to_json
from prunable.numerics.randomness import rng
from prunable.strategies import NMPruning


def drawn(shape, seed=0):
    return np.random.default_rng(seed).standard_t(2, size=shape)


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (1, 2), (4, 8), (3, 5)])
def test_each_group_of_a_linear_layer_keeps_its_largest(n, m):
    matrix = drawn((7, 4 * m))
    plan = NMPruning(n, m).plan([WeightView("w", matrix)], Keep(n / m), rng=rng(0))
    kept = plan.layers[0].kept.reshape(matrix.shape)
    for row, start in itertools.product(range(7), range(0, 4 * m, m)):
        group = abs(matrix[row, start : start + m])
        assert set(np.flatnonzero(kept[row, start : start + m])) == set(np.argsort(group)[-n:])
    assert plan.method == f"{n}:{m}"
    assert plan.kappa == pytest.approx(n / m)
    error = np.linalg.norm(matrix[~kept]) / np.linalg.norm(matrix)
    assert plan.layers[0].eps == pytest.approx(error, rel=1e-12)


def test_convolutions_group_input_channels_at_each_tap():
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 6, 3)
    before = conv.weight.detach().clone()
    prunable.prune(nn.Sequential(conv), NMPruning(), Keep(0.5))
    for out, start, i, j in itertools.product(range(6), (0, 4), range(3), range(3)):
        group, left = (
            before[out, start : start + 4, i, j],
            conv.weight[out, start : start + 4, i, j],
        )
        chosen = group.abs().topk(2).indices
        assert set(left.nonzero().flatten().tolist()) == set(chosen.tolist())
        assert torch.equal(left[chosen], group[chosen])


def test_of_equal_weights_the_first_stay():
    plan = NMPruning().plan([WeightView("w", np.ones((1, 8)))], Keep(0.5), rng=rng(0))
    assert plan.layers[0].kept.tolist() == [True, True, False, False] * 2


def test_layers_that_do_not_divide_stay_whole():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1))
    plan = prunable.prune(model, NMPruning(), Keep(0.5)).plan
    assert [layer.kappa for layer in plan.layers] == [1, 0.5]
    assert [layer.kappa_asked for layer in plan.layers] == [None, 0.5]
    assert model[0].weight.all()
    with pytest.raises(InputError, match=r"no layer whose inputs are a multiple of 4: 0\.weight"):
        prunable.prune(nn.Sequential(nn.Linear(6, 2)), NMPruning(), Keep(0.5))


@pytest.mark.parametrize("budget", [Keep(0.4), Keep(0.5, "global"), Error(0.5), Energy(0.5), 0.5])
def test_the_pattern_sets_its_own_share(budget):
    with pytest.raises(InputError, match=r"must be Keep\(0\.5\), the share of 2:4"):
        NMPruning().plan([WeightView("w", drawn((2, 4)))], budget, rng=rng(0))


@pytest.mark.parametrize(("n", "m"), [(0, 4), (4, 4), (5, 4), (-1, 2), (1, 1)])
def test_patterns_that_are_none(n, m):
    with pytest.raises(InputError, match="`n` of `NMPruning`"):
        NMPruning(n, m)


def test_masks_hold_while_training():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))
    pruned = prunable.prune(model, NMPruning(), Keep(0.5))
    optimizer = torch.optim.Adam(model.parameters(), weight_decay=0.1)
    prunable.hold_masks(model, optimizer, pruned)
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.randn(9, 16)).square().sum().backward()
        optimizer.step()
    for layer in (model[0], model[2]):
        assert ((layer.weight.unflatten(1, (-1, 4)) != 0).sum(2) == 2).all()


@pytest.mark.parametrize("shape", [(3, 12, 8), (3, 8, 8), (1, 12, 8)])
@pytest.mark.parametrize("inner", [False, True], ids=["out_in", "in_out"])
def test_a_stack_of_experts_goes_expert_by_expert_and_so_do_its_masks(shape, inner):
    """In a stored plan, and in masks that are held; square ones do not tell how they are stored."""
    up = torch.from_numpy(drawn(shape)).float()
    experts, outputs, inputs = shape
    names = ("experts.gate_up_proj", "experts.down_proj")
    down = torch.zeros(experts, inputs, outputs // 2)  # which tells how both are stored
    stored = [(x.mT if inner else x).contiguous() for x in (up, down)]
    model = dict(zip(names, stored, strict=True))
    plan = prunable.prune(model, NMPruning(), Keep(0.5), only=names[:1]).plan
    found = model[names[0]].mT if inner else model[names[0]]
    for one, whole in zip(found, up, strict=True):
        alone = {"up.weight": whole.clone()}
        prunable.prune(alone, NMPruning(), Keep(0.5))
        assert torch.equal(one, alone["up.weight"])
    again = plan_from_json(plan_to_json(plan))
    assert torch.equal(masks_of(again, model.items())[names[0]], model[names[0]] != 0)
