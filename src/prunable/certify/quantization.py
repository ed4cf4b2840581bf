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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from prunable.certify.architecture import Architecture, forward
from prunable.errors import DataIntegrityError, InputError
from prunable.files import atomic_write
from prunable.numerics.randomness import child_seed

BIAS_LEVELS = 8
HIDDEN_BIAS_STEP = 0.25
_HISTOGRAM_EVERY = 50
_WARM_UP = 300
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class QuantizationSettings:
    """How to train, prune and quantise.

    Parameters
    ----------
    epochs : int
        All epochs; 0 rounds what is there.
    float_epochs : int
        First epochs, without rounding; pruning happens within the second half of them.
    keep : float
        Share of weights that iterative global magnitude pruning keeps, in (0, 1].
    prune_rounds : int
        Rounds of pruning, each followed by fine-tuning.
    levels : int
        L, the largest magnitude of an integer, >= 1.
    rate : float
        Price of one bit of code in nats of the mean loss, >= 0.
    lr : float
        Largest rate of Adam; it rises over 300 steps, or a tenth of all, and falls by a
        cosine.
    batch_size : int
    seed : int
    smoothing : float
        Label smoothing in [0, 1).
    """

    epochs: int = 60
    float_epochs: int = 4
    keep: float = 0.9
    prune_rounds: int = 2
    levels: int = 2
    rate: float = 1e-4
    lr: float = 5e-3
    batch_size: int = 128
    seed: int = 0
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        where = "QuantizationSettings"
        for name, least in (("epochs", 0), ("levels", 1), ("batch_size", 1), ("prune_rounds", 1)):
            if getattr(self, name) < least:
                raise InputError.parameter(name, where, f"at least {least}", getattr(self, name))
        if not 0 <= self.float_epochs <= self.epochs:
            raise InputError.parameter(
                "float_epochs", where, "between 0 and `epochs`", self.float_epochs
            )
        if not 0 < self.keep <= 1:
            raise InputError.parameter("keep", where, "in (0, 1]", self.keep)
        if not 0 <= self.smoothing < 1:
            raise InputError.parameter("smoothing", where, "in [0, 1)", self.smoothing)
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise InputError.parameter("lr", where, "finite and positive", self.lr)
        if not (math.isfinite(self.rate) and self.rate >= 0):
            raise InputError.parameter("rate", where, "finite and at least 0", self.rate)


