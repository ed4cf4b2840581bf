"""Sizes of the figures at each scale, and what the paper itself states."""

from __future__ import annotations

from dataclasses import dataclass, replace

from prunable.experiments.reproduce.items import Scale
from prunable.experiments.train.specs import TrainSpec
from prunable.papers import published

PAPER = "chang2020"
PUBLISHED = published(PAPER)


@dataclass(frozen=True)
class LinearSize:
    """Figures 3 and 7: p features, n = 0.3 p and s = 0.1 p.

    widths : where it is simulated; not near n, where the variance of the risk is infinite.
    trials : data sets.
    chunk : widths of one run.
    points : of the predicted curve.
    """

    p: int
    widths: tuple[int, ...]
    trials: int
    chunk: int
    points: int


@dataclass(frozen=True)
class FeaturesSize:
    """Figures 2 and 4: d inputs, n examples.

    features : each p.
    shares : s / n of each curve.
    layers, data_sets : first layers, and data sets for each.
    chunk : first layers of one run.
    """

    d: int
    n: int
    features: tuple[int, ...]
    shares: tuple[float, ...]
    layers: int
    data_sets: int
    chunk: int


@dataclass(frozen=True)
class NetworkSize:
    """Figures 1, 5 and 6.

    train : of the dense network, of any width, seed and number of steps.
    bases : widths whose numbers of parameters pruning aims at.
    widths : of the dense networks.
    n_train : training examples.
    restarts : whether retraining from initial weights is compared.
    """

    train: TrainSpec
    bases: tuple[int, ...]
    widths: tuple[int, ...]
    n_train: int
    epochs: int
    retrain_epochs: int
    seeds: tuple[int, ...] = (0,)
    restarts: bool = False

    def steps(self, epochs: int) -> int:
        """Optimizer steps of so many epochs."""
        return epochs * -(-self.n_train // self.train.batch_size)

    def dense(self, width: int, seed: int) -> TrainSpec:
        """Training of the dense network of a width."""
        steps = self.steps(self.epochs)
        own = {"width": width, "seed": seed, "steps": steps, "evaluate_every": steps}
        return TrainSpec.create(**{**dict(self.train), **own})


_LAPTOP_WIDTHS = (
    *(20, 50, 80, 100, 120, 150, 180, 210, 240, 260, 280, 320),
    *(340, 360, 400, 450, 500, 570, 650, 730, 820, 900, 950, 1000),
)
_EVERY_TENTH = tuple(k for k in range(10, 1001, 10) if abs(k - 300) >= 20)

LINEAR: dict[Scale, LinearSize] = {
    "smoke": LinearSize(100, (5, 10, 20, 40, 70, 100), trials=6, chunk=3, points=20),
    "laptop": LinearSize(1000, _LAPTOP_WIDTHS, trials=200, chunk=4, points=200),
    "paper": LinearSize(1000, _EVERY_TENTH, trials=200, chunk=5, points=500),
}

_FEATURES = FeaturesSize(
    d=10,
    n=200,
    features=(*range(30, 181, 10), *range(220, 401, 20), *range(450, 1001, 50)),
    shares=(0.1, 0.3, 0.5, 0.7),
    layers=50,
    data_sets=10,
    chunk=10,
)
_LAPTOP_FEATURES = (40, 80, 120, 150, 170, 230, 260, 300, 400, 500, 700, 1000)

FEATURES: dict[Scale, FeaturesSize] = {
    "smoke": FeaturesSize(4, 40, (10, 20, 30, 60, 120), (0.1, 0.5), layers=2, data_sets=2, chunk=2),
    "laptop": replace(_FEATURES, features=_LAPTOP_FEATURES),
    "paper": _FEATURES,
}


def _resnet(dataset: str, batch_size: int, train_size: int | None = None) -> TrainSpec:
    return TrainSpec.create(
        dataset={"name": dataset, "train_size": train_size},
        net="resnet20",
        lr=0.001,
        optimizer="adam",
        batch_size=batch_size,
        augment=True,
    )


def _two_layer(dataset: str, lr: float) -> TrainSpec:
    return TrainSpec.create(
        dataset=dataset, net="two-layer", lr=lr, optimizer="adam", batch_size=128
    )


RESNET: dict[Scale, NetworkSize] = {
    "smoke": NetworkSize(_resnet("digits", 64, 128), (1,), (1, 2), 128, 1, 1),
    "laptop": NetworkSize(_resnet("cifar10", 32, 5000), (2, 4), (2, 3, 4, 6, 8), 5000, 6, 6),
    "paper": NetworkSize(
        _resnet("cifar10", 128),
        bases=(5, 8, 10),
        widths=(2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20),
        n_train=50_000,
        epochs=1600,
        retrain_epochs=1600,
    ),
}

_TWO_LAYER = NetworkSize(
    _two_layer("mnist", 0.001),
    bases=(2, 4),
    widths=(2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64),
    n_train=60_000,
    epochs=200,
    retrain_epochs=200,
    seeds=(0, 1, 2),
    restarts=True,
)

TWO_LAYER: dict[Scale, NetworkSize] = {
    "smoke": NetworkSize(_two_layer("digits", 0.01), (2, 4), (2, 4, 8), 1297, 2, 2, restarts=True),
    "laptop": replace(_TWO_LAYER, widths=(2, 4, 8, 16, 32, 64), epochs=10, retrain_epochs=10),
    "paper": _TWO_LAYER,
}
