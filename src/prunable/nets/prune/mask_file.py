"""Masks on disk: a bit a weight, for runs that are resumed."""

from collections.abc import Mapping
from pathlib import Path

import torch

from prunable.arguments import checked
from prunable.errors import require
from prunable.files import Document, Shape
from prunable.nets.prune import tickets
from prunable.nets.prune.retraining import MaskHandle

MASKS = "masks-1"


class _MasksDocument(Document):
    shapes: dict[str, Shape]


@checked("save_masks")
def save_masks(path: Path | str, masks: Mapping[str, torch.Tensor] | MaskHandle) -> None:
    """Write masks to one safetensors file atomically, a bit a weight; see `load_masks`.

    They are bools by the names of parameters, or what `hold_masks` gave. The tensor `mask/NAME`
    holds bytes of 8 weights in C order, the first in the highest bit; the header's `document` is
    JSON of their shapes, and `digest` covers all of it.

    Raises InputError if a mask is not of bools, or the file cannot be written.

    >>> import tempfile, torch, prunable
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_masks(folder + "/masks.safetensors", {"weight": torch.tensor([True, False])})
    ...     load_masks(folder + "/masks.safetensors")
    {'weight': tensor([ True, False])}
    """
    masks = masks.state_dict() if isinstance(masks, MaskHandle) else masks
    for name, mask in masks.items():
        kind = getattr(mask, "dtype", type(mask).__name__)
        require(kind == torch.bool, name, "save_masks", "of torch.bool", str(kind))
    tensors, shapes = tickets.packed_masks(masks)
    tickets.write_digested(path, MASKS, tensors, {"shapes": shapes})


@checked("load_masks")
def load_masks(path: Path | str) -> dict[str, torch.Tensor]:
    """Read a file of `save_masks`, for `hold_masks`.

    Raises DataIntegrityError if it is missing, damaged or of something else.

    >>> import prunable
    >>> prunable.load_masks("missing.safetensors")
    Traceback (most recent call last):
        ...
    prunable.errors.DataIntegrityError: missing.safetensors is missing; check the path.
    """
    tensors, found = tickets.read_digested(path, MASKS, "file of masks", _MasksDocument)
    with tickets.malformed_named(path):
        return tickets.unpacked_masks(tensors, found.shapes)
