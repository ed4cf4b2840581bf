"""Specifications of training runs, what they cost, and which can be computed together."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from prunable.errors import InputError
from prunable.numerics.stable import check_alpha
from prunable.runs.spec import Spec

# Architectures that are chains of linear layers with ReLU between them.
CHAINS = frozenset({"mean-field", "two-layer", "lenet-300-100", "mlp5", "fcn4", "fcn6"})
FEATURES = {"digits": 64, "ecg5000": 140, "mnist": 784, "fashion-mnist": 784, "cifar10": 3072}
# Products of one picture through a network of this width. Small pictures skip vgg's first pooling.
PICTURE_NETS = {"vgg": (1.5e8, 64), "resnet20": (4.1e7, 16)}
# A narrow resnet20 waits for memory: seconds a picture, forth and back.
RESNET_PICTURE_SECONDS = 1.6e-3
UNPOOLED = 3.0
HIDDEN = {"fcn4": 3, "fcn6": 5, "mlp5": 3, "lenet-300-100": 1}
# Of one core of a laptop on small matrices, and what a step costs besides.
FLOPS = 6e10
STEP_SECONDS = 3e-4


class TrainSpec(Spec):
    """One training run.

    Parameters
    ----------
    dataset : str
        Registered name.
    split : {"shuffled", "official"}, optional
        None is the data set's own default.
    split_seed : int
    net : str
        Architecture, one of `prunable.nets.models.NETS`.
    width : int
        Of the architecture, such as the number n of hidden units.
    train_output : bool
        Whether the second layer is trained; others than "mean-field" train all layers.
    eta : float
        Step size. The learning rate is eta itself, or eta * width of "mean-field", whose theory
        divides by the width.
    batch_size, steps : int
    optimizer : {"sgd", "adam"}
    momentum, weight_decay : float
    schedule : {"constant", "cosine"}
        Of the learning rate.
    noise : {"none", "type1", "type2", "type3"}
    alpha, sigma : float
        Tail index and level of the noise; None and 0 without noise.
    seed : int
        Of initial weights, batches and noise.
    average_last : int
        Number of last iterates to average, 0 for none.
    until_accuracy, until_loss : float, optional
        Stop rule: training accuracy at least the one and, where both are given, mean training
        loss below the other.
    extra_steps : int
        Steps taken after the stop rule is met.
    evaluate_every : int
        Steps between looks at the whole training set.
    augment : bool
        Crop at random after padding by 4, and mirror, each picture of a batch.
    train_size : int, optional
        Train on the first so many examples.
    """

    stage: ClassVar[str] = "prunable.experiments.train.stages:train_stage"
    batch_stage: ClassVar[str] = "prunable.experiments.train.batched_training:train_batch_stage"

    dataset: str
    split: Literal["shuffled", "official"] | None = None
    split_seed: int = Field(default=0, ge=0)
    net: str = "mean-field"
    width: int = Field(default=2000, ge=1)
    train_output: bool = True
    eta: float = Field(default=3e-4, gt=0)
    batch_size: int = Field(default=500, ge=1)
    steps: int = Field(default=600, ge=1)
    optimizer: Literal["sgd", "adam"] = "sgd"
    momentum: float = Field(default=0.0, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["constant", "cosine"] = "constant"
    noise: Literal["none", "type1", "type2", "type3"] = "none"
    alpha: float | None = None
    sigma: float = 0.0
    seed: int = Field(default=0, ge=0)
    average_last: int = Field(default=0, ge=0)
    until_accuracy: float | None = Field(default=None, gt=0, le=1)
    until_loss: float | None = Field(default=None, gt=0)
    extra_steps: int = Field(default=0, ge=0)
    evaluate_every: int = Field(default=50, ge=1)
    augment: bool = False
    train_size: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _noise_is_whole(self) -> Self:
        where = "TrainSpec"
        if not self.train_output and self.net != "mean-field":
            raise InputError.parameter("train_output", where, f"true for {self.net}", False)
        if self.sigma < 0:
            raise InputError.parameter("sigma", where, "not negative", self.sigma)
        if self.noise == "none":
            if self.alpha is not None or self.sigma != 0:
                raise InputError(
                    "`alpha` and `sigma` belong to noise, and `noise` is none. "
                    "Choose type1, type2 or type3, or leave them out."
                )
        elif self.alpha is None:
            raise InputError.parameter("alpha", where, "given with noise, in (0, 2]", None)
        else:
            check_alpha(self.alpha, where)
        return self

    def batch_key(self) -> str | None:
        """Chains of equal shape, on the same data with the same batch size."""
        return train_batch_key(self)

    def estimated_seconds(self) -> float:
        """Rough time on one core; with a stop rule, of half of the steps."""
        return training_seconds(self)


def _mean_field(spec: TrainSpec) -> TrainSpec:
    if spec.net != "mean-field":
        raise InputError.parameter("net", "TrainSpec", "mean-field for this stage", spec.net)
    return spec


MeanFieldSpec = Annotated[TrainSpec, AfterValidator(_mean_field)]


def training_seconds(spec: TrainSpec) -> float:
    """Rough time of one training run on one core.

    Parameters
    ----------
    spec : TrainSpec

    Returns
    -------
    float
        Seconds; with a stop rule, of half of the steps.
    """
    share = 1.0 if spec.until_accuracy is None and spec.until_loss is None else 0.5
    seconds = 6 * products(spec) * spec.batch_size / FLOPS
    if spec.net == "resnet20":
        seconds = max(seconds, RESNET_PICTURE_SECONDS * spec.batch_size)
    return share * spec.steps * (STEP_SECONDS + seconds)


def products(spec: TrainSpec) -> float:
    """Rough number of products in one output of the network."""
    if spec.net in PICTURE_NETS:
        whole, width = PICTURE_NETS[spec.net]
        unpooled = spec.net == "vgg" and spec.dataset != "cifar10"
        return whole * (UNPOOLED if unpooled else 1.0) * (spec.width / width) ** 2
    features = FEATURES.get(spec.dataset, 1000)
    return features * spec.width + HIDDEN.get(spec.net, 0) * spec.width**2


def train_batch_key(spec: TrainSpec) -> str | None:
    """Name what training runs must share to be computed together.

    Parameters
    ----------
    spec : TrainSpec

    Returns
    -------
    str or None
        Data, architecture and batch size; seeds, step sizes, noise, numbers of steps and stop
        rules may differ. None of a run that must be computed alone.
    """
    if spec.stage != TrainSpec.stage or spec.net not in CHAINS or spec.augment:
        return None
    shared = (
        type(spec).__name__,
        spec.dataset,
        spec.split,
        spec.split_seed,
        spec.train_size,
        spec.net,
        spec.width,
        spec.train_output,
        spec.batch_size,
    )
    return "/".join(map(str, shared))
