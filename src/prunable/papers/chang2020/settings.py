"""Sizes of the figures at each scale, and what the paper itself states."""

from __future__ import annotations

from dataclasses import dataclass

from prunable.experiments.reproduce.items import Scale
from prunable.experiments.reproduce.published import PublishedItem
from prunable.papers import published as published_of

PAPER = "chang2020"


@dataclass(frozen=True)
class LinearSize:
    """Figures 3 and 7.

    Parameters
    ----------
    p : int
        Features; n = 0.3 p and s = 0.1 p.
    widths : tuple of int
        Where it is simulated; not near n, where the variance of the risk is infinite.
    trials : int
        Data sets.
    chunk : int
        Widths of one run.
    points : int
        Of the predicted curve.
    """

    p: int
    widths: tuple[int, ...]
    trials: int
    chunk: int
    points: int


@dataclass(frozen=True)
class FeaturesSize:
    """Figures 2 and 4.

    Parameters
    ----------
    d, n : int
        Inputs, examples.
    features : tuple of int
        Each p.
    shares : tuple of float
        s / n of each curve.
    layers, data_sets : int
        First layers, and data sets for each.
    chunk : int
        First layers of one run.
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

    Parameters
    ----------
    dataset, net : str
    bases : tuple of int
        Widths whose numbers of parameters pruning aims at.
    widths : tuple of int
        Of the dense networks.
    random_widths : tuple of int
        Those that are also pruned at random.
    train_size : int, optional
        Examples; None for all.
    n_train : int
        How many these are.
    batch_size, epochs, retrain_epochs : int
    lr : float
    augment : bool
    seeds : tuple of int
    restarts : bool
        Whether retraining from initial weights is compared.
    """

    dataset: str
    net: str
    bases: tuple[int, ...]
    widths: tuple[int, ...]
    random_widths: tuple[int, ...]
    train_size: int | None
    n_train: int
    batch_size: int
    epochs: int
    retrain_epochs: int
    lr: float
    augment: bool
    seeds: tuple[int, ...]
    restarts: bool = False

    def steps(self, epochs: int) -> int:
        """Optimizer steps of so many epochs."""
        return epochs * -(-self.n_train // self.batch_size)


_EVERY_TENTH = tuple(k for k in range(10, 1001, 10) if abs(k - 300) >= 20)

LINEAR: dict[Scale, LinearSize] = {
    "smoke": LinearSize(100, (5, 10, 20, 40, 70, 100), trials=6, chunk=3, points=20),
    "laptop": LinearSize(
        1000,
        (
            20,
            50,
            80,
            100,
            120,
            150,
            180,
            210,
            240,
            260,
            280,
            320,
            340,
            360,
            400,
            450,
            500,
            570,
            650,
            730,
            820,
            900,
            950,
            1000,
        ),
        trials=200,
        chunk=4,
        points=200,
    ),
    "paper": LinearSize(1000, _EVERY_TENTH, trials=200, chunk=5, points=500),
}

FEATURES: dict[Scale, FeaturesSize] = {
    "smoke": FeaturesSize(4, 40, (10, 20, 30, 60, 120), (0.1, 0.5), layers=2, data_sets=2, chunk=2),
    "laptop": FeaturesSize(
        10,
        200,
        (40, 80, 120, 150, 170, 230, 260, 300, 400, 500, 700, 1000),
        (0.1, 0.3, 0.5, 0.7),
        layers=50,
        data_sets=10,
        chunk=10,
    ),
    "paper": FeaturesSize(
        10,
        200,
        (*range(30, 181, 10), *range(220, 401, 20), *range(450, 1001, 50)),
        (0.1, 0.3, 0.5, 0.7),
        layers=50,
        data_sets=10,
        chunk=10,
    ),
}

RESNET: dict[Scale, NetworkSize] = {
    "smoke": NetworkSize(
        "digits", "resnet20", (1,), (1, 2), (2,), 128, 128, 64, 1, 1, 0.001, True, (0,)
    ),
    "laptop": NetworkSize(
        "cifar10",
        "resnet20",
        (2, 4),
        (2, 3, 4, 6, 8),
        (3, 4, 6, 8),
        5000,
        5000,
        32,
        6,
        6,
        0.001,
        True,
        (0,),
    ),
    "paper": NetworkSize(
        "cifar10",
        "resnet20",
        (5, 8, 10),
        (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20),
        (5, 6, 7, 8, 9, 10, 12, 14, 16, 20),
        None,
        50_000,
        128,
        1600,
        1600,
        0.001,
        True,
        (0,),
    ),
}

TWO_LAYER: dict[Scale, NetworkSize] = {
    "smoke": NetworkSize(
        "digits",
        "two-layer",
        (2, 4),
        (2, 4, 8),
        (4, 8),
        None,
        1297,
        128,
        2,
        2,
        0.01,
        False,
        (0,),
        restarts=True,
    ),
    "laptop": NetworkSize(
        "mnist",
        "two-layer",
        (2, 4),
        (2, 4, 8, 16, 32, 64),
        (4, 8, 16, 32, 64),
        None,
        60_000,
        128,
        10,
        10,
        0.001,
        False,
        (0, 1, 2),
        restarts=True,
    ),
    "paper": NetworkSize(
        "mnist",
        "two-layer",
        (2, 4),
        (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64),
        (3, 4, 6, 8, 12, 16, 24, 32, 48, 64),
        None,
        60_000,
        128,
        200,
        200,
        0.001,
        False,
        (0, 1, 2),
        restarts=True,
    ),
}


def published(figure: str) -> PublishedItem:
    """What the paper states about a figure of a number, and what we inferred."""
    return published_of(PAPER).items[f"fig{figure}"]
