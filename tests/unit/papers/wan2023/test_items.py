"""Tables and figure of the heavy-tailed SGD paper: published numbers, plans, findings, stages."""

from __future__ import annotations

import json
import pkgutil
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy import stats

from prunable.data.loaders import load
from prunable.errors import SpecError
from prunable.experiments.reproduce.document import Findings, judge
from prunable.experiments.reproduce.items import Item, item_document
from prunable.experiments.reproduce.plans import Plan
from prunable.experiments.reproduce.registry import info_of
from prunable.experiments.reproduce.run import reproduce
from prunable.experiments.train.stages import MODEL
from prunable.nets.archive import load_tensors
from prunable.papers.wan2023 import ITEMS
from prunable.papers.wan2023.claims import PUBLISHED
from prunable.papers.wan2023.settings import (
    ALPHAS,
    ECG_TABLES,
    SIGMAS,
    alike_runs,
    ecg_runs,
    ecg_setting,
    mnist_setting,
)
from prunable.papers.wan2023.specs import (
    PrunedAlikeSpec,
    ShareLawSpec,
    TwoLayerPruneSpec,
    TwoLayerTrainSpec,
)
from prunable.papers.wan2023.stages import dataset_of, new_network, root_of
from prunable.report.reproduce.figures import item_figure
from prunable.runs.backends import SerialBackend
from prunable.runs.execution import EXECUTION, execute
from prunable.runs.spec import Spec
from prunable.runs.store import Store

Results = dict[str, dict[str, Any]]
BY_NAME = {item.name: item for item in ITEMS}
TABLES = (*range(1, 7), *range(10, 21))
RATIO = "pruning_ratio_squared"
METRICS = (
    "train_accuracy",
    "test_accuracy",
    "pruning_ratio_squared",
    "train_accuracy_pruned_squared",
    "test_accuracy_pruned_squared",
    "pruning_ratio_frobenius",
    "test_accuracy_pruned_frobenius",
    "pruning_ratio_alike",
    "train_accuracy_pruned_alike",
    "test_accuracy_pruned_alike",
)


def published(number: int, row: str, metric: str) -> tuple[float | None, float | None]:
    return PUBLISHED[f"table{number}"].cell(row, metric)


def rows_of(number: int) -> set[str]:
    return set(PUBLISHED[f"table{number}"].cells)


def table(number: int) -> Item:
    return BY_NAME[f"wan2023-table{number}"]


def as_published(number: int, plan: Plan, spread: float = 1e-3) -> Results:
    """Results whose means are the published numbers, a little apart from seed to seed."""
    results: Results = {}
    for key, spec in plan.runs.items():
        if key.startswith("law-"):
            results[key] = law_of(number, key)
            continue
        condition, seed = key.rsplit("/", 1)
        name = condition.split("-", 1)[-1].removesuffix("-printed")
        source = {17: 15, 18: 16, 19: 5}.get(number, number)
        shift = spread * (int(seed) - (len(_seeds(plan, condition)) - 1) / 2)
        metrics = {}
        for metric in METRICS:
            of = number if condition.startswith("alike") else source
            value, _ = published(of, name, metric) if name in rows_of(of) else (None, None)
            default = 0.1145 if "ratio" in metric else 0.955
            metrics[metric] = (default if value is None else value) + shift
        metrics["top_share"] = {"none": 0.02, "1.9": 0.2, "1.8": 0.3, "1.75": 0.4}.get(name, 0.1)
        eps = getattr(spec, "eps", ())
        counts = np.zeros(80, dtype=int)
        counts[25] = 900
        counts[26 if name == "none" else 60] += 100
        results[key] = {
            "status": "done",
            "reason": "",
            "stopped": True,
            "steps": 10,
            "metrics": metrics,
            "kappa": np.linspace(1, 0, len(eps)).tolist(),
            "norm_counts": counts.tolist(),
        }
    return results


def law_of(number: int, key: str) -> dict[str, Any]:
    """At every level a law around the published mean, as wide as the published scatter."""
    _, width, row = key.split("-")
    noise = ECG_TABLES[number][0]
    (own,) = (n for n, place in ECG_TABLES.items() if place == (noise, int(width)))
    mean, deviation = published(own, row, RATIO)
    draws = np.random.default_rng(0).normal(mean or 0.3, deviation or 0.05, 500)
    pruned = [draws.tolist() for _ in SIGMAS]
    return {"status": "done", "reason": "", "pruned": pruned, "metrics": {}}


