"""Figures 1, 5 and 6: networks of changing width, pruned to the size of a base network."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal

from prunable.experiments.reproduce.checks import percent, undecided
from prunable.experiments.reproduce.document import Cell, Check, Column, Panel, Series, Table
from prunable.experiments.reproduce.frame import Found, Frame, Result
from prunable.experiments.reproduce.items import Gather, Item
from prunable.papers.chang2020.points import Point, least, points_series
from prunable.papers.chang2020.settings import (
    DENSE,
    INITIAL,
    MAGNITUDE,
    PAPER,
    PUBLISHED,
    RANDOM,
    RESNET,
    TWO_LAYER,
    UNTRAINED,
    condition_of,
    network_plan,
)
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


class Errors(Found):
    """Errors of networks over seeds."""

    @property
    def bases(self) -> list[int]:
        """Widths that networks are pruned to the size of."""
        return self._listed("base widths")

    @property
    def widths(self) -> list[int]:
        return sorted(self._listed("dense widths"))

    def _listed(self, name: str) -> list[int]:
        return [int(part) for part in str(self.plan.settings[name]).split(",")]

    def _frame(self, model: str, base: int | None, width: int, metric: str) -> Frame:
        suffix = "_pruned" if model == UNTRAINED and metric in SPLITS else ""
        return self.of(condition_of(model, base, width), f"{metric}{suffix}")

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

    def from_base(self, model: str, base: int) -> list[Point]:
        """The network of the base width itself and wider ones of a model; none without both."""
        own = self.at(model, base, base) or self.at(MAGNITUDE, base, base)
        wider = [point for point in self.curve(model, base) if point.x > base]
        return [own, *wider] if own is not None and wider else []

    def beside(self, model: str, other: str) -> list[tuple[str, Point, Point]]:
        """Test errors of two models at the widths that both have, wider than the base."""
        return [
            (f"width {point.x:.0f} to {base}", point, beside)
            for base in self.bases
            for point in self.curve(model, base)
            if point.x > base and (beside := self.at(other, base, int(point.x))) is not None
        ]

    def fall(self, base: int | None) -> list[Check]:
        """Whether both errors fall with the width, of dense networks or those pruned to a size."""
        pruned = f"networks pruned to the size of width {base} and retrained"
        what, model = ("dense networks", DENSE) if base is None else (pruned, MAGNITUDE)
        return [
            _change(
                f"The {KINDS[split]} error of {what} falls as the dense network widens",
                self.curve(model, base, split),
                _falls,
            )
            for split in SPLITS
        ]

    def series(self, *models: str, split: Split = "test") -> list[Series]:
        found = []
        for model in models:
            for base in (None,) if model == DENSE else self.bases:
                what = model if base is None else f"{model}, to width {base}"
                kind = "" if split == "test" else ", training error"
                if points := self.curve(model, base, split):
                    found.append(points_series(f"{what}{kind}", points, "line+points"))
        return found


def _panel(title: str, series: Sequence[Series], label: str = "test error") -> Panel:
    return Panel(title, "width k of the dense network", label, tuple(series), x_log=True)


def _error_table(errors: Errors) -> Table:
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


def _below(statement: str, pairs: Sequence[tuple[str, Point, Point]]) -> Check:
    """Check that the first point of each pair is below the second."""
    if not pairs:
        return undecided(statement)
    held = sum(one.value < other.value for _, one, other in pairs)
    text = "; ".join(
        f"{where}: {_percent(one)} and {_percent(other)}" for where, one, other in pairs
    )
    return Check(statement, held == len(pairs), f"{held} of {len(pairs)} comparisons; {text}")


def _change(statement: str, points: Sequence[Point], holds: Callable[[float], bool]) -> Check:
    """Judge by how much the error of the widest network is above that of the narrowest."""
    if len(points) < 2:
        return undecided(statement, "fewer than two widths")
    rise = points[-1].value - points[0].value
    return Check(statement, holds(rise), _in_words(points))


def _falls(rise: float) -> bool:
    return rise < -MARGIN


def _in_words(points: Sequence[Point]) -> str:
    return ", ".join(f"{_percent(point)} at width {point.x:.0f}" for point in points)


def _percent(point: Point) -> str:
    return percent(point.value, 1)


def _claims_1(errors: Errors) -> Iterator[Check]:
    yield from errors.fall(None)
    for base in errors.bases:
        yield from errors.fall(base)
        yield _change(
            f"A larger network pruned to the size of width {base} has a lower test error than the "
            "network of that width, trained as long",
            errors.from_base(MAGNITUDE, base),
            _falls,
        )
    yield _near_dense(errors, max(errors.bases))
    yield _double_descent(errors)
    yield from (_fits_where_dense_fits(errors, base) for base in errors.bases)


def _panels_1(errors: Errors) -> Iterator[Panel]:
    for split in SPLITS:
        kind = f"{KINDS[split]} error"
        series = errors.series(DENSE, MAGNITUDE, split=split)
        yield _panel(kind.capitalize(), series, kind)


def _targets(errors: Errors) -> Table:
    """Parameters of the base networks beside those the paper states."""
    facts = PUBLISHED.items["fig1"]
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


def _near_dense(errors: Errors, base: int) -> Check:
    statement = (
        f"At the largest target, width {base}, the best pruned network comes within 2 points of "
        "the best dense one"
    )
    sparse, dense = errors.curve(MAGNITUDE, base), errors.curve(DENSE, None)
    if not sparse or not dense:
        return undecided(statement).aside()
    one, other = least(sparse), least(dense)
    text = (
        f"pruned {percent(one.value, 1)} from width {one.x:.0f}, dense {percent(other.value, 1)} "
        f"at width {other.x:.0f}"
    )
    return Check(statement, one.value < other.value + 0.02, text).aside()


def _double_descent(errors: Errors) -> Check:
    statement = "The test error of dense networks falls, rises and falls again as they widen"
    points, fitted = errors.curve(DENSE, None), errors.curve(DENSE, None, "train")
    if len(points) < 4 or least(fitted).value > INTERPOLATES:
        said = f"; least training error {percent(least(fitted).value, 1)}" if fitted else ""
        why = f"needs networks that fit their training data{said}"
        return undecided(statement, why).aside()
    values = [point.value for point in points]
    rises = any(
        values[i] > min(values[:i]) + MARGIN / 2 and min(values[i:]) < values[i] - MARGIN / 2
        for i in range(1, len(values) - 1)
    )
    return Check(statement, rises, _in_words(points)).aside()


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
        return undecided(statement, "no dense network fits its data").aside()
    holds = bool(pruned) and pruned[0] <= 1.5 * max(dense[0], base)
    first = f"{pruned[0]:.0f}" if pruned else "none"
    text = f"dense from width {dense[0]:.0f}, pruned from {first}"
    return Check(statement, holds, text).aside()


def _claims_5(errors: Errors) -> Iterator[Check]:
    yield _below(
        "(a) Weights kept by magnitude give a lower test error than weights kept at random",
        errors.beside(MAGNITUDE, RANDOM),
    )
    for base in errors.bases:
        yield _change(
            f"(a) With random masks to the size of width {base}, widening still helps",
            errors.curve(RANDOM, base),
            lambda rise: rise < 0,
        ).aside()
    yield _below(
        "(b) Retraining lowers the test error of every pruned network",
        errors.beside(MAGNITUDE, UNTRAINED),
    )
    for base in errors.bases:
        yield _change(
            f"(b) Without retraining, widening beyond width {base} does not help",
            errors.from_base(UNTRAINED, base),
            lambda rise: rise >= 0,
        )


def _panels_5(errors: Errors) -> Iterator[Panel]:
    yield _panel("(a) kept by magnitude, and at random", errors.series(DENSE, MAGNITUDE, RANDOM))
    yield _panel("(b) retrained, and not", errors.series(MAGNITUDE, UNTRAINED))
    fitted = errors.series(DENSE, MAGNITUDE, RANDOM, split="train")
    yield _panel("Training errors", fitted, "training error")


def _claims_6(errors: Errors) -> Iterator[Check]:
    for base in (None, *errors.bases):
        yield from errors.fall(base)
    yield _no_double_descent(errors)
    yield _below(
        "Weights kept by magnitude give a lower test error than weights kept at random",
        errors.beside(MAGNITUDE, RANDOM),
    )
    for base in errors.bases:
        yield _change(
            f"With random masks to the size of width {base}, the widest network does worse than "
            "the one of the base width itself",
            errors.from_base(RANDOM, base),
            lambda rise: rise > MARGIN,
        )
    yield _below(
        "Retraining lowers the test error of every pruned network",
        errors.beside(MAGNITUDE, UNTRAINED),
    )
    for base in errors.bases:
        # what the paper leaves open does not matter for its claim
        yield _change(
            f"Retrained from the initial weights, the widest network pruned to the size of width "
            f"{base} beats the one of that width too",
            errors.from_base(INITIAL, base),
            _falls,
        ).aside()


def _no_double_descent(errors: Errors) -> Check:
    statement = "No double descent: the test error of dense networks never rises by a point"
    points = errors.curve(DENSE, None)
    if len(points) < 3:
        return undecided(statement, "fewer than three widths").aside()
    rise = max(b.value - a.value for i, a in enumerate(points) for b in points[i + 1 :])
    return Check(statement, rise < MARGIN, _in_words(points)).aside()


def _panels_6(errors: Errors) -> Iterator[Panel]:
    solid = errors.series(DENSE, MAGNITUDE)
    fitted = errors.series(DENSE, MAGNITUDE, split="train")
    yield _panel("(a) test and training error", [*solid, *fitted], "error")
    yield _panel("(b) kept by magnitude, and at random", [*solid, *errors.series(RANDOM)])
    yield _panel("(c) retrained, and not", [*solid, *errors.series(UNTRAINED)])
    yield _panel(
        "Beyond the paper: retrained from the initial weights", [*solid, *errors.series(INITIAL)]
    )


FIGURES = (
    Item.of(
        PAPER,
        "Figure 1",
        "ResNet-20 of width k, dense and pruned to the size of a base network",
        "Training a larger network, pruning and retraining it gives a lower error than training a "
        "network of that size; the errors of pruned networks follow those of dense ones, double "
        "descent included.",
        partial(network_plan, RESNET, (DENSE, MAGNITUDE)),
        Gather((_targets, _error_table), (_panels_1,), (_claims_1,), measure=_measure, view=Errors),
    ),
    Item.of(
        PAPER,
        "Figure 5",
        "ResNet-20: random masks, and pruning without retraining",
        "Random masks do worse than magnitude; without retraining the error is much larger and "
        "does not gain from width.",
        partial(network_plan, RESNET, (DENSE, MAGNITUDE, RANDOM)),
        Gather((_error_table,), (_panels_5,), (_claims_5,), measure=_measure, view=Errors),
    ),
    Item.of(
        PAPER,
        "Figure 6",
        "Two-layer networks of width k on MNIST, pruned by magnitude, at random, not retrained",
        "Larger networks, pruned by magnitude and retrained, are better at the same size; random "
        "masks get worse with width; without retraining pruned networks are poor; there is no "
        "double descent.",
        partial(network_plan, TWO_LAYER, (DENSE, MAGNITUDE, INITIAL, RANDOM)),
        Gather((_error_table,), (_panels_6,), (_claims_6,), measure=_measure, view=Errors),
    ),
)
