"""What the runs behind the tables and figures of the 2023 paper are."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from prunable.errors import InputError
from prunable.experiments.train.specs import TrainSpec
from prunable.runs.spec import Spec

_PACKAGE = "prunable.papers.guha2023"
_LAYERS = 5  # of the paper's networks

Strengths = Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]


class MarginTrainSpec(TrainSpec):
    """Trains on pixels in [-1, 1], then goes on until every training example is read right.

    Parameters
    ----------
    refine_epochs : int
        Most epochs of Adam that follow, in which examples of small margins come several times.
        They end as soon as the smallest training margin is positive.
    bfloat16 : bool
        Whether training multiplies matrices in bfloat16; weights stay float32.
    snapshots : tuple of int
        Epochs, before any refinement, after which the weights are kept too.
    """

    stage: ClassVar[str] = f"{_PACKAGE}.training:train_stage"

    refine_epochs: int = Field(default=0, ge=0)
    bfloat16: bool = False
    snapshots: tuple[Annotated[int, Field(ge=1)], ...] = ()

    @model_validator(mode="after")
    def _snapshots_are_reached(self) -> Self:
        last = self.steps / self.steps_per_epoch
        if self.snapshots and max(self.snapshots) > last:
            raise InputError.parameter(
                "snapshots",
                "MarginTrainSpec",
                f"epochs up to {last:g}, the last one",
                self.snapshots,
            )
        return self

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch, the last one smaller."""
        return -(-self.dataset.n_train // self.batch_size)

    def batch_key(self) -> str | None:
        """None: refinement differs from network to network."""
        return None

    def estimated_seconds(self) -> float:
        """Rough time on one core."""
        rate = 1.1e11 if self.bfloat16 else 7e10
        operations = (
            6
            * self.weights
            * (self.batch_size * self.steps + 1.5 * self.dataset.n_train * self.refine_epochs / 3)
        )
        return 1.0 + operations / rate + self.steps * (4e-4 + 4e-9 * self.weights)

    @property
    def weights(self) -> int:
        """Weights of the five layers, roughly."""
        inputs = self.dataset.registered.features
        return self.width * (inputs + (_LAYERS - 2) * self.width + 10)


class _OfNetworkSpec(Spec):
    """What is done to one trained network."""

    train: MarginTrainSpec
    epoch: int | None = None
    protect_diagonal: bool = True

    @model_validator(mode="after")
    def _snapshot_exists(self) -> Self:
        if self.epoch is not None and self.epoch not in self.train.snapshots:
            raise InputError.parameter(
                "epoch",
                type(self).__name__,
                f"one of the snapshots {self.train.snapshots}",
                self.epoch,
            )
        return self

    def _passes(self, count: float) -> float:
        """Seconds of so many passes over the training set."""
        return count * 2 * self.train.weights * self.train.dataset.n_train / 4e10


class MarginPruneSpec(_OfNetworkSpec):
    """Prunes a network as strongly as its smallest training margin allows; rows of the tables.

    Parameters
    ----------
    train : MarginTrainSpec
        The network; its seed draws the masks too.
    epoch : int, optional
        Snapshot to take in place of the trained network.
    protect_diagonal : bool
        Whether weights at (i, i) stay, as in the text; the released code prunes them too.
    """

    stage: ClassVar[str] = f"{_PACKAGE}.bounds_stages:prune_by_margin"

    def estimated_seconds(self) -> float:
        """Rough time on one core."""
        chosen = 1.2e-8 * self.train.width**3 if self.epoch is None else 0.0
        return 1.0 + self._passes(2) + chosen


class ComparedBoundsSpec(Spec):
    """Every bound of a pruned network, with all constants, biases folded into the layers.

    Parameters
    ----------
    pruned : MarginPruneSpec
    delta : float
        Failure probability of each bound.
    stability_examples : int
        Examples on which noise stability is measured.
    """

    stage: ClassVar[str] = f"{_PACKAGE}.bounds_stages:compare_bounds"

    pruned: MarginPruneSpec
    delta: float = Field(default=0.05, gt=0, lt=1)
    stability_examples: int = Field(default=16, ge=1)

    def estimated_seconds(self) -> float:
        """Rough time on one core."""
        return 1.0 + self.pruned._passes(3) + 1.2e-8 * self.pruned.train.width**3


class StrengthsSpec(_OfNetworkSpec):
    """Prunes a network at given strengths: the bound on the change of its outputs, and the change.

    Parameters
    ----------
    train, epoch, protect_diagonal
        See `MarginPruneSpec`; masks are those of that run.
    strengths : tuple of float
        Values of `d`.
    """

    stage: ClassVar[str] = f"{_PACKAGE}.bounds_stages:prune_at_strengths"

    strengths: Strengths

    def estimated_seconds(self) -> float:
        """Rough time on one core."""
        each = self._passes(1) + 8e-9 * self.train.width**3
        return 1.0 + self._passes(3) + len(self.strengths) * each
