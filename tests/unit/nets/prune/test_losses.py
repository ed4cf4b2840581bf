"""Shares by what pruning does to the outputs: against exhaustive search, and with nothing known."""

import copy
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import prunable
from prunable.budgets import Keep
from prunable.errors import InputError
from prunable.nets.calibration.calibrating import calibrate
from prunable.nets.calibration.divergence import Probe, divergence
from prunable.nets.networks.views import WeightView, views_of
from prunable.nets.prune.losses import division_of, settled
from prunable.nets.prune.strategies.allocations import (
    DepthShares,
    GivenCounts,
    LeastLoss,
    depths_of,
)
from prunable.numerics.randomness import rng
from prunable.numerics.reconstruction import scaled
from prunable.strategies import (
    BrainSurgery,
    InputWeightedPruning,
    MagnitudePruning,
    MedianCentred,
    NMPruning,
    Refitted,
)

SIZES = (12, 16, 16, 5)


def network(seed=0, outputs=SIZES[-1]):
    torch.manual_seed(seed)
    layers = []
    for n_in, n_out in zip(SIZES, (*SIZES[1:-1], outputs), strict=False):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    with torch.no_grad():
        # a layer that everything depends on, and one whose outputs hardly count
        model[2].weight.mul_(0.2)
        model[0].bias.add_(1.0)
    return model


def inputs(seed=1):
    return torch.randn(64, SIZES[0], generator=torch.Generator().manual_seed(seed))


def moved(model, pruned, x):
    """The mean Jensen-Shannon divergence of two networks' classes, written out."""
    with torch.no_grad():
        p, q = (m(x).double().softmax(1).numpy() for m in (model, pruned))
    middle = (p + q) / 2
    return float(np.mean(np.sum(p * np.log(p / middle) + q * np.log(q / middle), axis=1)) / 2)


def counts(result):
    return [layer.n_kept for layer in result.plan.layers]


def reached(model, allocation, kappa, x, kind=MagnitudePruning):
    pruned = copy.deepcopy(model)
    budget = Keep(kappa, scope="global")
    result = prunable.prune(pruned, kind(allocation=allocation), budget, calibration=x)
    assert result.plan.n_parameters_kept == np.ceil(kappa * result.plan.n_parameters)
    return moved(model, pruned, x), result


@pytest.mark.parametrize("kappa", [0.5, 0.2])
@pytest.mark.parametrize("kind", [MagnitudePruning, InputWeightedPruning, BrainSurgery])
def test_outputs_move_less_than_by_any_division_of_weights(kind, kappa):
    """On the inputs that it looks at, by construction; and nearly as little as can be."""
    model, x = network(), inputs()
    least, result = reached(model, "optimum", kappa, x, kind)
    # one threshold would leave nothing of a layer at a fifth
    for rule in ("threshold", "lamp", "erk", "relative")[kappa == 0.2 :]:
        assert least <= reached(model, rule, kappa, x, kind)[0] + 1e-9
    if kind is MagnitudePruning:
        sizes = [layer.n_total for layer in result.plan.layers]
        k = sum(counts(result))
        best = min(
            reached(model, GivenCounts((a, b, k - a - b)), kappa, x)[0]
            for a, b in product(range(8, sizes[0], 16), range(8, sizes[1], 16))
            if 1 <= k - a - b <= sizes[2]
        )
        assert least <= 1.25 * best


def test_losses_of_layers_alone_are_what_running_them_gives():
    model, x = network(), inputs()
    probe = Probe(model, [x[:40], x[40:]], "logits")
    changed = copy.deepcopy(model)
    with torch.no_grad():
        changed[2].weight[:, ::2] = 0
    found = probe.divergence({"2.weight": changed[2].weight.detach()})
    assert found == pytest.approx(moved(model, changed, x), rel=1e-6)
    assert probe.divergence({}) == pytest.approx(0, abs=1e-12)  # it is whole again
    assert torch.equal(probe.weight("2.weight"), model[2].weight)


