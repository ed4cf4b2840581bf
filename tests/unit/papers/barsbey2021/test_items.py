"""Items of the 2021 paper: plans, published numbers, checks that can hold and fail."""

import json
import math

import numpy as np
import pytest
from scipy.stats import norm, spearmanr

from prunable.experiments.reproduce.ranks import rank_correlation
from prunable.experiments.train.specs import TrainSpec
from prunable.papers.barsbey2021 import ITEMS
from prunable.papers.barsbey2021.groups import area, curve, networks
from prunable.papers.barsbey2021.laws import gaussian_share
from prunable.papers.barsbey2021.settings import CASES, PAPER_RATES, PUBLISHED, setting
from prunable.papers.barsbey2021.specs import OTHERS, GaussianTailSpec, MeasureSpec, SyntheticSpec

BY_NAME = {item.name.removeprefix("barsbey2021-"): item for item in ITEMS}
SCALES = ("smoke", "laptop", "paper")


def test_every_figure_and_table_is_an_item():
    numbered = [*(f"fig{i}" for i in range(1, 13)), "table1", "table2"]
    assert list(BY_NAME) == [*numbered, "thm3", "thm4", "ergodic", "prop8", "a4", "a5"]
    for item in ITEMS:
        assert item.paper == "barsbey2021"
    for name in numbered:
        assert BY_NAME[name].kind == ("figure" if "fig" in name else "table")


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.name)
def test_plans_are_valid_and_name_their_data(item, scale):
    for convention in item.conventions:
        plan = item.plan(scale, convention)
        assert plan.runs
        assert all(isinstance(value, str | int | float | bool) for value in plan.settings.values())
        data = {name for spec in plan.runs.values() for name in spec.datasets()}
        data |= {
            n for spec in plan.runs.values() for part in spec.inputs() for n in part.datasets()
        }
        assert data <= ({"digits"} if scale == "smoke" else {"mnist", "cifar10"})
        for spec in plan.runs.values():
            again = type(spec).model_validate(json.loads(spec.model_dump_json()))
            assert again.run_id == spec.run_id


def test_conventions_share_their_trainings_and_nothing_else():
    item = BY_NAME["fig4"]
    paper, code = item.plan("laptop", "paper"), item.plan("laptop", "authors-code")
    assert list(paper.runs) == list(code.runs)
    for a, b in zip(paper.runs.values(), code.runs.values(), strict=True):
        if isinstance(a, GaussianTailSpec):
            assert a == b
            continue
        assert a.train == b.train
        assert a.run_id != b.run_id


def test_the_released_settings_are_those_of_the_paper():
    counts = {case: sum(len(etas) for _, etas in rates) for case, rates in PAPER_RATES.items()}
    assert sum(counts.values()) == PUBLISHED.stated["networks"]["trained"] == 215
    assert counts["fcn4", "cifar10"] == 35 + 12 + 1
    assert counts["vgg", "mnist"] == 18 + 12
    for case in CASES:
        specs = setting(case, "paper").trainings().values()
        assert {spec.steps for spec in specs} == {1_000_000}
        assert {(s.until_accuracy, s.until_loss, s.momentum, s.extra_steps) for s in specs} == {
            (1.0, 5e-5, 0.0, 10_000)
        }


@pytest.mark.parametrize("case", CASES)
def test_laptop_rates_are_inside_the_printed_ranges(case):
    low, high = (
        PUBLISHED.items["table2"].cell("-".join(case), end).mean for end in ("low", "high")
    )
    ratios = [spec.lr / spec.batch_size for spec in setting(case, "laptop").trainings().values()]
    assert ratios == sorted(ratios)
    assert low <= ratios[0]
    assert ratios[-1] <= high
    assert len(ratios) >= (10 if case == ("fcn4", "mnist") else 5)


def test_the_main_case_follows_the_full_stop_rule_on_all_examples():
    chosen = setting(("fcn4", "mnist"), "laptop").train
    assert (chosen.until_loss, chosen.until_accuracy) == (5e-5, 1.0)
    assert (chosen.extra_steps, chosen.average_last, chosen.dataset.train_size) == (
        10_000,
        1_000,
        None,
    )