def _seeds(plan: Plan, condition: str) -> list[str]:
    return [key for key in plan.runs if key.rsplit("/", 1)[0] == condition]


def _training(spec: Spec) -> TwoLayerTrainSpec | None:
    return spec.train if isinstance(spec, TwoLayerPruneSpec) else None


def changed(results: Results, condition: str, metric: str, value: float) -> Results:
    return {
        key: {**found, "metrics": {**found["metrics"], metric: value}}
        if key.rsplit("/", 1)[0] == condition
        else found
        for key, found in results.items()
    }


def held(findings: Findings, part: str) -> bool | None:
    (found,) = [check.holds for check in findings.checks if part in check.statement]
    return found


class TestPublished:
    def test_every_table_is_there_and_nothing_else(self) -> None:
        assert set(PUBLISHED) == {f"table{number}" for number in TABLES}
        # The demonstration takes the first table of a noise type.
        assert list(PUBLISHED)[:2] == ["table1", "table11"]
        for entry in PUBLISHED.values():
            for row in entry.cells.values():
                assert set(row) <= set(METRICS)
                for mean, deviation in row.values():
                    assert 0 < mean < 1
                    assert deviation is None or 0 < deviation < 0.4

    def test_entries_taken_from_the_print(self) -> None:
        # read off the paper's tables by eye
        assert published(2, "1.9", "pruning_ratio_squared") == (0.4085, 0.0289)
        assert published(3, "1.75", "test_accuracy_pruned_squared") == (0.866, 0.251)
        assert published(10, "1.8", "train_accuracy_pruned_squared") == (0.96, 0.017)
        assert published(16, "1.75", "pruning_ratio_squared") == (0.4277, 0.2188)
        assert published(19, "1.75", "test_accuracy_pruned_alike") == (0.9223, None)
        assert published(20, "2e-05", "train_accuracy_pruned_squared") == (0.8713, None)
        assert published(6, "1.8", "test_accuracy") == (None, None)

    def test_slips_name_rows_that_exist(self) -> None:
        found = [(number, s.row) for number in TABLES for s in PUBLISHED[f"table{number}"].slips]
        assert {(2, "1.8"), (4, "1.9"), (5, "1.9")} <= set(found)
        assert all(row in rows_of(number) for number, row in found)
        assert published(2, "1.8", "pruning_ratio_squared") == published(
            2, "1.75", "pruning_ratio_squared"
        )


