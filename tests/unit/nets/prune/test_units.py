"""Plans of coupled units: shares, costs, scores, and what is left alone."""

import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from prunable.budgets import Energy, Keep, Target
from prunable.errors import DataIntegrityError, InputError, UnsupportedModelError
from prunable.nets.prune.masks import masks_of
from prunable.nets.prune.plan import plan_from_json, plan_to_json
from prunable.nets.prune.pruning import prune
from prunable.nets.prune.retraining import hold_masks
from prunable.nets.shrink.footprint import macs_of
from prunable.nets.shrink.shrinking import shrink
from prunable.strategies import (
    MagnitudePruning,
    MedianCentred,
    NodePruning,
    RandomPruning,
    SaliencyPruning,
    UnitPruning,
)

EXAMPLE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.one, self.two = nn.Conv2d(16, 24, 3, padding=1), nn.Conv2d(24, 16, 3, padding=1)
        self.wide, self.head = nn.Linear(16, 40), nn.Linear(40, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn(self.stem(x)))
        x = x + self.two(torch.relu(self.one(x)))
        return self.head(torch.relu(self.wide(x.mean((2, 3)))))


@pytest.fixture
def net() -> Net:
    torch.manual_seed(1)
    net = Net()
    with torch.no_grad():
        net.bn.weight.uniform_(0.5, 1.5)
        net.bn.bias.normal_()
        net.bn.running_mean.normal_()
        net.bn.running_var.uniform_(0.5, 1.5)
    return net.eval()


def test_half_is_half_of_every_group_and_everything_of_a_unit_goes(net: Net) -> None:
    pruned = prune(net, NodePruning(), Keep(0.5), example=EXAMPLE)
    assert {g.name: (g.n_kept, g.n_total) for g in pruned.plan.groups} == {
        "stem": (8, 16),
        "one": (12, 24),
        "wide": (20, 40),
    }
    gone = net.stem.weight.flatten(1).abs().sum(1) == 0
    assert int(gone.sum()) == 8
    for made in (net.bn.weight, net.bn.bias, net.two.bias, net.two.weight.flatten(1).abs().sum(1)):
        assert (made[gone] == 0).all()
    for read in (net.one.weight[:, gone], net.wide.weight[:, gone]):
        assert (read == 0).all()
    # relu(beta - gamma mu / sigma) of a removed filter no longer flows
    with torch.no_grad():
        assert (torch.relu(net.bn(net.stem(EXAMPLE)))[:, gone] == 0).all()
    assert pruned.plan.kappa == 0.5
    assert [s.name for s in pruned.skipped] == ["head"]


def test_the_shrunk_network_is_the_masked_one_on_other_inputs_and_in_half_precision(
    net: Net,
) -> None:
    pruned = prune(net, UnitPruning(), Keep(0.25), example=EXAMPLE)
    other = 3 * torch.randn(5, 3, 11, 7)
    small = shrink(net, pruned.plan, EXAMPLE)
    torch.testing.assert_close(small.model(other), net(other), rtol=1e-4, atol=1e-5)
    assert small.n_parameters == sum(p.numel() for p in small.model.parameters())
    assert small.kept["one"] == (6, 4)
    low = net.bfloat16()
    small = shrink(low, pruned.plan, EXAMPLE.bfloat16())
    assert small.model.stem.weight.dtype == torch.bfloat16
    assert small.model(EXAMPLE.bfloat16()).dtype == torch.bfloat16


def test_units_of_smallest_norm_over_all_their_matrices_go(net: Net) -> None:
    squares = {n: p.detach().double().square().numpy() for n, p in net.named_parameters()}
    made = squares["one.weight"].sum((1, 2, 3))
    read = squares["two.weight"].sum((0, 2, 3))
    for aggregate, score in {
        "sum": made + read,
        "mean": made / made.mean() + read / read.mean(),
        "max": np.maximum(made / made.mean(), read / read.mean()),
    }.items():
        strategy = UnitPruning(aggregate=aggregate)
        plan = prune(net, strategy, Keep(0.5), example=EXAMPLE, dry_run=True).plan
        (group,) = (g for g in plan.groups if g.name == "one")
        expected = np.zeros(24, dtype=bool)
        expected[np.argsort(-score)[:12]] = True
        np.testing.assert_array_equal(group.kept, expected)


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize(("cost", "share"), [("macs", 0.5), ("parameters", 0.3)])
def test_costs_are_met_and_nearly_used_up(net: Net, cost: str, share: float, scope: str) -> None:
    target = Target(cost, share, scope=scope)
    pruned = prune(net, UnitPruning(), target, example=EXAMPLE)
    small = shrink(net, pruned.plan, EXAMPLE).model
    found = {
        "macs": macs_of(small, EXAMPLE)[""] / macs_of(net, EXAMPLE)[""],
        "parameters": sum(p.numel() for p in small.parameters())
        / sum(p.numel() for p in net.parameters()),
    }[cost]
    assert share - 0.1 < found <= share


def test_milliseconds_are_measured() -> None:
    net = nn.Sequential(nn.Linear(256, 2048), nn.ReLU(), nn.Linear(2048, 256)).eval()
    example = torch.randn(256, 256)
    target = Target("ms", 0.6, batch_size=256)
    pruned = prune(net, UnitPruning(), target, example=example)
    assert pruned.plan.groups[0].n_kept < 2048


