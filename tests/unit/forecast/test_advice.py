"""Advice: which point is chosen, how sure that is, and plans that are carried out."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from prunable.errors import DataIntegrityError, InputError
from prunable.forecast.advice import Target, decide, is_held
from prunable.forecast.advising import advise, outcome_of
from prunable.forecast.estimators.estimate import quantile
from prunable.forecast.forecasting import Curve, Point, _Job
from prunable.forecast.ways import way_named
from prunable.nets.prune.plan_file import prune_by_plan, read_plan, write_plan

INPUTS, LEVEL = 400, 0.9


def point(kappa, loss, error, *, macs=None, model=0.0):
    """A point whose loss has this standard error."""
    sampling = math.sqrt(error**2 - model**2)
    half = quantile(LEVEL, INPUTS) * error
    known = {"retention": 1 - loss, "retention_low": 0.0, "retention_high": 1.0}
    return Point(
        kappa=kappa,
        accuracy=0.9 - loss,
        low=0.9 - loss - half,
        high=0.9 - loss + half,
        parameters=kappa,
        macs=kappa if macs is None else macs,
        loss=loss,
        loss_low=loss - half,
        loss_high=loss + half,
        sampling=sampling,
        model=model,
        **known,
    )


def curve(name, *points):
    return Curve("magnitude", name, points)


def test_the_smallest_that_is_held_is_chosen_among_all():
    first = curve("lamp", point(0.5, 0.001, 0.001), point(0.3, 0.002, 0.001), point(0.2, 0.2, 0.01))
    second = curve("layer", point(0.5, 0.0, 0.001), point(0.4, 0.1, 0.01))
    found = decide([first, second], 0.01, inputs=INPUTS)
    assert (found.verdict, found.point.curve, found.point.point.kappa) == ("ACCEPT", first, 0.3)


def test_a_curve_ends_at_the_first_share_that_fails():
    lucky = curve("lamp", point(0.5, 0.02, 0.001), point(0.3, 0.0, 0.001))
    found = decide([lucky], 0.01, inputs=INPUTS)
    assert found.verdict != "ACCEPT"


def test_many_ways_must_each_be_surer():
    """By Bonferroni the one-sided quantile is that of a tenth divided by the number of curves."""
    error = 0.005 / ((quantile(0.8, INPUTS) + quantile(1 - 0.2 / 6, INPUTS)) / 2)
    alone = curve("lamp", point(0.5, 0.005, error))
    worse = [curve(name, point(0.9, 0.3, 0.01)) for name in "abcde"]
    assert decide([alone], 0.01, inputs=INPUTS).verdict == "ACCEPT"
    assert decide([alone, *worse], 0.01, inputs=INPUTS).verdict == "UNSURE"


def test_the_number_of_further_inputs_decides_if_the_loss_is_what_it_seems():
    found = decide([curve("lamp", point(0.5, 0.006, 0.02, model=0.001))], 0.01, inputs=INPUTS)
    assert found.verdict == "UNSURE"
    z = quantile(0.8, INPUTS)
    count = INPUTS + found.more_inputs
    error = math.sqrt((0.02**2 - 0.001**2) * INPUTS / count + 0.001**2)
    assert 0.006 + z * error == pytest.approx(0.01, abs=1e-5)
    hopeless = decide([curve("lamp", point(0.5, 0.006, 0.02, model=0.019))], 0.01, inputs=INPUTS)
    assert (hopeless.verdict, hopeless.more_inputs) == ("UNSURE", None)
    assert "classes" in hopeless.said


def test_what_cannot_be_held_names_the_nearest():
    bad = curve("lamp", point(0.9, 0.05, 0.001), point(0.5, 0.3, 0.01))
    found = decide([bad], 0.01, inputs=INPUTS)
    assert (found.verdict, found.point.point.kappa) == ("INFEASIBLE", 0.9)
    good = curve("lamp", point(0.5, 0.0, 0.001, macs=0.7), point(0.2, 0.3, 0.01, macs=0.4))
    met = decide([good], 0.01, inputs=INPUTS, target=Target.of_text("macs=0.8"))
    assert (met.verdict, met.point.point.kappa) == ("ACCEPT", 0.5)
    missed = decide([good], 0.01, inputs=INPUTS, target=Target.of_text("macs=0.5"))
    assert (missed.verdict, missed.point.point.kappa) == ("INFEASIBLE", 0.5)


def test_accepted_plans_hold_as_often_as_is_said():
    """Losses of 8 ways x 5 shares, all just too large: any acceptance is an error.

    At most a tenth of the runs may accept; with 2,000 of them the share stays below .1 plus five
    standard errors with a false alarm below 1e-6. A search without correction accepts most.
    """
    generator = np.random.default_rng(0)
    wrong, naive, runs, error = 0, 0, 2000, 0.004
    for _ in range(runs):
        noise = error * generator.standard_normal((8, 5))
        curves = [
            curve(str(i), *(point(0.9 - 0.1 * j, 0.0101 + x, error) for j, x in enumerate(row)))
            for i, row in enumerate(noise)
        ]
        wrong += decide(curves, 0.01, inputs=INPUTS).verdict == "ACCEPT"
        naive += bool((noise + quantile(0.8, INPUTS) * error < 0).any())
    assert wrong / runs < 0.1 + 5 * math.sqrt(0.09 / runs)
    assert naive / runs > 0.5


@pytest.mark.parametrize("text", ["macs", "ms=0.5", "macs=0", "macs=2", "macs=x"])
def test_targets_are_shares(text):
    with pytest.raises(InputError, match="target"):
        Target.of_text(text)


def test_losses_and_confidences_are_shares():
    good = [curve("lamp", point(0.5, 0.0, 0.001))]
    for options in ({"at_most_loss": 1.0}, {"at_most_loss": -0.1}):
        with pytest.raises(InputError, match="at_most_loss"):
            decide(good, **options, inputs=INPUTS)
    with pytest.raises(InputError, match="confidence"):
        decide(good, 0.01, inputs=INPUTS, confidence=90)


class Drawn(_Job):
    """Copies whose losses are drawn, as they are asked for."""

    def __init__(self, losses, error, generator):
        self.losses, self.error, self.generator, self.asked = losses, error, generator, []

    def curve(self, way, keeps, *_):
        assert way.refits
        self.asked += keeps
        noise = self.error * self.generator.standard_normal()
        return curve("lamp", point(keeps[0], self.losses[keeps[0]] + noise, self.error))


@pytest.mark.parametrize("edge", [0, 5, 12])
def test_a_search_by_halves_errs_as_rarely_as_is_said(edge):
    """Losses are just too large from the edge on; 1,500 searches, five standard errors."""
    generator, runs, wrong = np.random.default_rng(edge), 1500, 0
    keeps = [0.95 - 0.07 * i for i in range(13)]
    losses = {keep: 0.004 if i < edge else 0.01 for i, keep in enumerate(keeps)}
    options = {"at_most_loss": 0.01, "confidence": 0.9, "ways": 1, "inputs": INPUTS, "tests": 4}
    for _ in range(runs):
        job = Drawn(losses, 0.003, generator)
        found = job.edge(way_named("obs"), keeps, None, {}, lambda x: is_held(x, **options))
        assert (found.tests, len(found.points)) == (4, len(job.asked))
        assert len(job.asked) <= 4
        decision = decide([found], 0.01, inputs=INPUTS)
        held = [x for x in found.points if is_held(x, **options)]
        assert (decision.verdict == "ACCEPT") == bool(held)
        if held:
            assert decision.point.point == held[-1]
            wrong += losses[held[-1].kappa] == 0.01
    assert wrong / runs <= 0.1 + 5 * math.sqrt(0.1 * 0.9 / runs)


def test_a_search_by_halves_finds_the_edge():
    keeps = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]
    for edge in range(8):
        losses = {keep: 0.0 if i < edge else 1.0 for i, keep in enumerate(keeps)}
        job = Drawn(losses, 1e-6, np.random.default_rng(0))
        found = job.edge(way_named("obs"), keeps, None, {}, lambda x: x.loss < 0.5)
        assert len(job.asked) == 3
        around = {i for i in (edge - 1, edge) if 0 <= i < 7}
        assert {keeps[i] for i in around} <= {x.kappa for x in found.points}
        assert [x.kappa for x in found.points] == sorted(job.asked, reverse=True)


@pytest.fixture(scope="module")
def trained():
    """A network of two classes with one useful input in ten, and inputs."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(10, 30), nn.BatchNorm1d(30), nn.ReLU(), nn.Linear(30, 2))
    x = torch.randn(3000, 10)
    y = (x[:, 0] + 0.3 * torch.randn(3000) > 0).long()
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x[:2000]), y[:2000]).backward()
        optimizer.step()
    return net.eval(), x[2000:2500], x[2500:], y[2500:]


