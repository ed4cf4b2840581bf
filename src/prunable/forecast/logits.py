"""Scores of a network, and of pruned copies of it, one in memory at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunable.errors import InputError, require
from prunable.forecast.ways import Way
from prunable.nets.calibration.calibrating import Calibration, batches_of, calibrate
from prunable.nets.calibration.layers import is_matrix_layer
from prunable.nets.calibration.stages import InOrder
from prunable.nets.networks.examples import checked_run, evaluating, mapped, scores_of
from prunable.nets.networks.inputs import batch_of, batch_size_of
from prunable.nets.networks.parametrized import copied
from prunable.nets.prune.finishing import has_statistics
from prunable.nets.prune.plan import PruningPlan
from prunable.nets.prune.pruning import prune
from prunable.nets.prune.recalibration import recalibrate_
from prunable.nets.shrink.footprint import macs_of

Scores = NDArray[np.float32]
AT_ONCE = 256  # inputs run at a time
CHUNK = 32  # that are calibrated on at a time


@dataclass(frozen=True, eq=False)
class Pruned:
    """One pruned copy: the share asked for, what is left, and its scores.

    `parameters` is the share of the network's numbers that are not zero, of those that were not;
    `macs` that of its multiplications, of which those by a zero need not be done.
    """

    way: Way
    keep: float
    parameters: float
    macs: float
    plan: PruningPlan = field(repr=False)
    model: nn.Module = field(repr=False)


def batches_for(model: nn.Module, inputs: Any) -> tuple[Any, ...]:
    """Unlabelled inputs in batches on a model's device: of a tensor, or batches as they are."""
    if isinstance(inputs, np.ndarray):
        inputs = torch.from_numpy(np.ascontiguousarray(inputs))
    if isinstance(inputs, Tensor):
        require(inputs.ndim > 1, "inputs", "forecast", "(n, ...) examples", tuple(inputs.shape))
    return batches_of(model, inputs, AT_ONCE)


def scores(model: nn.Module, batches: Sequence[Any], kind: str = "classification") -> Scores:
    """The scores that a network gives in evaluation mode, (n, classes) of a classifier.

    Raises InputError if the inputs do not fit, or there are no scores of that kind.
    """
    parts = []
    with evaluating(model), torch.inference_mode():
        for batch in batches:
            found = scores_of(checked_run(model, batch, "inputs"))
            _check_scores(found, batch_size_of(batch), kind)
            parts.append(found.float().cpu().numpy())
    return np.concatenate(parts)


class Read(Protocol):
    """What a network is run on, and what it gives there."""

    in_order: ClassVar[bool]  # whether what stays is fitted block by block

    @property
    def batches(self) -> tuple[Any, ...]:
        """What the network is called with."""
        ...

    @property
    def example(self) -> Any:
        """A call to prune and to count multiplications by."""
        ...

    def scores(self, model: nn.Module) -> Scores:
        """What the network, or a pruned copy, gives; first axis the units that are drawn."""
        ...


@dataclass(frozen=True, eq=False)
class Examples:
    """Unlabelled inputs in batches, of which a network gives outputs of one kind."""

    in_order: ClassVar[bool] = False

    batches: tuple[Any, ...]
    kind: str = "classification"

    @property
    def example(self) -> Any:
        """Two of the inputs."""
        return batch_of(self.batches[0], 2)

    def scores(self, model: nn.Module) -> Scores:
        """See `scores`."""
        return scores(model, self.batches, self.kind)


@dataclass(frozen=True, eq=False)
class Copies:
    """Pruned copies of a network, which stays as it is; what all of them need is found once.

    A layer may lose all its weights: that is what so small a share does. `calibration` are inputs
    for ways that go by what flows into layers, by default those that are read. Such ways estimate
    BatchNorm statistics again on them, and correct biases, as `prune` does; the usual one goes in
    order and towards the network, and in language models what stays is fitted block by block.
    """

    model: nn.Module
    read: Read
    calibration: Any = None
    seed: int = 0

    def pruned(self, way: Way, keep: float) -> Pruned:
        """A copy pruned one way to one share."""
        copy = copied(self.model)
        strategy, budget = way.strategy(keep)
        how: dict[str, Any] = {"seed": self.seed}
        if way.needs_inputs:
            how |= {"calibration": self._given(way)}
            how |= {"recalibrate": has_statistics(self.model) or None}
        elif way.of_units:
            how["example"] = self.read.example
        result = prune(copy, strategy, budget, force=not way.of_units, **how)
        left = result.n_nonzero / max(1, result.n_nonzero_before)
        return Pruned(way, keep, left, self.macs_left(copy), result.plan, copy)

    def macs_left(self, copy: nn.Module) -> float:
        """The share of multiplications that a pruned copy has left."""
        return _macs_left(copy, self._macs)

    def renewed(self) -> nn.Module:
        """A copy with nothing pruned, its BatchNorm statistics estimated again where it has any."""
        copy = copied(self.model)
        if has_statistics(copy):
            recalibrate_(copy, batches_of(copy, self._inputs, CHUNK))
        return copy

    def _given(self, way: Way) -> Any:
        if self.read.in_order and way.refits:
            return InOrder(self._inputs)
        if way.method == "calibrated":
            return self._inputs
        return self._products if way.needs_products else self._moments

    @cached_property
    def _inputs(self) -> Any:
        return _parted(self.read.batches if self.calibration is None else self.calibration)

    @cached_property
    def _products(self) -> Calibration:
        return calibrate(self.model, self._inputs)

    @cached_property
    def _moments(self) -> Calibration:
        return calibrate(self.model, self._inputs, products=False)

    @cached_property
    def _macs(self) -> Mapping[str, int]:
        return macs_of(copied(self.model).eval(), batch_of(self.read.example, 1))


def _parted(inputs: Any) -> Any:
    """Batches small enough that one of four can be held out to choose damping by."""
    if isinstance(inputs, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(inputs))
    if not isinstance(inputs, tuple | list):
        return inputs
    small = []
    for batch in inputs:
        size = batch_size_of(batch)
        small += [_cut(batch, start, size) for start in range(0, size, CHUNK)]
    return small


def _cut(batch: Any, start: int, size: int) -> Any:
    return mapped(batch, lambda x: x[start : start + CHUNK] if x.ndim and len(x) == size else x)


def _macs_left(pruned: nn.Module, macs: Mapping[str, int]) -> float:
    """The share of multiplications that are not by a zero weight of a layer."""
    whole = saved = float(macs[""])
    for name, module in pruned.named_modules():
        if is_matrix_layer(module) and name in macs:
            weight = module.weight
            saved -= macs[name] * (1 - int(torch.count_nonzero(weight)) / weight.numel())
    return saved / whole if whole else 1.0


def _check_scores(found: Any, count: int, kind: str) -> None:
    one_an_input = isinstance(found, Tensor) and found.ndim > 0 and len(found) == count
    other = kind not in ("classification", "top5")
    if one_an_input and (other or (found.ndim == 2 and found.shape[1] > 1)):
        return
    shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    wanted = "outputs, one an input" if other else "scores of classes, (inputs, classes)"
    raise InputError(
        f"`model` of `forecast` gives {shape} for {count} inputs, and must give {wanted}. Give a "
        "network with such an output."
    )
