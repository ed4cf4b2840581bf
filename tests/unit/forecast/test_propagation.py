"""Forecasts from a handful of inputs a copy: closed forms, plans of `prune`, refusals."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from prunable.errors import InputError
from prunable.forecast.document import forecast_tables, write_page
from prunable.forecast.estimators import forecast_curve
from prunable.forecast.estimators.propagation import Handful, Movements, errors_at
from prunable.forecast.forecasting import forecast
from prunable.forecast.logits import Copies, Examples, scores
from prunable.forecast.propagated import Propagation, gathered, own_statistics
from prunable.forecast.ways import way_named
from prunable.nets.calibration.calibrating import calibrate
from prunable.nets.prune.pruning import prune
from prunable.nets.prune.several import plans_for

WAYS = ("magnitude/global", "magnitude/lamp", "magnitude/layer", "wanda/lamp", "2:4", "unit/layer")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(4, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 5, bias=False),
    ).eval()
    with torch.no_grad():
        net[-1].weight *= 20
    return net


@pytest.fixture(scope="module")
def inputs():
    torch.manual_seed(1)
    return torch.randn(120, 4, 8, 8)


def test_errors_between_shares_lie_on_lines_and_never_fall_as_shares_do():
    kappas = (1.0, 0.7, 0.5, 0.35, 0.2)
    found = errors_at(kappas, (0.7, 0.5, 0.2), (0.01, 0.04, 0.25))
    middle = np.log(0.5 / 0.35) / np.log(0.5 / 0.2)
    np.testing.assert_allclose(found[[0, 1, 2, 4]], [0, 0.01, 0.04, 0.25], rtol=1e-9)
    np.testing.assert_allclose(found[3], 0.04 ** (1 - middle) * 0.25**middle, rtol=1e-9)
    uneven = errors_at(kappas, (0.7, 0.5, 0.2), (0.04, 0.01, 0.25))
    np.testing.assert_allclose(uneven[[1, 2]], 0.02, rtol=1e-9)
    assert (np.diff(uneven) >= 0).all()


def test_growing_and_shrinking_is_no_error_and_noise_is_its_size():
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(4000, 10))
    assert Handful(0.5, dense, 0.3 * dense + 7).error == pytest.approx(0, abs=1e-20)
    noise = rng.normal(size=dense.shape)
    # of 40,000 products the relative error is below 1 / 200
    assert Handful(0.5, dense, 0.5 * (dense + 0.4 * noise)).error == pytest.approx(0.16, rel=0.03)


def test_a_linear_layer_comes_to_the_error_that_its_gram_matrix_tells(inputs):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(256, 6, bias=False))
    job = Propagation(Copies(net, Examples((inputs,))), scores(net, [inputs]), many=120)
    found = job.of(way_named("magnitude/layer"), (0.8, 0.4, 0.1))
    x = inputs.flatten(1).double().numpy()
    gram, weights = x.T @ x, net[1].weight.detach().double().numpy()
    for keep, error in zip(found.keeps, found.errors, strict=True):
        least = np.sort(np.abs(weights).ravel())[-math.ceil(keep * weights.size)]
        before, after = (w - w.mean(0) for w in (weights, weights * (np.abs(weights) >= least)))
        whole = np.trace(before @ gram @ before.T)
        gain = np.trace(after @ gram @ before.T) / whole
        apart = after / gain - before
        assert error == pytest.approx(np.trace(apart @ gram @ apart.T) / whole, rel=1e-4)


def test_decisions_change_as_often_as_where_all_inputs_were_run():
    rng = np.random.default_rng(3)
    dense = 3 * rng.normal(size=(600, 10))
    mixing = rng.normal(size=(10, 10)) / 3  # the noise of each copy lies as that of the others
    copies = [0.8 * (dense + s * rng.normal(size=dense.shape) @ mixing) for s in (1.0, 2.0, 3.0)]
    chosen = rng.choice(600, 60, replace=False)
    handfuls = [Handful(0.5, dense[chosen], one[chosen]) for one in copies]
    moved = Movements.of(handfuls).applied(dense)
    for one, handful in zip(copies, handfuls, strict=True):
        actual = (one.argmax(1) != dense.argmax(1)).mean()
        likely = (moved.by(handful.error).outputs.argmax(2) != dense.argmax(1)).mean()
        # five standard errors of a share of 600, and as much for those of the handful
        assert likely == pytest.approx(actual, abs=10 * (0.25 / 600) ** 0.5 * actual**0.5)


@pytest.mark.parametrize("name", WAYS)
def test_plans_of_several_shares_are_those_of_prune(network, inputs, name):
    way = way_named(name)
    keeps = way.keeps((0.7, 0.3))
    strategies = [way.strategy(keep) for keep in keeps]
    how = {}
    if way.needs_inputs:
        how["calibration"] = calibrate(network, inputs, products=False)
    if way.of_units:
        how["example"] = inputs[:2]
    plans = plans_for(copy.deepcopy(network), strategies[0][0], [b for _, b in strategies], **how)
    for (strategy, budget), plan in zip(strategies, plans, strict=True):
        pruned = copy.deepcopy(network)
        result = prune(pruned, strategy, budget, force=not way.of_units, **how)
        for mine, other in zip(plan.layers, result.plan.layers, strict=True):
            np.testing.assert_array_equal(mine.kept, other.kept)
        for mine, other in zip(plan.groups, result.plan.groups, strict=True):
            np.testing.assert_array_equal(mine.kept, other.kept)


def test_statistics_of_the_inputs_are_those_of_training_and_leave_none_behind(network, inputs):
    few, other = inputs[:7], copy.deepcopy(network)
    with torch.no_grad():
        other[0].weight.mul_(3)  # which new statistics make up for
        trained = copy.deepcopy(network).train()(few).numpy()
    before = copy.deepcopy(other.state_dict())
    with own_statistics(other):
        np.testing.assert_allclose(scores(other, [few]), trained, rtol=1e-3, atol=1e-3)
    assert all(torch.equal(x, before[name]) for name, x in other.state_dict().items())
    with own_statistics(network, wanted=False):
        np.testing.assert_array_equal(scores(network, [few]), network(few).detach().numpy())


def test_a_forecast_is_near_the_exact_one_and_says_where_it_may_not_be():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10, bias=False)).eval()
    with torch.no_grad():
        net[2].weight *= 8
    x = torch.randn(400, 64)
    settings = {"accuracy": 0.8, "strategies": ["magnitude/layer", "magnitude/lamp"]}
    before = copy.deepcopy(net.state_dict())
    exact = forecast(net, x, **settings)
    quick = forecast(net, x, speed="propagated", **settings)
    assert all(torch.equal(v, before[name]) for name, v in net.state_dict().items())
    assert quick == forecast(net, x, speed="propagated", **settings)
    apart = []
    for one, other in zip(exact.curves, quick.curves, strict=True):
        assert [p.kappa for p in one.points] == [p.kappa for p in other.points]
        losses = [point.loss for point in other.points]
        assert losses == sorted(losses)
        for a, b in zip(one.points, other.points, strict=True):
            assert b.parameters == pytest.approx(a.parameters, abs=0.02)
            if a.loss < 0.2:
                apart.append(abs(b.loss - a.loss))
                assert b.high - b.low > a.high - a.low - 0.005
    assert np.mean(apart) < 0.03
    last = quick.checks[-1]
    assert not last.passed
    assert "magnitude/layer from" in last.text
    small = forecast(
        net, x, accuracy=0.8, strategies=["magnitude/lamp"], keeps=[0.9], speed="propagated"
    )
    assert small.checks[-1].passed


def test_the_five_best_guesses_at_both_speeds():
    """Against 4,000 other inputs, labels drawn from the network: 5 standard errors, 1e-5 in all."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10, bias=False)).eval()
    with torch.no_grad():
        net[2].weight *= 4
    x, others = torch.randn(400, 64), torch.randn(4000, 64)
    with torch.no_grad():
        labels = torch.multinomial(net(others).softmax(1), 1)

    def right(model):
        with torch.no_grad():
            return float((model(others).topk(5).indices == labels).any(1).double().mean())

    how = {"accuracy": right(net), "kind": "top5", "keeps": [0.5, 0.2], "strategies": ["magnitude"]}
    exact, quick = (forecast(net, x, speed=speed, **how) for speed in ("exact", "propagated"))
    assert exact.kind == quick.kind == "top5"
    copies = Copies(net, Examples((x,), "top5"))
    pairs = zip(exact.curves[0].points, quick.curves[0].points, strict=True)
    for point, other in pairs:
        truth = right(copies.pruned(way_named("magnitude"), point.kappa).model)
        noise = math.sqrt(truth * (1 - truth) / 4000)
        assert abs(point.accuracy - truth) < 5 * math.hypot(point.sampling, point.model, noise)
        assert other.low <= point.accuracy <= other.high
    assert exact.curves[0].points[1].loss > 0.05


