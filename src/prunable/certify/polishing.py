"""Search over the integers of a coded network, one at a time, for a lower certified risk.

Training minimises a smooth loss with rounded weights; the bound is about errors and bits. Here
integers move by one, or to zero, and a move stays if errors and bits together fall, at the price
of an error in bits that the bound itself sets. In the last layer, where logits are linear in the
integers, every move is counted on all examples, and the best of a class is made, class after
class. In layers before it moves are tried in the order that gradients of a smooth count of errors
promise, on the examples nearest to the boundary between classes; after every layer all examples
are counted anew, and what made the sum worse is taken back.
"""

import math
from dataclasses import replace
from math import lgamma

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from prunable.certify.architecture import EPSILON, CodedArchitecture, forward, without_weights
from prunable.certify.bounds.occam import occam_bound
from prunable.certify.code_file import CodedNetwork, encode_network
from prunable.errors import require

Counts = NDArray[np.int64]
ROUNDS, TRIES, NEAR = 3, 150, 0.15
_LEAST_NEAR = 0.01
_MOST_STEPS = 20  # for each integer of the last layer; rounding could let moves go in a circle


def kt_bits(counts: Counts) -> float:
    """Bits of integers by KT estimators that see one layer, of the counts of magnitudes 0, 1, ...

    Of each magnitude above 0 half are taken to be negative.

    >>> round(kt_bits(np.array([1, 0])), 3)  # one zero, at probability 1/2
    1.0
    """
    total, left = 0.0, int(counts.sum())
    for count in counts[:-1]:
        more = left - int(count)
        total -= lgamma(count + 0.5) + lgamma(more + 0.5) - lgamma(left + 1) - math.log(math.pi)
        left = more
    return total / math.log(2) + float(counts[1:].sum())


def bits_per_error(rate: float, bound: float) -> float:
    """How many bits more leave the bound where one training error less puts it.

    It is minus the derivative of kl(r, b) by r, in bits.
    """
    rate, bound = (min(max(share, 1e-6), 1 - 1e-6) for share in (rate, bound))
    return math.log2(bound * (1 - rate) / (rate * (1 - bound)))


def polish(
    network: CodedNetwork,
    x: torch.Tensor,
    y: torch.Tensor,
    delta: float,
    *,
    rounds: int = ROUNDS,
    tries: int = TRIES,
    near: float = NEAR,
) -> CodedNetwork:
    """Move integers of a normalised network while its certified risk falls.

    Inputs are (n, channels, height, width) of float32. In each round at most `tries` moves are
    tried in a hidden layer, on the share `near` of the examples, or on four times as many as are
    errors, if these are fewer; then the last layer, with its biases, is moved until nothing helps.
    The network with the smallest bound by its real code comes back, which may be the one given.

    Raises InputError if the network is not normalised: its steps would have to move too.
    """
    architecture = network.architecture
    require(architecture.normalised, "network", "polish", "normalised", "not")
    x = without_weights(architecture, x)

    def judged(network: CodedNetwork) -> tuple[float, float]:
        """Share of errors, and bound."""
        wrong = int((margins(network, x, y) <= 0).sum())
        bits = 8 * len(encode_network(network))
        return wrong / len(y), occam_bound(wrong, len(y), bits, delta).value

    given, (found, best) = network, (network, judged(network)[1])
    for round_ in range(rounds):
        rate, bound = judged(given)
        share = min(near, max(4 * rate, _LEAST_NEAR))
        for layer in reversed(range(len(given.layers) - 1)):
            price = bits_per_error(rate, bound)
            given = _polish_layer(given, layer, x, y, price, tries, share)
        # hidden layers go on from the given last one: to one that is moved here they are bound
        settled = _polish_last(given, x, y, bits_per_error(*judged(given)))
        after = judged(settled)[1]
        if after >= best and round_:
            break
        found, best = (settled, after) if after < best else (found, best)
    return found


def passes(hidden: int) -> float:
    """How often `polish` sends all examples through a network, about, by its hidden layers.

    A move of a hidden integer takes half of what the network does with the examples near to it.

    >>> round(passes(2))
    104
    """
    return ROUNDS * (hidden * (TRIES * NEAR / 2 + 3) + 6)


