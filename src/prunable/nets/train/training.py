"""Training of classifiers, with injected noise, averaging, and exact resumption.

There is one loop, `advance`. What differs between one network and many is who leaves the
gradients in the parameters: automatic differentiation here, a stack of networks in `batched`.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch.nn import functional

from prunable.errors import InputError, require
from prunable.nets.networks.examples import scores_of
from prunable.nets.train.averaging import IterateAverage
from prunable.nets.train.checkpoint import TrainingState
from prunable.nets.train.noise import attach_noise
from prunable.nets.train.settings import Log, TrainingOutcome, TrainingSettings
from prunable.numerics.randomness import child_seed

EVALUATED_AT_ONCE = 8192
# The activations of convolutions must stay near the processor.
PICTURES_AT_ONCE = 256
CHECKPOINT_SECONDS = 120.0

OnStep = Callable[[int], None]
Prepare = Callable[[torch.optim.Optimizer], object]
Batch = tuple[torch.Tensor, torch.Tensor]


def train(
    model: torch.nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    settings: TrainingSettings,
    *,
    checkpoint: Path | str | None = None,
    on_step: OnStep | None = None,
    prepare: Prepare | None = None,
) -> TrainingOutcome:
    """Train a classifier in place, on its device, on the cross-entropy; it holds the last iterate.

    Raises InputError if shapes disagree or the data hold NaN or infinity; DataIntegrityError if the
    checkpoint is damaged or of another run.

    Parameters
    ----------
    checkpoint : File to resume from if it exists, and to write every `checkpoint_every` steps and
        at the end. A resumed run ends in the same weights, bit for bit, as an uninterrupted one.
    on_step : Told the number of steps done, after each and before its checkpoint is written.
    prepare : Given the optimizer before the first step; with `hold_masks` pruned weights stay 0.
    """
    check_examples(x, y, "train")
    trainee = Trainee(
        model, x, y, settings, checkpoint=checkpoint, on_step=on_step, prepare=prepare
    )

    def gradients() -> list[float]:
        inputs, labels = trainee.next_batch()
        trainee.optimizer.zero_grad()
        loss = functional.cross_entropy(scores_of(model(inputs)), labels)
        loss.backward()
        return [loss.item()]

    advance([trainee], gradients)
    return trainee.outcome()


def advance(
    trainees: Sequence[Trainee],
    gradients: Callable[[], Sequence[float]],
    stop: threading.Event | None = None,
) -> None:
    """Take steps with several networks in lockstep, until one of them ends or `stop` is set.

    `gradients` leaves those of the next batches in the parameters, and gives the losses.
    """
    while not any(trainee.ended for trainee in trainees):
        if stop is not None and stop.is_set():
            return
        for trainee, loss in zip(trainees, gradients(), strict=True):
            trainee.take_step(loss)


class Trainee:
    """One network under way: optimizer, noise, batches, average, log, stop rule, checkpoint.

    Arguments are those of `train`.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        x: torch.Tensor,
        y: torch.Tensor,
        settings: TrainingSettings,
        *,
        checkpoint: Path | str | None = None,
        on_step: OnStep | None = None,
        prepare: Prepare | None = None,
    ) -> None:
        self.model, self.settings = model.train(), settings
        self.x, self.y = x, y
        self._checkpoint, self._on_step = checkpoint, on_step
        self.optimizer = settings.optimizer_for([p for p in model.parameters() if p.requires_grad])
        if settings.noise is not None:
            attach_noise(
                self.optimizer,
                model.named_parameters(),
                settings.noise,
                seed=settings.seed,
                device="cpu",  # so that a run adds the same noise wherever it computes
            )
        if prepare is not None:
            prepare(self.optimizer)
        averaged = settings.average_last > 0
        self._average = IterateAverage(model.named_parameters()) if averaged else None
        self._state = TrainingState(model, self.optimizer, self._average)
        self.step, self._log = 0, Log()
        self._met_at: int | None = None
        self._diverged = ""
        if checkpoint is not None and Path(checkpoint).exists():
            progress = self._state.load(checkpoint)
            self.step, self._log = progress["step"], progress["log"]
            self._met_at = progress.get("met_at")
        self._batches = Batches(len(x), settings.batch_size, settings.seed)
        self._saved_at = time.monotonic()

    @property
    def ended(self) -> bool:
        """Whether no step is left to take."""
        return bool(self._diverged) or self.step >= self.settings.last_step(self._met_at)

    def next_batch(self) -> Batch:
        """Inputs and classes of the next step."""
        chosen = self._batches.at(self.step)
        inputs, labels = self.x, self.y
        if chosen is not None:
            chosen = chosen.to(self.x.device)
            inputs, labels = inputs[chosen], labels[chosen]
        if self.settings.augment:
            inputs = augmented(inputs, seed=self.settings.seed, step=self.step)
        return inputs, labels

    def take_step(self, loss: float) -> None:
        """Go one step along the gradients that the parameters hold, found at this loss."""
        settings = self.settings
        if not math.isfinite(loss):
            # Whoever resumes from here sees at once what this run saw.
            self._diverged = f"the loss is {loss} at step {self.step}"
            self._save()
            return
        end = settings.last_step(self._met_at)
        for group in self.optimizer.param_groups:
            group["lr"] = settings.lr_at(self.step)
        self.optimizer.step()  # adds the noise, too
        self.step += 1
        if self._average is not None and self.step > end - settings.average_last:
            self._average.update()
        if self.step % settings.log_every == 0 or self.step == end:
            self._log.append({"step": self.step, **evaluate(self.model, self.x, self.y)})
            if not math.isfinite(self._log[-1]["loss"]):
                self._diverged = f"the training loss is not finite at step {self.step}"
                return
            in_time = self.step + settings.extra_steps <= settings.steps
            if self._met_at is None and in_time and settings.meets_stop_rule(self._log[-1]):
                self._met_at = self.step
        if self._on_step is not None:
            self._on_step(self.step)
        overdue = time.monotonic() - self._saved_at > CHECKPOINT_SECONDS
        if overdue or self.step % settings.checkpoint_every == 0 or self.ended:
            self._save()

    def outcome(self) -> TrainingOutcome:
        """How it ended, or where it stands."""
        average = self._average
        means = average.tensors() if average is not None and average.count else None
        status: Literal["done", "diverged"] = "diverged" if self._diverged else "done"
        reason = self._diverged or self.settings.end_reason(self._met_at)
        stopped = self._met_at is not None
        return TrainingOutcome(status, reason, self.step, self._log, means, stopped)

    def _save(self) -> None:
        if self._checkpoint is not None:
            progress = {"step": self.step, "log": self._log, "met_at": self._met_at}
            self._state.save(self._checkpoint, progress)
            self._saved_at = time.monotonic()


