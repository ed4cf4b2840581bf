"""Operations through which channels are followed: constant masks, writing at indices."""

import pytest
import torch
from torch import nn

from prunable.budgets import Keep
from prunable.nets.prune.groups import groups_of
from prunable.nets.prune.pruning import prune
from prunable.nets.shrink.shrinking import shrink
from prunable.strategies import NodePruning

X = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


class Between(nn.Module):
    """Something done to the channels between two convolutions."""

    def __init__(self, way):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head, self.way = nn.Linear(8, 2), way
        self.register_buffer("mask", torch.rand(1, 8, 1, 1))
        self.register_buffer("chosen", torch.arange(8).view(8, 1, 1) % 3 > 0)

    def forward(self, x):
        return self.head(self.b(self.way(self, self.a(x)).relu()).mean((2, 3)))


def rows(y):
    return torch.arange(len(y)).flip(0)


def scattered(_, y):
    places = rows(y).view(-1, 1, 1, 1).expand_as(y)
    return torch.zeros_like(y).scatter_add(0, places, y)


def put(_, y):
    out = torch.zeros_like(y)
    out[rows(y)] = y
    return out


FOLLOWED = {
    "mask": lambda self, y: y * self.mask,
    "constant": lambda self, y: y + self.mask,
    "yes or no": lambda self, y: y.masked_fill(self.chosen, 0.5),
    "index_add": lambda _, y: torch.zeros_like(y).index_add_(0, rows(y), y),
    "index_add to others": lambda _, y: y.index_add(0, rows(y)[:1], y[:1]),
    "index_copy": lambda _, y: y.index_copy(0, rows(y), 2 * y),
    "index_put": put,
    "scatter_add": scattered,
    "rows of places": lambda _, y: torch.zeros_like(y).index_add(2, torch.arange(6).flip(0), y),
}


@pytest.mark.parametrize("case", FOLLOWED)
def test_channels_are_followed_and_cut_with_proof(case):
    net = Between(FOLLOWED[case])
    assert {(g.name, g.n_units) for g in groups_of(net, X).groups} == {("a", 8), ("b", 8)}
    plan = prune(net, NodePruning(), Keep(0.5), example=X).plan
    small = shrink(net, plan, X).model
    assert small.a.out_channels == small.b.in_channels == 4
    fresh = torch.randn(5, 3, 6, 6)
    torch.testing.assert_close(small.eval()(fresh), net.eval()(fresh))


@pytest.mark.parametrize(
    "way",
    [
        lambda _, y: torch.zeros_like(y).index_add(1, torch.arange(8).flip(0), y),
        lambda _, y: y.scatter(1, torch.zeros_like(y, dtype=torch.long)[:, :1], 1.0),
    ],
    ids=["index_add", "scatter"],
)
def test_channels_that_move_by_numbers_stay(way):
    found = groups_of(Between(way), X)
    assert {g.name for g in found.groups} == {"b"}
    assert "not followed" in {one.name: one.reason for one in found.left}["a"]


class Pair(nn.Module):
    """Two inputs that a bilinear layer puts together."""

    def __init__(self, left=True, bias=True):
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Linear(4, 8) if left else nn.Identity()
        self.b, self.both = nn.Linear(4, 6), nn.Bilinear(8 if left else 4, 6, 10, bias=bias)
        self.head = nn.Linear(10, 2)

    def forward(self, x):
        return self.head(self.both(self.a(x).relu(), self.b(x).relu()).relu())


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_bilinear_layers_are_cut_on_all_sides(left, bias):
    net, x = Pair(left, bias), torch.randn(3, 5, 4)
    plan = prune(net, NodePruning(), Keep(0.5), example=x).plan
    sizes = {g.name: g.n_total for g in plan.groups}
    assert sizes == ({"a": 8} if left else {}) | {"b": 6, "both": 10}
    small = shrink(net, plan, x).model
    assert small.both.weight.shape == (5, 4, 3)
    assert (small.both.in1_features, small.both.in2_features, small.both.out_features) == (4, 3, 5)
    fresh = torch.randn(7, 4)
    torch.testing.assert_close(small(fresh), net(fresh))