def test_new_statistics_and_all_usual_ways_are_foreseen(network, inputs):
    found = forecast(network, inputs, accuracy=0.6, speed="propagated", keeps=[0.8, 0.5, 0.2])
    assert [curve.name for curve in found.curves] == list(WAYS)
    assert found.speed == "propagated"
    assert all(0 <= p.low <= p.accuracy <= p.high <= 1 for c in found.curves for p in c.points)
    assert len(forecast_tables(found.to_dict())) == 2


def test_labels_tell_the_accuracy_of_the_network_and_nothing_of_copies(network, inputs):
    labels = scores(network, [inputs]).argmax(1)
    labels[::4] = (labels[::4] + 1) % 5
    options = {"strategies": ["magnitude"], "keeps": [0.5], "speed": "propagated"}
    known = forecast(network, inputs, labels=labels, **options)
    assert known.accuracy == pytest.approx(90.5 / 121)
    both = forecast(network, inputs, labels=labels, accuracy=0.7, **options)
    alone = forecast(network, inputs, accuracy=0.7, **options)
    assert both.curves == alone.curves


def test_without_inputs_ways_and_layers_are_ranked_and_no_accuracy_told(network, tmp_path):
    found = forecast(network, speed="propagated", input_shape=(4, 8, 8), keeps=[0.8, 0.4])
    assert found.inputs == 0
    assert found.accuracy is None
    assert [name for name, _ in found.skipped] == ["wanda/lamp"]
    for curve in found.curves:
        errors = [point.output_error for point in curve.points]
        assert errors == sorted(errors)
        assert errors[0] > 0
        assert all(p.accuracy is p.retention is p.loss is None for p in curve.points)
    assert {layer.name for layer in found.layers} == {"0.weight", "3.weight", "7.weight"}
    effects = [layer.output_error for layer in found.layers]
    assert effects == sorted(effects, reverse=True)
    assert found == forecast(network, speed="propagated", input_shape=(4, 8, 8), keeps=[0.8, 0.4])
    write_page(found.to_dict(), tmp_path / "page.html")
    assert "relative error of outputs" in (tmp_path / "page.html").read_text()


