"""Every bound of a user's network: its own code, its noise, its margins, its held-out errors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from prunable.certify.architecture import Architecture, chain_architecture, count_errors, forward
from prunable.certify.bounds.base import BoundResult, check_delta
from prunable.certify.bounds.held_out import held_out_bound
from prunable.certify.bounds.occam import dense_through_compression, occam_bound
from prunable.certify.certificate import Certificate, Examples, advice, certify_network
from prunable.certify.certification import OnEpoch, coded, examples_of
from prunable.certify.code_file import CodedNetwork, Layer
from prunable.certify.gaussian_posterior import gaussian_certificate
from prunable.certify.quantization import QuantizationSettings, QuantizedNet, fine_tune
from prunable.data.loaders import load
from prunable.errors import DataIntegrityError, InputError, UnsupportedModelError
from prunable.nets.archive import load_tensors, open_archive

DENSE = "network as given"
Tensors = list[torch.Tensor]


@dataclass(frozen=True, eq=False)
class CertifiedModel:
    """Every bound of a network.

    Attributes
    ----------
    certificate : Certificate
        Of the pruned and quantised network.
    bounds : tuple of BoundResult
        The certificate's, then the others.
    skipped : tuple of (str, str)
        Bounds that cannot be evaluated here, and why.
    advice : str
        What would certify more.
    """

    certificate: Certificate
    bounds: tuple[BoundResult, ...]
    skipped: tuple[tuple[str, str], ...]
    advice: str

    def to_dict(self, model: str) -> dict[str, Any]:
        """JSON document of `prunable certify --json`."""
        statement = self.certificate.document["statement"]
        notes = self.certificate.document["notes"]
        sound = [b for b in self.bounds if b.quantity == "risk" and not b.violated]
        best = min(sound, key=lambda bound: bound.value)
        return {
            "model": model,
            "n": statement["train"]["n"],
            "delta": statement["delta"],
            "network": notes["network"],
            "weights": notes["weights"],
            "kept": notes["kept"],
            "bits": statement["bits"],
            "guessing": 1 - 1 / notes["classes"],
            "bounds": [
                {**bound.to_dict(), "certifies": _certifies(bound, 1 - 1 / notes["classes"])}
                for bound in self.bounds
            ],
            "best": {"name": best.name, "about": best.about, "value": min(best.value, 1.0)},
            "skipped": [{"name": name, "reason": reason} for name, reason in self.skipped],
            "advice": self.advice,
        }


def _certifies(bound: BoundResult, guessing: float) -> bool:
    """Whether a bound says more of a network than guessing would do."""
    return bound.quantity == "risk" and not bound.violated and bound.value < guessing


def read_model(
    path: Path, shape: tuple[int, int, int], *, unpickle: bool = False
) -> tuple[Architecture, Tensors, Tensors]:
    """Read a checkpoint as a chain: one of the study's, or dense layers with ReLU.

    Returns
    -------
    architecture, weights, biases

    Raises
    ------
    UnsupportedModelError
        If the tensors are no such chain.
    """
    metadata: dict[str, str] = {}
    if path.suffix == ".safetensors":
        metadata = load_tensors(path)[1]
    with open_archive(path, unpickle=unpickle) as archive:
        if archive.format == "onnx":
            raise UnsupportedModelError(
                f"{path} is an ONNX file; `certify` needs a checkpoint of torch or safetensors."
            )
        tensors = {t.name: torch.from_numpy(t.load().copy()) for t in archive.tensors}
    if "net" not in metadata:
        return chain_architecture(tensors, shape)
    weights = [t for name, t in tensors.items() if name.endswith("weight")]
    biases = [t for name, t in tensors.items() if name.endswith("bias")]
    normalised = metadata.get("normalised") == "true"
    classes = len(weights[-1]) if weights else 0
    architecture = Architecture.parse(metadata["net"], shape, classes, normalised=normalised)
    if [tuple(w.shape) for w in weights] != list(architecture.shapes):
        raise DataIntegrityError(
            f"{path} says that it is {metadata['net']} on inputs of {shape}, and its tensors have "
            "other shapes."
        )
    return architecture, weights, biases


def integer_network(
    architecture: Architecture, weights: Tensors, biases: Tensors
) -> CodedNetwork | None:
    """The coded network of a normalised checkpoint that holds integers, else None."""
    if not architecture.normalised:
        return None
    layers = []
    for place, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        scaled = bias * (1 if place == len(weights) - 1 else 4)
        if not ((weight == weight.round()).all() and (scaled == scaled.round()).all()):
            return None
        layers.append(Layer(weight.numpy().astype(np.int64), scaled.numpy().astype(np.int64)))
    return CodedNetwork(architecture, tuple(layers))


def certify_model(
    path: Path,
    dataset: str,
    *,
    held_out: str = "test",
    delta: float = 0.05,
    settings: QuantizationSettings | None = None,
    draws: int = 3000,
    unpickle: bool = False,
    on_epoch: OnEpoch | None = None,
) -> CertifiedModel:
    """Evaluate every bound of a checkpoint.

    Parameters
    ----------
    path : Path
        Checkpoint: dense layers with ReLU, or a network of the pipeline.
    dataset : str
        Registered name of the set it was trained on.
    held_out : str
        "test" for that set's test part, another registered name for that one's, or "none".
    delta : float
        Probability that a bound fails, each on its own.
    settings : QuantizationSettings, optional
        Of the fine-tuning that makes integers, behind as many epochs of pruning if `keep` is
        below 1; a network that holds integers already is taken as it is.
    draws : int
        Networks drawn for the Gaussian posterior; 0 leaves it out.
    unpickle : bool
        Whether a pickled model may run its code.
    on_epoch : callable, optional
        Told the epochs done and their mean loss.

    Returns
    -------
    CertifiedModel

    Raises
    ------
    InputError
        If `delta` is outside (0, 1), or weights, inputs or logits are not finite.
    UnsupportedModelError
        If the checkpoint is no chain that a code file can name.
    """
    check_delta(delta, "certify")
    train, own = examples_of(load(dataset, flatten=False))
    test: Examples | None = own
    if held_out != "test":
        test = None if held_out == "none" else examples_of(load(held_out, flatten=False))[1]
    channels, height, width = train.x.shape[1:]
    architecture, weights, biases = read_model(path, (channels, height, width), unpickle=unpickle)
    if test is not None and test.x.shape[1:] != train.x.shape[1:]:
        raise InputError.parameter(
            "held_out", "certify", f"a set of inputs like {dataset}'s", held_out
        )
    network = integer_network(architecture, weights, biases)
    pruned, pruned_biases = weights, biases
    if network is None:
        chosen = settings or QuantizationSettings(epochs=5, float_epochs=0, keep=1.0, lr=1e-3)
        net = QuantizedNet.of(architecture, chosen.levels, weights, biases)
        for round_ in range(chosen.prune_rounds if chosen.keep < 1 else 0):
            net.prune(chosen.keep ** ((round_ + 1) / chosen.prune_rounds))
            epochs = -(-chosen.epochs // chosen.prune_rounds)
            pruning = replace(chosen, epochs=epochs, float_epochs=epochs, keep=1.0, rate=0.0)
            fine_tune(net, *train.tensors, pruning, on_epoch=on_epoch)
        if chosen.keep < 1:
            net.fit_steps()
        rounding = replace(chosen, keep=1.0, float_epochs=0)
        fine_tune(net, *train.tensors, rounding, on_epoch=on_epoch)
        network = coded(net)
        pruned = [
            w.detach() * m * (q != 0)
            for w, m, q in zip(
                net.weights,
                net.masks,
                (torch.from_numpy(c.weights) for c in network.layers),
                strict=True,
            )
        ]
        pruned_biases = [b.detach() for b in net.biases]
    notes = {"dataset": dataset, "random_labels": None, "model": path.name}
    certificate = certify_network(network, train, test, delta, notes)
    bounds, skipped = list(certificate.bounds), []
    bounds += _of_dense(architecture, weights, biases, test, delta, bounds[0], network)
    if draws:
        try:
            bounds += gaussian_certificate(
                architecture, pruned, pruned_biases, train, delta, draws=draws
            )
        except InputError as error:
            skipped.append(("PAC-Bayes with a Gaussian posterior", str(error)))
    try:
        bounds += _of_margins(architecture, weights, biases, pruned, pruned_biases, train, delta)
    except (UnsupportedModelError, InputError, ImportError) as error:
        skipped.append(("bounds of norms and margins", str(error)))
    stated = certificate.document["statement"]["train"]
    halfway = (stated["errors"] / stated["n"] + stated["bound"]) / 2
    return CertifiedModel(
        certificate,
        tuple(bounds),
        tuple(skipped),
        advice(certificate, min(max(halfway, 1e-4), 1 - 1e-4)),
    )


def _of_dense(
    architecture: Architecture,
    weights: Tensors,
    biases: Tensors,
    test: Examples | None,
    delta: float,
    compressed: BoundResult,
    network: CodedNetwork,
) -> list[BoundResult]:
    """Bounds of the network as given: by the held-out set, and through its compression."""
    if test is None:
        return []
    exact = [w.double() for w in weights], [b.double() for b in biases]

    def dense(x: torch.Tensor) -> torch.Tensor:
        return forward(architecture, x.double(), *exact)

    x, y = test.tensors
    errors = count_errors(dense, x, y)
    apart = 0
    with torch.no_grad():
        for batch in x.split(1000):
            apart += int((dense(batch).argmax(1) != network.logits(batch).argmax(1)).sum())
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


def _of_margins(
    architecture: Architecture,
    weights: Tensors,
    biases: Tensors,
    pruned: Tensors,
    pruned_biases: Tensors,
    train: Examples,
    delta: float,
) -> list[BoundResult]:
    """Bounds of the papers and their baselines, where they know the network."""
    if architecture.normalised:
        raise UnsupportedModelError(
            "They are about chains of linear layers and ReLU; this network normalises its layers."
        )
    bounds_of_model = import_module("prunable.certify.network_bounds").bounds_of_model
    found: tuple[BoundResult, ...] = bounds_of_model(
        _sequential(architecture, weights, biases),
        *train.tensors,
        _sequential(architecture, pruned, pruned_biases),
        delta=delta,
    )
    return list(found)


def _sequential(architecture: Architecture, weights: Tensors, biases: Tensors) -> nn.Sequential:
    """The same network as `torch.nn` modules; a bias of zeros is left out."""
    modules: list[nn.Module] = []
    layer = 0
    for (channels, _, _), op in architecture.inputs():
        if op.kind == "pool":
            modules.append(nn.MaxPool2d(op.size))
            continue
        weight, bias = weights[layer].float(), biases[layer].float()
        has_bias = bool(bias.any())
        module: nn.Linear | nn.Conv2d
        if op.kind == "conv":
            module = nn.Conv2d(channels, op.units, op.size, op.stride, op.size // 2, bias=has_bias)
        else:
            weight = weight.flatten(1)
            modules.append(nn.Flatten())
            module = nn.Linear(weight.shape[1], op.units, bias=has_bias)
        with torch.no_grad():
            module.weight.copy_(weight)
            if module.bias is not None:
                module.bias.copy_(bias)
        layer += 1
        modules += [module] if layer == len(weights) else [module, nn.ReLU()]
    return nn.Sequential(*modules).requires_grad_(False)
