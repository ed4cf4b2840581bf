"""The constants of lemma A.1: how large the drift of particles is, and how it changes."""

import math
from dataclasses import dataclass

import torch

from prunable.errors import InputError, require
from prunable.nets.simulate.particles import MeanFieldProblem

# Suprema of |h|, |h'| and |h''|.
SUPREMA = {
    "tanh": (1.0, 1.0, 4 / (3 * math.sqrt(3))),
    "sigmoid": (1.0, 0.25, 1 / (6 * math.sqrt(3))),
}


@dataclass(frozen=True)
class DriftConstants:
    """Constants of lemma A.1 of Wan et al. (2023) for a problem.

    bound : B of assumption 1, with equality: of ||b||, of its change with the particle, and with
        the measure in the mean square of the outputs' change.
    by_others : Of the last inequality, beside (1/n) sum ||theta_1^i - theta_2^i||: E[Phi Psi^2],
        at most B^2 / 2. The lemma prints B there, which loses a factor E[Psi^2]^(1/2) of the line
        before and is exceeded by large readouts.
    """

    bound: float
    by_others: float


def drift_constants(problem: MeanFieldProblem, readout: float) -> DriftConstants:
    """Constants of lemma A.1 for readouts of at most a norm.

    Psi(x) bounds |h_x| + ||grad h_x|| + ||grad^2 h_x||, and Phi(y) the first two derivatives of
    the loss: of the squared error on the outputs that such a network can have.

    Raises InputError for ReLU, which is not twice differentiable, and with weight decay, which
    makes the drift unbounded.
    """
    where = "drift_constants"
    smooth = "tanh or sigmoid, as assumption 1 asks for two derivatives"
    require(problem.activation in SUPREMA, "activation", where, smooth, problem.activation)
    require(readout > 0, "readout", where, "positive", readout)
    if problem.weight_decay:
        raise InputError.parameter(
            "weight_decay", where, "0, for the drift is unbounded with it", problem.weight_decay
        )
    value, slope, curvature = SUPREMA[problem.activation]
    length = problem.inputs.double().norm(dim=1)
    psi = readout * (value + slope * length + curvature * length**2)
    if problem.loss == "squared":
        phi = readout * value + problem.targets.double().norm(dim=1) + 1
    elif problem.loss == "logistic":
        phi = torch.full_like(psi, 1 + 1 / 4)
    else:  # ||softmax - one-hot|| <= sqrt 2, and a Hessian of norm <= 1/2
        phi = torch.full_like(psi, math.sqrt(2) + 1 / 2)
    bound = (psi**2 * (1 + phi**2)).mean().sqrt()
    return DriftConstants(float(bound), float((phi * psi**2).mean()))
