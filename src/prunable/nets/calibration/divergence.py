"""How far the outputs of a network move, on unlabelled inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from prunable.errors import InputError
from prunable.nets.networks.equality import tensors_in
from prunable.nets.networks.examples import Example, checked_run, scores_of, uncached
from prunable.nets.networks.parametrized import plain_copy
from prunable.nets.prune.choices import Outputs

AT_ONCE = 2**24  # scores that a probe compares, or a few more
LEAST_PROBABILITY = 1e-37  # below which single precision has none


class Probe:
    """A copy of a network that is run with other weights, and how far its outputs then are.

    With `by_batch` BatchNorm goes by the statistics of each batch, as those of a network do that
    are estimated again, and not by those that the network holds.
    """

    def __init__(
        self, model: nn.Module, batches: Sequence[Example], kind: Outputs, by_batch: bool = False
    ) -> None:
        self._model = plain_copy(model)
        if by_batch:
            normalising(self._model)
        self._named = dict(self._model.named_parameters())
        self._batches, self._kind = batches, kind
        self._expected = self._outputs()
        self.n_runs = 0

    def weight(self, name: str) -> Tensor:
        """A weight as it is."""
        return self._named[name].detach()

    @torch.no_grad()
    def divergence(self, weights: Mapping[str, Tensor]) -> float:
        """How far the outputs move with these weights in place of the network's own.

        Raises InputError if outputs are not finite.
        """
        own = {name: self._named[name].detach().clone() for name in weights}
        try:
            for name, weight in weights.items():
                self._named[name].copy_(weight)
            found = divergence(self._expected, self._outputs(), bounded=True)
        finally:
            for name, weight in own.items():
                self._named[name].copy_(weight)
        self.n_runs += 1
        if not math.isfinite(found):
            raise InputError(
                "`calibration` of `prune` gives outputs that are not finite where "
                f"`{next(iter(weights))}` is pruned. Check the inputs."
            )
        return found

    def _outputs(self) -> list[list[tuple[Tensor, bool]]]:
        with uncached(self._model):
            return [
                outputs_of_batch(self._model, batch, self._kind, AT_ONCE // len(self._batches))
                for batch in self._batches
            ]


def normalising(model: nn.Module) -> nn.Module:
    """The model as it is when evaluated, but for BatchNorm, which goes by each batch."""
    model.eval()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.train()
            module.track_running_stats, module.running_mean, module.running_var = False, None, None
    return model


def outputs_of_batch(
    model: nn.Module, batch: Example, kind: Outputs, at_most: int | None = None
) -> list[tuple[Tensor, bool]]:
    """The tensors that a model gives for a batch, and whether they are scores of classes.

    Of scores of very many classes at many places evenly spread places are taken, so that there are
    about `at_most` numbers.
    """
    output = checked_run(model, batch)
    scores = scores_of(output)
    if isinstance(scores, Tensor) and kind == "logits":
        classes = scores is not output or (scores.ndim == 2 and scores.shape[1] > 1)
        if classes and at_most is not None:
            places = scores.flatten(0, -2)
            scores = places[:: max(1, places.numel() // at_most)]
        return [(scores.double(), classes)]
    return [(x.double(), False) for x in tensors_in(output) if x.is_floating_point()]


def divergence(
    expected: Sequence[Sequence[tuple[Tensor, bool]]],
    found: Sequence[Sequence[tuple[Tensor, bool]]],
    bounded: bool = False,
) -> float:
    """How far outputs are from those expected, batch by batch as `outputs_of_batch` gives them.

    Of scores of classes the mean Kullback-Leibler divergence of their softmax, or of themselves
    where they are probabilities; if `bounded`, that of Jensen and Shannon, of which no input has
    more than ln 2, however surely it is taken for something else. Of other outputs the squared
    error relative to their variance, of (n, k) to that of each. Not finite where outputs are not.
    """
    total = 0.0
    for wanted, got in zip(zip(*expected, strict=True), zip(*found, strict=True), strict=True):
        scored = wanted[0][1]
        table = wanted[0][0].ndim == 2
        a, b = (
            torch.cat([x.flatten(0, -2) if scored or table else x.flatten() for x, _ in part])
            for part in (wanted, got)
        )
        if scored:
            given = bool((a >= 0).all()) and bool(((a.sum(1) - 1).abs() < 1e-4).all())
            one, other = (_logs(x, given) for x in (a, b))
            middle = torch.logaddexp(one, other) - math.log(2) if bounded else other
            sides = (one, other) if bounded else (one,)
            total += sum(float((x.exp() * (x - middle)).sum(1).mean()) for x in sides) / len(sides)
        else:
            spread = (a - a.mean(0)).square().sum(0)
            total += float(((a - b).square().sum(0) / torch.where(spread > 0, spread, 1.0)).mean())
    return total


def _logs(scores: Tensor, probabilities: bool) -> Tensor:
    """Logarithms of probabilities, from scores of classes unless they are such already."""
    return scores.clamp_min(LEAST_PROBABILITY).log() if probabilities else scores.log_softmax(1)
