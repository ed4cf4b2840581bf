"""What each parameter of a module is: the classes of its layers tell, and the order they have."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from prunable.nets.networks import roles
from prunable.nets.networks.effective import named_weights
from prunable.nets.networks.experts import stack_of
from prunable.nets.networks.file_roles import bias_length
from prunable.nets.networks.outputs import Sizes, with_roles
from prunable.nets.networks.roles import Kind, Part, Shape
from prunable.nets.networks.ties import ties_of
from prunable.nets.networks.usage import NOT_RUN, Use, uses_of


def parts_of_module(
    model: nn.Module,
    named: Mapping[str, torch.Tensor] | None = None,
    example: Any = None,
    find: Callable[[nn.Module, Any, Collection[str]], Mapping[str, Use]] = uses_of,
) -> dict[str, Part]:
    """What the parameters of a module are, by name; tied ones say whose numbers they have.

    `named` holds the parameters if they are at hand, those of `named_weights`. With an example a
    run tells weights from tables among the parameters that no layer holds; without one names do,
    and leave some in doubt. Raises InputError if the example does not fit.
    """
    named = named_weights(model) if named is None else named
    every = dict(named) | dict(model.named_parameters(remove_duplicate=False))
    ties = ties_of(every)
    shapes = {name: tuple(tensor.shape) for name, tensor in named.items()}
    shapes |= {name: shapes[first] for name, first in ties.items() if first in shapes}
    batch = dict(_followed(model))
    bare = [name for name, shape in shapes.items() if len(shape) > 1 and _is_bare(model, name)]
    uses = {} if example is None or not bare else find(model, example, bare)
    parts = [
        _part(model, name, shape, shapes, batch, uses.get(name)) for name, shape in shapes.items()
    ]
    parts = [replace(part, tied=ties.get(part.name)) for part in parts]
    sizes = Sizes(
        norms=dict(_norms(model)),
        ordered=True,
        inside=frozenset(_inside_of_chain(model, "", [p.name for p in parts if p.reason is None])),
    )
    return {part.name: part for part in with_roles(parts, sizes)}


def _is_bare(model: nn.Module, name: str) -> bool:
    """Whether a parameter is held by a module of which it is not known what it does with it."""
    owner: Any = model.get_submodule(name.rpartition(".")[0])
    return not (_is_layer(owner) or is_norm(owner))


def _part(
    model: nn.Module,
    name: str,
    shape: Shape,
    shapes: Mapping[str, Shape],
    batch: Mapping[str, str],
    use: Use | None,
) -> Part:
    owner: Any = model.get_submodule(name.rpartition(".")[0])
    layer = _is_layer(owner)
    weight = layer and name.rpartition(".")[2].startswith("weight")
    # what is a scale or a table of positions by its name is none by its use
    named = roles.no_matrix(name, shape)
    used = use is not None and use.weight and named in (None, *roles.TOLD_BY_USE)
    reason = roles.no_matrix(name, shape, weight=weight or used)
    if reason is None and is_norm(owner):
        reason = roles.NORMALISED
    if reason is None and use is not None:
        reason = use.table
    if reason is not None:
        return Part(name, shape, reason=reason)
    told = used or roles.is_named_weight(name) or not _is_bare(model, name)
    doubt = None if told else roles.DOUBT if use is None or use.run else NOT_RUN
    kind = _kind(owner, name, shape)
    transposed, groups = _orientation(owner, name, shape, shapes)
    stack = None if layer else stack_of(name, shapes)
    part = Part(name, shape, kind, "hidden", None, doubt, transposed, groups, stack)
    depth = owner.groups if isinstance(owner, _ConvNd) and not owner.transposed else 1
    inputs = shape[0] if transposed else shape[1] * depth
    before = name.rpartition(".")[0]
    norm = batch.get(before)
    names = [roles.bias_of(name), *(f"{norm}.{leaf}" for leaf in ("weight", "bias") if norm)]
    followers = tuple(n for n in names if n in shapes and shapes[n] == (part.n_out,))
    role: roles.Role = "hidden" if layer or len(shape) == 2 else "unknown"
    return replace(part, n_in=inputs, followers=followers, role=role)


def _is_layer(owner: Any) -> bool:
    known = (nn.Linear, nn.Bilinear, _ConvNd, nn.RNNBase, nn.RNNCellBase, nn.Embedding)
    return isinstance(owner, (*known, nn.EmbeddingBag)) or is_conv1d(owner)


def is_conv1d(owner: Any) -> bool:
    """Whether a module is transformers' Conv1D, a linear layer with its weight stored (in, out)."""
    return type(owner).__name__ == "Conv1D" and not isinstance(owner, _ConvNd)


