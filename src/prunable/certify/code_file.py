"""The code file: a prefix code of pruned, quantised networks, fixed before any data.

One arithmetic-coded message holds, in this order, all at fixed or adaptive probabilities that
depend on nothing but what was coded before:

1. shape of an input (channels, height, width), number of classes, each by Elias gamma;
2. one bit: normalised or not;
3. number of steps of the architecture, by Elias gamma;
4. every step: 2 bits of kind (0 convolution, 1 pooling, 2 dense, 3 extended), side of the window
   unless dense, stride of a convolution, units unless pooling, by Elias gamma; of an extended
   step its number instead, where 1 is `edges`, 2 `upright`, 3 mirrored, 4 shifted; others are not.
   A step with weights goes on: largest magnitude by Elias gamma; 10 bits of step if the layer's
   scale matters (see `has_step`); the integers, by `code_levels`; one bit whether it has biases,
   and if so their largest magnitude, 10 bits of their step unless the network is normalised, the
   integers.

A step is k -> (1 + (k mod 16) / 16) 2^(k div 16 - 40), which float64 holds exactly. Layers
without a step have step 1 for weights; their biases have 1/4 behind a normalisation, else 1.
The file is the shortest whole number of bytes that decodes to the message whatever follows, so
no file is the beginning of another and sum 2^-(8 bytes) <= 1. `decode_network` refuses every
file that the encoder would not have written, and every file that announces more memory or work
than its length allows, before it takes them; see docs/certificate-format.md.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from prunable.certify.architecture import (
    MOST_EDGED,
    CodedArchitecture,
    FloatNetwork,
    Kind,
    Op,
    WeightShape,
)
from prunable.certify.bounds.occam import permutation_saving
from prunable.certify.coding.arithmetic import (
    HALF,
    Coder,
    Decoder,
    Encoder,
    code_positive,
    code_uniform,
)
from prunable.certify.coding.levels import code_levels, decode_exactly
from prunable.errors import DataIntegrityError, InputError, require

Integers = NDArray[np.int64]
STEP_BITS = 10
_KINDS: tuple[Kind, ...] = ("conv", "pool", "dense")
_EXTENDED: tuple[Kind, ...] = ("edges", "upright", "mirrored", "shifted")
MOST_BYTES = 1 << 22
_MOST_CONTEXTS = 1 << 18  # outputs, inputs and taps of a layer together
# Bits that the order of hidden units can change, at most: the probability of a decision is rounded
# to 2^-48, and among 2^22 decisions none is below 2^-23 where it is not certain already.
PERMUTATION_SLACK = 1
_MOST_STEPS = 1 << 10  # of an architecture
_MOST_PERMUTED, _MOST_PERMUTED_DECISIONS = 1 << 20, 1 << 22


def most_decisions(n_bytes: int) -> int:
    """Decisions that a file of this length may hold."""
    return int(min((1 << 19) + (n_bytes << 8), 1 << 24))


def most_work(n_bytes: int) -> int:
    """Work on one input, see `Op.work`, that a file of this length may ask for."""
    return int(min((1 << 24) + (n_bytes << 15), 1 << 26))


@dataclass(frozen=True, eq=False)
class CodedLayer:
    """Integers of one layer, (out, in, height, width) and (out,), and their steps.

    Steps are places on the grid of steps, ignored where the layer has none.
    """

    weights: Integers
    biases: Integers
    step: int = 0
    bias_step: int = 0


@dataclass(frozen=True, eq=False)
class CodedNetwork:
    """A network as the code file tells it."""

    architecture: CodedArchitecture
    layers: tuple[CodedLayer, ...]

    @property
    def weights(self) -> list[NDArray[np.float64]]:
        """Weights, float64, exact."""
        return [
            layer.weights.astype(np.float64) * (step_value(layer.step) if self.has_step(i) else 1.0)
            for i, layer in enumerate(self.layers)
        ]

    @property
    def biases(self) -> list[NDArray[np.float64]]:
        """Biases, float64, exact."""
        return [
            layer.biases.astype(np.float64) * self.bias_step_of(i)
            for i, layer in enumerate(self.layers)
        ]

    def has_step(self, layer: int) -> bool:
        """Whether a layer's scale matters: not behind a normalisation, nor in the last layer.

        A common factor of all logits changes no decision, so the last layer's biases are
        counted in units of its weights; that is step 1.
        """
        return not self.architecture.normalised and layer < len(self.layers) - 1

    def bias_step_of(self, layer: int) -> float:
        """Step of a layer's biases."""
        if not self.architecture.normalised:
            return step_value(self.layers[layer].bias_step)
        return 1.0 if layer == len(self.layers) - 1 else 0.25

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Logits in float64 of inputs of shape (batch, channels, height, width)."""
        weights, biases = ([torch.from_numpy(t) for t in p] for p in (self.weights, self.biases))
        return FloatNetwork(self.architecture, weights, biases).logits(x)

    @property
    def kept(self) -> int:
        """Weights that are not zero."""
        return sum(int(np.count_nonzero(layer.weights)) for layer in self.layers)

    @cached_property
    def saving(self) -> float:
        """Bits that the order of hidden units is worth; see `permutation_saving`.

        The prior gives a network the width of its arithmetic-coded interval, which is at least
        2^-L for a file of L bits, and up to rounding the same for every order of units. Units
        whose incoming weights and bias agree are exchanged without making another network.
        0 above 2^20 weights or 2^22 decisions, where rounding could add up.
        """
        encoder = Encoder()
        if self.architecture.n_weights <= _MOST_PERMUTED:
            _code(encoder, self)
        if not 0 < encoder.decisions <= _MOST_PERMUTED_DECISIONS:
            return 0.0
        hidden = []
        for layer in self.layers[:-1]:
            rows = np.column_stack([layer.weights.reshape(len(layer.weights), -1), layer.biases])
            hidden.append(np.unique(rows, axis=0, return_counts=True)[1].tolist())
        return max(0.0, permutation_saving(hidden) - PERMUTATION_SLACK)


def step_value(place: int) -> float:
    """Step of a place on the grid, exact in float64."""
    return math.ldexp(1 + (place % 16) / 16, place // 16 - 40)


def step_place(step: float) -> int:
    """Nearest place on the grid of a positive step."""
    require(0 < step < math.inf, "step", "step_place", "positive and finite", step)
    places = range(1 << STEP_BITS)
    return min(places, key=lambda place: abs(math.log(step_value(place) / step)))


def encode_network(network: CodedNetwork) -> bytes:
    """Write a network as its code file; `decode_network` returns the same integers.

    Raises InputError if the network is too large for the format.
    """
    shapes = [layer.weights.shape for layer in network.layers]
    wanted = network.architecture.shapes
    require(shapes == list(wanted), "layers", "encode_network", f"of shapes {wanted}", shapes)
    encoder = Encoder()
    _code(encoder, network)
    code = encoder.finish()
    size, work = len(code), network.architecture.work
    narrow = max(map(_contexts, wanted)) <= _MOST_CONTEXTS and size <= MOST_BYTES
    narrow = narrow and len(network.architecture.ops) <= _MOST_STEPS
    fits = narrow and encoder.decisions <= most_decisions(size) and work <= most_work(size)
    said = f"of {size:,} bytes, {encoder.decisions:,} decisions, {work:,} multiplications an input"
    mend = "Choose a smaller architecture; docs/certificate-format.md has the limits."
    require(fits, "network", "encode_network", "within the limits of the format", said, mend)
    return code


def decode_network(content: bytes) -> CodedNetwork:
    """Read a code file; a DataIntegrityError unless it is exactly what the encoder writes."""
    try:
        if len(content) > MOST_BYTES:
            raise DataIntegrityError(f"the code file has more than {MOST_BYTES:,} bytes.")
        work, most = most_work(len(content)), most_decisions(len(content))
        return decode_exactly(
            content, lambda coder: _code(coder, None, work), encode_network, most_decisions=most
        )
    except InputError as error:
        raise DataIntegrityError(f"the code file is truncated or altered: {error}") from error


def _code(coder: Coder, network: CodedNetwork | None, work: int = sys.maxsize) -> CodedNetwork:
    """Pass a network; the one description of the format, for both directions.

    A decoder takes no layer larger than what is `left` to it, and no architecture of more `work`.
    """
    given = network.architecture if network else None
    sides = (*given.input_shape, given.classes) if given else (1,) * 4
    channels, height, width, classes = (code_positive(coder, side) for side in sides)
    normalised = bool(coder.code(int(given is not None and given.normalised), HALF))
    count = code_positive(coder, len(given.ops) if given else 1)
    if isinstance(coder, Decoder) and count > _MOST_STEPS:
        raise DataIntegrityError("the code file announces too many steps.")
    ops: list[Op] = []
    layers: list[CodedLayer] = []
    shape = (channels, height, width)
    for place in range(count):
        op = _code_op(coder, given.ops[place] if given else None)
        ops.append(op)
        work -= op.work(shape) * ops[0].views
        misplaced = op.kind == "edges" and (shape[0] > MOST_EDGED or not normalised)
        misplaced |= op.views > 1 and place > 0
        if work < 0 or min(op.output(shape)) < 1 or misplaced:
            raise DataIntegrityError("the code file announces an impossible layer.")
        if op.coded:
            if isinstance(coder, Decoder) and _contexts(op.weights(shape)) > _MOST_CONTEXTS:
                raise DataIntegrityError("the code file announces an impossible layer.")
            layer = network.layers[len(layers)] if network else None
            has_step = not normalised and place < count - 1
            layers.append(_code_layer(coder, layer, op.weights(shape), has_step, normalised))
        shape = op.output(shape)
    architecture = CodedArchitecture((channels, height, width), classes, tuple(ops), normalised)
    return CodedNetwork(architecture, tuple(layers))


def _contexts(shape: WeightShape) -> int:
    out, into, height, width = shape
    return out + into + height * width


def _code_op(coder: Coder, given: Op | None) -> Op:
    op = given or Op("dense", 1)
    extended = _EXTENDED.index(op.kind) + 1 if op.kind in _EXTENDED else 0
    place = code_uniform(coder, len(_KINDS) if extended else _KINDS.index(op.kind), 2)
    if place == len(_KINDS):
        extended = code_positive(coder, extended or 1)
        if extended > len(_EXTENDED):
            raise DataIntegrityError("the code file names a kind of layer that does not exist.")
        return Op(_EXTENDED[extended - 1], 0, 5 if extended == 1 else 1)
    kind = _KINDS[place]
    size = 1 if kind == "dense" else code_positive(coder, op.size)
    stride = code_positive(coder, op.stride) if kind == "conv" else size
    units = 0 if kind == "pool" else code_positive(coder, op.units or 1)
    return Op(kind, units, size, stride)


def _code_layer(
    coder: Coder, given: CodedLayer | None, shape: WeightShape, has_step: bool, normalised: bool
) -> CodedLayer:
    largest = _code_largest(coder, given.weights if given else None)
    step = code_uniform(coder, given.step if given else 0, STEP_BITS) if has_step else 0
    weights = code_levels(coder, given.weights if given else None, shape, largest)
    biases, bias_step = np.zeros(shape[0], dtype=np.int64), 0
    if coder.code(int(given is not None and bool(given.biases.any())), HALF):
        largest = _code_largest(coder, given.biases if given else None)
        if not normalised:
            bias_step = code_uniform(coder, given.bias_step if given else 0, STEP_BITS)
        column = given.biases.reshape(-1, 1, 1, 1) if given else None
        biases = code_levels(coder, column, (shape[0], 1, 1, 1), largest).ravel()
    return CodedLayer(weights, biases, step, bias_step)


def _code_largest(coder: Coder, integers: Integers | None) -> int:
    largest = 1 if integers is None else max(1, int(np.abs(integers).max()))
    return code_positive(coder, largest)


def coded_from_levels(
    architecture: CodedArchitecture,
    weights: Sequence[Integers],
    biases: Sequence[Integers],
    steps: Sequence[float],
    bias_steps: Sequence[float],
) -> CodedNetwork:
    """Make a coded network of integers, with steps rounded to the grid."""
    normalised = architecture.normalised
    layers = []
    for place, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        last = place == len(weights) - 1
        step = 0 if normalised or last else step_place(steps[place])
        # the last layer's weights have step 1, so its biases are counted in that unit
        unit = bias_steps[place] / (steps[place] if last else 1.0)
        bias_step = 0 if normalised or not bias.any() else step_place(unit)
        layers.append(CodedLayer(weight, bias, step, bias_step))
    return CodedNetwork(architecture, tuple(layers))
