"""What the runs behind the figures of the 2020 paper are."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from prunable.errors import InputError
from prunable.experiments.train.specs import TrainSpec
from prunable.runs.spec import Spec

Widths = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]
LinearPanel = Literal["a", "b"]

_STAGES = "prunable.papers.chang2020"


class LinearCurveSpec(Spec):
    """Predicted risks of a panel of figure 7, which holds those of figure 3.

    Parameters
    ----------
    panel : {"a", "b"}
        Spiked weights, or a spiked covariance; see `prunable.predict.linear.presets`.
    p : int
        Features, a multiple of 10.
    sigma : float
    widths : tuple of int
        Each number k of features used.
    same_data : bool
        Whether to predict retraining on the same data too, which needs draws.
    seed : int
        Of those draws.
    """

    stage: ClassVar[str] = f"{_STAGES}.linear_stages:predict_curve"

    panel: LinearPanel
    p: int = Field(ge=10, multiple_of=10)
    sigma: float = Field(default=0.0, ge=0)
    widths: Widths
    same_data: bool = False
    seed: int = Field(default=0, ge=0)

    def estimated_seconds(self) -> float:
        """Rough time on one core."""
        return 0.1 + 0.02 * len(self.widths) * self.same_data


class LinearTrialsSpec(Spec):
    """Simulated risks of a panel of figure 7 at some widths.

    Parameters
    ----------
    panel, p, sigma, widths
        As in `LinearCurveSpec`. All widths see the first features of the same data sets, also
        those of other runs of the same seed.
    trials : int
        Data sets.
    seed : int
    """

    stage: ClassVar[str] = f"{_STAGES}.linear_stages:simulate_widths"

    panel: LinearPanel
    p: int = Field(ge=10, multiple_of=10)
    sigma: float = Field(default=0.0, ge=0)
    widths: Widths
    trials: int = Field(ge=2)
    seed: int = Field(default=0, ge=0)

    def estimated_seconds(self) -> float:
        """Rough time on one core."""
        return 0.3 + 0.012 * (self.p / 1000) ** 2 * len(self.widths) * self.trials


class RandomFeaturesSpec(Spec):
    """Random-features regression at one number of features, predicted and simulated.

    Parameters
    ----------
    d, n, p : int
        Inputs, examples, features.
    kept : tuple of int
        Features kept.
    layers : int
        First layers; prediction and simulation see the same ones.
    data_sets : int
        For each first layer.
    seed : int
    """

    stage: ClassVar[str] = f"{_STAGES}.features_stages:predict_and_simulate"

    d: int = Field(ge=1)
    n: int = Field(ge=3)
    p: int = Field(ge=1)
    kept: Widths
    layers: int = Field(ge=1)
    data_sets: int = Field(ge=1)
    seed: int = Field(default=0, ge=0)

    def estimated_seconds(self) -> float:
        """Rough time on one core."""
        share = self.p / 1000
        return self.layers * (
            0.05 * len(self.kept) * (0.5 + share) + 0.025 * self.data_sets * share
        )


class PruneRetrainSpec(Spec):
    """Prunes a trained network to the size of a narrower one, and retrains it.

    Parameters
    ----------
    train : TrainSpec
        The dense network.
    base_width : int
        As many parameters stay as the network of this width has, at most that of `train`. All
        weights compete together; biases and parameters of normalisation always stay, and count.
    method : {"magnitude", "random"}
    retrain_steps : int
        0 for none. Data and settings of the training are those of `train`.
    restart : {"final", "initial"}
        Weights that retraining starts from: those that pruning left, or the untrained ones.
    """

    stage: ClassVar[str] = f"{_STAGES}.network_stages:prune_retrain"

    train: TrainSpec
    base_width: int = Field(ge=1)
    method: Literal["magnitude", "random"] = "magnitude"
    retrain_steps: int = Field(ge=0)
    restart: Literal["final", "initial"] = "final"

    @model_validator(mode="after")
    def _base_is_no_wider(self) -> Self:
        if self.base_width > self.train.width:
            raise InputError.parameter(
                "base_width",
                "PruneRetrainSpec",
                f"at most the width {self.train.width} of the dense network",
                self.base_width,
            )
        if self.restart == "initial" and not self.retrain_steps:
            raise InputError.parameter(
                "retrain_steps", "PruneRetrainSpec", "at least 1 to restart", self.retrain_steps
            )
        return self

    def estimated_seconds(self) -> float:
        """Rough time on one core."""
        pictures = self.retrain_steps * self.train.batch_size
        if self.train.dataset.name == "cifar10":
            return 30 + 0.002 * pictures * max(1.0, self.train.width / 8)
        return 0.5 + 0.0015 * self.retrain_steps