def test_of_very_many_scores_some_are_compared(monkeypatch):
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.head = nn.Embedding(9, 6), nn.Linear(6, 50)

        def forward(self, tokens):
            return SimpleNamespace(logits=self.head(self.table(tokens)))

    model, tokens = Words(), torch.arange(9).repeat(4, 2)
    changed = {"head.weight": 0.5 * model.head.weight.detach()}
    whole = Probe(model, [tokens], "logits").divergence(changed)
    with torch.no_grad():
        p, q = (w @ model.table.weight.T for w in (model.head.weight, changed["head.weight"]))
        p, q = ((x.T + model.head.bias).double().softmax(1) for x in (p, q))
    middle = (p + q) / 2
    each = ((p * (p / middle).log()).sum(1) + (q * (q / middle).log()).sum(1)) / 2
    assert whole == pytest.approx(float(each.mean()), rel=1e-5)
    # of 72 places every eighth: 0, 8, 16, ... hold each of the nine tokens once
    monkeypatch.setattr("prunable.nets.calibration.divergence.AT_ONCE", 72 * 50 // 8)
    some = Probe(model, [tokens], "logits").divergence(changed)
    assert some == pytest.approx(float(each.mean()), rel=1e-5)


def test_weights_under_normalisation_share_too():
    torch.manual_seed(0)
    model = nn.Sequential(weight_norm(nn.Linear(12, 16)), nn.ReLU(), nn.Linear(16, 5))
    budget = Keep(0.4, scope="global")
    result = prunable.prune(
        model, MagnitudePruning(allocation="optimum"), budget, calibration=inputs()
    )
    assert result.baked == ("0.weight",)
    assert result.plan.n_parameters_kept == np.ceil(0.4 * result.plan.n_parameters)


def test_values_are_compared_by_squares():
    model, x = network(), inputs()
    changed = copy.deepcopy(model)
    with torch.no_grad():
        changed[4].weight[:, :3] = 0
        y, z = model(x).double(), changed(x).double()
    expected = float((((y - z) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)).mean())
    found = Probe(model, [x], "values").divergence({"4.weight": changed[4].weight.detach()})
    assert found == pytest.approx(expected, rel=1e-6)


def test_bounded_divergence_of_sure_errors_is_ln_2():
    sure = [[(torch.tensor([[200.0, 0.0]], dtype=torch.float64), True)]]
    other = [[(torch.tensor([[0.0, 200.0]], dtype=torch.float64), True)]]
    assert divergence(sure, other, bounded=True) == pytest.approx(np.log(2))
    assert divergence(sure, other) == pytest.approx(200)


def test_progressions_are_chosen_by_the_outputs():
    model, x = network(), inputs()
    found, result = reached(model, "atp", 0.4, x)
    views = views_of(model.named_parameters())
    tried = DepthShares().tried(views, sum(counts(result)))
    slopes = [one.slope for one in tried]
    # 0 <= beta <= 2 min(S, 1 - S) / (L - 1)
    assert slopes[0] == 0
    assert slopes[-1] == pytest.approx(2 * 0.4 / 2, rel=0.01)
    assert found == pytest.approx(min(reached(model, one, 0.4, x)[0] for one in tried))


@pytest.mark.parametrize("slope", [-0.1, 0.0, 0.07])
def test_progressions_have_equal_steps(slope):
    model = nn.Sequential(*[nn.Linear(30, 30) for _ in range(5)])
    strategy = MagnitudePruning(allocation=DepthShares(slope))
    plan = strategy.plan(views_of(model.named_parameters()), Keep(0.4, "global"), rng=rng(0))
    # layers in the order of the network: s_i = S - beta (L - 1)/2 + beta (i - 1)
    expected = [1 - (0.6 - slope * 2 + slope * i) for i in range(5)]
    np.testing.assert_allclose([layer.kappa for layer in plan.layers], expected, atol=1 / 900)


def test_weights_of_a_block_are_equally_deep():
    names = (
        "stem.weight h.0.a.weight h.0.b.0.weight h.0.b.1.weight h.1.a.weight h.10.a.weight 3.w o.w"
    )
    views = [WeightView(name, np.ones((2, 2))) for name in names.split()]
    assert list(depths_of(views)) == [0, 1, 1, 1, 2, 3, 4, 5]


def test_depth_is_the_modules_order_and_not_that_of_names():
    model = nn.Sequential()
    for name in ("z", "a", "m"):
        model.add_module(name, nn.Linear(20, 20))
    strategy = MagnitudePruning(allocation=DepthShares(0.2))
    result = prunable.prune(model, strategy, Keep(0.5, scope="global"))
    assert [layer.name[0] for layer in result.plan.layers] == ["z", "a", "m"]
    assert counts(result) == [280, 200, 120]


def test_without_a_network_errors_of_layers_add_up_to_least():
    model = network()
    views = views_of(model.named_parameters())
    budget = Keep(0.3, scope="global")
    found, relative = (
        MagnitudePruning(allocation=rule).plan(views, budget, rng=rng(0))
        for rule in ("optimum", "relative")
    )
    assert [x.n_kept for x in found.layers] == [x.n_kept for x in relative.layers]
    seen = calibrate(model, inputs()).seen(views)
    known = MagnitudePruning(allocation="optimum").plan(seen, budget, rng=rng(0))
    assert [x.n_kept for x in known.layers] != [x.n_kept for x in relative.layers]


def test_layers_that_no_input_reaches_are_pruned_and_named():
    class WithSpare(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.spare = network(), nn.Linear(10, 10)

        def forward(self, x):
            return self.used(x)

    for kind in (MagnitudePruning, InputWeightedPruning, BrainSurgery):
        strategy = kind(allocation="optimum")
        result = prunable.prune(WithSpare(), strategy, Keep(0.3, "global"), calibration=inputs())
        assert result.unreached == ("spare.weight",)
        spare = next(x for x in result.plan.layers if x.name == "spare.weight")
        assert 0 < spare.n_kept < 100


def test_batch_statistics_are_looked_at_where_they_will_be_estimated_again():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(),
        nn.Linear(8 * 16, 5),
    )  # fmt: skip
    x = torch.randn(32, 3, 8, 8)
    prunable.recalibrate(model, x)
    smaller = {"0.weight": 0.5 * model[0].weight.detach()}
    by_own, by_batch = (Probe(model, [x], "logits", flag).divergence(smaller) for flag in (0, 1))
    assert by_own > 1e-4
    assert by_batch < 1e-3 * by_own  # a scale is what statistics take out again
    strategy = MagnitudePruning(allocation=LeastLoss(recalibrated=True))
    result = prunable.prune(model, strategy, Keep(0.3, "global"), calibration=x)
    assert result.plan.n_parameters_kept == np.ceil(0.3 * result.plan.n_parameters)


def test_strategies_inside_others_share_so_too():
    inner = MagnitudePruning(allocation="optimum")
    assert division_of(Refitted(inner)) == division_of(MedianCentred(inner)) == LeastLoss()
    assert division_of(NMPruning(2, 4)) is division_of(MagnitudePruning()) is None
    assert division_of(MagnitudePruning(allocation=DepthShares(0.1))) is None
    model, x = network(), inputs()
    result = prunable.prune(
        copy.deepcopy(model), Refitted(inner), Keep(0.3, scope="global"), calibration=x
    )
    assert any(layer.values is not None for layer in result.plan.layers)
    for budget in (Keep(0.3), Keep(0.3, scope="layer")):
        assert settled(inner, [], budget, model, []) is inner


def test_inputs_of_a_layer_are_factored_once_for_all_shares(monkeypatch):
    """Unless there is no room to keep the factors, which changes nothing but the time."""
    model, x = network(), inputs()
    views = calibrate(model, x).seen(views_of(model.named_parameters()))
    factored, of_one = [], scaled.dtrtri
    monkeypatch.setattr(scaled, "dtrtri", lambda root: factored.append(root) or of_one(root))
    strategy, budget = BrainSurgery(allocation="optimum"), Keep(0.3, scope="global")
    found = settled(strategy, views, budget, model, [x])
    assert len(factored) == len(views)
    monkeypatch.setattr("prunable.nets.prune.losses.FACTORS", 0)
    assert settled(strategy, views, budget, model, [x]) == found
    assert len(factored) > 20 * len(views)


def test_bad_numbers_and_counts():
    with pytest.raises(InputError, match="`slope` of `DepthShares`"):
        DepthShares(2.0)
    with pytest.raises(InputError, match="`outputs` of `LeastLoss`"):
        LeastLoss(outputs="classes")
    with pytest.raises(InputError, match="`kept` of `GivenCounts`"):
        reached(network(), GivenCounts((1, 2, 3)), 0.5, inputs())
