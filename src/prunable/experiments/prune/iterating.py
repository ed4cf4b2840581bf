"""Iterative pruning with rewinding as a run: rounds, the ticket's training, its controls."""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from prunable.errors import PrunableError
from prunable.experiments.prune.specs import Control, IterateSpec
from prunable.experiments.train import stages
from prunable.experiments.train.networks import as_tensors
from prunable.files import read_json, write_json
from prunable.nets.archive import save_tensors
from prunable.nets.prune import tickets
from prunable.nets.prune.iterative import Round, iterate
from prunable.nets.prune.retraining import hold_masks
from prunable.nets.prune.strategies.named import strategy_named
from prunable.nets.train.settings import TrainingSettings
from prunable.nets.train.training import OnStep, Prepare, evaluate, lost_decisions, train
from prunable.numerics.randomness import child_seed, rng
from prunable.runs.execution import CHECKPOINT
from prunable.runs.store import Run

TICKET = "ticket.safetensors"
ROUNDS = "rounds.json"
OTHER_WEIGHTS = 1000  # what the seed of a re-initialised control is further on

Result = dict[str, Any]


@dataclass(frozen=True)
class _Later(TrainingSettings):
    """Settings of a training that goes on from a step of a longer one, schedule included."""

    first_step: int = 0

    def lr_at(self, step: int) -> float:
        """Learning rate of the step after `step` steps."""
        if self.schedule == "constant":
            return self.lr
        whole = self.first_step + self.steps
        return self.lr * 0.5 * (1 + math.cos(math.pi * (self.first_step + step) / whole))


class _Trainer:
    """The data of a run, and how it trains and judges networks."""

    def __init__(self, spec: IterateSpec, run: Run) -> None:
        self.spec, self._run, self._done = spec, run, 0
        self.data = stages.dataset_of(spec)
        x, self.y, x_test, self.y_test = as_tensors(self.data, run.device)
        self.x, self.x_test = x / spec.unit, x_test / spec.unit
        self._settings = _Later(**vars(stages.training_settings(spec)))

    def network(self, seed: int) -> torch.nn.Module:
        """An untrained network with the first weights of a seed."""
        spec = self.spec.model_copy(update={"seed": seed})
        return stages.new_network(spec, self.data).to(self._run.device)

    def fit(
        self,
        model: torch.nn.Module,
        seed: int,
        steps: int,
        *,
        prepare: Prepare | None = None,
        on_step: OnStep | None = None,
        first_step: int = 0,
    ) -> float:
        """Train from where the model is; the last loss on the training set, NaN if it diverged."""
        settings = replace(self._settings, seed=seed, steps=steps, first_step=first_step)
        if not settings.has_stop_rule:
            settings = replace(settings, log_every=steps)
        before = self._done

        def told(step: int) -> None:
            self._run.on_step(before + step)
            if on_step is not None:
                on_step(first_step + step)

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            outcome = train(model, self.x, self.y, settings, prepare=prepare, on_step=told)
        self._done += outcome.steps
        return outcome.log[-1]["loss"] if outcome.status == "done" else math.nan

    def accuracy(self, model: torch.nn.Module) -> float:
        """Share of the test set that a network classifies correctly."""
        return evaluate(model, self.x_test, self.y_test)["accuracy"]

    def under(self, model: torch.nn.Module, ticket: tickets.Ticket | None) -> float:
        """Test accuracy after a last training with the masks of a ticket held, if there is one."""
        prepare: Prepare | None = None
        if ticket is not None:
            tickets.apply_ticket_(model, ticket)
            named = list(model.named_parameters())
            prepare = partial(hold_masks, named_parameters=named, masks=ticket.masks)
        seed = child_seed(self.spec.seed, "last")
        loss = self.fit(model, seed, self.spec.last_steps, prepare=prepare)
        if not math.isfinite(loss):
            raise PrunableError("The last training diverged; choose a smaller step size.")
        return self.accuracy(model)


def iterate_stage(spec: IterateSpec, run: Run) -> Result:
    """Find a ticket, train it and its controls; an interrupted run goes on after its last round.

    Leaves ticket.safetensors and model.safetensors, which is the trained ticket, or the rewound
    one if there is no last training.
    """
    trainer = _Trainer(spec, run)
    kept = run.folder / ROUNDS
    accuracies: list[float] = read_json(kept, schema=list[float]) if kept.exists() else []

    def train_round(model: torch.nn.Module, chosen: Round) -> float:
        first = chosen.first_step
        loss = trainer.fit(
            model,
            chosen.seed,
            spec.steps if spec.rewind == "none" else spec.steps - first,
            prepare=chosen.hold,
            on_step=chosen.on_step,
            first_step=first,
        )
        # what a killed run wrote of this round and later ones is void
        accuracies[chosen.number - 1 :] = [trainer.accuracy(model)]
        write_json(kept, accuracies)
        return loss

    model = trainer.network(spec.seed)
    outcome = iterate(
        model,
        train_round,
        strategy=strategy_named(spec.method, spec.allocation),
        rounds=spec.rounds,
        kappa=spec.keep,
        rewind=spec.rewind,
        rewind_step=spec.rewind_step,
        only=spec.only,
        exclude=spec.exclude,
        force=spec.force,
        seed=spec.seed,
        checkpoint=run.folder / CHECKPOINT,
    )
    ticket = outcome.ticket
    tickets.save_ticket(run.folder / TICKET, ticket)
    final: dict[str, float] = {}
    if spec.last_steps:
        final["ticket"] = trainer.under(model, ticket)
        final |= _controls(trainer, ticket)
    metadata = {"run_id": spec.run_id, **stages.architecture_of(spec, trainer.data).metadata()}
    save_tensors(run.folder / stages.MODEL, model.state_dict(), metadata)
    rounds = [
        {"round": number, "kappa": kappa, "train_loss": loss, "test_accuracy": accuracy}
        for number, (kappa, loss, accuracy) in enumerate(
            zip((1.0, *ticket.shares), outcome.losses, accuracies, strict=False), 1
        )
    ]
    return {
        "metrics": {"kappa": ticket.kappa, "n_kept": ticket.n_kept, "n_total": ticket.n_total},
        "rounds": rounds,
        "test_accuracy": final,
        "lost": lost_decisions(accuracies[0], final.get("ticket", accuracies[-1]), trainer.y_test),
    }


def _controls(trainer: _Trainer, ticket: tickets.Ticket) -> dict[str, float]:
    seed = trainer.spec.seed
    generator = rng(seed, "controls")
    # drawn whether asked for or not, so that each is the same whichever others are
    shuffled, drawn = (
        tickets.shuffle_masks(ticket, generator),
        tickets.random_ticket(ticket, generator),
    )
    starts: dict[Control, tuple[int, tickets.Ticket | None]] = {
        "dense": (seed, None),
        "re-initialised": (seed + OTHER_WEIGHTS, ticket),
        "shuffled": (seed, shuffled),
        "random": (seed, drawn),
    }
    return {
        name: trainer.under(trainer.network(start), masks)
        for name, (start, masks) in starts.items()
        if name in trainer.spec.controls
    }