class TestPlans:
    def test_one_item_a_table_and_one_for_the_figure(self) -> None:
        expected = ["wan2023-fig1", *(f"wan2023-table{number}" for number in TABLES)]
        assert [item.name for item in ITEMS] == expected

    @pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
    @pytest.mark.parametrize("convention", ["paper", "authors-code"])
    def test_plans_are_valid(self, scale: Any, convention: Any) -> None:
        for item in ITEMS:
            if convention not in item.conventions:
                continue
            plan = item.plan(scale, convention)
            assert (plan.scale, plan.convention) == (scale, convention)
            assert plan.runs
            assert plan.settings
            assert plan.notes
            for spec in plan.runs.values():
                assert callable(pkgutil.resolve_name(spec.stage))
                assert spec.estimated_seconds() > 0
                if scale == "smoke" and not isinstance(spec, ShareLawSpec):
                    names = spec.datasets() or spec.inputs()[0].datasets()
                    assert set(names) == {"digits"}

    def test_tables_of_one_width_share_the_runs_without_noise(self) -> None:
        ids = [
            {
                spec.run_id
                for key, spec in ecg_runs(10_000, noise, "laptop").items()
                if key.startswith("none/")
            }
            for noise in ("type1", "type2", "type3")
        ]
        assert ids[0] == ids[1] == ids[2]
        assert len(ids[0]) == 5

    def test_what_was_probably_run_is_one_in_both_conventions(self) -> None:
        for number, (noise, width) in ECG_TABLES.items():
            if noise != "type3":
                continue
            ours, theirs = (
                table(number).plan("laptop", convention) for convention in ("paper", "authors-code")
            )
            for key, spec in ours.runs.items():
                same = spec.run_id == theirs.runs[key].run_id
                assert same == (not key.startswith("type3") or "printed" not in key)
            for row in ALPHAS:
                # 0.15 on the released code's scale, and the printed level on either
                fitted = theirs.runs[f"type3-{row:g}/0"].train
                assert (fitted.width, fitted.sigma) == (width, pytest.approx(0.15 / 2**0.5))
                key = f"type3-{row:g}-printed/4"
                assert ours.runs[key].train.sigma == 0.5
                assert theirs.runs[key].train.sigma == pytest.approx(0.5 / 2**0.5)
            assert "0.15 on the released code's scale" in str(theirs.settings["noise level"])
        assert {i.name for i in ITEMS if "authors-code" in i.conventions} == {
            "wan2023-table4",
            "wan2023-table13",
            "wan2023-table14",
        }

    def test_a_fitted_level_is_called_so_and_a_printed_one_too(self) -> None:
        for number, (noise, _) in ECG_TABLES.items():
            plan = table(number).plan("laptop", "paper")
            words = str(plan.settings["noise level"])
            if noise == "type2":
                assert words == "0.15, as printed"
            else:
                assert "sigma fitted" in words
                assert "the printed 0.5 is excluded" in words
                assert any("sigma fitted" in note for note in plan.notes)

    def test_rows_and_widths_draw_independent_numbers(self) -> None:
        specs = {
            spec.run_id: spec
            for number in ECG_TABLES
            for convention in table(number).conventions
            for spec in map(_training, table(number).plan("smoke", convention).runs.values())
            if spec is not None
        }
        assert len(specs) > 20
        assert len({root_of(spec) for spec in specs.values()}) == len(specs)

    def test_the_papers_settings(self) -> None:
        setting = ecg_setting(5000, "paper")
        assert (setting.lr, setting.steps, setting.seeds) == (1e-4, 1500, 8)
        train = setting.train("type2", 1.8, 0.15, 3)
        assert (train.batch_size, train.dataset.classes, train.dataset.split) == (
            500,
            "first-or-not",
            "official",
        )
        pictures = mnist_setting(10_000, "paper")
        assert (pictures.lr, pictures.batch_size, pictures.until_accuracy) == (5e-3, 5000, 0.95)

    def test_controls_build_on_the_noisy_networks(self) -> None:
        spec = alike_runs(5000, "laptop")["alike-1.75/1"]
        inputs = {part.run_id for part in spec.inputs()}
        assert spec.train.run_id in inputs
        assert spec.train.noise == "none"
        assert spec.train.seed == 1
        assert len(inputs) == 1 + mnist_setting(5000, "laptop").seeds

    def test_a_network_needs_an_index_with_noise_and_only_then(self) -> None:
        fields = {"dataset": "digits", "width": 4, "lr": 0.1, "batch_size": 9, "steps": 1}
        for wrong in (
            {"alpha": 1.8},
            {"noise": "type1"},
            {"sigma": 0.1},
            {"noise": "type1", "alpha": 2.5, "sigma": 0.1},
        ):
            with pytest.raises(SpecError):
                TwoLayerTrainSpec.create(**fields, **wrong)


