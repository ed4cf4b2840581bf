"""What the runs behind the figures of the 2020 paper are."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from prunable.errors import InputError, require
from prunable.experiments.train.specs import TrainSpec
from prunable.runs.spec import Spec

Widths = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]

_THEORY = "prunable.papers.chang2020.theory_stages"
_STAGES = "prunable.papers.chang2020.stages"


class LinearSpec(Spec):
    """A panel of figure 7, which holds those of figure 3, at some widths.

    panel : spiked weights (a), or a spiked covariance (b); see `prunable.predict.linear.presets`.
    p : features, a multiple of 10.
    widths : each number k of features used.
    """

    panel: Literal["a", "b"]
    p: int = Field(ge=10, multiple_of=10)
    sigma: float = Field(default=0.0, ge=0)
    widths: Widths
    seed: int = Field(default=0, ge=0)


class LinearCurveSpec(LinearSpec):
    """Predicted risks; with `same_data` of retraining on the same data too, which needs draws."""

    stage: ClassVar[str] = f"{_STAGES}:predict_curve"

    same_data: bool = False

    def estimated_seconds(self) -> float:
        return 0.1 + 0.02 * len(self.widths) * self.same_data


class LinearTrialsSpec(LinearSpec):
    """Simulated risks over so many data sets.

    All widths see the first features of the same data sets, also those of other runs of the
    same seed.
    """

    stage: ClassVar[str] = f"{_STAGES}:simulate_widths"

    trials: int = Field(ge=2)

    def estimated_seconds(self) -> float:
        return 0.3 + 0.012 * (self.p / 1000) ** 2 * len(self.widths) * self.trials


class RandomFeaturesSpec(Spec):
    """Random-features regression at one number of features, predicted and simulated.

    d, n, p : inputs, examples, features.
    kept : features kept.
    layers : first layers; prediction and simulation see the same ones.
    data_sets : for each first layer.
    """

    stage: ClassVar[str] = f"{_STAGES}:random_features"

    d: int = Field(ge=1)
    n: int = Field(ge=3)
    p: int = Field(ge=1)
    kept: Widths
    layers: int = Field(ge=1)
    data_sets: int = Field(ge=1)
    seed: int = Field(default=0, ge=0)

    def estimated_seconds(self) -> float:
        share = self.p / 1000
        return self.layers * (
            0.05 * len(self.kept) * (0.5 + share) + 0.025 * self.data_sets * share
        )


class FeaturesCurveSpec(Spec):
    """Predicted risks of random features on a fine grid of numbers of features.

    d, n, features : inputs, examples, each number of features.
    kept : features kept after pruning; a number of features prunes to those below it.
    layers : first layers that predictions are means of.
    """

    stage: ClassVar[str] = f"{_STAGES}:features_curve"

    d: int = Field(ge=1)
    n: int = Field(ge=3)
    features: Widths
    kept: Widths
    layers: int = Field(ge=1)
    seed: int = Field(default=0, ge=0)

    def estimated_seconds(self) -> float:
        return 0.05 * self.layers * sum(0.5 + p / 1000 for p in self.features) * len(self.kept)


class CoefficientLawSpec(Spec):
    """Coefficients of data sets that grow against their predicted law.

    panel : of figure 7; the problem with every number of features in `sizes`, multiples of 10.
    ratio : samples a feature.
    draws : data sets of each size.
    """

    stage: ClassVar[str] = f"{_THEORY}:coefficient_law"

    panel: Literal["a", "b"]
    ratio: float = Field(gt=0)
    sizes: Widths
    sigma: float = Field(ge=0)
    draws: int = Field(ge=2)
    seed: int = Field(default=0, ge=0)

    def estimated_seconds(self) -> float:
        return sum(1 + 1.5 * self.draws * (p / 1600) ** 3 * max(1, self.ratio) for p in self.sizes)


class ExampleSpec(Spec):
    """Simulated errors of an example of the paper's at some sample sizes.

    p, sigma : features, noise.
    samples : each n.
    kept : numbers of features kept.
    """

    p: int = Field(ge=2)
    sigma: float = Field(ge=0)
    samples: Widths
    kept: Widths
    trials: int = Field(ge=2)
    seed: int = Field(default=0, ge=0)

    def estimated_seconds(self) -> float:
        return 2e-4 * self.trials * len(self.samples) * (1 + self.p / 20) * len(self.kept)


class RankOneSpec(ExampleSpec):
    """Lemma 1: features that are multiples of one number."""

    stage: ClassVar[str] = f"{_THEORY}:rank_one"


class DenoisingSpec(ExampleSpec):
    """Section 3.4: some of uncorrelated features fitted alone, and among all."""

    stage: ClassVar[str] = f"{_THEORY}:denoising"


class PruneRetrainSpec(Spec):
    """Prunes a trained network to the size of a narrower one, and retrains it.

    base_width : as many parameters stay as the network of this width has, at most that of
        `train`. All weights compete together; biases and parameters of normalisation always
        stay, and count.
    retrain_steps : 0 for none. Data and settings of the training are those of `train`.
    restart : weights that retraining starts from: those that pruning left, or the untrained ones.
    """

    stage: ClassVar[str] = f"{_STAGES}:prune_retrain"

    train: TrainSpec
    base_width: int = Field(ge=1)
    method: Literal["magnitude", "random"] = "magnitude"
    retrain_steps: int = Field(ge=0)
    restart: Literal["final", "initial"] = "final"

    @model_validator(mode="after")
    def _base_is_no_wider(self) -> Self:
        where = "PruneRetrainSpec"
        most = f"at most the width {self.train.width} of the dense network"
        require(self.base_width <= self.train.width, "base_width", where, most, self.base_width)
        if self.restart == "initial" and not self.retrain_steps:
            raise InputError.parameter("retrain_steps", where, "at least 1 to restart", 0)
        return self

    def estimated_seconds(self) -> float:
        pictures = self.retrain_steps * self.train.batch_size
        if self.train.dataset.name == "cifar10":
            return 30 + 0.002 * pictures * max(1.0, self.train.width / 8)
        return 0.5 + 0.0015 * self.retrain_steps
