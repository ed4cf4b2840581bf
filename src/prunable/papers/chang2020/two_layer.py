"""Figure 6: two fully connected layers of changing width on MNIST."""

from __future__ import annotations

from collections.abc import Mapping

from prunable.experiments.reproduce.items import (
    Check,
    Convention,
    Findings,
    Item,
    Plan,
    Result,
    Scale,
)
from prunable.papers.chang2020 import networks
from prunable.papers.chang2020.gathering import done
from prunable.papers.chang2020.networks import (
    DENSE,
    INITIAL,
    MAGNITUDE,
    MARGIN,
    RANDOM,
    UNTRAINED,
    Errors,
)
from prunable.papers.chang2020.resnet import settings_of
from prunable.papers.chang2020.settings import PAPER, TWO_LAYER


def _plan(scale: Scale, convention: Convention) -> Plan:
    size, paper = TWO_LAYER[scale], TWO_LAYER["paper"]
    notes = [
        "Retraining goes on from the weights that pruning left; the paper does not say where it "
        "starts, so retraining from the initial weights is shown too.",
        "Biases stay and count among the parameters kept.",
        "The paper's text as we have it lost base widths, learning rate and epochs: 4 and 2, "
        "0.001 and 200 are inferred. It does not state the batch size.",
    ]
    if size.dataset != paper.dataset:
        notes.append(f"The data are {size.dataset} in place of MNIST.")
    if size.epochs != paper.epochs:
        notes.append(
            f"{size.epochs} epochs of training and {size.retrain_epochs} of retraining instead of "
            f"{paper.epochs} each."
        )
    models = (DENSE, MAGNITUDE, INITIAL, RANDOM)
    return Plan(scale, convention, networks.runs_of(size, models), settings_of(size), tuple(notes))


def _gather(plan: Plan, results: Mapping[str, Result]) -> Findings:
    usable, notes = done(plan, results)
    errors = networks.errors_of(plan, usable)
    bases = [int(base) for base in str(plan.settings["base widths"]).split(",")]
    checks = [
        networks.falls(errors, DENSE, None, split, "dense networks") for split in ("test", "train")
    ]
    for base in bases:
        what = f"networks pruned to the size of width {base} and retrained"
        checks += [
            networks.falls(errors, MAGNITUDE, base, split, what) for split in ("test", "train")
        ]
    checks += [
        _no_double_descent(errors),
        networks.below(
            "Weights kept by magnitude give a lower test error than weights kept at random",
            networks.at_same_width(errors, MAGNITUDE, RANDOM, bases),
        ),
        *(_random_hurts(errors, base) for base in bases),
        networks.below(
            "Retraining lowers the test error of every pruned network",
            networks.at_same_width(errors, MAGNITUDE, UNTRAINED, bases),
        ),
        *(_initial_too(errors, base) for base in bases),
    ]
    dense = networks.series_of(errors, DENSE, [None])
    solid = [*dense, *networks.series_of(errors, MAGNITUDE, bases)]
    panels = (
        networks.panel_of(
            "(a) test and training error",
            [
                *solid,
                *networks.series_of(errors, DENSE, [None], "train"),
                *networks.series_of(errors, MAGNITUDE, bases, "train"),
            ],
            "error",
        ),
        networks.panel_of(
            "(b) kept by magnitude, and at random",
            [*solid, *networks.series_of(errors, RANDOM, bases)],
        ),
        networks.panel_of(
            "(c) retrained, and not", [*solid, *networks.series_of(errors, UNTRAINED, bases)]
        ),
        networks.panel_of(
            "Beyond the paper: retrained from the initial weights",
            [*solid, *networks.series_of(errors, INITIAL, bases)],
        ),
    )
    tables = (networks.error_table(errors, "Errors"),)
    return Findings(tables=tables, panels=panels, checks=tuple(checks), notes=notes)


def _no_double_descent(errors: Errors) -> Check:
    statement = "No double descent: the test error of dense networks never rises by a point"
    points = errors.curve(DENSE, None)
    if len(points) < 3:
        return Check(statement, None, "fewer than three widths", essential=False)
    rise = max(b.value - a.value for i, a in enumerate(points) for b in points[i + 1 :])
    return Check(statement, rise < MARGIN, networks.in_words(points), essential=False)


def _random_hurts(errors: Errors, base: int) -> Check:
    statement = (
        f"With random masks to the size of width {base}, the widest network does worse than the "
        "one of the base width itself"
    )
    points, whole = errors.curve(RANDOM, base), errors.curve(MAGNITUDE, base)
    if not points or not whole or whole[0].x != base:
        return Check(statement, None, "no results")
    return Check(
        statement,
        points[-1].value > whole[0].value + MARGIN,
        networks.in_words([whole[0], *points]),
    )


def _initial_too(errors: Errors, base: int) -> Check:
    """What the paper leaves open does not matter for its claim."""
    statement = (
        f"Retrained from the initial weights, the widest network pruned to the size of width "
        f"{base} beats the one of that width too"
    )
    points, whole = errors.curve(INITIAL, base), errors.curve(MAGNITUDE, base)
    if not points or not whole or whole[0].x != base:
        return Check(statement, None, "no results", essential=False)
    return Check(
        statement,
        points[-1].value < whole[0].value - MARGIN,
        networks.in_words([whole[0], *points]),
        essential=False,
    )


FIGURE_6 = Item(
    name="chang2020-fig6",
    paper=PAPER,
    kind="figure",
    label="Figure 6",
    title="Two-layer networks of width k on MNIST, pruned by magnitude, at random, not retrained",
    claim=(
        "Larger networks, pruned by magnitude and retrained, are better at the same size; random "
        "masks get worse with width; without retraining pruned networks are poor; there is no "
        "double descent."
    ),
    plan=_plan,
    gather=_gather,
)
