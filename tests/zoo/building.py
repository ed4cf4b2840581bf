"""Networks of the zoo with random numbers in which an error shows.

Freshly built networks hide mistakes: normalisation is the identity, biases are 0, scales of
layers 1e-6, weights so small that signals die. Here nothing is constant, and the output depends on
the input.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from tests.zoo.architectures import ZOO
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from prunable.nets.networks.equality import tensors_in
from prunable.nets.networks.examples import Example, mapped, run

SEED = 17


def built(name: str, seed: int = SEED) -> nn.Module:
    """A network of the zoo in evaluation mode; the same seed gives the same numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ZOO[name].build()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            _spread_(parameter, generator)
        _normalise_(model, example_of(name, seed + 1), generator)
    return model.eval()


def example_of(name: str, seed: int = SEED) -> Example:
    """What a network of the zoo is called with; another seed gives other numbers."""
    return ZOO[name].example(torch.Generator().manual_seed(seed))


def outputs_of(model: nn.Module, example: Example) -> list[Tensor]:
    """The tensors that a network puts out, without gradients."""
    with torch.no_grad():
        return [x for x in tensors_in(run(model, example)) if x.is_floating_point()]


def _spread_(parameter: Tensor, generator: torch.Generator) -> None:
    """Give numbers that are all the same (biases, scales) others; strengthen weak weights."""
    first, inputs = parameter.flatten()[0], parameter[0].numel() if parameter.ndim > 1 else 1
    if bool((parameter == first).all()):
        if first == 0:
            parameter.normal_(0, 0.1, generator=generator)
        else:
            parameter.uniform_(0.5, 1.5, generator=generator)
    elif inputs > 1:
        gain = float(parameter.std()) * math.sqrt(inputs)
        parameter *= max(1.0, 1.0 / gain)


def _normalise_(model: nn.Module, example: Example, generator: torch.Generator) -> None:
    """Set statistics of BatchNorm near those of data, and far enough to be no identity."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    if not norms:
        return
    with _averaging(norms):
        run(model, mapped(example, lambda x: torch.cat([x, x.flip(-1)])))
    for norm in norms:
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None
        assert variance is not None
        shift = torch.randn(mean.shape, generator=generator)
        mean += 0.1 * shift * variance.sqrt()
        variance *= torch.rand(variance.shape, generator=generator) + 0.5


@contextmanager
def _averaging(norms: list[_BatchNorm]) -> Iterator[None]:
    """Let layers of BatchNorm take the statistics of the next batch, and nothing else train."""
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train().momentum = 1.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.eval().momentum = momentum
