"""What a client does: train the server's model on its own examples."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch

from prunable.errors import InputError, check_at_least
from prunable.nets.train.noise import HeavyTailedNoise
from prunable.nets.train.settings import TrainingSettings
from prunable.nets.train.training import train


@dataclass(frozen=True)
class LocalTraining:
    """How every client trains: `epochs` passes over its examples a round.

    With `noise` it is heavy-tailed SGD, plain SGD without. Values out of range raise InputError.
    """

    lr: float
    epochs: int
    batch_size: int
    noise: HeavyTailedNoise | None = None

    def __post_init__(self) -> None:
        check_at_least(self.epochs, 1, "epochs", "LocalTraining")
        self.settings(1, 0)

    def settings(self, n_examples: int, seed: int) -> TrainingSettings:
        """Settings of `train` for a client with so many examples."""
        steps = self.epochs * -(-n_examples // max(self.batch_size, 1))
        return TrainingSettings(
            self.lr, steps, self.batch_size, seed, noise=self.noise, log_every=steps
        )


@dataclass(frozen=True, eq=False)
class LocalOutcome:
    """How a client's round ended: the floats of its state, and its loss in nats if finite."""

    status: Literal["done", "diverged"]
    reason: str
    state: dict[str, torch.Tensor] = field(repr=False)
    loss: float | None = None


def train_locally(
    model: torch.nn.Module,
    state: Mapping[str, torch.Tensor],
    x: torch.Tensor,
    y: torch.Tensor,
    training: LocalTraining,
    *,
    seed: int,
) -> LocalOutcome:
    """Train from the server's whole state dict on one client's examples.

    Diverged is also a training whose loss is finite and a weight is not. Raises InputError if the
    client has no example, or examples that are not finite. The model is overwritten: only its
    architecture matters. `seed` is that of batches and noise; another one for each client and
    round.
    """
    if len(x) == 0:
        raise InputError("`x` of `train_locally` must not be empty; give this client examples.")
    model.load_state_dict(dict(state))
    outcome = train(model, x, y, training.settings(len(x), seed))
    trained = {
        name: tensor.detach().clone()
        for name, tensor in model.state_dict().items()
        if tensor.is_floating_point()
    }
    if outcome.status == "diverged":
        return LocalOutcome("diverged", outcome.reason, trained)
    broken = [name for name, tensor in trained.items() if not torch.isfinite(tensor).all()]
    if broken:
        return LocalOutcome("diverged", f"{broken[0]} is not finite after training", trained)
    return LocalOutcome("done", outcome.reason, trained, outcome.log[-1]["loss"])
