"""Training of classifiers, with injected noise, averaging, and exact resumption."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch.nn import functional

from prunable.errors import InputError
from prunable.nets.train.augmentation import augmented
from prunable.nets.train.averaging import IterateAverage
from prunable.nets.train.checkpoint import TrainingState
from prunable.nets.train.noise import HeavyTailedNoise, attach_noise
from prunable.numerics.randomness import child_seed

Log = list[dict[str, float]]
EVALUATED_AT_ONCE = 8192
# The activations of convolutions must stay near the processor.
PICTURES_AT_ONCE = 256
CHECKPOINT_SECONDS = 120.0


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Parameters
    ----------
    lr : float
        Learning rate at the start, > 0.
    steps : int
        Most optimizer steps, >= 1.
    batch_size : int
        Examples a step; the whole training set if at least its size. Batches come from
        a permutation drawn anew each epoch; the last, smaller batch is used.
    seed : int
        Run seed: batches and noise derive from it.
    noise : HeavyTailedNoise, optional
        Injected noise.
    average_last : int
        Number of last iterates to average; 0 for none. With a stop rule at most `extra_steps`,
        for only then is the first of them known in time.
    until_accuracy, until_loss : float, optional
        Stop rule, asked every `log_every` steps of the whole training set: accuracy at least the
        one and mean cross-entropy (nats) below the other.
    extra_steps : int
        Steps taken once the rule is met. All stay within `steps`: a rule met too late for them
        is not met.
    log_every : int
        Steps between evaluations of loss and accuracy on the training set.
    checkpoint_every : int
        Steps between checkpoints; there is another whenever two minutes have passed.
    optimizer : {"sgd", "adam"}
        Adam has torch's other defaults.
    momentum : float
        Of SGD, in [0, 1).
    weight_decay : float
        Factor of the weights added to the gradient, >= 0.
    schedule : {"constant", "cosine"}
        "cosine" lets the learning rate fall to 0 at the last step.
    augment : bool
        Crop and mirror the pictures of each batch at random; see `augmented`.
    """

    lr: float
    steps: int
    batch_size: int
    seed: int
    noise: HeavyTailedNoise | None = None
    average_last: int = 0
    until_accuracy: float | None = None
    until_loss: float | None = None
    extra_steps: int = 0
    log_every: int = 50
    checkpoint_every: int = 200
    optimizer: Literal["sgd", "adam"] = "sgd"
    momentum: float = 0.0
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    augment: bool = False

    def __post_init__(self) -> None:
        where = "TrainingSettings"
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise InputError.parameter("lr", where, "finite and positive", self.lr)
        for name in ("steps", "batch_size", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise InputError.parameter(name, where, "at least 1", getattr(self, name))
        if not 0 <= self.average_last <= self.steps:
            raise InputError.parameter(
                "average_last", where, "between 0 and `steps`", self.average_last
            )
        if self.until_accuracy is not None and not 0 < self.until_accuracy <= 1:
            raise InputError.parameter("until_accuracy", where, "in (0, 1]", self.until_accuracy)
        if self.until_loss is not None and not 0 < self.until_loss < math.inf:
            raise InputError.parameter("until_loss", where, "finite and positive", self.until_loss)
        if not 0 <= self.extra_steps < self.steps:
            raise InputError.parameter(
                "extra_steps",
                where,
                f"between 0 and below `steps` ({self.steps})",
                self.extra_steps,
            )
        for name, known in (("optimizer", ("sgd", "adam")), ("schedule", ("constant", "cosine"))):
            if getattr(self, name) not in known:
                raise InputError.parameter(name, where, f"one of {known}", getattr(self, name))
        if not 0 <= self.momentum < 1:
            raise InputError.parameter("momentum", where, "in [0, 1)", self.momentum)
        if self.momentum and self.optimizer != "sgd":
            raise InputError("`momentum` of `TrainingSettings` belongs to sgd; leave it out.")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise InputError.parameter(
                "weight_decay", where, "finite and not negative", self.weight_decay
            )
        if self.extra_steps and not self.has_stop_rule:
            raise InputError(
                "`extra_steps` of `TrainingSettings` follow a stop rule, and there is none. "
                "Give `until_accuracy` or `until_loss`, or leave them out."
            )
        if self.has_stop_rule and self.average_last > self.extra_steps:
            raise InputError.parameter(
                "average_last",
                where,
                f"at most `extra_steps` ({self.extra_steps}) with a stop rule",
                self.average_last,
                "When the rule is met, earlier iterates are gone.",
            )

    @property
    def has_stop_rule(self) -> bool:
        """Whether training may end before `steps`."""
        return self.until_accuracy is not None or self.until_loss is not None

    @property
    def stop_rule(self) -> str:
        """The rule in words, such as "training accuracy 1.0 and loss below 5e-05"."""
        parts = []
        if self.until_accuracy is not None:
            parts.append(f"accuracy {self.until_accuracy}")
        if self.until_loss is not None:
            parts.append(f"loss below {self.until_loss:g}")
        return f"training {' and '.join(parts)}"

    def meets_stop_rule(self, found: Mapping[str, float]) -> bool:
        """Whether the accuracy and loss of an evaluation meet the rule; without one, never."""
        return (
            self.has_stop_rule
            and (self.until_accuracy is None or found["accuracy"] >= self.until_accuracy)
            and (self.until_loss is None or found["loss"] < self.until_loss)
        )

    def last_step(self, met_at: int | None) -> int:
        """Step that training ends with if the rule was met at a step, or not yet (None)."""
        return self.steps if met_at is None else met_at + self.extra_steps

    def end_reason(self, met_at: int | None) -> str:
        """Why training ended if the rule was met at a step, or never (None)."""
        if met_at is not None:
            when = f" at step {met_at}" if self.extra_steps else ""
            return f"{self.stop_rule} reached{when}"
        missed = f", {self.stop_rule} not reached" if self.has_stop_rule else ""
        return f"all {self.steps} steps taken{missed}"

    def lr_at(self, step: int) -> float:
        """Learning rate of the step after `step` steps."""
        if self.schedule == "constant":
            return self.lr
        return self.lr * 0.5 * (1 + math.cos(math.pi * step / self.steps))


@dataclass(frozen=True)
class TrainingOutcome:
    """How a training run ended.

    Attributes
    ----------
    status : {"done", "diverged"}
    reason : str
        Why it diverged, or why it stopped.
    steps : int
        Optimizer steps taken.
    log : list of dict
        Rows with keys step, loss and accuracy (nats and share, on the training set).
    average : dict of str to Tensor, optional
        Mean of the last iterates, float64.
    stopped : bool
        Whether the stop rule was met.
    """

    status: Literal["done", "diverged"]
    reason: str
    steps: int
    log: Log = field(repr=False)
    average: dict[str, torch.Tensor] | None = field(default=None, repr=False)
    stopped: bool = False


def train(
    model: torch.nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    settings: TrainingSettings,
    *,
    checkpoint: Path | None = None,
    on_step: Callable[[int], None] | None = None,
    prepare: Callable[[torch.optim.Optimizer], object] | None = None,
) -> TrainingOutcome:
    """Train a classifier in place on the cross-entropy.

    Parameters
    ----------
    model : torch.nn.Module
        Maps (batch, ...) to (batch, classes).
    x : Tensor, shape (n, ...)
    y : Tensor, shape (n,), int64
        Classes.
    settings : TrainingSettings
    checkpoint : Path, optional
        File to resume from if it exists, and to write every `checkpoint_every` steps. A
        resumed run ends in the same weights, bit for bit, as an uninterrupted one.
    on_step : callable, optional
        Told the number of steps done, after each.
    prepare : callable, optional
        Given the optimizer before the first step; with `hold_masks` pruned weights stay 0.

    Returns
    -------
    TrainingOutcome
        `model` holds the last iterate.

    Raises
    ------
    InputError
        If shapes disagree or the data hold NaN or infinity.
    DataIntegrityError
        If the checkpoint is damaged or of another run.
    """
    if len(x) != len(y) or len(x) == 0:
        raise InputError.parameter("y", "train", f"as long as `x` ({len(x)}) and not empty", len(y))
    if not torch.isfinite(x).all():
        bad = int((~torch.isfinite(x)).sum())
        raise InputError.parameter(
            "x", "train", "finite", f"{bad} NaN or infinite values", "Clean the data first."
        )
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    optimizer = optimizer_for([p for _, p in trained], settings)
    if settings.noise is not None:
        attach_noise(optimizer, model.named_parameters(), settings.noise, seed=settings.seed)
    if prepare is not None:
        prepare(optimizer)
    average = IterateAverage(model.named_parameters()) if settings.average_last else None
    state = TrainingState(model, optimizer, average)

    step, log = 0, Log()
    met_at: int | None = None
    if checkpoint is not None and checkpoint.exists():
        progress = state.load(checkpoint)
        step, log, met_at = progress["step"], progress["log"], progress.get("met_at")

    def outcome(status: Literal["done", "diverged"], reason: str) -> TrainingOutcome:
        means = average.tensors() if average is not None and average.count else None
        return TrainingOutcome(status, reason, step, log, means, met_at is not None)

    batches = Batches(len(x), settings.batch_size, settings.seed)
    saved_at = time.monotonic()
    model.train()
    while step < (end := settings.last_step(met_at)):
        chosen = batches.at(step)
        inputs, labels = (x, y) if chosen is None else (x[chosen], y[chosen])
        if settings.augment:
            inputs = augmented(inputs, seed=settings.seed, step=step)
        for group in optimizer.param_groups:
            group["lr"] = settings.lr_at(step)
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(inputs), labels)
        if not torch.isfinite(loss):
            return outcome("diverged", f"the loss is {loss.item()} at step {step}")
        loss.backward()
        optimizer.step()
        step += 1
        if average is not None and step > end - settings.average_last:
            average.update()
        if step % settings.log_every == 0 or step == end:
            log.append({"step": step, **evaluate(model, x, y)})
            if not math.isfinite(log[-1]["loss"]):
                return outcome("diverged", f"the training loss is not finite at step {step}")
            in_time = step + settings.extra_steps <= settings.steps
            if met_at is None and in_time and settings.meets_stop_rule(log[-1]):
                met_at = step
                if settings.extra_steps == 0:
                    break
        overdue = time.monotonic() - saved_at > CHECKPOINT_SECONDS
        if checkpoint is not None and (overdue or step % settings.checkpoint_every == 0):
            state.save(checkpoint, {"step": step, "log": log, "met_at": met_at})
            saved_at = time.monotonic()
        if on_step is not None:
            on_step(step)
    return outcome("done", settings.end_reason(met_at))


