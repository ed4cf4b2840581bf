"""Reading and writing model files: safetensors only, written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from prunable.errors import DataIntegrityError
from prunable.files import atomic_write


def save_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named tensors to a safetensors file atomically.

    Parameters
    ----------
    path : Path
        Destination.
    tensors : mapping of str to Tensor
        Any dtype and device; stored contiguous, on the CPU.
    metadata : mapping of str to str, optional
        Text stored in the header.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    atomic_write(path, lambda temporary: save_file(contiguous, temporary, dict(metadata or {})))


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read all tensors of a safetensors file, and its metadata.

    Parameters
    ----------
    path : Path

    Returns
    -------
    tuple of (dict of str to Tensor, dict of str to str)

    Raises
    ------
    DataIntegrityError
        If the file is missing, truncated or of another format; nothing is unpickled.
    """
    try:
        with safe_open(path, framework="pt") as archive:
            names = list(archive.keys())
            tensors = {name: archive.get_tensor(name) for name in names}
            return tensors, dict(archive.metadata() or {})
    except FileNotFoundError as error:
        raise DataIntegrityError(f"{path} is missing; check the path.") from error
    except (SafetensorError, OSError) as error:
        raise DataIntegrityError(
            f"{path} is not a whole safetensors file ({error}); fetch or write it again."
        ) from error
