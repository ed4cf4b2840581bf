"""What the experiments on dynamics run: frozen settings of one row each."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import AfterValidator, Field

from prunable.errors import InputError
from prunable.nets.simulate.particles import Activation, Loss, MeanFieldProblem, NoiseType
from prunable.numerics.randomness import rng
from prunable.runs.spec import Spec

_STAGE = "prunable.experiments.simulate.stages:row_stage"

PositiveInt = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]


def _has_mean(alpha: float) -> float:
    if 1 < alpha <= 2:
        return alpha
    raise InputError.parameter(
        "alpha",
        "simulate",
        "above 1 and at most 2",
        alpha,
        "At alpha <= 1 stable noise has no mean, so no mean error exists.",
    )


Alpha = Annotated[float, AfterValidator(_has_mean)]


class ParticleSpec(Spec):
    """What all experiments on particle systems share.

    The data are `examples` Gaussian inputs of dimension `dim` and a tanh teacher, the same
    in all runs; the particles start as N(0, std^2), with readouts +-`readout`.
    """

    stage: ClassVar[str] = _STAGE

    alpha: Alpha
    seed: Annotated[int, Field(ge=0)]
    noise: NoiseType = "type3"
    sigma: Positive = 0.3
    activation: Activation = "tanh"
    loss: Loss = "squared"
    dim: PositiveInt = 2
    examples: PositiveInt = 16
    std: Positive = 0.5
    readout: Positive = 3.0
    horizon: Positive = 1.0

    def problem(self, weight_decay: float = 0.0) -> MeanFieldProblem:
        """The data and the loss as tensors."""
        source = rng(0, "dynamics", self.dim, self.examples)
        inputs = source.standard_normal((self.examples, self.dim))
        signal = torch.tensor(2 * (inputs @ source.standard_normal((self.dim, 1))))
        outputs, targets = 1, signal.tanh()
        if self.loss == "logistic":
            targets = torch.where(signal > 0, 1.0, -1.0).to(torch.float64)
        elif self.loss == "cross-entropy":
            outputs, targets = 2, (signal[:, 0] > 0).long()
        return MeanFieldProblem(
            torch.tensor(inputs), targets, self.activation, self.loss, outputs, weight_decay
        )


class ChaosSpec(ParticleSpec):
    """Distance between particle systems and independent particles of the limit."""

    widths: tuple[PositiveInt, ...] = (16, 32, 64, 128, 256, 512)
    replicas: PositiveInt = 32
    steps: PositiveInt = 20
    reference_width: PositiveInt = 2**19


class IndependenceSpec(ParticleSpec):
    """Dependence between the first two particles over many replicas."""

    widths: tuple[PositiveInt, ...] = (2, 4, 8, 16, 32)
    replicas: PositiveInt = 1024
    steps: PositiveInt = 20
    permutations: PositiveInt = 100


class EulerSpec(ParticleSpec):
    """Distance between Euler schemes of several steps and a much finer one."""

    width: PositiveInt = 32
    step_counts: tuple[PositiveInt, ...] = (4, 8, 16, 32)
    fine_steps: PositiveInt = 1024
    replicas: PositiveInt = 16
    widths: tuple[PositiveInt, ...] = (32, 128, 512, 2048)
    coarse_of_widths: PositiveInt = 8
    fine_of_widths: PositiveInt = 64
    replicas_of_widths: PositiveInt = 8
    weight_decay: Positive = 2.0


class MomentsSpec(ParticleSpec):
    """Empirical second moments of particles, and maxima of stable variables."""

    # large, so that the noise outweighs the start
    sigma: Positive = 1.0
    width: PositiveInt = 2**17
    steps: PositiveInt = 10
    sizes: tuple[PositiveInt, ...] = (64, 256, 1024, 4096, 16384)
    maxima_pool: PositiveInt = 2**20


class CompressionSpec(ParticleSpec):
    """Errors of pruning independent stable weights, and the columns of particle systems."""

    dimensions: tuple[PositiveInt, ...] = (1000, 10_000, 100_000)
    widths: tuple[PositiveInt, ...] = (256, 1024, 4096, 16384)
    steps: PositiveInt = 10
    kappas: tuple[float, ...] = (0.05, 0.1, 0.3)
    p: tuple[float, ...] = (1.0, 2.0)
    draws: PositiveInt = 20
    replicas: PositiveInt = 10


class SgdTailSpec(Spec):
    """Tail index of constant-step stochastic gradient descent on a linear regression."""

    stage: ClassVar[str] = _STAGE

    dim: PositiveInt
    batch: PositiveInt
    eta: Positive
    chains: PositiveInt = 400_000
    share: Positive = 0.002
    seed: Annotated[int, Field(ge=0)] = 0


Experiment = Literal["chaos", "euler", "moments", "compression", "sgd-tail"]
