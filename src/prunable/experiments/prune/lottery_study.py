"""The lottery study: LeNet-300-100 on MNIST pruned iteratively to 2 %, beside its controls."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from prunable.experiments.prune.specs import Control, IterateSpec
from prunable.experiments.reproduce import checks
from prunable.experiments.reproduce.document import (
    Cell,
    Check,
    Column,
    Convention,
    Panel,
    Scale,
    Table,
)
from prunable.experiments.reproduce.frame import Found
from prunable.experiments.reproduce.items import Gather, Item
from prunable.experiments.reproduce.plans import Plan
from prunable.experiments.reproduce.tables import Line, Metric, TableSpec, series
from prunable.nets.prune.choices import Rewind
from prunable.runs.data import DataSpec
from prunable.runs.spec import Spec

# Pictures in units of their standard deviation, black at 0.
MNIST_STD = 0.3081
ERROR, TICKET = "test_error", "ticket"
# The rewinding of each condition, what is trained beside its tickets, and what it means.
CONDITIONS: Mapping[str, tuple[Rewind, tuple[Control, ...], str]] = {
    "learning rate": ("learning-rate", ("dense",), "Learning rate rewound, weights go on"),
    "weights": (
        "init",
        ("re-initialised", "shuffled", "random"),
        "Weights rewound to their first values",
    ),
}


@dataclass(frozen=True)
class Size:
    """How much is computed at a scale; seeds of weights, whose controls cost most, are fewer."""

    data: str
    unit: float
    lr: float
    keep: float
    rounds: int
    epochs: int
    last_epochs: int
    seeds: Mapping[str, int]


LENET = Size("mnist", MNIST_STD, 0.05, 0.02, 14, 6, 30, {"learning rate": 3, "weights": 1})
SIZES: Mapping[Scale, Size] = {
    "smoke": Size("digits", 1.0, 0.1, 0.2, 2, 8, 8, dict.fromkeys(CONDITIONS, 1)),
    "laptop": LENET,
    "paper": replace(LENET, seeds=dict.fromkeys(CONDITIONS, 3)),
}


def _spec(size: Size, condition: str, seed: int) -> IterateSpec:
    rewind, controls, _ = CONDITIONS[condition]
    common: dict[str, Any] = {
        "dataset": DataSpec.create(name=size.data),
        "width": 300,
        "lr": size.lr,
        "seed": seed,
        "keep": size.keep,
        "rounds": size.rounds,
        "rewind": rewind,
        "controls": controls,
        "unit": size.unit,
    }
    per_epoch = -(-common["dataset"].n_train // IterateSpec.model_fields["batch_size"].default)
    return IterateSpec.create(
        steps=size.epochs * per_epoch, last_steps=size.last_epochs * per_epoch, **common
    )


def _plan(scale: Scale, convention: Convention) -> Plan:
    size = SIZES[scale]
    runs = {
        f"{condition}/{seed}": _spec(size, condition, seed)
        for condition, seeds in size.seeds.items()
        for seed in range(seeds)
    }
    settings: dict[str, str | int | float | bool] = {
        "data": size.data,
        "kappa": size.keep,
        "rounds": size.rounds,
        "epochs a round": size.epochs,
        "epochs of the last training": size.last_epochs,
    }
    notes = (
        "Errors are those of the last iterate on the test set, which chose nothing else; the "
        "optimizer and its settings were chosen among three on seed 0.",
    )
    return Plan(scale, convention, runs, settings, notes)


def measure(spec: Spec, result: dict[str, Any]) -> Iterator[tuple[str, float, float]]:
    """Test errors against the share of weights that they were trained with."""
    del spec
    last, kappa = result["test_accuracy"], result["metrics"]["kappa"]
    for found in result["rounds"]:
        yield ERROR, 1 - found["test_accuracy"], found["kappa"]
    yield ERROR, 1 - last[TICKET], kappa
    for name, accuracy in last.items():
        yield name, 1 - accuracy, 1.0 if name == "dense" else kappa


def _rounds(found: Found, condition: str) -> Table | None:
    frame = found.of(condition, ERROR)
    if not len(frame):
        return None
    columns = [Column(f"seed {seed}", f"seed {seed}", "%", 2) for seed in frame.seeds]
    rows = []
    for kappa, numbers in sorted(frame.group("x").items(), reverse=True):
        cells = [Cell(numbers.by_seed.get(seed), runs=numbers.runs) for seed in frame.seeds]
        mean = Cell(numbers.mean, numbers.std, runs=numbers.runs)
        rows.append((Cell(kappa), *cells, mean))
    return Table(
        CONDITIONS[condition][2],
        (Column("kappa", "kappa", digits=4), *columns, Column("mean", "mean", "%", 2)),
        tuple(rows),
    )


def _controls(names: tuple[str, ...], condition: str, title: str) -> TableSpec:
    metrics = [Metric(name, name, "%", 2) for name in names]
    return TableSpec(title, Column("rewound", "rewound"), metrics, [Line(condition, condition)])


def _panel(found: Found) -> Panel:
    lines = [
        series(
            f"rewinding of {condition}",
            found.of(condition, ERROR).group("x").items(),
            style="line+points",
        )
        for condition in CONDITIONS
    ]
    lines += [
        series(f"control: {name}", found.of("weights", name).group("x").items())
        for name in CONDITIONS["weights"][1]
    ]
    return Panel(
        "LeNet-300-100, iterative magnitude pruning",
        "kappa (kept share of weights)",
        "test error",
        tuple(lines),
        x_log=True,
    )


def _claims(found: Found) -> Iterator[Check]:
    ticket = found.of("weights", TICKET)
    for name in CONDITIONS["weights"][1]:
        control = found.of("weights", name)
        yield checks.compared(
            f"A ticket errs less than its control: {name}",
            control.mean,
            ticket.mean,
            "{:.4f} against {:.4f} of the ticket",
        )
    rewound, dense = found.of("learning rate", TICKET), found.of("learning rate", "dense")
    gap = None if rewound.mean is None or dense.mean is None else rewound.mean - dense.mean
    yield checks.at_most(
        "With the learning rate rewound, the last share costs at most half a point of accuracy",
        gap,
        0.005,
        f"{checks.percent(rewound.mean)} against {checks.percent(dense.mean)} dense",
    ).aside()


STUDY = Item(
    name="study-lottery",
    paper=None,
    kind="study",
    label="Lottery",
    title="LeNet-300-100 on MNIST, pruned to 2 % of its weights in fourteen rounds",
    claim="A ticket found by iterative pruning reads digits better than masks drawn at random, "
    "shuffled masks, and the same masks on other first weights.",
    plan=_plan,
    gather=Gather(
        tables=(
            partial(_rounds, condition="learning rate"),
            _controls(("dense", TICKET), "learning rate", "Dense, trained as long as the ticket"),
            partial(_rounds, condition="weights"),
            _controls((TICKET, *CONDITIONS["weights"][1]), "weights", "Controls of equal size"),
        ),
        panels=(_panel,),
        claims=(_claims,),
        measure=measure,
    ),
)
