"""What figures 1, 5 and 6 share: plans of pruned networks, and their errors by width."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from prunable.experiments.reproduce.items import (
    Cell,
    Check,
    Column,
    Panel,
    Plan,
    Result,
    Series,
    Table,
)
from prunable.experiments.train.specs import TrainSpec
from prunable.papers.chang2020.gathering import Point, percent, points_series
from prunable.papers.chang2020.settings import NetworkSize
from prunable.papers.chang2020.specs import PruneRetrainSpec
from prunable.runs.spec import Spec

Split = Literal["test", "train"]
# Models: the dense one; pruned by magnitude and retrained, from where pruning left off and from
# the initial weights; pruned at random and retrained; pruned by magnitude only.
DENSE, MAGNITUDE, INITIAL, RANDOM, UNTRAINED = (
    "dense",
    "magnitude",
    "from initial weights",
    "random",
    "not retrained",
)
# Test errors closer than this say nothing: 10,000 test examples and few seeds.
MARGIN = 0.01


def dense_spec(size: NetworkSize, width: int, seed: int) -> TrainSpec:
    """Training of the dense network of a width."""
    steps = size.steps(size.epochs)
    return TrainSpec.create(
        dataset={"name": size.dataset, "train_size": size.train_size},
        net=size.net,
        width=width,
        lr=size.lr,
        optimizer="adam",
        batch_size=size.batch_size,
        steps=steps,
        evaluate_every=steps,
        seed=seed,
        augment=size.augment,
    )


def runs_of(
    size: NetworkSize, models: Sequence[str], bases: Sequence[int] | None = None
) -> dict[str, Spec]:
    """Runs behind these models, by keys that say what they are.

    Parameters
    ----------
    size : NetworkSize
    models : sequence of str
        Of DENSE, MAGNITUDE (with UNTRAINED), INITIAL, RANDOM.
    bases : sequence of int, optional
        Widths to prune to; all of the size by default.
    """
    runs: dict[str, Spec] = {}
    steps = size.steps(size.retrain_epochs)
    for seed in size.seeds:
        for width in size.widths:
            dense = dense_spec(size, width, seed)
            if DENSE in models:
                runs[f"dense, width {width}, seed {seed}"] = dense
            for base in size.bases if bases is None else bases:
                if width < base:
                    continue
                made = {
                    MAGNITUDE: PruneRetrainSpec.create(
                        train=dense, base_width=base, retrain_steps=steps
                    )
                }
                if width > base and size.restarts:
                    made[INITIAL] = PruneRetrainSpec.create(
                        train=dense, base_width=base, retrain_steps=steps, restart="initial"
                    )
                if width > base and width in size.random_widths:
                    made[RANDOM] = PruneRetrainSpec.create(
                        train=dense, base_width=base, retrain_steps=steps, method="random"
                    )
                for model, spec in made.items():
                    if model in models:
                        key = f"{model}, width {width} to {base}, seed {seed}"
                        runs[key] = spec
    return runs


@dataclass(frozen=True)
class Errors:
    """Errors of networks over seeds.

    Parameters
    ----------
    rows : mapping of (model, base, width) to list of (test error, training error, run id)
        The base of a dense network is None.
    parameters : mapping of (model, base, width) to int
        Of the dense network, or kept.
    """

    rows: Mapping[tuple[str, int | None, int], list[tuple[float, float, str]]]
    parameters: Mapping[tuple[str, int | None, int], int]

    def curve(self, model: str, base: int | None, split: Split = "test") -> list[Point]:
        """Means over seeds, with standard deviations, in the order of width."""
        widths = sorted(width for one, of, width in self.rows if (one, of) == (model, base))
        return [self.point(model, base, width, split) for width in widths]

    def point(self, model: str, base: int | None, width: int, split: Split = "test") -> Point:
        """Mean over seeds at one width."""
        rows = self.rows[model, base, width]
        values = [test if split == "test" else train for test, train, _ in rows]
        mean = math.fsum(values) / len(values)
        spread = math.fsum((x - mean) ** 2 for x in values) / max(1, len(values) - 1)
        return Point(width, mean, math.sqrt(spread), tuple(row[2] for row in rows))

    def has(self, model: str, base: int | None, width: int) -> bool:
        """Whether there is such a network."""
        return bool(self.rows.get((model, base, width)))


def errors_of(plan: Plan, usable: Mapping[str, Result]) -> Errors:
    """Errors of all networks of a plan that have results."""
    rows: dict[tuple[str, int | None, int], list[tuple[float, float, str]]] = {}
    parameters: dict[tuple[str, int | None, int], int] = {}
    for key, spec in plan.runs.items():
        if key not in usable:
            continue
        metrics = usable[key]["metrics"]
        if isinstance(spec, TrainSpec):
            name: tuple[str, int | None, int] = (DENSE, None, spec.width)
            rows.setdefault(name, []).append(_row(metrics, "", spec))
        elif isinstance(spec, PruneRetrainSpec):
            base, width = spec.base_width, spec.train.width
            model = MAGNITUDE if spec.method == "magnitude" else RANDOM
            if spec.restart == "initial":
                model = INITIAL
            rows.setdefault((model, base, width), []).append(_row(metrics, "", spec))
            parameters[model, base, width] = usable[key]["kept"]
            parameters[DENSE, None, width] = usable[key]["n_parameters"]
            # without pruning there is nothing to compare
            if model == MAGNITUDE:
                rows.setdefault((UNTRAINED, base, width), []).append(_row(metrics, "_pruned", spec))
    return Errors(rows, parameters)


def _row(metrics: Mapping[str, float], suffix: str, spec: Spec) -> tuple[float, float, str]:
    test, train = (1 - metrics[f"{split}_accuracy{suffix}"] for split in ("test", "train"))
    return test, train, spec.run_id


def series_of(
    errors: Errors, model: str, bases: Iterable[int | None], split: Split = "test"
) -> list[Series]:
    """One series a base."""
    found = []
    for base in bases:
        points = errors.curve(model, base, split)
        if points:
            what = model if base is None else f"{model}, to width {base}"
            kind = "" if split == "test" else ", training error"
            found.append(points_series(f"{what}{kind}", points, "line+points"))
    return found


def panel_of(title: str, series: Sequence[Series], label: str = "test error") -> Panel:
    """A panel of errors against the width."""
    return Panel(title, "width k of the dense network", label, tuple(series), x_log=True)


def error_table(errors: Errors, title: str) -> Table:
    """All networks."""
    columns = (
        Column("model", "model"),
        Column("base", "pruned to the size of width", digits=0),
        Column("width", "width k", digits=0),
        Column("parameters", "parameters", digits=0),
        Column("test", "test error", "%", 2),
        Column("train", "training error", "%", 2),
    )
    rows = []
    for name in sorted(errors.rows, key=lambda one: (one[0], one[1] or 0, one[2])):
        model, base, width = name
        cells = [Cell(model), Cell(base), Cell(width), Cell(errors.parameters.get(name))]
        if model == UNTRAINED:
            cells[3] = Cell(errors.parameters.get((MAGNITUDE, base, width)))
        for split in ("test", "train"):
            point = errors.point(model, base, width, split)
            std = point.error if len(point.runs) > 1 else None
            cells.append(Cell(point.value, std, runs=point.runs))
        rows.append(tuple(cells))
    return Table(title, columns, tuple(rows))


def falls(errors: Errors, model: str, base: int | None, split: Split, what: str) -> Check:
    """Check that the error of the widest network is below that of the narrowest."""
    kind = "test" if split == "test" else "training"
    statement = f"The {kind} error of {what} falls as the dense network widens"
    points = errors.curve(model, base, split)
    if len(points) < 2:
        return Check(statement, None, "fewer than two widths")
    return Check(statement, points[-1].value < points[0].value - MARGIN, in_words(points))


def below(
    statement: str, pairs: Iterable[tuple[str, Point, Point]], *, essential: bool = True
) -> Check:
    """Check that the first point of each pair is below the second."""
    found = list(pairs)
    if not found:
        return Check(statement, None, "no results", essential)
    held = sum(one.value < other.value for _, one, other in found)
    text = "; ".join(
        f"{where}: {percent(one.value)} and {percent(other.value)}" for where, one, other in found
    )
    return Check(
        statement, held == len(found), f"{held} of {len(found)} comparisons; {text}", essential
    )


def at_same_width(
    errors: Errors, model: str, other: str, bases: Iterable[int], *, start_above: bool = True
) -> list[tuple[str, Point, Point]]:
    """Test errors of two models at the widths that both have, wider than the base."""
    return [
        (f"width {point.x:.0f} to {base}", point, errors.point(other, base, int(point.x)))
        for base in bases
        for point in errors.curve(model, base)
        if (point.x > base or not start_above) and errors.has(other, base, int(point.x))
    ]


def in_words(points: Sequence[Point]) -> str:
    """Errors by width."""
    return ", ".join(f"{percent(point.value)} at width {point.x:.0f}" for point in points)
