"""The pipeline of a certificate: train, prune, quantise, encode, bound; seeded and resumable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field

from prunable.certify.architecture import Architecture, count_errors
from prunable.certify.certificate import Examples, certify_network, write_certificate
from prunable.certify.code_file import CodedNetwork, coded_from_levels
from prunable.certify.quantization import QuantizationSettings, QuantizedNet, fine_tune
from prunable.data.loaders import Dataset, load
from prunable.data.store import fetch
from prunable.errors import DataIntegrityError
from prunable.nets.archive import save_tensors
from prunable.numerics.randomness import child_seed
from prunable.runs.spec import Spec
from prunable.runs.store import read_result, write_result

CERTIFICATE = "certificate.json"
_CHECKPOINT = "checkpoint.pt"
OnEpoch = Callable[[int, float], None]


class CertifySpec(Spec):
    """One certified network.

    Parameters
    ----------
    dataset : str
        Registered name.
    random_labels : bool
        Whether training labels are drawn anew, uniformly: the control.
    net : str
        Architecture, see `prunable.certify.architecture`.
    delta : float
    epochs, float_epochs, prune_rounds, levels, batch_size, seed : int
    keep, rate, lr, smoothing : float
        As `prunable.certify.quantization.QuantizationSettings`.
    """

    dataset: str
    random_labels: bool = False
    net: str = "c5-8,m4,c3-12,m2,d"
    delta: float = Field(0.05, gt=0, lt=1)
    epochs: int = Field(20, ge=1)
    float_epochs: int = Field(4, ge=0)
    prune_rounds: int = Field(2, ge=1)
    levels: int = Field(2, ge=1)
    batch_size: int = Field(128, ge=1)
    keep: float = Field(0.8, gt=0, le=1)
    rate: float = Field(1.5e-4, ge=0)
    lr: float = Field(1e-2, gt=0)
    smoothing: float = Field(0.0, ge=0, lt=1)
    seed: int = Field(0, ge=0)

    def settings(self) -> QuantizationSettings:
        """The part about training."""
        names = QuantizationSettings.__dataclass_fields__
        return QuantizationSettings(**{name: getattr(self, name) for name in names})


def pictures(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Inputs as (n, channels, height, width); vectors and series become rows of one picture."""
    return x if x.ndim == 4 else x.reshape(len(x), 1, 1, -1)


def examples_of(data: Dataset, label_seed: int | None = None) -> tuple[Examples, Examples]:
    """Training and test examples, perhaps with training labels drawn anew.

    Parameters
    ----------
    data : Dataset
        Loaded with ``flatten=False``.
    label_seed : int, optional
        Seed of `numpy.random.default_rng`; None keeps the true labels. Test labels are drawn
        after the training labels.
    """
    parts = [(data.x_train, data.y_train), (data.x_test, data.y_test)]
    if label_seed is not None:
        generator, classes = np.random.default_rng(label_seed), len(data.class_names)
        parts = [(x, generator.integers(classes, size=len(y))) for x, y in parts]
    (x, y), (x_test, y_test) = parts
    return (
        Examples(pictures(x).astype(np.float32), y),
        Examples(pictures(x_test).astype(np.float32), y_test),
    )


def label_seed(spec: CertifySpec) -> int | None:
    """Seed of the random labels of a control, else None."""
    return child_seed(spec.seed, "certify", "labels") if spec.random_labels else None


def certify_into(
    folder: Path, spec: CertifySpec, *, on_epoch: OnEpoch | None = None
) -> dict[str, Any]:
    """Make one certificate in a folder; resumes an interrupted run, repeats no finished one.

    Parameters
    ----------
    folder : Path
        Receives certificate.json, certificate.code, model.safetensors and, last, result.json.
    spec : CertifySpec
    on_epoch : callable, optional
        Told the epochs done and their mean loss.

    Returns
    -------
    dict
        Result: status, what the certificate states, and the training log.

    Raises
    ------
    SpecError
        If the folder holds another run.
    DataIntegrityError
        If the data set is missing or damaged.
    """
    if (stored := read_result(folder, spec)) is not None:
        return stored
    data = load(spec.dataset, flatten=False)
    train, test = examples_of(data, label_seed(spec))
    shape = train.x.shape[1:]
    architecture = Architecture.parse(spec.net, shape, len(data.class_names))
    net = QuantizedNet.fresh(architecture, spec.levels, spec.seed)
    folder.mkdir(parents=True, exist_ok=True)
    log = fine_tune(
        net, *train.tensors, spec.settings(), checkpoint=folder / _CHECKPOINT, on_epoch=on_epoch
    )
    certificate = certify_network(coded(net), train, test, spec.delta, _notes(spec))
    write_certificate(folder / CERTIFICATE, certificate)
    save_network(folder / "model.safetensors", certificate.network)
    statement = certificate.document["statement"]
    result = write_result(
        folder,
        spec,
        {
            "status": "done",
            "reason": "",
            "statement": statement,
            "notes": certificate.document["notes"],
            "latent_errors": _latent_errors(net, train),
            "log": log,
        },
    )
    (folder / _CHECKPOINT).unlink(missing_ok=True)
    return result


def coded(net: QuantizedNet) -> CodedNetwork:
    """The integers of a trained network."""
    with torch.no_grad():
        layers = range(len(net.weights))
        return coded_from_levels(
            net.architecture,
            [net.integers(i).numpy().astype(np.int64) for i in layers],
            [net.bias_integers(i).numpy().astype(np.int64) for i in layers],
            [float(step.abs()) + 1e-8 for step in net.steps],
            [float(net.bias_step(i)) for i in layers],
        )


def save_network(path: Path, network: CodedNetwork) -> None:
    """Write the decoded weights as float64 safetensors; the name of the chain goes along."""
    tensors = {}
    for place, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        tensors[f"layers.{place}.weight"] = torch.from_numpy(weight)
        tensors[f"layers.{place}.bias"] = torch.from_numpy(bias)
    normalised = "true" if network.architecture.normalised else "false"
    save_tensors(path, tensors, {"net": network.architecture.text, "normalised": normalised})


def _latent_errors(net: QuantizedNet, train: Examples) -> int:
    """Training errors before quantisation, for comparison."""
    return count_errors(lambda x: net.logits(x.float(), rounded=False).double(), *train.tensors)


def _notes(spec: CertifySpec) -> dict[str, Any]:
    return {
        "dataset": spec.dataset,
        "random_labels": label_seed(spec),
        "settings": spec.model_dump(mode="json"),
    }


def verifiable_data(document: dict[str, Any], scratch: Path) -> Path:
    """What the verifier reads: the folder of raw files, or a file written for it.

    Parameters
    ----------
    document : dict
        A certificate.
    scratch : Path
        Folder to write in, where the set has no raw files or its labels are random.

    Returns
    -------
    Path
        Folder of IDX files, or an .npz.

    Raises
    ------
    DataIntegrityError
        If the certificate does not name its data, or the set is not on this machine.
    """
    try:
        name, seed = document["notes"]["dataset"], document["notes"]["random_labels"]
    except (KeyError, TypeError) as error:
        raise DataIntegrityError(f"the certificate does not name its data ({error!r}).") from error
    located = fetch(name)
    if seed is None and located.form.format == "idx":
        return located.folder
    train, test = examples_of(load(name, flatten=False), seed)
    path = scratch / "data.npz"
    np.savez(path, x_train=train.x, y_train=train.y, x_test=test.x, y_test=test.y)
    return path
