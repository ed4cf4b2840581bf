"""Figures 2 and 4: random-features regression pruned and retrained."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prunable.experiments.reproduce.items import Convention, Findings, Item, Plan, Result, Scale
from prunable.papers.chang2020 import features_checks as checks_of
from prunable.papers.chang2020.features_found import (
    FRESH,
    PRUNED,
    SAME,
    both_of,
    found_of,
    line_of,
    markers_of,
    panel_of,
    table_of,
)
from prunable.papers.chang2020.gathering import agreement, done
from prunable.papers.chang2020.settings import FEATURES, PAPER, FeaturesSize
from prunable.papers.chang2020.specs import RandomFeaturesSpec
from prunable.runs.spec import Spec


def _plan_of(
    shown: Callable[[FeaturesSize], tuple[float, ...]],
) -> Callable[[Scale, Convention], Plan]:
    """A plan of the runs that hold these s / n; all sizes are in each run, to be shared."""

    def plan(scale: Scale, convention: Convention) -> Plan:
        size = FEATURES[scale]
        shares = shown(size)
        runs: dict[str, Spec] = {}
        for p in size.features:
            kept = tuple(s for share in size.shares if (s := round(share * size.n)) < p)
            if round(min(shares) * size.n) not in kept:
                continue
            for part in range(0, size.layers, size.chunk):
                layers = min(size.chunk, size.layers - part)
                runs[f"p={p} layers {part}..{part + layers - 1}"] = RandomFeaturesSpec.create(
                    d=size.d,
                    n=size.n,
                    p=p,
                    kept=kept,
                    layers=layers,
                    data_sets=size.data_sets,
                    seed=part,
                )
        settings: dict[str, str | int | float | bool] = {
            "d": size.d,
            "n": size.n,
            "s/n": ", ".join(f"{share:g}" for share in shares),
            "first layers": size.layers,
            "data sets for each": size.data_sets,
            "features": ", ".join(map(str, size.features)),
        }
        notes = (
            "The paper's text as we have it lost n, d and s/n: 200, 10 and 0.1, 0.3, 0.5, 0.7 "
            "are inferred; so is the range of p.",
            "Risks are exact population risks of each model; no test set is drawn.",
            "Below p = n predictions are exact expectations of the equivalent problem at this n "
            "rather than limits.",
            "Features of few inputs are not Gaussian, as the equivalent problem takes them to be: "
            "over many sizes its dense and retrained risks are off by up to 13 % at d = 10, by "
            "less than 10 % from d = 20 on (docs/predict-features.md).",
        )
        return Plan(scale, convention, runs, settings, notes)

    return plan


def _sizes(plan: Plan) -> list[int]:
    n = int(plan.settings["n"])
    return [round(float(share) * n) for share in str(plan.settings["s/n"]).split(",")]


def _figure2(plan: Plan, results: Mapping[str, Result]) -> Findings:
    usable, notes = done(plan, results)
    found, sizes = found_of(plan, usable), _sizes(plan)
    dense = found.dense()
    checks = (
        agreement(
            "The equivalent problem predicts dense risks within 10 % or 5 standard errors",
            [pair for row in dense if (pair := row.against(row)) is not None],
            checks_of.TOLERANCE,
        ),
        agreement(
            "It predicts the risks after retraining on fresh data within 10 % or 5 standard errors",
            found.pairs(FRESH, sizes),
            checks_of.TOLERANCE,
        ),
        agreement(
            "It predicts the risks after pruning alone within 25 % or 5 standard errors",
            found.pairs(PRUNED, sizes),
            checks_of.PRUNED_TOLERANCE,
            essential=False,
        ),
        checks_of.describes_same(found, sizes[:-1], checks_of.PAST),
        checks_of.describes_same(found, sizes[:-1], 0.0),
        checks_of.double_descent(dense),
        *(checks_of.best_is_wide(found, s) for s in sizes),
        checks_of.near_dense(found, sizes),
    )
    retrained = [
        one
        for s in sizes
        for one in (
            line_of(f"s/n = {s / found.n:g}, theory", found.curve(FRESH, s)),
            markers_of(f"s/n = {s / found.n:g}, simulated", found.curve(SAME, s)),
        )
    ]
    pruned = [
        one for s in sizes for one in both_of(f"s/n = {s / found.n:g}", found.curve(PRUNED, s))
    ]
    return Findings(
        tables=(table_of(found, sizes),),
        panels=(
            panel_of(
                "Dense, and retrained after magnitude pruning",
                [*both_of("dense", dense), *retrained],
            ),
            panel_of("Pruned only", pruned),
        ),
        checks=checks,
        notes=(*notes, *checks_of.conditions(usable)),
    )


def _figure4(plan: Plan, results: Mapping[str, Result]) -> Findings:
    usable, notes = done(plan, results)
    found, (s, *_) = found_of(plan, usable), _sizes(plan)
    smaller = sorted({size for _, size, _ in found.rows if size < s})
    share = s / found.n
    checks = (
        agreement(
            f"Retraining on fresh data at s/n = {share:g} is predicted within 10 % or 5 standard "
            "errors",
            found.pairs(FRESH, [s]),
            checks_of.TOLERANCE,
        ),
        checks_of.differs(found, s),
        *(
            checks_of.is_the_same(found, size, low)
            for size in smaller
            for low in (checks_of.PAST, 0.0)
        ),
        checks_of.crucial(found, s),
    )
    series = [
        *both_of("pruned only", found.curve(PRUNED, s)),
        *both_of("retrained on fresh data", found.curve(FRESH, s)),
        markers_of("retrained on the same data, simulated", found.curve(SAME, s)),
    ]
    return Findings(
        tables=(table_of(found, [s]),),
        panels=(panel_of(f"s/n = {share:g}", series),),
        checks=checks,
        notes=notes,
    )


FIGURE_2 = Item(
    name="chang2020-fig2",
    paper=PAPER,
    kind="figure",
    label="Figure 2",
    title="Random-features regression, pruned and retrained, against the number of features",
    claim=(
        "The equivalent linear problem predicts the risks after pruning and retraining, which are "
        "least with more features than samples."
    ),
    plan=_plan_of(lambda size: size.shares),
    gather=_figure2,
)

FIGURE_4 = Item(
    name="chang2020-fig4",
    paper=PAPER,
    kind="figure",
    label="Figure 4",
    title="Random features at the largest s/n: retraining on the same and on fresh data",
    claim=(
        "The formula predicts retraining on fresh data; retraining on the same data differs "
        "slightly, and only when the features kept are nearly as many as the samples."
    ),
    plan=_plan_of(lambda size: size.shares[-1:]),
    gather=_figure4,
)
