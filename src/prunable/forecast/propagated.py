"""Pruned copies on a handful of inputs each: what all inputs would show, at a few runs' price."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_flatten, tree_unflatten

from prunable.errors import InputError, UnsupportedModelError, require
from prunable.forecast.estimators import Check, forecast_curve
from prunable.forecast.estimators.propagation import (
    FAR,
    Handful,
    Likely,
    Moved,
    Movements,
    errors_at,
    propagation_error,
)
from prunable.forecast.logits import Copies, Examples, Scores, batches_for, scores
from prunable.forecast.results import Curve, Forecast, LayerEffect, Point, points_of
from prunable.forecast.stored import Left
from prunable.forecast.wanted import WHERE, OnPoint, Wanted
from prunable.forecast.ways import Way
from prunable.nets.calibration.calibrating import Calibration, calibrate
from prunable.nets.networks.effective import bake_, parametrized_names
from prunable.nets.networks.examples import mapped
from prunable.nets.networks.inputs import batch_size_of
from prunable.nets.networks.parametrized import copied
from prunable.nets.prune.finishing import has_statistics
from prunable.nets.prune.masks import apply_plan_
from prunable.nets.prune.plan import Keep
from prunable.nets.prune.several import plans_for
from prunable.nets.prune.strategies import MagnitudePruning
from prunable.numerics.randomness import rng

Rows = NDArray[np.intp]
MANY = 8  # inputs of a handful
LOOKS = 5  # shares of a way at which a copy is made
LAYER_SHARE = 0.5  # of a layer's weights that stay, to rank layers by
GOLDEN = 0.618034  # by which handfuls are set off from each other: none falls on another
SEEN = 32  # inputs that tell what new statistics do
SIZED = 8  # inputs that tell the sizes of what flows into layers


@dataclass(frozen=True, eq=False)
class Foreseen:
    """What is foreseen of one way: its shares, relative output errors, and what is left."""

    way: Way
    keeps: tuple[float, ...]
    errors: tuple[float, ...]  # relative and squared, growing and shrinking as a whole aside
    left: tuple[Left, ...]
    again: bool  # whether BatchNorm statistics are estimated again


@dataclass(eq=False)
class Propagation:
    """Looks at copies of all ways, on one copy of the network that is changed and put back.

    `dense` are the network's scores of all inputs. A copy that would have new BatchNorm statistics
    runs with those of its handful, and is compared with the network that does so too: what few
    inputs are off by they are off by in both.
    """

    copies: Copies
    dense: Scores
    many: int = MANY
    looks: list[Handful] = field(default_factory=list)
    bases: dict[tuple[float, bool], Scores] = field(default_factory=dict)
    places: dict[float, int] = field(default_factory=dict)  # of handfuls, by the share

    def of(self, way: Way, keeps: Sequence[float]) -> Foreseen:
        """Look at some copies of a way, and say what that tells of all its shares.

        Raises InputError or UnsupportedModelError if the network cannot be pruned so.
        """
        chosen = [keeps[i] for i in looked_at(len(keeps))]
        again = way.needs_inputs and has_statistics(self.copies.model)
        looks, left = zip(*self._looks(way, chosen, again), strict=True)
        self.looks += looks
        errors = errors_at(keeps, chosen, [handful.error for handful in looks])
        # what is left is nearly linear in the share, and all of it at 1
        columns = np.array([(1.0, 1.0), *left]).T[:, ::-1]
        parts = np.array([np.interp(keeps, [*chosen[::-1], 1.0], column) for column in columns])
        pairs = tuple((float(a), float(b)) for a, b in parts.T)
        return Foreseen(way, tuple(keeps), tuple(errors.tolist()), pairs, again)

    def likely(self, found: Foreseen) -> Iterator[Likely]:
        """Logits of all inputs that copies of a way might give, once all ways were looked at."""
        moved = self._moved_again if found.again else self._moved
        return (moved.by(error) for error in found.errors)

    def layers(self) -> tuple[LayerEffect, ...]:
        """What half of each layer's weights do to the outputs, the layers that do most first."""
        half = [Keep(LAYER_SHARE, "layer")]
        plan = plans_for(self._copy, MagnitudePruning(), half, seed=self.copies.seed)[0]
        self._base(LAYER_SHARE, False)
        found = []
        for layer in plan.layers:
            with self._put_back():
                apply_plan_(self._copy.named_parameters(), replace(plan, layers=(layer,)))
                error = self._look(self._copy, LAYER_SHARE, False).error
            found.append(LayerEffect(layer.name, layer.eps, math.sqrt(error)))
        return tuple(sorted(found, key=lambda one: -one.output_error))

    @cached_property
    def renewed(self) -> Scores:
        """What the network might give with new statistics, from what it gives of some inputs."""
        rows = _spread(SEEN, len(self.dense))
        with own_statistics(self._copy):
            found = scores(self._copy, [gathered(self.copies.read.batches, rows)])
        one = _handful(1.0, self.dense[rows], found)
        if one.error == 0:
            return self.dense
        moved = Movements.of([one]).applied(self.dense, seed=self.copies.seed, repeats=1)
        return np.asarray(moved.by(one.error).outputs[0], dtype=np.float32)

    @cached_property
    def _movements(self) -> Movements:
        return Movements.of(self.looks)

    @cached_property
    def _moved(self) -> Moved:
        return self._movements.applied(self.dense, seed=self.copies.seed)

    @cached_property
    def _moved_again(self) -> Moved:
        return self._movements.applied(self.renewed, seed=self.copies.seed)

    def _looks(
        self, way: Way, keeps: Sequence[float], again: bool
    ) -> Iterator[tuple[Handful, Left]]:
        for keep in keeps:
            self._base(keep, again)
        if way.needs_products:
            # weights are fitted, or shares found by running: each copy is made as it is otherwise
            for keep in keeps:
                made = self.copies.pruned(way, keep)
                yield self._look(made.model, keep, again), (made.parameters, made.macs)
            return
        strategies = [way.strategy(keep) for keep in keeps]
        how: dict[str, Any] = {"seed": self.copies.seed}
        if way.needs_inputs:
            how["calibration"] = self._seen
        elif way.of_units:
            how["example"] = self.copies.read.example
        if way.patterns:
            plans = [plans_for(self._copy, one, [k], **how)[0] for one, k in strategies]
        else:
            plans = plans_for(self._copy, strategies[0][0], [k for _, k in strategies], **how)
        whole = _nonzero(self._copy)
        for keep, plan in zip(keeps, plans, strict=True):
            with self._put_back():
                apply_plan_(self._copy.named_parameters(), plan)
                left = (_nonzero(self._copy) / max(1, whole), self.copies.macs_left(self._copy))
                yield self._look(self._copy, keep, again), left

    def _look(self, copy: nn.Module, keep: float, again: bool) -> Handful:
        return _handful(keep, self._base(keep, again), self._run(copy, keep, again))

    def _run(self, copy: nn.Module, keep: float, again: bool) -> Scores:
        with own_statistics(copy, again):
            return scores(copy, [gathered(self.copies.read.batches, self._rows(keep))])

    def _base(self, keep: float, again: bool) -> Scores:
        """What the network gives of a handful; first asked for while the copy is whole."""
        if (keep, again) not in self.bases:
            found = self._run(self._copy, keep, again) if again else self.dense[self._rows(keep)]
            self.bases[keep, again] = found
        return self.bases[keep, again]

    def _rows(self, keep: float) -> Rows:
        """The inputs of a handful, the same for all ways at one share, and sure in all degrees."""
        place = self.places.setdefault(keep, len(self.places))
        first = (self._first + place * GOLDEN) % 1
        return np.sort(self._by_margin[_spread(self.many, len(self.dense), first)])

    @cached_property
    def _by_margin(self) -> Rows:
        two = np.sort(self.dense, axis=1)[:, -2:]
        return np.argsort(two[:, 1] - two[:, 0], kind="stable")

    @cached_property
    def _first(self) -> float:
        return float(rng(self.copies.seed, "handfuls").random())

    @cached_property
    def _copy(self) -> nn.Module:
        copy = copied(self.copies.model)
        bake_(copy, parametrized_names(copy))
        return copy

    @cached_property
    def _weights(self) -> Mapping[str, Tensor]:
        return {name: p.detach().clone() for name, p in self._copy.named_parameters()}

    @cached_property
    def _seen(self) -> Calibration:
        given = self.copies.calibration
        batches = self.copies.read.batches if given is None else given
        parts = [batches] if isinstance(batches, Tensor) else list(batches)
        rows = _spread(SIZED, sum(map(batch_size_of, parts)))
        return calibrate(self._copy, [gathered(parts, rows)], products=False)

    @contextmanager
    def _put_back(self) -> Iterator[None]:
        """Give the copy its weights again."""
        weights = self._weights
        try:
            yield
        finally:
            with torch.no_grad():
                for name, p in self._copy.named_parameters():
                    p.copy_(weights[name])


