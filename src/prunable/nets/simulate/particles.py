"""Particle systems behind wide networks trained with heavy-tailed noise.

A one-hidden-layer network f(x) = (1/n) sum_i c_i h(<theta_i, x>) trained on all data with
stable noise is a system of n particles that see each other through f alone. Here many
systems run at once, on the same noise: systems of several widths (their first particles are
the same), of several steps (coarse increments are sums of fine ones), and the limit of
infinitely many particles, whose f comes from one large system.

The law of f is that of Eqs. (2) to (5) of Wan, Zaidi and Simsekli (2023); the readouts c_i
belong to the particles and do not move.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from prunable.errors import InputError, check_at_least, check_one_of, require
from prunable.nets.train.sampling import Kind, add_stable_
from prunable.numerics.randomness import child_seed

Activation = Literal["tanh", "sigmoid", "relu"]
Loss = Literal["squared", "logistic", "cross-entropy"]
NoiseType = Literal["type1", "type2", "type3"]

KINDS: dict[NoiseType, Kind] = {"type1": "shared", "type2": "iid", "type3": "isotropic"}
# Predictions beyond it, in units of the largest readout or target, are called divergence.
DIVERGED = 1e8
# Increments are drawn for several steps at once, at most this many numbers.
NOISE_BLOCK = 2**20

__all__ = [
    "Activation",
    "Loss",
    "MeanFieldProblem",
    "NoiseType",
    "StableDrive",
    "System",
    "initial_particles",
    "mean_field_path",
    "simulate",
]


@dataclass(frozen=True, eq=False)
class MeanFieldProblem:
    """Data, activation and loss of a mean-field network."""

    inputs: torch.Tensor  # (m, p), examples, all used in every step
    # (m, l) numbers for "squared"; (m, 1) of -1 and 1 for "logistic"; (m,) class numbers for
    # "cross-entropy"
    targets: torch.Tensor
    activation: Activation = "tanh"  # ReLU breaks the theorems' assumption of bounded smooth units
    # half the squared error; log(1 + exp(-y f)); negative log-likelihood of softmax
    loss: Loss = "squared"
    outputs: int = 1  # l
    # adds -weight_decay * theta to the drift, which makes it unbounded; 0 in the paper
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        where = "MeanFieldProblem"
        check_one_of(self.activation, get_args(Activation), "activation", where)
        check_one_of(self.loss, get_args(Loss), "loss", where)
        if self.inputs.ndim != 2 or self.inputs.numel() == 0 or not _finite(self.inputs):
            raise InputError.parameter(
                "inputs", where, "a finite matrix, one example a row", tuple(self.inputs.shape)
            )
        m = self.inputs.shape[0]
        wanted = (m,) if self.loss == "cross-entropy" else (m, self.outputs)
        valid = tuple(self.targets.shape) == wanted
        require(valid, "targets", where, f"of shape {wanted}", tuple(self.targets.shape))
        if self.loss == "logistic" and (
            self.outputs != 1 or not bool((self.targets.abs() == 1).all())
        ):
            raise InputError.parameter(
                "targets", where, "-1 or 1, with one output, for the logistic loss", "others"
            )
        valid = math.isfinite(self.weight_decay) and self.weight_decay >= 0
        require(valid, "weight_decay", where, "finite and not negative", self.weight_decay)

    def predictions(self, theta: torch.Tensor, readout: torch.Tensor) -> torch.Tensor:
        """Network outputs f, shape (r, m, l), of replicas: theta (r, n, p), readout (r, n, l)."""
        hidden = _ACTIVATIONS[self.activation](theta @ self.inputs.T)[0]
        return _average(hidden, readout)

    def drift(
        self, theta: torch.Tensor, readout: torch.Tensor, field: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Drift b(theta_i, mu) of every particle, and the network outputs that mu gives.

        b(theta, mu) = -E[d_1 loss(mu(h_x), y) grad h_x(theta)]: n times minus the gradient of the
        empirical risk. `field` holds outputs (m, l) or (r, m, l) of another measure mu; by default
        the particles' own.
        """
        hidden, slope = _ACTIVATIONS[self.activation](theta @ self.inputs.T)
        if field is None:
            field = _average(hidden, readout)
        residual = self.loss_gradient(field).mul_(-1 / self.inputs.shape[0])
        if self.outputs == 1:
            # an outer product: cheaper as two factors
            pull = slope.mul_(residual.mT).mul_(readout)
        else:
            pull = slope.mul_(readout @ residual.mT)
        move = pull @ self.inputs
        if self.weight_decay:
            move.sub_(theta, alpha=self.weight_decay)
        return move, field

    def loss_gradient(self, outputs: torch.Tensor) -> torch.Tensor:
        """Derivative of the loss by the outputs, example by example; same shape."""
        targets = self.targets
        if self.loss == "squared":
            return outputs - targets
        if self.loss == "logistic":
            return -targets * torch.sigmoid(-targets * outputs)
        one_hot = torch.nn.functional.one_hot(targets, self.outputs).to(outputs.dtype)
        return torch.softmax(outputs, dim=-1) - one_hot


