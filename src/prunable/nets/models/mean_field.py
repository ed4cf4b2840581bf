"""The network architectures of the papers."""

import math
from typing import Any

import torch
from torch import nn

from prunable.errors import check_at_least


class MeanFieldNetwork(nn.Module):
    """One-hidden-layer network f(x) = (1/n) sum_i c_i relu(<theta_i, x>), without biases.

    `hidden.weight` (width, n_inputs) holds theta_i in row i, uniform on +-1/sqrt(n_inputs) at the
    start; `output.weight` (n_outputs, width) holds c_i in column i, uniform on +-sqrt(width), so
    that c_i/n starts as torch initialises a linear layer. The output is trained as in the
    paper's experiments, or fixed as in its theory.

    Section 3 of Wan, Zaidi and Simsekli (2023). Because of the factor 1/n the step size of
    the theory is the optimizer's learning rate divided by n.
    """

    def __init__(
        self,
        n_inputs: int,
        width: int,
        n_outputs: int,
        *,
        generator: torch.Generator,
        train_output: bool = True,
    ) -> None:
        super().__init__()
        for name, size in (("n_inputs", n_inputs), ("width", width), ("n_outputs", n_outputs)):
            check_at_least(size, 1, name, "MeanFieldNetwork")
        self.width = width
        # skip_init: torch's own initialisation would draw from the global generator
        about: Any = {"bias": False, "device": torch.get_default_device()}
        self.hidden = nn.utils.skip_init(nn.Linear, n_inputs, width, **about)
        self.output = nn.utils.skip_init(nn.Linear, width, n_outputs, **about)
        for layer, bound in (
            (self.hidden, 1 / math.sqrt(n_inputs)),
            (self.output, math.sqrt(width)),
        ):
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
        self.output.weight.requires_grad_(train_output)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map inputs of shape (batch, n_inputs) to outputs of shape (batch, n_outputs)."""
        return self.output(torch.relu(self.hidden(x))) / self.width
