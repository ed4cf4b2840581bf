"""The stage of several training runs at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from prunable.experiments.train import stages
from prunable.experiments.train.specs import TrainSpec
from prunable.nets.train.batched import Replica, train_together
from prunable.runs.execution import CHECKPOINT
from prunable.runs.store import Run


def train_batch_stage(specs: Sequence[TrainSpec], runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Train the networks of one `train_batch_key` together.

    Parameters
    ----------
    specs : sequence of TrainSpec
    runs : sequence of Run
        Their folders; each receives what `train_stage` leaves, up to rounding.

    Returns
    -------
    list of dict
        Those of `train_stage`, which each run is ended by: it finds a checkpoint of the last
        step, or of the one that diverges.
    """
    data = stages.dataset_of(specs[0])
    replicas = [
        Replica(
            stages.new_network(spec, data),
            stages.training_settings(spec),
            run.folder / CHECKPOINT,
            run.on_step,
        )
        for spec, run in zip(specs, runs, strict=True)
    ]
    train_together(
        replicas, torch.from_numpy(data.x_train.copy()), torch.from_numpy(data.y_train.copy())
    )
    return [stages.train_stage(spec, run) for spec, run in zip(specs, runs, strict=True)]
