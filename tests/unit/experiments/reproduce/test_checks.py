"""Checks, frames, published numbers and verdicts: what decides, and what could not have."""

import math
from dataclasses import replace

import numpy as np
import pytest

from prunable.errors import DataIntegrityError
from prunable.experiments.reproduce import checks
from prunable.experiments.reproduce.agreement import (
    Comparison,
    Law,
    agrees,
    at_worst,
    combined,
    follows,
)
from prunable.experiments.reproduce.document import Check, judge
from prunable.experiments.reproduce.frame import Found, Frame, Observation
from prunable.experiments.reproduce.items import Gather, Item, item_document
from prunable.experiments.reproduce.plans import Plan
from prunable.experiments.reproduce.published import Printed, read_published
from prunable.experiments.reproduce.tables import Line, Metric, TableSpec, median
from prunable.experiments.train.specs import TrainSpec
from prunable.papers import published


def frame(*values, condition="a", metric="m"):
    return Frame(
        tuple(
            Observation(condition, str(i), metric, value, f"run-{condition}-{i}")
            for i, value in enumerate(values)
        )
    )


def training(condition, place):
    return TrainSpec.create(dataset="digits", width=len(condition), steps=1, lr=0.1, seed=place)


def plan(scale="laptop"):
    runs = {f"{name}/{i}": training(name, i) for name in ("a", "bb") for i in range(3)}
    return Plan(scale, "paper", runs)


def results(**changes):
    found = {
        f"{name}/{seed}": {
            "status": "done",
            "reason": "",
            "metrics": {"m": base + seed, "refused": None},
            "errors": {"test": 0.5},
            "curve": [1, 2],
        }
        for name, base in (("a", 10.0), ("bb", 20.0))
        for seed in range(3)
    }
    return found | changes


# --- frame ---------------------------------------------------------------------------------


def test_frame_holds_every_number_of_every_run_that_is_done():
    lost = {"a/1": {"status": "diverged", "reason": "nan"}}
    found = Found(plan(), results(**lost))
    assert found.of("a", "m").values == (10.0, 12.0)
    assert found.of("a", "m").seeds == ("0", "2")
    assert found.of("bb", "errors.test").values == (0.5,) * 3
    assert len(found.frame.select(metric="refused")) == 0
    assert found.lost() == ("1 of 6 runs are left out (a/1: nan).",)
    assert set(found.results_of("a")) == {"0", "2"}
    assert found.frame.select(condition="bb").group("seed").keys() == {"0", "1", "2"}


def test_statistics_are_those_over_seeds():
    values = frame(1.0, 2.0, 6.0)
    assert (values.mean, values.median) == (3.0, 2.0)
    assert values.std == pytest.approx(np.std([1, 2, 6], ddof=1))
    assert (frame().mean, frame().std, frame(1.0).std, frame().median) == (None,) * 4


def test_curves_have_places_and_errors():
    found = Found(plan(), results(), lambda *_: [("c", 1.0, 5.0, 0.1), ("c", None, 6.0)])
    (row, *_) = found.of("a", "c").rows
    assert (row.x, row.error) == (5.0, 0.1)
    assert set(found.frame.group("x")) == {5.0}


def test_table_stands_conditions_beside_the_print():
    beside = published("wan2023").items["table1"]
    columns = (Metric("m", "M", "%", 1), Metric("mid", "median", metric="m", statistic=median))
    spec = TableSpec("t", checks_column(), columns, (Line("first", "a", "1.9"),), beside)
    (row,) = spec(Found(plan(), results())).rows
    assert (row[0].value, row[1].value, row[1].published) == ("first", 11.0, None)
    assert row[1].std == 1.0
    assert (row[2].value, row[2].std) == (11.0, None)
    named = Metric("test_accuracy", "acc.", metric="m")
    (row,) = TableSpec("t", checks_column(), (named,), (Line("x", "a", "1.9"),), beside)(
        Found(plan(), results())
    ).rows
    assert (row[1].published, row[1].published_std) == (0.959, 0.01)


def checks_column():
    from prunable.experiments.reproduce.document import Column

    return Column("row", "row")


