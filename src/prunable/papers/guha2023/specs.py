"""What the runs behind the tables and figures of the 2023 paper are."""

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from prunable.errors import InputError
from prunable.experiments.train.specs import TrainSpec
from prunable.runs.spec import Spec

_STAGES = "prunable.papers.guha2023.stages"
_LAYERS = 5  # of the paper's networks

Strengths = Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]


class MarginTrainSpec(TrainSpec):
    """Trains on pixels in [-1, 1], then goes on until every training example is read right.

    refine_epochs : most epochs of Adam that follow, in which examples of small margins come
        several times. They end as soon as the smallest training margin is positive.
    refine_lr : learning rate of the first of them; a fifth of `lr` if None.
    bfloat16 : whether training multiplies matrices in bfloat16; weights stay float32.
    snapshots : epochs, before any refinement, after which the weights are kept too.
    """

    stage: ClassVar[str] = f"{_STAGES}:train_stage"

    refine_epochs: int = Field(default=0, ge=0)
    refine_lr: float | None = Field(default=None, gt=0)
    bfloat16: bool = False
    snapshots: tuple[Annotated[int, Field(ge=1)], ...] = ()

    @model_validator(mode="after")
    def _snapshots_are_reached(self) -> Self:
        last = self.steps / self.steps_per_epoch
        if self.snapshots and max(self.snapshots) > last:
            most = f"epochs up to {last:g}, the last one"
            raise InputError.parameter("snapshots", "MarginTrainSpec", most, self.snapshots)
        return self

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch, the last one smaller."""
        return -(-self.dataset.n_train // self.batch_size)

    def batch_key(self) -> str | None:
        return None  # refinement differs from network to network

    def estimated_seconds(self) -> float:
        rate = 1.1e11 if self.bfloat16 else 7e10
        refined = 1.5 * self.dataset.n_train * self.refine_epochs / 3
        operations = 6 * self.weights * (self.batch_size * self.steps + refined)
        return 1.0 + operations / rate + self.steps * (4e-4 + 4e-9 * self.weights)

    @property
    def weights(self) -> int:
        """Weights of the five layers, roughly."""
        inputs = self.dataset.registered.features
        return self.width * (inputs + (_LAYERS - 2) * self.width + 10)


class OfNetworkSpec(Spec):
    """What is done to one trained network, whose seed draws the masks too.

    epoch : snapshot to take in place of the trained network.
    protect_diagonal : whether weights at (i, i) stay, as in the text; the released code prunes
        them too.
    """

    train: MarginTrainSpec
    epoch: int | None = None
    protect_diagonal: bool = True

    @model_validator(mode="after")
    def _snapshot_exists(self) -> Self:
        if self.epoch is not None and self.epoch not in self.train.snapshots:
            known = f"one of the snapshots {self.train.snapshots}"
            raise InputError.parameter("epoch", type(self).__name__, known, self.epoch)
        return self

    def passes(self, count: float) -> float:
        """Seconds of so many passes over the training set."""
        return count * 2 * self.train.weights * self.train.dataset.n_train / 4e10


class MarginPruneSpec(OfNetworkSpec):
    """Prunes a network as strongly as its smallest training margin allows; rows of the tables."""

    stage: ClassVar[str] = f"{_STAGES}:prune_by_margin"

    def estimated_seconds(self) -> float:
        chosen = 1.2e-8 * self.train.width**3 if self.epoch is None else 0.0
        return 1.0 + self.passes(2) + chosen


class ComparedBoundsSpec(Spec):
    """Every bound of a pruned network, with all constants, biases folded into the layers.

    Each fails with probability `delta`; noise stability is measured on `stability_examples`.
    """

    stage: ClassVar[str] = f"{_STAGES}:compare_bounds"

    pruned: MarginPruneSpec
    delta: float = Field(default=0.05, gt=0, lt=1)
    stability_examples: int = Field(default=16, ge=1)

    def estimated_seconds(self) -> float:
        return 1.0 + self.pruned.passes(3) + 1.2e-8 * self.pruned.train.width**3


class StrengthsSpec(OfNetworkSpec):
    """Prunes a network at given `d`: the bound on the change of its outputs, and the change."""

    stage: ClassVar[str] = f"{_STAGES}:prune_at_strengths"

    strengths: Strengths

    def estimated_seconds(self) -> float:
        each = self.passes(1) + 8e-9 * self.train.width**3
        return 1.0 + self.passes(3) + len(self.strengths) * each