@dataclass(frozen=True)
class StableDrive:
    """The noise sigma dL of the particle system, 1 < alpha <= 2 (2 is the Gaussian control).

    Type 1 is one scalar a particle, type 2 has independent coordinates, type 3 is rotation
    invariant. At alpha <= 1 errors have no mean, which raises InputError.
    """

    alpha: float
    sigma: float = 1.0
    noise: NoiseType = "type3"

    def __post_init__(self) -> None:
        if not 1 < self.alpha <= 2:
            raise InputError.parameter(
                "alpha",
                "StableDrive",
                "above 1 and at most 2",
                self.alpha,
                "At alpha <= 1 stable noise has no mean, so no mean error exists.",
            )
        valid = math.isfinite(self.sigma) and self.sigma >= 0
        require(valid, "sigma", "StableDrive", "finite and not negative", self.sigma)
        check_one_of(self.noise, KINDS, "noise", "StableDrive")

    def add_increments_(self, tensor: torch.Tensor, step: float, seed: int) -> torch.Tensor:
        """Add sigma (L_{t + step} - L_t) to every vector along the last axis, in place."""
        vectors = tensor.view(-1, tensor.shape[-1])
        scale = self.sigma * step ** (1 / self.alpha)
        add_stable_(vectors, self.alpha, scale=scale, kind=KINDS[self.noise], seed=seed)
        return tensor


@dataclass(frozen=True, eq=False)
class System:
    """One of the coupled systems: how many particles, and how often they move."""

    width: int  # particles n: the first n of those that exist
    every: int = 1  # fine steps in one of its own; its eta is `every` times the fine one
    # outputs f (steps, m, l) over its own steps that drive it instead of its own; the particles are
    # then independent, and solve the limit equation as far as `path` is the limit's
    path: torch.Tensor | None = None


Observer = Callable[[int, Sequence[torch.Tensor]], None]


