"""Runs behind the tables: training as the step sizes are printed, pruning, and controls."""

import json
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from prunable.errors import InputError, require
from prunable.experiments.prune.specs import EvaluateSpec
from prunable.numerics.stable import check_alpha
from prunable.runs.data import DataSpec
from prunable.runs.spec import Spec

_STAGES = "prunable.papers.wan2023.stages"
# Seconds on one core for each multiplication and for each stable variable drawn.
_PER_PRODUCT, _PER_DRAW, _PER_NOISE = 4e-11, 4e-8, 8e-4


class TwoLayerTrainSpec(Spec):
    """Trains a network of one hidden layer with heavy-tailed noise on its hidden weights.

    The network is sum_i c_i relu(<theta_i, x>), both layers start as torch starts linear
    layers and are trained with the learning rate lr. `TrainSpec` of net "mean-field" divides
    by the width and multiplies lr by it instead.

    width : Hidden units n.
    lr : Learning rate, also of the noise's scale sigma * lr^(1/alpha).
    until_accuracy : Stop at this training accuracy, looked at every so many steps.
    alpha, sigma : Tail index and level of the noise; None and 0 without noise.
    seed : Of initial weights, batches and noise, together with all other settings: two rows of a
        table, or two widths, draw independent numbers with equal seeds.
    """

    stage: ClassVar[str] = f"{_STAGES}:train_stage"
    batch_stage: ClassVar[str] = f"{_STAGES}:train_batch_stage"
    schema_version: Literal[3] = 3

    dataset: DataSpec
    width: int = Field(ge=1)
    lr: float = Field(gt=0)
    batch_size: int = Field(ge=1)
    steps: int = Field(ge=1)
    until_accuracy: float | None = Field(default=None, gt=0, le=1)
    evaluate_every: int = Field(default=100, ge=1)
    noise: Literal["none", "type1", "type2", "type3"] = "none"
    alpha: float | None = None
    sigma: float = Field(default=0.0, ge=0)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _noise_is_whole(self) -> Self:
        where = "TwoLayerTrainSpec"
        if (self.noise == "none") != (self.alpha is None):
            raise InputError.parameter(
                "alpha", where, "given with noise, and only then", self.alpha
            )
        if self.alpha is None:
            require(not self.sigma, "sigma", where, "0 without noise", self.sigma)
        else:
            check_alpha(self.alpha, where)
        return self

    def batch_key(self) -> str:
        """Networks of one width, on the same data with the same batch size; all else may differ."""
        shared = {"dataset", "width", "batch_size"}
        return json.dumps([self.kind(), self.model_dump(mode="json", include=shared)])

    def estimated_seconds(self) -> float:
        """Rough time on one core: the products of a step, the draws, the evaluations."""
        examples = self.dataset.n_train
        weights = self.width * self.dataset.registered.features
        step = 2 * min(self.batch_size, examples) * weights * _PER_PRODUCT
        draws = {"none": 0, "type1": self.width, "type2": weights, "type3": weights // 2}
        look = examples * weights * _PER_PRODUCT / self.evaluate_every
        # Where a stop rule is met, it is met about half way.
        steps = self.steps * (1.0 if self.until_accuracy is None else 0.5)
        noise = 0.0 if self.noise == "none" else _PER_NOISE + draws[self.noise] * _PER_DRAW
        return 0.2 + steps * (step + noise + look)


class TwoLayerPruneSpec(Spec):
    """Measures one trained network, and prunes its columns by both criteria.

    train : The network.
    tolerance : Bound of both criteria: squared relative error, and relative Frobenius error.
    eps : Grid of the curve kappa(eps).
    norm_decades : (float, float); log10 range of the histogram of column norms; outliers fall in
        the end bins.
    """

    stage: ClassVar[str] = f"{_STAGES}:prune_stage"

    train: TwoLayerTrainSpec
    tolerance: float = Field(default=0.1, gt=0, lt=1)
    eps: tuple[float, ...]
    norm_decades: tuple[float, float] = (-1.5, 2.5)
    norm_bins: int = Field(default=80, ge=1)

    def estimated_seconds(self) -> float:
        """Rough time on one core: three passes over all examples."""
        data = self.train.dataset.registered
        products = (data.n_train + data.n_test) * self.train.width
        return 0.2 + 3 * products * data.features * _PER_PRODUCT


class PrunedAlikeSpec(Spec):
    """Prunes a network trained without noise as far as others, on average, can be.

    train : The network without noise.
    noisy : Their mean pruned share by the squared criterion is what is pruned.
    """

    stage: ClassVar[str] = f"{_STAGES}:prune_alike_stage"

    train: TwoLayerTrainSpec
    noisy: tuple[TwoLayerPruneSpec, ...] = Field(min_length=1)


class ShareLawSpec(Spec):
    """Predicts the law of the pruned share of networks that the noise alone moves.

    The columns start as torch starts them and receive the noise of all steps at once: a sum of
    K stable steps of scale sigma * lr^(1/alpha) is stable with scale sigma * (lr K)^(1/alpha).
    The gradient, which moves these wide networks little, is left out.

    width, features : Columns, and weights of each.
    horizon : Step size times steps, lr * K.
    sigmas : Noise levels; each network is pruned at all of them.
    tolerance : Squared relative error of the pruning.
    draws : Networks drawn.
    """

    stage: ClassVar[str] = f"{_STAGES}:share_law_stage"
    schema_version: Literal[3] = 3

    width: int = Field(ge=1)
    features: int = Field(ge=1)
    horizon: float = Field(gt=0)
    noise: Literal["type1", "type2", "type3"]
    alpha: float
    sigmas: tuple[float, ...] = Field(min_length=1)
    tolerance: float = Field(default=0.1, gt=0, lt=1)
    draws: int = Field(ge=2)
    seed: int = Field(default=0, ge=0)

    def estimated_seconds(self) -> float:
        """Rough time on one core: the draws of every network, and its pruning at every level."""
        each = 2e-8 if self.noise == "type2" else 1e-8
        return 0.2 + self.draws * self.width * (self.features * each + len(self.sigmas) * 4e-8)


class DescribeSpec(Spec):
    """What a data set holds, and how much of its inputs type I noise meets."""

    stage: ClassVar[str] = f"{_STAGES}:describe_stage"

    dataset: DataSpec


class Demonstration(Spec):
    """Identity of a whole demonstration: the evaluations it is made of."""

    evaluations: tuple[EvaluateSpec, ...]
