"""Parts of a network that the example does not run are named, and what may feed them stays."""

import pytest
import torch
from torch import nn

from prunable.budgets import Keep
from prunable.nets.prune.groups import groups_of
from prunable.nets.prune.pruning import prune
from prunable.nets.shrink.shrinking import shrink
from prunable.strategies import MagnitudePruning, NodePruning

X = torch.randn(2, 3, 8, 8)


class Block(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.one, self.two = nn.Conv2d(n_in, 6, 3, padding=1), nn.Conv2d(6, n_out, 3, padding=1)

    def forward(self, x):
        return self.two(self.one(x).relu()).relu()


class Flagged(nn.Module):
    """A trunk and two heads, of which a flag runs one; `way` is how the other is given features."""

    def __init__(self, way="pooled"):
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(Block(3, 5), Block(5, 4))
        self.way, self.other = way, False
        wide = {"pooled": 4, "flat": 4 * 64, "beside": 4 + 3}[way]
        self.heads = nn.ModuleDict({"a": nn.Linear(4, 2), "b": nn.Linear(wide, 2)})

    def forward(self, x):
        features = self.trunk(x)
        if not self.other:
            return self.heads["a"](features.mean((2, 3)))
        if self.way == "flat":
            return self.heads["b"](features.flatten(1))
        if self.way == "beside":
            features = torch.cat([features, x], 1)
        return self.heads["b"](features.mean((2, 3)))


@pytest.mark.parametrize("way", ["pooled", "flat", "beside"])
def test_a_head_chosen_by_a_flag_is_named_and_still_runs(way):
    net = Flagged(way)
    found = groups_of(net, X)
    reasons = {one.name: one.reason for one in found.left}
    assert reasons["heads.b"] == "not run on the example"
    assert "`heads.b`" in reasons["trunk.1.two"]
    assert "not run" in reasons["trunk.1.two"]
    assert {group.name for group in found.groups} == {"trunk.0.one", "trunk.0.two", "trunk.1.one"}
    result = prune(net, NodePruning(), Keep(0.5), example=X)
    assert ("heads.b", "not run on the example") in {(s.name, s.reason) for s in result.skipped}
    small = shrink(net, result.plan, X).model
    for other in (False, True):
        net.other = small.other = other
        torch.testing.assert_close(small.eval()(X), net.eval()(X))


class Experts(nn.Module):
    """Each example goes through the expert of its class."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Linear(8, 6)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 6)) for _ in range(3)
        )
        self.head = nn.Linear(6, 2)

    def forward(self, x, which):
        x = self.stem(x)
        out = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            if (which == number).any():
                out = out + expert(x) * (which == number)[:, None]
        return self.head(out)


def test_experts_that_are_not_hit_stay_whole_and_run():
    net = Experts()
    example = (torch.randn(4, 8), torch.tensor([0, 1, 1, 0]))
    result = prune(net, NodePruning(), Keep(0.5), example=example)
    named = {s.name for s in result.skipped if s.reason == "not run on the example"}
    assert named == {"experts.2.0", "experts.2.2"}
    assert {group.name for group in result.plan.groups} == {"experts.0.0", "experts.1.0"}
    small = shrink(net, result.plan, example).model
    other = (torch.randn(4, 8), torch.tensor([2, 0, 2, 1]))
    torch.testing.assert_close(small(*other), net(*other))
    assert small.experts[0][0].out_features == 5
    assert small.experts[2][0].out_features == 10


class Masked(nn.Module):
    """A token that takes the place of masked features, which the example has none of."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.token = nn.Linear(3, 8), nn.Parameter(torch.randn(8))
        self.wide, self.head = nn.Linear(8, 12), nn.Linear(12, 2)

    def forward(self, x, mask=None):
        x = self.embed(x)
        if mask is not None:
            x = torch.where(mask, self.token, x)
        return self.head(self.wide(x).relu())


def test_a_token_that_the_example_does_not_use_keeps_what_it_replaces():
    net, x = Masked(), torch.randn(4, 3)
    result = prune(net, NodePruning(), Keep(0.5), example=x)
    small = shrink(net, result.plan, x).model
    mask = torch.tensor([[True], [False], [True], [False]])
    torch.testing.assert_close(small(x, mask), net(x, mask))
    assert "token" in {s.name for s in result.skipped}
    # with an example of it, it goes with the rest
    whole = prune(net, NodePruning(), Keep(0.5), example=(x, mask))
    assert {group.name for group in whole.plan.groups} >= {"embed"}


def test_weights_need_no_run():
    result = prune(Flagged(), MagnitudePruning(), Keep(0.5), example=X)
    assert result.skipped == ()


class Trained(nn.Module):
    """An auxiliary head that only training has."""

    def __init__(self):
        super().__init__()
        self.body, self.head, self.aux = nn.Linear(4, 8), nn.Linear(8, 2), nn.Linear(8, 3)

    def forward(self, x):
        x = self.body(x).relu()
        return (self.head(x), self.aux(x)) if self.training else self.head(x)


def test_what_training_runs_is_run():
    found = groups_of(Trained(), torch.randn(3, 4))
    assert [group.name for group in found.groups] == ["body"]
    assert "not run on the example" not in {one.reason for one in found.left}