def is_norm(owner: Any) -> bool:
    """Whether a module normalises."""
    known = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm)
    return isinstance(owner, known) or type(owner).__name__.endswith("Norm")


def _kind(owner: Any, name: str, shape: Shape) -> Kind:
    if type(owner).__name__.endswith("Embedding") or isinstance(
        owner, (nn.Embedding, nn.EmbeddingBag)
    ):
        return "embedding"
    if isinstance(owner, _ConvNd):
        return "convolution"
    if isinstance(owner, (nn.RNNBase, nn.RNNCellBase)):
        return "recurrent"
    # the class says that it is no embedding, and that further dimensions are no kernel
    return roles.kind_of(name, shape[:2], type(owner).__name__)


def _orientation(
    owner: Any, name: str, shape: Shape, shapes: Mapping[str, Shape]
) -> tuple[bool, int]:
    if isinstance(owner, _ConvNd):
        return owner.transposed, owner.groups if owner.transposed else 1
    if is_conv1d(owner):
        return True, 1
    if _is_layer(owner) or len(shape) != 2:
        return False, 1
    return roles.orientation(shape, bias_length(name, shapes, {}))


def _norms(model: nn.Module) -> Iterator[tuple[str, int]]:
    """Channels of each normalisation."""
    for name, module in model.named_modules():
        inner: Any = module
        if isinstance(module, _NormBase):
            yield name, int(inner.num_features)
        elif isinstance(module, nn.GroupNorm):
            yield name, int(inner.num_channels)
        elif is_norm(module) and isinstance(
            weight := getattr(module, "weight", None), nn.Parameter
        ):
            yield name, int(weight.shape[-1])


def _followed(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Layers and the BatchNorm that is registered as the next in the same module.

    Outside of chains no module of that class may have such a pair of other sizes, for then the
    normalisation comes first.
    """
    pairs: list[tuple[type[nn.Module], str, str, bool]] = []
    for path, parent in model.named_modules():
        before = f"{path}." if path else ""
        children: list[tuple[str, Any]] = list(parent.named_children())
        for (a, layer), (b, norm) in pairwise(children):
            if isinstance(layer, (nn.Linear, _ConvNd)) and isinstance(norm, _NormBase):
                conv = isinstance(layer, _ConvNd)
                fits = norm.num_features == (layer.out_channels if conv else layer.out_features)
                pairs.append((type(parent), before + a, before + b, fits))
    denied = {kind for kind, _, _, fits in pairs if not fits and kind is not nn.Sequential}
    yield from ((a, b) for kind, a, b, fits in pairs if fits and kind not in denied)


def _inside_of_chain(module: nn.Module, path: str, names: list[str]) -> Iterator[str]:
    """Weights of what a chain of modules does before its last layer with weights."""
    if type(module) is not nn.Sequential:
        return
    before = f"{path}." if path else ""
    children = [
        (before + own, child, [n for n in names if n.startswith(f"{before}{own}.")])
        for own, child in module.named_children()
    ]
    weighted = [entry for entry in children if entry[2]]
    for _, _, inner in weighted[:-1]:
        yield from inner
    if weighted:
        name, last, inner = weighted[-1]
        yield from _inside_of_chain(last, name, inner)