@pytest.mark.parametrize("n", [4, 6, 8, 25])
def test_rank_correlation_is_spearmans(n):
    rng = np.random.default_rng(n)
    x = rng.normal(size=n).round(1)
    y = -x + rng.normal(size=n)
    found = rank_correlation(x, y)
    expected = spearmanr(x, y, alternative="less")
    assert found.rho == pytest.approx(expected.statistic)
    if n > 8:
        assert found.p_negative == pytest.approx(expected.pvalue)
        assert found.low < found.rho < found.high
    assert found.n == n


def test_exact_probabilities_are_shares_of_orders():
    """Of 120 orders one has the coefficient -1, and four more are one swap away from it."""
    x = [1.0, 2.0, 3.0, 4.0, 5.0]
    assert rank_correlation(x, x[::-1]).p_negative == pytest.approx(1 / 120)
    assert rank_correlation(x, [4.0, 5.0, 3.0, 2.0, 1.0]).p_negative == pytest.approx(5 / 120)
    assert rank_correlation(x, x).p_negative == pytest.approx(1)
    assert rank_correlation(x[:3], x[:3]) is None
    assert rank_correlation(x, [2.0] * 5) is None


# Zar (1972), table of critical values, one-sided 5 %; from 9 pairs on ours is Student's.
@pytest.mark.parametrize(
    ("n", "critical", "error"),
    [
        (4, 1.0, 1e-9),
        (5, 0.9, 1e-9),
        (6, 0.829, 5e-4),
        (7, 0.714, 5e-4),
        (8, 0.643, 5e-4),
        (14, 0.464, 0.01),
    ],
)
def test_weakest_significant_coefficient(n, critical, error):
    x = np.arange(float(n))
    found = rank_correlation(x, np.roll(x, 1))
    assert found.critical == pytest.approx(-critical, abs=error)
    assert found.is_negative == (found.rho <= found.critical + 1e-12)


@pytest.mark.statistical
def test_intervals_of_rank_correlation_cover():
    """The share of 600 intervals that hold the truth is within 5 standard errors of 95 %.

    False alarms below 1e-6 if the coverage is nominal; for normal pairs it nearly is.
    """
    rng = np.random.default_rng(1)
    r, n = 0.6, 30
    truth = 6 / math.pi * math.asin(r / 2)
    inside = 0
    for _ in range(600):
        a, b = rng.normal(size=(2, n))
        found = rank_correlation(a, r * a + math.sqrt(1 - r * r) * b)
        inside += found.low <= truth <= found.high
    assert abs(inside / 600 - 0.95) < 5 * math.sqrt(0.95 * 0.05 / 600)


def test_normal_numbers_can_be_pruned_as_the_closed_form_says():
    x = np.sort(np.abs(np.random.default_rng(0).standard_normal(10**6)))
    errors = np.sqrt(np.cumsum(x**2) / np.sum(x**2))
    # standard error below 6e-4
    assert gaussian_share(0.1) == pytest.approx(np.mean(errors <= 0.1), abs=3e-3)
    c = norm.ppf(0.5 + gaussian_share(0.3) / 2)
    assert 2 * (norm.cdf(c) - 0.5 - c * norm.pdf(c)) == pytest.approx(0.09, rel=1e-9)


RATIOS = (0.0, 0.5, 1.0)


def measured(alpha, *, prunable, area, test=0.97, ratio=1e-3, weak=0.3):
    """A stored result whose curves have the same area for all methods but nodes."""

    def curve(level):
        return {
            "ratio": list(RATIOS),
            "pruned": [0.0, 0.5, 1.0],
            "test_accuracy": [0.9, 0.9 * level, 0.0],
        }

    return {
        "status": "done",
        "reason": "",
        "stopped": True,
        "eta_over_b": ratio,
        "steps": 100,
        "train_loss": 1e-5,
        "test_accuracy": test,
        "alpha": alpha,
        "alphas": dict.fromkeys(OTHERS, alpha),
        "prunable": prunable,
        "dense": {"test_accuracy": 0.9},
        "layers": [
            {"name": "1.weight", "alpha": alpha, "prunable": prunable, "weights": 10},
            {"name": "3.weight", "alpha": None, "prunable": prunable, "weights": 10},
        ],
        "curves": {
            name: curve(area if name != "node" else weak)
            for name in ("magnitude", "global", "singular", "node")
        },
    }


