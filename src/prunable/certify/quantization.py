"""Quantisation-aware fine-tuning: pruned weights become small integers while they are trained.

Weights are rounded to {-L, ..., L} times a step of their layer in the forward pass, and the
gradient passes the rounding as if it were not there (straight-through, Bengio et al. 2013);
the step is trained too (as in Esser et al. 2020). The bits that the integers will cost are
part of the loss: each weight pays the interpolated code length of its level, with lengths
from the layer's own histogram.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import nn
from torch.nn import functional

from prunable.certify.architecture import CodedArchitecture, FloatNetwork, forward, without_weights
from prunable.certify.code_file import CodedNetwork, coded_from_levels
from prunable.errors import InputError, RunsFailedError, require
from prunable.nets.train.checkpoint import TrainingState
from prunable.numerics.randomness import child_seed
from prunable.numerics.weights.selection import top_k_masks
from prunable.runs.spec import Frozen

BIAS_LEVELS = 8
HIDDEN_BIAS_STEP = 0.25
_HISTOGRAM_EVERY = 50
_WARM_UP = 300
_TURNED = 0.7  # share of all steps after which the loss has its q
OnEpoch = Callable[[int, float], None]  # told the epochs done, and the mean loss of the last
OnPhase = Callable[[str, int, float], None]  # which training it is, before these
Log = list[dict[str, float]]


class DivergedError(RunsFailedError):
    """Training left the finite numbers."""


class QuantizationSettings(Frozen):
    """How to train, prune and quantise."""

    epochs: int = Field(60, ge=0)  # all, where 0 rounds what is there
    # the first, without rounding, in whose second half iterative global magnitude pruning happens
    float_epochs: int = Field(4, ge=0)
    prune_rounds: int = Field(2, ge=1)
    levels: int = Field(2, ge=1)  # L, the largest magnitude of an integer
    batch_size: int = Field(128, ge=1)
    # share of weights that pruning keeps, in `prune_rounds` rounds, each with fine-tuning
    keep: float = Field(0.9, gt=0, le=1)
    rate: float = Field(1e-4, ge=0)  # price of one bit of code in nats of the mean loss
    # largest step size of Adam; it rises over 300 steps, or a tenth of all, and falls by a cosine
    lr: float = Field(5e-3, gt=0)
    # the loss turns from cross-entropy to (1 - p^q) / q of the label's probability p, nearer to
    # a count of errors, over the first 70 % of steps
    q: float = Field(0.0, ge=0, le=1)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _epochs_suffice(self) -> Self:
        where, wanted = type(self).__name__, "between 0 and `epochs`"
        require(self.float_epochs <= self.epochs, "float_epochs", where, wanted, self.float_epochs)
        return self


def round_straight_through(value: torch.Tensor) -> torch.Tensor:
    """Round half to even; the gradient passes unchanged."""
    return value.round().detach() + (value - value.detach())


def generalized_cross_entropy(logits: torch.Tensor, y: torch.Tensor, q: float) -> torch.Tensor:
    """Mean of (1 - p^q) / q over examples, p the label's probability (Zhang and Sabuncu 2018).

    At q = 0 it is cross-entropy, at q = 1 the expected share of errors of a class that is drawn.
    What is hopelessly wrong matters less than what is near the boundary between classes.

    >>> logits, y = torch.tensor([[0.0, 0.0]]), torch.tensor([1])
    >>> [round(float(generalized_cross_entropy(logits, y, q)), 3) for q in (0, 0.5, 1)]
    [0.693, 0.586, 0.5]
    """
    minus_log = functional.cross_entropy(logits, y, reduction="none")
    return (-torch.expm1(-q * minus_log) / q if q else minus_log).mean()


class QuantizedNet(nn.Module):
    """Trainable network whose weights round to integers times a step.

    Its parameters are latent weights, biases and one step a layer, and the temperature, the
    logarithm of the factor of the logits in the loss, which is not part of the network. Exact
    zeros of the given weights stay pruned.
    """

    def __init__(
        self,
        architecture: CodedArchitecture,
        levels: int,
        weights: Sequence[torch.Tensor],
        biases: Sequence[torch.Tensor],
    ) -> None:
        for tensor in (*weights, *biases):
            if not torch.isfinite(tensor).all():
                raise InputError("the network holds weights that are NaN or infinite.")
        super().__init__()
        self.architecture, self.levels = architecture, levels
        for layer, weight in enumerate(weights):
            mask = (weight != 0).float()
            self.register_buffer(f"mask{layer}", mask if mask.mean() <= 0.999 else mask * 0 + 1)
        self.weights = nn.ParameterList(w.clone().float() for w in weights)
        self.biases = nn.ParameterList(b.clone().float() for b in biases)
        steps = (_step_for(w, m, levels) for w, m in zip(weights, self.masks, strict=True))
        self.steps = nn.ParameterList(steps)
        self.temperature = nn.Parameter(torch.zeros(()))
        self.requires_grad_(False)

    @classmethod
    def fresh(cls, architecture: CodedArchitecture, levels: int, seed: int) -> QuantizedNet:
        """Draw a network (He et al. 2015)."""
        generator = torch.Generator().manual_seed(child_seed(seed, "certify", "weights"))
        weights = []
        for place, shape in enumerate(architecture.shapes):
            gain = 1 if place == len(architecture.shapes) - 1 else 2
            scale = math.sqrt(gain / (shape[1] * shape[2] * shape[3]))
            weights.append(torch.randn(shape, generator=generator) * scale)
        return cls(architecture, levels, weights, [torch.zeros(len(w)) for w in weights])

    @property
    def masks(self) -> list[torch.Tensor]:
        """1 where a weight is kept, for each layer."""
        return list(self.buffers())

    def _step(self, layer: int) -> torch.Tensor:
        return self.steps[layer].abs() + 1e-8

    def _masked(self, layer: int) -> torch.Tensor:
        return self.weights[layer] * self.get_buffer(f"mask{layer}")

    def integers(self, layer: int) -> torch.Tensor:
        """Rounded weights of a layer, with a gradient; shape of the layer."""
        scaled = self._masked(layer) / self._step(layer)
        return round_straight_through(scaled.clamp(-self.levels, self.levels))

    def bias_integers(self, layer: int) -> torch.Tensor:
        """Rounded biases of a layer, in units of `bias_step`."""
        scaled = self.biases[layer] / self.bias_step(layer)
        return round_straight_through(scaled.clamp(-BIAS_LEVELS, BIAS_LEVELS))

    def bias_step(self, layer: int) -> torch.Tensor:
        """Step of the biases: a quarter behind a normalisation, else the step of the weights."""
        if self.architecture.normalised and layer < len(self.weights) - 1:
            return torch.full_like(self.temperature, HIDDEN_BIAS_STEP).detach()
        return self._step(layer).detach()

    def logits(self, x: torch.Tensor, *, rounded: bool, begun: bool = False) -> torch.Tensor:
        """Logits of shape (batch, classes), of the rounded or the latent network.

        Inputs that have `begun` are what `without_weights` gives.
        """
        layers = range(len(self.weights))
        if rounded:
            weights = [self.integers(layer) * self._step(layer) for layer in layers]
            biases = [self.bias_integers(layer) * self.bias_step(layer) for layer in layers]
        else:
            weights, biases = [self._masked(layer) for layer in layers], list(self.biases)
        return forward(self.architecture, x, weights, biases, begun=begun)

    def code_cost(self, slopes: Sequence[torch.Tensor]) -> torch.Tensor:
        """Bits of all weights, interpolated between levels; without a constant."""
        total = torch.zeros_like(self.temperature)
        for layer, slope in enumerate(slopes):
            size = (self._masked(layer) / self._step(layer).detach()).abs().clamp(max=self.levels)
            below = size.detach().floor().long().clamp(max=self.levels - 1)
            total = total + (slope[below] * size).sum()
        return total

    @torch.no_grad()
    def slopes(self) -> list[torch.Tensor]:
        """For each layer, bits from one magnitude to the next, by the layer's histogram."""
        found = []
        for layer in range(len(self.weights)):
            sizes = self.integers(layer).abs().long().flatten()
            counts = torch.bincount(sizes, minlength=self.levels + 1).float() + 0.5
            lengths = -torch.log2(counts / counts.sum())
            lengths[1:] += 1  # the sign
            found.append((lengths[1:] - lengths[:-1]).clamp(min=0))
        return found

    @torch.no_grad()
    def prune(self, keep: float) -> None:
        """Keep a share of all weights, the largest of all layers; of ties the first.

        Where layers are normalised, and their scale means nothing, weights count in units of
        their layer's root mean square.
        """
        masks = self.masks
        scores = [self._masked(layer).abs() for layer in range(len(masks))]
        if self.architecture.normalised:
            scores = [
                score / score.square().sum().div(m.sum().clamp(min=1)).sqrt()
                for score, m in zip(scores, masks, strict=True)
            ]
        kept = max(1, round(keep * self.architecture.n_weights))
        chosen = top_k_masks([torch.nan_to_num(score).cpu().numpy() for score in scores], kept)
        for mask, its in zip(masks, chosen, strict=True):
            mask *= torch.from_numpy(its).to(mask.device)

    @torch.no_grad()
    def fit_steps(self) -> None:
        """Set every step anew to suit the weights kept; after pruning much of a network."""
        for step, weight, mask in zip(self.steps, self.weights, self.masks, strict=True):
            step.copy_(_step_for(weight, mask, self.levels))

    @property
    def kept(self) -> float:
        """Share of weights not pruned."""
        return float(sum(m.sum() for m in self.masks)) / self.architecture.n_weights

    @torch.no_grad()
    def coded(self) -> CodedNetwork:
        """The integers of the network."""
        layers = range(len(self.weights))
        return coded_from_levels(
            self.architecture,
            [self.integers(layer).numpy().astype(np.int64) for layer in layers],
            [self.bias_integers(layer).numpy().astype(np.int64) for layer in layers],
            [float(step.abs()) + 1e-8 for step in self.steps],
            [float(self.bias_step(layer)) for layer in layers],
        )

    @torch.no_grad()
    def pruned(self) -> FloatNetwork:
        """The latent network, where weights that round to zero are pruned too."""
        layers = range(len(self.weights))
        weights = [self._masked(layer) * (self.integers(layer) != 0) for layer in layers]
        return FloatNetwork(self.architecture, weights, [b.detach() for b in self.biases])