def test_inputs_come_together_from_batches_of_any_form():
    parts = [torch.arange(4.0)[:, None], torch.arange(4.0, 6.0)[:, None]]
    assert gathered(parts, [1, 3, 4])[:, 0].tolist() == [1, 3, 4]
    named = [{"x": part, "scale": torch.tensor(2.0)} for part in parts]
    assert gathered(named, [0, 5])["x"][:, 0].tolist() == [0, 5]
    with pytest.raises(InputError, match="do not fit together"):
        gathered([torch.zeros(2, 3), torch.zeros(2, 4)], [0, 3])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"speed": "fast"}, "speed"),
        ({"kind": "regression"}, "kind.*classification or top5"),
        ({"store": "kept"}, "store.*left out"),
        ({"inputs": None}, "input_shape.*sizes of one input"),
        ({"inputs": None, "input_shape": (0, 8)}, "input_shape"),
        ({"input_shape": (4, 8, 8)}, "input_shape.*left out"),
        ({"inputs": None, "input_shape": (4, 8, 8), "accuracy": 0.6}, "accuracy.*without inputs"),
        ({"inputs": None, "speed": "exact"}, "inputs.*given"),
        ({"inputs": None, "input_shape": (3, 8, 8)}, "does not fit"),
        ({"inputs": None, "input_shape": (4, 8, 8), "strategies": ["wanda"]}, "need no inputs"),
    ],
)
def test_what_the_speed_does_not_take_is_refused(network, inputs, options, said):
    with pytest.raises(InputError, match=said):
        forecast(network, **{"inputs": inputs, "speed": "propagated", **options})


def test_handfuls_that_tell_nothing_are_refused():
    with pytest.raises(InputError, match="one shape"):
        Handful(0.5, np.zeros((3, 4)), np.zeros((3, 5)))
    with pytest.raises(InputError, match="finite"):
        Handful(0.5, np.zeros((3, 4)), np.full((3, 4), np.nan))
    dense = np.random.default_rng(0).normal(size=(9, 4))
    with pytest.raises(InputError, match="differs"):
        Movements.of([Handful(0.5, dense, dense)])


def test_the_error_of_propagation_is_in_the_interval():
    rng = np.random.default_rng(0)
    dense = 3 * rng.normal(size=(256, 10))
    copy_ = dense + 1.5 * rng.normal(size=dense.shape)
    handful = Handful(0.5, dense[:40], copy_[:40])
    moved = Movements.of([handful]).applied(dense)
    (told,) = forecast_curve(dense, [moved.by(handful.error)], [0.5], accuracy=0.8).points
    (exact,) = forecast_curve(dense, [copy_], [0.5], accuracy=0.8).points
    assert told.model > exact.model + 0.01
    assert told.high - told.low > exact.high - exact.low
    assert dataclasses.asdict(told).keys() == dataclasses.asdict(exact).keys()
