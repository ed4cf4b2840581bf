"""The accuracy of pruned networks before one is chosen, from unlabelled inputs, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from numpy.typing import ArrayLike
from torch import nn

from prunable.errors import InputError, UnsupportedModelError, require
from prunable.forecast.estimators import Check, CurveForecast, forecast_curve
from prunable.forecast.estimators.rows import RowKind
from prunable.forecast.logits import Copies, Examples, Read, Scores, batches_for
from prunable.forecast.stored import Left, StoredScores
from prunable.forecast.texts import Text
from prunable.forecast.ways import (
    KEEPS,
    LANGUAGE,
    LANGUAGE_KEEPS,
    USUAL,
    Way,
    checked_keeps,
    ways_named,
)
from prunable.nets.prune.finishing import has_statistics
from prunable.results import Result, as_plain

SCHEMA_VERSION = 1
WHERE = "forecast"
Output = Literal[
    "classification", "top5", "multilabel", "segmentation", "regression", "embedding", "language"
]
OnPoint = Callable[[int, int, str], None]  # networks done, all, and the way at hand
Holds = Callable[..., bool]  # whether a point, from so many `inputs`, passes its test


@dataclass(frozen=True)
class Point:
    """What to expect of one pruned network; shares, not per cent.

    `parameters` is the share of the network's numbers that stay and are not zero, `macs` that of
    its multiplications by weights that are not. Accuracy and loss
    (dense less pruned) with their intervals are None where no accuracy is known; `retention` is the
    share of decisions that stay as they are. Of language models the figure is the log-perplexity
    in nats a token, `laws` what the divergence of next-token laws says of it, and `tokens` what the
    tokens of the windows say.
    """

    kappa: float
    accuracy: float | None
    low: float | None
    high: float | None
    parameters: float
    macs: float
    loss: float | None
    loss_low: float | None
    loss_high: float | None
    retention: float
    retention_low: float
    retention_high: float
    sampling: float | None = None
    model: float | None = None
    laws: float | None = None
    tokens: float | None = None


@dataclass(frozen=True)
class Curve:
    """One way to prune, from large shares to small.

    `tests` is 1 where all shares asked for were looked at. Where they were searched by halves for
    the smallest that holds a loss, which costs few networks, it is how many such a search takes.
    """

    method: str
    allocation: str
    points: tuple[Point, ...]
    tests: int = 1

    @property
    def name(self) -> str:
        """As `--methods` takes it."""
        return self.method if ":" in self.method else f"{self.method}/{self.allocation}"


@dataclass(frozen=True, repr=False)
class Forecast(Result):
    """Curves of expected accuracy, one a way to prune, and checks of what they assume.

    `skipped` are usual ways that do not suit the network, with the reason.
    """

    model: str
    accuracy: float | None
    inputs: int
    level: float
    kind: Output
    curves: tuple[Curve, ...]
    checks: tuple[Check, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    temperature: float | None = field(default=None)

    def to_dict(self) -> dict[str, Any]:
        """The document of `prunable forecast --json`."""
        return {
            "schema_version": SCHEMA_VERSION,
            **super().to_dict(),
            "skipped": [{"method": name, "reason": reason} for name, reason in self.skipped],
        }

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [
            {"method": curve.method, "allocation": curve.allocation, **as_plain(point)}
            for curve in self.curves
            for point in curve.points
        ]

    def _plots(self) -> Sequence[tuple[str, Sequence[float]]]:
        return [
            (curve.name, [p.retention if p.accuracy is None else p.accuracy for p in curve.points])
            for curve in self.curves
        ]

    def __repr__(self) -> str:
        known = "no accuracy" if self.accuracy is None else f"accuracy {self.accuracy:.1%}"
        if self.kind == "language" and self.accuracy is not None:
            known = f"log-perplexity {self.accuracy:.3f}"
        failed = sum(not check.passed for check in self.checks)
        doubts = f", {failed} of {len(self.checks)} checks failed" if failed else ""
        return (
            f"Forecast({self.model}, {known}: {len(self.curves)} ways from {self.inputs:,} "
            f"inputs{doubts})"
        )


def forecast(
    model: nn.Module,
    inputs: Any,
    *,
    accuracy: float | None = None,
    strategies: Sequence[str] | None = None,
    keeps: Sequence[float] | None = None,
    labels: ArrayLike | None = None,
    kind: Output = "classification",
    level: float = 0.9,
    accuracy_inputs: int | None = None,
    calibration: Any = None,
    store: Path | str | None = None,
    seed: int = 0,
    on_point: OnPoint | None = None,
) -> Forecast:
    """Forecast the accuracy of a network after pruning, from unlabelled inputs.

    The network runs on the inputs, and so does a copy pruned in each way to each share, one at a
    time; it is left untouched itself. Decisions that change are weighed by the dense network's own
    confidence, at the temperature at which its mean is the known accuracy.

    Parameters
    ----------
    inputs : A tensor or array of examples, 30 at least, drawn like those to come; or batches of
        what the model is called with. Of "language" windows of tokens, (n, length), 4 at least.
    accuracy : Of the dense network, a share; without it only the share of decisions that stay is
        told. Of "language" the log-perplexity in nats a token, without it that of the windows.
    strategies : Names such as "magnitude/lamp", "calibrated", "2:4" or "unit"; see `way_named`. By
        default `ways.USUAL`, of which those that do not suit the network are left out.
    keeps : Shares to keep; by default `ways.KEEPS`, of "language" `ways.LANGUAGE_KEEPS`.
    labels : Classes of the inputs, -1 where unknown; they sharpen the forecast. Of "language" they
        are the text itself.
    level : Of the intervals.
    accuracy_inputs : How many examples the known accuracy was measured on.
    calibration : Inputs for ways that go by what flows into layers; by default `inputs`, on which
        what was fitted to them does a little too well.
    store : Folder of what was run, from which an interrupted forecast goes on.
    on_point : Told the number of networks run, of all, and the way.

    Raises
    ------
    InputError : If inputs, labels or accuracy are none, or do not fit the network.
    UnsupportedModelError : If the network cannot be copied or pruned so.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> net = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 3))
    >>> found = forecast(
    ...     net, torch.randn(64, 8), strategies=["magnitude"], keeps=[0.9], accuracy=0.6
    ... )
    >>> found.curves[0].name, found.curves[0].points[0].low < 0.6
    ('magnitude/global', True)
    """
    wanted = Wanted(
        accuracy, strategies, keeps, labels, kind, level, accuracy_inputs, calibration, store, seed
    )
    return forecast_of(model, inputs, wanted, on_point=on_point)


@dataclass(frozen=True, eq=False)
class Wanted:
    """What a forecast is to be of; see `forecast`."""

    accuracy: float | None = None
    strategies: Sequence[str] | None = None
    keeps: Sequence[float] | None = None
    labels: ArrayLike | None = None
    kind: Output = "classification"
    level: float = 0.9
    accuracy_inputs: int | None = None
    calibration: Any = None
    store: Path | str | None = None
    seed: int = 0
    beside: tuple[str, ...] = ()  # ways beside the usual ones

    @property
    def ways(self) -> tuple[Way, ...]:
        """The ways by their names, those that are cheap to prune first."""
        usual = (*(LANGUAGE if self.kind == "language" else USUAL), *self.beside)
        names = usual if self.strategies is None else self.strategies
        return tuple(sorted(ways_named(names, WHERE, self.kind), key=lambda way: way.refits))

    @property
    def shares(self) -> tuple[float, ...]:
        """The shares to keep, falling."""
        usual = LANGUAGE_KEEPS if self.kind == "language" else KEEPS
        return checked_keeps(usual if self.keeps is None else self.keeps, WHERE)


def forecast_of(
    model: nn.Module,
    inputs: Any,
    wanted: Wanted,
    *,
    holds: Holds | None = None,
    on_point: OnPoint | None = None,
) -> Forecast:
    """Forecast what is wanted; with `holds` ways that refit are searched by halves for its edge."""
    ways, asked, kind = wanted.ways, wanted.shares, wanted.kind
    read = read_for(model, inputs, kind)
    known = StoredScores.of(wanted.store, model, read.batches, wanted.seed, wanted.calibration)
    dense = known.of_network("dense", 1.0, lambda: (read.scores(model), (1.0, 1.0)))[0]
    settings: dict[str, Any] = {
        "accuracy": wanted.accuracy,
        "labels": wanted.labels,
        "level": wanted.level,
        "kind": kind,
        "accuracy_inputs": wanted.accuracy_inputs,
    }
    # what is wrong with the inputs is said before anything is pruned
    base = forecast_curve(dense, (), (), **settings)
    job = _Job(Copies(model, read, wanted.calibration, wanted.seed), known, on_point)
    sought = {way: len(way.keeps(asked)).bit_length() for way in ways if way.refits and holds}
    job.total = sum(sought.get(way, len(way.keeps(asked))) for way in ways)
    curves, skipped = [], []
    for way in ways:
        try:
            if holds is not None and way in sought:
                test = partial(holds, tests=sought[way], ways=len(ways), inputs=base.inputs)
                curves.append(job.edge(way, way.keeps(asked), dense, settings, test))
            else:
                curves.append(job.curve(way, way.keeps(asked), dense, settings))
        except (InputError, UnsupportedModelError) as error:
            if wanted.strategies is not None:
                raise
            skipped.append((way.name, str(error)))
    require(curves, "model", WHERE, "a network that can be pruned", type(model).__name__)
    return Forecast(
        type(model).__name__,
        base.accuracy,
        base.inputs,
        wanted.level,
        kind,
        tuple(curves),
        (*base.checks, *_fitted_elsewhere(ways, wanted.calibration)),
        tuple(skipped),
        base.temperature,
    )


class _Job:
    """Runs pruned copies for one forecast."""

    total = 0

    def __init__(self, copies: Copies, known: StoredScores, on_point: OnPoint | None) -> None:
        self.copies, self.known, self.on_point, self.done = copies, known, on_point, 0

    def curve(
        self, way: Way, keeps: Sequence[float], dense: Scores, settings: Mapping[str, Any]
    ) -> Curve:
        """The forecast of one way."""
        left: list[Left] = []
        read, model = self.copies.read, self.copies.model
        if way.needs_inputs and has_statistics(model) and settings["kind"] in get_args(RowKind):

            def run() -> tuple[Scores, Left]:
                return read.scores(self.copies.renewed()), (1.0, 1.0)

            settings = {**settings, "renewed": self.known.of_network("renewed", 1.0, run)[0]}
        found = forecast_curve(dense, self.runs(way, keeps, left), keeps, **settings)
        return Curve(way.method, way.allocation, points_of(found, left))

    def edge(
        self,
        way: Way,
        keeps: Sequence[float],
        dense: Scores,
        settings: Mapping[str, Any],
        holds: Callable[[Point], bool],
    ) -> Curve:
        """The forecast around the smallest share that holds, found by halves."""
        points: list[Point] = []
        low, high = 0, len(keeps)
        while low < high:
            middle = (low + high) // 2
            points += self.curve(way, keeps[middle : middle + 1], dense, settings).points
            low, high = (middle + 1, high) if holds(points[-1]) else (low, middle)
        points.sort(key=lambda point: -point.kappa)
        return Curve(way.method, way.allocation, tuple(points), len(keeps).bit_length())

    def runs(self, way: Way, keeps: Sequence[float], left: list[Left]) -> Iterator[Scores]:
        """Scores of each copy; what is left of it goes into `left`."""
        for keep in keeps:
            if self.on_point is not None:
                self.on_point(self.done, self.total, way.name)
            found, shares = self.known.of_network(way.name, keep, partial(self.run, way, keep))
            self.done += 1
            left.append(shares)
            yield found

    def run(self, way: Way, keep: float) -> tuple[Scores, Left]:
        """One copy's scores, and the shares that are left of it."""
        copy = self.copies.pruned(way, keep)
        return self.copies.read.scores(copy.model), (copy.parameters, copy.macs)


