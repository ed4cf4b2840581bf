"""A source of networks: chains by their depth, as `tiny:chain3?width=16`."""

from itertools import pairwise

from torch import nn

from prunable.errors import InputError


def build(name: str, *, width: int = 16, inputs: int = 2, outputs: int = 4) -> nn.Module:
    """Build the network of a name, untrained."""
    depth = name.removeprefix("chain")
    if not name.startswith("chain") or not depth.isdecimal() or int(depth) < 2:
        raise InputError.parameter("net", "tiny", "chainN with N of 2 or more", name)
    sizes = [inputs, *[width] * (int(depth) - 1), outputs]
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
