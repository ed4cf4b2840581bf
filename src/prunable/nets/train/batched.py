"""Training of many small networks at once: seeds, tail indices and noise levels of one study."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from prunable.errors import InputError
from prunable.nets.train.averaging import IterateAverage
from prunable.nets.train.checkpoint import TrainingState
from prunable.nets.train.noise import attach_noise
from prunable.nets.train.stacked_chain import StackedChain, chain_of
from prunable.nets.train.training import (
    CHECKPOINT_SECONDS,
    Batches,
    Log,
    TrainingOutcome,
    TrainingSettings,
    evaluate,
    optimizer_for,
)

__all__ = ["Replica", "train_together"]


@dataclass(frozen=True)
class Replica:
    """One of the networks trained together.

    Parameters
    ----------
    model : torch.nn.Module
        A chain of linear layers with ReLU between them; trained in place.
    settings : TrainingSettings
        All may differ from replica to replica, but pictures cannot be augmented.
    checkpoint : Path, optional
        As in `train`, which reads and writes the same files. Written once more at the end,
        from where `train` gives the outcome at once.
    on_step : callable, optional
        Told the number of steps done, after each; on a thread of its own.
    """

    model: torch.nn.Module
    settings: TrainingSettings
    checkpoint: Path | None = None
    on_step: Callable[[int], None] | None = None


def train_together(
    replicas: Sequence[Replica],
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    threads: int | None = None,
    together: int | None = None,
) -> list[TrainingOutcome]:
    """Train networks on the same data, each as `train` would.

    Parameters
    ----------
    replicas : sequence of Replica
        Their models lie on the device of the data.
    x : Tensor, shape (n, ...)
    y : Tensor, shape (n,), int64
        Classes.
    threads : int, optional
        That share the replicas out among them on the CPU; each computes on one. By default as
        many as torch uses.
    together : int, optional
        Replicas in one stack of tensors: equal architectures and batch sizes. By default 1 on
        the CPU, where a wide network fills a core, and all that are equal on an accelerator.

    Returns
    -------
    list of TrainingOutcome
        In the order of `replicas`: those of `train`, up to the rounding of sums taken in
        another order. One that diverges leaves; the others go on. The numbers of a replica
        depend neither on the others nor on `threads`.

    Raises
    ------
    InputError
        If shapes disagree, the data are not finite, or settings ask for augmentation.
    UnsupportedModelError
        If a model is no chain.
    DataIntegrityError
        If a checkpoint is damaged or of another run.
    """
    where = "train_together"
    if len(x) != len(y) or len(x) == 0:
        raise InputError.parameter("y", where, f"as long as `x` ({len(x)}) and not empty", len(y))
    if not torch.isfinite(x).all():
        bad = int((~torch.isfinite(x)).sum())
        raise InputError.parameter(
            "x", where, "finite", f"{bad} NaN or infinite values", "Clean the data first."
        )
    for name, value in (("threads", threads), ("together", together)):
        if value is not None and value < 1:
            raise InputError.parameter(name, where, "at least 1", value)
    if any(replica.settings.augment for replica in replicas):
        raise InputError("`train_together` does not augment pictures. Use `train`.")
    on_cpu = x.device.type == "cpu"
    runs = [_Run(replica, x, y) for replica in replicas]
    stacks = _stacks(runs, together or (1 if on_cpu else max(1, len(runs))))
    before = torch.get_num_threads()
    workers = min(threads or before, len(stacks)) if on_cpu else 1
    try:
        if on_cpu:
            torch.set_num_threads(1)
        if workers > 1:
            _on_threads(workers, stacks)
        else:
            for stack in stacks:
                _train_stack(stack, threading.Event())
    finally:
        torch.set_num_threads(before)
    return [run.outcome() for run in runs]


class _Run:
    """One replica under way: what `train` keeps in its local variables."""

    def __init__(self, replica: Replica, x: torch.Tensor, y: torch.Tensor) -> None:
        model, settings = replica.model, replica.settings
        self.chain = chain_of(model)
        types = {(p.dtype, p.device) for p in model.parameters()}
        if types != {(x.dtype, x.device)}:
            raise InputError.parameter(
                "x", "train_together", "of the type and on the device of the models", x.dtype
            )
        self.model, self.settings = model, settings
        self.x, self.y = x, y
        self._checkpoint, self._on_step = replica.checkpoint, replica.on_step
        self._optimizer = optimizer_for(
            [p for p in model.parameters() if p.requires_grad], settings
        )
        if settings.noise is not None:
            attach_noise(
                self._optimizer, model.named_parameters(), settings.noise, seed=settings.seed
            )
        averaged = settings.average_last > 0
        self._average = IterateAverage(model.named_parameters()) if averaged else None
        self._state = TrainingState(model, self._optimizer, self._average)
        self.step, self._log = 0, Log()
        self._met_at: int | None = None
        self._diverged = ""
        if self._checkpoint is not None and self._checkpoint.exists():
            progress = self._state.load(self._checkpoint)
            self.step, self._log = progress["step"], progress["log"]
            self._met_at = progress.get("met_at")
        self._batches = Batches(len(x), settings.batch_size, settings.seed)
        self._saved_at = time.monotonic()

    @property
    def ended(self) -> bool:
        return bool(self._diverged) or self.step >= self.settings.last_step(self._met_at)

    @property
    def stackable_with(self) -> object:
        """Equal for runs that can share a stack: in lockstep, their batches have one size."""
        form = tuple((p.shape, p.dtype, p.requires_grad) for p in self.model.parameters())
        return self.chain, form, min(self.settings.batch_size, len(self.x)), self.step

    def batch(self) -> torch.Tensor | None:
        """Indices of the next step's examples; None for all."""
        chosen = self._batches.at(self.step)
        return chosen if chosen is None else chosen.to(self.x.device)

    def take_step(self, loss: float) -> None:
        """Go one step along the gradients that the parameters hold, found at this loss."""
        settings = self.settings
        if not math.isfinite(loss):
            # Whoever resumes from here sees at once what this run saw.
            self._diverged = f"the loss is {loss} at step {self.step}"
            self._save()
            return
        end = settings.last_step(self._met_at)
        for group in self._optimizer.param_groups:
            group["lr"] = settings.lr_at(self.step)
        self._optimizer.step()  # adds the noise, too
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
        overdue = time.monotonic() - self._saved_at > CHECKPOINT_SECONDS
        if overdue or self.step % settings.checkpoint_every == 0 or self.ended:
            self._save()
        if self._on_step is not None:
            self._on_step(self.step)

    def release(self) -> None:
        """Give the network memory of its own again."""
        for parameter in self.model.parameters():
            parameter.grad = None
            parameter.data = parameter.detach().clone()

    def outcome(self) -> TrainingOutcome:
        settings, stopped = self.settings, self._met_at is not None
        average = self._average
        means = average.tensors() if average is not None and average.count else None
        status: Literal["done", "diverged"] = "diverged" if self._diverged else "done"
        reason = self._diverged or settings.end_reason(self._met_at)
        return TrainingOutcome(status, reason, self.step, self._log, means, stopped)

    def _save(self) -> None:
        if self._checkpoint is not None:
            progress = {"step": self.step, "log": self._log, "met_at": self._met_at}
            self._state.save(self._checkpoint, progress)
            self._saved_at = time.monotonic()


