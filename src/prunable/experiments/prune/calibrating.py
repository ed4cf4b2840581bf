"""In which order layers see calibration inputs, and statistics from them."""

from pathlib import Path
from typing import Any

from torch import nn

from prunable.data.loaders import Dataset
from prunable.experiments.prune.inputs import drawn_from, is_hub_job
from prunable.experiments.prune.specs import PruningJob
from prunable.nets.calibration.stages import InOrder
from prunable.nets.networks.inputs import batch_of, batch_size_of
from prunable.nets.prune.recalibration import recalibrate
from prunable.nets.prune.strategies.allocations import DepthShares, LeastLoss
from prunable.nets.prune.strategies.sharing import Division


def stages_of_job(job: PruningJob) -> Path | None:
    """Where the stages that are done are kept until the network is written."""
    if job.out is None or job.dry_run or not _blockwise(job):
        return None
    return job.out.with_name(f"{job.out.name}.stages")


def _blockwise(job: PruningJob) -> bool:
    """Whether layers are pruned in order and towards themselves, blocks by themselves.

    The usual way runs whole networks, for which language models may be too large.
    """
    usual = job.method == "calibrated" and is_hub_job(job)
    return job.towards == "layer" and (job.in_order or usual)


def ordered(
    job: PruningJob, calibration: list[Any] | None, stages: Path | str | None, on_stage: Any
) -> Any:
    """Calibration inputs, with the order in which layers are to see them."""
    if calibration is None or not (_blockwise(job) or job.towards == "network"):
        return calibration
    return InOrder(calibration, store=stages, on_stage=on_stage, towards=job.towards)


def division_of_job(job: PruningJob) -> Division:
    """How layers share."""
    if job.slope is not None:
        return DepthShares(job.slope)
    if job.allocation == "optimum":
        return LeastLoss(recalibrated=job.recalibrate > 0)
    return job.allocation


def recalibrated(
    model: nn.Module, data: Dataset | None, calibration: list[Any] | None, job: PruningJob
) -> dict[str, Any]:
    """Estimate BatchNorm statistics from as many inputs as asked, in place."""
    if data is not None:
        inputs = drawn_from(model, data, job.recalibrate, job.seed, "recalibrate")
        return {"n_inputs": len(inputs), **recalibrate(model, inputs).to_dict()}
    batches, count = [], 0
    for batch in calibration or []:
        size = min(batch_size_of(batch), job.recalibrate - count)
        if size > 0:
            batches.append(batch_of(batch, size))
            count += size
    return {"n_inputs": count, **recalibrate(model, batches).to_dict()}
