"""What the runs of the paper's items are, beside training."""

import math
from typing import ClassVar

from pydantic import Field

from prunable.experiments.reproduce.document import Convention
from prunable.experiments.train.specs import TrainSpec
from prunable.runs.spec import Spec

_STAGES = "prunable.papers.barsbey2021.stages"

Ratios = tuple[float, ...]


def _grid(first: float, step: float, count: int) -> Ratios:
    return tuple(round(first + step * i, 3) for i in range(count))


# Of the released code.
MAGNITUDE_RATIOS: Ratios = (*_grid(0.0, 0.1, 5), *_grid(0.5, 0.025, 21))
SPECTRAL_RATIOS: Ratios = (0.0, 0.25, 0.5, *_grid(0.6, 0.05, 6), *_grid(0.91, 0.01, 10))
NODE_RATIOS: Ratios = _grid(0.0, 0.05, 21)
COARSE_RATIOS: Ratios = _grid(0.0, 0.1, 11)


class MeasureSpec(Spec):
    """Measures one trained network: tail indices, prunability, accuracy after pruning.

    convention : "paper" prunes to 0, as the theorems do, and counts a singular triple with its
        value. "authors-code" centres by medians, adds them back, counts no singular values, and
        takes the prunability at one error of the last iterate instead of the averaged network.
    magnitude_ratios, spectral_ratios, node_ratios : Shares pruned of the weights, singular values
        and nodes of a layer.
    tolerance : Relative error at which the largest share is sought.
    test_examples, train_examples : Accuracy after pruning on the first so many; None is all of the
        test set, 0 is none.
    """

    stage: ClassVar[str] = f"{_STAGES}:measure_stage"

    train: TrainSpec
    convention: Convention = "paper"
    magnitude_ratios: Ratios = MAGNITUDE_RATIOS
    spectral_ratios: Ratios = SPECTRAL_RATIOS
    node_ratios: Ratios = NODE_RATIOS
    tolerance: float = Field(default=0.1, gt=0, lt=1)
    test_examples: int | None = Field(default=None, ge=1)
    train_examples: int = Field(default=10_000, ge=0)

    def estimated_seconds(self) -> float:
        # a forward pass for each ratio, and singular values
        passes = 2 * len(self.magnitude_ratios) + len(self.spectral_ratios) + len(self.node_ratios)
        examples = (self.test_examples or 10_000) + self.train_examples
        # a step of training passes each example of a batch about three times
        step = self.train.estimated_seconds() / self.train.steps
        return 2 + passes * examples / self.train.batch_size * step / 1.5


class LayerLawSpec(Spec):
    """Compares the weights of one convolution with one another and with a stable law.

    The averaged weights count; the histograms have `bins` over the range that holds all but the
    share `outside` of them; the seed is that of the random partition and the stable draws.
    """

    stage: ClassVar[str] = f"{_STAGES}:layer_law_stage"

    train: TrainSpec
    seed: int = Field(default=0, ge=0)
    bins: int = Field(default=60, ge=2)
    outside: float = Field(default=1e-3, gt=0, lt=1)


class SyntheticSpec(Spec):
    """Draws `count` square matrices of three heavy-tailed laws, from number `first` on.

    Tail indices are uniform in [low, high]; the prunable share at `tolerance` is measured.
    """

    stage: ClassVar[str] = f"{_STAGES}:synthetic_stage"

    size: int = Field(default=500, ge=2)
    first: int = Field(default=0, ge=0)
    count: int = Field(default=25, ge=1)
    low: float = Field(default=1.75, gt=0)
    high: float = Field(default=2.0, le=2)
    tolerance: float = Field(default=0.1, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)

    def estimated_seconds(self) -> float:
        return 1e-6 * self.size**2 * self.count


class StableVectorSpec(Spec):
    """Draws vectors of `size` independent stable numbers; the histogram is of the first."""

    stage: ClassVar[str] = f"{_STAGES}:stable_vector_stage"

    alpha: float = Field(default=1.7, gt=0, le=2)
    size: int = Field(default=10_000, ge=100)
    draws: int = Field(default=200, ge=1)
    bins: int = Field(default=100, ge=2)
    seed: int = Field(default=0, ge=0)


class RhoSpec(Spec):
    """Evaluates rho_eps(kappa) of theorem 7 and its upper bound on a grid of kappa in [0, 1]."""

    stage: ClassVar[str] = f"{_STAGES}:rho_stage"

    epsilons: tuple[float, ...] = (0.01, 0.05, 0.1, 0.2, 0.5)
    points: int = Field(default=101, ge=3)


class CountSpec(Spec):
    """Counts the parameters of an architecture; `shape` is that of one example."""

    stage: ClassVar[str] = f"{_STAGES}:count_stage"

    net: str
    width: int = Field(ge=1)
    shape: tuple[int, ...]
    n_outputs: int = Field(default=10, ge=1)

    def estimated_seconds(self) -> float:
        return 1e-8 * self.width**2 * (6 + math.prod(self.shape) / self.width)
