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
