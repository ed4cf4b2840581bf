"""Every bound of a user's network: its own code, its noise, its margins, its held-out errors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from prunable.certify.architecture import FloatNetwork, count_errors
from prunable.certify.bounds.base import BoundResult
from prunable.certify.bounds.checks import check_delta
from prunable.certify.bounds.held_out import held_out_bound
from prunable.certify.bounds.occam import dense_through_compression, occam_bound
from prunable.certify.certificate import Certificate, advice, certify_network
from prunable.certify.checkpoint import as_modules, integer_network, read_network
from prunable.certify.code_file import CodedNetwork
from prunable.certify.examples import Examples, examples_of
from prunable.certify.gaussian_posterior import gaussian_certificate
from prunable.certify.network_bounds import bounds_of_model
from prunable.certify.quantization import OnEpoch, QuantizationSettings, QuantizedNet, fine_tune
from prunable.data.loaders import load
from prunable.data.own import is_own, load_own
from prunable.errors import InputError, UnsupportedModelError, require
from prunable.results import Result

DENSE = "network as given"


@dataclass(frozen=True, eq=False, repr=False)
class CertifiedModel(Result):
    """Every bound of a network: those of its certificate, then the others.

    The certificate is of the pruned and quantised network; `skipped` names bounds that cannot be
    evaluated here, and why; `advice` says what would certify more.
    """

    model: str
    certificate: Certificate
    bounds: tuple[BoundResult, ...]
    skipped: tuple[tuple[str, str], ...]
    advice: str

    def to_dict(self) -> dict[str, Any]:
        """JSON document of `prunable certify --json`."""
        statement, notes = self.certificate.statement, self.certificate.document["notes"]
        guessing = 1 - 1 / notes["classes"]
        sound = [b for b in self.bounds if b.quantity == "risk" and not b.violated]
        best = min(sound, key=lambda bound: bound.value)
        return {
            "model": self.model,
            "n": statement["train"]["n"],
            "delta": statement["delta"],
            "network": notes["network"],
            "weights": notes["weights"],
            "kept": notes["kept"],
            "bits": statement["bits"],
            "guessing": guessing,
            "bounds": [
                {**bound.to_dict(), "certifies": bound in sound and bound.value < guessing}
                for bound in self.bounds
            ],
            "best": {"name": best.name, "about": best.about, "value": min(best.value, 1.0)},
            "skipped": [{"name": name, "reason": reason} for name, reason in self.skipped],
            "advice": self.advice,
        }

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        shown = ("name", "about", "quantity", "value", "certifies")
        return [{key: bound[key] for key in shown} for bound in self.to_dict()["bounds"]]

    def __repr__(self) -> str:
        found = self.to_dict()["best"]
        return f"CertifiedModel({self.model}: {found['name']}, {found['value']:.2%})"


def certify_model(
    path: Path | str,
    dataset: str,
    *,
    held_out: str = "test",
    delta: float = 0.05,
    settings: QuantizationSettings | None = None,
    draws: int = 3000,
    unpickle: bool = False,
    on_epoch: OnEpoch | None = None,
) -> CertifiedModel:
    """Evaluate every bound of a checkpoint: dense layers with ReLU, or a network of the study.

    `dataset` is a registered set, or your own as `prune` takes it (an .npz file, a folder of
    pictures), which the certificate then knows by its digest alone. `held_out` is "test" for the
    test part of the set that it was trained on, another registered
    name for that one's, or "none". The settings are of the fine-tuning that makes integers, behind
    as many epochs of pruning if `keep` is below 1; a network that holds integers already is taken
    as it is. Each bound fails with probability delta on its own; no `draws` leave the Gaussian
    posterior out.

    Raises InputError if weights, inputs or logits are not finite; UnsupportedModelError if the
    checkpoint is no chain that a code file can name; DivergedError if the fine-tuning does not stay
    finite.
    """
    check_delta(delta, "certify")
    path = Path(path)
    mine = is_own(dataset)
    train, own = examples_of(
        load_own(dataset, where="certify") if mine else load(dataset, flatten=False)
    )
    test: Examples | None = own
    if held_out != "test":
        test = None if held_out == "none" else examples_of(load(held_out, flatten=False))[1]
    channels, height, width = train.x.shape[1:]
    dense = read_network(path, (channels, height, width), unpickle=unpickle)
    alike = test is None or test.x.shape[1:] == train.x.shape[1:]
    require(alike, "held_out", "certify", f"a set of inputs like {dataset}'s", held_out)
    network, pruned = integer_network(dense), dense
    if network is None:
        chosen = settings or QuantizationSettings(epochs=5, float_epochs=0, keep=1.0, lr=1e-3)
        network, pruned = _quantized(dense, train, chosen, on_epoch)
    notes = {"dataset": dataset, "random_labels": None, "model": path.name}
    certificate = certify_network(network, train, test, delta, notes)
    bounds, skipped = list(certificate.bounds), []
    if test is not None:
        bounds += _of_dense(dense, test, delta, bounds[0], network)
    if draws:
        try:
            bounds += gaussian_certificate(pruned, train, delta, draws=draws)
        except InputError as error:
            skipped.append(("PAC-Bayes with a Gaussian posterior", str(error)))
    try:
        # the bounds of the papers and their baselines, where they know the network
        bounds += bounds_of_model(
            as_modules(dense), *train.tensors, as_modules(pruned), delta=delta, tickets=True
        )
    except (UnsupportedModelError, InputError) as error:
        skipped.append(("bounds of norms and margins", str(error)))
    stated = certificate.statement["train"]
    halfway = (stated["errors"] / stated["n"] + stated["bound"]) / 2
    more = advice(certificate, min(max(halfway, 1e-4), 1 - 1e-4))
    return CertifiedModel(str(path), certificate, tuple(bounds), tuple(skipped), more)


def _quantized(
    dense: FloatNetwork, train: Examples, settings: QuantizationSettings, on_epoch: OnEpoch | None
) -> tuple[CodedNetwork, FloatNetwork]:
    """Prune in rounds, then round to integers; the coded and the latent pruned network."""
    net = QuantizedNet(dense.architecture, settings.levels, dense.weights, dense.biases)
    rounding = settings.model_copy(update={"keep": 1.0, "float_epochs": 0})
    if settings.keep < 1:
        epochs = -(-settings.epochs // settings.prune_rounds)
        pruning = rounding.model_copy(
            update={"epochs": epochs, "float_epochs": epochs, "rate": 0.0}
        )
        for round_ in range(settings.prune_rounds):
            net.prune(settings.keep ** ((round_ + 1) / settings.prune_rounds))
            fine_tune(net, *train.tensors, pruning, on_epoch=on_epoch)
        net.fit_steps()
    fine_tune(net, *train.tensors, rounding, on_epoch=on_epoch)
    return net.coded(), net.pruned()


def _of_dense(
    dense: FloatNetwork, test: Examples, delta: float, compressed: BoundResult, coded: CodedNetwork
) -> list[BoundResult]:
    """Bounds of the network as given: by the held-out set, and through its compression."""
    x, y = test.tensors
    errors, apart = count_errors(dense.logits, x, y), 0
    with torch.no_grad():
        for batch in x.split(1000):
            apart += int((dense.logits(batch).argmax(1) != coded.logits(batch).argmax(1)).sum())
    half = occam_bound(
        round(compressed.term("k").value),
        compressed.n or 0,
        compressed.term("L").value,
        delta / 2,
        about=compressed.about,
    )
    return [
        replace(held_out_bound(errors, len(y), delta), about=DENSE),
        dense_through_compression(half, apart, len(y), delta / 2),
    ]