# --- outcomes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "error", "n", "expected", "outcome"),
    [
        (1.0, 0.1, 5, None, "holds"),
        (-1.0, 0.1, 5, None, "contradicted"),
        (0.1, 0.1, 5, None, "underpowered"),
        (-0.1, 0.1, 5, None, "underpowered"),
        (0.1, 0.1, 5, 1.0, "holds"),
        (-0.1, 0.1, 5, 1.0, "fails"),
        (1.0, None, 1, None, "underpowered"),
        (0.0, 0.0, 5, None, "fails"),
    ],
)
def test_a_difference_is_judged_by_its_interval(value, error, n, expected, outcome):
    assert checks.judged(value, error, n, expected).outcome == outcome


def test_underpowered_says_from_how_many_seeds_it_could_be_seen():
    rng = np.random.default_rng(0)
    found = checks.judged(0.1, 0.5, 4)
    std = 0.5 * 2
    half = checks.stats.t.ppf(0.975, found.seeds - 1) * std / math.sqrt(found.seeds)
    fewer = checks.stats.t.ppf(0.975, found.seeds - 100) * std / math.sqrt(found.seeds - 99)
    assert half < 0.1 < fewer
    high, low = frame(*rng.normal(0.1, 1, 4)), frame(*rng.normal(0, 1, 4))
    check = checks.exceeds("s", [(high, low)], "e", printed=[(Printed(0.1), Printed(0.0))])
    assert (check.outcome, check.holds) == ("underpowered", None)
    assert "seeds" in check.needs


def test_equal_seeds_are_compared_in_pairs():
    low = frame(0.0, 5.0, 10.0)
    high = frame(1.0, 6.1, 10.9)
    value, error, n = checks.difference(high, low)
    assert (value, n) == (pytest.approx(1.0), 3)
    assert error == pytest.approx(0.1 / math.sqrt(3))
    assert checks.exceeds("s", [(high, low)], "e").outcome == "holds"
    assert checks.difference(high, frame(0.0, 5.0))[1] > 1


def test_order_is_as_good_as_its_worst_step():
    rising = {"a": frame(1.0, 1.1), "b": frame(2.0, 2.1), "c": frame(3.0, 3.1)}
    assert checks.ordered("s", rising).outcome == "holds"
    falling = dict(reversed(rising.items()))
    check = checks.ordered("s", falling)
    assert (check.outcome, check.holds) == ("contradicted", False)
    assert "rising in 0 of 4 pairs" in check.evidence
    assert checks.ordered("s", rising | {"d": frame()}).outcome == "not applicable"


def test_limits_are_contradicted_only_by_intervals():
    assert checks.at_most("s", 1.0, 2.0, "e").outcome == "holds"
    assert checks.at_most("s", 3.0, 2.0, "e").outcome == "fails"
    assert checks.at_most("s", 3.0, 2.0, "e", error=0.1, n=5).outcome == "contradicted"
    assert checks.at_most("s", 3.0, 2.0, "e", error=1.0, n=5).outcome == "fails"
    assert checks.at_least("s", 3.0, 2.0, "e").outcome == "holds"
    assert checks.at_least("s", 1.0, 2.0, "e", error=0.1, n=5).outcome == "contradicted"
    assert checks.at_least("s", None, 2.0, "e").outcome == "not applicable"


def test_ranks_tell_a_direction_or_say_how_many_they_need():
    x = list(range(12))
    assert checks.monotone("s", x, [-v for v in x]).outcome == "holds"
    assert checks.monotone("s", x, x).outcome == "contradicted"
    assert checks.monotone("s", x, x, rising=True).outcome == "holds"
    assert checks.monotone("s", x, [0, 5, 1, 7, 3, 9, 2, 8, 4, 6, 1.5, 5.5]).outcome == "fails"
    few = checks.monotone("s", [1, 2, 3, 4], [1, 3, 2, 0])
    assert few.outcome == "underpowered"
    assert few.needs == "at least 7 networks"
    assert checks.monotone("s", [1, 2], [2, 1]).outcome == "underpowered"


def test_scatter_is_compared_by_the_f_law():
    wide, narrow = frame(*range(0, 100, 10)), frame(*np.linspace(0, 1, 10))
    assert checks.scatters_more("s", wide, narrow, "{} {}").outcome == "holds"
    assert checks.scatters_more("s", narrow, wide, "{} {}").outcome == "contradicted"
    weak = checks.scatters_more("s", frame(0.0, 1.0, 2.2), frame(0.0, 1.0, 2.0), "{} {}")
    assert weak.outcome == "underpowered"


