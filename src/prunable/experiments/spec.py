"""What a run is: frozen, validated specifications whose hash is the run's identity."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from prunable.errors import InputError, SpecError
from prunable.numerics.stable import check_alpha


class Spec(BaseModel):
    """Base of all specifications: frozen, no unknown keys, every default in the hash."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

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
    until_accuracy : float, optional
        Stop at this training accuracy.
    """

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

    train: MeanFieldSpec
    kappa: float = Field(ge=0, le=1)
