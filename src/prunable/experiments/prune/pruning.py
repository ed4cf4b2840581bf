"""A checkpoint pruned from end to end: plan, retrain, shrink, export, measure."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from prunable.data.loaders import Dataset
from prunable.errors import InputError, PrunableError
from prunable.experiments.prune.blockwise import (
    Spreading,
    prune_blockwise,
    refuse_of_files,
    streamed,
)
from prunable.experiments.prune.calibrating import (
    division_of_job,
    ordered,
    recalibrated,
    stages_of_job,
)
from prunable.experiments.prune.effects import check_effects, lost_of
from prunable.experiments.prune.inputs import (
    batch_sizes_for,
    calibrated_with,
    data_for,
    drawn_from,
    inputs_for,
    is_hub_job,
    over_checkpoint,
    shape_asked,
    writes_folder,
)
from prunable.experiments.prune.specs import PruningJob, Retraining
from prunable.experiments.train.networks import tensors_for
from prunable.files import check_ending, check_places, staged
from prunable.nets.archive import save_tensors
from prunable.nets.calibration.stages import InOrder
from prunable.nets.models import ARCHITECTURE, network_of, read_weights
from prunable.nets.models.hub import check_folder, load_folder, save_folder
from prunable.nets.models.sources import network_by_reference
from prunable.nets.networks.inputs import batch_of
from prunable.nets.prune.choices import CALIBRATED
from prunable.nets.prune.in_order import remove_stages
from prunable.nets.prune.masks import masks_of
from prunable.nets.prune.plan import PruningPlan, Target
from prunable.nets.prune.plan_file import prune_by_plan, read_plan
from prunable.nets.prune.pruning import PruningResult, prune
from prunable.nets.prune.retraining import hold_masks
from prunable.nets.prune.sparse_file import save_sparse
from prunable.nets.prune.strategies.named import strategy_named
from prunable.nets.prune.strategies.units import UnitPruning
from prunable.nets.shrink.export import MANIFEST, load_exported, save_exported, save_onnx
from prunable.nets.shrink.factoring import factor
from prunable.nets.shrink.footprint import compare
from prunable.nets.shrink.modules import SmallerModel
from prunable.nets.shrink.shrinking import shrink
from prunable.nets.shrink.sparse_layers import sparsify
from prunable.nets.train.noise import HeavyTailedNoise
from prunable.nets.train.settings import TrainingOutcome, TrainingSettings
from prunable.nets.train.training import evaluate, lost_decisions, train

SENSITIVITY_INPUTS = 256  # unlabelled ones, by which units are shared
OnStep = Callable[[int, int], None]
OnStage = Callable[[int, int, str], None]  # stages done, all, and the last one's name
ABSENT = (
    "out",
    "storage",
    "bytes",
    "calibrated",
    "retrained",
    "recalibrated",
    "shrunk",
    "sparse",
    "footprint",
    "lost",
    "onnx",
    "folder",
)


def retraining_settings(retraining: Retraining, n_examples: int, seed: int) -> TrainingSettings:
    """Settings of the training loop for a training set of this size."""
    noise = None
    if retraining.noise != "none":
        assert retraining.alpha is not None
        noise = HeavyTailedNoise(retraining.noise, retraining.alpha, retraining.sigma)
    steps = retraining.epochs * -(-n_examples // retraining.batch)
    return TrainingSettings(
        lr=retraining.lr,
        steps=steps,
        batch_size=retraining.batch,
        seed=seed,
        noise=noise,
        log_every=max(1, steps // retraining.epochs),
        optimizer=retraining.optimizer,
        momentum=retraining.momentum if retraining.optimizer == "sgd" else 0.0,
        schedule=retraining.schedule,
    )


def train_pruned_(
    model: nn.Module,
    plan: PruningPlan,
    data: Dataset,
    retraining: Retraining,
    seed: int,
    on_step: OnStep | None = None,
) -> TrainingOutcome:
    """Train a network on from where it is, in place, the weights that a plan pruned held at 0."""
    with _widened(model):
        x, y, *_ = tensors_for(data, model)
        named = list(model.named_parameters())
        settings = retraining_settings(retraining, len(x), seed)
        return train(
            model,
            x,
            y,
            settings,
            prepare=partial(hold_masks, named_parameters=named, masks=masks_of(plan, named)),
            on_step=on_step and (lambda step: on_step(step, settings.steps)),
        )


@contextmanager
def _widened(model: nn.Module) -> Iterator[None]:
    """Train what is stored in half precision in float32; it gets its precision back."""
    dtypes = [tensor.dtype for tensor in (*model.parameters(), *model.buffers())]
    if {torch.float16, torch.bfloat16} & set(dtypes):
        model.float()
    try:
        yield
    finally:
        for tensor, dtype in zip((*model.parameters(), *model.buffers()), dtypes, strict=True):
            tensor.data = tensor.data.to(dtype)


def retrain_(
    model: nn.Module,
    plan: PruningPlan,
    data: Dataset,
    retraining: Retraining,
    *,
    seed: int,
    on_step: OnStep | None = None,
) -> dict[str, Any]:
    """Train a network that a plan pruned on, in place, its pruned weights held at 0.

    `on_step` is told the steps done and in all; the result has status, reason, steps and the
    last training loss and accuracy.

    Raises InputError if the plan has no masks, or the weights to rewind to do not fit;
    PrunableError if training diverged; the model is then as it was.
    """
    for layer in plan.layers:
        if layer.axis == "singular_value" or layer.fill is not None:
            raise InputError(
                f"`{layer.name}` was pruned by {plan.method}, which leaves no zeros to hold. "
                "Retrain after another strategy."
            )
    before = copy.deepcopy(model.state_dict())
    if retraining.rewind is not None:
        _rewind(model, retraining.rewind)
    outcome = train_pruned_(model, plan, data, retraining, seed, on_step)
    model.eval()
    if outcome.status == "diverged":
        model.load_state_dict(before)
        raise PrunableError(
            f"Retraining diverged: {outcome.reason}. Nothing was written. Choose a smaller --lr, "
            "or less noise."
        )
    return {
        "status": outcome.status,
        "reason": outcome.reason,
        "steps": outcome.steps,
        "train_loss": outcome.log[-1]["loss"],
        "train_accuracy": outcome.log[-1]["accuracy"],
    }


def prune_checkpoint(
    job: PruningJob,
    on_step: OnStep | None = None,
    on_stage: OnStage | None = None,
    spreading: Spreading | None = None,
) -> dict[str, Any]:
    """Prune a checkpoint, retrain and shrink its network if asked, write and measure it.

    Raises InputError if the weights fit no network, or the job is contradictory; nothing is written
    then; UnsupportedModelError if the network cannot be shrunk, or has no BatchNorm to recalibrate.

    `spreading` joins the workers that folders of files are sent to; it must have an effect.

    Gives model, the keys of `PruningResult.to_dict`, out, storage, bytes_before and bytes of the
    files, and, None where it was not asked for or there is no network: calibrated, retrained,
    recalibrated, shrunk, sparse (which layers run in compressed rows), footprint (of the dense, the
    pruned and the exported network), lost (`lost_of`), onnx, folder (what `save_folder` wrote).
    """
    job = over_checkpoint(job) if job.in_place else job
    if job.out is None and not job.dry_run:
        raise InputError("`prune` needs --out FILE, or --dry-run to show the plan only.")
    if job.retraining.epochs and job.data is None:
        raise InputError("`--retrain` of `prune` needs the data to train on: give --data NAME.")
    if job.recalibrate and job.data is None and job.calibrate is None:
        raise InputError(
            "`--recalibrate` of `prune` needs inputs to run on: give --data NAME, or --calibrate."
        )
    check_effects(job)
    _check_places(job)
    before = _bytes(job.checkpoint) if job.checkpoint.exists() else 0
    shape_asked(job)
    hub = is_hub_job(job)
    document = None if hub or _needs_network(job) else streamed(job, spreading)
    if document is not None:
        return _told(job, document, before)
    refuse_of_files(job, spreading)
    if hub and job.out is not None and writes_folder(job):
        check_folder(job.out)
    else:
        check_ending(job.out, "out", "prune", "", ".safetensors")
    check_ending(job.onnx, "onnx", "prune", "", ".onnx")
    tensors: dict[str, torch.Tensor] = {}
    metadata: dict[str, str] = {}
    if not hub:
        tensors, metadata = read_weights(job.checkpoint, unpickle=job.unpickle)
        metadata = {"format": "pt"} | metadata  # readers of transformers refuse files without it
    if job.stream:
        document = prune_blockwise(job, on_stage)
    elif hub or _needs_network(job) or ARCHITECTURE in metadata:
        document = _prune_network(job, tensors, metadata, on_step, on_stage)
    else:
        document = _pruned(job, tensors).to_dict()
        if job.out is not None and not job.dry_run:
            if job.storage == "bitmask":
                save_sparse(job.out, tensors)
            else:
                save_tensors(job.out, tensors, metadata)
    return _told(job, document, before)


def _needs_network(job: PruningJob) -> bool:
    """Whether a job asks for what only a network that can be run has."""
    asked = (job.net, job.data, job.input_shape, job.example, job.calibrate, job.onnx)
    return any(asked) or job.shrink or job.retraining.epochs > 0


def _told(job: PruningJob, document: dict[str, Any], before: int) -> dict[str, Any]:
    """The document of a job on a checkpoint of so many bytes, with what it wrote."""
    document = dict.fromkeys(ABSENT) | {"model": str(job.checkpoint)} | document
    document["bytes_before"] = before
    if job.out is not None and not job.dry_run:
        document |= {"out": str(job.out), "storage": job.storage, "bytes": _bytes(job.out)}
    return document


def _check_places(job: PruningJob) -> None:
    """Raise InputError if a file to write is one to read, or two are one."""
    written = {"--out": job.out, "--onnx": job.onnx}
    if not job.in_place and job.checkpoint.is_file():
        mend = "Name another file, or give --in-place instead."
        check_places("prune", {"--out": job.out}, {"the checkpoint": job.checkpoint}, mend)
    read = {
        "the checkpoint": None if job.in_place else job.checkpoint,
        "the example": job.example,
        "the data": job.data,
        "the calibration inputs": job.calibrate,
        "the sizes of inputs": job.norms,
        "what to start again from": job.retraining.rewind,
        "the plan": job.plan,
    }
    check_places("prune", written, read)


def _prune_network(
    job: PruningJob,
    tensors: Mapping[str, torch.Tensor],
    metadata: dict[str, str],
    on_step: OnStep | None,
    on_stage: OnStage | None,
) -> dict[str, Any]:
    asked = shape_asked(job)
    data = None if job.data is None else data_for(job.data, job.net, metadata, asked)
    shape = asked if data is None else data.x_train.shape[1:]
    if is_hub_job(job):
        model = load_folder(job.checkpoint, "prune")
    elif MANIFEST in metadata and (job.net is None or ":" in job.net):
        fresh = None if job.net is None else network_by_reference(job.net, "prune")
        model = load_exported(job.checkpoint, fresh)
    else:
        model = network_of(tensors, metadata, job.net, shape=shape)
    example, calibration = inputs_for(job, model, metadata, data)
    batch_sizes = batch_sizes_for(job, model, example)
    dense = copy.deepcopy(model)
    inputs = None if data is None else _unlabelled(model, data, job)
    stages = stages_of_job(job)
    given = ordered(job, calibration, stages, on_stage)
    result = _pruned(job, model, example, inputs, given)
    document = result.to_dict()
    if calibration is not None:
        document["calibrated"] = calibrated_with(job, calibration)
        if (again := document["recalibrated"]) is not None:
            again["n_inputs"] = document["calibrated"]["n_inputs"]
    if job.dry_run:
        return document
    if job.retraining.epochs:
        assert data is not None
        document["retrained"] = retrain_(
            model, result.plan, data, job.retraining, seed=job.seed, on_step=on_step
        )
    if job.recalibrate:
        document["recalibrated"] = recalibrated(model, data, calibration, job)
    networks = {"dense": dense, "pruned": model}
    if job.shrink:
        smaller, by = _shrunk(model, result.plan, batch_of(example, 2))
        networks["exported"] = smaller.model
        document["shrunk"] = {"by": by, **smaller.to_dict()}
    if job.storage == "bitmask":
        batches = [batch_of(example, size) for size in batch_sizes]
        networks["exported"], report = sparsify(networks.get("exported", model), batches)
        document["sparse"] = report.to_dict()
    accuracy = None if data is None else lambda network: accuracy_of(network, data)
    with ExitStack() as written:  # all files appear, or none
        files = {}
        if job.out is not None:
            place = files[list(networks)[-1]] = written.enter_context(staged(job.out))
            if is_hub_job(job) and writes_folder(job):
                last = networks.get("exported", model)
                kept = save_folder(place, last, source=job.checkpoint, example=batch_of(example, 2))
                document["folder"] = replace(kept, path=job.out).to_dict()
            else:
                _save(place, networks, metadata)
        if job.onnx is not None:
            place = written.enter_context(staged(job.onnx))
            exported = networks.get("exported", model)
            done = save_onnx(place, exported, batch_of(example, 2))
            document["onnx"] = replace(done, path=job.onnx).to_dict()
        document["footprint"] = compare(
            networks, example, batch_sizes, plan=result.plan, accuracy=accuracy, files=files
        ).to_dict()
    if data is not None:
        shown = document["footprint"]["models"]
        accuracies = shown["dense"]["accuracy"], shown["pruned"]["accuracy"]
        y = torch.tensor(data.y_test)
        document["lost"] = lost_of(job, model, result.plan, lost_decisions(*accuracies, y))
    if stages is not None:
        remove_stages(stages)
    return document


def _unlabelled(model: nn.Module, data: Dataset, job: PruningJob) -> torch.Tensor | None:
    """Training inputs by which a job shares its units; None if it does not ask for that."""
    if job.scope != "sensitivity":
        return None
    return drawn_from(model, data, SENSITIVITY_INPUTS, job.seed, "sensitivity")


def _save(path: Path, networks: Mapping[str, nn.Module], metadata: Mapping[str, str]) -> None:
    """Write the exported network, or the pruned one, with the text of the checkpoint."""
    if "exported" not in networks:
        save_tensors(path, networks["pruned"].state_dict(), metadata)
        return
    kept = {key: text for key, text in metadata.items() if key != ARCHITECTURE}
    save_exported(path, networks["exported"], metadata=kept)


def _shrunk(model: nn.Module, plan: PruningPlan, example: Any) -> tuple[SmallerModel, str]:
    """The smaller network, and by what it was made."""
    if any(layer.axis == "singular_value" for layer in plan.layers):
        return factor(model, plan, example), "factors"
    return shrink(model, plan, example), "groups" if plan.groups else "surgery"


def _pruned(
    job: PruningJob,
    model: nn.Module | Mapping[str, torch.Tensor],
    example: Any = None,
    inputs: torch.Tensor | None = None,
    calibration: Any = None,
) -> PruningResult:
    """Prune as asked; units of a network that can be run are coupled."""
    if job.plan is not None:
        return prune_by_plan(model, read_plan(job.plan), dry_run=job.dry_run)
    how = job.model_dump(include={"only", "exclude", "seed", "force", "dry_run"})
    assert job.method is not None
    strategy = strategy_named(job.method, division_of_job(job), job.center, job.pattern, job.refit)
    if job.allocation == "atp" and not isinstance(model, nn.Module):
        raise InputError(
            "`--allocation atp` of `prune` goes by the order of layers, which the network has: "
            "give --net."
        )
    if calibration is None and (job.refit or job.method in CALIBRATED):
        asked = "--refit" if job.refit else f"--method {job.method}"
        sizes = ", or --norms" if job.method == "wanda" and not job.refit else ""
        raise InputError(f"`{asked}` of `prune` needs inputs to run on: give --calibrate{sizes}.")
    how["calibration"] = calibration
    how["bias_correction"] = job.bias_correction or None
    plain = not job.refit and not isinstance(calibration, InOrder)
    units = job.method == "unit" and job.center == "zero" and plain
    if units and isinstance(model, nn.Module):
        strategy = UnitPruning(strategy, job.aggregate or "mean", job.round_to)
        budget = job.budget
        sensitive = isinstance(budget, Target) and budget.scope == "sensitivity"
        if sensitive and inputs is None:
            raise InputError(
                "`--scope sensitivity` of `prune` needs inputs to run on: give --data."
            )
        how["inputs"] = inputs if sensitive else None
        return prune(model, strategy, budget, example=batch_of(example, 2), **how)
    for option, given in (
        ("target", job.target is not None),
        ("aggregate", job.aggregate is not None),
        ("round_to", job.round_to != 1),
    ):
        if given:
            raise InputError(
                f"`--{option.replace('_', '-')}` of `prune` needs --method unit and a network that "
                "can be run: give --net, or what it is called with."
            )
    if isinstance(model, nn.Module) and strategy.axis != "unit":
        how["example"] = batch_of(example, 2)
    return prune(model, strategy, job.budget, **how)


def _bytes(path: Path) -> int:
    path = path.parent if path.suffix == ".json" else path
    files = path.iterdir() if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files if file.is_file())


def accuracy_of(model: nn.Module, data: Dataset) -> float:
    """Share of the test set that a network classifies correctly."""
    *_, x, y = tensors_for(data, model)
    return evaluate(model, x, y)["accuracy"]


def _rewind(model: nn.Module, path: Path) -> None:
    tensors, _ = read_weights(path)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(
            f"{path} does not hold weights of this network to rewind to "
            f"({' '.join(str(error).split())[:300]})."
        ) from error