def test_a_law_decides_agreement_where_our_own_giant_cannot():
    giant = frame(0.1, 0.1, 0.1, 0.1, 0.9)
    printed = Printed(0.10, 0.01)
    # within two standard errors of both, since the giant widens ours
    own = giant.std / math.sqrt(5)
    assert abs(giant.mean - printed.mean) < 2 * math.hypot(own, printed.std / math.sqrt(5))
    assert agrees("s", [Comparison("r", giant, printed)]).outcome == "contradicted"
    draws = np.random.default_rng(0).normal(0.1, 0.01, 1000)
    tight = agrees("s", [Comparison("r", giant, printed, Law(draws))])
    assert tight.outcome == "contradicted"
    assert "s.e." in tight.evidence
    wide = Law(np.random.default_rng(0).uniform(0, 1, 1000))
    assert agrees("s", [Comparison("r", giant, printed, wide)]).outcome == "holds"
    weak = agrees("s", [Comparison("r", giant, printed, wide, effect=0.05)])
    assert (weak.outcome, weak.holds) == ("underpowered", None)
    assert agrees("s", [Comparison("r", giant, Printed(0.1))]).outcome == "not applicable"


@pytest.mark.statistical
def test_intervals_of_a_law_cover_as_they_say():
    """False alarm: 5 standard errors of a binomial, p < 1e-6."""
    rng = np.random.default_rng(1)
    law = Law(rng.exponential(1, 20_000))
    low, high = law.interval(4, 6)
    pairs = rng.exponential(1, (4000, 4)).mean(1) - rng.exponential(1, (4000, 6)).mean(1)
    share = np.mean((pairs >= low) & (pairs <= high))
    assert abs(share - 0.95) < 5 * math.sqrt(0.95 * 0.05 / 4000) + 0.01


@pytest.mark.statistical
def test_rows_of_one_law_are_contradicted_as_often_as_they_say():
    """False alarm: 5 standard errors of a binomial, p < 1e-6; 1 % more for resampled laws."""
    rng = np.random.default_rng(2)
    laws = [Law(rng.exponential(scale, 5000)) for scale in (1.0, 2.0, 3.0)]
    wrong = [0, 0]
    for _ in range(400):
        ours, theirs = ([rng.exponential(scale, 5) for scale in (1.0, 2.0, 3.0)] for _ in range(2))
        rows = [
            Comparison("r", frame(*own), Printed(float(their.mean()), 1.0), law)
            for own, their, law in zip(ours, theirs, laws, strict=True)
        ]
        wrong[0] += agrees("s", rows).outcome == "contradicted"
        means = [("r", float(own.mean()), 5, law) for own, law in zip(ours, laws, strict=True)]
        wrong[1] += follows("s", means).outcome == "contradicted"
    for count in wrong:
        assert abs(count / 400 - 0.05) < 5 * math.sqrt(0.05 * 0.95 / 400) + 0.01


def test_rows_that_may_depend_on_each_other():
    # three times the least; together by Fisher's method, -2 sum ln p against chi-square of 6
    chances = [0.01, 0.5, 0.9]
    assert at_worst(chances) == pytest.approx(0.03)
    assert at_worst([0.9, 0.9]) == 1.0
    statistic = -2 * sum(map(math.log, chances))
    tail = math.exp(-statistic / 2) * sum(
        (statistic / 2) ** k / math.factorial(k) for k in range(3)
    )
    assert combined(chances) == pytest.approx(tail)


def test_outcome_and_holds_cannot_differ():
    assert Check("s", True, "e").outcome == "holds"
    assert Check("s", False, "e").outcome == "fails"
    assert Check("s", None, "e").outcome == "not applicable"
    with pytest.raises(ValueError, match="cannot have holds"):
        Check("s", True, "e", True, "contradicted")


def test_a_reduced_size_shows_and_does_not_decide():
    check = checks.at_reduced_size(Check("s", False, "1 against 2"), "n = 2 for 20")
    assert (check.holds, check.essential, check.outcome) == (None, True, "not applicable")
    assert judge("laptop", [HOLDS, check]).status == "incomplete"
    beside = checks.at_reduced_size(BESIDE, "n = 2 for 20")
    assert judge("laptop", [HOLDS, beside]).status == "reproduced"
    assert check.printed
    assert check.evidence == "at reduced size (n = 2 for 20): 1 against 2"


# --- verdicts ------------------------------------------------------------------------------

