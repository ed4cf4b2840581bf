"""Figures 1, 5 and 6: networks of changing width, pruned to the size of a base network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from prunable.experiments.reproduce.checks import percent, undecided
from prunable.experiments.reproduce.document import Cell, Check, Column, Panel, Series, Table
from prunable.experiments.reproduce.frame import Found, Frame, Result
from prunable.experiments.reproduce.items import Gather, Item
from prunable.papers.chang2020.plans import (
    DENSE,
    INITIAL,
    MAGNITUDE,
    RANDOM,
    UNTRAINED,
    condition_of,
    network_plan,
)
from prunable.papers.chang2020.points import NOTHING, Point, least, points_series
from prunable.papers.chang2020.settings import PAPER, PUBLISHED, RESNET, TWO_LAYER
from prunable.papers.chang2020.specs import PruneRetrainSpec
from prunable.runs.spec import Spec

Split = Literal["test", "train"]
SPLITS: tuple[Split, ...] = ("test", "train")
KINDS = {"test": "test", "train": "training"}
# Test errors closer than this say nothing: 10,000 test examples and few seeds.
MARGIN = 0.01
# Below this training error a network fits its data, and double descent can be looked for.
INTERPOLATES = 0.02


def _measure(spec: Spec, result: Result) -> Iterator[tuple[Any, ...]]:
    """Errors, those before retraining with "_pruned", and numbers of parameters."""
    for suffix in ("_pruned", "") if isinstance(spec, PruneRetrainSpec) else ("",):
        for split in SPLITS:
            yield f"{split}{suffix}", 1 - result["metrics"][f"{split}_accuracy{suffix}"]
    if isinstance(spec, PruneRetrainSpec):
        yield "kept", result["kept"]
        yield "n_parameters", result["n_parameters"]


@dataclass(frozen=True)
class Errors:
    """Errors of networks over seeds."""

    found: Found

    @property
    def bases(self) -> list[int]:
        """Widths that networks are pruned to the size of."""
        return self._listed("base widths")

    @property
    def widths(self) -> list[int]:
        """Of the dense networks."""
        return sorted(self._listed("dense widths"))

    def _listed(self, name: str) -> list[int]:
        return [int(part) for part in str(self.found.plan.settings[name]).split(",")]

    def _frame(self, model: str, base: int | None, width: int, metric: str) -> Frame:
        suffix = "_pruned" if model == UNTRAINED and metric in SPLITS else ""
        return self.found.of(condition_of(model, base, width), f"{metric}{suffix}")

    def at(self, model: str, base: int | None, width: int, split: Split = "test") -> Point | None:
        """Mean over seeds at one width with its standard deviation."""
        frame = self._frame(model, base, width, split)
        return (
            None if frame.mean is None else Point(width, frame.mean, frame.std or 0.0, frame.runs)
        )

    def curve(self, model: str, base: int | None, split: Split = "test") -> list[Point]:
        """In the order of width."""
        points = (self.at(model, base, width, split) for width in self.widths)
        return [point for point in points if point is not None]

    def parameters(self, model: str, base: int | None, width: int) -> float | None:
        """Kept, or all of a dense network."""
        if base is not None:
            return next(iter(self._frame(model, base, width, "kept").values), None)
        frames = (
            self._frame(pruned, known, width, "n_parameters")
            for pruned in (MAGNITUDE, INITIAL, RANDOM)
            for known in self.bases
        )
        return next((value for frame in frames for value in frame.values), None)

    def at_same_width(
        self, model: str, other: str, *, start_above: bool = True
    ) -> list[tuple[str, Point, Point]]:
        """Test errors of two models at the widths that both have, wider than the base."""
        return [
            (f"width {point.x:.0f} to {base}", point, beside)
            for base in self.bases
            for point in self.curve(model, base)
            if (point.x > base or not start_above)
            and (beside := self.at(other, base, int(point.x))) is not None
        ]

    def falls(self, model: str, base: int | None, split: Split, what: str) -> Check:
        """Check that the error of the widest network is _below that of the narrowest."""
        statement = f"The {KINDS[split]} error of {what} falls as the dense network widens"
        points = self.curve(model, base, split)
        if len(points) < 2:
            return undecided(statement, "fewer than two widths")
        return Check(statement, points[-1].value < points[0].value - MARGIN, _in_words(points))

    def all_fall(self, base: int | None) -> list[Check]:
        """Check it of both errors, of the dense networks or those pruned to a size."""
        if base is None:
            return [self.falls(DENSE, None, split, "dense networks") for split in SPLITS]
        what = f"networks pruned to the size of width {base} and retrained"
        return [self.falls(MAGNITUDE, base, split, what) for split in SPLITS]

    def series(self, *models: str, split: Split = "test") -> list[Series]:
        """One series for each model and base."""
        found = []
        for model in models:
            for base in (None,) if model == DENSE else self.bases:
                what = model if base is None else f"{model}, to width {base}"
                kind = "" if split == "test" else ", training error"
                if points := self.curve(model, base, split):
                    found.append(points_series(f"{what}{kind}", points, "line+points"))
        return found


def _panel(title: str, series: Sequence[Series], label: str = "test error") -> Panel:
    """A panel of errors against the width."""
    return Panel(title, "width k of the dense network", label, tuple(series), x_log=True)


def _error_table(found: Found) -> Table:
    """All networks."""
    errors = Errors(found)
    columns = (
        Column("model", "model"),
        Column("base", "pruned to the size of width", digits=0),
        Column("width", "width k", digits=0),
        Column("parameters", "parameters", digits=0),
        Column("test", "test error", "%", 2),
        Column("train", "training error", "%", 2),
    )
    rows = []
    for model in sorted((DENSE, MAGNITUDE, INITIAL, RANDOM, UNTRAINED)):
        for base in (None,) if model == DENSE else sorted(errors.bases):
            for point in errors.curve(model, base):
                width = int(point.x)
                cells = [Cell(model), Cell(base), Cell(width)]
                cells.append(Cell(errors.parameters(model, base, width)))
                for one in (point, errors.at(model, base, width, "train")):
                    assert one is not None
                    std = one.error if len(one.runs) > 1 else None
                    cells.append(Cell(one.value, std, runs=one.runs))
                rows.append(tuple(cells))
    return Table("Errors", columns, tuple(rows))


def _below(
    statement: str, pairs: Iterable[tuple[str, Point, Point]], *, essential: bool = True
) -> Check:
    """Check that the first point of each pair is _below the second."""
    found = list(pairs)
    if not found:
        return undecided(statement, NOTHING, essential=essential)
    held = sum(one.value < other.value for _, one, other in found)
    text = "; ".join(
        f"{where}: {_percent(one)} and {_percent(other)}" for where, one, other in found
    )
    evidence = f"{held} of {len(found)} comparisons; {text}"
    return Check(statement, held == len(found), evidence, essential)


def _in_words(points: Sequence[Point]) -> str:
    """Errors by width."""
    return ", ".join(f"{_percent(point)} at width {point.x:.0f}" for point in points)


def _percent(point: Point) -> str:
    return percent(point.value, 1)


def _claims_1(found: Found) -> Iterator[Check]:
    errors = Errors(found)
    yield from errors.all_fall(None)
    for base in errors.bases:
        yield from errors.all_fall(base)
        yield _beats_base(errors, base)
    yield _near_dense(errors, max(errors.bases))
    yield _double_descent(errors)
    yield from (_fits_where_dense_fits(errors, base) for base in errors.bases)


def _panels_1(found: Found) -> Iterator[Panel]:
    for split in SPLITS:
        kind = f"{KINDS[split]} error"
        series = Errors(found).series(DENSE, MAGNITUDE, split=split)
        yield _panel(kind.capitalize(), series, kind)


def _targets(found: Found) -> Table:
    """Parameters of the base networks beside those the paper states."""
    facts, errors = PUBLISHED.items["fig1"], Errors(found)
    targets = facts.stated["parameter_targets"]
    stated = dict(zip(facts.inferred["base_widths"], targets, strict=True))
    columns = (
        Column("base", "base width", digits=0),
        Column("parameters", "parameters kept", digits=0),
    )
    rows = tuple(
        (Cell(base), Cell(errors.parameters(MAGNITUDE, base, base), published=stated.get(base)))
        for base in errors.bases
    )
    return Table("Sparsity targets", columns, rows)


def _beats_base(errors: Errors, base: int) -> Check:
    """Pruning a larger network beats training one of that size at once."""
    statement = (
        f"A larger network pruned to the size of width {base} has a lower test error than the "
        "network of that width, trained as long"
    )
    points = errors.curve(MAGNITUDE, base)
    small = [point for point in points if point.x == base]
    larger = [point for point in points if point.x > base]
    if not small or not larger:
        return undecided(statement, NOTHING)
    return Check(
        statement,
        larger[-1].value < small[0].value - MARGIN,
        f"{percent(small[0].value, 1)} at width {base}; pruned: {_in_words(larger)}",
    )


def _near_dense(errors: Errors, base: int) -> Check:
    statement = (
        f"At the largest target, width {base}, the best pruned network comes within 2 points of "
        "the best dense one"
    )
    sparse, dense = errors.curve(MAGNITUDE, base), errors.curve(DENSE, None)
    if not sparse or not dense:
        return undecided(statement, NOTHING, essential=False)
    one, other = least(sparse), least(dense)
    text = (
        f"pruned {percent(one.value, 1)} from width {one.x:.0f}, dense {percent(other.value, 1)} "
        f"at width {other.x:.0f}"
    )
    return Check(statement, one.value < other.value + 0.02, text, essential=False)


def _double_descent(errors: Errors) -> Check:
    statement = "The test error of dense networks falls, rises and falls again as they widen"
    points, fitted = errors.curve(DENSE, None), errors.curve(DENSE, None, "train")
    if len(points) < 4 or least(fitted).value > INTERPOLATES:
        said = f"; least training error {percent(least(fitted).value, 1)}" if fitted else ""
        why = f"needs networks that fit their training data{said}"
        return undecided(statement, why, essential=False)
    values = [point.value for point in points]
    rises = any(
        values[i] > min(values[:i]) + MARGIN / 2 and min(values[i:]) < values[i] - MARGIN / 2
        for i in range(1, len(values) - 1)
    )
    return Check(statement, rises, _in_words(points), essential=False)


def _fits_where_dense_fits(errors: Errors, base: int) -> Check:
    statement = (
        f"Networks pruned to the size of width {base} fit their training data from the width on "
        "at which dense ones do"
    )
    dense, pruned = (
        [p.x for p in errors.curve(model, of, "train") if p.value <= INTERPOLATES]
        for model, of in ((DENSE, None), (MAGNITUDE, base))
    )
    if not dense:
        return undecided(statement, "no dense network fits its data", essential=False)
    holds = bool(pruned) and pruned[0] <= 1.5 * max(dense[0], base)
    first = f"{pruned[0]:.0f}" if pruned else "none"
    text = f"dense from width {dense[0]:.0f}, pruned from {first}"
    return Check(statement, holds, text, essential=False)


def _claims_5(found: Found) -> Iterator[Check]:
    errors = Errors(found)
    yield _below(
        "(a) Weights kept by magnitude give a lower test error than weights kept at random",
        errors.at_same_width(MAGNITUDE, RANDOM),
    )
    for base in errors.bases:
        statement = f"(a) With random masks to the size of width {base}, widening still helps"
        points = errors.curve(RANDOM, base)
        if len(points) < 2:
            yield undecided(statement, "fewer than two widths", essential=False)
        else:
            falls = points[-1].value < points[0].value
            yield Check(statement, falls, _in_words(points), essential=False)
    yield _below(
        "(b) Retraining lowers the test error of every pruned network",
        errors.at_same_width(MAGNITUDE, UNTRAINED),
    )
    for base in errors.bases:
        statement = f"(b) Without retraining, widening beyond width {base} does not help"
        points = errors.curve(UNTRAINED, base)
        if len(points) < 2 or points[0].x != base:
            yield undecided(statement, "fewer than two widths")
        else:
            yield Check(statement, points[-1].value >= points[0].value, _in_words(points))


def _panels_5(found: Found) -> Iterator[Panel]:
    errors = Errors(found)
    yield _panel("(a) kept by magnitude, and at random", errors.series(DENSE, MAGNITUDE, RANDOM))
    yield _panel("(b) retrained, and not", errors.series(MAGNITUDE, UNTRAINED))
    fitted = errors.series(DENSE, MAGNITUDE, RANDOM, split="train")
    yield _panel("Training errors", fitted, "training error")


def _claims_6(found: Found) -> Iterator[Check]:
    errors = Errors(found)
    for base in (None, *errors.bases):
        yield from errors.all_fall(base)
    yield _no_double_descent(errors)
    yield _below(
        "Weights kept by magnitude give a lower test error than weights kept at random",
        errors.at_same_width(MAGNITUDE, RANDOM),
    )
    for base in errors.bases:
        yield _against_base(
            f"With random masks to the size of width {base}, the widest network does worse than "
            "the one of the base width itself",
            errors,
            (RANDOM, base),
            worse=True,
        )
    yield _below(
        "Retraining lowers the test error of every pruned network",
        errors.at_same_width(MAGNITUDE, UNTRAINED),
    )
    for base in errors.bases:
        # what the paper leaves open does not matter for its claim
        yield _against_base(
            f"Retrained from the initial weights, the widest network pruned to the size of width "
            f"{base} beats the one of that width too",
            errors,
            (INITIAL, base),
            worse=False,
        )


def _no_double_descent(errors: Errors) -> Check:
    statement = "No double descent: the test error of dense networks never rises by a point"
    points = errors.curve(DENSE, None)
    if len(points) < 3:
        return undecided(statement, "fewer than three widths", essential=False)
    rise = max(b.value - a.value for i, a in enumerate(points) for b in points[i + 1 :])
    return Check(statement, rise < MARGIN, _in_words(points), essential=False)


def _against_base(statement: str, errors: Errors, which: tuple[str, int], *, worse: bool) -> Check:
    """Hold the widest network of a model and base against that of the base width itself."""
    points, whole = errors.curve(*which), errors.curve(MAGNITUDE, which[1])
    if not points or not whole or whole[0].x != which[1]:
        return undecided(statement, NOTHING, essential=worse)
    rise = points[-1].value - whole[0].value
    holds = rise > MARGIN if worse else rise < -MARGIN
    return Check(statement, holds, _in_words([whole[0], *points]), essential=worse)


def _panels_6(found: Found) -> Iterator[Panel]:
    errors = Errors(found)
    solid = errors.series(DENSE, MAGNITUDE)
    fitted = errors.series(DENSE, MAGNITUDE, split="train")
    yield _panel("(a) test and training error", [*solid, *fitted], "error")
    yield _panel("(b) kept by magnitude, and at random", [*solid, *errors.series(RANDOM)])
    yield _panel("(c) retrained, and not", [*solid, *errors.series(UNTRAINED)])
    yield _panel(
        "Beyond the paper: retrained from the initial weights", [*solid, *errors.series(INITIAL)]
    )


FIGURES = (
    Item(
        "chang2020-fig1",
        PAPER,
        "figure",
        "Figure 1",
        "ResNet-20 of width k, dense and pruned to the size of a base network",
        "Training a larger network, pruning and retraining it gives a lower error than training a "
        "network of that size; the errors of pruned networks follow those of dense ones, double "
        "descent included.",
        partial(network_plan, RESNET, (DENSE, MAGNITUDE)),
        Gather((_targets, _error_table), (_panels_1,), (_claims_1,), measure=_measure),
    ),
    Item(
        "chang2020-fig5",
        PAPER,
        "figure",
        "Figure 5",
        "ResNet-20: random masks, and pruning without retraining",
        "Random masks do worse than magnitude; without retraining the error is much larger and "
        "does not gain from width.",
        partial(network_plan, RESNET, (DENSE, MAGNITUDE, RANDOM)),
        Gather((_error_table,), (_panels_5,), (_claims_5,), measure=_measure),
    ),
    Item(
        "chang2020-fig6",
        PAPER,
        "figure",
        "Figure 6",
        "Two-layer networks of width k on MNIST, pruned by magnitude, at random, not retrained",
        "Larger networks, pruned by magnitude and retrained, are better at the same size; random "
        "masks get worse with width; without retraining pruned networks are poor; there is no "
        "double descent.",
        partial(network_plan, TWO_LAYER, (DENSE, MAGNITUDE, INITIAL, RANDOM)),
        Gather((_error_table,), (_panels_6,), (_claims_6,), measure=_measure),
    ),
)
