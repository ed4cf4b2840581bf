"""What a network of the zoo costs: multiplications and time, on one thread."""

import warnings
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from prunable.nets.networks.examples import Example, run
from prunable.nets.networks.timing import interleaved_seconds

REPEATS = 25


def macs(model: nn.Module, example: Example) -> int:
    """Multiplications with additions in matrix products and convolutions of one call."""
    counter = FlopCounterMode(display=False)
    # the fast paths of recurrent layers and, without gradients, of nn.TransformerEncoder hide
    # their products from the counter; turning the first off warns of graphics cards
    slow = torch.backends.mkldnn.flags(enabled=False)
    with warnings.catch_warnings(action="ignore"), torch.enable_grad(), slow, counter:
        run(model, example)
    return counter.get_total_flops() // 2


def milliseconds(models: Mapping[str, nn.Module], example: Example) -> dict[str, float]:
    """Fastest times of one call, which other work on the machine disturbs least."""
    calls = {name: lambda model=model: run(model, example) for name, model in models.items()}
    with torch.no_grad():
        seconds = interleaved_seconds(calls, repeats=REPEATS)
    return {name: round(1e3 * float(np.min(found)), 3) for name, found in seconds.items()}