def initial_particles(
    problem: MeanFieldProblem,
    replicas: int,
    width: int,
    *,
    seed: int,
    std: float = 1.0,
    readout: float = 1.0,
    dtype: torch.dtype = torch.float64,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Independent particles: Gaussian weights (replicas, width, p), readouts (replicas, width, l).

    `std` is the standard deviation of a weight, `readout` the magnitude of every readout, whose
    signs are fair.
    """
    for name, count in (("replicas", replicas), ("width", width)):
        check_at_least(count, 1, name, "initial_particles")
    generator = torch.Generator().manual_seed(child_seed(seed, "initial"))
    p = problem.inputs.shape[1]
    theta = torch.empty(replicas, width, p, dtype=dtype).normal_(0, std, generator=generator)
    c = torch.empty(replicas, width, problem.outputs, dtype=dtype)
    return theta, c.bernoulli_(0.5, generator=generator).mul_(2 * readout).sub_(readout)


def simulate(
    problem: MeanFieldProblem,
    drive: StableDrive,
    systems: Sequence[System],
    theta: torch.Tensor,
    readout: torch.Tensor,
    *,
    eta: float,
    steps: int,
    seed: int,
    observe: Observer | None = None,
) -> list[torch.Tensor]:
    """Run coupled systems on the same initial particles and the same noise.

    A coarse increment of a Levy process is the sum of the fine ones, so the coupling is exact. All
    systems share the replicas' batched matrix products. Raises InputError if arguments do not fit,
    or if a system diverges; then the step is named. Returns the final particles of each system, (r,
    width, p).

    Parameters
    ----------
    theta, readout : (r, n, p) and (r, n, l), r replicas; n is at least the largest width
    observe : called with the number of fine steps done and the particles of all systems whenever.
        all of them have moved; it must not change them
    """
    _check_run(systems, theta, eta, steps, problem)
    largest = max(system.width for system in systems)
    state = [theta[:, : system.width].clone() for system in systems]
    outs = [readout[:, : system.width] for system in systems]
    waiting = [
        torch.zeros_like(s) if g.every > 1 else None for s, g in zip(state, systems, strict=True)
    ]
    shape = (theta.shape[0], largest, theta.shape[2])
    block = max(1, min(steps, NOISE_BLOCK // math.prod(shape)))
    meeting = math.lcm(*(system.every for system in systems))
    limit = DIVERGED * _unit(problem, readout)
    noise = theta.new_empty(block, *shape)
    with torch.no_grad():
        for k in range(steps):
            if k % block == 0:
                drive.add_increments_(noise.zero_(), eta, child_seed(seed, "noise", k // block))
            fresh = noise[k % block]
            for i, system in enumerate(systems):
                increment = fresh[:, : system.width]
                held = waiting[i]
                if held is not None:
                    increment = held.add_(increment)
                if (k + 1) % system.every:
                    continue
                field = None if system.path is None else system.path[k // system.every]
                move, field = problem.drift(state[i], outs[i], field)
                if not bool(field.abs().amax() <= limit):
                    raise _diverged(system, eta, k)
                state[i].add_(move, alpha=eta * system.every).add_(increment)
                if held is not None:
                    held.zero_()
            if observe is not None and (k + 1) % meeting == 0:
                observe(k + 1, state)
    for particles, system in zip(state, systems, strict=True):
        if not _finite(particles):
            raise _diverged(system, eta, steps - 1)
    return state


def mean_field_path(
    problem: MeanFieldProblem,
    drive: StableDrive,
    *,
    width: int,
    eta: float,
    steps: int,
    seed: int,
    std: float = 1.0,
    readout: float = 1.0,
    dtype: torch.dtype = torch.float64,
) -> torch.Tensor:
    """Outputs over time (steps, m, l) of one large system, in place of the limit's.

    The k-th drive step k. They are wrong by about width^(-1/2); two seeds tell by how much. Other
    arguments as of `simulate` and `initial_particles`.
    """
    theta, c = initial_particles(
        problem, 1, width, seed=seed, std=std, readout=readout, dtype=dtype
    )
    path = [problem.predictions(theta, c)[0]]

    def record(done: int, state: Sequence[torch.Tensor]) -> None:
        if done < steps:
            path.append(problem.predictions(state[0], c)[0])

    simulate(
        problem, drive, [System(width)], theta, c, eta=eta, steps=steps, seed=seed, observe=record
    )
    return torch.stack(path)


def _tanh(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    h = z.tanh_()
    return h, h.square().neg_().add_(1)


def _sigmoid(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    h = z.sigmoid_()
    return h, h.square().neg_().add_(h)


def _relu(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    h = z.relu_()
    return h, (h > 0).to(z.dtype)


_ACTIVATIONS: dict[str, Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]] = {
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "relu": _relu,
}


def _average(hidden: torch.Tensor, readout: torch.Tensor) -> torch.Tensor:
    # transposed twice: batched products of a transposed first factor are slow
    return (readout.mT @ hidden).mT / hidden.shape[1]


def _finite(tensor: torch.Tensor) -> bool:
    return bool(tensor.isfinite().all())


def _unit(problem: MeanFieldProblem, readout: torch.Tensor) -> float:
    largest = float(readout.abs().amax())
    if problem.loss == "squared":
        largest = max(largest, float(problem.targets.abs().amax()))
    return max(1.0, largest)


def _diverged(system: System, eta: float, k: int) -> InputError:
    step = k // system.every + 1
    return InputError.parameter(
        "eta",
        "simulate",
        "small enough for the system to stay bounded",
        eta * system.every,
        f"The system of width {system.width} diverged at step {step} (time "
        f"{eta * (k + 1):.4g}; learning rate eta * n = {eta * system.every * system.width:.4g}). "
        "Lower eta or sigma, or choose a bounded activation.",
    )


def _check_run(
    systems: Sequence[System],
    theta: torch.Tensor,
    eta: float,
    steps: int,
    problem: MeanFieldProblem,
) -> None:
    require(math.isfinite(eta) and eta > 0, "eta", "simulate", "positive and finite", eta)
    check_at_least(steps, 1, "steps", "simulate")
    require(systems, "systems", "simulate", "at least one system", 0)
    if theta.ndim != 3 or theta.shape[2] != problem.inputs.shape[1]:
        raise InputError.parameter(
            "theta", "simulate", f"of shape (r, n, {problem.inputs.shape[1]})", tuple(theta.shape)
        )
    for system in systems:
        valid = 1 <= system.width <= theta.shape[1]
        require(valid, "width", "System", f"between 1 and {theta.shape[1]}", system.width)
        if system.every < 1 or steps % system.every:
            raise InputError.parameter(
                "every", "System", f"a divisor of {steps} steps", system.every
            )
        if system.path is not None and len(system.path) != steps // system.every:
            raise InputError.parameter(
                "path", "System", f"of {steps // system.every} steps", len(system.path)
            )