def test_a_cost_that_one_unit_a_group_exceeds_is_refused(net: Net) -> None:
    with pytest.raises(InputError, match=r"`share` of `Target of parameters` must be at least"):
        prune(net, UnitPruning(), Target("parameters", 0.001), example=EXAMPLE)


def test_counts_are_multiples(net: Net) -> None:
    pruned = prune(net, UnitPruning(round_to=8), Keep(0.4), example=EXAMPLE)
    assert [group.n_kept for group in pruned.plan.groups] == [8, 8, 16]


def test_scores_of_other_strategies(net: Net) -> None:
    generator = np.random.default_rng(0)
    saliencies = {n: generator.random(tuple(p.shape)) for n, p in net.named_parameters()}
    saliencies["wide.weight"][:5] = 100
    of = SaliencyPruning(saliencies, "hessian")
    plan = prune(net, UnitPruning(of), Keep(0.125), example=EXAMPLE, dry_run=True).plan
    assert plan.method == "hessian"
    (group,) = (g for g in plan.groups if g.name == "wide")
    assert group.kept.tolist() == [True] * 5 + [False] * 35
    draws = [
        prune(net, UnitPruning(RandomPruning()), Keep(0.5), example=EXAMPLE, seed=s, dry_run=True)
        for s in (0, 0, 1)
    ]
    one, again, other = ([g.kept.tolist() for g in d.plan.groups] for d in draws)
    assert one == again != other
    assert prune(net, UnitPruning(MagnitudePruning()), Energy(0.7), example=EXAMPLE).plan.groups
    with pytest.raises(InputError, match="a strategy that scores weights"):
        UnitPruning(MedianCentred(MagnitudePruning()))


def test_only_and_exclude_name_what_makes_the_units(net: Net) -> None:
    plan = prune(net, NodePruning(), Keep(0.5), example=EXAMPLE, only=["one.*"], dry_run=True).plan
    assert [group.name for group in plan.groups] == ["one"]
    left = prune(
        net, NodePruning(), Keep(0.5), example=EXAMPLE, exclude=["two.weight"], dry_run=True
    )
    assert [group.name for group in left.plan.groups] == ["one", "wide"]
    assert ("stem", "it is excluded") in {(s.name, s.reason) for s in left.skipped}
    with pytest.raises(InputError, match="`only` of `prune`"):
        prune(net, NodePruning(), Keep(0.5), example=EXAMPLE, only=["head.weight"])


def test_an_example_without_effect_is_an_error(net: Net) -> None:
    with pytest.raises(InputError, match="`example` of `prune` must be left out"):
        prune(net.state_dict(), NodePruning(), Keep(0.5), example=EXAMPLE)
    with pytest.raises(InputError, match=r"`example` of .* or .*UnitPruning"):
        prune(net, MedianCentred(NodePruning()), Keep(0.5), example=EXAMPLE)
    with pytest.raises(InputError, match="finds no units"):
        prune(nn.Linear(4, 2), NodePruning(), Keep(0.5), example=torch.randn(2, 4))


def test_plans_are_written_and_read_whole(net: Net) -> None:
    plan = prune(net, UnitPruning(), Keep(0.5), example=EXAMPLE).plan
    text = plan_to_json(plan)
    again = plan_from_json(text)
    assert plan_to_json(again) == text
    assert shrink(net, again, EXAMPLE).n_parameters == shrink(net, plan, EXAMPLE).n_parameters
    for spoil in (
        lambda g: g["members"][0]["places"].append(10**9),
        lambda g: g["members"][0]["units"].__setitem__(0, 99),
        lambda g: g.pop("kept"),
        lambda g: g["members"][0].__setitem__("size", -1),
    ):
        document = json.loads(text)
        spoil(document["groups"][0])
        with pytest.raises(DataIntegrityError, match="pruning plan cannot be read"):
            plan_from_json(json.dumps(document))


def test_a_plan_does_not_fit_another_network(net: Net) -> None:
    plan = prune(net, UnitPruning(), Keep(0.5), example=EXAMPLE).plan
    with pytest.raises((InputError, UnsupportedModelError)):
        shrink(nn.Conv2d(3, 16, 3), plan, EXAMPLE)


def test_masks_hold_while_training_and_the_trained_network_is_cut(net: Net) -> None:
    pruned = prune(net, UnitPruning(), Keep(0.5), example=EXAMPLE)
    named = list(net.named_parameters())
    masks = masks_of(pruned.plan, named)
    assert {"bn.weight", "bn.bias", "one.bias", "head.weight"} <= set(masks)
    net.train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    hold_masks(optimizer, named, masks)
    for _ in range(5):
        optimizer.zero_grad()
        net(torch.randn(4, 3, 8, 8)).square().sum().backward()
        optimizer.step()
    for name, parameter in named:
        if name in masks:
            assert (parameter[~masks[name]] == 0).all()
    small = shrink(net, pruned.plan, EXAMPLE)
    assert small.model.training
    torch.testing.assert_close(
        small.model.eval()(EXAMPLE), net.eval()(EXAMPLE), rtol=1e-4, atol=1e-5
    )