def gaussian(std):
    """A stored result of Gaussian networks, whose tail indices scatter so much."""
    alphas = (1.99 + std * norm.ppf((np.arange(40) + 0.5) / 40)).tolist()
    layer = {"name": "1.weight", "alphas": alphas}
    return {"status": "done", "reason": "", "alphas": alphas, "layers": [layer, layer]}


def results_of(plan, *, reverse=False, noise=1e-4):
    """Results in which heavier tails come with all that the paper says, or the reverse."""
    found = {}
    for key, spec in plan.runs.items():
        if isinstance(spec, GaussianTailSpec):
            # the error falls as the width grows
            case = key.rpartition("/")[0]
            narrow = min(s.width for k, s in plan.runs.items() if k.rpartition("/")[0] == case)
            found[key] = gaussian(noise * narrow / spec.width)
            continue
        ratio = spec.train.lr / spec.train.batch_size
        heavy = min(ratio / 1e-2, 1.0)
        good = 1 - heavy if reverse else heavy
        found[key] = measured(
            2 - 0.1 * good,
            prunable=0.2 + 0.2 * heavy,
            area=0.4 + 0.5 * heavy,
            test=0.96 + 0.01 * heavy,
            ratio=ratio,
            weak=0.2 + (0.1 * heavy),
        )
    return found


TRAINED = ("fig1", "fig3", "fig4", "fig5", "fig6", "fig7", "fig9")


@pytest.mark.parametrize("name", TRAINED)
def test_checks_of_trained_networks_hold_and_fail(name):
    item = BY_NAME[name]
    plan = item.plan("laptop", "paper")
    found = item.gather(plan, results_of(plan))
    assert found.checks
    assert all(check.holds is True for check in found.checks)
    against = item.gather(plan, results_of(plan, reverse=True))
    by_index = [c for c in against.checks if c.essential and "eta / b" not in c.statement]
    assert all(check.holds is False for check in by_index)
    assert len(found.panels) == (2 if name == "fig6" else 6) + (name not in ("fig1", "fig3"))


@pytest.mark.parametrize("name", TRAINED)
def test_tail_indices_within_the_noise_are_underpowered(name):
    """An index that scatters by 0.05 hides the differences of 0.1, until the layers are wider."""
    item = BY_NAME[name]
    plan = item.plan("laptop", "paper")
    found = item.gather(plan, results_of(plan, noise=0.05))
    hidden = [check for check in found.checks if check.outcome == "underpowered"]
    assert len(hidden) >= len(found.panels) - 1
    assert all("Gaussian networks" in check.evidence for check in hidden)
    assert any("Gaussian networks span" in check.needs for check in hidden)
    assert any("±" in note for note in found.notes)
    if name == "fig3":
        assert not any(check.essential for check in hidden)
    if name == "fig1":
        assert all(s.y_std for panel in found.panels for s in panel.series)


def test_weak_nodes_hold_and_fail():
    item = BY_NAME["fig10"]
    plan = item.plan("laptop", "paper")
    results = results_of(plan)
    assert all(check.holds for check in item.gather(plan, results).checks)
    for result in (result for result in results.values() if "curves" in result):
        result["curves"]["node"]["test_accuracy"] = [0.9, 0.9, 0.9]
    essential = [c for c in item.gather(plan, results).checks if c.essential]
    assert essential
    assert all(check.holds is False for check in essential)


@pytest.mark.parametrize("name", [*TRAINED, "fig2", "fig10", "table2"])
def test_runs_that_failed_are_left_out_and_named(name):
    item = BY_NAME[name]
    plan = item.plan("laptop", "paper")
    lost = {key: {"status": "failed", "reason": "no memory", "metrics": {}} for key in plan.runs}
    found = item.gather(plan, lost)
    assert all(check.holds in (None, True, False) for check in found.checks)
    if name != "table2":
        assert all(check.holds is None for check in found.checks)
        assert all("no memory" in note for note in found.notes if "left out" in note)


