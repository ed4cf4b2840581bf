"""Tensors of a module, a state dict or a checkpoint, and the matrices that they stand for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prunable.errors import InputError
from prunable.nets.archive import StoredTensor, open_archive
from prunable.nets.archive.codes import codes_of
from prunable.nets.archive.packed import unpacked
from prunable.nets.networks.effective import Merge, merges_of, named_weights, unmerged
from prunable.nets.networks.file_roles import Known, parts_of
from prunable.nets.networks.interop import MASK, masked_names
from prunable.nets.networks.module_roles import parts_of_module
from prunable.nets.networks.numbers import no_array, packed_layers
from prunable.nets.networks.roles import Part
from prunable.nets.networks.ties import ties_of
from prunable.nets.networks.views import Oriented, WeightView, oriented, see, to_numpy
from prunable.numerics.measure.entries import Coded
from prunable.numerics.measure.layer import EXACT_SIDE
from prunable.numerics.measure.network import Skipped
from prunable.numerics.measure.spectrum import WIDENED as WIDENED_SIZE

Source = torch.nn.Module | Mapping[str, torch.Tensor] | str | Path
Load = Callable[[], NDArray[Any]]

# What the samples and tables of one layer take, in bytes, and a number of a matrix: widened for
# its spectrum, or as it is.
FIXED, WIDENED, STORED = 2**26, 4, 8


@dataclass(frozen=True, eq=False)
class Seen:
    """One matrix, of floats or of codes, not looked at yet."""

    named: Oriented
    entries: NDArray[Any] | Coded
    dtype: str
    refuse: Callable[[], object]  # raises what is wrong with numbers that are not finite

    @property
    def cost(self) -> int:
        """Bytes that measuring takes, about."""
        out, width = self.named.matrix.shape
        side = min(out, width, EXACT_SIDE)
        numbers = min(out * width, WIDENED_SIZE) * WIDENED
        if not isinstance(self.entries, Coded):
            numbers = out * width * STORED
        return FIXED + 8 * side * side + numbers


@dataclass(frozen=True)
class Opened:
    """Tensors that can be read when their turn comes, as often as needed, and what they are."""

    label: str
    tensors: list[StoredTensor]
    parts: Mapping[str, Part]
    skipped: tuple[Skipped, ...] = ()

    @classmethod
    def of(
        cls,
        label: str,
        tensors: list[StoredTensor],
        *,
        ordered: bool = False,
        by_name: bool = False,
        skipped: Any = (),
    ) -> Opened:
        """Tensors of a file or a state dict; `ordered` if the network uses them in that order.

        Where they stand by name, embeddings go first and outputs last, as networks use them.
        """
        merged, left = _merged(tensors)
        known = Known(
            ordered=ordered,
            readers={t.name: (t.consumer, t.transposed) for t in merged if t.consumer},
            ties={t.name: t.tied for t in merged if t.tied is not None},
        )
        parts = parts_of({t.name: t.shape for t in merged}, known)
        if by_name:
            merged.sort(key=lambda t: _place(parts[t.name]))
        return cls(label, merged, parts, tuple(Skipped(*e) for e in (*skipped, *left.items())))

    @cached_property
    def by_name(self) -> Mapping[str, StoredTensor]:
        """The tensors, whose names are unique."""
        return {tensor.name: tensor for tensor in self.tensors}

    @property
    def sizes(self) -> Mapping[str, int]:
        """How many numbers each tensor has."""
        return {tensor.name: math.prod(tensor.shape) for tensor in self.tensors}

    def see(self, tensor: StoredTensor) -> tuple[Seen, ...] | str:
        """The matrices that a tensor stands for, or why it is none."""
        part = self.parts[tensor.name]
        if part.tied is not None and part.reason is None:
            return f"tied: it has the numbers of {part.tied}"
        if part.reason is not None:
            return part.reason  # what is no matrix is not worth reading
        refuse = partial(_refuse, part, tensor)
        if tensor.codes is not None:
            codes = tensor.codes()
            return tuple(
                Seen(found, replace(codes, raw=found.matrix), tensor.dtype, refuse)
                for found in oriented(part, codes.raw)
            )
        views = see(part, tensor.load())
        if isinstance(views, str):
            return views
        return tuple(Seen(_named(view), view.matrix, tensor.dtype, refuse) for view in views)


def _named(view: WeightView) -> Oriented:
    return Oriented(view.name, view.matrix, view.role, view.kind, view.taps, view.shape)


def _refuse(part: Part, tensor: StoredTensor) -> None:
    see(part, tensor.load())


@contextmanager
def opened(source: Source, unpickle: bool) -> Iterator[Opened]:
    """Open a model, a state dict or a checkpoint to be read tensor by tensor."""
    if isinstance(source, torch.nn.Module):
        yield _of_module(source)
    elif isinstance(source, Mapping):
        named, odd = _readable(source)
        yield Opened.of("state dict", _of_state(named), skipped=[(x.name, x.reason) for x in odd])
    elif isinstance(source, (str, Path)):
        with open_archive(source, unpickle=unpickle) as stored:
            archive = unpacked(stored)
            graph = archive.format == "onnx" and archive.ordered
            yield Opened.of(
                str(source),
                list(archive.tensors),
                ordered=graph,
                by_name=not archive.ordered,
                skipped=archive.skipped,
            )
    else:
        raise InputError.parameter(
            "model_or_path", "measure", "a Module, a state dict or a path", type(source).__name__
        )


def _readable(named: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], list[Skipped]]:
    """What can be read as an array, and why the rest cannot."""
    odd = [
        Skipped(name, reason)
        for name, tensor in named.items()
        if isinstance(tensor, torch.Tensor) and (reason := no_array(tensor)) is not None
    ]
    gone = {one.name for one in odd}
    return {name: tensor for name, tensor in named.items() if name not in gone}, odd


def _place(part: Part) -> int:
    return 0 if part.kind == "embedding" else 2 if part.role == "output" else 1


def _of_module(module: torch.nn.Module) -> Opened:
    named, odd = _readable(named_weights(module))
    odd += [Skipped(*entry) for entry in packed_layers(module).items()]
    parts = parts_of_module(module, named)
    masks = {name: b for name, b in module.named_buffers() if name.endswith(MASK)}
    tensors, _ = _merged(_of_state(named | masks))
    originals = {name: own for name, (own, _) in masked_names(set(named) | set(masks)).items()}
    found = {t.name: parts[originals.get(t.name, t.name)] for t in tensors}
    renamed = {name: replace(part, name=name) for name, part in found.items()}
    return Opened(type(module).__name__, tensors, renamed, tuple(odd))


def _of_state(state: Mapping[str, torch.Tensor]) -> list[StoredTensor]:
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise InputError.parameter(
                str(name), "measure", "a Tensor in a state dict", type(value).__name__
            )
    ties = ties_of(state)
    return [
        StoredTensor(
            name,
            tuple(value.shape),
            str(value.dtype).removeprefix("torch."),
            partial(to_numpy, value),
            codes=None if (codes := codes_of(value)) is None else partial(_same, codes),
            tied=ties.get(name),
        )
        for name, value in state.items()
    ]


def _same(codes: Coded) -> Coded:
    return codes


def _merged(tensors: list[StoredTensor]) -> tuple[list[StoredTensor], dict[str, str]]:
    """Weights in place of the originals and masks, or the norms and directions, they stand for.

    Beside them the parts of weights that cannot be put together, and why.
    """
    by_name = {tensor.name: tensor for tensor in tensors}
    split = masked_names(set(by_name))
    merges = merges_of({tensor.name: tensor.shape for tensor in tensors})
    left = unmerged(list(by_name), merges)
    first = {original: name for name, (original, _) in split.items()}
    first |= {merge.sources[0]: name for name, merge in merges.items()}
    gone = {name for merge in merges.values() for name in merge.sources}
    gone |= {mask for _, mask in split.values()} | set(left)
    merged = []
    for tensor in tensors:
        if (name := first.get(tensor.name)) is not None:
            if name in split:
                load = partial(_masked, tensor.load, by_name[split[name][1]].load)
            else:
                load = partial(_computed, merges[name], by_name)
            merged.append(replace(tensor, name=name, load=load, codes=None, tied=None))
        elif tensor.name not in gone:
            merged.append(tensor)
    return merged, left


def _masked(load: Load, load_mask: Load) -> NDArray[Any]:
    weights = load()
    return np.where(load_mask() != 0, weights, weights.dtype.type(0))


def _computed(merge: Merge, by_name: Mapping[str, StoredTensor]) -> NDArray[Any]:
    return to_numpy(merge.of({n: torch.from_numpy(by_name[n].load()) for n in merge.sources}))
