"""Coupled units by what their readers lose, and what is left fitted to the dense network."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from prunable.errors import InputError
from prunable.nets.prune.plan import Keep
from prunable.nets.prune.pruning import prune
from prunable.nets.prune.strategies import BrainSurgery, InputWeightedPruning, UnitPruning
from prunable.nets.shrink.shrinking import shrink
from prunable.numerics.reconstruction.refit import refit
from prunable.numerics.reconstruction.units import losses_of_units


@pytest.mark.parametrize("damping", [None, 1e-2])
def test_losses_are_those_of_outputs_without_each_unit(damping):
    """Against each unit zeroed, and the weights that are left fitted again one unit at a time."""
    r = np.random.default_rng(0)
    x = r.standard_normal((2, 300, 6)) @ r.standard_normal((2, 6, 6))
    products, matrix = x.swapaxes(1, 2) @ x, r.standard_normal((8, 6))
    columns = np.array([[0, 0, 1, 1, -1, 2], [3, 3, 4, 4, 4, 2]])
    found = losses_of_units(matrix, products, columns, 5, damping=damping)
    whole = sum(np.square(x[g] @ matrix[4 * g :][:4].T).sum() for g in range(2))
    for unit in range(5):
        lost = 0.0
        for g in range(2):
            own, gram = matrix[4 * g :][:4], products[g]
            kept = np.broadcast_to(columns[g] != unit, own.shape)
            new = np.where(kept, own, 0.0)
            if damping is not None:
                new = refit(own, kept, gram[None], ridge=damping)
            lost += np.square(x[g] @ (own - new).T).sum()
            if damping is not None:
                lost += damping * float((np.square(own - new) * np.diag(gram)).sum())
        assert found[unit] == pytest.approx(lost / whole, rel=1e-8)


def network(seed=0):
    """Convolutions with BatchNorm, a sum of two, and linear layers with biases."""
    torch.manual_seed(seed)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Sequential(
                nn.Conv2d(3, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12)
            )
            self.body = nn.Sequential(
                nn.Conv2d(12, 16, 3, padding=1, bias=False),
                nn.BatchNorm2d(16),
                nn.ReLU(),
                nn.Conv2d(16, 12, 1, bias=False),
                nn.BatchNorm2d(12),
            )
            self.head = nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 5))

        def forward(self, x):
            x = torch.relu(self.first(x))
            return self.head(torch.relu(x + self.body(x)).mean((2, 3)))

    net = Net()
    with torch.no_grad():
        net.train()(torch.randn(64, 3, 8, 8))
    return net.eval()


@pytest.mark.parametrize("of", [InputWeightedPruning(), BrainSurgery()])
def test_what_is_left_makes_up_for_units_that_go(of):
    """Nearer to the dense network than without, biases and statistics in both; fit to be cut."""
    net, x = network(), torch.randn(160, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    budget, fresh = Keep(0.5), torch.randn(200, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    apart = {}
    for name, strategy, given in (
        ("weights", UnitPruning(), {}),
        ("fitted", UnitPruning(), {"calibration": x}),
        ("calibrated", UnitPruning(of), {"calibration": x}),
    ):
        pruned = copy.deepcopy(net)
        result = prune(pruned, strategy, budget, example=x[:2], **given)
        with torch.no_grad():
            apart[name] = float((pruned(fresh) - net(fresh)).square().mean())
    assert apart["fitted"] < 0.6 * apart["weights"]
    assert apart["calibrated"] < 0.6 * apart["weights"]
    assert {o.name for o in result.outputs} == {n for n, p in net.named_parameters() if p.ndim > 1}
    for output in result.outputs:
        assert output.measured == pytest.approx(output.predicted, rel=1e-4)
        assert output.predicted <= output.masked * (1 + 1e-9)
    assert result.recalibrated is not None
    assert set(result.corrected) == {"head.0.bias", "head.2.bias"}
    small = shrink(pruned, result.plan, x[:2]).model
    torch.testing.assert_close(small(fresh), pruned(fresh), rtol=1e-4, atol=1e-5)
    kept = {plan.name: plan.n_kept for plan in result.plan.groups}
    assert sorted(kept.values()) == [6, 8, 10]


def test_a_redundant_unit_goes_first():
    """Of two units that always say the same one is made up for by the other."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))
    with torch.no_grad():
        net[0].weight[3], net[0].bias[3] = 3 * net[0].weight[2], 3 * net[0].bias[2]
        net[2].weight[:, 3] *= 5  # by weights and inputs it counts most
    x, dense = torch.randn(400, 6), copy.deepcopy(net)
    result = prune(net, UnitPruning(BrainSurgery()), Keep(7 / 8), example=x[:2], calibration=x)
    (plan,) = result.plan.groups
    assert not plan.kept[[2, 3]].all()
    with torch.no_grad():
        assert (net(x) - dense(x)).abs().max() < 0.05 * dense(x).abs().max()


def test_a_try_changes_nothing_and_says_the_same():
    net, x = network(), torch.randn(80, 3, 8, 8)
    before = copy.deepcopy(net.state_dict())
    how = {"example": x[:2], "calibration": x}
    tried = prune(net, UnitPruning(BrainSurgery()), Keep(0.5), dry_run=True, **how)
    assert all(torch.equal(before[name], now) for name, now in net.state_dict().items())
    done = prune(net, UnitPruning(BrainSurgery()), Keep(0.5), **how)
    assert (tried.n_nonzero_before, tried.n_nonzero) == (done.n_nonzero_before, done.n_nonzero)


def test_scores_by_readers_need_inputs():
    net, x = network(), torch.randn(8, 3, 8, 8)
    with pytest.raises(InputError, match="calibration"):
        prune(net, UnitPruning(BrainSurgery()), Keep(0.5), example=x[:2])
