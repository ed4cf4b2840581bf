"""Jobs that hold no whole network: folders block by block, and files tensor by tensor."""

import shutil
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any

from prunable.errors import InputError
from prunable.experiments.prune.calibrating import division_of_job, ordered, stages_of_job
from prunable.experiments.prune.inputs import calibrated_with, inputs_for, is_hub_job, writes_folder
from prunable.experiments.prune.specs import PruningJob
from prunable.files import check_ending, os_errors_named
from prunable.nets.archive import open_archive
from prunable.nets.archive.packed import refuse_packed
from prunable.nets.archive.safetensors_file import metadata_of
from prunable.nets.calibration.norms import read_norms
from prunable.nets.models import ARCHITECTURE
from prunable.nets.models.hub import kept_beside
from prunable.nets.models.streaming import open_streamed, save_streamed
from prunable.nets.networks.inputs import batch_of
from prunable.nets.prune.blockwise import prune_streamed
from prunable.nets.prune.in_order import remove_stages
from prunable.nets.prune.strategies import InputWeightedPruning, MagnitudePruning, NMPruning
from prunable.nets.prune.strategies.named import strategy_named
from prunable.nets.prune.streaming import STREAMED, Streaming, is_one_file
from prunable.numerics.parallel import Spread, here

Spreading = Callable[[], AbstractContextManager[Spread]]


def prune_blockwise(job: PruningJob, on_stage: Any) -> dict[str, Any]:
    """The document of a job with `stream`, and its folder; see `prune_checkpoint`.

    The folder of stages is there until the last file is written: the same job goes on from it.

    Raises InputError if the job is about no folder of transformers, or writes none.
    """
    if not is_hub_job(job):
        raise InputError(
            "`--stream` of `prune` reads a folder of transformers, whose config.json says an "
            f"architecture, and {job.checkpoint} is none. Give such a MODEL."
        )
    if not (job.dry_run or writes_folder(job)):
        raise InputError("`--stream` of `prune` writes a folder: give such a one as --out.")
    assert job.method is not None
    with ExitStack() as stack:
        stages = stages_of_job(job) or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        converted = stages / "converted"
        stack.callback(_remove, converted, [x for x in stages.parents if not x.exists()])
        with os_errors_named("write", job.out or stages):
            converted.mkdir(parents=True, exist_ok=True)
        streamed = open_streamed(job.checkpoint, converted / "dense", "prune")
        example, calibration = inputs_for(job, streamed.model, {}, None)
        assert calibration is not None
        result = prune_streamed(
            streamed,
            strategy_named(job.method, division_of_job(job), job.center, job.pattern, job.refit),
            job.budget,
            ordered(job, calibration, stages, on_stage),
            example=batch_of(example, 2),
            **job.model_dump(include={"only", "exclude", "seed", "force"}),
        )
        document = result.to_dict() | {"calibrated": calibrated_with(job, calibration)}
        if job.out is not None and not job.dry_run:
            kept = save_streamed(
                job.out,
                streamed,
                source=job.checkpoint,
                example=batch_of(example, 2),
                scratch=converted / "pruned",
            )
            document["folder"] = kept.to_dict()
        remove_stages(stages)
    return document


def _remove(converted: Path, made: list[Path]) -> None:
    """Delete a folder, and those around it that were made for it if nothing else is in them."""
    shutil.rmtree(converted, ignore_errors=True)
    for folder in (converted.parent, *made):
        with suppress(OSError):
            folder.rmdir()


def refuse_of_files(job: PruningJob, spreading: Spreading | None) -> None:
    """Raise InputError if something is asked for that only files have that are pruned as they lie.

    Sizes of inputs, or workers.
    """
    if job.norms is not None:
        raise InputError(
            "`--norms` of `prune` needs weights that are pruned as they lie in files: safetensors "
            "or an index of them, divided by threshold or lamp, without options that need the "
            "network. Leave it out, or the others."
        )
    refuse_spreading(spreading)


def refuse_spreading(spreading: Spreading | None) -> None:
    """Raise InputError if workers were named for what is not pruned by them."""
    if spreading is not None:
        raise InputError(
            "`--backend ray` of `prune` needs what is pruned shard by shard: a folder of "
            "safetensors, or its index (of transformers the index), --method magnitude, n:m, or "
            "wanda with --norms, without options that need the network, and --out FOLDER or "
            "--dry-run. Leave it out, or the others."
        )


def streamed(job: PruningJob, spreading: Spreading | None = None) -> dict[str, Any] | None:
    """Prune files of weights as they lie, if the job allows; nothing is written otherwise.

    Raises InputError if there are workers, and one file is to be written.
    """
    methods = ("magnitude", "n:m") if job.norms is None else ("wanda",)
    if job.plan is not None or job.method not in methods or job.storage != "dense":
        return None
    if job.center != "zero" or job.refit or job.allocation not in STREAMED:
        return None
    assert job.method is not None
    strategy = strategy_named(job.method, job.allocation, job.center, job.pattern, job.refit)
    norms = {} if job.norms is None else read_norms(job.norms)
    with open_archive(job.checkpoint, unpickle=job.unpickle) as archive:
        refuse_packed(archive)
        metadata = {}
        if archive.format == "safetensors" and is_one_file(job.checkpoint):
            metadata = metadata_of(job.checkpoint)
        if not isinstance(strategy, MagnitudePruning | NMPruning | InputWeightedPruning):
            return None
        if ARCHITECTURE in metadata or not Streaming.serves(archive, strategy, metadata):
            return None
        folder = not is_one_file(job.checkpoint)
        if not (folder and job.out is not None and job.out.suffix == ""):
            check_ending(job.out, "out", "prune", "", ".safetensors")
            if job.out is not None:
                refuse_spreading(spreading)
        how = (job.budget, job.only, job.exclude, job.seed, job.force)
        beside = kept_beside(job.checkpoint) if folder else ()
        out = None if job.dry_run else job.out
        with nullcontext(here) if spreading is None else spreading() as spread:
            streaming = Streaming(archive, strategy, *how, spread, norms)
            return streaming.prune(out, {"format": "pt"} | metadata, beside)
