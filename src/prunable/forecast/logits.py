"""Scores of a network, and of pruned copies of it, one in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunable.errors import InputError, require
from prunable.forecast.ways import Way
from prunable.nets.calibration.calibrating import Calibration, batches_of, calibrate
from prunable.nets.calibration.layers import is_matrix_layer
from prunable.nets.networks.examples import checked_run, evaluating, mapped, scores_of
from prunable.nets.networks.inputs import batch_of, batch_size_of
from prunable.nets.networks.parametrized import copied
from prunable.nets.prune.finishing import has_statistics
from prunable.nets.prune.plan import PruningPlan
from prunable.nets.prune.pruning import prune
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


def batches_for(model: nn.Module, inputs: Any, at_once: int = AT_ONCE) -> tuple[Any, ...]:
    """Unlabelled inputs in batches on a model's device: of a tensor, or batches as they are."""
    if isinstance(inputs, np.ndarray):
        inputs = torch.from_numpy(np.ascontiguousarray(inputs))
    if isinstance(inputs, Tensor):
        require(inputs.ndim > 1, "inputs", "forecast", "(n, ...) examples", tuple(inputs.shape))
    return batches_of(model, inputs, at_once)


def scores(model: nn.Module, batches: Sequence[Any], kind: str = "classification") -> Scores:
    """The scores that a network gives in evaluation mode, (n, classes) of a classifier.

    Raises InputError if the inputs do not fit, or there are no scores of that kind.
    """
    parts = []
    with evaluating(model), torch.inference_mode():
        for batch in batches:
            found = scores_of(checked_run(model, batch))
            _check_scores(found, batch_size_of(batch), kind)
            parts.append(found.float().cpu().numpy())
    return np.concatenate(parts)


def calibrated(model: nn.Module, inputs: Any, ways: Sequence[Way]) -> Calibration | None:
    """What flows into the layers, summed up once for all ways that go by it; None if none does."""
    needed = any(way.needs_inputs for way in ways)
    return calibrate(model, _parted(inputs)) if needed else None


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


def pruned_copies(
    model: nn.Module,
    way: Way,
    keeps: Sequence[float],
    example: Any,
    calibration: Calibration | None = None,
    *,
    seed: int = 0,
) -> Iterator[Pruned]:
    """Copies of a network pruned one way to each share, one at a time; the network stays as it is.

    A layer may lose all its weights: that is what so small a share does. Ways that know their
    inputs estimate BatchNorm statistics again on them, and correct biases, as `prune` does with
    `CalibratedPruning`.
    """
    macs = macs_of(copied(model).eval(), batch_of(example, 1))
    for keep in keeps:
        copy = copied(model)
        strategy, budget = way.strategy(keep)
        how: dict[str, Any] = {"seed": seed}
        if way.needs_inputs:
            how |= {"calibration": calibration, "recalibrate": has_statistics(model) or None}
        elif way.of_units:
            how["example"] = batch_of(example, 2)
        result = prune(copy, strategy, budget, force=not way.of_units, **how)
        left = result.n_nonzero / max(1, result.n_nonzero_before)
        yield Pruned(way, keep, left, _macs_left(copy, macs), result.plan, copy)
        del copy, result


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
