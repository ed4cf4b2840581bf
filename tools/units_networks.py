"""The trained networks of `units_study.py`, their pictures, and what is measured of both sides."""

from __future__ import annotations

import copy
import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from prunable.data import loaders
from prunable.data.store import DATA_VARIABLE
from prunable.errors import InputError
from prunable.nets.archive import load_tensors
from prunable.nets.prune.recalibration import recalibrate

OURS = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
PUBLISHED = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
LEVELS = (0.9, 0.8, 0.7, 0.6)  # shares of the multiply-adds that are left
UNLABELLED = 128  # training pictures for planning
RECALIBRATING = 256  # training pictures for BatchNorm, the same for both sides


@dataclass(frozen=True)
class Network:
    """A trained network and the pictures as it was trained on them."""

    name: str
    model: nn.Module
    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor

    @property
    def example(self) -> Tensor:
        """Two pictures, to follow a run."""
        return self.test[:2]

    @property
    def unlabelled(self) -> Tensor:
        """Training pictures to plan by."""
        return self.train[:UNLABELLED]

    def recalibrated(self, model: nn.Module) -> nn.Module:
        """The model with BatchNorm statistics of the training pictures that all sides get."""
        if any(isinstance(m, nn.BatchNorm2d) for m in model.modules()):
            recalibrate(model, self.train[:RECALIBRATING], batch_size=128)
        return model.eval()

    def accuracy(self, model: nn.Module, n_images: int) -> float:
        """Share of the first test pictures that are classified correctly."""
        right = 0
        with torch.inference_mode():
            for start in range(0, n_images, 128):
                part = slice(start, min(start + 128, n_images))
                guesses = model.eval()(self.test[part]).argmax(1)
                right += int((guesses == self.test_labels[part]).sum())
        return right / n_images


def networks_of(folder: Path) -> dict[str, Callable[[], tuple[nn.Module, bool]]]:
    """The networks of a folder of trained ones: how to load each, and whether it is published.

    The folder holds `nets.py`, which is run, and `zoo` has NAME-1.safetensors for its builder NAME,
    `resnets` has resnetDEPTH-DIGEST.th for `load(DEPTH, path)`.
    """
    found: dict[str, Callable[[], tuple[nn.Module, bool]]] = {}
    for place in sorted({path.parent for path in folder.rglob("nets.py")}):
        nets = _module(place / "nets.py")
        for path in sorted(place.glob("*.safetensors")):
            builder = getattr(nets, path.stem.removesuffix("-1"))
            found[path.stem] = partial(_of_zoo, builder, path)
        for path in sorted(place.glob("resnet*.th")):
            depth = int(path.stem.partition("-")[0].removeprefix("resnet"))
            found[f"published-resnet{depth}"] = partial(_published, nets.load, depth, path)
    return found


def with_pictures(folder: Path, data: Path) -> Iterator[tuple[str, Callable[[], Network]]]:
    """Each network with how to load it and its pictures of CIFAR-10, in a fixed order."""
    os.environ[DATA_VARIABLE] = str(data)
    read = loaders.load("cifar10", flatten=False, download=False)
    order = np.random.default_rng(0).permutation(len(read.x_train))
    x, y = torch.from_numpy(read.x_train[order]), torch.from_numpy(read.y_train[order])
    x_test, y_test = torch.tensor(read.x_test), torch.tensor(read.y_test)
    scale = 255.0 if float(x.max()) > 1 else 1.0
    networks = networks_of(folder)
    if not networks:
        raise InputError(f"{folder} holds no trained networks beside a nets.py.")
    for name, load in networks.items():

        def loaded(name: str = name, load: Callable[[], tuple[nn.Module, bool]] = load) -> Network:
            model, published = load()
            mean, deviation = (
                torch.tensor(v).view(3, 1, 1) for v in (PUBLISHED if published else OURS)
            )
            seen, unseen = ((part / scale - mean) / deviation for part in (x, x_test))
            return Network(name, model.eval(), seen, y, unseen, y_test)

        yield name, loaded


def cut_copy(model: nn.Module) -> nn.Module:
    """A copy without gradients left over."""
    found = copy.deepcopy(model)
    found.zero_grad(set_to_none=True)
    return found


def _filled(model: nn.Module, path: Path) -> nn.Module:
    tensors, _ = load_tensors(path)
    model.load_state_dict(tensors)
    return model.float()


def _module(path: Path):  # type: ignore[no-untyped-def]
    spec = importlib.util.spec_from_file_location(f"nets_of_{path.parent.name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _of_zoo(build: Callable[[], nn.Module], path: Path) -> tuple[nn.Module, bool]:
    return _filled(build(), path), False


def _published(
    load: Callable[[int, str], nn.Module], depth: int, path: Path
) -> tuple[nn.Module, bool]:
    return load(depth, str(path)), True
