"""What a federated run is: the clients' data, their training, and what they send."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from prunable.errors import InputError, require
from prunable.nets.catalogue import known_net
from prunable.nets.federated.client import LocalTraining
from prunable.nets.train.noise import HeavyTailedNoise
from prunable.runs.data import DataSpec
from prunable.runs.spec import Frozen, Spec


class FederatedMethod(Frozen):
    """What clients send, and by which SGD they train."""

    label: str  # for tables and figures
    # the difference to the server's model, or the local model itself; the server averages either,
    # and entries that were not sent count as 0
    sends: Literal["update", "model"] = "update"
    # what is kept: everything; weights of matrices by magnitude; hidden units by norm; entries of
    # all tensors by magnitude
    selection: Literal["all", "weights", "units", "topk"] = "all"
    kappa: float = Field(default=1.0, gt=0, le=1)  # kept share; 1 with "all"
    feedback: bool = False  # whether the client adds what it did not send to its next update
    precision: Literal["float32", "float16"] = "float32"  # of the values sent
    noise: Literal["none", "type1", "type2", "type3"] = "none"
    alpha: float | None = None
    sigma: float = 0.0

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        valid = self.selection != "all" or self.kappa == 1
        require(valid, "kappa", "FederatedMethod", "1 where everything is sent", self.kappa)
        if self.feedback and self.sends == "model":
            raise InputError(
                "`feedback` of `FederatedMethod` belongs to updates; send updates, or leave it out."
            )
        if self.noise == "none" and (self.alpha is not None or self.sigma != 0):
            raise InputError(
                "`alpha` and `sigma` belong to noise, and `noise` is none. "
                "Choose type1, type2 or type3, or leave them out."
            )
        self.noise_law()
        return self

    def noise_law(self) -> HeavyTailedNoise | None:
        """The noise that clients add, if any."""
        if self.noise == "none":
            return None
        if self.alpha is None:
            raise InputError.parameter(
                "alpha", "FederatedMethod", "given with noise, in (0, 2]", None
            )
        return HeavyTailedNoise(self.noise, self.alpha, self.sigma)


class FederatedSpec(Spec):
    """One federated run: so many rounds of clients that train, prune and send."""

    stage: ClassVar[str] = "prunable.experiments.federate.rounds:federated_stage"

    dataset: DataSpec
    net: str = "two-layer"
    width: int = Field(default=200, ge=1)
    clients: int = Field(default=10, ge=1)
    partition: Literal["iid", "dirichlet"] = "iid"
    concentration: float = Field(default=0.3, gt=0)  # of the Dirichlet partition
    lr: float = Field(default=0.1, gt=0)
    epochs: int = Field(default=1, ge=1)  # passes over a client's examples a round
    batch_size: int = Field(default=50, ge=1)
    # of the partition, the initial weights, the batches and the noise
    seed: int = Field(default=0, ge=0)
    # a longer run goes on from the state that a shorter one of the same settings left
    rounds: int = Field(default=20, ge=1)
    method: FederatedMethod

    @field_validator("net")
    @classmethod
    def _net_is_known(cls, net: str) -> str:
        known_net(net, cls.__name__)
        return net

    def of_one_round(self) -> FederatedSpec:
        """The shortest run of the same settings, whose name the common state bears."""
        return self.model_copy(update={"rounds": 1})

    def training(self) -> LocalTraining:
        """How every client trains."""
        return LocalTraining(self.lr, self.epochs, self.batch_size, self.method.noise_law())


def standard_methods(
    *,
    kappa: float = 0.1,
    noise: Literal["type1", "type2", "type3"] = "type1",
    alpha: float = 1.8,
    sigma: float = 3e-4,
    precision: Literal["float32", "float16"] = "float32",
) -> list[FederatedMethod]:
    """Dense FedAvg first, then what is compared with it.

    Heavy-tailed clients with weights and with units pruned, each beside its control of plain
    clients; heavy-tailed clients that send everything; top-k with error feedback. `kappa` is the
    kept share of all pruned methods, `precision` that of their values; dense FedAvg sends float32.
    """
    heavy: dict[str, Any] = {"noise": noise, "alpha": alpha, "sigma": sigma}
    weights: dict[str, Any] = {"selection": "weights", "kappa": kappa, "precision": precision}
    units: dict[str, Any] = {"selection": "units", "kappa": kappa, "precision": precision}
    topk: dict[str, Any] = {"selection": "topk", "kappa": kappa, "precision": precision}
    create = FederatedMethod.create
    return [
        create(label="dense FedAvg"),
        create(label="heavy-tailed, dense", **heavy),
        create(label="heavy-tailed, pruned weights", **weights, **heavy),
        create(label="plain, pruned weights", **weights),
        create(label="heavy-tailed, pruned units", **units, **heavy),
        create(label="plain, pruned units", **units),
        create(label="top-k with error feedback", feedback=True, **topk),
    ]
