"""Code as a user writes it; mypy checks it against the public surface, nothing runs it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

import prunable
from prunable.budgets import Energy, Error, Keep
from prunable.nets.networks.views import WeightView
from prunable.nets.prune.plan import Budget, PruningPlan
from prunable.strategies import MagnitudePruning, NodePruning, Strategy


def measured(path: Path) -> float | None:
    measurement = prunable.measure(path, eps=(0.1,))
    shares: list[str] = [layer.name for layer in measurement.layers]
    document: dict[str, object] = measurement.to_dict()
    return float(len(shares) + len(document))


def smaller(model: nn.Module, example: torch.Tensor) -> nn.Module:
    pruned = prunable.prune(model, NodePruning("unit"), Keep(0.5))
    cut = prunable.shrink(model, pruned.plan, example)
    prunable.save("small.safetensors", cut.model)
    return prunable.load("small.safetensors")


def budgets() -> list[Keep | Error | Energy]:
    return [Keep(0.5, "global"), Error(0.1, p=1.0), Energy(0.9)]


def trained() -> Path:
    training = prunable.train("run", dataset="digits", net="two-layer", epochs=2, lr=0.1)
    accuracy: float = training.metrics["test_accuracy"]
    assert accuracy > 0
    return training.model


def noisy(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    noise = prunable.HeavyTailedNoise("type1", alpha=1.8, sigma=0.1)
    handle = prunable.attach_noise(optimizer, model.named_parameters(), noise, seed=0)
    handle.remove()
    plan = prunable.prune(model, MagnitudePruning(), Keep(0.1, "global")).plan
    masks = prunable.masks_of(plan, model.named_parameters())
    prunable.hold_masks(optimizer, model.named_parameters(), masks).remove()
    held = prunable.hold_masks(model, optimizer, plan)
    prunable.save_masks("masks.safetensors", held)
    prunable.hold_masks(model, optimizer, prunable.load_masks("masks.safetensors")).remove()
    prunable.hold_masks(model, optimizer, prunable.prune(model, MagnitudePruning(), Keep(0.1)))


def guaranteed(model: Path) -> float:
    certified = prunable.certify(model, "digits", delta=0.05)
    best: dict[str, object] = certified.to_dict()["best"]
    assert best
    return prunable.verify("cert.json").bound


def predicted() -> float | None:
    prediction = prunable.predict.lgp(100, 200, 20, 0.5)
    law = prunable.StableLaw(1.8)
    return float(law.tail_constant) if prediction.notes else None


def reproduced() -> list[str]:
    found = prunable.reproduce("chang2020-fig1", out="items", scale="smoke")
    simulation = prunable.simulate("chaos", "chaos", alphas=(1.5,), scale="smoke")
    return [document.item for document in found.documents] + [simulation.experiment]


def refused() -> None:
    try:
        prunable.measure("missing.safetensors")
    except prunable.errors.PrunableError as error:
        code: int = error.exit_code
        raise SystemExit(code) from error


def forecast(model: nn.Module, inputs: torch.Tensor) -> list[float]:
    expected = prunable.forecast(model, inputs, accuracy=0.9, keeps=(0.5, 0.3))
    losses = [point.loss for curve in expected.curves for point in curve.points]
    advice = prunable.advise(model, inputs, accuracy=0.9, at_most_loss=0.02)
    if advice.verdict == "ACCEPT":
        losses.append(advice.at_most_loss)
    return [loss for loss in losses if loss is not None]


class LastColumns:
    """A strategy of the user's own."""

    axis: Literal["weight"] = "weight"

    def plan(
        self, views: Sequence[WeightView], budget: Budget, *, rng: np.random.Generator
    ) -> PruningPlan:
        return MagnitudePruning().plan(views, budget, rng=rng)


def own_strategy(model: nn.Module) -> int:
    strategy: Strategy = LastColumns()
    return prunable.prune(model, strategy, Keep(0.5), seed=1).plan.n_parameters_kept
