"""What layer-wise pruning does to a network, and the conditions of the 2021 bounds.

Barsbey et al. (2021), hypothesis H1 and theorem 5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from prunable.certify.bounds.base import Assumption, at_least, at_most, safe_log
from prunable.certify.bounds.facts import check_margins
from prunable.errors import InputError


@dataclass(frozen=True)
class Compression:
    """What layer-wise pruning does to a network.

    Attributes
    ----------
    sizes : tuple of int
        Weights d_l of each layer.
    kept : tuple of int
        Weights kept of each layer.
    errors : tuple of float
        ||w_hat_l - w_l|| / ||w_l||, Frobenius.
    epsilon : float, optional
        The relative error that hypothesis H1 claims; the largest of `errors` if None.

    Raises
    ------
    InputError
        If counts or errors are out of range.
    """

    sizes: tuple[int, ...]
    kept: tuple[int, ...]
    errors: tuple[float, ...]
    epsilon: float | None = None

    def __post_init__(self) -> None:
        if not self.sizes or not len(self.sizes) == len(self.kept) == len(self.errors):
            raise InputError.parameter(
                "sizes", "Compression", "one number a layer, as kept and errors", len(self.sizes)
            )
        for size, kept in zip(self.sizes, self.kept, strict=True):
            if not 0 <= kept <= size or size < 1:
                raise InputError.parameter("kept", "Compression", f"in [0, {size}]", kept)
        for error in (*self.errors, *(() if self.epsilon is None else (self.epsilon,))):
            if not 0 <= error < math.inf:
                raise InputError.parameter("errors", "Compression", "finite and >= 0", error)

    @property
    def depth(self) -> int:
        """Layers L."""
        return len(self.sizes)

    @property
    def d(self) -> int:
        """Weights of all layers."""
        return sum(self.sizes)

    @property
    def kappa(self) -> float:
        """Kept share of all weights."""
        return sum(self.kept) / self.d

    @property
    def claimed(self) -> float:
        """Epsilon of H1."""
        return max(self.errors) if self.epsilon is None else self.epsilon

    def hypothesis(self, failure: float) -> Assumption:
        """H1: every layer's relative error is at most epsilon, but for probability `failure`."""
        worst = max(range(self.depth), key=lambda i: self.errors[i])
        return at_most(
            "H1: relative error of every layer at most epsilon",
            safe_log(self.errors[worst]),
            safe_log(self.claimed),
            f"layer {worst + 1} here, one network of a statement of probability {1 - failure:g}",
        )


def sample_assumptions(n: int, layers: int) -> tuple[Assumption, ...]:
    """Sizes of the sample that theorem 5 needs."""
    ratio = math.log(n / math.log(n))
    return (
        at_least("n/log(n) > 10 L", ratio, math.log(10 * layers), strict=True),
        at_least("n >= 16", math.log(n), math.log(16)),
        Assumption(
            "ReLU network without biases",
            "unchecked",
            "the form of the network is the caller's word",
        ),
    )


def norm_assumption(norm: float, radius: float, delta: float, given: bool) -> Assumption:
    """P(||w|| > R) <= delta, of which one network shows only whether it is inside."""
    name = "P(||w|| > R) <= delta"
    if norm > radius * (1 + 1e-12):
        said = f"this network has norm {norm:.4g}, R is {radius:.4g}"
        return Assumption(name, "violated", said, math.log(norm / radius), "factor")
    said = f"norm {norm:.4g} <= R = {radius:.4g}, delta = {delta:g}"
    if not given:
        said += "; R is the norm of this one network"
    return Assumption(name, "unchecked", said)


def tau_choice(tau: float | None) -> Assumption:
    """Whether the margin was chosen before the data, as the theorems ask."""
    name = "tau was chosen before the data"
    if tau is None:
        return Assumption(name, "violated", "tau is a quantile of the training margins")
    return Assumption(name, "unchecked", f"tau = {tau:.4g} was given")


def default_tau(margins: ArrayLike) -> float:
    """The margin that bounds are evaluated at: the smallest if positive, else a positive quantile.

    Returns
    -------
    float
        The first positive of the margins' minimum, 1 %, 5 %, 10 %, 25 % and 50 % quantiles and
        maximum; 1 if no margin is positive.
    """
    array = check_margins(margins, "default_tau")
    for q in (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0):
        value = float(np.quantile(array, q, method="lower"))
        if value > 0:
            return value
    return 1.0
