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

from prunable.errors import InputError
from prunable.forecast.estimators.propagation import Handful, Likely, Movements, errors_at
from prunable.forecast.logits import Copies, Scores, scores
from prunable.forecast.results import LayerEffect
from prunable.forecast.stored import Left
from prunable.forecast.ways import Way
from prunable.nets.calibration.calibrating import Calibration, calibrate
from prunable.nets.networks.effective import bake_, parametrized_names
from prunable.nets.networks.examples import mapped, watching
from prunable.nets.networks.inputs import batch_size_of
from prunable.nets.networks.parametrized import copied
from prunable.nets.prune.finishing import has_statistics
from prunable.nets.prune.masks import apply_plan_
from prunable.nets.prune.plan import Keep
from prunable.nets.prune.recalibration import recalibrate_
from prunable.nets.prune.several import plans_for
from prunable.nets.prune.strategies import MagnitudePruning
from prunable.numerics.randomness import rng

Rows = NDArray[np.intp]
MANY = 10  # inputs of a handful
LOOKS = 5  # shares of a way at which a copy is made
LAYER_SHARE = 0.5  # of a layer's weights that stay, to rank layers by
GOLDEN = 0.618034  # by which handfuls are set off from each other: none falls on another
TINY = 1e-12
SEEN = 64  # inputs that tell new statistics
SIZED = 32  # inputs that tell the sizes of what flows into layers


