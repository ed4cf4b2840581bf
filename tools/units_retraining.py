"""One epoch of retraining after cutting, the same for both sides, for `units_study.py`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from units_networks import Network

from prunable.files import read_json, write_json
from prunable.nets.train.training import augmented

BATCH = 128
PEAK = {"sgd": 0.05, "adamw": 5e-4}  # of the one cycle, as the handed networks are retrained
DECAY = 5e-4


def retrained(network: Network, model: nn.Module, *, seed: int = 0) -> nn.Module:
    """The model after one epoch over all training pictures, cropped and mirrored at random.

    One cycle of the step size, in bfloat16 arithmetic: by AdamW without BatchNorm, else by SGD.
    """
    model = model.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    normalised = any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    steps = len(network.train) // BATCH
    peak = PEAK["sgd" if normalised else "adamw"]
    parameters = list(model.parameters())
    optimizer: torch.optim.Optimizer = (
        torch.optim.SGD(parameters, peak, momentum=0.9, weight_decay=DECAY, nesterov=True)
        if normalised
        else torch.optim.AdamW(parameters, peak, weight_decay=DECAY)
    )
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(network.train), generator=generator)
    for step in range(steps):
        chosen = order[step * BATCH : (step + 1) * BATCH]
        x = augmented(network.train[chosen], seed=seed, step=step)
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = functional.cross_entropy(model(x).float(), network.train_labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        cycle.step()
    return model.eval()


def retrained_cell(
    network: Network, makers: dict[str, Callable[[], nn.Module]], n_images: int, path: Path
) -> dict[str, Any]:
    """Accuracy after retraining of each network named, those missing made and trained."""
    rows: dict[str, Any] = read_json(path) if path.exists() else {}
    for label, make in makers.items():
        if rows.get(label, {}).get("images") != n_images:
            accuracy = network.accuracy(retrained(network, make()), n_images)
            rows[label] = {"images": n_images, "accuracy": accuracy}
            write_json(path, rows)
    return rows