HOLDS, FAILS = Check("s", True, "e"), Check("t", False, "e")
WEAK = checks.underpowered("u", "e", "9 seeds")
BESIDE = replace(FAILS, essential=False)
CONTRADICTED = replace(FAILS, outcome="contradicted")


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ([HOLDS, HOLDS], "reproduced"),
        ([HOLDS, BESIDE], "reproduced"),
        ([HOLDS, FAILS], "partly"),
        ([FAILS, BESIDE], "not reproduced"),
        ([BESIDE], "not reproduced"),
        ([HOLDS, WEAK], "incomplete"),
        ([FAILS, WEAK], "not reproduced"),
        ([WEAK], "incomplete"),
        ([HOLDS, checks.undecided("v")], "reproduced"),
        ([checks.undecided("v")], "not judged"),
        ([], "not judged"),
        ([HOLDS, HOLDS, CONTRADICTED], "contradicted"),
        ([FAILS, CONTRADICTED, WEAK], "contradicted"),
        ([HOLDS, replace(CONTRADICTED, essential=False)], "reproduced"),
    ],
)
def test_essential_checks_decide(found, status):
    assert judge("laptop", found).status == status
    assert judge("smoke", found).status == "not judged"


def test_nothing_is_reproduced_without_its_comparison_with_print():
    reduced = checks.at_reduced_size(HOLDS, "width 128 for 2,048")
    verdict = judge("laptop", [HOLDS, reduced])
    assert verdict.status == "incomplete"
    assert "1 need the published size" in verdict.why
    lacking = checks.with_print(checks.undecided("s"))
    assert judge("laptop", [HOLDS, lacking]).status == "incomplete"
    assert judge("laptop", [HOLDS, replace(reduced, essential=False)]).status == "reproduced"
    verdict = judge("laptop", [HOLDS], prints=True)
    assert verdict.status == "incomplete"
    assert "no essential check compares" in verdict.why
    beside = replace(checks.with_print(HOLDS), essential=False)
    assert judge("laptop", [HOLDS, beside], prints=True).status == "incomplete"
    assert judge("laptop", [checks.with_print(HOLDS)], prints=True).status == "reproduced"
    assert judge("laptop", [HOLDS, checks.with_print(FAILS)], prints=True).status == "partly"


def test_comparisons_with_print_say_so():
    assert checks.near("s", [("a", 1.0, 1.0)], 0.1).printed
    assert checks.near("s", [], 0.1).printed
    row = Comparison("r", frame(0.1, 0.1), Printed(0.1, 0.01))
    assert agrees("s", [row]).printed
    assert agrees("s", []).printed
    assert not checks.ordered("s", {"a": frame(1.0), "b": frame(2.0)}).printed


def test_lost_runs_leave_a_claim_open():
    verdict = judge("laptop", [HOLDS, checks.undecided("v")], 1, 4)
    assert verdict.status == "incomplete"
    assert "1 of 4 runs" in verdict.why
    assert "1 of 2 checks hold" in verdict.why


def test_a_study_is_an_item_without_a_paper():
    item = Item(
        "study-x",
        None,
        "study",
        "X",
        "t",
        "c?",
        lambda *_: plan(),
        Gather(claims=(lambda _: WEAK,)),
    )
    document = item_document(item, None, plan(), results())
    assert document.paper is None
    assert document.heading == "X"
    assert document.verdict.status == "incomplete"
    assert document.to_dict()["checks"][0]["outcome"] == "underpowered"


# --- published numbers ---------------------------------------------------------------------


@pytest.mark.parametrize("paper", ["barsbey2021", "chang2020", "guha2023", "wan2023"])
def test_all_papers_have_one_schema(paper):
    found = published(paper)
    assert found.paper
    for item in found.items.values():
        assert item.cells or item.stated or item.inferred
        for row in item.cells.values():
            assert all(isinstance(cell, Printed) for cell in row.values())


def test_missing_entries_are_nothing_and_wrong_files_are_named(tmp_path):
    item = published("guha2023").items["table1"]
    assert item.cell("ours", "500") == (3.36, None)
    assert item.cell("ours", "501") == (None, None)
    file = tmp_path / "x.json"
    file.write_text('{"paper": "p", "items": {"table1": {"cells": {"a": {"b": "x"}}}}}')
    with pytest.raises(DataIntegrityError, match=r"x\.json.*items\.table1\.cells\.a\.b"):
        read_published(file)
