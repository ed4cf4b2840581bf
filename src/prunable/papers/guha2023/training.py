"""Training of the networks, with snapshots, until every training example is read right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prunable.certify.network_bounds import margins_of
from prunable.experiments.train.networks import as_tensors
from prunable.experiments.train.stages import (
    MODEL,
    architecture_of,
    dataset_of,
    new_network,
    split_metrics,
    training_settings,
)
from prunable.nets.archive import load_tensors, save_tensors
from prunable.nets.train.settings import TrainingSettings
from prunable.nets.train.training import train
from prunable.numerics.randomness import child_seed
from prunable.papers.guha2023.specs import MarginTrainSpec
from prunable.runs.execution import CHECKPOINT
from prunable.runs.store import Run

# Refinement: the learning rate of its first epoch beside that of the training, by what it falls
# from epoch to epoch, and how often more an example comes whose margin is below the limit.
REFINE_SHARE, FALL, SMALL_MARGIN, REPEATS = 0.2, 0.75, 2.0, 16
REFINED = "refined.safetensors"


def train_stage(spec: MarginTrainSpec, run: Run) -> dict[str, Any]:
    """Train one network; leaves its weights, and those of its snapshots, in the run's folder.

    Returns
    -------
    dict
        status, reason, refined (epochs of refinement), metrics, log of the training.
    """
    data = dataset_of(spec)
    x, y, _, _ = as_tensors(data, run.device)
    model = new_network(spec, data).to(run.device)
    metadata = {"run_id": spec.run_id, **architecture_of(spec, data).metadata()}
    due = {epoch * spec.steps_per_epoch: epoch for epoch in spec.snapshots}

    def on_step(step: int) -> None:
        if step in due:
            save_tensors(run.folder / snapshot_name(due[step]), model.state_dict(), metadata)
        run.on_step(step)

    outcome = train(
        _arithmetic(model, spec),
        x,
        y,
        training_settings(spec),
        checkpoint=run.folder / CHECKPOINT,
        on_step=on_step,
    )
    found: dict[str, Any] = {"status": outcome.status, "reason": outcome.reason, "log": outcome.log}
    if outcome.status != "done":
        return found
    refined = refine(model, x, y, spec, run.folder, on_epoch=lambda: run.on_step(spec.steps))
    save_tensors(run.folder / MODEL, model.state_dict(), metadata)
    (run.folder / REFINED).unlink(missing_ok=True)
    return {**found, "refined": refined, "metrics": split_metrics(model, data)}


def refine(
    model: torch.nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    spec: MarginTrainSpec,
    folder: Path,
    *,
    on_epoch: Callable[[], object],
) -> int:
    """Train single epochs until the smallest training margin is positive.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place.
    x, y : Tensor
        Training set.
    spec : MarginTrainSpec
        At most `refine_epochs`.
    folder : Path
        Keeps the weights after each epoch, so that a killed run goes on.
    on_epoch : callable
        Called after each.

    Returns
    -------
    int
        Epochs taken.
    """
    kept, done = folder / REFINED, 0
    if kept.exists():
        tensors, metadata = load_tensors(kept)
        model.load_state_dict(tensors)
        done = int(metadata["epochs"])
    while done < spec.refine_epochs and (margins := margins_of(model, x, y)).min() <= 0:
        small = np.flatnonzero(margins < SMALL_MARGIN)
        chosen = torch.from_numpy(np.concatenate([np.arange(len(margins)), *[small] * REPEATS]))
        steps = -(-len(chosen) // spec.batch_size)
        settings = TrainingSettings(
            lr=REFINE_SHARE * spec.lr * FALL**done,
            steps=steps,
            batch_size=spec.batch_size,
            seed=child_seed(spec.seed, "refine", done),
            optimizer="adam",
            schedule="cosine",
            log_every=steps,
        )
        train(_arithmetic(model, spec), x[chosen], y[chosen], settings)
        done += 1
        save_tensors(kept, model.state_dict(), {"epochs": str(done)})
        on_epoch()
    return done


def network(folder: Path, spec: MarginTrainSpec, epoch: int | None = None) -> torch.nn.Module:
    """The network that a finished run left in its folder, or a snapshot of it."""
    model = new_network(spec, dataset_of(spec))
    name = MODEL if epoch is None else snapshot_name(epoch)
    model.load_state_dict(load_tensors(folder / name)[0])
    return model


def snapshot_name(epoch: int) -> str:
    """File of the weights after an epoch."""
    return f"epoch-{epoch}.safetensors"


def _arithmetic(model: torch.nn.Module, spec: MarginTrainSpec) -> torch.nn.Module:
    return _Bfloat16(model) if spec.bfloat16 else model


class _Bfloat16(torch.nn.Module):
    """A model whose matrix products are those of bfloat16; its weights stay float32."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits in float32."""
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            logits: torch.Tensor = self.model(x)
        return logits.float()