@pytest.mark.parametrize("method", ["magnitude/lamp", "wanda/lamp", "unit/layer"])
def test_a_plan_is_the_network_that_was_forecast(trained, tmp_path, method):
    net, inputs, others, classes = trained
    before = copy.deepcopy(net.state_dict())
    options = {"accuracy": 0.9, "at_most_loss": 0.3, "strategies": [method], "keeps": [0.9, 0.5]}
    found = advise(net, inputs, **options)
    assert found.verdict == "ACCEPT"
    assert all(torch.equal(x, before[name]) for name, x in net.state_dict().items())
    write_plan(tmp_path / "plan.json", found.plan)
    file = read_plan(tmp_path / "plan.json")
    pruned = copy.deepcopy(net)
    result = prune_by_plan(pruned, file)
    share = result.n_nonzero / result.n_nonzero_before
    assert share == pytest.approx(found.chosen["parameters"])
    with torch.no_grad():
        kept = float((pruned(inputs).argmax(1) == net(inputs).argmax(1)).double().mean())
    assert kept == pytest.approx(found.chosen["retention"])
    outcome = outcome_of(net, file, others, classes)
    with torch.no_grad():
        right = float((pruned(others).argmax(1) == classes).double().mean())
    assert outcome.accuracy == pytest.approx(right)
    assert outcome.verdict == "HOLDS"
    tensors = {name: x.clone() for name, x in net.state_dict().items()}
    prune_by_plan(tensors, file)
    assert all(torch.equal(tensors[name], x) for name, x in pruned.state_dict().items())