def test_networks_that_missed_the_rule_are_left_out():
    plan = BY_NAME["fig1"].plan("laptop", "paper")
    results = results_of(plan)
    keys = [key for key in results if key.startswith("fcn4-mnist")]
    results[keys[0]] = {"status": "done", "stopped": False, "reason": "all 9 steps taken"}
    results[keys[1]] |= {"status": "diverged", "reason": "the loss is nan"}
    found, notes = networks(plan, results, ("fcn4", "mnist"))
    assert len(found) == len(keys) - 2
    assert "all 9 steps taken" in notes[0]
    assert "the loss is nan" in notes[0]


def test_curves_leave_out_what_pruning_makes_larger():
    result = measured(1.9, prunable=0.3, area=0.8)
    result["curves"]["singular"]["pruned"] = [-0.5, 0.0, 1.0]
    assert curve(result, "singular") == ((0.0, 1.0), (pytest.approx(0.8), 0.0))
    assert area(result, "singular") == pytest.approx(0.4)
    assert area(result, "magnitude") == pytest.approx((1 + 0.8) / 4 + 0.8 / 4)


def law(distances, p=0.5, alpha=1.94, spread=0.004):
    halves = ("random half", "other half", "first filters", "last filters")
    counts = {key: [1, 2] for key in (*halves, "weights", "stable")}
    return {
        "status": "done",
        "reason": "",
        "stopped": True,
        "name": "4.weight",
        "alpha": alpha,
        "gaussian_alphas": (1.99 + spread * norm.ppf((np.arange(40) + 0.5) / 40)).tolist(),
        "gaussian_gains": np.linspace(-0.001, 0.001, 40).tolist(),
        "scale": 0.1,
        "n": 100,
        "edges": [-1.0, 0.0, 1.0],
        "counts": counts,
        "distances": distances,
        "p_values": {"halves": p, "filters": p},
    }


def test_laws_of_a_layer_hold_and_fail():
    item = BY_NAME["fig2"]
    plan = item.plan("laptop", "paper")
    good = {
        "halves": 0.01,
        "filters": 0.02,
        "stable": 0.03,
        "normal_deviation": 0.1,
        "normal_quartiles": 0.05,
    }
    bad = {
        "halves": 0.4,
        "filters": 0.2,
        "stable": 0.3,
        "normal_deviation": 0.1,
        "normal_quartiles": 0.05,
    }
    found = item.gather(plan, dict.fromkeys(plan.runs, law(good)))
    assert [check.holds for check in found.checks] == [True, True, True, None]
    found = item.gather(plan, dict.fromkeys(plan.runs, law(bad, p=1e-9, alpha=1.992)))
    assert not any(check.holds for check in found.checks)
    assert not any("random halves" in check.statement for check in found.checks)
    # no nearer than a Gaussian layer's stable law is; and where even 1.95 could not be seen
    alike = good | {"stable": 0.0030, "normal_quartiles": 0.0031}
    found = item.gather(plan, dict.fromkeys(plan.runs, law(alike, alpha=1.992)))
    assert [check.outcome for check in found.checks[1:3]] == ["fails", "fails"]
    found = item.gather(plan, dict.fromkeys(plan.runs, law(alike, alpha=1.992, spread=0.1)))
    assert [check.outcome for check in found.checks[1:3]] == ["underpowered", "underpowered"]


def synthetic(slopes):
    """Results in which shares fall with the index at given slopes."""
    plan = BY_NAME["fig8"].plan("smoke", "paper")
    results = {}
    for key, spec in plan.runs.items():
        assert isinstance(spec, SyntheticSpec)
        alphas = [1.75 + 0.02 * (spec.first + i) for i in range(spec.count)]
        results[key] = {"status": "done", "reason": "", "alpha": alphas} | {
            name: [gaussian_share(0.1) + slope * (2 - a) + wobble(a) for a in alphas]
            for name, slope in slopes.items()
        }
    return plan, results


def wobble(alpha):
    return 1e-4 * math.sin(1e4 * alpha)


def test_synthetic_laws_hold_and_fail():
    item = BY_NAME["fig8"]
    plan, results = synthetic({"independent": 1.0, "columns": 0.2, "layer": 0.0})
    assert all(check.holds for check in item.gather(plan, results).checks)
    plan, results = synthetic({"independent": -0.2, "columns": 0.2, "layer": 1.0})
    assert not any(check.holds for check in item.gather(plan, results).checks)