class TestFindings:
    @pytest.mark.parametrize("number", TABLES)
    def test_the_published_numbers_bear_out_what_the_paper_says(self, number: int) -> None:
        item = table(number)
        plan = item.plan("laptop", "paper")
        found = item.gather(plan, as_published(number, plan))
        assert len(found.tables[0].rows) >= 3
        # what the print itself does not show: equal rows, tables that lack a row
        contradicted = {
            2: "in this order",
            3: "volatile",
            4: "than type I",
            17: "at every",
            18: "at every",
        }.get(number)
        for check in found.checks:
            if contradicted is not None and contradicted in check.statement:
                continue
            if "theorem 3.1" in check.statement:  # 3e-4 where it asks for 5e-7
                assert (check.holds, check.essential) == (False, False)
                continue
            if "at reduced size" in check.evidence:
                assert (check.outcome, check.printed) == ("not applicable", True)
                assert check.needs == "the published size"
                assert number in (6, 20)
                continue
            if number in (6, 20) and check.holds is None:  # two seeds
                assert check.outcome == "underpowered"
                assert re.fullmatch(r"about \d+ seeds", check.needs)
                continue
            assert check.holds is True, check

    @pytest.mark.parametrize("number", TABLES)
    def test_cells_hold_mean_deviation_published_and_runs(self, number: int) -> None:
        item = table(number)
        plan = item.plan("laptop", "paper")
        results = as_published(number, plan, spread=0.01)
        found = item.gather(plan, results)
        columns = [column.key for column in found.tables[0].columns]
        place = next(i for i, key in enumerate(columns) if "ratio" in key)
        for row in found.tables[0].rows:
            cell = row[place]
            assert isinstance(cell.value, float)
            if cell.published is None:
                # tables without a row of their own for it
                assert row[0].value == "no noise"
            else:
                assert cell.value == pytest.approx(cell.published)
            seeds = len(cell.runs)
            if seeds == 1:
                assert cell.std is None
            else:
                assert cell.std == pytest.approx(np.std(0.01 * np.arange(seeds), ddof=1))
            assert set(cell.runs) <= {spec.run_id for spec in plan.runs.values()}

    def test_the_step_size_of_table_1_is_outside_theorem_3_1(self) -> None:
        plan = table(1).plan("laptop", "paper")
        found = table(1).gather(plan, as_published(1, plan))
        assert held(found, "theorem 3.1") is False
        (text,) = (c.evidence for c in found.checks if "theorem 3.1" in c.statement)
        most = {alpha: np.exp(-(alpha / 2 + 1) * np.log(2000)) for alpha in ALPHAS}
        for alpha, limit in most.items():
            assert f"{alpha:g}: eta = 0.0003 against {limit:.1e}, {3e-4 / limit:,.0f} times" in text

    def test_wrong_numbers_fail_the_checks(self) -> None:
        item = table(10)
        plan = item.plan("laptop", "paper")
        results = as_published(10, plan)
        low = item.gather(plan, changed(results, "type1-1.75", RATIO, 0.1))
        assert held(low, "With noise more") is False
        assert held(low, "in this order") is False
        assert held(low, "of one law") is False
        assert held(low, "Without noise the pruned share") is True
        other = item.gather(plan, changed(results, "none", RATIO, 0.14))
        assert held(other, "Without noise the pruned share") is False
        pruned = changed(results, "type1-1.9", "test_accuracy_pruned_squared", 0.9)
        assert held(item.gather(plan, pruned), "at most 1 point") is False
        before = changed(results, "none", "test_accuracy", 0.9)
        assert held(item.gather(plan, before), "before pruning") is False

    def test_tables_at_two_noise_levels_say_which_the_print_can_have(self) -> None:
        item = table(13)
        plan = item.plan("laptop", "paper")
        results = as_published(13, plan)
        for key in plan.runs:
            if key.startswith("law-"):
                # only the fitted level gives the printed shares
                there = [abs(sigma - 0.15 / 2**0.5) < 0.02 for sigma in SIGMAS]
                results[key]["pruned"] = [
                    [share if near else share + 0.5 for share in draws]
                    for near, draws in zip(there, results[key]["pruned"], strict=True)
                ]
        found = item.gather(plan, results)
        assert len(found.tables) == 3
        assert held(found, "0.5, as printed, the printed pruned shares") is False
        assert held(found, "sigma fitted") is True
        level, *_ = (check for check in found.checks if "0.5, as printed, the" in check.statement)
        assert (level.outcome, level.essential) == ("contradicted", False)
        assert level.evidence.startswith("9 rows: p <= ")
        assert "however they depend on each other" in level.evidence
        (note,) = (note for note in found.notes if "9 printed pruned shares" in note)
        assert "leaves 0.09 to 0.12" in note

    def test_types_two_and_three_are_held_against_type_one(self) -> None:
        item = table(4)
        plan = item.plan("laptop", "paper")
        results = as_published(4, plan)
        for alpha in ALPHAS:
            results = changed(results, f"type1-{alpha:g}", RATIO, 0.5)
        assert held(item.gather(plan, results), "less than type I") is True
        results = changed(results, "type1-1.8", RATIO, 0.2)
        assert held(item.gather(plan, results), "less than type I") is False
        item = table(3)
        plan = item.plan("laptop", "paper")
        results = as_published(3, plan)
        steady = changed(results, "type1-1.75", RATIO, 0.5)
        assert held(item.gather(plan, steady), "volatile") is True
        assert (
            held(item.gather(plan, changed(steady, "type2-1.75", RATIO, 0.5)), "volatile") is False
        )

    def test_our_runs_scatter_as_the_published_ones_do(self) -> None:
        item = table(15)
        plan = item.plan("laptop", "paper")
        results = as_published(15, plan)
        # Printed 0.3058 +- 0.0791 over 5 runs, so the mean of 5 more is z = (x - 0.3058) / (0.0791
        # * sqrt(1/5 + 1/5)) by Student's t of 4; the two other rows agree exactly. By Fisher's
        # method 5 % of three rows is reached at p = 0.0018: t = 7.27, x = 0.669
        for value, inside in ((0.64, True), (0.70, False)):
            found = item.gather(plan, changed(results, "type1-1.75", RATIO, value))
            assert held(found, "of one law") is inside

    def test_controls(self) -> None:
        item = table(19)
        plan = item.plan("laptop", "paper")
        results = as_published(19, plan)
        assert held(item.gather(plan, results), "at every alpha") is True
        better = changed(results, "alike-1.8", "test_accuracy_pruned_alike", 0.95)
        found = item.gather(plan, better)
        assert held(found, "at every alpha") is False
        assert held(found, "falls as more") is False

    def test_cifar(self) -> None:
        plan = table(6).plan("laptop", "paper")
        results = as_published(6, plan)
        results = changed(results, "none", "pruning_ratio_squared", 0.1)
        assert held(table(6).gather(plan, results), "Without noise more") is False
        plan = table(20).plan("laptop", "paper")
        results = as_published(20, plan)
        assert held(table(20).gather(plan, results), "the more can be pruned") is True
        levels = ("sigma-1e-05", "sigma-2e-05", "sigma-3e-05")
        for level, value in zip(levels, (0.3, 0.2, 0.1), strict=True):
            for seed in range(2):
                key = f"{level}/{seed}"
                results |= {key: {**results[key], "metrics": {**results[key]["metrics"]}}}
                results[key]["metrics"][RATIO] = value + 0.01 * seed
        assert held(table(20).gather(plan, results), "the more can be pruned") is False

    def test_without_a_comparison_with_print_nothing_is_reproduced(self) -> None:
        for number in (5, 6, 16, 18, 19, 20):
            item = table(number)
            plan = item.plan("laptop", "paper")
            plan = replace(plan, settings={**plan.settings, "hidden units": 250})
            found = item.gather(plan, as_published(number, plan))
            verdict = judge("laptop", found.checks)
            assert verdict.status != "reproduced"
            assert "need the published size" in verdict.why

    def test_figure(self) -> None:
        item = BY_NAME["wan2023-fig1"]
        plan = item.plan("laptop", "paper")
        results = as_published(1, plan)
        found = item.gather(plan, results)
        assert [check.holds for check in found.checks] == [True] * 5
        assert sum(check.printed and check.essential for check in found.checks) == 2
        tails = found.panels[0].series
        assert [series.label for series in tails] == ["no noise", "1.9", "1.8", "1.75"]
        assert tails[0].y[0] == 1
        assert tails[0].y[-1] == pytest.approx(0.1)
        equal = {
            key: {**found, "norm_counts": results["none/0"]["norm_counts"]}
            if "metrics" in found
            else found
            for key, found in results.items()
        }
        assert item.gather(plan, equal).checks[0].holds is False
        assert (
            item.gather(plan, changed(results, "none", "top_share", 0.5)).checks[1].holds is False
        )

    @pytest.mark.parametrize("name", ["fig1", "table1", "table5", "table19", "table20"])
    def test_pictures_can_be_read_at_700_pixels(self, name: str) -> None:
        item = BY_NAME[f"wan2023-{name}"]
        number = int(name.removeprefix("table").removeprefix("fig"))
        plan = item.plan("laptop", "paper")
        results = as_published(number, plan, spread=0.01)
        drawn = item_figure(item_document(item, info_of(item), plan, results))
        assert drawn is not None
        canvas = FigureCanvasAgg(drawn)
        drawn.set_dpi(700 / drawn.get_figwidth())
        canvas.draw()
        width, height = canvas.get_width_height()
        for axes in drawn.axes:
            for text in (axes.xaxis.label, axes.yaxis.label):
                box = text.get_window_extent()
                if text.get_text():
                    assert min(box.x0, box.y0) >= -1, text.get_text()
                    assert max(box.x1 - width, box.y1 - height) <= 1, text.get_text()
                    assert text.get_fontsize() * drawn.dpi / 72 >= 8, text.get_text()
        named = [text.get_text() for legend in drawn.legends for text in legend.get_texts()]
        assert any("paper" in name for name in named)
        assert any(
            bars.has_yerr
            for axes in drawn.axes
            for bars in axes.containers
            if hasattr(bars, "has_yerr")
        )

    @pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.name)
    def test_without_results_nothing_is_judged(self, item: Item) -> None:
        plan = item.plan("laptop", "paper")
        results: Results = {key: {"status": "failed", "reason": "disk full"} for key in plan.runs}
        found = item.gather(plan, results)
        assert found.checks
        assert all(check.holds is None for check in found.checks)
        assert any("disk full" in note for note in found.notes)

    def test_a_diverged_run_is_left_out_and_said(self) -> None:
        item = table(11)
        plan = item.plan("laptop", "paper")
        results = as_published(11, plan, spread=0.0)
        results["type2-1.8/2"] = {"status": "diverged", "reason": "the loss is nan at step 3"}
        found = item.gather(plan, results)
        assert any("type2-1.8/2" in note for note in found.notes)
        row = next(row for row in found.tables[0].rows if row[0].value == "1.8")
        assert len(row[3].runs) == 19  # of 20

    def test_single_runs_that_carry_a_mean_are_named(self) -> None:
        item = table(2)
        plan = item.plan("laptop", "paper")
        results = as_published(2, plan)
        results["type1-1.9/0"]["metrics"]["pruning_ratio_squared"] = 0.99
        assert any("single runs carry" in note for note in item.gather(plan, results).notes)


