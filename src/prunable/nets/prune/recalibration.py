"""Statistics of BatchNorm layers, estimated again from unlabelled inputs after pruning."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from prunable.arguments import checked
from prunable.errors import InputError, UnsupportedModelError, check_at_least, require
from prunable.nets.networks import examples
from prunable.results import Result


@dataclass(frozen=True)
class Recalibration(Result):
    """Which layers have new statistics, of how many batches, and what moved most.

    `largest_shift` is the largest |new mean - old mean| in old standard deviations.
    """

    layers: tuple[str, ...]
    n_batches: int
    largest_shift: float


@checked("recalibrate")
def recalibrate(
    model: nn.Module, inputs: Tensor | Iterable[examples.Example], *, batch_size: int = 256
) -> Recalibration:
    """Estimate the statistics of a model's BatchNorm layers again, in place; see `recalibrate_`.

    Pruning changes what flows into these layers; the statistics of before mislead all that follows.
    Labels are not needed: a tensor of inputs, which is cut into batches, or batches of whatever the
    model is called with, such as `(x for x, _ in loader)`.

    >>> import torch, prunable
    >>> net = torch.nn.Sequential(torch.nn.BatchNorm1d(2))
    >>> recalibrated = prunable.recalibrate(net, torch.full((64, 2), 3.0))
    >>> net[0].running_mean
    tensor([3., 3.])
    """
    check_at_least(batch_size, 1, "batch_size", "recalibrate")
    examples.check_several(inputs, "recalibrate")
    batches = inputs.split(batch_size) if isinstance(inputs, Tensor) else inputs
    return recalibrate_(model, batches)


def recalibrate_(model: nn.Module, batches: Iterable[examples.Example]) -> Recalibration:
    """Give BatchNorm layers the mean and variance of what flows into them, over all batches.

    Each batch is normalised by its own statistics on its way, as in training; everything else is in
    evaluation mode, so that nothing is dropped. The new statistics are those of all batches
    together, each value counting once, however large the batches: the mean, and the variance with
    n - 1 that torch keeps. Weights, modes and momenta stay; channels that are 0 stay 0.

    Raises UnsupportedModelError if there is no layer with such statistics; InputError if there is
    no batch, or one does not fit. Nothing is changed then.
    """
    layers: dict[str, _BatchNorm] = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }
    if not layers:
        raise UnsupportedModelError(
            f"`{type(model).__name__}` cannot be recalibrated: it has no BatchNorm layer that "
            "keeps statistics. Leave it as it is."
        )
    before = {name: (_mean(x).clone(), _variance(x).clone()) for name, x in layers.items()}
    moments = {name: Moments() for name in layers}
    n_batches = 0
    try:
        names = {layer: name for name, layer in layers.items()}

        def watch(layer: Any, x: Tensor) -> None:
            # each batch is normalised by its own statistics
            found = moments[names[layer]]
            _set(layer, *found.add(x.double().transpose(0, 1).flatten(1)))

        with examples.watching(model, names, watch):
            for batch in batches:
                examples.checked_run(model, examples.on_device_of(model, batch))
                n_batches += 1
        # what no batch reaches, such as a second head, stays as it is
        moments = {name: found for name, found in moments.items() if found.n}
        reached = sum(found.n for found in moments.values())
        require(reached, "inputs", "recalibrate", "batches that reach a BatchNorm layer", n_batches)
        for name, found in moments.items():
            found.check(name)
    except BaseException:
        for name, layer in layers.items():
            _set(layer, *before[name])
        raise
    shifts = []
    for name, found in moments.items():
        _set(layers[name], found.mean, found.variance)
        mean, variance = before[name]
        apart = (_mean(layers[name]) - mean).abs() / (variance + layers[name].eps).sqrt()
        shifts.append(float(apart.max()))
    return Recalibration(tuple(moments), n_batches, max(shifts))


def statistics_of(source: nn.Module, model: nn.Module) -> Recalibration:
    """Give a model the statistics of another of the same layers, such as a copy of it, in place."""
    shifts = {}
    layers = dict(model.named_modules())
    for name, new in source.named_modules():
        layer = layers.get(name)
        if (
            isinstance(new, _BatchNorm)
            and isinstance(layer, _BatchNorm)
            and new.running_mean is not None
        ):
            apart = (_mean(new) - _mean(layer)).abs() / (_variance(layer) + layer.eps).sqrt()
            shifts[name] = float(apart.max())
            _set(layer, _mean(new), _variance(new))
    return Recalibration(tuple(shifts), 1, max(shifts.values()))


class Moments:
    """Mean and variance of values that come in batches, merged without loss."""

    def __init__(self) -> None:
        self.n = 0
        self.mean: Tensor = torch.zeros(())
        self._squares: Tensor = torch.zeros(())

    def add(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Count the values (channels, n), and give their own mean and variance."""
        n = values.shape[1]
        mean = values.mean(1)
        squares = (values - mean[:, None]).square().sum(1)
        apart = mean - self.mean
        total = self.n + n
        # Chan, Golub and LeVeque (1983), which does not cancel as sums of squares do
        self._squares = self._squares + squares + apart.square() * (self.n * n / total)
        self.mean = self.mean + apart * (n / total)
        self.n = total
        return mean, squares / n

    @property
    def variance(self) -> Tensor:
        """With n - 1, as torch keeps it."""
        return self._squares / (self.n - 1)

    def check(self, name: str) -> None:
        """Raise InputError unless the values make up a mean and a variance."""
        if self.n < 2:
            raise InputError(
                f"`inputs` of `recalibrate` bring {self.n} values to `{name}`, and a "
                "variance needs two. Give more inputs."
            )
        if not (self.mean.isfinite().all() and self._squares.isfinite().all()):
            raise InputError(
                f"`inputs` of `recalibrate` bring NaN or infinity to `{name}`. Check the inputs."
            )


def _mean(layer: _BatchNorm) -> Tensor:
    assert layer.running_mean is not None
    return layer.running_mean


def _variance(layer: _BatchNorm) -> Tensor:
    assert layer.running_var is not None
    return layer.running_var


def _set(layer: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    with torch.no_grad():
        _mean(layer).copy_(mean)
        _variance(layer).copy_(variance)
