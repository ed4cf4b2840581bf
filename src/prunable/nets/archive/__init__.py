"""Model files: any checkpoint opened without building the model, tensors read one by one."""

from prunable.nets.archive.base import Archive, StoredTensor
from prunable.nets.archive.opening import open_archive
from prunable.nets.archive.safetensors_file import load_tensors, save_tensors

__all__ = ["Archive", "StoredTensor", "load_tensors", "open_archive", "save_tensors"]