def spec_of(**fields: Any) -> TwoLayerTrainSpec:
    return TwoLayerTrainSpec.create(
        **{
            "dataset": "digits",
            "width": 24,
            "lr": 0.05,
            "batch_size": 5000,
            "steps": 1,
            "seed": 3,
            **fields,
        }
    )


@pytest.fixture
def weights_of(tmp_path: Path) -> Callable[[TwoLayerTrainSpec], dict[str, Any]]:
    store = Store(tmp_path)

    def found(spec: TwoLayerTrainSpec) -> dict[str, Any]:
        assert execute(spec, store)["status"] == "done"
        return load_tensors(store.folder(spec) / MODEL)[0]

    return found


def after_one_step(spec: TwoLayerTrainSpec) -> tuple[np.ndarray, np.ndarray]:
    """Both layers after one step of plain gradient descent, in float64."""
    data, start = dataset_of(spec), new_network(spec, dataset_of(spec))
    w, c = (p.detach().double().numpy() for p in start.parameters())
    assert np.abs(w).max() <= 1 / 8
    assert np.abs(c).max() <= 1 / np.sqrt(spec.width)
    x = data.x_train.astype(float)
    hidden = x @ w.T
    active = np.maximum(hidden, 0)
    logits = active @ c.T
    delta = np.exp(logits - logits.max(1, keepdims=True))
    delta /= delta.sum(1, keepdims=True)
    delta[np.arange(len(x)), data.y_train] -= 1
    delta /= len(x)
    return w - 0.05 * ((delta @ c) * (hidden > 0)).T @ x, c - 0.05 * delta.T @ active


