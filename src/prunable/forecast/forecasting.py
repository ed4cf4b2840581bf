"""The accuracy of pruned networks before one is chosen, from unlabelled inputs, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

from numpy.typing import ArrayLike
from torch import nn

from prunable.arguments import checked
from prunable.errors import InputError, UnsupportedModelError, require
from prunable.forecast.estimators import Check, CurveForecast, forecast_curve
from prunable.forecast.estimators.checks import FAR_FROM_CHANCE
from prunable.forecast.estimators.rows import RowKind
from prunable.forecast.logits import Copies, Examples, Read, Scores, batches_for
from prunable.forecast.propagated import propagated, ranked
from prunable.forecast.results import Curve, Forecast, Point, points_of
from prunable.forecast.stored import Left, StoredScores
from prunable.forecast.texts import Text
from prunable.forecast.wanted import WHERE, OnPoint, Output, Speed, Wanted
from prunable.forecast.ways import Way
from prunable.nets.prune.finishing import has_statistics

Holds = Callable[..., bool]  # whether a point, from so many `inputs`, passes its test


@checked("forecast")
def forecast(
    model: nn.Module,
    inputs: Any = None,
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
    speed: Speed = "exact",
    input_shape: Sequence[int] | None = None,
    on_point: OnPoint | None = None,
) -> Forecast:
    """Forecast the accuracy of a network after pruning, from unlabelled inputs.

    The network runs on the inputs, and so does a copy pruned in each way to each share, one at a
    time; it is left untouched itself. Decisions that change are weighed by the dense network's own
    confidence, at the temperature at which its mean is the known accuracy.

    Raises InputError if inputs, labels or accuracy are none, or do not fit the network;
    UnsupportedModelError if the network cannot be copied or pruned so.

    Parameters
    ----------
    inputs : A tensor or array of examples, 30 at least, drawn like those to come; or batches of
        what the model is called with. Of "language" windows of tokens, (n, length), 4 at least.
        None at speed propagated, with an `input_shape` (without the axis of examples): ways and
        layers are ranked by what they do to the outputs of Gaussian inputs, and no accuracy told.
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
    speed : "exact" runs every copy on all inputs. "propagated" runs some copies of each way on a
        handful of inputs, and gives all inputs what these show, at some 6 % of the price; of
        "classification" and "top5". Its error is in the intervals, and a check says where it may
        exceed three points.
    on_point : Told the number of networks run, of all, and the way.

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
    given = (accuracy, strategies, keeps, labels, kind, level, accuracy_inputs, calibration, store)
    wanted = Wanted(*given, seed, speed=speed)
    wanted.check(inputs, input_shape)
    if inputs is None:
        assert input_shape is not None
        return ranked(model, input_shape, wanted, on_point)
    return forecast_of(model, inputs, wanted, on_point=on_point)


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
    stored = StoredScores.of(wanted.store, model, read.batches, wanted.seed, wanted.calibration)
    dense = stored.of_network("dense", 1.0, lambda: (read.scores(model), (1.0, 1.0)))[0]
    settings: dict[str, Any] = {
        "accuracy": wanted.accuracy,
        "labels": wanted.labels,
        "level": wanted.level,
        "kind": kind,
        "accuracy_inputs": wanted.accuracy_inputs,
    }
    # what is wrong with the inputs is said before anything is pruned
    base = forecast_curve(dense, (), (), **settings)
    if holds is not None:
        _check_far_from_chance(base.checks)
    copies = Copies(model, read, wanted.calibration, wanted.seed)
    if wanted.speed == "propagated":
        known = {**settings, "labels": None, "accuracy": base.accuracy}
        curves, skipped, seen = propagated(copies, dense, wanted, known, on_point)
        return _whole(model, wanted, base, curves, skipped, seen)
    job = _Job(copies, stored, on_point)
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
    return _whole(model, wanted, base, curves, skipped)


def _whole(
    model: nn.Module,
    wanted: Wanted,
    base: CurveForecast,
    curves: Sequence[Curve],
    skipped: Sequence[tuple[str, str]],
    seen: tuple[Check, ...] = (),
) -> Forecast:
    """The forecast of all ways."""
    require(curves, "model", WHERE, "a network that can be pruned", type(model).__name__)
    return Forecast(
        type(model).__name__,
        base.accuracy,
        base.inputs,
        wanted.level,
        wanted.kind,
        tuple(curves),
        (*base.checks, *_fitted_elsewhere(wanted.ways, wanted.calibration), *seen),
        tuple(skipped),
        base.temperature,
        wanted.speed,
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


def _check_far_from_chance(checks: Sequence[Check]) -> None:
    """Refuse advice on a network that is right hardly more often than guesses."""
    for check in checks:
        mend = "There is little to lose, and no plan to choose by it: train the network first."
        passed = check.name != FAR_FROM_CHANCE or check.passed
        require(passed, "accuracy", "advise", "well above chance", check.text, mend)


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
