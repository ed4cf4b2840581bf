"""What the tables were trained with, and the runs that stand for them at each scale."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from prunable.data.registry import registered
from prunable.experiments.reproduce.demo_settings import EPS_GRID
from prunable.experiments.reproduce.items import Convention, Scale
from prunable.papers.wan2023.specs import PrunedAlikeSpec, TwoLayerPruneSpec, TwoLayerTrainSpec

ALPHAS = (1.9, 1.8, 1.75)
# Without the factor 2 in the positive stable variable, the released code's type III noise is
# that of the text times this.
CODE_TYPE3 = 1 / math.sqrt(2)
# Tables 7 and 8: (step size, full-batch steps) on ECG5000.
ECG_STEPS = {2000: (3e-4, 600), 5000: (1e-4, 1500), 10_000: (5e-5, 3000)}
# Table 7 prints 0.5 for types I and III; type I fits its tables at 0.15 only.
ECG_SIGMA = {"type1": 0.15, "type2": 0.15, "type3": 0.5}
# Which of the two levels is meant shows in the tables that are computed at both.
OTHER_SIGMA = {("type1", 2000): 0.5, ("type3", 2000): 0.15, ("type3", 5000): 0.15}
# Table 9: (step size, noise level) on MNIST. Level and horizon eta * steps decide the noise that
# accumulates, so a larger eta over as long a horizon stays comparable.
MNIST = {2000: (1e-2, 5e-4), 5000: (5e-3, 4e-4), 10_000: (5e-3, 6e-4)}
# On a laptop: (hidden units, seeds).
MNIST_LAPTOP = {2000: (2000, 1), 5000: (250, 2), 10_000: (500, 2)}
# Table 20; table 6 gives no level, so it is given the smallest of these.
CIFAR_SIGMAS = (1e-5, 2e-5, 3e-5)
# At the laptop's horizon of about 100 the printed levels would move nothing.
CIFAR_LAPTOP_FACTOR = 10.0
CIFAR_ALPHAS = (1.9, 1.75)
CIFAR_ALPHA = 1.8
SMOKE_WIDTH, SMOKE_STEPS = 48, 20


@dataclass(frozen=True)
class Setting:
    """How the networks of one table are trained, noise apart.

    Parameters
    ----------
    dataset : str
        Registered name.
    width : int
        Hidden units n.
    lr : float
        Learning rate.
    steps : int
        Steps, or with `until_accuracy` the most steps.
    seeds : int
        Runs a row, with the seeds 0, 1, ...
    batch_size : int, optional
        None is the whole training set.
    until_accuracy : float, optional
    train_size : int, optional
    classes : {"all", "first-or-not"}
    evaluate_every : int
    """

    dataset: str
    width: int
    lr: float
    steps: int
    seeds: int
    batch_size: int | None = None
    until_accuracy: float | None = None
    train_size: int | None = None
    classes: Literal["all", "first-or-not"] = "all"
    evaluate_every: int = 100

    def train(self, noise: str, alpha: float | None, sigma: float, seed: int) -> TwoLayerTrainSpec:
        """One training run; without an `alpha` it is the one without noise."""
        data = registered(self.dataset)
        return TwoLayerTrainSpec.create(
            dataset={
                "name": self.dataset,
                "split": "official" if "official" in data.splits else "shuffled",
                "classes": self.classes,
                "train_size": self.train_size,
            },
            width=self.width,
            lr=self.lr,
            batch_size=self.batch_size or data.n_train,
            steps=self.steps,
            until_accuracy=self.until_accuracy,
            evaluate_every=self.evaluate_every,
            noise="none" if alpha is None else noise,
            alpha=alpha,
            sigma=0.0 if alpha is None else sigma,
            seed=seed,
        )


@dataclass(frozen=True)
class Condition:
    """One row of a table: noise type, tail index and level."""

    noise: str
    alpha: float | None = None
    sigma: float = 0.0

    @property
    def key(self) -> str:
        """Short name, such as `type1-1.8` or `none`."""
        return "none" if self.alpha is None else f"{self.noise}-{self.alpha:g}"

    def runs(self, setting: Setting, suffix: str = "") -> Iterator[tuple[str, TwoLayerPruneSpec]]:
        """Evaluations of the row, by keys such as `type1-1.8/0`."""
        for seed in range(setting.seeds):
            train = setting.train(self.noise, self.alpha, self.sigma, seed)
            yield f"{self.key}{suffix}/{seed}", TwoLayerPruneSpec.create(train=train, eps=EPS_GRID)


def ecg_setting(width: int, scale: Scale) -> Setting:
    """Setting of the ECG5000 tables of one width; "smoke" trains a toy instead."""
    if scale == "smoke":
        return Setting("digits", SMOKE_WIDTH, 0.05, SMOKE_STEPS, 2, classes="first-or-not")
    eta, steps = ECG_STEPS[width]
    return Setting("ecg5000", width, eta, steps, 5, classes="first-or-not")


def ecg_sigma(noise: str, convention: Convention) -> float:
    """Level of the noise on ECG5000."""
    code = convention == "authors-code" and noise == "type3"
    return ECG_SIGMA[noise] * (CODE_TYPE3 if code else 1.0)


def ecg_runs(
    width: int, noise: str, scale: Scale, convention: Convention
) -> dict[str, TwoLayerPruneSpec]:
    """Evaluations of one ECG5000 table: without noise, and with it at the three indices.

    Parameters
    ----------
    width : int
        2,000, 5,000 or 10,000.
    noise : {"type1", "type2", "type3"}
    scale : {"smoke", "laptop", "paper"}
        The latter two are the paper's full size.
    convention : {"paper", "authors-code"}
        Decides the scale of type III noise; the rest is common, so its runs are shared.
    """
    setting = ecg_setting(width, scale)
    sigma = ecg_sigma(noise, convention)
    rows = [Condition("none"), *(Condition(noise, alpha, sigma) for alpha in ALPHAS)]
    return {key: spec for row in rows for key, spec in row.runs(setting)}


def other_sigma_runs(width: int, noise: str, scale: Scale) -> dict[str, TwoLayerPruneSpec]:
    """The table at its other noise level, if any, by keys such as `type1-1.8-other/0`."""
    sigma = OTHER_SIGMA.get((noise, width))
    if sigma is None:
        return {}
    setting = ecg_setting(width, scale)
    rows = [Condition(noise, alpha, sigma) for alpha in ALPHAS]
    return {key: spec for row in rows for key, spec in row.runs(setting, "-other")}


def mnist_setting(width: int, scale: Scale) -> Setting:
    """Setting of the MNIST tables of one width: until 95 % training accuracy."""
    if scale == "smoke":
        return _smoke_pictures()
    if scale == "laptop":
        units, seeds = MNIST_LAPTOP[width]
        return Setting(
            "mnist", units, 0.05, 12_000, seeds, 100, until_accuracy=0.95, evaluate_every=500
        )
    eta, _ = MNIST[width]
    return Setting("mnist", width, eta, 200_000, 5, 5000, until_accuracy=0.95)


def mnist_sigma(width: int, scale: Scale) -> float:
    """Level of the noise on MNIST."""
    return 0.05 if scale == "smoke" else MNIST[width][1]


def mnist_runs(width: int, scale: Scale) -> dict[str, TwoLayerPruneSpec]:
    """Evaluations of one MNIST table, of type I."""
    setting, sigma = mnist_setting(width, scale), mnist_sigma(width, scale)
    rows = [Condition("none"), *(Condition("type1", alpha, sigma) for alpha in ALPHAS)]
    return {key: spec for row in rows for key, spec in row.runs(setting)}


def alike_runs(width: int, scale: Scale) -> dict[str, PrunedAlikeSpec]:
    """Networks without noise pruned as far as the noisy ones, by keys such as `alike-1.8/0`."""
    evaluations = mnist_runs(width, scale)
    setting = mnist_setting(width, scale)
    return {
        f"alike-{alpha:g}/{seed}": PrunedAlikeSpec.create(
            train=evaluations[f"none/{seed}"].train,
            noisy=tuple(evaluations[f"type1-{alpha:g}/{i}"] for i in range(setting.seeds)),
        )
        for alpha in ALPHAS
        for seed in range(setting.seeds)
    }


def cifar_setting(scale: Scale) -> Setting:
    """Setting of the CIFAR-10 tables; the paper gives neither step size nor batch size."""
    if scale == "smoke":
        return _smoke_pictures()
    if scale == "laptop":
        return Setting("cifar10", 200, 0.05, 6000, 2, 100, until_accuracy=0.95, train_size=1000)
    return Setting("cifar10", 5000, 1e-2, 1_000_000, 5, 5000, until_accuracy=0.95)


def cifar_sigma(printed: float, scale: Scale) -> float:
    """Level of the noise on CIFAR-10 that stands for a printed one."""
    return printed * {"smoke": 5e3, "laptop": CIFAR_LAPTOP_FACTOR, "paper": 1.0}[scale]


def cifar_index_runs(scale: Scale) -> dict[str, TwoLayerPruneSpec]:
    """Evaluations of table 6: without noise, and by tail index."""
    setting, sigma = cifar_setting(scale), cifar_sigma(CIFAR_SIGMAS[0], scale)
    rows = [Condition("none"), *(Condition("type1", alpha, sigma) for alpha in CIFAR_ALPHAS)]
    return {key: spec for row in rows for key, spec in row.runs(setting)}


def cifar_level_runs(scale: Scale) -> dict[str, TwoLayerPruneSpec]:
    """Evaluations of table 20: by the printed level, such as `sigma-1e-05/0`."""
    setting = cifar_setting(scale)
    return {
        f"sigma-{printed:g}/{seed}": spec
        for printed in CIFAR_SIGMAS
        for seed, (_, spec) in enumerate(
            Condition("type1", CIFAR_ALPHA, cifar_sigma(printed, scale)).runs(setting)
        )
    }


def _smoke_pictures() -> Setting:
    return Setting(
        "digits", SMOKE_WIDTH, 0.1, SMOKE_STEPS, 2, 200, until_accuracy=0.95, evaluate_every=10
    )