def test_a_plan_for_another_network_changes_nothing(trained, tmp_path):
    net, inputs, *_ = trained
    options = {"accuracy": 0.9, "at_most_loss": 0.3, "keeps": [0.9]}
    found = advise(net, inputs, strategies=["wanda/lamp"], **options)
    other = nn.Sequential(nn.Linear(10, 30), nn.BatchNorm1d(31), nn.ReLU(), nn.Linear(30, 2))
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(InputError, match="does not fit"):
        prune_by_plan(other, found.plan)
    assert all(torch.equal(x, before[name]) for name, x in other.state_dict().items())
    (tmp_path / "no.json").write_text('{"schema_version": 1}')
    with pytest.raises(DataIntegrityError, match="no plan"):
        read_plan(tmp_path / "no.json")


def test_ways_that_refit_come_last_and_are_searched_by_halves(trained, tmp_path):
    net, inputs, others, _ = trained
    told = []
    keeps = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]
    options = {"accuracy": 0.9, "at_most_loss": 0.1, "keeps": keeps, "store": tmp_path}
    note = lambda *told_now: told.append(told_now)  # noqa: E731
    found = advise(net, inputs, calibration=others[:200], on_point=note, **options)
    *cheap, dear = found.forecast.curves
    assert dear.name == "calibrated/lamp"
    assert dear.tests == 3
    assert len(dear.points) == 3
    assert all(curve.tests == 1 for curve in cheap)
    assert told[-1][1] == 3 + 5 * len(keeps) + 1  # 2:4 is one network
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")}
    again = advise(net, inputs, calibration=others[:200], **options)
    assert again.to_dict() == found.to_dict()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")} == files
    without = advise(net, inputs, **options)
    assert all(curve.method != "calibrated" for curve in without.forecast.curves)


def test_differences_of_accuracies_are_told_in_points_as_check_does():
    held = curve("lamp", point(0.5, 0.001, 0.001))
    lost = curve("lamp", point(0.5, 0.3, 0.001))
    unsure = curve("lamp", point(0.5, 0.009, 0.004))
    for curves, target in (([held], None), ([lost], None), ([unsure], None), ([held], "macs=.1")):
        aim = None if target is None else Target.of_text(target)
        said = decide(curves, 0.01, inputs=INPUTS, target=aim).said
        assert "1.00 points" in said
        assert "1.00%" not in said


def test_a_network_near_chance_gets_no_advice():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 3))
    with pytest.raises(InputError, match=r"accuracy.*advise.*above chance.*chance 0\.333"):
        advise(net, torch.randn(60, 6), accuracy=0.34, at_most_loss=0.1, strategies=["magnitude"])