def margins(network: CodedNetwork, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Own logit less the largest other one over the largest magnitude, (n,), in float32.

    Inputs are what `without_weights` gives.
    """
    weights, biases = _tensors(network)
    with torch.no_grad():
        parts = [
            forward(network.architecture, part, weights, biases, begun=True)
            for part in x.split(1000)
        ]
    return _margin(torch.cat(parts), y)


def _margin(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    own = logits.gather(1, y[:, None]).squeeze(1)
    rest = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    return (own - rest) / logits.detach().abs().amax(1).clamp(min=1e-6) - 1e-6


def _tensors(network: CodedNetwork) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    both = (network.weights, network.biases)
    weights, biases = ([torch.from_numpy(t).float() for t in part] for part in both)
    return weights, biases


def _polish_last(
    network: CodedNetwork, x: torch.Tensor, y: torch.Tensor, price: float
) -> CodedNetwork:
    """Make the best move of each class in turn until none lowers errors and bits together."""
    features = last_inputs(network, x)
    given = network.layers[-1]
    levels = np.column_stack([given.weights.reshape(len(given.weights), -1), given.biases])
    logits = features @ torch.from_numpy(levels.T).float()
    largest = max(2, int(np.abs(given.weights).max()))
    bias = levels.shape[1] - 1
    most = np.r_[np.full(bias, largest), max(largest, int(np.abs(given.biases).max()))]
    counts = np.bincount(np.abs(levels[:, :-1]).ravel(), minlength=largest + 1)
    reach, idle = features.abs().amax(1), 0
    for step in range(_MOST_STEPS * levels.size):
        of_class = step % len(levels)
        row, best, chosen = levels[of_class], -1e-9, (0, 0)
        bits, threshold = _prices(counts), thresholds(logits, y, of_class)
        for change in (1, -1, 2, -2):
            new = row + change
            places = np.flatnonzero((np.abs(new) <= most) & ((abs(change) == 1) | (new == 0)))
            if not len(places):
                continue
            errors = more_errors(threshold, features, reach, change)[places]
            # biases may be larger than weights; they have a price of their own
            costs = bits[*np.minimum(np.abs([row[places], new[places]]), largest)]
            costs[places == bias] = abs(int(new[bias])) - abs(int(row[bias]))
            sums = price * errors + costs
            if sums.min() < best:
                best, chosen = float(sums.min()), (int(places[sums.argmin()]), change)
        place, change = chosen
        if change:
            idle, old, new = 0, int(row[place]), int(row[place]) + change
            levels[of_class, place] = new
            logits[:, of_class] += change * features[:, place]
            if place != bias:
                counts[abs(old)] -= 1
                counts[abs(new)] += 1
        elif (idle := idle + 1) == len(levels):
            break
    layer = replace(
        given, weights=levels[:, :-1].reshape(given.weights.shape), biases=levels[:, -1].copy()
    )
    return replace(network, layers=(*network.layers[:-1], layer))


def last_inputs(network: CodedNetwork, x: torch.Tensor) -> torch.Tensor:
    """What the integers of the last layer multiply, (n, inputs + 1), of all views; last the bias's.

    Inputs are what `without_weights` gives.
    """
    weights, biases = _tensors(network)
    parts = []
    with torch.no_grad():
        for part in x.split(1000):
            inputs: list[torch.Tensor] = []
            forward(network.architecture, part, weights, biases, begun=True, inputs=inputs)
            last = inputs[-1]
            parts.append((last.sum(1) if last.ndim == 5 else last).flatten(1))
    features = torch.cat(parts)
    views = torch.full((len(features), 1), float(network.architecture.views))
    return torch.cat([features, views], 1)


def thresholds(
    logits: torch.Tensor, y: torch.Tensor, of_class: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Examples where one class's logit decides, how far it is from doing so, and their sides.

    An example of the class (side 1) errs if the change is at most the distance, one of another
    class (side -1) if it is at least that.
    """
    own = logits.gather(1, y[:, None]).squeeze(1)
    rest = logits.scatter(1, y[:, None], -torch.inf)
    rest[:, of_class] = -torch.inf
    third, mine = rest.amax(1), y == of_class
    distance = torch.where(mine, third, own) - logits[:, of_class]
    chosen = torch.nonzero(mine | (own > third)).squeeze(1)
    return chosen, distance[chosen], torch.where(mine, 1.0, -1.0)[chosen]


def more_errors(
    threshold: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    features: torch.Tensor,
    reach: torch.Tensor,
    change: int,
) -> NDArray[np.float64]:
    """Errors more, (inputs,), if the integer of each input changes."""
    chosen, distance, side = threshold
    near = distance.abs() <= abs(change) * reach[chosen]
    chosen, distance, side = chosen[near], distance[near], side[near]
    found = torch.zeros(features.shape[1])
    for one in (1.0, -1.0):
        at = side == one
        moved, limit = features[chosen[at]], distance[at] / change
        # the limit's side turns around with the sign of the change
        over = (one > 0) == (change > 0)
        errs = moved <= limit[:, None] if over else moved >= limit[:, None]
        now = (distance[at] >= 0) if one > 0 else (distance[at] <= 0)
        found += errs.sum(0) - now.sum()
    return found.double().numpy()


def _prices(counts: Counts) -> NDArray[np.float64]:
    """Bits more for an integer of one magnitude less and one of another more, as a matrix."""
    one = np.eye(len(counts), dtype=np.int64)
    now = kt_bits(counts)
    return np.array(
        [
            [kt_bits(counts - old + new) - now if (counts - old).min() >= 0 else 0 for new in one]
            for old in one
        ]
    )


class Tried:
    """Errors of a chain while integers of its first layer move: one output is computed anew."""

    def __init__(
        self,
        chain: CodedArchitecture,
        x: torch.Tensor,
        y: torch.Tensor,
        weights: list[torch.Tensor],
        biases: list[torch.Tensor],
    ) -> None:
        self.chain, self.given, self.op = chain, x, chain.ops[0]
        self.y, self.weights, self.biases = y, weights, biases
        self.views = x.shape[1] if x.ndim == 5 else 1
        self.x = x.flatten(0, 1) if x.ndim == 5 else x
        # what follows up to the ReLU is increasing, so the maximum may go first
        pooled = chain.ops[1].kind == "pool"
        self.window = chain.ops[1].size if pooled else 1
        shape = self.op.output(chain.input_shape)
        self.units = math.prod(shape)
        shape = chain.ops[1].output(shape) if pooled else shape
        self.rest = replace(chain, input_shape=shape, ops=chain.ops[2 if pooled else 1 :])
        with torch.no_grad():
            self.largest, squares = self._outputs(weights[0])
            self.squares = squares.double()
            self.errors = self._errors(self.squares.sum(1))

    def slopes(self, width: float) -> NDArray[np.float64]:
        """Growth of a smooth count of errors with each integer, by a logistic law."""
        weight = self.weights[0].detach().requires_grad_()
        logits = forward(self.chain, self.given, [weight, *self.weights[1:]], self.biases)
        soft = torch.sigmoid(-8 * _margin(logits, self.y) / width).sum()
        return torch.autograd.grad(soft, weight)[0].flatten().double().numpy()

    def move(self, at: int, new: int, price: float, bits: float) -> bool:
        """Give one integer another value if errors at a price and the bits more fall together."""
        flat, output = self.weights[0].view(-1), at // self.weights[0][0].numel()
        old, flat[at] = float(flat[at]), new
        with torch.no_grad():
            largest, squares = self._outputs(self.weights[0][output : output + 1])
            before = self.largest[:, output].clone()
            self.largest[:, output] = largest[:, 0]
            total = self.squares.sum(1) - self.squares[:, output] + squares[:, 0]
            errors = self._errors(total)
        accepted = price * (errors - self.errors) + bits < 0
        if accepted:
            self.squares[:, output], self.errors = squares[:, 0].double(), errors
        else:
            flat[at], self.largest[:, output] = old, before
        return accepted

    def _outputs(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Some outputs before they are normalised, (n, outputs, ...): maxima, sums of squares."""
        if self.op.kind == "dense":
            z = functional.linear(self.x.flatten(1), weight.flatten(1))[:, :, None, None]
        else:
            z = functional.conv2d(self.x, weight, None, self.op.stride, self.op.pad)
        squares = z.square().sum((2, 3))
        return (functional.max_pool2d(z, self.window) if self.window > 1 else z), squares

    def _errors(self, squares: torch.Tensor) -> int:
        scale = (squares / self.units + EPSILON).rsqrt().float()[:, None, None, None]
        x = torch.relu(self.largest * scale + self.biases[0][:, None, None])
        x = x.unflatten(0, (-1, self.views)) if self.views > 1 else x
        logits = forward(self.rest, x, self.weights[1:], self.biases[1:])
        return int((_margin(logits, self.y) <= 0).sum())


def tried_of(network: CodedNetwork, layer: int, x: torch.Tensor, y: torch.Tensor) -> Tried:
    """Try integers of a hidden layer on examples as `without_weights` gives them."""
    weights, biases = _tensors(network)
    inputs: list[torch.Tensor] = []
    with torch.no_grad():
        forward(network.architecture, x, weights, biases, begun=True, inputs=inputs)
    chain = _tail(network.architecture, layer)
    return Tried(chain, inputs[layer], y, weights[layer:], biases[layer:])


def _polish_layer(
    network: CodedNetwork,
    layer: int,
    x: torch.Tensor,
    y: torch.Tensor,
    price: float,
    tries: int,
    near: float,
) -> CodedNetwork:
    margin = margins(network, x, y)
    chosen = margin.abs().argsort()[: max(1, round(near * len(y)))]
    width = 2 * float(margin[chosen[-1]].abs())
    tried = tried_of(network, layer, x[chosen], y[chosen])
    levels = network.layers[layer].weights
    largest = max(2, int(np.abs(levels).max()))
    counts = np.bincount(np.abs(levels).ravel(), minlength=largest + 1)
    now = levels.ravel().copy()
    kept = list[tuple[int, int]]()
    bits = _prices(counts)
    for at, new in _moves(levels, price * tried.slopes(width), bits)[:tries]:
        if (old := int(now[at])) == new:
            continue
        if tried.move(at, new, price, bits[abs(old), abs(new)]):
            counts[abs(old)] -= 1
            counts[abs(new)] += 1
            now[at], bits = new, _prices(counts)
            kept.append((at, new))
    before = price * int((margin <= 0).sum()) + _cost(levels, largest)
    while kept:
        changed = levels.copy()
        for at, new in kept:
            changed.ravel()[at] = new
        layers = list(network.layers)
        layers[layer] = replace(layers[layer], weights=changed)
        polished = replace(network, layers=tuple(layers))
        after = price * int((margins(polished, x, y) <= 0).sum()) + _cost(changed, largest)
        if after < before:
            return polished
        kept = kept[: len(kept) // 2]
    return network


def _moves(
    levels: Counts, gains: NDArray[np.float64], bits: NDArray[np.float64]
) -> list[tuple[int, int]]:
    """Moves by one, or to zero, as (place, new integer), those that promise most first.

    `gains` is what errors grow by in bits where an integer grows by 1, `bits` what `_prices` gives.
    """
    old, largest = levels.ravel(), len(bits) - 1
    new = np.stack([old - 1, old + 1, np.zeros_like(old)])
    size, other = np.abs(old), np.abs(new)
    fits = (other <= largest) & (new != old)
    fits[2] &= size != 1  # which moves by one to zero
    promise = (gains * (new - old) + bits[size, np.minimum(other, largest)])[fits]
    at = np.broadcast_to(np.arange(old.size), new.shape)[fits]
    order = np.lexsort((new[fits], at, promise))
    return list(zip(at[order].tolist(), new[fits][order].tolist(), strict=True))


def _cost(levels: Counts, largest: int) -> float:
    return kt_bits(np.bincount(np.abs(levels).ravel(), minlength=largest + 1))


def _tail(architecture: CodedArchitecture, layer: int) -> CodedArchitecture:
    """The chain from a layer with weights on."""
    places = [place for place, op in enumerate(architecture.ops) if op.coded]
    shapes = [shape for shape, op in architecture.inputs() if op.coded]
    return replace(architecture, input_shape=shapes[layer], ops=architecture.ops[places[layer] :])