def _handful(keep: float, dense: Scores, pruned: Scores) -> Handful:
    return Handful(keep, dense.astype(np.float64), pruned.astype(np.float64))


def _spread(count: int, total: int, first: float = 0.0) -> Rows:
    """So many numbers below a total, evenly, at most all."""
    count = min(count, total)
    return ((np.arange(count) + first) * total / count).astype(np.intp)


def looked_at(count: int) -> list[int]:
    """Which of so many shares are looked at: the first, the last, and some between.

    >>> looked_at(10), looked_at(3)
    ([0, 2, 4, 6, 9], [0, 1, 2])
    """
    if count <= LOOKS:
        return list(range(count))
    return [i * (count - 1) // (LOOKS - 1) for i in range(LOOKS)]


def gathered(batches: Sequence[Any], rows: Sequence[int] | Rows) -> Any:
    """Some inputs of batches, by their rising numbers, as one batch.

    Raises InputError if inputs of different batches do not fit together.
    """
    parts, start = [], 0
    for batch in batches:
        size = batch_size_of(batch)
        mine = [int(row) - start for row in rows if start <= row < start + size]
        start += size
        if mine:
            parts.append(mapped(batch, partial(_taken, size=size, at=mine)))
    if len(parts) == 1:
        return parts[0]
    leaves, forms = zip(*map(tree_flatten, parts), strict=True)
    try:
        joined = [torch.cat(x) if _many(x[0]) else x[0] for x in zip(*leaves, strict=True)]
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            "`inputs` of `forecast` come in batches that do not fit together, as speed propagated "
            "needs them to. Give them in one batch, or forecast at speed exact."
        ) from error
    return tree_unflatten(joined, forms[0])


