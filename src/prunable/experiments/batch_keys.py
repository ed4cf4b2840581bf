"""Which training runs can be computed together; told without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prunable.experiments.spec import TrainSpec

# What the batch stands for; specifications with a stage of their own are computed by it.
STAGE = "prunable.experiments.stages:train_stage"
# Architectures that are chains of linear layers with ReLU between them.
CHAINS = frozenset({"mean-field", "two-layer", "lenet-300-100", "mlp5", "fcn4", "fcn6"})


def train_batch_key(spec: TrainSpec) -> str | None:
    """Name what training runs must share to be computed together.

    Parameters
    ----------
    spec : TrainSpec

    Returns
    -------
    str or None
        Data, architecture and batch size; seeds, step sizes, noise, numbers of steps and stop
        rules may differ. None of a run that must be computed alone.
    """
    if spec.stage != STAGE or spec.net not in CHAINS or spec.augment:
        return None
    shared = (
        type(spec).__name__,
        spec.dataset,
        spec.split,
        spec.split_seed,
        spec.train_size,
        spec.net,
        spec.width,
        spec.train_output,
        spec.batch_size,
    )
    return "/".join(map(str, shared))
