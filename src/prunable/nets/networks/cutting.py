"""Cutting indices out of a network's parameters, and the sizes that its modules remember."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from prunable.nets.networks.ties import memory_of

Keep = NDArray[np.bool_]
# What a module remembers of its sizes, such as its number of heads.
Sizes = dict[str, int | tuple[int, ...]]

# Names of attributes that are sizes of channels, and of numbers that are other things.
SIZES = re.compile(
    r"heads?|dim|feature|channel|planes|width|size|hidden|inner|embed|expan|units|filters|groups?"
    r"|^(n|nh|h|c|d|e|k|nf|nx|hs|dk|dv|d_\w+|n_\w+|c_?\d|in_\w+|out_\w+)$",
    re.IGNORECASE,
)
OTHER = re.compile(
    r"window|kernel|patch|max|vocab|class|label|layers|stride|pad|dilat|seq|len|context|block|image"
    r"|img|batch|token|posit|ratio|thresh|steps?$",
    re.IGNORECASE,
)

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
BATCH_NORMS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
)


@dataclass(frozen=True)
class Split:
    """How a module takes channels apart, such as into (3, heads, head size): before and after."""

    module: str
    before: tuple[int, ...]
    after: tuple[int, ...]

    def sizes(self, deep: bool) -> Iterator[tuple[int, int]]:
        """Sizes that changed: of one dimension, and if `deep` of neighbouring ones together."""
        count = len(self.before)
        for start in range(count):
            for stop in range(start + 1, (count if deep else start + 1) + 1):
                old, new = self.before[start:stop], self.after[start:stop]
                if old != new:
                    yield math.prod(old), math.prod(new)


def cut_(
    model: nn.Module, kept: Mapping[str, Mapping[int, Keep]], splits: Sequence[Split], depth: int
) -> dict[str, Sizes]:
    """Cut parameters and buffers in place; ties stay, for each parameter remains what it is.

    `kept` says what stays of each, by name and dimension. Modules of torch are told their new
    sizes; others have whole numbers among their attributes changed that are the old sizes of what
    was cut (`depth` >= 0) or of what they take apart (1: each dimension; 2: products of them too).
    The attributes changed are returned.
    """
    first: dict[Any, str] = {}
    for name, tensor in _tensors(model):
        first.setdefault(memory_of(tensor), name)
    stored = {id(tensor): first[memory_of(tensor)] for _, tensor in _tensors(model)}
    changed: dict[str, list[tuple[int, int]]] = {}
    touched: dict[str, Any] = {}
    for prefix, module in model.named_modules():
        own = [
            t for t in (*module._parameters.values(), *module._buffers.values()) if t is not None
        ]
        cuts = [kept.get(stored.get(id(t), ""), {}) for t in own]
        if any(cuts):
            touched[prefix] = module
            changed[prefix] = [
                (size, int(cut[dim].sum()) if dim in cut else size)
                for tensor, cut in zip(own, cuts, strict=True)
                for dim, size in enumerate(tensor.shape)
            ]
    cut: dict[str, torch.Tensor] = {}
    for _, tensor in _tensors(model):
        name = stored[id(tensor)]
        if name not in cut:
            data = tensor.data
            for dim, keep in kept.get(name, {}).items():
                places = torch.from_numpy(np.flatnonzero(keep)).to(data.device)
                data = data.index_select(dim, places)
            cut[name] = data
        tensor.data = cut[name]
    for module in touched.values():
        _resize_(module)
    own_modules = {
        name: pairs
        for name, pairs in changed.items()
        if type(model.get_submodule(name)).__module__.partition(".")[0] != "torch"
    }
    for split in splits if depth else ():
        own_modules[split.module] = own_modules.get(split.module, []) + list(
            split.sizes(deep=depth > 1)
        )
    return {
        name: found
        for name, pairs in own_modules.items()
        if (found := _renumber_(model.get_submodule(name), pairs))
    }


def _tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _resize_(module: Any) -> None:
    """Tell a module of torch what its sizes are now."""
    weight: Any = getattr(module, "weight", None)
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, nn.Bilinear):
        module.out_features, module.in1_features, module.in2_features = weight.shape
    elif isinstance(module, CONVOLUTIONS):
        if module.groups > 1 and module.groups == module.in_channels:
            module.groups = len(weight) * module.groups // module.out_channels
        module.out_channels, module.in_channels = len(weight), weight.shape[1] * module.groups
    elif isinstance(module, TRANSPOSED):
        if module.groups == module.in_channels and module.groups > 1:
            module.groups = len(weight)
        module.in_channels, module.out_channels = len(weight), weight.shape[1] * module.groups
    elif isinstance(module, BATCH_NORMS):
        stored = next((t for t in (weight, module.running_mean) if t is not None), None)
        module.num_features = module.num_features if stored is None else len(stored)
    elif weight is None and not isinstance(module, nn.RNNBase):
        return
    elif isinstance(module, nn.GroupNorm):
        size = module.num_channels // module.num_groups
        module.num_channels, module.num_groups = len(weight), len(weight) // size
    elif isinstance(module, nn.LayerNorm | nn.RMSNorm):
        module.normalized_shape = tuple(weight.shape)
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(weight)
    elif isinstance(module, nn.Embedding):
        module.embedding_dim = weight.shape[1]
    elif isinstance(module, nn.RNNBase):
        hidden, inputs = (getattr(module, name) for name in ("weight_hh_l0", "weight_ih_l0"))
        module.hidden_size, module.input_size = hidden.shape[1], inputs.shape[1]


def _renumber_(module: Any, pairs: Sequence[tuple[int, int]]) -> Sizes:
    """Change the whole numbers that a module remembers, where it is clear from what to what."""
    options: dict[int, set[int]] = {}
    for old, new in pairs:
        options.setdefault(old, set()).add(new)
    clear: dict[int, int] = {old: min(new) for old, new in options.items() if len(new) == 1}
    changed: Sizes = {}
    for name, value in vars(module).items():
        if not SIZES.search(name) or OTHER.search(name) or name.startswith("_"):
            continue
        if type(value) is int and clear.get(value, value) != value:
            changed[name] = clear[value]
        elif isinstance(value, tuple) and value and all(type(v) is int for v in value):
            sizes = tuple(clear[v] if v in clear else int(v) for v in value)
            if sizes != value:
                changed[name] = sizes
    for name, size in changed.items():
        setattr(module, name, size)
    return changed
