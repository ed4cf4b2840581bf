"""Jobs of pruning that no network is needed for: files are pruned tensor by tensor."""

from typing import Any

from prunable.experiments.prune.specs import PruningJob
from prunable.files import check_ending
from prunable.nets.archive import open_archive
from prunable.nets.archive.packed import refuse_packed
from prunable.nets.archive.safetensors_file import metadata_of
from prunable.nets.models import ARCHITECTURE
from prunable.nets.models.hub import kept_beside
from prunable.nets.prune.strategies import MagnitudePruning, NMPruning
from prunable.nets.prune.strategies.named import strategy_named
from prunable.nets.prune.streaming import STREAMED, Streaming, is_one_file


def streamed(job: PruningJob) -> dict[str, Any] | None:
    """Prune files of weights as they lie, if the job allows; nothing is written otherwise."""
    if job.plan is not None or job.method not in ("magnitude", "n:m") or job.storage != "dense":
        return None
    if job.center != "zero" or job.refit or job.allocation not in STREAMED:
        return None
    strategy = strategy_named(job.method, job.allocation, job.center, job.pattern, job.refit)
    with open_archive(job.checkpoint, unpickle=job.unpickle) as archive:
        refuse_packed(archive)
        metadata = {}
        if archive.format == "safetensors" and is_one_file(job.checkpoint):
            metadata = metadata_of(job.checkpoint)
        if not isinstance(strategy, MagnitudePruning | NMPruning):
            return None
        if ARCHITECTURE in metadata or not Streaming.serves(archive, strategy, metadata):
            return None
        folder = not is_one_file(job.checkpoint)
        if not (folder and job.out is not None and job.out.suffix == ""):
            check_ending(job.out, "out", "prune", "", ".safetensors")
        how = (job.budget, job.only, job.exclude, job.seed, job.force)
        streaming = Streaming(archive, strategy, *how)
        beside = kept_beside(job.checkpoint) if folder else ()
        out = None if job.dry_run else job.out
        return streaming.prune(out, {"format": "pt"} | metadata, beside)
