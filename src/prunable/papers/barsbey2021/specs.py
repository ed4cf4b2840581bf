"""What the runs of the paper's items are, beside training."""

from __future__ import annotations

import math
from typing import ClassVar

from pydantic import Field

from prunable.experiments.reproduce.items import Convention
from prunable.experiments.train.specs import TrainSpec
from prunable.runs.spec import Spec

_STAGES = "prunable.papers.barsbey2021"

Ratios = tuple[float, ...]
# Of the released code.
MAGNITUDE_RATIOS: Ratios = (
    0.0,
    0.1,
    0.2,
    0.3,
    0.4,
    *(round(0.5 + 0.025 * i, 3) for i in range(21)),
)
SPECTRAL_RATIOS: Ratios = (
    0.0,
    0.25,
    0.5,
    *(round(0.6 + 0.05 * i, 2) for i in range(6)),
    *(round(0.9 + 0.01 * i, 2) for i in range(1, 11)),
)
NODE_RATIOS: Ratios = tuple(round(0.05 * i, 2) for i in range(21))
COARSE_RATIOS: Ratios = tuple(round(0.1 * i, 1) for i in range(11))


class MeasureSpec(Spec):
    """Measures one trained network: tail indices, prunability, accuracy after pruning.

    Parameters
    ----------
    train : TrainSpec
        The network.
    convention : {"paper", "authors-code"}
        "paper" prunes to 0, as the theorems do, and counts a singular triple with its value.
        "authors-code" centres by medians, adds them back, counts no singular values, and takes
        the prunability at one error of the last iterate instead of the averaged network.
    magnitude_ratios, spectral_ratios, node_ratios : tuple of float
        Shares pruned of the weights, singular values and nodes of a layer.
    tolerance : float
        Relative error at which the largest share is sought.
    test_examples : int, optional
        Accuracy after pruning on the first so many; None is all.
    train_examples : int
        The same of the training set; 0 for none.
    """

    stage: ClassVar[str] = f"{_STAGES}.measuring:measure_stage"

    train: TrainSpec
    convention: Convention = "paper"
    magnitude_ratios: Ratios = MAGNITUDE_RATIOS
    spectral_ratios: Ratios = SPECTRAL_RATIOS
    node_ratios: Ratios = NODE_RATIOS
    tolerance: float = Field(default=0.1, gt=0, lt=1)
    test_examples: int | None = Field(default=None, ge=1)
    train_examples: int = Field(default=10_000, ge=0)

    def estimated_seconds(self) -> float:
        """Rough time: a forward pass for each ratio, and singular values."""
        passes = 2 * len(self.magnitude_ratios) + len(self.spectral_ratios) + len(self.node_ratios)
        examples = (self.test_examples or 10_000) + self.train_examples
        # a step of training passes each example of a batch about three times
        step = self.train.estimated_seconds() / self.train.steps
        return 2 + passes * examples / self.train.batch_size * step / 1.5


class LayerLawSpec(Spec):
    """Compares the weights of one convolution with one another and with a stable law.

    Parameters
    ----------
    train : TrainSpec
        The network; its averaged weights count.
    seed : int
        Of the random partition and the stable draws.
    bins : int
        Of the histograms, over the range that holds all but `outside` of the weights.
    outside : float
    """

    stage: ClassVar[str] = f"{_STAGES}.measuring:layer_law_stage"

    train: TrainSpec
    seed: int = Field(default=0, ge=0)
    bins: int = Field(default=60, ge=2)
    outside: float = Field(default=1e-3, gt=0, lt=1)


class SyntheticSpec(Spec):
    """Draws matrices of three heavy-tailed laws and measures how prunable they are.

    Parameters
    ----------
    size : int
        Rows and columns.
    first, count : int
        Numbers of the draws.
    low, high : float
        Range of the uniform tail indices.
    tolerance : float
        Relative error of pruning.
    seed : int
    """

    stage: ClassVar[str] = f"{_STAGES}.laws:synthetic_stage"

    size: int = Field(default=500, ge=2)
    first: int = Field(default=0, ge=0)
    count: int = Field(default=25, ge=1)
    low: float = Field(default=1.75, gt=0)
    high: float = Field(default=2.0, le=2)
    tolerance: float = Field(default=0.1, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)

    def estimated_seconds(self) -> float:
        """Rough time of the draws and their sorting."""
        return 1e-6 * self.size**2 * self.count


class StableVectorSpec(Spec):
    """Draws vectors of independent stable numbers; see how few carry their norm.

    Parameters
    ----------
    alpha : float
    size : int
        Numbers in a vector.
    draws : int
        Vectors; the histogram is of the first.
    bins : int
    seed : int
    """

    stage: ClassVar[str] = f"{_STAGES}.laws:stable_vector_stage"

    alpha: float = Field(default=1.7, gt=0, le=2)
    size: int = Field(default=10_000, ge=100)
    draws: int = Field(default=200, ge=1)
    bins: int = Field(default=100, ge=2)
    seed: int = Field(default=0, ge=0)


class RhoSpec(Spec):
    """Evaluates rho_eps(kappa) of theorem 7 and its upper bound.

    Parameters
    ----------
    epsilons : tuple of float
    points : int
        Of the grid of kappa on [0, 1].
    """

    stage: ClassVar[str] = f"{_STAGES}.laws:rho_stage"

    epsilons: tuple[float, ...] = (0.01, 0.05, 0.1, 0.2, 0.5)
    points: int = Field(default=101, ge=3)


class CountSpec(Spec):
    """Counts the parameters of an architecture.

    Parameters
    ----------
    net : str
    width : int
    shape : tuple of int
        Of one example.
    n_outputs : int
    """

    stage: ClassVar[str] = f"{_STAGES}.measuring:count_stage"

    net: str
    width: int = Field(ge=1)
    shape: tuple[int, ...]
    n_outputs: int = Field(default=10, ge=1)

    def estimated_seconds(self) -> float:
        """Rough time to draw the weights."""
        return 1e-8 * self.width**2 * (6 + math.prod(self.shape) / self.width)
