"""The certificate study: networks trained, pruned, quantised, encoded and bounded, from scratch."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from prunable.certify.architecture import CodedArchitecture, count_errors
from prunable.certify.certificate import certify_network, write_certificate
from prunable.certify.checkpoint import save_network
from prunable.certify.examples import examples_of
from prunable.certify.quantization import (
    DivergedError,
    QuantizationSettings,
    QuantizedNet,
    fine_tune,
)
from prunable.numerics.randomness import child_seed
from prunable.runs.data import DataSpec
from prunable.runs.execution import CHECKPOINT
from prunable.runs.spec import Spec
from prunable.runs.store import Run

CERTIFICATE = "certificate.json"


class CertifySpec(QuantizationSettings, Spec):
    """One certified network.

    Parameters
    ----------
    random_labels : bool
        Whether labels are drawn anew, uniformly: the control.
    net : str
        See `prunable.certify.architecture`.
    """

    stage: ClassVar[str] = "prunable.certify.study:certify_stage"

    data: DataSpec
    random_labels: bool = False
    net: str = "c5-8,m4,c3-12,m2,d"
    delta: float = Field(0.05, gt=0, lt=1)
    epochs: int = Field(20, ge=1)
    keep: float = Field(0.8, gt=0, le=1)
    rate: float = Field(1.5e-4, ge=0)
    lr: float = Field(1e-2, gt=0)

    @property
    def label_seed(self) -> int | None:
        """Seed of the random labels of a control."""
        return child_seed(self.seed, "certify", "labels") if self.random_labels else None

    def estimated_seconds(self) -> float:
        """Rough time on one core: a third of a minute an epoch on 60,000 small pictures."""
        return 20.0 * self.epochs


def certify_stage(spec: CertifySpec, run: Run) -> dict[str, Any]:
    """Certify one network; leaves certificate.json, certificate.code and model.safetensors."""
    data = spec.data.load(flatten=False)
    train, test = examples_of(data, spec.label_seed)
    architecture = CodedArchitecture.parse(spec.net, train.x.shape[1:], len(data.class_names))
    net = QuantizedNet.fresh(architecture, spec.levels, spec.seed)
    try:
        log = fine_tune(
            net,
            *train.tensors,
            spec,
            checkpoint=run.folder / CHECKPOINT,
            on_epoch=lambda epoch, _: run.on_step(epoch),
        )
    except DivergedError as error:
        return {"status": "diverged", "reason": str(error)}
    notes = {
        "dataset": spec.data.name,
        "random_labels": spec.label_seed,
        "settings": spec.to_dict(),
    }
    certificate = certify_network(net.coded(), train, test, spec.delta, notes)
    write_certificate(run.folder / CERTIFICATE, certificate)
    save_network(run.folder / "model.safetensors", certificate.network)
    latent = count_errors(lambda x: net.logits(x.float(), rounded=False).double(), *train.tensors)
    return {
        "statement": certificate.statement,
        "notes": certificate.document["notes"],
        "latent_errors": latent,
        "log": log,
    }
