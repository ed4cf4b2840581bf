"""Which examples a run sees, and in what form."""

import functools
from dataclasses import replace
from typing import Any, Self

from pydantic import Field, model_validator

from prunable.data.loaders import Dataset, load
from prunable.data.registry import DataSet, SplitName, registered
from prunable.data.transforms import Classes, Inputs, first_or_not, flattened, signed, standardized
from prunable.errors import InputError
from prunable.runs.spec import Frozen


class DataSpec(Frozen):
    """A registered data set as a run sees it; a bare name stands for it with all defaults."""

    name: str = Field(description="Data set; see `prunable data list`.")
    split: SplitName | None = Field(None, description="Default: the data set's own.")
    split_seed: int = Field(0, ge=0, description="Of the shuffled split.")
    classes: Classes = Field("all", description="All, or the first against the others.")
    train_size: int | None = Field(None, ge=1, description="Train on the first so many examples.")
    inputs: Inputs = Field(
        "as-is",
        description="As shipped; standardized by channel over the training set; or stretched "
        "from [0, 1] to [-1, 1].",
    )

    @model_validator(mode="before")
    @classmethod
    def _of_name(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _is_there(self) -> Self:
        if self.split is not None and self.split not in self.registered.splits:
            choices = ", ".join(self.registered.splits)
            raise InputError.parameter(
                "split", "DataSpec", f"{choices} for {self.name}", self.split
            )
        count = self.registered.n_train
        if self.train_size is not None and self.train_size > count:
            raise InputError.parameter(
                "train_size", "DataSpec", f"at most {count} for {self.name}", self.train_size
            )
        return self

    @property
    def registered(self) -> DataSet:
        """What is known about the set before it is read."""
        return registered(self.name)

    @property
    def n_train(self) -> int:
        """Training examples."""
        return self.train_size or self.registered.n_train

    def datasets(self) -> tuple[str, ...]:
        """The one."""
        return (self.name,)

    def load(self, *, flatten: bool = True) -> Dataset:
        """Read the data; arrays may be shared and are read-only."""
        return _load(self, flatten)


@functools.lru_cache(maxsize=2)
def _load(spec: DataSpec, flatten: bool) -> Dataset:
    by_channel = spec.inputs == "standardized"
    data = load(
        spec.name, split=spec.split, split_seed=spec.split_seed, flatten=flatten and not by_channel
    )
    if by_channel:
        data = standardized(data)
        data = flattened(data) if flatten else data
    if spec.classes == "first-or-not":
        data = first_or_not(data)
    cut = slice(spec.train_size)
    data = replace(data, x_train=data.x_train[cut], y_train=data.y_train[cut])
    return signed(data) if spec.inputs == "signed" else data