def test_counts_of_parameters_hold_and_fail():
    item = BY_NAME["table1"]
    plan = item.plan("paper", "paper")
    printed = PUBLISHED.items["table1"]
    results = {
        f"{net}-{data}": {
            "status": "done",
            "reason": "",
            "n_parameters": printed.cell(data, net).mean,
        }
        for net, data in CASES
    }
    (check,) = item.gather(plan, results).checks
    assert check.holds
    results["vgg-mnist"]["n_parameters"] += 1
    (check,) = item.gather(plan, results).checks
    assert check.holds is False
    assert "9221697 and 9221696" in check.evidence
    ours, paper = item.gather(plan, results).panels[0].series
    assert (ours.y[0], paper.y[0]) == (18.894848, 18.894848)
    results["vgg-mnist"] = {"status": "failed", "reason": "no memory", "metrics": {}}
    (check,) = item.gather(plan, results).checks
    assert check.holds is None


def test_ranges_say_what_was_run():
    item = BY_NAME["table2"]
    plan = item.plan("laptop", "paper")
    results = {key: {"status": "done", "stopped": True, "reason": ""} for key in plan.runs}
    found = item.gather(plan, results)
    assert all(check.holds for check in found.checks if not check.essential)
    (span,) = (check for check in found.checks if check.essential)
    assert span.outcome == "underpowered"
    assert "FCN4, MNIST: 1.9 of 2.4" in span.evidence
    full = item.plan("paper", "paper")
    (span,) = (
        check
        for check in item.gather(
            full, dict.fromkeys(full.runs, next(iter(results.values())))
        ).checks
        if check.essential
    )
    assert span.holds
    row = next(row for row in found.tables[0].rows if row[0].value == "FCN4, MNIST")
    assert [cell.value for cell in row[1:]] == [1e-4, 8e-3, 14, 14, 0]
    assert [cell.published for cell in row[1:3]] == [5e-5, 1.14e-2]
    for result in results.values():
        result["stopped"] = False
        result["status"] = "diverged"
    found = item.gather(plan, results)
    assert found.checks[2].holds is False
    assert all(row[5].value == row[3].value for row in found.tables[0].rows)


def test_curves_of_the_bound_hold_and_fail():
    item = BY_NAME["fig11"]
    plan = item.plan("paper", "paper")
    kappa = np.linspace(0, 1, 11)
    eps = plan.runs["rho"].epsilons
    good = [np.minimum(e ** (1 - kappa), 1).tolist() for e in eps]
    upper = [np.minimum(3 * e ** (1 - kappa), 1).tolist() for e in eps]
    result = {
        "status": "done",
        "reason": "",
        "kappa": kappa.tolist(),
        "upper": upper,
        "peak": [1.0] * len(eps),
    }
    found = item.gather(plan, {"rho": result | {"rho": good}})
    assert all(check.holds for check in found.checks)
    wrong = [(1.5 - np.array(row)).tolist() for row in good]
    found = item.gather(plan, {"rho": result | {"rho": wrong}})
    assert not any(check.holds for check in found.checks)


def test_norms_of_stable_vectors_hold_and_fail():
    item = BY_NAME["fig12"]
    plan = item.plan("paper", "paper")
    result = {
        "status": "done",
        "reason": "",
        "edges": [0, 1, 2],
        "counts": [9, 1],
        "largest": 2.0,
        "median": 0.5,
    }
    heavy = result | {"top_share": [0.8, 0.7, 0.6], "top_share_normal": [0.08]}
    assert all(check.holds for check in item.gather(plan, {"vector": heavy}).checks)
    light = result | {"top_share": [0.08, 0.1, 0.6], "top_share_normal": [0.5]}
    assert not any(check.holds for check in item.gather(plan, {"vector": light}).checks)


def test_measurements_follow_their_training():
    train = TrainSpec.create(dataset="digits", net="fcn4", width=32)
    spec = MeasureSpec.create(train=train)
    assert spec.inputs() == (train,)
    assert spec.datasets() == ("digits",)
