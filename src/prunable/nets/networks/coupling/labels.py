"""Labels of channels: for each number of a tensor, the channel that it belongs to.

A label is the number of a slot, one index along one dimension of a parameter. What a channel does
to a tensor is seen from the tensor of its labels, of the same shape: moving numbers about moves
their labels; where two labels meet, their slots belong to one unit. Tensors of labels are expanded
(stride 0) along dimensions in which they do not vary, which keeps them small.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

FREE = 0  # zeros that are no channel's
HALF = 32  # bits, more than a label has
PINNED = 1  # what no pruning may touch, such as the network's inputs


@dataclass(frozen=True, eq=False)
class Slots:
    """The indices along one dimension of a parameter or buffer, as labels."""

    tensor: str
    dim: int
    first: int
    size: int

    def along(self, shape: Sequence[int]) -> Tensor:
        """Labels of the whole tensor."""
        view = [1] * len(shape)
        view[self.dim] = self.size
        return torch.arange(self.first, self.first + self.size).view(view).expand(*shape)


@dataclass(frozen=True)
class Mixing:
    """One place of a network where channels can no longer be told apart, or are lost sight of."""

    label: int
    operation: str
    module: str
    followed: bool = True


@dataclass(eq=False)
class Joined:
    """What has been found to belong together."""

    n_labels: int = 2
    mixings: list[Mixing] = field(default_factory=list)
    _pairs: list[NDArray[np.int64]] = field(default_factory=list)

    def new(self, count: int) -> int:
        """Take so many labels; the first of them."""
        first = self.n_labels
        self.n_labels += count
        return first

    def join(self, one: Tensor, other: Tensor) -> None:
        """Put the labels at equal places together; zeros of no channel join nothing."""
        one, other = compact(one, other)
        one, other = one.reshape(-1), other.reshape(-1)
        both = (one != FREE) & (other != FREE)
        # a pair as one number, for it is a number that is sorted fast
        pairs = torch.unique((one << HALF | other)[both]).numpy()
        if len(pairs):
            self._pairs.append(np.stack([pairs >> HALF, pairs & (1 << HALF) - 1], 1))

    def join_along(self, labels: Tensor, dims: Iterable[int], operation: str, module: str) -> None:
        """Put the labels along some dimensions together, for each place in the others."""
        (small,) = compact(labels)
        first = small
        for dim in dims:
            first = first.narrow(dim, 0, 1)
        if first.shape == small.shape:
            return
        chosen = first.reshape(-1)
        self.mixings += [
            Mixing(int(label), operation, module) for label in chosen[:256] if label > PINNED
        ]
        self.join(small, first.expand_as(small))

    def pin(self, labels: Tensor) -> None:
        """Let channels stay, whatever is pruned."""
        self.join(labels, torch.full_like(labels, PINNED))

    def units(self) -> NDArray[np.int64]:
        """For each label the number of its unit; that of `PINNED` is 0."""
        pairs = np.concatenate([*self._pairs, np.zeros((0, 2), dtype=np.int64)])
        ones = np.ones(len(pairs), dtype=np.int8)
        shape = (self.n_labels, self.n_labels)
        graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=shape)
        _, found = connected_components(graph, directed=False)
        found = found.astype(np.int64)
        pinned = found[PINNED]
        return np.where(found == pinned, 0, np.where(found == 0, pinned, found))


def compact(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors, of one shape, without the dimensions in which none of them varies."""
    strides = zip(*(t.stride() for t in tensors), strict=True)
    same = [size > 1 and not any(s) for size, s in zip(tensors[0].shape, strides, strict=True)]
    if not any(same):
        return tensors
    first = tuple(slice(1) if one else slice(None) for one in same)
    return tuple(t[first] for t in tensors)


def varying(labels: Tensor) -> tuple[int, ...]:
    """Dimensions along which labels are not constant."""
    (small,) = compact(labels)
    return tuple(d for d, n in enumerate(small.shape) if n > 1 and not _constant(small, d))


def squashed(labels: Tensor) -> Tensor:
    """The same labels, expanded along the dimensions in which they are constant."""
    (small,) = compact(labels)
    for dim, size in enumerate(small.shape):
        if size > 1 and _constant(small, dim):
            small = small.narrow(dim, 0, 1)
    return small.expand(labels.shape)


def _constant(labels: Tensor, dim: int) -> bool:
    return bool((labels == labels.narrow(dim, 0, 1)).all())
