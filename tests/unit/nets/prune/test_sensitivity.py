"""Shares of groups by measured divergence, and activation saliencies, against direct references."""

import copy
import itertools

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy
from torch import nn
from torch.nn import functional

from prunable.errors import InputError
from prunable.nets.prune.activations import activation_saliency
from prunable.nets.prune.grouped import GroupPlan
from prunable.nets.prune.groups import groups_of
from prunable.nets.prune.masks import mask_groups_
from prunable.nets.prune.plan import Keep, Target, plan_from_json, plan_to_json
from prunable.nets.prune.pruning import prune
from prunable.nets.prune.sensitivity import TRIED, divergences, sensitivity_plans
from prunable.nets.prune.strategies import MagnitudePruning, SaliencyPruning, UnitPruning
from prunable.nets.shrink.footprint import macs_of
from prunable.nets.shrink.shrinking import shrink


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, padding=1, groups=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12 * 16, 5),
    ).eval()


@pytest.fixture
def inputs():
    return torch.randn(30, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def test_activation_saliencies_are_shares_of_an_output_s_variance(net, inputs):
    found = activation_saliency(net, inputs, chunk=7)
    assert set(found) == {"0.weight", "3.weight", "6.weight"}
    with torch.no_grad():
        flowing = {"0": inputs, "3": net[:3](inputs), "6": net[:6](inputs)}
    for layer, x in flowing.items():
        weight = net.get_parameter(f"{layer}.weight").detach().double().numpy()
        values = x.double().numpy()
        groups = getattr(net.get_submodule(layer), "groups", 1)
        per = len(weight) // groups
        for i, row in enumerate(weight):
            terms = np.zeros_like(row)
            for j in range(len(row)):
                feature = values[:, (i // per) * len(row) + j]
                terms[j] = row[j] ** 2 * feature.var(ddof=1)
            np.testing.assert_allclose(found[f"{layer}.weight"][i], terms / terms.sum(), rtol=1e-5)


def test_layouts_with_inputs_first_have_the_same_shares():
    torch.manual_seed(0)
    x = torch.randn(9, 4, 6)
    conv = nn.Conv1d(4, 6, 1, groups=2)
    turned = nn.ConvTranspose1d(4, 6, 1, groups=2)
    with torch.no_grad():
        for g in range(2):
            turned.weight[2 * g : 2 * g + 2, :, 0] = conv.weight[3 * g : 3 * g + 3, :, 0].T
    expected = activation_saliency(nn.Sequential(conv), x)["0.weight"][:, :, 0]
    found = activation_saliency(nn.Sequential(turned), x)["0.weight"][:, :, 0]
    for g in range(2):
        part = found[2 * g : 2 * g + 2].T
        np.testing.assert_allclose(part, expected[3 * g : 3 * g + 3], rtol=1e-12)


def test_a_constant_input_has_no_share():
    layer = nn.Sequential(nn.Linear(2, 3))
    x = torch.stack([torch.randn(20), torch.full((20,), 7.0)], 1)
    found = activation_saliency(layer, x)["0.weight"]
    np.testing.assert_array_equal(found, np.tile([1.0, 0.0], (3, 1)))


def test_saliencies_need_finite_inputs_that_reach_a_layer(net, inputs):
    with pytest.raises(InputError, match="NaN or infinity"):
        activation_saliency(net, inputs / 0)
    with pytest.raises(InputError, match="reach a linear or convolutional layer"):
        activation_saliency(nn.Sequential(nn.ReLU()), inputs)


@torch.no_grad()
def test_divergence_is_that_of_the_masked_network(inputs):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 10), nn.ReLU(), nn.Linear(10, 4)).eval()
    (group,) = groups_of(net, inputs).groups
    score = np.arange(10.0)
    found = divergences(net, [group], [score], inputs)[0]
    hidden = net[:3](inputs).double()
    last = net[3].weight.double()
    logits = hidden @ last.T + net[3].bias.double()
    for share, value in zip(TRIED, found, strict=True):
        gone = min(9, round(share * 10))
        pruned = hidden[:, gone:] @ last[:, gone:].T + net[3].bias.double()
        kl = functional.kl_div(
            pruned.log_softmax(1), logits.log_softmax(1), log_target=True, reduction="batchmean"
        )
        assert value == pytest.approx(float(kl), rel=1e-4)


@torch.no_grad()
def test_outputs_that_are_no_scores_are_compared_by_relative_error(inputs):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 2, 1)).eval()
    (group,) = groups_of(net, inputs).groups
    found = divergences(net, [group], [np.arange(6.0)], inputs)[0, -1]
    whole = net(inputs).double()
    with torch.no_grad():
        net[0].weight[:5], net[0].bias[:5] = 0, 0
    expected = (whole - net(inputs)).square().sum() / (whole - whole.mean()).square().sum()
    assert found == pytest.approx(float(expected), rel=1e-4)