def _step_for(weight: torch.Tensor, mask: torch.Tensor, levels: int) -> torch.Tensor:
    """Step that puts the mean kept magnitude at 1 / 1.4 of the largest level."""
    mean = float((weight * mask).abs().sum() / mask.sum().clamp(min=1))
    return torch.tensor(1.4 * mean / levels if mean > 0 else 1.0)


def fine_tune(
    net: QuantizedNet,
    x: torch.Tensor,
    y: torch.Tensor,
    settings: QuantizationSettings,
    *,
    checkpoint: Path | str | None = None,
    on_epoch: OnEpoch | None = None,
) -> Log:
    """Train in place: float epochs, iterative pruning with fine-tuning, then with rounding.

    Inputs are (n, channels, height, width) of float32. The checkpoint is written after every epoch;
    training resumes from it and ends with the same numbers as without interruption. Gives rows with
    epoch, loss and kept; raises DivergedError if loss or weights do not stay finite.
    """
    mend = "An empty training set teaches nothing."
    require(len(y), "x", "fine_tune", "at least 1 example", "none", mend)
    x, y = x.to(net.temperature.device), y.to(net.temperature.device)
    x = without_weights(net.architecture, x)
    net.requires_grad_(True)
    groups = (((*net.weights, *net.biases), 1.0), (net.steps, 0.1), ((net.temperature,), 3.0))
    optimizer = torch.optim.Adam([{"params": list(p), "lr": settings.lr} for p, _ in groups])
    state, log = TrainingState(net, optimizer), Log()
    if checkpoint and Path(checkpoint).exists():
        log = state.load(checkpoint)["log"]
    batch = min(settings.batch_size, len(y))
    per_epoch = len(y) // batch
    total, warm = settings.epochs * per_epoch, settings.float_epochs * per_epoch
    rise = min(_WARM_UP, max(1, total // 10))
    for epoch in range(len(log), settings.epochs):
        _prune_on_schedule(net, epoch, settings)
        seed = child_seed(settings.seed, "certify", "batches", epoch)
        order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
        mean_loss, slopes = 0.0, list[torch.Tensor]()
        for place in range(per_epoch):
            step = epoch * per_epoch + place
            factor = min(1.0, (step + 1) / rise)
            factor *= 0.5 * (1 + math.cos(math.pi * step / total)) + 0.005
            for group, (_, relative) in zip(optimizer.param_groups, groups, strict=True):
                group["lr"] = settings.lr * relative * factor
            chosen = order[place * batch : (place + 1) * batch]
            logits = net.logits(x[chosen], rounded=step >= warm, begun=True)
            logits = logits * net.temperature.exp()
            q = settings.q * min(1.0, step / (_TURNED * total))
            loss = generalized_cross_entropy(logits, y[chosen], q)
            _check_finite(epoch, loss)
            mean_loss += float(loss.detach()) / per_epoch
            if settings.rate > 0 and 2 * step >= warm:
                if not slopes or step % _HISTOGRAM_EVERY == 0:
                    slopes = net.slopes()
                ramp = min(1.0, (step - 0.5 * warm) / (0.3 * total))
                loss = loss + settings.rate * ramp * net.code_cost(slopes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        _check_finite(epoch, *net.parameters())
        log.append({"epoch": epoch + 1, "loss": mean_loss, "kept": net.kept})
        if checkpoint:
            state.save(checkpoint, {"log": log})
        if on_epoch:
            on_epoch(epoch + 1, mean_loss)
    net.requires_grad_(False)
    return log


def _check_finite(epoch: int, *tensors: torch.Tensor) -> None:
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
        raise DivergedError(
            f"training diverged in epoch {epoch + 1}: loss or weights are NaN or infinite. Lower "
            "`lr`, or check the data for NaN."
        )


def _prune_on_schedule(net: QuantizedNet, epoch: int, settings: QuantizationSettings) -> None:
    """Prune geometrically, in rounds spread over the second half of the float epochs."""
    if settings.keep >= 1:
        return
    start = settings.float_epochs // 2
    gap = max(1, (settings.float_epochs - start) // settings.prune_rounds)
    round_, rest = divmod(epoch - start, gap)
    if epoch >= start and rest == 0 and round_ < settings.prune_rounds:
        net.prune(settings.keep ** ((round_ + 1) / settings.prune_rounds))
