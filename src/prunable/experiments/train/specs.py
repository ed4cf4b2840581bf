"""Specifications of training runs, what they cost, and which can be computed together."""

import json
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from prunable.errors import InputError, require
from prunable.nets.catalogue import NETS, Optimizer, Schedule, known_net
from prunable.runs.data import DataSpec
from prunable.runs.spec import Spec

# Of one core of a laptop on small matrices; what a step costs besides, and for each weight of dense
# layers, which it rewrites; then what the noise of a step costs, and that of each weight.
FLOPS = 6e10
STEP_SECONDS, WEIGHT_SECONDS = 5e-4, 2e-9
NOISE_SECONDS = {"none": 0.0, "type1": 6e-4, "type2": 6e-4, "type3": 6e-4}
DRAW_SECONDS = {"none": 0.0, "type1": 3e-9, "type2": 4.2e-8, "type3": 1.5e-8}
START_SECONDS = 0.1  # of reading the data, among others

Noise = Literal["none", "type1", "type2", "type3"]


class TrainSpec(Spec):
    """One training run.

    Weights, batches and noise are drawn from `seed`. With a stop rule, `steps` are the most
    that are taken; the rule is met when training accuracy reaches `until_accuracy` and, where
    both are given, the mean training loss is below `until_loss`.
    """

    stage: ClassVar[str] = "prunable.experiments.train.stages:train_stage"
    batch_stage: ClassVar[str] = "prunable.experiments.train.stages:train_batch_stage"

    dataset: DataSpec
    net: str = Field("mean-field", description=f"Architecture: {', '.join(NETS)}.")
    width: int = Field(2000, ge=1, description="Hidden units, channels.")
    train_output: bool = Field(
        True, description="Whether the second layer of mean-field is trained, too."
    )
    lr: float = Field(
        3e-4, gt=0, description="Step size; the learning rate of mean-field is lr * width."
    )
    batch_size: int = Field(500, ge=1, description="Examples a step.")
    steps: int = Field(600, ge=1, description="Most steps.")
    optimizer: Optimizer = Field("sgd", description="Rule of the steps.")
    momentum: float = Field(0.0, ge=0, lt=1, description="Of sgd.")
    weight_decay: float = Field(0.0, ge=0, description="Shrinkage of weights.")
    schedule: Schedule = Field("constant", description="Of the learning rate, over all steps.")
    noise: Noise = Field("none", description="Type of the injected noise.")
    alpha: float | None = Field(None, gt=0, le=2, description="Tail index of the noise, in (0, 2].")
    sigma: float = Field(0.0, ge=0, description="Level of the noise.")
    seed: int = Field(0, ge=0, description="Of weights, batches and noise.")
    average_last: int = Field(0, ge=0, description="Last iterates to average.")
    until_accuracy: float | None = Field(
        None, gt=0, le=1, description="Stop at this training accuracy."
    )
    until_loss: float | None = Field(None, gt=0, description="Stop below this training loss.")
    extra_steps: int = Field(0, ge=0, description="Steps taken after the stop rule is met.")
    evaluate_every: int = Field(
        50, ge=1, description="Steps between looks at the whole training set."
    )
    augment: bool = Field(
        False, description="Crop (after padding by 4) and mirror pictures at random."
    )

    @field_validator("net")
    @classmethod
    def _net_is_known(cls, net: str) -> str:
        known_net(net, cls.__name__)
        return net

    @model_validator(mode="after")
    def _noise_is_whole(self) -> Self:
        where = type(self).__name__
        if not self.train_output and self.net != "mean-field":
            raise InputError.parameter("train_output", where, f"true for {self.net}", False)
        if self.noise == "none":
            if self.alpha is not None or self.sigma != 0:
                raise InputError(
                    "`alpha` and `sigma` belong to noise, and `noise` is none. "
                    "Choose type1, type2 or type3, or leave them out."
                )
        elif self.alpha is None:
            raise InputError.parameter("alpha", where, "given with noise, in (0, 2]", None)
        return self

    @property
    def lr_multiplier(self) -> int:
        """The optimizer's learning rate over `lr`: the theory of mean-field divides by it."""
        return self.width if self.net == "mean-field" else 1

    def batch_key(self) -> str | None:
        """Chains of equal shape, on the same data with the same batch size; others are alone.

        Seeds, step sizes, noise, numbers of steps and stop rules may differ.
        """
        if self.stage != TrainSpec.stage or NETS[self.net].pictures or self.augment:
            return None
        shared = {"dataset", "net", "width", "train_output", "batch_size"}
        return json.dumps([self.kind(), self.model_dump(mode="json", include=shared)])

    def estimated_seconds(self) -> float:
        """Rough time on one core; with a stop rule, of half of the steps."""
        share = 1.0 if self.until_accuracy is None and self.until_loss is None else 0.5
        net = NETS[self.net]
        shape = self.dataset.registered.shape
        seconds = 6 * net.products(shape, self.width) / FLOPS
        seconds = max(seconds, net.least_seconds(shape)) * self.batch_size
        if not net.pictures:  # a product is a weight
            weight = WEIGHT_SECONDS + DRAW_SECONDS[self.noise]
            seconds += net.products(shape, self.width) * weight
        step = STEP_SECONDS + NOISE_SECONDS[self.noise] + seconds
        return START_SECONDS + share * self.steps * step


def _mean_field(spec: TrainSpec) -> TrainSpec:
    require(spec.net == "mean-field", "net", "TrainSpec", "mean-field for this stage", spec.net)
    return spec


MeanFieldSpec = Annotated[TrainSpec, AfterValidator(_mean_field)]
