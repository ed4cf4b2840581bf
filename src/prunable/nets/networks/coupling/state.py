"""What is known while a network runs: the labels of its tensors, and the operation at hand."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.weak import WeakTensorKeyDictionary

from prunable.nets.networks.coupling.labels import (
    FREE,
    PINNED,
    Joined,
    Slots,
    compact,
    squashed,
    varying,
)
from prunable.nets.networks.ties import memory_of

Families = list[Tensor]


@dataclass(eq=False)
class State:
    """Labels of all tensors that live, and what was found out about channels."""

    slots: list[Slots] = field(default_factory=list)
    joined: Joined = field(default_factory=Joined)
    # dimensions of channels that modules take apart, such as into heads: labels by what came of it
    splits: list[tuple[str, Tensor]] = field(default_factory=list)
    produced: list[Tensor] = field(default_factory=list)  # labels that a layer gives its outputs
    read: list[Tensor] = field(default_factory=list)  # labels of what a layer reads
    modules: list[str] = field(default_factory=list)  # the modules that are running
    called: set[str] = field(default_factory=set)  # the modules that have run
    used: set[str] = field(default_factory=set)  # the stored tensors that have been used
    # of modules that are watched: labels of all that their code sees
    watched: dict[str, list[Tensor]] = field(default_factory=dict)
    _names: Any = field(default_factory=WeakTensorKeyDictionary)
    _memory: dict[Any, Families] = field(default_factory=dict)
    _families: Any = field(default_factory=WeakTensorKeyDictionary)
    _live: Any = field(default_factory=WeakTensorKeyDictionary)
    _free: Any = field(default_factory=WeakTensorKeyDictionary)

    @property
    def module(self) -> str:
        """The innermost module that is running."""
        return self.modules[-1] if self.modules else ""

    def store(self, name: str, tensor: Tensor) -> None:
        """Number the slots of a parameter or buffer; what shares memory shares them."""
        self._names[tensor] = name
        families = self._memory.setdefault(memory_of(tensor), [])
        self._families[tensor] = families
        self._live[tensor] = False
        if families:
            return
        for dim, size in enumerate(tensor.shape):
            if size > 1:
                slots = Slots(name, dim, self.joined.new(size), size)
                self.slots.append(slots)
                families.append(slots.along(tensor.shape))

    def enter(self, tensor: Tensor) -> None:
        """Take note of an input, whose sizes are as they are."""
        self._families[tensor] = []
        self._live[tensor] = True

    def see(self, tensors: Iterable[Tensor]) -> None:
        """Note what the code of the running module has before it, if that is watched."""
        if self.module in self.watched:
            families = [family for tensor in tensors for family in self.families(tensor)]
            self.watched[self.module] += [compact(f)[0].reshape(-1).unique() for f in families]

    def use(self, tensors: Iterable[Tensor]) -> None:
        """Note which stored tensors an operation takes."""
        self.used |= {self._names[tensor] for tensor in tensors if tensor in self._names}

    def families(self, tensor: Tensor) -> Families:
        """Labels of a tensor, each of its shape."""
        found: Families = self._families.get(tensor, [])
        return found

    def is_live(self, tensor: Tensor) -> bool:
        """Whether a tensor depends on what the network is given."""
        return bool(self._live.get(tensor, False))

    def is_free(self, tensor: Tensor) -> bool:
        """Whether a tensor is zeros that the code made, as large as it needs."""
        return bool(self._free.get(tensor, False))

    def set(self, tensor: Tensor, families: Iterable[Tensor], *, live: bool) -> None:
        """Label a result; labels that vary nowhere say nothing."""
        self._families[tensor] = [f for f in families if varying(f)]
        self._live[tensor] = live
        self._free.pop(tensor, None)

    def set_free(self, tensor: Tensor) -> None:
        """Take note of zeros."""
        self._free[tensor] = True


@dataclass(frozen=True, eq=False)
class Call:
    """One operation of torch's core library, after it has run."""

    function: Any
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    result: Any

    @cached_property
    def name(self) -> str:
        """Name without namespace and overload, and without the underscore of work in place."""
        packet = self.function.overloadpacket.__name__
        return packet if packet.startswith("_") else packet.removesuffix("_")

    @cached_property
    def tensors(self) -> list[Tensor]:
        """All tensors that went in, in order."""
        leaves, _ = tree_flatten((self.args, dict(self.kwargs)))
        return [leaf for leaf in leaves if isinstance(leaf, Tensor)]

    @cached_property
    def first(self) -> Tensor:
        """The first tensor that went in."""
        return self.tensors[0]

    @cached_property
    def outputs(self) -> list[Tensor]:
        """All tensors that came out."""
        leaves, _ = tree_flatten(self.result)
        return [leaf for leaf in leaves if isinstance(leaf, Tensor)]

    @cached_property
    def out(self) -> Tensor:
        """The first tensor that came out."""
        return self.outputs[0]

    def live(self, state: State) -> bool:
        """Whether the result depends on what the network is given."""
        return any(state.is_live(t) for t in self.tensors)

    def dims(self) -> list[int]:
        """The dimensions named in the call; all if none is."""
        ndim = self.first.ndim
        schema = [a.name for a in self.function._schema.arguments]
        named = dict(zip(schema, self.args, strict=False)) | dict(self.kwargs)
        dims = next((named[k] for k in ("dim", "dims") if named.get(k) is not None), None)
        if dims is None or dims == []:
            return list(range(ndim))
        return [d % ndim for d in (dims if isinstance(dims, list | tuple) else [dims])]

    def moved(self, state: State) -> list[Families] | None:
        """The labels of each result of an operation that only moves numbers about.

        Each family of labels is moved as the numbers were; several tensors that are put together
        bring families of the same kind, told by the dimensions in which they vary, and tensors
        without labels what no pruning may touch.
        """
        sources = [t for t in self.tensors if t.dtype.is_floating_point or t.is_complex()]
        if not sources:
            return None
        kinds: dict[tuple[int, ...], dict[int, Tensor]] = {}
        for number, tensor in enumerate(sources):
            for family in state.families(tensor):
                dims = tuple(d - tensor.ndim for d in varying(family))
                kinds.setdefault(dims, {})[number] = family
        results: list[Families] = [[] for _ in self.outputs]
        for members in kinds.values():
            labels = {
                id(t): members.get(n, _filler(t, FREE if state.is_free(t) else PINNED))
                for n, t in enumerate(sources)
            }
            again = self._again(labels)
            for found, one in zip(results, again, strict=True):
                found.append(squashed(one))
        return results

    def _again(self, labels: Mapping[int, Tensor]) -> list[Tensor]:
        def swapped(leaf: Any) -> Any:
            if isinstance(leaf, Tensor):
                # by another name, so that work in place leaves the labels of others
                return labels.get(id(leaf), leaf.cpu()).detach()
            return leaf

        args, kwargs = tree_map(swapped, (tuple(self.args), dict(self.kwargs)))
        for key in ("dtype", "device", "memory_format", "layout", "pin_memory", "value"):
            kwargs.pop(key, None)
        function = self.function
        if self.name in CASTS:
            return [args[0]]
        if self.name == "constant_pad_nd":
            return [_padded(args[0], args[1])]
        if self.name in ("view", "_unsafe_view"):
            return [args[0].reshape(args[1])]
        leaves, _ = tree_flatten(function(*args, **kwargs))
        return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def _filler(tensor: Tensor, label: int) -> Tensor:
    return torch.full((1,) * tensor.ndim, label).expand(tensor.shape)


def _padded(labels: Tensor, pads: Sequence[int]) -> Tensor:
    """Labels with those of zeros around; along dimensions where nothing varies they go on."""
    amounts = list(pads)
    shape = list(labels.shape)
    for number in range(len(pads) // 2):
        dim = labels.ndim - 1 - number
        shape[dim] += pads[2 * number] + pads[2 * number + 1]
        if dim not in varying(labels):
            labels = labels.narrow(dim, 0, 1)
            amounts[2 * number : 2 * number + 2] = [0, 0]
    return torch.ops.aten.constant_pad_nd(labels, amounts, PINNED).expand(shape)


CASTS = {"clone", "_to_copy", "detach", "alias", "lift_fresh", "contiguous", "to"}

Rule = Callable[[State, Call], None]


def lines(labels: Tensor, dim: int) -> Tensor:
    """The labels along one dimension, at the first place of all others."""
    return labels.movedim(dim, 0).reshape(labels.shape[dim], -1)[:, 0]


def taken_apart(before: Tensor, after: Tensor) -> Iterator[Tensor]:
    """The labels after a view, if it splits the dimension of channels."""
    if len(varying(after)) > len(varying(before)):
        (small,) = compact(after)
        yield small.squeeze()
