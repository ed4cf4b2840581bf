"""What a run is: frozen, validated specifications whose hash is the run's identity."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from prunable.errors import InputError, SpecError
from prunable.experiments.batch_keys import train_batch_key
from prunable.experiments.costs import training_seconds
from prunable.numerics.stable import check_alpha


class Spec(BaseModel):
    """Base of all specifications: frozen, no unknown keys, every default in the hash."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # "package.module:function" that computes such a run
    stage: ClassVar[str] = ""
    # The same for several runs of one `batch_key` at once.
    batch_stage: ClassVar[str] = ""  # used whenever there is a key: also for one
    # Whether the stage wants to see inputs that diverged.
    tolerates_failed_inputs: ClassVar[bool] = False

    schema_version: Literal[1] = 1

    @classmethod
    def create(cls, **fields: Any) -> Self:
        """Validate and build a specification.

        Raises
        ------
        SpecError
            Naming the first field that is wrong, what it must be, and what was found.
        """
        try:
            return cls(**fields)
        except ValidationError as error:
            first = error.errors()[0]
            cause = first.get("ctx", {}).get("error")
            if isinstance(cause, InputError):
                raise SpecError(str(cause)) from error
            name = ".".join(map(str, first["loc"])) or cls.__name__
            raise SpecError(
                f"`{name}` of `{cls.__name__}` is wrong: {first['msg']}; got {first['input']!r}."
            ) from error

    @property
    def run_id(self) -> str:
        """Kind of run and hash of the whole specification, such as `train-5f0c...`."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        return f"{self.kind()}-{digest}"

    @classmethod
    def kind(cls) -> str:
        """First part of the run id: the class's name without `Spec`, in lower case."""
        return cls.__name__.removesuffix("Spec").lower()

    def inputs(self) -> tuple[Spec, ...]:
        """Runs whose results this one builds on: the specifications among its fields."""
        found: dict[str, Spec] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, Spec):
                    found.setdefault(part.run_id, part)
        return tuple(found.values())

    def datasets(self) -> tuple[str, ...]:
        """Registered data sets that the run itself reads."""
        name = getattr(self, "dataset", None)
        return () if name is None else (name,)

    def estimated_seconds(self) -> float:
        """Rough time of the run on one core of a laptop, without that of its inputs."""
        return 1.0

    def batch_key(self) -> str | None:
        """Runs of equal keys can be computed together; None for one by one."""
        return None


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

    stage: ClassVar[str] = "prunable.experiments.stages:train_stage"
    batch_stage: ClassVar[str] = "prunable.experiments.batched_training:train_batch_stage"

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


class EvaluateSpec(Spec):
    """Measures and prunes one trained network.

    Parameters
    ----------
    train : TrainSpec
        The network.
    tolerance : float
        Bound of both pruning criteria: relative Frobenius error <= tolerance, and
        squared relative error <= tolerance.
    eps : tuple of float
        Grid of the curve kappa(eps).
    keep : tuple of float
        Grid of shares kept for the accuracy curve.
    norm_decades : (float, float)
        log10 range of the histogram of unit norms; outliers fall in the end bins.
    norm_bins : int
    """

    stage: ClassVar[str] = "prunable.experiments.stages:evaluate_stage"

    train: MeanFieldSpec
    tolerance: float = Field(default=0.1, gt=0, lt=1)
    eps: tuple[float, ...]
    keep: tuple[float, ...]
    norm_decades: tuple[float, float] = (-1.0, 3.0)
    norm_bins: int = Field(default=80, ge=1)


class PruneSpec(Spec):
    """Prunes one trained network to a share of its units.

    Parameters
    ----------
    train : TrainSpec
        The network.
    kappa : float
        Share of hidden units kept.
    """

    stage: ClassVar[str] = "prunable.experiments.stages:prune_stage"

    train: MeanFieldSpec
    kappa: float = Field(ge=0, le=1)