def check_examples(x: torch.Tensor, y: torch.Tensor, where: str) -> None:
    """Refuse examples without classes, none at all, and NaN or infinity."""
    if len(x) != len(y) or len(x) == 0:
        raise InputError.parameter("y", where, f"as long as `x` ({len(x)}) and not empty", len(y))
    bad = int((~torch.isfinite(x)).sum())
    require(not bad, "x", where, "finite", f"{bad} NaN or infinite values", "Clean the data first.")


@torch.no_grad()
def evaluate(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> dict[str, float]:
    """Loss and accuracies of a classifier on examples (n, ...) and classes (n,).

    Gives loss (mean cross-entropy, nats), accuracy (share right), and balanced_accuracy (mean over
    the classes present of the share right).
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


def guesses(y: torch.Tensor) -> tuple[float, float]:
    """Accuracy on classes y (n,) of naming one class always, and what is told apart from it.

    Apart are three standard errors.

    >>> guesses(torch.arange(500) % 10)
    (0.1, 0.14024922359499623)
    """
    constant = torch.bincount(y).max().item() / len(y)
    return constant, constant + 3 * math.sqrt(constant * (1 - constant) / len(y))


def lost_decisions(dense: float, pruned: float, y: torch.Tensor) -> float | None:
    """The accuracy of naming one class always, if a pruned network's is not told apart from it.

    Accuracies are of the same examples, with classes y (n,); None if the pruned network is better,
    or the dense one is no better either.
    """
    constant, most = guesses(y)
    return constant if pruned <= most < dense else None


@torch.no_grad()
def predict(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Outputs of a model in evaluation mode, a bounded number of examples at a time.

    The model is left in the mode it was in.
    """
    training = model.training
    model.eval()
    try:
        near = x.ndim == 4 and x.device.type == "cpu"
        at_once = PICTURES_AT_ONCE if near else EVALUATED_AT_ONCE
        return torch.cat([scores_of(model(part)) for part in x.split(at_once)])
    finally:
        model.train(training)


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


PADDING = 4


def augmented(x: torch.Tensor, *, seed: int, step: int, padding: int = PADDING) -> torch.Tensor:
    """Pad pictures (n, channels, height, width) with zeros, crop each at random, mirror half.

    Crops, to the size before, and mirrors are a function of seed and step, and of nothing else.
    """
    wanted = "pictures of shape (n, channels, height, width)"
    mend = "Choose a network that takes pictures, or do not augment."
    require(x.ndim == 4, "x", "augmented", wanted, f"shape {tuple(x.shape)}", mend)
    n, _, height, width = x.shape
    generator = torch.Generator()
    generator.manual_seed(child_seed(seed, "augment", step))
    top, left = torch.randint(2 * padding + 1, (2, n, 1), generator=generator)
    mirrored = torch.rand(n, 1, generator=generator) < 0.5
    rows = top + torch.arange(height)
    columns = torch.arange(width).expand(n, width)
    columns = left + torch.where(mirrored, columns.flip(1), columns)
    padded = functional.pad(x, (padding,) * 4).permute(0, 2, 3, 1)
    places = (torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :])
    chosen = padded[tuple(place.to(x.device) for place in places)]
    return chosen.permute(0, 3, 1, 2).contiguous()