def _many(x: Any) -> bool:
    return isinstance(x, Tensor) and x.ndim > 0


def _taken(x: Tensor, size: int, at: Sequence[int]) -> Tensor:
    return x[list(at)] if x.ndim and len(x) == size else x


@contextmanager
def own_statistics(model: nn.Module, wanted: bool = True) -> Iterator[None]:
    """Let BatchNorm layers go by the statistics of what they are given, and keep their own."""
    layers: list[Any] = [m for m in model.modules() if wanted and isinstance(m, _BatchNorm)]
    kept = [(layer.running_mean, layer.running_var) for layer in layers]
    try:
        for layer in layers:
            layer.running_mean = layer.running_var = None
        yield
    finally:
        for layer, (mean, variance) in zip(layers, kept, strict=True):
            layer.running_mean, layer.running_var = mean, variance


def _nonzero(model: nn.Module) -> int:
    return sum(int(torch.count_nonzero(p)) for p in model.parameters())


GAUSSIAN = 64  # inputs drawn where there are none


def propagated(
    copies: Copies,
    dense: Scores,
    wanted: Wanted,
    settings: Mapping[str, Any],
    on_point: OnPoint | None,
) -> tuple[list[Curve], list[tuple[str, str]], tuple[Check, ...]]:
    """Curves of all ways from some copies that see a handful of inputs, what is left out, a check.

    `settings` are those of `forecast_curve`. Labels show the network's accuracy, and nothing of
    copies that are not run.
    """
    job = Propagation(copies, dense)
    found, skipped = _foreseen(job, wanted.ways, wanted, on_point)
    known = dict(settings)
    if wanted.accuracy is None and wanted.labels is not None:
        known["accuracy_inputs"] = int((np.asarray(wanted.labels) >= 0).sum())
    curves = []
    for one in found:
        renewed = job.renewed if one.again else None
        told = forecast_curve(dense, job.likely(one), one.keeps, renewed=renewed, **known)
        points = points_of(told, one.left, one.errors)
        curves.append(Curve(one.way.method, one.way.allocation, points))
    return curves, skipped, () if known["accuracy"] is None else (_near(curves),)


