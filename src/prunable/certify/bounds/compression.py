"""What layer-wise pruning does to a network, and what else the 2021 bounds are told.

Barsbey et al. (2021), hypothesis H1 and theorem 5.
"""

import math
from dataclasses import dataclass

from numpy.typing import ArrayLike

from prunable.certify.bounds.assumptions import RELU_WITHOUT_BIASES, Assumption, at_least, at_most
from prunable.certify.bounds.checks import check_delta, check_finite, check_layers, check_positive
from prunable.certify.bounds.facts import FloatArray, check_margins, default_tau
from prunable.certify.bounds.logs import safe_log
from prunable.errors import require


@dataclass(frozen=True)
class Compression:
    """What layer-wise pruning does to a network."""

    sizes: tuple[int, ...]  # weights d_l of each layer
    kept: tuple[int, ...]
    errors: tuple[float, ...]  # ||w_hat_l - w_l|| / ||w_l|| of each layer, Frobenius
    epsilon: float | None = None  # relative error that H1 claims; the largest error if None
    failure: float = 0.0  # probability with which H1 fails

    def __post_init__(self) -> None:
        where = "Compression"
        check_layers(where, sizes=self.sizes, kept=self.kept, errors=self.errors)
        for size, kept in zip(self.sizes, self.kept, strict=True):
            require(0 <= kept <= size and size >= 1, "kept", where, f"in [0, {size}]", kept)
        for error in (*self.errors, self.claimed):
            check_finite(error, "errors", where)

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

    def hypothesis(self) -> Assumption:
        """H1: every layer's relative error is at most epsilon."""
        worst = max(range(self.depth), key=lambda i: self.errors[i])
        statement = f"one network of a statement of probability {1 - self.failure:g}"
        return at_most(
            "H1: relative error of every layer at most epsilon",
            safe_log(self.errors[worst]),
            safe_log(self.claimed),
            f"layer {worst + 1} here, {statement}",
        )


class Observed:
    """What the bounds of 2021 are told of a dense network that can be pruned.

    Its margins are those on the training set, (n,) with n >= 2; B = `input_norm` is the largest
    norm of an input; `tau` is the width of the ramp, chosen before the data, or `default_tau` if
    None.
    """

    def __init__(
        self,
        margins: ArrayLike,
        compression: Compression,
        *,
        input_norm: float,
        tau: float | None = None,
    ) -> None:
        where = "Observed"
        self.margins: FloatArray = check_margins(margins, where)
        self.compression = compression
        self.input_norm = check_positive(input_norm, "input_norm", where)
        self.n = self.margins.size
        require(self.n >= 2, "margins", where, "2 examples or more", self.n)
        name = "tau was chosen before the data"
        if tau is None:
            self.tau = default_tau(self.margins)
            said = "tau is a quantile of the training margins"
            self.choice = Assumption(name, "violated", said)
        else:
            self.tau = check_positive(tau, "tau", where)
            self.choice = Assumption(name, "unchecked", f"tau = {tau:.4g} was given")

    @property
    def log_ratio(self) -> float:
        """Natural logarithm of n / log(n)."""
        return math.log(self.n / math.log(self.n))

    def sample_assumptions(self) -> tuple[Assumption, ...]:
        """Sizes of the sample that theorem 5 needs."""
        layers = self.compression.depth
        return (
            at_least("n/log(n) > 10 L", self.log_ratio, math.log(10 * layers), strict=True),
            at_least("n >= 16", math.log(self.n), math.log(16)),
            RELU_WITHOUT_BIASES,
        )


@dataclass(frozen=True)
class NormBound:
    """R(delta), which the norm of all weights exceeds with probability `delta`."""

    norm: float  # ||w|| of the network at hand, all layers together
    delta: float = 0.05
    known: float | None = None  # R(delta); if None `norm`, which one network cannot show

    def __post_init__(self) -> None:
        check_delta(self.delta, "NormBound")
        check_positive(self.norm, "norm", "NormBound", "A network of zeros has no bound.")
        check_positive(self.radius, "known", "NormBound")

    @property
    def radius(self) -> float:
        """R(delta)."""
        return self.norm if self.known is None else self.known

    def assumption(self) -> Assumption:
        """P(||w|| > R) <= delta, of which one network shows only whether it is inside."""
        name, norm, radius = "P(||w|| > R) <= delta", self.norm, self.radius
        if norm > radius * (1 + 1e-12):
            said = f"this network has norm {norm:.4g}, R is {radius:.4g}"
            return Assumption(name, "violated", said, math.log(norm / radius), "factor")
        said = f"norm {norm:.4g} <= R = {radius:.4g}, delta = {self.delta:g}"
        if self.known is None:
            said += "; R is the norm of this one network"
        return Assumption(name, "unchecked", said)
