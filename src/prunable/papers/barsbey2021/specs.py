"""What the runs of the paper's items are, beside training."""

import math
from typing import ClassVar, Literal

from pydantic import Field

from prunable.experiments.reproduce.document import Convention
from prunable.experiments.train.specs import TrainSpec
from prunable.runs.spec import Spec

_STAGES = "prunable.papers.barsbey2021.stages"
_THEOREMS = "prunable.papers.barsbey2021.theorem_stages"

Ratios = tuple[float, ...]
Method = Literal["magnitude", "global", "singular", "node"]

# Estimators beside the authors' procedure, as in appendix A.4.
OTHERS = (
    "vectors centred by means",
    "single weights",
    "variance of logarithms",
    "quantiles",
    "characteristic function",
)


def _grid(first: float, step: float, count: int) -> Ratios:
    return tuple(round(first + step * i, 3) for i in range(count))


# Of the released code.
MAGNITUDE_RATIOS: Ratios = (*_grid(0.0, 0.1, 5), *_grid(0.5, 0.025, 21))
SPECTRAL_RATIOS: Ratios = (0.0, 0.25, 0.5, *_grid(0.6, 0.05, 6), *_grid(0.91, 0.01, 10))
NODE_RATIOS: Ratios = _grid(0.0, 0.05, 21)
COARSE_RATIOS: Ratios = _grid(0.0, 0.1, 11)


class MeasureSpec(Spec):
    """Measures one trained network: tail indices, prunability, accuracy after pruning.

    convention : "paper" counts a singular triple with its value. "authors-code" counts no
        singular values, and takes the prunability at one error of the last iterate instead of
        the averaged network.
    center : What is taken off before pruning and added back after, so that pruned weights equal
        it (appendix A.5): in both conventions the median. "mean" and "none" are the alternatives
        that the appendix names; "none" prunes to 0, as the theorems do.
    methods : Ways of pruning: "magnitude", "global", "singular", "node".
    magnitude_ratios, spectral_ratios, node_ratios : Shares pruned of the weights, singular values
        and nodes of a layer.
    tolerance : Relative error at which the largest share is sought.
    test_examples, train_examples : Accuracy after pruning on the first so many; None is all of the
        test set, 0 is none.
    """

    stage: ClassVar[str] = f"{_STAGES}:measure_stage"

    train: TrainSpec
    convention: Convention = "paper"
    center: Literal["median", "mean", "none"] = "median"
    methods: tuple[Method, ...] = ("magnitude", "global", "singular", "node")
    magnitude_ratios: Ratios = MAGNITUDE_RATIOS
    spectral_ratios: Ratios = SPECTRAL_RATIOS
    node_ratios: Ratios = NODE_RATIOS
    tolerance: float = Field(default=0.1, gt=0, lt=1)
    test_examples: int | None = Field(default=None, ge=1)
    train_examples: int = Field(default=10_000, ge=0)

    def estimated_seconds(self) -> float:
        # a forward pass for each ratio, and singular values
        passes = sum(len(self.ratios(method)) for method in self.methods)
        examples = (self.test_examples or 10_000) + self.train_examples
        # a step of training passes each example of a batch about three times
        step = self.train.estimated_seconds() / self.train.steps
        return 2 + passes * examples / self.train.batch_size * step / 1.5

    def ratios(self, method: Method) -> Ratios:
        """Shares that a method prunes."""
        if method == "singular":
            return self.spectral_ratios
        return self.node_ratios if method == "node" else self.magnitude_ratios


class GaussianTailSpec(Spec):
    """Estimates the tail index of networks of independent Gaussian weights, as of trained ones.

    Whatever order such `draws` networks show is chance: their scatter is the error of a network's
    mean tail index at this architecture and width. `shape` is that of one example.
    """

    stage: ClassVar[str] = f"{_STAGES}:gaussian_tail_stage"

    net: str
    width: int = Field(ge=1)
    shape: tuple[int, ...]
    n_outputs: int = Field(default=10, ge=1)
    draws: int = Field(default=40, ge=2)
    seed: int = Field(default=0, ge=0)

    def estimated_seconds(self) -> float:
        # five permutations and at most nine block sizes of some five square matrices
        return 1 + 2.4e-7 * self.draws * self.width * (5 * self.width + math.prod(self.shape))


class LayerLawSpec(Spec):
    """Compares the weights of one convolution with one another and with a stable law.

    The averaged weights count; the histograms have `bins` over the range that holds all but the
    share `outside` of them; the seed is that of the random partition and the stable draws. The
    same is done to `gaussian_draws` layers of its shape with Gaussian weights.
    """

    stage: ClassVar[str] = f"{_STAGES}:layer_law_stage"

    train: TrainSpec
    seed: int = Field(default=0, ge=0)
    bins: int = Field(default=60, ge=2)
    gaussian_draws: int = Field(default=40, ge=2)
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


class CompressionSpec(Spec):
    """Draws random layers and measures the errors of theorems 2 to 4.

    what : Which numbers are pruned: single "weights" of a vector of `size`; "singular" values of a
        square matrix of that side; "nodes", the columns of a matrix of `rows` times `size`.
    law : How the weights depend on each other: "independent"; independent isotropic "columns";
        "layer", one isotropic vector of all weights; "autoregressive", x_t = memory x_{t-1} + z_t
        along the vector or from column to column, which is stationary and ergodic.
    kappa : Share kept.
    p : Of the norm: of weights or columns, and of the eigenvalues, the squared singular values.
    """

    stage: ClassVar[str] = f"{_THEOREMS}:compression_stage"

    what: Literal["weights", "singular", "nodes"] = "weights"
    law: Literal["independent", "columns", "layer", "autoregressive"] = "independent"
    alpha: float = Field(gt=0, le=2)
    size: int = Field(ge=2)
    rows: int = Field(default=50, ge=1)
    kappa: float = Field(default=0.2, gt=0, lt=1)
    p: float = Field(default=2.0, gt=0)
    memory: float = Field(default=0.9, ge=0, lt=1)
    draws: int = Field(default=40, ge=2)
    seed: int = Field(default=0, ge=0)

    def estimated_seconds(self) -> float:
        if self.what == "singular":
            return 0.1 + 2.5e-9 * self.draws * self.size**3
        rows = self.rows if self.what == "nodes" else 1
        return 0.1 + 2e-7 * self.draws * self.size * rows


class MixtureSpec(Spec):
    """Draws vectors with a flat body and a Pareto tail, and takes the limits of their errors.

    alpha, share : Tail index, and the share of the tail; at 1 the law is Pareto's.
    kappa, eps, p : Share kept, error allowed, and the norm of both.
    """

    stage: ClassVar[str] = f"{_THEOREMS}:mixture_stage"

    alpha: float = Field(gt=0)
    share: float = Field(default=1.0, gt=0, le=1)
    kappa: float = Field(default=0.5, gt=0, lt=1)
    eps: float = Field(default=0.1, gt=0, lt=1)
    p: float = Field(default=1.0, gt=0)
    size: int = Field(default=1_000_000, ge=2)
    draws: int = Field(default=20, ge=2)
    seed: int = Field(default=0, ge=0)

    def estimated_seconds(self) -> float:
        return 0.1 + 2e-7 * self.draws * self.size
