"""Layers of a chain as linear maps: their norms, for dense layers and convolutions alike.

A convolution is the large sparse matrix that it applies; its norms come from convolutions with
|kernel| and kernel^2, its spectral norm from Lanczos iterations.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, svds
from torch import nn
from torch.nn import functional

from prunable.certify.bounds.facts import FloatArray, LayerFacts
from prunable.certify.bounds.matrix_facts import check_matrix, layer_facts
from prunable.errors import UnsupportedModelError
from prunable.nets.networks.views import to_numpy
from prunable.numerics.randomness import rng

# Maps of norm at most 1 that do nothing to paths either.
HARMLESS = (nn.ReLU, nn.Flatten, nn.Identity, nn.Dropout)
LinearMap = nn.Linear | nn.Conv2d


def chain_of(model: nn.Module) -> list[nn.Module]:
    """List the modules of a chain in the order of application.

    A chain is an `nn.Sequential`, maybe nested, of linear layers, two-dimensional convolutions,
    ReLU, flattening, dropout and pooling without overlap; the bounds speak of nothing else.
    """
    found = list(_flat(model, type(model).__name__))
    if not layers_of(found):
        raise UnsupportedModelError("The model has no linear layer or convolution to bound.")
    return found


def layers_of(modules: list[nn.Module]) -> dict[int, LinearMap]:
    """Linear layers and convolutions of a chain by their places."""
    return {i: m for i, m in enumerate(modules) if isinstance(m, LinearMap)}


def _flat(module: nn.Module, name: str) -> Iterator[nn.Module]:
    if isinstance(module, nn.Sequential):
        for key, child in module.named_children():
            yield from _flat(child, f"{name}.{key}")
    elif _known(module):
        yield module
    else:
        raise UnsupportedModelError(
            f"`{name}` ({module}) is no part of a chain that the bounds know: linear layers, "
            "convolutions with zero padding, ReLU, flattening, dropout, pooling without overlap. "
            "Give the layers' matrices to `network_facts` instead, if it is one."
        )


def _known(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.padding_mode == "zeros" and not isinstance(module.padding, str)
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        sides = zip(_pair(module.stride), _pair(module.kernel_size), strict=True)
        apart = all(stride >= side for stride, side in sides)
        plain = _pair(module.padding) == (0, 0) and _pair(getattr(module, "dilation", 1)) == (1, 1)
        return apart and plain
    return isinstance(module, (*HARMLESS, nn.Linear))


def _pair(size: int | tuple[int, ...]) -> tuple[int, ...]:
    return (size, size) if isinstance(size, int) else tuple(size)


@dataclass(frozen=True, eq=False)
class LayerMap:
    """A linear layer or convolution at its place in a chain, without its bias."""

    name: str
    module: LinearMap
    shape: tuple[int, ...]  # of one input, without the batch

    @property
    def weight(self) -> torch.Tensor:
        """Weights in float64."""
        return self.module.weight.detach().double()

    @property
    def matrix(self) -> FloatArray:
        """Stored weights as a matrix, (outputs, inputs * taps)."""
        array = to_numpy(self.module.weight)
        return check_matrix(self.name, array.reshape(len(array), -1))

    def apply(self, x: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
        """Apply the map, maybe with other weights of the same shape, to a batch."""
        w = self.module.weight.detach() if weight is None else weight
        if isinstance(self.module, nn.Linear):
            return functional.linear(x, w)
        m = self.module
        return functional.conv2d(x, w, None, m.stride, m.padding, m.dilation, m.groups)

    def transpose(self, y: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Apply the transposed map to a batch of one."""
        x = torch.zeros((1, *self.shape), dtype=weight.dtype, requires_grad=True)
        with torch.enable_grad():
            (back,) = torch.autograd.grad(self.apply(x, weight), x, y)
        return back

    def spectral_norm(self, weight: torch.Tensor) -> float:
        """Largest singular value of the map with these weights, by Lanczos iterations."""
        if not weight.any():
            return 0.0
        ones = torch.ones((1, *self.shape), dtype=torch.float64)
        out = self.apply(ones, weight).shape
        size = (math.prod(out), math.prod(self.shape))

        def forward(v: FloatArray) -> FloatArray:
            x = torch.from_numpy(np.ascontiguousarray(v.reshape(1, *self.shape)))
            return np.asarray(self.apply(x, weight).numpy().ravel())

        def backward(v: FloatArray) -> FloatArray:
            y = torch.from_numpy(np.ascontiguousarray(v.reshape(out)))
            return np.asarray(self.transpose(y, weight).numpy().ravel())

        if min(size) == 1:
            single = forward(np.ones(1)) if size[1] == 1 else backward(np.ones(1))
            return float(np.linalg.norm(single))
        start = rng(0, "spectral norm", self.name).standard_normal(min(size))
        operator: Any = LinearOperator(size, matvec=forward, rmatvec=backward, dtype=np.float64)
        return float(svds(operator, k=1, v0=start, return_singular_vectors=False)[0])


def facts_of(layer: LayerMap, pruned: LayerMap) -> LayerFacts:
    """Measure a layer, and what pruning took from it; `pruned` may be the layer itself."""
    stored = layer_facts(layer.name, layer.matrix, pruned.matrix)
    if isinstance(layer.module, nn.Linear):
        return stored
    weight, change = layer.weight, pruned.weight - layer.weight
    ones = torch.ones((1, *layer.shape), dtype=torch.float64)
    squares = layer.apply(ones, weight**2)
    columns = layer.transpose(torch.ones_like(squares), weight.abs())
    return replace(
        stored,
        inputs=math.prod(layer.shape),
        outputs=squares.numel(),
        spectral=layer.spectral_norm(weight),
        frobenius=math.sqrt(float(squares.sum())),
        rows_21=float(squares.sqrt().sum()),
        columns_12=float(columns.norm()),
        dense=False,
        change_spectral=layer.spectral_norm(change),
        change_frobenius=math.sqrt(float(layer.apply(ones, change**2).sum())),
    )


def log_path_norms_of(
    modules: list[nn.Module], maps: dict[int, LayerMap], shape: tuple[int, ...]
) -> tuple[float, float]:
    """Path norms of a chain: sums over paths of products of |w| and of w^2, as logarithms.

    Of the largest output; a pooled maximum counts as the largest of its inputs. `maps` are by
    place in the chain, `shape` is that of one input.
    """
    logs = []
    for power in (1, 2):
        paths, scale = torch.ones((1, *shape), dtype=torch.float64), 0.0
        for place, module in enumerate(modules):
            if place in maps:
                # sums over the edges of |w|^power times what arrives
                paths = maps[place].apply(paths, maps[place].weight.abs() ** power)
            elif isinstance(module, nn.AvgPool2d):
                share: Callable[[torch.Tensor], torch.Tensor] = module
                taps = math.prod(_pair(module.kernel_size))
                paths = share(paths) / taps ** (power - 1)
            elif isinstance(module, nn.MaxPool2d | nn.Flatten):
                paths = module(paths)
            top = float(paths.max())
            if top == 0:
                return -math.inf, -math.inf
            paths, scale = paths / top, scale + math.log(top)
        logs.append(scale)
    return logs[0], logs[1]