@dataclass(frozen=True, eq=False)
class Look:
    """What one copy gives on its handful, and the shares that are left of it."""

    handful: Handful
    left: Left


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
    """Looks at copies of all ways on one copy of the network, which is changed and put back.

    `dense` are the network's scores of all inputs. Ways whose copies have new BatchNorm statistics
    are compared with the network whose statistics are those of the same handful.
    """

    copies: Copies
    dense: Scores
    many: int = MANY
    looks: list[Handful] = field(default_factory=list)
    places: dict[float, int] = field(default_factory=dict)  # of handfuls, by the share

    def of(self, way: Way, keeps: Sequence[float]) -> Foreseen:
        """Look at some copies of a way, and say what that tells of all its shares.

        Raises InputError or UnsupportedModelError if the network cannot be pruned so.
        """
        chosen = [keeps[i] for i in looked_at(len(keeps))]
        again = way.needs_inputs and has_statistics(self.copies.model)
        looks = list(self._looks(way, chosen, again))
        handfuls = [look.handful for look in looks]
        self.looks += handfuls
        errors = errors_at(keeps, chosen, [handful.error for handful in handfuls])
        # what is left is nearly linear in the share, and all of it at 1
        shares = [1.0, *chosen]
        left = np.array([(1.0, 1.0), *(look.left for look in looks)])
        parts = [np.interp(keeps, shares[::-1], column[::-1]) for column in left.T]
        both = tuple((float(a), float(b)) for a, b in zip(*parts, strict=True))
        return Foreseen(way, tuple(keeps), tuple(map(float, errors)), both, again)

    def likely(self, found: Foreseen) -> Iterator[Likely]:
        """Logits of all inputs that copies of a way might give, once all ways were looked at."""
        moved = self._moved_again if found.again else self._moved
        return (moved.by(error) for error in found.errors)

    def layers(self) -> tuple[LayerEffect, ...]:
        """What half of each layer's weights do to the outputs, the layers that do most first."""
        half = [Keep(LAYER_SHARE, "layer")]
        plan = plans_for(self._copy, MagnitudePruning(), half, seed=self.copies.seed)[0]
        found = []
        for layer in plan.layers:
            with self._put_back():
                apply_plan_(self._copy.named_parameters(), replace(plan, layers=(layer,)))
                look = self._look(self._copy, LAYER_SHARE, False, (1.0, 1.0))
            found.append(LayerEffect(layer.name, layer.eps, math.sqrt(look.handful.error)))
        return tuple(sorted(found, key=lambda one: -one.output_error))

    @cached_property
    def renewed(self) -> Scores:
        """What the network might give with new statistics, from what it gives of handfuls."""
        apart = [_handful(keep, self._dense_of(keep), self._again_of(keep)) for keep in self.places]
        error = float(np.mean([one.error for one in apart]))
        if error == 0:
            return self.dense
        moved = Movements.of(apart).applied(self.dense, seed=self.copies.seed, repeats=1)
        return np.asarray(moved.by(error).outputs[0], dtype=np.float32)

    @cached_property
    def _movements(self) -> Movements:
        return Movements.of(self.looks)

    @cached_property
    def _moved(self) -> Any:
        return self._movements.applied(self.dense, seed=self.copies.seed)

    @cached_property
    def _moved_again(self) -> Any:
        return self._movements.applied(self.renewed, seed=self.copies.seed)

    def _looks(self, way: Way, keeps: Sequence[float], again: bool) -> Iterator[Look]:
        if way.needs_products:
            # weights are fitted, or shares found by running: each copy is made as it is otherwise
            for keep in keeps:
                copy = self.copies.pruned(way, keep)
                yield self._look(copy.model, keep, again, (copy.parameters, copy.macs))
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
                yield self._look(self._copy, keep, again, left)

    def _look(self, copy: nn.Module, keep: float, again: bool, left: Left) -> Look:
        if again:
            base, before = self._renewed_run(keep)
            with shifted_statistics(copy, self._renewed, before):
                found = scores(copy, [self._inputs(keep)])
        else:
            base, found = self._dense_of(keep), scores(copy, [self._inputs(keep)])
        return Look(_handful(keep, base, found), left)

    def _rows(self, keep: float) -> Rows:
        """The inputs of a handful, the same for all ways at one share, and sure in all degrees."""
        place = self.places.setdefault(keep, len(self.places))
        count = min(self.many, len(self.dense))
        first = (self._first + place * GOLDEN) % 1
        return np.sort(
            self._by_margin[((np.arange(count) + first) * len(self.dense) / count).astype(np.intp)]
        )

    def _inputs(self, keep: float) -> Any:
        return gathered(self.copies.read.batches, self._rows(keep))

    def _dense_of(self, keep: float) -> Scores:
        return self.dense[self._rows(keep)]

    def _again_of(self, keep: float) -> Scores:
        return self._renewed_run(keep)[0]

    def _renewed_run(self, keep: float) -> tuple[Scores, Mapping[str, Statistics]]:
        if keep not in self._runs:
            self._runs[keep] = with_statistics(self._renewed, self._inputs(keep))
        return self._runs[keep]

    @cached_property
    def _runs(self) -> dict[float, tuple[Scores, Mapping[str, Statistics]]]:
        return {}

    @cached_property
    def _renewed(self) -> nn.Module:
        copy = copied(self.copies.model)
        bake_(copy, parametrized_names(copy))
        recalibrate_(copy, [self._some(SEEN)])
        return copy

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
        return calibrate(self._copy, [self._some(SIZED)], products=False)

    def _some(self, count: int) -> Any:
        """So many inputs that tell the sizes of what flows into layers, or statistics."""
        given = self.copies.calibration
        batches = self.copies.read.batches if given is None else given
        parts = [batches] if isinstance(batches, Tensor) else list(batches)
        total = sum(map(batch_size_of, parts))
        return gathered(parts, np.arange(min(count, total)) * total // min(count, total))

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
    sizes = [batch_size_of(batch) for batch in batches]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    parts = []
    for batch, size, start in zip(batches, sizes, starts, strict=False):
        mine = [int(row - start) for row in rows if start <= row < start + size]
        if mine:
            parts.append(mapped(batch, partial(_taken, size=size, at=mine)))
    if len(parts) == 1:
        return parts[0]
    try:
        return _joined(parts)
    except (RuntimeError, TypeError) as error:
        raise InputError(
            "`inputs` of `forecast` come in batches that do not fit together, as speed propagated "
            "needs them to. Give them in one batch, or forecast at speed exact."
        ) from error


def _taken(x: Tensor, size: int, at: Sequence[int]) -> Tensor:
    return x[list(at)] if x.ndim and len(x) == size else x


def _joined(parts: Sequence[Any]) -> Any:
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(list(parts)) if first.ndim else first
    if isinstance(first, Mapping):
        return {name: _joined([part[name] for part in parts]) for name in first}
    if isinstance(first, tuple | list):
        return tuple(_joined(one) for one in zip(*parts, strict=True))
    return first


# Mean and variance of what flows into a BatchNorm layer.
Statistics = tuple[Tensor, Tensor]


def with_statistics(model: nn.Module, inputs: Any) -> tuple[Scores, Mapping[str, Statistics]]:
    """Scores of some inputs, and the statistics of what flows into BatchNorm layers by name."""
    found: dict[str, Statistics] = {}
    names = {layer: name for name, layer in _normalising(model).items()}
    with watching(model, names, lambda layer, x: found.update({names[layer]: _statistics(x)})):
        return scores(model, [inputs]), found


@contextmanager
def shifted_statistics(
    copy: nn.Module, base: nn.Module, before: Mapping[str, Statistics]
) -> Iterator[None]:
    """Let a copy's BatchNorm statistics differ from a base's as those of the inputs at hand do.

    `before` are the base's of the same inputs. What few inputs are off by they are off by in both.
    """
    layers, bases = _normalising(copy), _normalising(base)
    names = {layer: name for name, layer in layers.items()}
    kept = {name: (m.running_mean, m.running_var) for name, m in layers.items()}

    def watch(layer: Any, x: Tensor) -> None:
        name = names[layer]
        (mean, variance), (old_mean, old_variance) = _statistics(x), before[name]
        own: Any = bases[name]
        ratio = variance / old_variance.clamp_min(TINY)
        layer.running_mean = mean + (own.running_mean - old_mean) * ratio.sqrt()
        layer.running_var = own.running_var * ratio

    try:
        with watching(copy, names, watch):
            yield
    finally:
        for name, layer in layers.items():
            layer.running_mean, layer.running_var = kept[name]


def _normalising(model: nn.Module) -> dict[str, Any]:
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }


def _statistics(x: Tensor) -> Statistics:
    flat = x.transpose(0, 1).flatten(1)
    variance, mean = torch.var_mean(flat, 1, correction=0)
    return mean, variance


def _nonzero(model: nn.Module) -> int:
    return sum(int(torch.count_nonzero(p)) for p in model.parameters())
