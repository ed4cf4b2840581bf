"""Search over the integers of a coded network, one at a time, for a lower certified risk.

Training minimises a smooth loss with rounded weights; the bound is about errors and bits. Here
integers move by one, or to zero, and a move stays if errors and bits together fall, at the price
of an error in bits that the bound itself sets. Moves are tried in the order that gradients of a
smooth count of errors promise, on the examples nearest to the boundary between classes; after
every layer all examples are counted anew, and what made the sum worse is taken back.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from math import lgamma

import numpy as np
import torch
from numpy.typing import NDArray

from prunable.certify.architecture import CodedArchitecture, forward, without_weights
from prunable.certify.bounds.occam import occam_bound
from prunable.certify.code_file import CodedNetwork, encode_network
from prunable.errors import require

Counts = NDArray[np.int64]
_LEAST_NEAR = 0.01


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
    rounds: int = 4,
    tries: int = 150,
    near: float = 0.1,
) -> CodedNetwork:
    """Move integers of a normalised network while its certified risk falls.

    Inputs are (n, channels, height, width) of float32. In each round at most `tries` moves are
    tried in a layer, four times as many in the last, on the share `near` of the examples, or on
    four times as many as are errors, if these are fewer. The
    network with the smallest bound by its real code comes back, which may be the one given.

    Raises InputError if the network is not normalised: its steps would have to move too.
    """
    architecture = network.architecture
    require(architecture.normalised, "network", "polish", "normalised", "not")
    x = without_weights(architecture, x)
    found, best = network, math.inf
    given = network
    for round_ in range(rounds + 1):
        wrong = int((margins(given, x, y) <= 0).sum())
        bound = occam_bound(wrong, len(y), 8 * len(encode_network(given)), delta).value
        if bound < best:
            found, best = given, bound
        elif round_ > 1:
            break
        if round_ < rounds:
            price = bits_per_error(wrong / len(y), bound)
            share = min(near, max(4 * wrong / len(y), _LEAST_NEAR))
            for layer in reversed(range(len(given.layers))):
                given = _polish_layer(given, layer, x, y, price, tries, share)
    return found


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
    weights, biases = _tensors(network)
    inputs: list[torch.Tensor] = []
    with torch.no_grad():
        forward(network.architecture, x[chosen], weights, biases, begun=True, inputs=inputs)
    x_near, y_near = inputs[layer], y[chosen]
    tail, weights, biases = _tail(network.architecture, layer), weights[layer:], biases[layer:]
    values = weights[0].requires_grad_()
    # a smooth count of errors: its slope is that of a logistic law over half the width
    soft = torch.sigmoid(-8 * _margin(forward(tail, x_near, weights, biases), y_near) / width)
    (gradient,) = torch.autograd.grad(soft.sum(), values)
    values.requires_grad_(False)
    levels = network.layers[layer].weights
    largest = max(2, int(np.abs(levels).max()))
    counts = np.bincount(np.abs(levels).ravel(), minlength=largest + 1)
    flat, slopes = values.view(-1), gradient.flatten().double().numpy()

    def wrong() -> int:
        with torch.no_grad():
            return int((_margin(forward(tail, x_near, weights, biases), y_near) <= 0).sum())

    def cheaper(old: int, new: int) -> float:
        after = counts.copy()
        after[abs(old)] -= 1
        after[abs(new)] += 1
        return kt_bits(after) - kt_bits(counts)

    count, kept = wrong(), list[tuple[int, int]]()
    most = 4 * tries if layer == len(network.layers) - 1 else tries
    for at, new in _moves(levels, largest, price * slopes, cheaper)[:most]:
        old = int(flat[at])
        if old == new:
            continue
        flat[at] = new
        change, now = cheaper(old, new), wrong()
        if price * (now - count) + change < 0:
            counts[abs(old)] -= 1
            counts[abs(new)] += 1
            count = now
            kept.append((at, new))
        else:
            flat[at] = old
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
    levels: Counts, largest: int, gains: NDArray[np.float64], cheaper: Callable[[int, int], float]
) -> list[tuple[int, int]]:
    """Moves by one, or to zero, as (place, new integer), those that promise most first.

    `gains` is what errors grow by in bits where an integer grows by 1, `cheaper` what bits grow by
    where one of the first magnitude becomes one of the second.
    """
    old = levels.ravel()
    new = np.stack([old - 1, old + 1, np.zeros_like(old)])
    size, other = np.abs(old), np.abs(new)
    fits = (other <= largest) & (new != old)
    fits[2] &= size != 1  # which moves by one to zero
    bits = np.zeros((largest + 1, largest + 2))
    for one in np.unique(size).tolist():
        bits[one, :-1] = [cheaper(one, another) for another in range(largest + 1)]
    promise = (gains * (new - old) + bits[size, other])[fits]
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
