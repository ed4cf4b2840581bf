"""Plans in files: what is pruned, the statistics that go with it, and what was expected of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from prunable.errors import DataIntegrityError, InputError
from prunable.files import brief, read_json, write_json
from prunable.nets.networks.effective import bake_, parametrized_names
from prunable.nets.prune.counting import nonzero
from prunable.nets.prune.masks import apply_plan_
from prunable.nets.prune.plan import PruningPlan, plan_from_json, plan_to_json
from prunable.nets.prune.pruning import PruningResult

SCHEMA_VERSION = 1


@dataclass(frozen=True, eq=False)
class PlanFile:
    """A plan, buffers that changed with it such as BatchNorm statistics, and notes beside."""

    plan: PruningPlan
    buffers: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    notes: Mapping[str, Any] = field(default_factory=dict)


def changed_buffers(model: nn.Module, pruned: nn.Module) -> dict[str, Tensor]:
    """Buffers of a pruned copy that are not those of the model."""
    before = dict(model.named_buffers())
    return {
        name: x.detach().cpu()
        for name, x in pruned.named_buffers()
        if name in before and x.is_floating_point() and not torch.equal(x, before[name])
    }


def write_plan(path: Path | str, file: PlanFile) -> None:
    """Write a plan with what belongs to it as JSON."""
    buffers = {
        name: {"shape": list(x.shape), "values": x.double().reshape(-1).tolist()}
        for name, x in file.buffers.items()
    }
    document = {
        "schema_version": SCHEMA_VERSION,
        "plan": json.loads(plan_to_json(file.plan)),
        "buffers": buffers,
        "notes": dict(file.notes),
    }
    write_json(path, document)


def read_plan(path: Path | str) -> PlanFile:
    """Read what `write_plan` wrote; DataIntegrityError if it is missing or something else."""
    mend = "give a plan that `prunable advise` wrote, or have it written again"
    document = read_json(path, mend)
    try:
        if not isinstance(document, dict):
            raise TypeError(f"it holds a {type(document).__name__}")
        version = document["schema_version"]
        plan = plan_from_json(json.dumps(document["plan"]))
        buffers = {
            str(name): torch.tensor(x["values"], dtype=torch.float64).reshape(x["shape"])
            for name, x in document["buffers"].items()
        }
        notes = dict(document["notes"])
    except DataIntegrityError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise DataIntegrityError(f"{path} is no plan ({brief(error)}); {mend}.") from error
    if version != SCHEMA_VERSION:
        raise DataIntegrityError(f"{path} has the schema version {version!r}; {mend}.")
    return PlanFile(plan, buffers, notes)


def prune_by_plan(
    model: nn.Module | Mapping[str, Tensor], file: PlanFile, *, dry_run: bool = False
) -> PruningResult:
    """Prune a network, or the tensors of a checkpoint, as a plan says, in place.

    Weights that others make up become parameters of their own. Raises InputError if the plan was
    made for another network; then nothing is changed.
    """
    if isinstance(model, nn.Module):
        planned = {layer.name for layer in file.plan.layers}
        baked = tuple(name for name in parametrized_names(model) if name in planned)
        if not dry_run:
            bake_(model, baked)
        weights: dict[str, Tensor] = dict(model.named_parameters())
        every = weights | dict(model.named_buffers())
    else:
        baked, weights = (), {n: x for n, x in model.items() if x.is_floating_point()}
        every = dict(model)
    for name, values in file.buffers.items():
        if name not in every or every[name].shape != values.shape:
            raise InputError(
                f"The plan does not fit the model: it has no buffer `{name}` of shape "
                f"{tuple(values.shape)}. Apply it to the network it was made for."
            )
    before = nonzero(weights)
    if dry_run:
        weights = {name: x.detach().clone() for name, x in weights.items()}
    apply_plan_(weights.items(), file.plan)
    if not dry_run:
        with torch.no_grad():
            for name, values in file.buffers.items():
                every[name].copy_(values.to(every[name]))
    size = sum(x.numel() for x in weights.values())
    return PruningResult(file.plan, size, before, nonzero(weights), (), baked)
