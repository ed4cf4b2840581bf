"""Rough times of runs, for those who ask before they start."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prunable.experiments.spec import TrainSpec

FEATURES = {"digits": 64, "ecg5000": 140, "mnist": 784, "fashion-mnist": 784, "cifar10": 3072}
# Products of one picture through a network of this width. Small pictures skip vgg's first pooling.
PICTURE_NETS = {"vgg": (1.5e8, 64), "resnet20": (4.1e7, 16)}
# A narrow resnet20 waits for memory: seconds a picture, forth and back.
RESNET_PICTURE_SECONDS = 1.6e-3
UNPOOLED = 3.0
HIDDEN = {"fcn4": 3, "fcn6": 5, "mlp5": 3, "lenet-300-100": 1}
# Of one core of a laptop on small matrices, and what a step costs besides.
FLOPS = 6e10
STEP_SECONDS = 3e-4


def training_seconds(spec: TrainSpec) -> float:
    """Rough time of one training run on one core.

    Parameters
    ----------
    spec : TrainSpec

    Returns
    -------
    float
        Seconds; with a stop rule, of half of the steps.
    """
    share = 1.0 if spec.until_accuracy is None and spec.until_loss is None else 0.5
    seconds = 6 * products(spec) * spec.batch_size / FLOPS
    if spec.net == "resnet20":
        seconds = max(seconds, RESNET_PICTURE_SECONDS * spec.batch_size)
    return share * spec.steps * (STEP_SECONDS + seconds)


def products(spec: TrainSpec) -> float:
    """Rough number of products in one output of the network."""
    if spec.net in PICTURE_NETS:
        whole, width = PICTURE_NETS[spec.net]
        unpooled = spec.net == "vgg" and spec.dataset != "cifar10"
        return whole * (UNPOOLED if unpooled else 1.0) * (spec.width / width) ** 2
    features = FEATURES.get(spec.dataset, 1000)
    return features * spec.width + HIDDEN.get(spec.net, 0) * spec.width**2
