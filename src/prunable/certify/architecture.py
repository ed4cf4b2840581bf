"""Architectures that a certificate's header can name, and their networks.

An architecture is a chain of convolutions, max-poolings and dense layers, written like
``c5s2-8,m2,c3-12,m2,d``: a 5x5 convolution of stride 2 to 8 channels, 2x2 max-pooling, a 3x3
convolution to 12 channels, 2x2 max-pooling, a dense layer to the classes. ``d300,d100,d`` is
LeNet-300-100. Every layer but the last ends in a ReLU. Some steps have no parameters and are the
same in every architecture: ``e5``, the bank `edges` of 5x5 windows on every channel; ``u``, which
shears a picture `upright`; and, before all others, one by which the chain sees several views of a
picture, and adds up their logits: ``f``, the picture and its mirror image, or ``s``, the picture
moved by one pixel in the four diagonal directions, around the border.

With `normalised`, the output of every hidden layer is divided by its root mean square over all
units of one example before the bias is added. That has no parameters, and makes the scale of
the weights irrelevant, so that integers alone describe them.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from math import prod
from typing import Literal

import numpy as np
import torch
from torch.nn import functional

from prunable.errors import InputError, require

Kind = Literal["conv", "pool", "dense", "edges", "upright", "mirrored", "shifted"]
EPSILON = 1e-8  # of the mean square; part of the format
_PATTERN = re.compile(r"c(\d+)(?:s(\d+))?-(\d+)|m(\d+)|(e5|u|f|s)|d(\d*)")
_FIXED: dict[str, Kind] = {"e5": "edges", "u": "upright", "f": "mirrored", "s": "shifted"}
_VIEWS: dict[Kind, int] = {"mirrored": 2, "shifted": 4}
NAMES = {
    "lenet-300-100": "d300,d100,d",
    "tiny-conv": "c5s2-8,m2,c3-12,m2,d",
    "small-conv": "c5s2-8,m2,c3-16,m2,d",
    "edges": "e5,m4,c1-8,c3-12,m2,d",
}
MOST_EDGED = 16  # channels that `e5` takes

PictureShape = tuple[int, int, int]  # channels, height, width
WeightShape = tuple[int, int, int, int]  # out, in, height, width
_SLENDER = 0.01  # squared pixels, added to a picture's extent from its centre; part of the format


@dataclass(frozen=True)
class Op:
    """One step of an architecture; a convolution pads size // 2 zeros on every side."""

    kind: Kind
    units: int = 0  # output channels or units; 0 for a step without parameters
    size: int = 1  # side of the window
    stride: int = 1

    @property
    def coded(self) -> bool:
        """Whether the step has weights of its own."""
        return self.kind in ("conv", "dense")

    @property
    def moving(self) -> bool:
        """Whether the step moves pixels, and does nothing else."""
        return self.kind in ("upright", *_VIEWS)

    @property
    def pad(self) -> int:
        """Zeros on every side of a picture."""
        return self.size // 2 if self.kind in ("conv", "edges") else 0

    @property
    def views(self) -> int:
        """Pictures that a chain sees of each input if this is its first step."""
        return _VIEWS.get(self.kind, 1)

    def output(self, shape: PictureShape) -> PictureShape:
        """(channels, height, width) that leave the step, of those that enter it."""
        if self.kind == "dense":
            return self.units, 1, 1
        if self.moving:
            return shape
        sides = ((side + 2 * self.pad - self.size) // self.stride + 1 for side in shape[1:])
        height, width = sides
        return (shape[0] if self.kind == "pool" else self.weights(shape)[0]), height, width

    def weights(self, shape: PictureShape) -> WeightShape:
        """Shape (out, in, height, width) of the weights on inputs of a shape."""
        if self.kind == "dense":
            return self.units, *shape
        units = len(edges()) * shape[0] if self.kind == "edges" else self.units
        return units, shape[0], self.size, self.size

    def work(self, shape: PictureShape) -> int:
        """Multiplications on one input of a shape, and its entries with their padding."""
        channels, height, width = shape
        pad = 2 * self.pad
        weights = channels * self.size**2 if self.kind == "pool" else prod(self.weights(shape))
        if self.moving:
            weights = width * channels
        positions = prod(self.output(shape)[1:])
        return channels * (height + pad) * (width + pad) + weights * positions


@dataclass(frozen=True)
class CodedArchitecture:
    """A chain of layers on inputs of one shape; see the module."""

    input_shape: PictureShape  # a series or a vector is (1, 1, features)
    classes: int  # units of the last step, which is dense; at least 2
    ops: tuple[Op, ...]
    normalised: bool = True

    def __post_init__(self) -> None:
        where = "certify"
        shown = f"inputs {self.input_shape}, {self.classes} classes"
        valid = min(self.input_shape) >= 1 and self.classes >= 2
        require(valid, "input_shape", where, "of positive sides", shown)
        last = self.ops[-1] if self.ops else None
        ends = last is not None and last.kind == "dense" and last.units == self.classes
        wanted = f"a chain ending in {self.classes} dense units"
        require(ends, "ops", where, wanted, self.text)
        wanted, mend = (
            "a chain that leaves pictures of positive sides",
            "Drop a pooling or a stride.",
        )
        for shape, op in self.inputs():
            require(min(*shape, op.size, op.stride) >= 1, "ops", where, wanted, self.text, mend)
            fits = op.kind != "edges" or (self.normalised and shape[0] <= MOST_EDGED)
            most = f"normalised, with at most {MOST_EDGED} channels before e5"
            require(fits, "ops", where, most, self.text)
        first = all(op.kind not in _VIEWS for op in self.ops[1:])
        require(first, "ops", where, "with f or s as the first step only", self.text)

    @classmethod
    def parse(
        cls, text: str, input_shape: Sequence[int], classes: int, *, normalised: bool = True
    ) -> CodedArchitecture:
        """Read an architecture from its name or its text."""
        ops: list[Op] = []
        for step in NAMES.get(text, text).split(","):
            match = _PATTERN.fullmatch(step.strip())
            if match is None:
                wanted = f"one of {', '.join(NAMES)} or a chain like c5s2-8,m2,d"
                mend = f"The step {step!r} is not understood."
                raise InputError.parameter("net", "certify", wanted, repr(text), mend)
            size, stride, units, pool, fixed, dense = match.groups()
            if pool:
                ops.append(Op("pool", 0, int(pool), int(pool)))
            elif fixed:
                ops.append(Op(_FIXED[fixed], 0, 5 if fixed == "e5" else 1))
            elif units:
                ops.append(Op("conv", int(units), int(size), int(stride or 1)))
            else:
                ops.append(Op("dense", int(dense) if dense else classes))
        channels, height, width = input_shape
        return cls((channels, height, width), classes, tuple(ops), normalised)

    @property
    def text(self) -> str:
        """The chain as text; the last layer without its number."""
        steps = []
        for place, op in enumerate(self.ops, start=1):
            if op.kind == "pool":
                steps.append(f"m{op.size}")
            elif op.kind in _FIXED.values():
                steps.extend(text for text, kind in _FIXED.items() if kind == op.kind)
            elif op.kind == "conv":
                stride = f"s{op.stride}" if op.stride > 1 else ""
                steps.append(f"c{op.size}{stride}-{op.units}")
            else:
                steps.append("d" if place == len(self.ops) else f"d{op.units}")
        return ",".join(steps)

    def inputs(self) -> Iterator[tuple[PictureShape, Op]]:
        """Every step with the (channels, height, width) that enters it."""
        shape = self.input_shape
        for op in self.ops:
            yield shape, op
            shape = op.output(shape)

    @property
    def work(self) -> int:
        """Work on one input, see `Op.work`; of all views of it."""
        return self.views * sum(op.work(shape) for shape, op in self.inputs())

    @property
    def views(self) -> int:
        """Pictures that the chain sees of each input."""
        return self.ops[0].views

    @property
    def shapes(self) -> tuple[WeightShape, ...]:
        """Shape (out, in, height, width) of every layer with weights, input first."""
        return tuple(op.weights(shape) for shape, op in self.inputs() if op.coded)

    @property
    def n_weights(self) -> int:
        """Weights without biases."""
        return sum(a * b * c * d for a, b, c, d in self.shapes)


Weights = Sequence[torch.Tensor]


@dataclass(frozen=True, eq=False)
class FloatNetwork:
    """A chain with its tensors: weights of `architecture.shapes`, biases (out,)."""

    architecture: CodedArchitecture
    weights: list[torch.Tensor]
    biases: list[torch.Tensor]

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Logits in float64 of inputs of shape (batch, channels, height, width)."""
        weights, biases = ([t.double() for t in part] for part in (self.weights, self.biases))
        return forward(self.architecture, x.double(), weights, biases)


@functools.cache
def edges() -> tuple[tuple[tuple[float, ...], ...], ...]:
    """The windows of `e5`, (17, 5, 5): derivatives of a bell, by Laws' masks (1980), and a mean.

    Four directions of the first and four of the second derivative, the negatives of all eight, each
    window with magnitudes that add up to 2; last the bell, whose entries add up to 1/4.
    """
    level, edge, spot = np.array([[1, 4, 6, 4, 1], [-1, -2, 0, 2, 1], [-1, 0, 2, 0, -1.0]])
    x, y, xx, yy, xy = (
        np.outer(a, b)
        for a, b in ((level, edge), (edge, level), (level, spot), (spot, level), (edge, edge))
    )
    bank = [x, x + y, y, y - x, xx, yy, xx + yy - 2 * xy, xx + yy + 2 * xy]
    bank = [2 * window / np.abs(window).sum() for window in bank]
    bank += [-window for window in bank] + [np.outer(level, level) / 1024]
    return tuple(tuple(map(tuple, window.tolist())) for window in bank)


def upright(x: torch.Tensor) -> torch.Tensor:
    """Shear pictures (n, channels, height, width) so that their axes of inertia stand upright.

    Mass is the square of a pixel, over all channels. Each row moves by its height above the centre
    of mass times the picture's slant, the covariance of columns and rows over the variance of rows;
    between two pixels it is linear, outside zero.
    """
    mass = x.square().sum(1)
    (height, width), weight = x.shape[2:], mass.sum((1, 2)) + EPSILON
    rows, columns = (torch.arange(k, dtype=x.dtype, device=x.device) for k in (height, width))
    of_rows, of_columns = mass.sum(2), mass.sum(1)
    rows = rows - (of_rows @ rows / weight)[:, None]
    columns = columns - (of_columns @ columns / weight)[:, None]
    both = ((mass @ columns[:, :, None]).squeeze(2) * rows).sum(1)
    slant = both / ((of_rows * rows.square()).sum(1) + _SLENDER * weight)
    moves = (slant[:, None] * rows)[:, None, :, None]
    whole = moves.floor()
    places = torch.arange(width, device=x.device) + whole.long()
    moved = [
        x.gather(3, at.clamp(0, width - 1).expand(x.shape)) * ((at >= 0) & (at < width))
        for at in (places, places + 1)
    ]
    share = moves - whole
    return (1 - share) * moved[0] + share * moved[1]


def without_weights(architecture: CodedArchitecture, x: torch.Tensor) -> torch.Tensor:
    """What the leading steps without weights make of inputs (n, channels, height, width).

    It is the same whatever the network is, so that training needs it once. Of a chain that sees
    several views of an input it is (n, views, channels, height, width). Laid out channels last.
    """
    ops = _leading(architecture)
    parts = [_fixed(ops, architecture.normalised, part) for part in x.split(250)]
    found = torch.cat(parts).contiguous(memory_format=torch.channels_last)
    views = architecture.views
    return found.unflatten(0, (-1, views)) if views > 1 else found


def _leading(architecture: CodedArchitecture) -> tuple[Op, ...]:
    return tuple(itertools.takewhile(lambda op: not op.coded, architecture.ops))


def _fixed(ops: Sequence[Op], normalised: bool, x: torch.Tensor) -> torch.Tensor:
    pooled = False
    for op, following in zip_longest(ops, ops[1:]):
        if op.kind == "pool":
            x, pooled = x if pooled else functional.max_pool2d(x, op.size), False
        elif op.kind == "upright":
            x = upright(x)
        elif op.kind == "mirrored":
            x = torch.stack([x, x.flip(3)], 1).flatten(0, 1)
        elif op.kind == "shifted":
            moves = itertools.product((-1, 1), repeat=2)
            x = torch.stack([x.roll(move, (2, 3)) for move in moves], 1).flatten(0, 1)
        if op.kind != "edges":
            continue
        # eight windows, their negatives and the mean: half of them need not be applied
        window = torch.tensor(edges(), dtype=x.dtype, device=x.device)[[*range(8), -1], None]
        channels = x.shape[1]
        x = functional.conv2d(x.flatten(0, 1)[:, None], window, None, 1, op.pad)
        x = x.unflatten(0, (-1, channels))
        twice = torch.full((9, 1, 1), 2.0, dtype=x.dtype, device=x.device)
        twice[-1] = 1
        squares = (x.square() * twice).sum((1, 2, 3, 4)) / (17 * channels * x[0, 0, 0].numel())
        least = x[:, :, :8]
        if following is not None and following.kind == "pool":
            # what follows up to the ReLU is increasing, so the maximum may go first
            pooled, least = True, _pooled(torch.minimum, least, following.size)
            x = _pooled(torch.maximum, x, following.size)
        parts = [x[:, :, :8], -least, x[:, :, 8:]]
        x = torch.cat(parts, 2).flatten(1, 2)
        x = x * (squares + EPSILON).rsqrt()[:, None, None, None] if normalised else x
        x = torch.relu(x)
    return x


def _pooled(of_two: Callable[..., torch.Tensor], x: torch.Tensor, size: int) -> torch.Tensor:
    """Largest or smallest entries of windows, (..., height, width), entry by entry."""
    for axis in (-2, -1):
        side = x.shape[axis] // size
        parts = x.narrow(axis, 0, side * size).unflatten(axis, (side, size)).unbind(axis)
        x = functools.reduce(of_two, parts)
    return x


def _scale(x: torch.Tensor) -> torch.Tensor:
    return x.square().mean((1, 2, 3), keepdim=True).add(EPSILON).rsqrt()


def forward(
    architecture: CodedArchitecture,
    x: torch.Tensor,
    weights: Weights,
    biases: Weights,
    *,
    begun: bool = False,
    inputs: list[torch.Tensor] | None = None,
) -> torch.Tensor:
    """Logits (batch, classes) of inputs (batch, channels, height, width).

    Weights have `architecture.shapes`, biases shape (out,). Where it has `begun`, the inputs are
    what `without_weights` gives. A list for `inputs` receives what enters each layer with weights.
    """
    layer, last = 0, len(weights) - 1
    pooled = False
    views = x.shape[1] if x.ndim == 5 else 1 if begun else architecture.views
    x = x.flatten(0, 1) if x.ndim == 5 else x
    x = x if begun else _fixed(_leading(architecture), architecture.normalised, x)
    for op, following in zip_longest(architecture.ops, architecture.ops[1:]):
        if not op.coded:
            skip = pooled or not layer
            x = x if skip else _fixed((op,), architecture.normalised, x)
            pooled = False
            continue
        if inputs is not None:
            inputs.append(x.unflatten(0, (-1, views)) if views > 1 else x)
        weight, bias = weights[layer], biases[layer][:, None, None]
        if op.kind == "dense":
            x = functional.linear(x.flatten(1), weight.flatten(1))[:, :, None, None]
        else:
            x = functional.conv2d(x, weight, None, op.stride, op.pad)
        if layer < last:
            scale = _scale(x)
            if following.kind == "pool":
                # what follows up to the ReLU is increasing, so the maximum may go first
                x, pooled = functional.max_pool2d(x, following.size), True
            if architecture.normalised:
                x = x * scale
            x = torch.relu(x + bias)
        else:
            x = x + bias
        layer += 1
    return x.unflatten(0, (-1, views)).sum(1).flatten(1) if views > 1 else x.flatten(1)


def count_errors(
    logits_of: Callable[[torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    batch: int = 1000,
) -> int:
    """Count examples whose own class does not win by a clear margin.

    A tie, up to 1e-9 of the largest logit, is an error: rounding cannot turn it around.
    `logits_of` is called with float64.
    """
    return int(errs(logits_of, x, y, batch=batch).sum())


def errs(
    logits_of: Callable[[torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    batch: int = 1000,
) -> torch.Tensor:
    """Say for each example whether it is an error, (n,), as `count_errors` counts them."""
    mend = "An empty training set certifies nothing."
    require(len(y), "x", "count_errors", "at least 1 example", "none", mend)
    found = []
    with torch.no_grad():
        for start in range(0, len(y), batch):
            logits = logits_of(x[start : start + batch].double())
            if not torch.isfinite(logits).all():
                raise InputError(
                    "the network gives logits that are NaN or infinite, from example "
                    f"{start} on; its risk cannot be counted. Train it anew, or check its weights."
                )
            labels = y[start : start + batch, None]
            own = logits.gather(1, labels).squeeze(1)
            rest = logits.scatter(1, labels, -torch.inf).amax(1)
            found.append(own - rest <= 1e-9 * logits.abs().amax(1))
    return torch.cat(found)
