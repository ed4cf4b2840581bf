"""How to train, and how training ended."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch

from prunable.errors import InputError, require
from prunable.nets.catalogue import Optimizer, Schedule
from prunable.nets.train.noise import HeavyTailedNoise

Log = list[dict[str, float]]


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Batches come from a permutation drawn anew each epoch; the last, smaller one is used. The stop
    rule is asked every `log_every` steps of the whole training set: accuracy at least
    `until_accuracy`, and mean cross-entropy (nats) below `until_loss`. `extra_steps` follow it,
    all within `steps`: a rule met too late for them is not met. With a rule, `average_last` is at
    most `extra_steps`, for only then is the first of the averaged iterates known in time.
    """

    lr: float  # at the start
    steps: int  # at most
    batch_size: int  # the whole training set if at least its size
    seed: int  # batches and noise derive from it
    noise: HeavyTailedNoise | None = None
    average_last: int = 0  # iterates; 0 for none
    until_accuracy: float | None = None
    until_loss: float | None = None
    extra_steps: int = 0
    log_every: int = 50  # steps between evaluations on the training set
    checkpoint_every: int = 200  # steps; there is another whenever two minutes have passed
    optimizer: Optimizer = "sgd"  # Adam has torch's other defaults
    momentum: float = 0.0  # of SGD
    weight_decay: float = 0.0  # factor of the weights added to the gradient
    schedule: Schedule = "constant"  # "cosine": the learning rate falls to 0 at the last step
    augment: bool = False  # crop and mirror the pictures of each batch; see `augmented`

    def __post_init__(self) -> None:
        self._check("lr", "finite and positive", 0 < self.lr < math.inf)
        for name in ("steps", "batch_size", "log_every", "checkpoint_every"):
            self._check(name, "at least 1", getattr(self, name) >= 1)
        within = f"between 0 and the {self.steps} steps"
        self._check("average_last", within, 0 <= self.average_last <= self.steps)
        accuracy, loss = self.until_accuracy, self.until_loss
        self._check("until_accuracy", "in (0, 1]", accuracy is None or 0 < accuracy <= 1)
        self._check("until_loss", "finite and positive", loss is None or 0 < loss < math.inf)
        below = f"between 0 and below the {self.steps} steps"
        self._check("extra_steps", below, 0 <= self.extra_steps < self.steps)
        for name, choices in (("optimizer", get_args(Optimizer)), ("schedule", get_args(Schedule))):
            self._check(name, f"one of {choices}", getattr(self, name) in choices)
        self._check("momentum", "in [0, 1)", 0 <= self.momentum < 1)
        decays = 0 <= self.weight_decay < math.inf
        self._check("weight_decay", "finite and not negative", decays)
        if self.momentum and self.optimizer != "sgd":
            raise InputError("`momentum` of `TrainingSettings` belongs to sgd; leave it out.")
        if self.extra_steps and not self.has_stop_rule:
            raise InputError(
                "`extra_steps` of `TrainingSettings` follow a stop rule, and there is none. "
                "Give `until_accuracy` or `until_loss`, or leave them out."
            )
        self._check(
            "average_last",
            f"at most `extra_steps` ({self.extra_steps}) with a stop rule",
            not self.has_stop_rule or self.average_last <= self.extra_steps,
            "When the rule is met, earlier iterates are gone.",
        )

    def _check(self, name: str, constraint: str, holds: bool, action: str = "") -> None:
        require(holds, name, "TrainingSettings", constraint, getattr(self, name), action)

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

    def optimizer_for(self, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer that the settings name, over these parameters."""
        if self.optimizer == "adam":
            return torch.optim.Adam(parameters, self.lr, weight_decay=self.weight_decay)
        return torch.optim.SGD(
            parameters, self.lr, momentum=self.momentum, weight_decay=self.weight_decay
        )


@dataclass(frozen=True)
class TrainingOutcome:
    """How a training run ended."""

    status: Literal["done", "diverged"]
    reason: str  # why it diverged, or why it stopped
    steps: int  # taken
    log: Log = field(repr=False)  # step, loss (nats) and accuracy (share) on the training set
    average: dict[str, torch.Tensor] | None = field(default=None, repr=False)  # float64
    stopped: bool = False  # whether the stop rule was met

    def summary(self) -> dict[str, Any]:
        """What the result of a run keeps of it: status, reason, stopped, steps."""
        return {name: getattr(self, name) for name in ("status", "reason", "stopped", "steps")}
