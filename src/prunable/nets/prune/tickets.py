"""Tickets: the masks that iterative pruning finds, their files, and their controls."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import torch

from prunable.errors import DataIntegrityError, require
from prunable.files import Document, Shape, Size, damage_named, parsed
from prunable.nets.archive import load_tensors, save_tensors
from prunable.nets.prune.retraining import check_masks, zero_pruned_
from prunable.nets.prune.sparse_file import unpacked_bits

Tensors = dict[str, torch.Tensor]

TICKET = "ticket-1"
T = TypeVar("T")


class _TicketDocument(Document):
    shapes: dict[str, Shape]
    seed: int
    rewind_step: Size | None
    shares: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Ticket:
    """The masks that iterative pruning found, and how."""

    masks: Mapping[str, torch.Tensor]  # what is kept of each parameter, in its shape; at least one
    seed: int  # of the rounds
    # training step whose weights belong to the ticket, 0 for the initial ones; None if weights were
    # not rewound
    rewind_step: int | None
    shares: tuple[float, ...]  # kept share after each round, of the masked parameters

    def __post_init__(self) -> None:
        wrong = [name for name, mask in self.masks.items() if mask.dtype != torch.bool]
        require(not wrong and self.masks, "masks", "Ticket", "one or more bool tensors", wrong)
        masks = {name: mask.cpu() for name, mask in self.masks.items()}
        object.__setattr__(self, "masks", MappingProxyType(masks))
        object.__setattr__(self, "shares", tuple(map(float, self.shares)))

    @property
    def n_total(self) -> int:
        """Number of weights that have a mask."""
        return sum(mask.numel() for mask in self.masks.values())

    @property
    def n_kept(self) -> int:
        """Number of weights that stay."""
        return count_kept(self.masks)

    @property
    def kappa(self) -> float:
        """Kept share of the weights that have a mask."""
        return self.n_kept / self.n_total


def count_kept(masks: Mapping[str, torch.Tensor]) -> int:
    """Number of weights that masks keep."""
    return sum(int(mask.sum()) for mask in masks.values())


def save_ticket(path: Path | str, ticket: Ticket) -> None:
    """Write a ticket to one safetensors file atomically, a bit a weight.

    The tensor `mask/NAME` holds bytes of 8 weights in C order, the first in the highest bit.
    The header's `document` is JSON of shapes, seed, rewind step and shares, and `digest` covers
    all of it.
    """
    tensors, shapes = packed_masks(ticket.masks)
    document = {
        "shapes": shapes,
        "seed": ticket.seed,
        "rewind_step": ticket.rewind_step,
        "shares": list(ticket.shares),
    }
    write_digested(path, TICKET, tensors, document)


def load_ticket(path: Path | str) -> Ticket:
    """Read a file of `save_ticket`; DataIntegrityError if it is missing, damaged or no ticket."""
    tensors, found = read_digested(path, TICKET, "ticket", _TicketDocument)
    with malformed_named(path):
        masks = unpacked_masks(tensors, found.shapes)
        return Ticket(masks, found.seed, found.rewind_step, found.shares)


def apply_ticket_(model: torch.nn.Module, ticket: Ticket) -> None:
    """Zero the weights that a ticket prunes, in place.

    The model's weights are those that the ticket was rewound to; `hold_masks` keeps the zeros
    while it trains. An InputError, if the model has no such parameters, changes nothing.
    """
    named = dict(model.named_parameters())
    check_masks(named, ticket.masks, "apply_ticket_")
    zero_pruned_(named, ticket.masks)


def shuffle_masks(ticket: Ticket, rng: np.random.Generator) -> Ticket:
    """Shuffle each mask uniformly: the control that keeps the share of every layer."""
    masks = {
        name: torch.from_numpy(rng.permutation(mask.numpy().ravel())).reshape(mask.shape)
        for name, mask in ticket.masks.items()
    }
    return replace(ticket, masks=masks)


def random_ticket(ticket: Ticket, rng: np.random.Generator) -> Ticket:
    """Draw as many weights uniformly from all layers: the control that forgets the layers too."""
    pooled = np.zeros(ticket.n_total, dtype=np.bool_)
    pooled[rng.choice(pooled.size, ticket.n_kept, replace=False)] = True
    ends = np.cumsum([mask.numel() for mask in ticket.masks.values()])[:-1]
    parts = np.split(pooled, ends)
    masks = {
        name: torch.from_numpy(part.copy()).reshape(mask.shape)
        for (name, mask), part in zip(ticket.masks.items(), parts, strict=True)
    }
    return replace(ticket, masks=masks)


def packed_masks(masks: Mapping[str, torch.Tensor]) -> tuple[Tensors, dict[str, list[int]]]:
    """Bits of masks as tensors `mask/NAME`, and their shapes by name."""
    packed = {
        f"mask/{name}": torch.from_numpy(np.packbits(mask.cpu().numpy().ravel()))
        for name, mask in masks.items()
    }
    return packed, {name: list(mask.shape) for name, mask in masks.items()}


def unpacked_masks(tensors: Tensors, shapes: Mapping[str, Sequence[int]]) -> Tensors:
    """The masks that `packed_masks` was given; ValueError if bits and shapes do not fit."""
    if {f"mask/{name}" for name in shapes} != {n for n in tensors if n.startswith("mask/")}:
        raise ValueError("names of masks and of shapes differ")
    return {name: unpacked_bits(tensors[f"mask/{name}"], shape) for name, shape in shapes.items()}


def write_digested(path: Path | str, kind: str, tensors: Tensors, document: dict[str, Any]) -> None:
    """Write tensors and a document with a digest, which safetensors itself does not keep."""
    text = json.dumps(document, allow_nan=False)
    digest = _digest(text, tensors)
    save_tensors(path, tensors, {"format": kind, "document": text, "digest": digest})


def read_digested(path: Path | str, kind: str, what: str, schema: type[T]) -> tuple[Tensors, T]:
    """Read what `write_digested` wrote, its document as `schema` says.

    DataIntegrityError if it is damaged or no such thing.
    """
    tensors, metadata = load_tensors(path)
    if metadata.get("format") != kind:
        raise DataIntegrityError(f"{path} is not a {what}; check the path.")
    text = metadata.get("document", "")
    if metadata.get("digest") != _digest(text, tensors):
        raise DataIntegrityError(
            f"{path} is a damaged {what}: its content does not have its digest. Write it again."
        )
    with malformed_named(path):
        return tensors, parsed(schema, text)


def _digest(text: str, tensors: Tensors) -> str:
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def malformed_named(path: Path | str) -> AbstractContextManager[None]:
    """Name the file in whatever reading a malformed document raises."""
    mend = "it lacks parts of its content: write it again"
    return damage_named(path, mend, DataIntegrityError)
