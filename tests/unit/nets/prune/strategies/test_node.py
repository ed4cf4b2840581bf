"""Views, budgets, plans, node pruning on known matrices, and masks on real parameters."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from prunable.errors import InputError
from prunable.nets.networks.views import WeightView, views_of
from prunable.nets.prune.masks import apply_plan_
from prunable.nets.prune.plan import Energy, Error, Keep, LayerPlan, PruningPlan
from prunable.nets.prune.strategies import NodePruning
from prunable.numerics.randomness import rng
from prunable.numerics.weights.compressibility import Criterion, eps_from


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 6))


def plan_for(model, budget, **options) -> PruningPlan:
    return NodePruning(**options).plan(views_of(model.named_parameters()), budget, rng=rng(0))


def units_with_norms(norms) -> list[WeightView]:
    """Row i is (3, 4) times norms[i] / 5."""
    return [WeightView("layer", np.outer(norms, [0.6, 0.8]))]


# Views


def test_views_are_oriented_matrices_of_the_weights():
    model = network()
    conv, linear = views_of(model.named_parameters())
    assert [(v.name, v.role, v.layout) for v in (conv, linear)] == [
        ("0.weight", "hidden", "out_in"),
        ("3.weight", "output", "out_in"),
    ]
    np.testing.assert_array_equal(conv.matrix, model[0].weight.detach().reshape(4, 18).numpy())
    assert linear.matrix.shape == (6, 16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_views_share_memory_and_cannot_write(dtype):
    model = network().to(dtype)
    for view, parameter in zip(
        views_of(model.named_parameters()), (model[0].weight, model[3].weight), strict=True
    ):
        assert np.shares_memory(view.matrix, parameter.detach().numpy())
        with pytest.raises(ValueError, match="read-only"):
            view.matrix[0, 0] = 1.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32_exactly(dtype):
    weight = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    (view,) = views_of([("w", weight)])
    assert view.matrix.dtype == np.float32
    np.testing.assert_array_equal(view.matrix, weight.double().numpy())


def test_non_contiguous_parameters():
    weight = torch.arange(12.0).reshape(3, 4).T
    np.testing.assert_array_equal(views_of([("w", weight)])[0].matrix, weight.numpy())


def test_bad_weights_are_named_and_counted():
    weight = torch.ones(4, 5)
    weight[0, :2], weight[3, 3] = torch.nan, torch.inf
    with pytest.raises(InputError, match=r"`hidden\.weight` .* got 3 NaN or infinite .* of 20"):
        views_of([("hidden.weight", weight)])
    with pytest.raises(InputError, match="`w` of `views_of` must be a non-empty floating-point"):
        views_of([("w", torch.ones(2, 2, dtype=torch.int8))])
    with pytest.raises(InputError, match="`w` of `views_of` must be a non-empty floating-point"):
        views_of([("w", torch.ones(0, 2))])
    for bad in (np.ones(3), np.ones((2, 2), dtype=int), np.ones((0, 2))):
        with pytest.raises(InputError, match="`w` of `WeightView` must be a non-empty float"):
            WeightView("w", bad)


# Budgets and plans


@pytest.mark.parametrize(
    ("make", "culprit"),
    [
        (lambda: Keep(1.01), "kappa"),
        (lambda: Keep(math.nan), "kappa"),
        (lambda: Keep(0.5, scope="row"), "scope"),
        (lambda: Error(-0.1), "eps"),
        (lambda: Error(0.1, p=0), "p"),
        (lambda: Energy(1.5), "share"),
        (lambda: NodePruning(axis="column"), "axis"),
        (lambda: NodePruning(p=math.inf), "p"),
        (lambda: NodePruning(rounding="round"), "rounding"),
    ],
)
def test_bad_settings_are_named(make, culprit):
    with pytest.raises(InputError, match=f"`{culprit}` of"):
        make()


def test_energy_is_the_squared_criterion():
    for tolerance in (0.0, 0.01, 0.1, 0.3, 1.0):
        assert Energy(1 - tolerance).eps == eps_from(Criterion.SQUARED, tolerance)
    # ten equal units: losing one loses exactly a tenth of the squared norm
    ten = units_with_norms(np.ones(10))
    assert NodePruning().plan(ten, Energy(0.9), rng=rng(0)).layers[0].n_kept == 9
    assert NodePruning().plan(ten, Error(0.1), rng=rng(0)).layers[0].n_kept == 10


def test_layer_plan_fits_its_shape():
    kept = np.array([True, False, True])
    layer = LayerPlan("a", (3, 4), "unit", kept, eps=0.1)
    kept[0] = False
    assert (layer.n_total, layer.n_kept, layer.n_parameters_kept) == (3, 2, 8)
    assert LayerPlan("a", (4, 3), "input", kept, eps=0.1).n_parameters_kept == 4
    for shape, mask in (((4, 3), kept), ((3, 4), np.ones(3))):
        with pytest.raises(InputError, match="`kept` of `LayerPlan a` must be a bool array"):
            LayerPlan("a", shape, "unit", mask, eps=0.1)
    with pytest.raises(InputError, match="`axis` of `LayerPlan`"):
        LayerPlan("a", (3, 4), "row", kept, eps=0.1)
    for layers in ((), (layer, layer)):
        with pytest.raises(InputError, match="`layers` of `PruningPlan`"):
            PruningPlan("node", Keep(0.5), layers)


def test_summary_is_json_with_exact_counts():
    plan = plan_for(network(), Keep(0.5))
    summary = json.loads(json.dumps(plan.to_dict()))
    assert summary["budget"] == {"kind": "keep", "kappa": 0.5, "scope": "layer"}
    assert summary["n_parameters"] == 4 * 18 + 6 * 16
    assert summary["n_parameters_kept"] == plan.n_parameters_kept == 2 * 18 + 3 * 16
    assert summary["kappa"] == plan.kappa == 0.5
    assert summary["layers"][0] == {
        "name": "0.weight",
        "shape": [4, 18],
        "axis": "unit",
        "n_total": 4,
        "n_kept": 2,
        "kappa_asked": 0.5,
        "kappa": 0.5,
        "eps": plan.layers[0].eps,
        "p": 2.0,
    }
    energy = plan_for(network(), Energy(0.9)).to_dict()
    assert energy["budget"] == {"kind": "energy", "share": 0.9}


def test_overall_share_counts_weights_not_nodes():
    views = [WeightView("a", np.eye(2)), WeightView("b", 10 * np.eye(2, 100))]
    plan = NodePruning().plan(views, Keep(0.5, scope="global"), rng=rng(0))
    assert [layer.n_kept for layer in plan.layers] == [0, 2]
    assert plan.kappa == 200 / 204


# Node pruning


def test_known_norms():
    views = units_with_norms([1.0, 8.0, 4.0, 4.0])
    keep = NodePruning().plan(views, Keep(0.5), rng=rng(0)).layers[0]
    np.testing.assert_array_equal(keep.kept, [False, True, True, False])
    assert keep.eps == pytest.approx(math.sqrt(17 / 97), rel=1e-14)
    inputs = NodePruning(axis="input").plan(views, Keep(0.5), rng=rng(0)).layers[0]
    np.testing.assert_array_equal(inputs.kept, [False, True])
    assert inputs.eps == pytest.approx(0.6, rel=1e-14)


def test_rounding():
    views = units_with_norms([1.0, 2.0, 3.0, 4.0, 5.0])
    counts = {
        rounding: NodePruning(rounding=rounding).plan(views, Keep(0.5), rng=rng(0)).layers[0].n_kept
        for rounding in ("ceil", "floor")
    }
    assert counts == {"ceil": 3, "floor": 2}


def test_order_of_the_budget_must_be_that_of_the_norm():
    views = units_with_norms([1.0, 2.0])
    for budget in (Error(0.1), Energy(0.9)):
        with pytest.raises(InputError, match="`p` of `NodePruning` must be the budget's order, 2"):
            NodePruning(p=1.0).plan(views, budget, rng=rng(0))


def test_tiny_nodes_do_not_vanish():
    views = units_with_norms([1.0, 3e-200, 4e-200, 0.0])
    layer = NodePruning().plan(views, Error(3.5e-200), rng=rng(0)).layers[0]
    np.testing.assert_array_equal(layer.kept, [True, False, True, False])
    assert layer.eps == pytest.approx(3e-200, rel=1e-12)


def test_strategies_need_no_torch():
    program = "import prunable.nets.prune.strategies, prunable.nets.prune.plan, sys"
    program += "; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# Masks


@pytest.mark.parametrize("axis", ["unit", "input"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_apply_zeroes_exactly_the_pruned(axis, dtype):
    model = network().to(dtype)
    before = [p.detach().clone() for p in (model[0].weight, model[3].weight)]
    biases = [p.detach().clone() for p in (model[0].bias, model[3].bias)]
    plan = plan_for(model, Keep(0.4), axis=axis)
    assert apply_plan_(model.named_parameters(), plan) is None
    for old, layer, parameter in zip(
        before, plan.layers, (model[0].weight, model[3].weight), strict=True
    ):
        matrix, old_matrix = parameter.detach().flatten(1), old.flatten(1)
        if axis == "input":  # a channel with all its taps is one input node
            matrix, old_matrix = (x.transpose(0, 1).flatten(1) for x in (parameter.detach(), old))
        kept = torch.from_numpy(layer.kept.copy())
        assert torch.equal(matrix[kept], old_matrix[kept])
        assert not matrix[~kept].any()
        assert not torch.signbit(matrix[~kept]).any()
        assert parameter.requires_grad
    for bias, old in zip((model[0].bias, model[3].bias), biases, strict=True):
        assert torch.equal(bias, old)
    remaining = sum(int(p.count_nonzero()) for p in (model[0].weight, model[3].weight))
    assert remaining == plan.n_parameters_kept


def test_realised_error_is_that_of_the_model():
    model = network().double()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    plan = plan_for(model, Energy(0.7))
    apply_plan_(model.named_parameters(), plan)
    for layer in plan.layers:
        old, new = before[layer.name], model.get_parameter(layer.name).detach()
        assert layer.eps == pytest.approx(float((new - old).norm() / old.norm()), rel=1e-12)
        assert float(new.norm() ** 2 / old.norm() ** 2) >= 0.7


def test_transposed_parameters_are_zeroed_in_place():
    weight = torch.arange(1.0, 13.0).reshape(3, 4).T
    plan = NodePruning().plan(views_of([("w", weight)]), Keep(0.5), rng=rng(0))
    apply_plan_([("w", weight)], plan)
    assert torch.equal(weight.any(1), torch.tensor([False, False, True, True]))


def test_nothing_changes_when_anything_is_wrong():
    model = network()
    views = views_of([*model.named_parameters(), ("gone", torch.ones(2, 2))])
    fits, other = (NodePruning().plan(v, Keep(0.5), rng=rng(0)) for v in (views[:2], views))
    model[3] = nn.Linear(16, 7)
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(InputError, match=r"no parameter `gone`.*Nothing was changed") as caught:
        apply_plan_(model.named_parameters(), other)
    assert "`3.weight` has shape (7, 16), planned as a matrix of (6, 16)" in str(caught.value)
    with pytest.raises(InputError, match=r"3\.weight"):
        apply_plan_(model.named_parameters(), fits)
    with pytest.raises(InputError, match=r"`0\.weight` has shape \(4,\)"):
        apply_plan_([("0.weight", torch.ones(4)), ("3.weight", torch.ones(6, 16))], fits)
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