def _stacks(runs: Sequence[_Run], most: int) -> list[list[_Run]]:
    alike: dict[object, list[_Run]] = {}
    for run in runs:
        if not run.ended:
            alike.setdefault(run.stackable_with, []).append(run)
    return [
        group[start : start + most]
        for group in alike.values()
        for start in range(0, len(group), most)
    ]


def _on_threads(workers: int, stacks: Sequence[list[_Run]]) -> None:
    """Train whole stacks on threads, each of which computes alone."""
    stop = threading.Event()
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        futures = [pool.submit(_train_stack, stack, stop) for stack in stacks]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _train_stack(runs: Sequence[_Run], stop: threading.Event) -> None:
    while runs and not stop.is_set():
        stack = StackedChain([run.model for run in runs])
        while not any(run.ended for run in runs) and not stop.is_set():
            losses = stack.loss_and_gradients(*_examples(runs)).tolist()
            for run, loss in zip(runs, losses, strict=True):
                run.take_step(loss)
        for run in runs:
            run.release()
        runs = [run for run in runs if not run.ended]


def _examples(runs: Sequence[_Run]) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs (replica, example, feature) and classes of every replica's next batch."""
    x, y = runs[0].x, runs[0].y
    chosen = [batch for run in runs if (batch := run.batch()) is not None]
    if not chosen:
        return x.flatten(1).expand(len(runs), -1, -1), y.expand(len(runs), -1)
    inputs = torch.stack([x[batch] for batch in chosen])
    return inputs.flatten(2), torch.stack([y[batch] for batch in chosen])
