"""The trained networks of studies, found by their files; their code is never the files'."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from prunable.data.store import folders
from prunable.errors import DataIntegrityError
from prunable.experiments.train.specs import TrainSpec
from prunable.extras import source_of
from prunable.nets.models import read_weights
from prunable.nets.models.registry import with_weights
from prunable.nets.models.sources import network_by_reference
from prunable.runs.data import DataSpec

Moments = tuple[tuple[float, float, float], tuple[float, float, float]]
ZOO: Moments = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
IMAGENET: Moments = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Trained:
    """A trained network: where its file lies beside the data, how it is built, what it was fed.

    `net` is MODULE:FUNCTION of the user's, or the depth of a published residual network.
    """

    folder: str
    file: str
    net: str | int
    moments: Moments

    @property
    def path(self) -> Path | None:
        """Its file, if it is there."""
        return next((p for f in folders(self.folder) if (p := f / self.file).is_file()), None)

    def digest(self) -> str:
        """Of the file's content; empty if there is none."""
        return _digest(self.path)

    def code(self) -> str:
        """Digest of the user's own file that builds it; empty if there is none, or need be none."""
        return "" if isinstance(self.net, int) else _digest(source_of(self.net))

    def load(self, digest: str, code: str | None = None) -> nn.Module:
        """The network, in float32 and evaluation mode.

        Raises DataIntegrityError unless the file has this digest, and the user's code the other if
        one is given; InputError if the user's code builds no network that the weights fit.
        """
        path = self.path
        if path is None:
            raise DataIntegrityError(f"there is no $PRUNABLE_DATA/{self.folder}/{self.file}.")
        if self.digest() != digest:
            raise DataIntegrityError(f"{path} is not the file that was planned; run it again.")
        if code is not None and self.code() != code:
            raise DataIntegrityError(
                f"the code of {self.net} has changed since runs were planned; run it again."
            )
        tensors, _ = read_weights(path)
        if isinstance(self.net, int):
            model: nn.Module = PublishedResidual(self.net)
            tensors = {name.removeprefix("module."): x for name, x in tensors.items()}
            reference = f"a residual network of {self.net} layers"
        else:
            reference = self.net
            model = network_by_reference(reference, "reproduce")
        return with_weights(model, tensors, reference).float().eval()


# By names that tables show. The zoo's are built by the user's own `nets`.
TRAINED: Mapping[str, Trained] = {
    **{
        f"{name}-1": Trained("zoo", f"{name}-1.safetensors", f"nets:{name}", ZOO)
        for name in ("resnet20", "vgg", "mobilenet", "densenet", "vit")
    },
    "published resnet20": Trained("resnets", "resnet20-12fca82f.th", 20, IMAGENET),
    "published resnet32": Trained("resnets", "resnet32-d509ac18.th", 32, IMAGENET),
}


def trained_here(data: DataSpec) -> TrainSpec:
    """A small network that takes seconds to train, where studies run without the trained ones."""
    steps, layers = 15 * -(-data.n_train // 100), {"net": "two-layer", "width": 60}
    how = {"lr": 0.01, "optimizer": "adam", "batch_size": 100, "steps": steps}
    return TrainSpec.create(dataset=data, **layers, **how)


def _digest(path: Path | None) -> str:
    if path is None:
        return ""
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


class _Block(nn.Module):
    """Two convolutions, added to the input, whose channels are padded on both sides with zeros."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.beside = stride, (outputs - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.beside:
            around = (0, 0, 0, 0, self.beside, self.beside)
            x = functional.pad(x[:, :, :: self.stride, :: self.stride], around)
        return functional.relu(y + x)


class PublishedResidual(nn.Module):
    """A residual network for CIFAR-10 with shortcuts without parameters.

    Names are those of publicly shared checkpoints. He, Zhang, Ren and Sun (2016), section 4.2,
    shortcuts of option A.
    """

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        inputs = 16
        for stage, outputs in enumerate((16, 32, 64), start=1):
            blocks = []
            for number in range((depth - 2) // 6):
                stride = 2 if stage > 1 and number == 0 else 1
                blocks.append(_Block(inputs, outputs, stride))
                inputs = outputs
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (n, 10) of pictures (n, 3, height, width)."""
        x = functional.relu(self.bn1(self.conv1(x)))
        for stage in (1, 2, 3):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.linear(torch.mean(x, (2, 3)))
