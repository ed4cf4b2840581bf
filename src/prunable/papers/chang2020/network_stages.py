"""Stage of figures 1, 5 and 6: a dense network pruned to the size of a base network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from prunable.errors import InputError
from prunable.experiments.train.stages import (
    MODEL,
    architecture_of,
    dataset_of,
    new_network,
    split_metrics,
    trained_network,
    training_settings,
)
from prunable.nets.archive import save_tensors
from prunable.nets.models import build
from prunable.nets.prune.masks import mask_of
from prunable.nets.prune.plan import Keep, PruningPlan
from prunable.nets.prune.pruning import prune
from prunable.nets.prune.retraining import hold_masks
from prunable.nets.prune.strategies import MagnitudePruning, RandomPruning, Strategy
from prunable.nets.train.settings import TrainingSettings
from prunable.nets.train.training import train
from prunable.numerics.randomness import child_seed
from prunable.papers.chang2020.specs import PruneRetrainSpec
from prunable.runs.execution import CHECKPOINT
from prunable.runs.store import Run


def prune_retrain(spec: PruneRetrainSpec, run: Run) -> dict[str, Any]:
    """Prune a trained network, measure it, retrain what is left, measure again.

    Returns
    -------
    dict
        n_parameters of the dense network, kept, and `metrics`: those of training under their
        names, and with "_pruned" those before retraining. The folder receives the network.
    """
    data = dataset_of(spec.train)
    model = trained_network(run.folder_of(spec.train), spec.train)
    n_parameters, kept = _count(model), base_size(spec)
    plan = _prune(model, kept, spec)
    metrics = split_metrics(model, data, "_pruned")
    status = {"status": "done", "reason": ""}
    if spec.retrain_steps:
        named = dict(model.named_parameters())
        masks = {layer.name: mask_of(layer, named[layer.name].shape) for layer in plan.layers}
        if spec.restart == "initial":
            model.load_state_dict(new_network(spec.train, data).state_dict())
        x, y = torch.from_numpy(data.x_train.copy()), torch.from_numpy(data.y_train.copy())
        outcome = train(
            model,
            x,
            y,
            retraining_settings(spec),
            checkpoint=run.folder / CHECKPOINT,
            on_step=run.on_step,
            prepare=lambda optimizer: hold_masks(optimizer, named.items(), masks),
        )
        status = {"status": outcome.status, "reason": outcome.reason}
    if status["status"] == "done":
        save_tensors(
            run.folder / MODEL,
            model.state_dict(),
            {"run_id": spec.run_id, **architecture_of(spec.train, data).metadata()},
        )
        metrics |= split_metrics(model, data)
    return {**status, "n_parameters": n_parameters, "kept": kept, "metrics": metrics}


def retraining_settings(spec: PruneRetrainSpec) -> TrainingSettings:
    """Settings of the training, for another number of steps and other batches."""
    return replace(
        training_settings(spec.train),
        steps=spec.retrain_steps,
        log_every=spec.retrain_steps,
        average_last=0,
        until_accuracy=None,
        until_loss=None,
        extra_steps=0,
        seed=child_seed(spec.train.seed, "retrain"),
    )


def base_size(spec: PruneRetrainSpec) -> int:
    """Parameters of the base network, which pruning leaves."""
    dense = architecture_of(spec.train, dataset_of(spec.train))
    base = replace(dense, width=spec.base_width)
    return _count(build(base, generator=torch.Generator()))


def _prune(model: torch.nn.Module, kept: int, spec: PruneRetrainSpec) -> PruningPlan:
    """Prune the weights so that `kept` parameters are left, the others among them."""
    sizes = [p.numel() for p in model.parameters() if p.ndim >= 2]
    weights = kept - (_count(model) - sum(sizes))
    if weights < 1:
        raise InputError.parameter(
            "base_width",
            "PruneRetrainSpec",
            "wide enough for the biases of the dense network",
            spec.base_width,
            "Prune a narrower network, or to a wider base.",
        )
    strategy: Strategy = MagnitudePruning() if spec.method == "magnitude" else RandomPruning()
    budget = Keep(weights / sum(sizes), scope="global")
    # one threshold may leave nothing of a layer, and then that is the result
    return prune(model, strategy, budget, seed=spec.train.seed, force=True).plan


def _count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