class TestStages:
    def test_one_step_is_that_of_plain_gradient_descent(self, weights_of: Any) -> None:
        spec = spec_of()
        hidden, output = after_one_step(spec)
        found = weights_of(spec)
        # float32 against float64
        np.testing.assert_allclose(found["output.weight"].numpy(), output, atol=1e-6)
        np.testing.assert_allclose(found["hidden.weight"].numpy(), hidden, atol=1e-6)

    def test_noise_reaches_the_hidden_weights_alone(self, weights_of: Any) -> None:
        noise = {"alpha": 1.8, "sigma": 2.0}
        for kind, shared in (("type1", True), ("type2", False), ("type3", False)):
            spec = spec_of(noise=kind, **noise)
            noisy = weights_of(spec)
            hidden, output = after_one_step(spec)
            added = noisy["hidden.weight"].numpy() - hidden
            assert np.abs(added).min(axis=1).max() > 0
            assert (np.ptp(added, axis=1) < 1e-5 * np.abs(added).max()).all() == shared
            np.testing.assert_allclose(noisy["output.weight"].numpy(), output, atol=1e-6)

    def test_rows_of_equal_seed_share_no_noise(self, weights_of: Any) -> None:
        # With the run's seed alone, noise of two tail indices had rank correlation 0.997.
        norms = []
        for alpha in (1.9, 1.75):
            spec = spec_of(noise="type1", alpha=alpha, sigma=2.0, width=400)
            added = weights_of(spec)["hidden.weight"].numpy() - after_one_step(spec)[0]
            norms.append(added.mean(axis=1))
        correlation, _ = stats.spearmanr(*norms)
        assert abs(correlation) < 5 / np.sqrt(399)  # 5 standard errors

    def test_the_law_is_that_of_one_training_without_gradient(self, tmp_path: Path) -> None:
        # 40 steps of scale c are one of scale c * 40^(1/alpha); the pruned shares by brute force.
        # Two samples of 200 shares: Kolmogorov-Smirnov at 1e-6.
        alpha, width, features, sigma, lr, steps = 1.8, 60, 20, 0.4, 0.01, 40
        spec = ShareLawSpec.create(
            width=width,
            features=features,
            horizon=lr * steps,
            noise="type3",
            alpha=alpha,
            sigmas=(0.1, sigma),
            draws=200,
        )
        predicted = execute(spec, Store(tmp_path))["pruned"]
        rng = np.random.default_rng(5)
        found = []
        for _ in range(200):
            w = rng.uniform(-1, 1, (width, features)) / np.sqrt(features)
            for _ in range(steps):
                mixing = stats.levy_stable.rvs  # the positive (alpha/2)-stable law, of scipy
                a = mixing(
                    alpha / 2,
                    1,
                    scale=np.cos(np.pi * alpha / 4) ** (2 / alpha),
                    size=(width, 1),
                    random_state=rng,
                )
                w = w + sigma * lr ** (1 / alpha) * np.sqrt(2 * a) * rng.normal(size=w.shape)
            squares = np.sort((w**2).sum(axis=1))
            found.append(np.sum(np.cumsum(squares) <= 0.1 * squares.sum()) / width)
        assert stats.ks_2samp(found, predicted[1]).pvalue > 1e-6
        assert np.mean(predicted[0]) < np.mean(predicted[1])

    def test_first_class_against_the_others(self) -> None:
        merged = dataset_of(
            spec_of(dataset={"name": "digits", "classes": "first-or-not", "train_size": 100})
        )
        whole = load("digits")
        np.testing.assert_array_equal(merged.y_train, (whole.y_train[:100] != 0).astype(int))
        np.testing.assert_array_equal(merged.y_test, (whole.y_test != 0).astype(int))
        assert len(merged.class_names) == 2
        assert len(merged.x_train) == 100

    def test_pruning_against_brute_force(self, tmp_path: Path, weights_of: Any) -> None:
        spec = spec_of(noise="type1", alpha=1.75, sigma=0.3, steps=12, width=60)
        tensors = weights_of(spec)
        result = execute(TwoLayerPruneSpec.create(train=spec, eps=(0.1, 0.5)), Store(tmp_path))
        w = tensors["hidden.weight"].double().numpy()
        c = tensors["output.weight"].double().numpy()
        data = dataset_of(spec)
        squares = (w**2).sum(1)
        order = np.argsort(squares)
        for name, budget in (("squared", 0.1), ("frobenius", 0.01)):
            gone = 0
            while squares[order[: gone + 1]].sum() <= budget * squares.sum():
                gone += 1
            kept = w.copy()
            kept[order[:gone]] = 0
            right = (np.maximum(data.x_test @ kept.T, 0) @ c.T).argmax(1) == data.y_test
            assert result["metrics"][f"pruning_ratio_{name}"] == pytest.approx(gone / 60)
            found = result["metrics"][f"test_accuracy_pruned_{name}"]
            assert found == pytest.approx(right.mean(), abs=1 / len(data.y_test) + 1e-9)
        assert result["metrics"]["top_share"] == pytest.approx(squares.max() / squares.sum())
        assert sum(result["norm_counts"]) == 60

    def test_controls_are_pruned_as_far(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        noisy = tuple(
            TwoLayerPruneSpec.create(
                train=spec_of(noise="type1", alpha=1.75, sigma=0.5, seed=seed, steps=3, width=50),
                eps=(0.1,),
            )
            for seed in (0, 1)
        )
        spec = PrunedAlikeSpec.create(train=spec_of(steps=3, width=50), noisy=noisy)
        result = execute(spec, store)
        asked = np.mean([execute(s, store)["metrics"]["pruning_ratio_squared"] for s in noisy])
        found = result["metrics"]["pruning_ratio_alike"]
        assert found == pytest.approx(np.floor(50 * asked + 1e-9) / 50)
        assert found > 0.15

    def test_same_specification_same_numbers(self, tmp_path: Path) -> None:
        spec = spec_of(noise="type3", alpha=1.8, sigma=0.2, steps=5)
        first, second = (execute(spec, Store(tmp_path / name)) for name in "ab")
        assert first == second


def test_items_run_at_the_smallest_scale(tmp_path: Path) -> None:
    chosen = [BY_NAME[f"wan2023-{name}"] for name in ("fig1", "table1", "table19", "table20")]
    documents = reproduce(chosen, scale="smoke", store=Store(tmp_path), backend=SerialBackend())
    for item, document in zip(chosen, documents, strict=True):
        assert document.item == item.name
        assert document.verdict.status == "not judged"
        assert {run.status for run in document.runs} == {"done"}
        json.dumps(document.to_dict(), allow_nan=False)


class Accelerator(SerialBackend):
    """A machine whose GPU is a second processor of this one."""

    def devices(self, name: str) -> tuple[str, ...]:
        assert name == "cuda"
        return ("cpu:1",)


def test_items_run_on_an_accelerator_together(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("prunable.runs.runner.is_accelerator", lambda name: name == "cpu:1")
    moved: list[tuple[object, ...]] = []
    original = torch.nn.Module.to

    def to(self: torch.nn.Module, *place: Any, **options: Any) -> torch.nn.Module:
        moved.append(place)
        return original(self, *place, **options)

    monkeypatch.setattr(torch.nn.Module, "to", to)
    chosen = [BY_NAME[f"wan2023-{name}"] for name in ("table4", "table19")]
    store = Store(tmp_path)
    found = reproduce(chosen, scale="smoke", store=store, backend=Accelerator(), device="cuda")
    training = {
        spec.run_id: spec
        for item in chosen
        for spec in map(_training, item.plan("smoke", "paper").runs.values())
        if spec is not None
    }
    records = [json.loads((store.folder(s) / EXECUTION).read_text()) for s in training.values()]
    assert {record["device"] for record in records} == {"cpu:1"}
    # networks of one shape are trained as one
    assert max(record["runs_together"] for record in records) > 6
    assert moved.count(("cpu:1",)) >= len(training)
    # the same as on a processor, one by one, up to rounding
    alone = Store(tmp_path / "alone")
    for spec in training.values():
        on_cpu = execute(spec, alone, device="cpu")
        assert execute(spec, store)["metrics"] == pytest.approx(on_cpu["metrics"], abs=5e-3)
        weights = [load_tensors(s.folder(spec) / MODEL)[0]["hidden.weight"] for s in (store, alone)]
        torch.testing.assert_close(*weights, atol=1e-5, rtol=1e-4)
    assert {run.status for document in found for run in document.runs} == {"done"}


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.name)
def test_trainings_of_the_papers_size_go_together(item: Item) -> None:
    specs = filter(None, map(_training, item.plan("paper", "paper").runs.values()))
    trained = [spec for spec in specs if spec.noise != "none"]
    keys = {spec.batch_key() for spec in trained}
    assert len(keys) == len({(spec.width, spec.dataset.name) for spec in trained})