class _Round(torch.autograd.Function):
    """Rounding with the gradient of the identity."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        del ctx
        return value.round()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        del ctx
        return gradient


def round_straight_through(value: torch.Tensor) -> torch.Tensor:
    """Round half to even; the gradient passes unchanged."""
    rounded: torch.Tensor = _Round.apply(value)
    return rounded


@dataclass
class QuantizedNet:
    """Trainable network whose weights round to integers times a step.

    Attributes
    ----------
    architecture : Architecture
    levels : int
    weights, biases, steps : list of Tensor
        Latent weights, biases, and one step a layer.
    masks : list of Tensor
        1 where a weight is kept.
    temperature : Tensor
        Logarithm of the factor of the logits in the loss; not part of the network.
    """

    architecture: Architecture
    levels: int
    weights: list[torch.Tensor]
    biases: list[torch.Tensor]
    steps: list[torch.Tensor]
    masks: list[torch.Tensor]
    temperature: torch.Tensor = field(default_factory=lambda: torch.zeros(()))

    @classmethod
    def fresh(cls, architecture: Architecture, levels: int, seed: int) -> QuantizedNet:
        """Draw a network (He et al. 2015)."""
        generator = torch.Generator().manual_seed(child_seed(seed, "certify", "weights"))
        weights = []
        for place, shape in enumerate(architecture.shapes):
            gain = 1 if place == len(architecture.shapes) - 1 else 2
            scale = math.sqrt(gain / (shape[1] * shape[2] * shape[3]))
            weights.append(torch.randn(shape, generator=generator) * scale)
        return cls.of(architecture, levels, weights, [torch.zeros(len(w)) for w in weights])

    @classmethod
    def of(
        cls,
        architecture: Architecture,
        levels: int,
        weights: Sequence[torch.Tensor],
        biases: Sequence[torch.Tensor],
    ) -> QuantizedNet:
        """Start from given tensors; exact zeros stay pruned.

        Raises
        ------
        InputError
            If a tensor holds NaN or infinite values.
        """
        for tensor in (*weights, *biases):
            if not torch.isfinite(tensor).all():
                raise InputError("the network holds weights that are NaN or infinite.")
        kept = [(w != 0).float() for w in weights]
        fixed = [torch.ones_like(m) if m.mean() > 0.999 else m for m in kept]
        steps = [_step_for(w, m, levels) for w, m in zip(weights, fixed, strict=True)]
        return cls(
            architecture,
            levels,
            [w.clone().float() for w in weights],
            [b.clone().float() for b in biases],
            steps,
            fixed,
        )

    def integers(self, layer: int) -> torch.Tensor:
        """Rounded weights of a layer, with a gradient; shape of the layer."""
        step = self.steps[layer].abs() + 1e-8
        scaled = (self.weights[layer] * self.masks[layer]) / step
        return round_straight_through(scaled.clamp(-self.levels, self.levels))

    def bias_integers(self, layer: int) -> torch.Tensor:
        """Rounded biases of a layer, in units of `bias_step`."""
        scaled = self.biases[layer] / self.bias_step(layer)
        return round_straight_through(scaled.clamp(-BIAS_LEVELS, BIAS_LEVELS))

    def bias_step(self, layer: int) -> torch.Tensor:
        """Step of the biases: a quarter behind a normalisation, else the step of the weights."""
        if self.architecture.normalised and layer < len(self.weights) - 1:
            return torch.tensor(HIDDEN_BIAS_STEP)
        return self.steps[layer].detach().abs() + 1e-8

    def logits(self, x: torch.Tensor, *, rounded: bool) -> torch.Tensor:
        """Logits of shape (batch, classes), of the rounded or the latent network."""
        weights, biases = [], []
        for layer in range(len(self.weights)):
            if rounded:
                step = self.steps[layer].abs() + 1e-8
                weights.append(self.integers(layer) * step)
                biases.append(self.bias_integers(layer) * self.bias_step(layer))
            else:
                weights.append(self.weights[layer] * self.masks[layer])
                biases.append(self.biases[layer])
        return forward(self.architecture, x, weights, biases)

    def code_cost(self, slopes: Sequence[torch.Tensor]) -> torch.Tensor:
        """Bits of all weights, interpolated between levels; without a constant."""
        total = torch.zeros(())
        for layer, slope in enumerate(slopes):
            step = self.steps[layer].detach().abs() + 1e-8
            size = (self.weights[layer] * self.masks[layer] / step).abs().clamp(max=self.levels)
            below = size.detach().floor().long().clamp(max=self.levels - 1)
            total = total + (slope[below] * size).sum()
        return total

    def slopes(self) -> list[torch.Tensor]:
        """For each layer, bits from one magnitude to the next, by the layer's histogram."""
        found = []
        with torch.no_grad():
            for layer in range(len(self.weights)):
                sizes = self.integers(layer).abs().long().flatten()
                counts = torch.bincount(sizes, minlength=self.levels + 1).float() + 0.5
                lengths = -torch.log2(counts / counts.sum())
                lengths[1:] += 1  # the sign
                found.append((lengths[1:] - lengths[:-1]).clamp(min=0))
        return found

    def prune(self, keep: float) -> None:
        """Keep a share of all weights, the largest of all layers.

        Where layers are normalised, and their scale means nothing, weights count in units of
        their layer's root mean square.
        """
        scores = [(w.detach() * m).abs() for w, m in zip(self.weights, self.masks, strict=True)]
        if self.architecture.normalised:
            scores = [
                score / score.square().sum().div(m.sum().clamp(min=1)).sqrt()
                for score, m in zip(scores, self.masks, strict=True)
            ]
        flat = torch.nan_to_num(torch.cat([s.flatten() for s in scores]))
        kept = torch.zeros_like(flat)
        kept[flat.argsort(descending=True, stable=True)[: max(1, round(keep * len(flat)))]] = 1
        parts = kept.split([m.numel() for m in self.masks])
        self.masks = [m * p.reshape(m.shape) for m, p in zip(self.masks, parts, strict=True)]

    def fit_steps(self) -> None:
        """Set every step anew to suit the weights kept; after pruning much of a network."""
        self.steps = [
            _step_for(w.detach(), m, self.levels)
            for w, m in zip(self.weights, self.masks, strict=True)
        ]

    @property
    def kept(self) -> float:
        """Share of weights not pruned."""
        return float(sum(m.sum() for m in self.masks)) / self.architecture.n_weights


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
    checkpoint: Path | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
) -> list[dict[str, float]]:
    """Train in place: float epochs, iterative pruning with fine-tuning, then with rounding.

    Parameters
    ----------
    net : QuantizedNet
    x : Tensor, shape (n, channels, height, width), float32
    y : Tensor of int64, shape (n,)
    settings : QuantizationSettings
    checkpoint : Path, optional
        Written after every epoch and deleted at the end; training resumes from it and
        ends with the same numbers as without interruption.
    on_epoch : callable, optional
        Told the epochs done and their mean loss.

    Returns
    -------
    list of dict
        Rows with epoch, loss and kept.

    Raises
    ------
    InputError
        If there is no example, or the loss is not finite.
    DataIntegrityError
        If the checkpoint is of another network.
    """
    if not len(y):
        raise InputError.parameter(
            "x", "fine_tune", "at least 1 example", "none", "An empty training set teaches nothing."
        )
    parameters = [*net.weights, *net.biases, *net.steps, net.temperature]
    for parameter in parameters:
        parameter.requires_grad_(True)
    groups = ((net.weights + net.biases, 1.0), (net.steps, 0.1), ([net.temperature], 3.0))
    optimizer = torch.optim.Adam([{"params": list(p), "lr": settings.lr} for p, _ in groups])
    log: list[dict[str, float]] = []
    first = _resume(checkpoint, net, optimizer, parameters, log) if checkpoint else 0
    batch = min(settings.batch_size, len(y))
    per_epoch = len(y) // batch
    total, warm = settings.epochs * per_epoch, settings.float_epochs * per_epoch
    rise = min(_WARM_UP, max(1, total // 10))
    slopes: list[torch.Tensor] = []
    for epoch in range(first, settings.epochs):
        _prune_on_schedule(net, epoch, settings)
        generator = torch.Generator().manual_seed(
            child_seed(settings.seed, "certify", "batches", epoch)
        )
        order = torch.randperm(len(y), generator=generator)
        mean_loss = 0.0
        for place in range(per_epoch):
            step = epoch * per_epoch + place
            factor = min(1.0, (step + 1) / rise)
            factor *= 0.5 * (1 + math.cos(math.pi * step / total)) + 0.005
            for group, (_, relative) in zip(optimizer.param_groups, groups, strict=True):
                group["lr"] = settings.lr * relative * factor
            chosen = order[place * batch : (place + 1) * batch]
            logits = net.logits(x[chosen], rounded=step >= warm) * net.temperature.exp()
            loss = functional.cross_entropy(logits, y[chosen], label_smoothing=settings.smoothing)
            mean_loss += float(loss.detach()) / per_epoch
            if settings.rate > 0 and 2 * step >= warm:
                if not slopes or step % _HISTOGRAM_EVERY == 0:
                    slopes = net.slopes()
                ramp = min(1.0, (step - 0.5 * warm) / (0.3 * total))
                loss = loss + settings.rate * ramp * net.code_cost(slopes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if not math.isfinite(mean_loss):
            raise InputError(
                f"training diverged in epoch {epoch + 1}: the loss is {mean_loss}. Lower `lr`, "
                "or check the data for NaN."
            )
        log.append({"epoch": epoch + 1, "loss": mean_loss, "kept": net.kept})
        slopes = []
        if checkpoint:
            _save(checkpoint, net, optimizer, parameters, log)
        if on_epoch:
            on_epoch(epoch + 1, mean_loss)
    for parameter in parameters:
        parameter.requires_grad_(False)
    return log


def _prune_on_schedule(net: QuantizedNet, epoch: int, settings: QuantizationSettings) -> None:
    """Prune geometrically, in rounds spread over the second half of the float epochs."""
    if settings.keep >= 1:
        return
    start = max(settings.float_epochs // 2, 0)
    gap = max(1, (settings.float_epochs - start) // settings.prune_rounds)
    round_, rest = divmod(epoch - start, gap)
    if epoch >= start and rest == 0 and round_ < settings.prune_rounds:
        net.prune(settings.keep ** ((round_ + 1) / settings.prune_rounds))


def _save(
    path: Path,
    net: QuantizedNet,
    optimizer: torch.optim.Optimizer,
    parameters: Sequence[torch.Tensor],
    log: list[dict[str, float]],
) -> None:
    state = {
        "parameters": [p.detach() for p in parameters],
        "masks": net.masks,
        "optimizer": optimizer.state_dict(),
        "log": log,
    }
    atomic_write(path, lambda temporary: torch.save(state, temporary))


def _resume(
    path: Path,
    net: QuantizedNet,
    optimizer: torch.optim.Optimizer,
    parameters: Sequence[torch.Tensor],
    log: list[dict[str, float]],
) -> int:
    if not path.exists():
        return 0
    try:
        state = torch.load(path, weights_only=True)
        stored = state["parameters"]
        if [p.shape for p in stored] != [p.shape for p in parameters]:
            raise ValueError("its tensors have other shapes")
        with torch.no_grad():
            for parameter, value in zip(parameters, stored, strict=True):
                parameter.copy_(value)
        net.masks = state["masks"]
        optimizer.load_state_dict(state["optimizer"])
        log.extend(state["log"])
    except Exception as error:
        raise DataIntegrityError(
            f"{path} is not a checkpoint of this training ({error}). Delete it to start again."
        ) from error
    return len(log)