def ranked(
    model: nn.Module, shape: Sequence[int], wanted: Wanted, on_point: OnPoint | None
) -> Forecast:
    """Ways and layers by what they do to the outputs of Gaussian inputs; no accuracy.

    Raises InputError if the network does not take inputs of the shape, or a named way needs some.
    """
    draw = torch.Generator().manual_seed(wanted.seed)
    batches = batches_for(model, torch.randn(GAUSSIAN, *shape, generator=draw))
    read = Examples(batches, wanted.kind)
    job = Propagation(Copies(model, read, None, wanted.seed), read.scores(model))
    ways = [way for way in wanted.ways if not way.needs_inputs]
    without = [way.name for way in wanted.ways if way.needs_inputs]
    if without and wanted.strategies is not None:
        raise InputError.parameter("methods", WHERE, "such as need no inputs", without[0])
    found, skipped = _foreseen(job, ways, wanted, on_point)
    require(found, "model", WHERE, "a network that can be pruned", type(model).__name__)
    reason = "it goes by what flows into layers, and there are no inputs"
    skipped = [*skipped, *((name, reason) for name in without)]
    curves = tuple(Curve(x.way.method, x.way.allocation, _unseen(x)) for x in found)
    name, level, kind = type(model).__name__, wanted.level, wanted.kind
    known = (None, 0, level, kind, curves, (), tuple(skipped), None, wanted.speed)
    return Forecast(name, *known, job.layers())


def _foreseen(
    job: Propagation, ways: Sequence[Way], wanted: Wanted, on_point: OnPoint | None
) -> tuple[list[Foreseen], list[tuple[str, str]]]:
    """What is foreseen of each way; usual ones that do not suit are left out, with the reason."""
    found, skipped = [], []
    for number, way in enumerate(ways):
        if on_point is not None:
            on_point(number, len(ways), way.name)
        try:
            found.append(job.of(way, way.keeps(wanted.shares)))
        except (InputError, UnsupportedModelError) as error:
            if wanted.strategies is not None:
                raise
            skipped.append((way.name, str(error)))
    return found, skipped


def _unseen(found: Foreseen) -> tuple[Point, ...]:
    """Points of which the errors of outputs are known, and nothing else."""
    unknown = (None,) * 3
    return tuple(
        Point(keep, *unknown, *left, *unknown, *unknown, output_error=math.sqrt(error))
        for keep, left, error in zip(found.keeps, found.left, found.errors, strict=True)
    )


def _near(curves: Sequence[Curve]) -> Check:
    """Whether propagation is likely to be off by at most three points, everywhere."""
    wide = [
        (curve.name, [p.kappa for p in curve.points if _error(p) > FAR], len(curve.points))
        for curve in curves
    ]
    name, points = "propagation is off by at most 3 points", sum(n for _, _, n in wide)
    far = [(way, kappas) for way, kappas, _ in wide if kappas]
    if not far:
        return Check(name, True, f"at all {points} points, by its standard error")
    said = ", ".join(f"{way} from {max(kappas):g} down" for way, kappas in far)
    count = sum(len(kappas) for _, kappas in far)
    text = f"at {count} of {points} points it may be off by more: {said}; forecast these exactly"
    return Check(name, False, text)


def _error(point: Point) -> float:
    return 0.0 if point.retention is None else propagation_error(1 - point.retention)