def read_for(model: nn.Module, inputs: Any, kind: Output) -> Read:
    """What a model is run on, of inputs as `forecast` takes them."""
    if kind == "language":
        return Text.of(model, inputs)
    return Examples(batches_for(model, inputs), kind)


def points_of(found: CurveForecast, left: Sequence[Left]) -> tuple[Point, ...]:
    """What is forecast of each copy, with the shares that are left of it."""
    return tuple(
        Point(
            kappa=one.kappa,
            accuracy=one.value,
            low=one.low,
            high=one.high,
            parameters=parameters,
            macs=macs,
            loss=one.loss,
            loss_low=one.loss_low,
            loss_high=one.loss_high,
            retention=one.retention,
            retention_low=one.retention_low,
            retention_high=one.retention_high,
            sampling=one.sampling,
            model=one.model,
            laws=one.laws,
            tokens=one.tokens,
        )
        for one, (parameters, macs) in zip(found.points, left, strict=True)
    )


def _fitted_elsewhere(ways: Sequence[Way], calibration: Any) -> tuple[Check, ...]:
    """Whether weights were fitted to the very inputs that judge them."""
    fitted = [way.name for way in ways if way.refits]
    if not fitted:
        return ()
    name = "judged on other inputs than fitted to"
    if calibration is not None:
        return (Check(name, True, f"{', '.join(fitted)}: fitted to inputs of their own"),)
    said = (
        f"{', '.join(fitted)}: fitted to the same inputs, on which they do a little better than on "
        "others; give inputs of their own"
    )
    return (Check(name, False, said),)
