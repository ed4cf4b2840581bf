"""Saliencies of a network's weights, from data; `SaliencyPruning` prunes by them."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch.func import functional_call, grad, vmap
from torch.nn import functional

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Saliencies = dict[str, NDArray[np.float64]]


def fisher_saliency(
    model: torch.nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    loss: Loss = functional.cross_entropy,
    chunk: int = 64,
) -> Saliencies:
    """Optimal brain damage with the diagonal of the empirical Fisher information.

    Gives w^2 E[g^2] / 2 of each parameter, g the gradient of one example: what the loss grows by if
    the weight goes, to second order, with the Fisher information for the Hessian (LeCun, Denker and
    Solla 1990). The model is evaluated in its present mode, which should be `eval`; the loss of a
    batch of one is in nats for a likelihood; gradients of `chunk` examples are held at a time.
    """
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    buffers = dict(model.named_buffers())
    squares = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in parameters.items()}

    def of_one(
        values: dict[str, torch.Tensor], example: torch.Tensor, label: torch.Tensor
    ) -> torch.Tensor:
        output = functional_call(model, {**values, **buffers}, (example.unsqueeze(0),))
        return loss(output, label.unsqueeze(0))

    gradients_of = vmap(grad(of_one), in_dims=(None, 0, 0))
    for start in range(0, len(x), chunk):
        part = slice(start, start + chunk)
        for name, gradients in gradients_of(parameters, x[part], y[part]).items():
            squares[name] += gradients.double().square().sum(dim=0)
    return {
        name: (parameters[name].double().square() * s / (2 * len(x))).cpu().numpy()
        for name, s in squares.items()
    }


def gradient_saliency(
    model: torch.nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    loss: Loss = functional.cross_entropy,
    chunk: int = 1024,
) -> Saliencies:
    """Magnitude times gradient of the mean loss of a batch, `chunk` examples at a time.

    |w g| of each parameter is what the loss changes by if the weight goes, to first order
    (Mozer and Smolensky 1989).
    """
    parameters = dict(model.named_parameters())
    sums = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in parameters.items()}
    for start in range(0, len(x), chunk):
        part = slice(start, start + chunk)
        value = loss(model(x[part]), y[part]) * (len(x[part]) / len(x))
        found = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
        for name, gradient in zip(parameters, found, strict=True):
            if gradient is not None:
                sums[name] += gradient.double()
    return {
        name: (parameters[name].detach().double() * s).abs().cpu().numpy()
        for name, s in sums.items()
    }