@torch.no_grad()
def evaluate(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> dict[str, float]:
    """Loss and accuracies of a classifier.

    Parameters
    ----------
    model : torch.nn.Module
    x : Tensor, shape (n, ...)
    y : Tensor, shape (n,), int64

    Returns
    -------
    dict
        loss (mean cross-entropy, nats), accuracy (share right), balanced_accuracy (mean
        over the classes present of the share right).
    """
    logits = predict(model, x)
    right = (logits.argmax(1) == y).double()
    counts = torch.bincount(y).double()
    right_by_class = torch.bincount(y, weights=right)
    present = counts > 0
    return {
        "loss": functional.cross_entropy(logits.double(), y).item(),
        "accuracy": right.mean().item(),
        "balanced_accuracy": (right_by_class[present] / counts[present]).mean().item(),
    }


@torch.no_grad()
def predict(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Outputs of a model in evaluation mode, a bounded number of examples at a time.

    Parameters
    ----------
    model : torch.nn.Module
        Left in the mode it was in.
    x : Tensor, shape (n, ...)

    Returns
    -------
    Tensor, shape (n, ...)
    """
    training = model.training
    model.eval()
    try:
        at_once = PICTURES_AT_ONCE if x.ndim == 4 else EVALUATED_AT_ONCE
        return torch.cat([model(part) for part in x.split(at_once)])
    finally:
        model.train(training)


def optimizer_for(
    parameters: list[torch.nn.Parameter], settings: TrainingSettings
) -> torch.optim.Optimizer:
    """The optimizer that settings name, over these parameters."""
    if settings.optimizer == "adam":
        return torch.optim.Adam(parameters, settings.lr, weight_decay=settings.weight_decay)
    return torch.optim.SGD(
        parameters, settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
    )


class Batches:
    """Batches as a function of the step alone, so that they need no saved state."""

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        self._count, self._size, self._seed = count, batch_size, seed
        self._per_epoch = -(-count // batch_size)
        self._epoch, self._order = -1, torch.empty(0)

    def at(self, step: int) -> torch.Tensor | None:
        """Indices of the step's examples; None for all of them in their order."""
        if self._size >= self._count:
            return None
        epoch, batch = divmod(step, self._per_epoch)
        if epoch != self._epoch:
            generator = torch.Generator()
            generator.manual_seed(child_seed(self._seed, "batches", epoch))
            self._epoch = epoch
            self._order = torch.randperm(self._count, generator=generator)
        return self._order[batch * self._size : (batch + 1) * self._size]