def test_counts_are_the_best_of_all_that_meet_a_linear_cost():
    """Against a search of all counts, where divergences are powers and costs add up."""
    groups = groups_of(
        nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)),
        torch.randn(2, 3),
    ).groups
    scores = [np.arange(float(g.n_units)) for g in groups]
    sizes = [g.n_units for g in groups]

    def divergence(i, count):
        return (4.0, 1.0)[i] * (1 - count / sizes[i]) ** 2

    stay = [[max(1, round((1 - gone) * n)) for gone in TRIED] for n in sizes]
    measured = np.array([[divergence(i, c) for c in counts] for i, counts in enumerate(stay)])

    def cost(plans):
        return (plans[0].n_kept + 2 * plans[1].n_kept) / (sizes[0] + 2 * sizes[1])

    for target in (0.9, 0.7, 0.5, 0.3):
        found = sensitivity_plans(groups, scores, measured, cost, target)
        assert cost(found) <= target
        reached = sum(divergence(i, p.n_kept) for i, p in enumerate(found))
        best = min(
            divergence(0, a) + divergence(1, b)
            for a, b in itertools.product(range(1, 7), range(1, 9))
            if (a + 2 * b) / 22 <= target
        )
        assert reached <= 1.15 * best + 1e-9
        assert all(p.kept[-p.n_kept :].all() for p in found)  # of the highest scores
    assert sensitivity_plans(groups, scores, measured, cost, 0.1) is None


def test_a_group_that_matters_is_spared():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)
    ).eval()
    with torch.no_grad():  # 12 units of the second layer are copies of nothing
        net[4].weight[:, 4:] *= 1e-4
        net[0].weight *= 2
    x = torch.randn(64, 6)
    strategy = UnitPruning(MagnitudePruning())
    done = prune(net, strategy, Target("macs", 0.6, scope="sensitivity"), example=x, inputs=x)
    kept = {plan.name: plan.n_kept for plan in done.plan.groups}
    assert kept["2"] < 8 < kept["0"]
    small = shrink(net, done.plan, x).model
    assert 0.5 < macs_of(small, x)[""] / macs_of(net, x)[""] <= 0.6
    again = plan_from_json(plan_to_json(done.plan))
    assert again.budget == Target("macs", 0.6, scope="sensitivity")


def test_statistics_and_weights_of_a_dry_run_stay(net, inputs):
    before = {name: value.clone() for name, value in net.state_dict().items()}
    saliencies = activation_saliency(net, inputs)
    strategy = UnitPruning(SaliencyPruning(saliencies), round_to=4)
    target = Target("parameters", 0.8, scope="sensitivity")
    done = prune(net, strategy, target, example=inputs, inputs=inputs, dry_run=True)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(plan.n_kept % 4 == 0 for plan in done.plan.groups)


def test_inputs_have_an_effect_or_are_refused(net, inputs):
    strategy = UnitPruning()
    with pytest.raises(InputError, match="only then"):
        prune(net, strategy, Keep(0.5), example=inputs, inputs=inputs)
    with pytest.raises(InputError, match="inputs"):
        prune(net, MagnitudePruning(), Keep(0.5), inputs=inputs)
    sensitive = Target("macs", 0.5, scope="sensitivity")
    with pytest.raises(InputError, match="must be given"):
        prune(net, strategy, sensitive, example=inputs)
    with pytest.raises(InputError, match="batches"):
        prune(net, strategy, sensitive, example=inputs, inputs=[])
    with pytest.raises(InputError, match="not finite"):
        prune(net, strategy, sensitive, example=inputs, inputs=inputs / 0)
    low = Target("macs", 0.01, scope="sensitivity")
    with pytest.raises(InputError, match="one unit is left of each group"):
        prune(net, strategy, low, example=inputs, inputs=inputs)
    with pytest.raises(InputError, match="scope"):
        Keep(0.5, "sensitivity")


def test_plans_are_of_the_groups(net, inputs):
    groups = groups_of(net, inputs).groups
    scores = [np.ones(g.n_units) for g in groups]
    measured = divergences(net, groups, scores, [inputs[:15], inputs[15:]])
    found = sensitivity_plans(groups, scores, measured, lambda _: 0.0, 0.5)
    assert [type(p) for p in found] == [GroupPlan] * len(groups)
    assert all(p.kept.all() for p in found)


def whole_and_masked(net, group, kept, inputs):
    masked = copy.deepcopy(net)
    mask_groups_(dict(masked.named_parameters()), [GroupPlan(group, kept)])
    return (m.eval()(inputs).detach().double().numpy() for m in (net, masked))


@pytest.mark.parametrize("last", [nn.Identity(), nn.Softmax(1)])
def test_outputs_are_what_they_are_said_to_be(last):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3), last)
    with torch.no_grad():
        net[2].weight[0] *= 10
    inputs = torch.randn(40, 4)
    (group,) = groups_of(net, inputs[:2]).groups
    score = np.arange(6.0)
    a, b = whole_and_masked(net, group, np.arange(6) == 5, inputs)
    found = divergences(net, [group], [score], inputs, "values")[0, -1]
    # each value counts alike, whatever its size
    assert found == pytest.approx(((a - b) ** 2).mean(0) / a.var(0) @ np.ones(3) / 3, rel=1e-5)
    found = divergences(net, [group], [score], inputs)[0, -1]
    p, q = (x if isinstance(last, nn.Softmax) else softmax(x, axis=1) for x in (a, b))
    assert found == pytest.approx(entropy(p, q, axis=1).mean(), rel=1e-4, abs=1e-6)


def test_what_outputs_are_is_said_in_the_plan_and_only_where_it_counts(net, inputs):
    target = Target("macs", 0.6, scope="sensitivity", outputs="values")
    plan = prune(net, UnitPruning(), target, example=inputs[:2], inputs=inputs, dry_run=True).plan
    assert plan.to_dict()["budget"]["outputs"] == "values"
    assert plan_from_json(plan_to_json(plan)).budget == target
    with pytest.raises(InputError, match="outputs"):
        Target("macs", 0.6, outputs="values")
    with pytest.raises(InputError, match="outputs"):
        Target("macs", 0.6, scope="sensitivity", outputs="classes")
