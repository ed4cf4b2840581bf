"""Figures 1 and 5: ResNet-20 of changing width, pruned to the size of a base network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from prunable.experiments.reproduce.items import (
    Cell,
    Check,
    Column,
    Convention,
    Findings,
    Item,
    Plan,
    Result,
    Scale,
    Table,
)
from prunable.papers.chang2020 import networks
from prunable.papers.chang2020.gathering import Point, done, percent
from prunable.papers.chang2020.networks import DENSE, MAGNITUDE, MARGIN, RANDOM, UNTRAINED, Errors
from prunable.papers.chang2020.settings import PAPER, RESNET, NetworkSize, published

# Below this training error a network fits its data, and double descent can be looked for.
INTERPOLATES = 0.02


def _plan_of(models: Sequence[str]) -> Callable[[Scale, Convention], Plan]:
    def plan(scale: Scale, convention: Convention) -> Plan:
        size = RESNET[scale]
        return Plan(
            scale, convention, networks.runs_of(size, models), settings_of(size), _notes(size)
        )

    return plan


def settings_of(size: NetworkSize) -> dict[str, str | int | float | bool]:
    """What the report shows."""
    return {
        "data": size.dataset,
        "network": size.net,
        "training examples": size.n_train,
        "dense widths": ", ".join(map(str, size.widths)),
        "base widths": ", ".join(map(str, size.bases)),
        "epochs": size.epochs,
        "epochs of retraining": size.retrain_epochs,
        "optimizer": f"Adam, learning rate {size.lr:g}, batches of {size.batch_size}",
        "augmentation": size.augment,
        "seeds": len(size.seeds),
    }


def _notes(size: NetworkSize) -> tuple[str, ...]:
    paper = RESNET["paper"]
    notes = [
        "Retraining goes on from the weights that pruning left, with a fresh optimizer; the paper "
        "does not say where it starts.",
        "The number of parameters kept counts biases and batch normalisation, which stay.",
        "The paper does not state the batch size, nor how many runs its curves average. Its base "
        "widths follow from its numbers of parameters; the other widths are our choice.",
    ]
    if size.dataset != paper.dataset:
        notes.append(f"The data are {size.dataset} in place of CIFAR-10.")
    else:
        notes.append("CIFAR-10 may be a copy recompressed as JPEG; `prunable data list` says so.")
    if size.n_train != paper.n_train:
        notes.append(f"{size.n_train:,} training examples instead of 50,000.")
    if size.epochs != paper.epochs:
        notes.append(
            f"Batches of {size.batch_size}; {size.epochs} epochs of training and "
            f"{size.retrain_epochs} of retraining instead of "
            f"{paper.epochs:,} each, too few to fit the training data."
        )
    if size.bases != paper.bases:
        notes.append(
            f"Base widths {_listed(size.bases)} instead of {_listed(paper.bases)}, dense widths "
            f"up to {max(size.widths)}."
        )
    return tuple(notes)


def _figure1(plan: Plan, results: Mapping[str, Result]) -> Findings:
    usable, notes = done(plan, results)
    errors, bases = networks.errors_of(plan, usable), _bases(plan)
    checks = [networks.falls(errors, DENSE, None, split, "dense networks") for split in _SPLITS]
    for base in bases:
        what = f"networks pruned to the size of width {base} and retrained"
        checks += [networks.falls(errors, MAGNITUDE, base, split, what) for split in _SPLITS]
        checks.append(_beats_base(errors, base))
    checks += [
        _near_dense(errors, max(bases)),
        _double_descent(errors),
        *(_fits_where_dense_fits(errors, base) for base in bases),
    ]
    panels = tuple(
        networks.panel_of(
            f"{'Test' if split == 'test' else 'Training'} error",
            [
                *networks.series_of(errors, DENSE, [None], split),
                *networks.series_of(errors, MAGNITUDE, bases, split),
            ],
            f"{'test' if split == 'test' else 'training'} error",
        )
        for split in _SPLITS
    )
    tables = (_targets(errors, bases), networks.error_table(errors, "Errors"))
    return Findings(tables=tables, panels=panels, checks=tuple(checks), notes=notes)


def _figure5(plan: Plan, results: Mapping[str, Result]) -> Findings:
    usable, notes = done(plan, results)
    errors, bases = networks.errors_of(plan, usable), _bases(plan)
    checks = [
        networks.below(
            "(a) Weights kept by magnitude give a lower test error than weights kept at random",
            networks.at_same_width(errors, MAGNITUDE, RANDOM, bases),
        ),
        *(_random_falls(errors, base) for base in bases),
        networks.below(
            "(b) Retraining lowers the test error of every pruned network",
            networks.at_same_width(errors, MAGNITUDE, UNTRAINED, bases),
        ),
        *(_width_does_not_help(errors, base) for base in bases),
    ]
    panels = (
        networks.panel_of(
            "(a) kept by magnitude, and at random",
            [
                *networks.series_of(errors, DENSE, [None]),
                *networks.series_of(errors, MAGNITUDE, bases),
                *networks.series_of(errors, RANDOM, bases),
            ],
        ),
        networks.panel_of(
            "(b) retrained, and not",
            [
                *networks.series_of(errors, MAGNITUDE, bases),
                *networks.series_of(errors, UNTRAINED, bases),
            ],
        ),
        networks.panel_of(
            "Training errors",
            [
                *networks.series_of(errors, DENSE, [None], "train"),
                *networks.series_of(errors, MAGNITUDE, bases, "train"),
                *networks.series_of(errors, RANDOM, bases, "train"),
            ],
            "training error",
        ),
    )
    tables = (networks.error_table(errors, "Errors"),)
    return Findings(tables=tables, panels=panels, checks=tuple(checks), notes=notes)


_SPLITS: tuple[networks.Split, ...] = ("test", "train")


def _bases(plan: Plan) -> list[int]:
    return [int(base) for base in str(plan.settings["base widths"]).split(",")]


def _beats_base(errors: Errors, base: int) -> Check:
    """Check that pruning a larger network beats training one of that size at once."""
    statement = (
        f"A larger network pruned to the size of width {base} has a lower test error than the "
        "network of that width, trained as long"
    )
    points = errors.curve(MAGNITUDE, base)
    small = [point for point in points if point.x == base]
    larger = [point for point in points if point.x > base]
    if not small or not larger:
        return Check(statement, None, "no results")
    return Check(
        statement,
        larger[-1].value < small[0].value - MARGIN,
        f"{percent(small[0].value)} at width {base}; pruned: {networks.in_words(larger)}",
    )


def _near_dense(errors: Errors, base: int) -> Check:
    statement = (
        f"At the largest target, width {base}, the best pruned network comes within 2 points of "
        "the best dense one"
    )
    sparse, dense = errors.curve(MAGNITUDE, base), errors.curve(DENSE, None)
    if not sparse or not dense:
        return Check(statement, None, "no results", essential=False)
    one, other = (min(points, key=_value) for points in (sparse, dense))
    return Check(
        statement,
        one.value < other.value + 0.02,
        f"pruned {percent(one.value)} from width {one.x:.0f}, dense {percent(other.value)} at "
        f"width {other.x:.0f}",
        essential=False,
    )


def _double_descent(errors: Errors) -> Check:
    statement = "The test error of dense networks falls, rises and falls again as they widen"
    points, fitted = errors.curve(DENSE, None), errors.curve(DENSE, None, "train")
    if len(points) < 4 or min(point.value for point in fitted) > INTERPOLATES:
        least = f"; least training error {percent(min(map(_value, fitted)))}" if fitted else ""
        return Check(
            statement, None, f"needs networks that fit their training data{least}", essential=False
        )
    values = [point.value for point in points]
    rises = [
        i
        for i in range(1, len(values) - 1)
        if values[i] > min(values[:i]) + MARGIN / 2 and min(values[i:]) < values[i] - MARGIN / 2
    ]
    return Check(statement, bool(rises), networks.in_words(points), essential=False)


def _fits_where_dense_fits(errors: Errors, base: int) -> Check:
    statement = (
        f"Networks pruned to the size of width {base} fit their training data from the width on "
        "at which dense ones do"
    )
    fits = {
        model: [p.x for p in errors.curve(model, of, "train") if p.value <= INTERPOLATES]
        for model, of in ((DENSE, None), (MAGNITUDE, base))
    }
    if not fits[DENSE]:
        return Check(statement, None, "no dense network fits its data", essential=False)
    first = fits[DENSE][0]
    later = fits[MAGNITUDE][0] if fits[MAGNITUDE] else None
    holds = later is not None and later <= 1.5 * max(first, base)
    text = f"dense from width {first:.0f}, pruned from " + (f"{later:.0f}" if later else "none")
    return Check(statement, holds, text, essential=False)


def _random_falls(errors: Errors, base: int) -> Check:
    """The weaker statement about the control: widening helps it too."""
    statement = f"(a) With random masks to the size of width {base}, widening still helps"
    points = errors.curve(RANDOM, base)
    if len(points) < 2:
        return Check(statement, None, "fewer than two widths", essential=False)
    return Check(
        statement, points[-1].value < points[0].value, networks.in_words(points), essential=False
    )


def _width_does_not_help(errors: Errors, base: int) -> Check:
    statement = f"(b) Without retraining, widening beyond width {base} does not help"
    points = errors.curve(UNTRAINED, base)
    if len(points) < 2 or points[0].x != base:
        return Check(statement, None, "fewer than two widths")
    return Check(statement, points[-1].value >= points[0].value, networks.in_words(points))


def _targets(errors: Errors, bases: Sequence[int]) -> Table:
    """Parameters of the base networks beside those the paper states."""
    facts = published("1")
    stated = dict(
        zip(facts.inferred["base_widths"], facts.stated["parameter_targets"], strict=True)
    )
    columns = (
        Column("base", "base width", digits=0),
        Column("parameters", "parameters kept", digits=0),
    )
    rows = tuple(
        (
            Cell(base),
            Cell(errors.parameters.get((MAGNITUDE, base, base)), published=stated.get(base)),
        )
        for base in bases
    )
    return Table("Sparsity targets", columns, rows)


def _value(point: Point) -> float:
    return point.value


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))


FIGURE_1 = Item(
    name="chang2020-fig1",
    paper=PAPER,
    kind="figure",
    label="Figure 1",
    title="ResNet-20 of width k, dense and pruned to the size of a base network",
    claim=(
        "Training a larger network, pruning and retraining it gives a lower error than training a "
        "network of that size; the errors of pruned networks follow those of dense ones, double "
        "descent included."
    ),
    plan=_plan_of((DENSE, MAGNITUDE)),
    gather=_figure1,
)

FIGURE_5 = Item(
    name="chang2020-fig5",
    paper=PAPER,
    kind="figure",
    label="Figure 5",
    title="ResNet-20: random masks, and pruning without retraining",
    claim=(
        "Random masks do worse than magnitude; without retraining the error is much larger and "
        "does not gain from width."
    ),
    plan=_plan_of((DENSE, MAGNITUDE, RANDOM)),
    gather=_figure5,
)
