"""What rounds of iterative pruning hand to each other, in memory and in one file."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from prunable.errors import DataIntegrityError
from prunable.files import Document, Size
from prunable.nets.prune import tickets

ROUNDS = "rounds-1"


class _RoundsDocument(Document):
    settings: dict[str, Any]
    shares: tuple[float, ...]
    losses: tuple[float, ...]
    last_step: Size


@dataclass(frozen=True, eq=False)
class RoundsProgress:
    """Everything that a round hands to the next."""

    masks: tickets.Tensors
    values: tickets.Tensors  # of the model, as the next round starts
    origin: tickets.Tensors | None  # values to rewind to, once known
    shares: tuple[float, ...] = ()
    losses: tuple[float, ...] = ()
    last_step: int = 0


def values_of(model: torch.nn.Module) -> tickets.Tensors:
    """Copies of all parameters and buffers; tied ones each of their own."""
    state = model.state_dict().items()
    return {name: x.detach().clone() for name, x in state if isinstance(x, torch.Tensor)}


@torch.no_grad()
def restore_(model: torch.nn.Module, values: tickets.Tensors) -> None:
    """Give a model the values that `values_of` copied, in place."""
    state = model.state_dict()
    for name, value in values.items():
        state[name].copy_(value)


def save_progress(path: Path | str, settings: dict[str, Any], progress: RoundsProgress) -> None:
    """Write what a killed run of these settings goes on from."""
    tensors, _ = tickets.packed_masks(progress.masks)
    tensors |= {f"model/{name}": x for name, x in progress.values.items()}
    tensors |= {f"origin/{name}": x for name, x in (progress.origin or {}).items()}
    document = {
        "settings": settings,
        "shares": progress.shares,
        "losses": progress.losses,
        "last_step": progress.last_step,
    }
    tickets.write_digested(path, ROUNDS, tensors, document)


def load_progress(
    path: Path | str, settings: dict[str, Any], model: torch.nn.Module
) -> RoundsProgress:
    """Read what `save_progress` wrote; DataIntegrityError if damaged, or of other settings."""
    tensors, found = tickets.read_digested(path, ROUNDS, "checkpoint of rounds", _RoundsDocument)
    with tickets.malformed_named(path):
        own = json.loads(json.dumps(settings))
        differing = [key for key in own if found.settings.get(key) != own[key]]
        values = _below(tensors, "model/")
        if _kinds(values) != _kinds(values_of(model)):
            differing.append("model")
        if differing:
            raise DataIntegrityError(
                f"{path} is the checkpoint of another run ({', '.join(differing)} differ); "
                "give another file, or delete it to start anew."
            )
        return RoundsProgress(
            tickets.unpacked_masks(tensors, own["shapes"]),
            values,
            _below(tensors, "origin/") or None,
            found.shares,
            found.losses,
            found.last_step,
        )


def _kinds(values: tickets.Tensors) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (x.shape, x.dtype) for name, x in values.items()}


def _below(tensors: tickets.Tensors, prefix: str) -> tickets.Tensors:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
