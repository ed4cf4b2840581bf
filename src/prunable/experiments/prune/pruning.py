"""A checkpoint pruned from end to end: plan, retrain, shrink, export, measure."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from prunable.data.loaders import Dataset, load
from prunable.errors import InputError, PrunableError, UnsupportedModelError
from prunable.experiments.train.networks import as_tensors
from prunable.nets.archive import save_tensors
from prunable.nets.models import ARCHITECTURE, NETS, network_of, read_weights, stored_architecture
from prunable.nets.prune.masks import mask_of
from prunable.nets.prune.plan import Budget, PruningPlan
from prunable.nets.prune.pruning import PruningResult, prune
from prunable.nets.prune.retraining import hold_masks
from prunable.nets.prune.sparse_file import save_sparse
from prunable.nets.prune.strategies import Strategy
from prunable.nets.shrink.export import save_exported, save_onnx
from prunable.nets.shrink.factoring import factor
from prunable.nets.shrink.footprint import compare
from prunable.nets.shrink.sparse_layers import sparsify
from prunable.nets.shrink.surgery import ShrinkResult, shrink
from prunable.nets.shrink.torch_pruning_backend import StructuralResult, shrink_structurally
from prunable.nets.train.noise import HeavyTailedNoise
from prunable.nets.train.settings import TrainingSettings
from prunable.nets.train.training import evaluate, train
from prunable.numerics.randomness import child_seed

Storage = Literal["dense", "bitmask"]
OnStep = Callable[[int, int], None]


@dataclass(frozen=True)
class Retraining:
    """How to train on after pruning.

    Parameters
    ----------
    epochs : int
        Passes over the training set.
    eta : float
        Learning rate.
    batch : int
    optimizer : {"sgd", "adam"}
    momentum : float
    schedule : {"constant", "cosine"}
    rewind : Path, optional
        File of weights to start from, such as the initial ones; None is where pruning left off.
    noise : HeavyTailedNoise, optional
        Injected noise; pruned weights receive none.
    """

    epochs: int
    eta: float = 0.05
    batch: int = 128
    optimizer: Literal["sgd", "adam"] = "sgd"
    momentum: float = 0.9
    schedule: Literal["constant", "cosine"] = "cosine"
    rewind: Path | None = None
    noise: HeavyTailedNoise | None = None

    def settings(self, n_examples: int, seed: int) -> TrainingSettings:
        """Settings of the training loop for a training set of this size."""
        steps = self.epochs * -(-n_examples // self.batch)
        return TrainingSettings(
            lr=self.eta,
            steps=steps,
            batch_size=self.batch,
            seed=seed,
            noise=self.noise,
            log_every=max(1, steps // max(1, self.epochs)),
            optimizer=self.optimizer,
            momentum=self.momentum if self.optimizer == "sgd" else 0.0,
            schedule=self.schedule,
        )


def load_data(name: str, net: str | None, metadata: Mapping[str, str]) -> Dataset:
    """Load a data set in the form that the network takes.

    Parameters
    ----------
    name : str
    net : str, optional
        As for `network_of`; networks of the user's get pictures where there are some.
    metadata : mapping of str to str
        Of the checkpoint.

    Returns
    -------
    Dataset
    """
    if net is None:
        return load(name, flatten=not stored_architecture(metadata).pictures)
    pictures = NETS[net].pictures if net in NETS else net != "mlp"
    return load(name, flatten=not pictures)


def retrain_(
    model: nn.Module,
    plan: PruningPlan,
    data: Dataset,
    retraining: Retraining,
    *,
    seed: int,
    on_step: OnStep | None = None,
) -> dict[str, Any]:
    """Train a pruned network on, in place, its pruned weights held at 0.

    Parameters
    ----------
    model : Module
        Pruned by `plan`.
    plan : PruningPlan
        Of weights, units, inputs or kernels.
    data : Dataset
    retraining : Retraining
    seed : int
    on_step : callable, optional
        Told the steps done and in all.

    Returns
    -------
    dict
        status, reason, steps and the last training loss and accuracy.

    Raises
    ------
    InputError
        If the plan has no masks, or the weights to rewind to do not fit.
    PrunableError
        If training diverged; the model is then as it was.
    """
    named = dict(model.named_parameters())
    for layer in plan.layers:
        if layer.axis == "singular_value" or layer.fill is not None:
            raise InputError(
                f"`{layer.name}` was pruned by {plan.method}, which leaves no zeros to hold. "
                "Retrain after another strategy."
            )
    masks = {layer.name: mask_of(layer, named[layer.name].shape) for layer in plan.layers}
    before = copy.deepcopy(model.state_dict())
    if retraining.rewind is not None:
        _rewind(model, retraining.rewind)
    x, y, *_ = as_tensors(data)
    settings = retraining.settings(len(x), seed)
    outcome = train(
        model,
        x,
        y,
        settings,
        prepare=lambda optimizer: hold_masks(optimizer, named.items(), masks),
        on_step=on_step and (lambda step: on_step(step, settings.steps)),
    )
    model.eval()
    if outcome.status == "diverged":
        model.load_state_dict(before)
        raise PrunableError(
            f"Retraining diverged: {outcome.reason}. Nothing was written. Choose a smaller --eta, "
            "or less noise."
        )
    return {
        "status": outcome.status,
        "reason": outcome.reason,
        "steps": outcome.steps,
        "train_loss": outcome.log[-1]["loss"],
        "train_accuracy": outcome.log[-1]["accuracy"],
    }


@dataclass(frozen=True)
class Job:
    """What `prune_network` is asked to do.

    Attributes
    ----------
    checkpoint : Path
    strategy : Strategy
    budget : Keep, Error or Energy
    net : str, optional
        Architecture; None is what the checkpoint says of itself. See `network_of`.
    data : str, optional
        Data set to retrain on and to measure the accuracy with.
    shrink : bool
        Whether what is pruned is cut out, or factored.
    retraining : Retraining, optional
    out : Path, optional
        File to write; None writes nothing.
    onnx : Path, optional
        ONNX file to write as well.
    storage : {"dense", "bitmask"}
        How the file holds zeros.
    batch_sizes : tuple of int
        At which the networks are timed.
    only, exclude, seed, force, dry_run, unpickle
        See `prune` and `read_weights`.
    """

    checkpoint: Path
    strategy: Strategy
    budget: Budget
    net: str | None = None
    data: str | None = None
    shrink: bool = False
    retraining: Retraining | None = None
    out: Path | None = None
    onnx: Path | None = None
    storage: Storage = "dense"
    batch_sizes: tuple[int, ...] = (1, 256)
    only: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    seed: int = 0
    force: bool = False
    dry_run: bool = False
    unpickle: bool = False


def prune_checkpoint(job: Job, on_step: OnStep | None = None) -> dict[str, Any]:
    """Prune a checkpoint, retrain and shrink its network if asked, write and measure it.

    Parameters
    ----------
    job : Job
    on_step : callable, optional
        Told the steps of retraining done and in all.

    Returns
    -------
    dict
        model, the keys of `PruningResult.to_dict`, out, storage, bytes_before and bytes of the
        files, and, None where it was not asked for or there is no network: retrained, shrunk,
        sparse (which layers run in compressed rows), footprint (of the dense, the pruned and the
        exported network), onnx.

    Raises
    ------
    InputError
        If the weights fit no network, or the job is contradictory; nothing is written then.
    UnsupportedModelError
        If the network cannot be shrunk.
    """
    if job.retraining is not None and job.data is None:
        raise InputError("`--retrain` of `prune` needs the data to train on: give --data NAME.")
    tensors, metadata = read_weights(job.checkpoint, unpickle=job.unpickle)
    wanted = (job.net, job.data, job.retraining, job.onnx, job.shrink or None)
    if any(option is not None for option in wanted) or ARCHITECTURE in metadata:
        document = _prune_network(job, tensors, metadata, on_step)
    else:
        document = _pruned(job, tensors).to_dict()
        if job.out is not None and not job.dry_run:
            (save_sparse if job.storage == "bitmask" else save_tensors)(job.out, tensors)
    absent = dict.fromkeys(
        ("out", "storage", "bytes", "retrained", "shrunk", "sparse", "footprint", "onnx")
    )
    document = absent | {"model": str(job.checkpoint)} | document
    document["bytes_before"] = _bytes(job.checkpoint)
    if job.out is not None and not job.dry_run:
        document |= {"out": str(job.out), "storage": job.storage, "bytes": _bytes(job.out)}
    return document


def _prune_network(
    job: Job, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str], on_step: OnStep | None
) -> dict[str, Any]:
    data = None if job.data is None else load_data(job.data, job.net, metadata)
    shape = None if data is None else data.x_train.shape[1:]
    model = network_of(tensors, metadata, job.net, shape=shape)
    dense = copy.deepcopy(model)
    result = _pruned(job, model)
    document = result.to_dict()
    if job.dry_run:
        return document
    if job.retraining is not None:
        assert data is not None
        document["retrained"] = retrain_(
            model, result.plan, data, job.retraining, seed=job.seed, on_step=on_step
        )
    networks = {"dense": dense, "pruned": model}
    example = _example(model, metadata, data, max(job.batch_sizes))
    if job.shrink:
        networks["exported"], document["shrunk"] = _shrunk(model, result.plan, example)
    if job.storage == "bitmask":
        batches = [example[:size] for size in job.batch_sizes]
        networks["exported"], report = sparsify(networks.get("exported", model), batches)
        document["sparse"] = report.to_dict()
    exported = networks.get("exported", model)
    files = {}
    if job.out is not None:
        if exported is model:
            save_tensors(job.out, model.state_dict(), metadata)
        else:
            kept = {key: text for key, text in metadata.items() if key != ARCHITECTURE}
            save_exported(job.out, exported, metadata=kept)
        files[list(networks)[-1]] = job.out
    if job.onnx is not None:
        document["onnx"] = save_onnx(job.onnx, exported, example[:2]).to_dict()
    accuracy = None if data is None else lambda network: accuracy_of(network, data)
    document["footprint"] = compare(
        networks, example, job.batch_sizes, plan=result.plan, accuracy=accuracy, files=files
    ).to_dict()
    return document


def _shrunk(
    model: nn.Module, plan: PruningPlan, example: torch.Tensor
) -> tuple[nn.Module, dict[str, Any]]:
    """The smaller network and what became of it."""
    if any(layer.axis == "singular_value" for layer in plan.layers):
        factored = factor(model, plan, example[:2])
        return factored.model, factored.to_dict() | {"by": "factors"}
    by = "surgery"
    found: ShrinkResult | StructuralResult
    try:
        found = shrink(model, plan, example[:2])
    except UnsupportedModelError:
        if importlib.util.find_spec("torch_pruning") is None or any(
            layer.axis != "unit" for layer in plan.layers
        ):
            raise
        by, found = "torch-pruning", shrink_structurally(model, plan, example[:2])
    return found.model, {
        "by": by,
        "max_difference": found.max_difference,
        "n_parameters_before": found.n_parameters_before,
        "n_parameters": found.n_parameters,
        "layers": [
            {"name": name, "units": kept[0], "inputs": kept[1]} for name, kept in found.kept.items()
        ],
    }


def _pruned(job: Job, model: nn.Module | Mapping[str, torch.Tensor]) -> PruningResult:
    return prune(
        model,
        job.strategy,
        job.budget,
        only=job.only,
        exclude=job.exclude,
        seed=job.seed,
        force=job.force,
        dry_run=job.dry_run,
    )


def _bytes(path: Path) -> int:
    files = path.iterdir() if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files if file.is_file())


def accuracy_of(model: nn.Module, data: Dataset) -> float:
    """Share of the test set that a network classifies correctly."""
    *_, x, y = as_tensors(data)
    return evaluate(model, x, y)["accuracy"]


def _example(
    model: nn.Module, metadata: Mapping[str, str], data: Dataset | None, count: int
) -> torch.Tensor:
    """A batch to run the network on: of the data, or drawn where there are none."""
    if data is not None:
        inputs = torch.from_numpy(data.x_test[:count].copy())
    else:
        first = next(p for p in model.parameters() if p.ndim >= 2)
        shape = stored_architecture(metadata).shape if metadata else (first.shape[1],)
        generator = torch.Generator().manual_seed(child_seed(0, "example"))
        inputs = torch.randn(count, *shape, generator=generator)
    return inputs.to(next(model.parameters()))


def _rewind(model: nn.Module, path: Path) -> None:
    tensors, _ = read_weights(path)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(
            f"{path} does not hold weights of this network to rewind to "
            f"({' '.join(str(error).split())[:300]})."
        ) from error
