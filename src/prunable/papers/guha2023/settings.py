"""Sizes of the networks at each scale, and the runs that items share."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from prunable.experiments.reproduce.document import Convention, Scale
from prunable.experiments.reproduce.plans import Plan
from prunable.papers.guha2023 import specs
from prunable.papers.guha2023.found import nearest
from prunable.runs.spec import Spec

Data = Literal["mnist", "cifar10"]


@dataclass(frozen=True)
class Networks:
    """Networks of one data set at one scale; "digits" stand for the data at the smallest.

    train : of any width and seed.
    reference : the width of the figures that show one network; it alone keeps snapshots.
    strengths : values of `d` of the curves.
    """

    train: specs.MarginTrainSpec
    widths: tuple[int, ...]
    reference: int
    seeds: tuple[int, ...]
    strengths: tuple[float, ...]

    @property
    def epochs(self) -> int:
        """Of the training, before any refinement."""
        return self.train.steps // self.train.steps_per_epoch

    @property
    def adam(self) -> bool:
        """Whether Adam trains, or SGD as the released configuration."""
        return self.train.optimizer == "adam"

    def training(self, width: int, seed: int) -> specs.MarginTrainSpec:
        """One training run."""
        snapshots = self.train.snapshots if width == self.reference else ()
        own = {"width": width, "seed": seed, "snapshots": snapshots}
        return specs.MarginTrainSpec.create(**{**dict(self.train), **own})

    def strengths_of(self, width: int) -> tuple[float, ...]:
        """Values of `d` at which networks of a width are pruned, the published row's too."""
        published = nearest(self.train.dataset.name, width)
        implied = () if published is None else (round(published.implied_d, 4),)
        grid = self.strengths if width == self.reference else ()
        return tuple(sorted({*grid, *implied}))


def _train(
    dataset: str, n_train: int, batch_size: int, lr: float, epochs: int, **fields: Any
) -> specs.MarginTrainSpec:
    per_epoch = -(-n_train // batch_size)
    return specs.MarginTrainSpec.create(
        dataset={"name": dataset, "train_size": n_train, "inputs": "signed"},
        net="mlp5",
        batch_size=batch_size,
        lr=lr,
        steps=epochs * per_epoch,
        evaluate_every=per_epoch * max(1, epochs // 6),
        **fields,
    )


_ADAM: dict[str, Any] = {"optimizer": "adam", "schedule": "cosine"}
_SMOKE = {**_ADAM, "refine_epochs": 16}
_PAPER: dict[str, Any] = {"weight_decay": 1e-4}
_LAPTOP = {**_PAPER, "refine_epochs": 20, "refine_lr": 2e-4}

_SMOKE_MNIST = _train("digits", 600, 32, 5e-3, 12, snapshots=(1, 3, 8, 12), **_SMOKE)
_SMOKE_CIFAR = _train("digits", 600, 32, 5e-3, 12, **_SMOKE)
_PAPER_EPOCHS = (1, 2, 3, 5, 10, *range(20, 301, 20))
_LAPTOP_MNIST = _train("mnist", 48_000, 256, 0.02, 300, snapshots=_PAPER_EPOCHS, **_LAPTOP)
_LAPTOP_CIFAR = _train("cifar10", 40_000, 64, 0.01, 300, **_LAPTOP)
_PAPER_MNIST = _train("mnist", 48_000, 256, 0.02, 300, snapshots=_PAPER_EPOCHS, **_PAPER)
_PAPER_CIFAR = _train("cifar10", 40_000, 4, 0.01, 300, **_PAPER)

_CURVE = (0.01, 0.1, 1.0, 3.0, 10.0)
_SMOKE_CURVE = (0.1, 1.0, 10.0)
_REPOSITORY_CURVE = tuple(round(10 * k / 99, 4) for k in range(1, 100))
_PAPER_WIDTHS = (500, 784, 1000, 1500, 2000, 2500)

SIZES: dict[Scale, dict[Data, Networks]] = {
    "smoke": {
        "mnist": Networks(_SMOKE_MNIST, (48, 64), 48, (0,), _SMOKE_CURVE),
        "cifar10": Networks(_SMOKE_CIFAR, (56,), 56, (0,), _SMOKE_CURVE),
    },
    "laptop": {
        "mnist": Networks(_LAPTOP_MNIST, (500, 784, 1000), 784, (0, 1), _CURVE),
        "cifar10": Networks(_LAPTOP_CIFAR, (1000,), 1000, (0,), _CURVE),
    },
    "paper": {
        "mnist": Networks(_PAPER_MNIST, _PAPER_WIDTHS, 784, (0, 1, 2), _REPOSITORY_CURVE),
        "cifar10": Networks(_PAPER_CIFAR, (2000,), 2000, (0, 1, 2), _REPOSITORY_CURVE),
    },
}


def plan_of(
    data: Data,
    scale: Scale,
    convention: Convention,
    *,
    parts: Collection[str] = (),
    only_reference: bool = False,
) -> Plan:
    """Plan the runs of an item, by keys such as `500/0`, `500 bounds/0` and `784 epoch 3/0`.

    parts : "bounds" evaluates every bound with all constants; of the first seed "strengths"
        prunes at given strengths and "epoch" evaluates the snapshots.
    only_reference : whether to leave other widths out.
    """
    sizes = SIZES[scale][data]
    train = sizes.train
    widths = (sizes.reference,) if only_reference else sizes.widths
    protect = convention == "paper"
    return Plan(
        scale,
        convention,
        dict(_runs(sizes, widths, protect, parts)),
        settings={
            "data": train.dataset.name,
            "hidden layers": 4,
            "hidden widths": ", ".join(map(str, widths)),
            "seeds": ", ".join(map(str, sizes.seeds)),
            "training examples": train.dataset.n_train,
            "epochs": sizes.epochs,
            "optimizer": "Adam, cosine" if sizes.adam else "SGD, weight decay 0.0001",
            "learning rate": train.lr,
            "batch size": train.batch_size,
            "diagonal is protected": protect,
            "norm of Bartlett 2017": "l(1,2)" if protect else "Frobenius",
        },
        notes=tuple(_notes(sizes, data, scale)),
    )


def _runs(
    sizes: Networks, widths: tuple[int, ...], protect: bool, parts: Collection[str]
) -> Iterator[tuple[str, Spec]]:
    for width in widths:
        for seed in sizes.seeds:
            train = sizes.training(width, seed)
            network = {"train": train, "protect_diagonal": protect}
            pruned = specs.MarginPruneSpec.create(**network)
            yield f"{width}/{seed}", pruned
            if "bounds" in parts:
                yield f"{width} bounds/{seed}", specs.ComparedBoundsSpec.create(pruned=pruned)
            if seed != sizes.seeds[0]:
                continue
            if "strengths" in parts and (values := sizes.strengths_of(width)):
                spec = specs.StrengthsSpec.create(**network, strengths=values)
                yield f"{width} strengths/{seed}", spec
            for epoch in train.snapshots if "epoch" in parts else ():
                snapshot = specs.MarginPruneSpec.create(**network, epoch=epoch)
                yield f"{width} epoch {epoch}/{seed}", snapshot


def _notes(sizes: Networks, data: Data, scale: Scale) -> Iterator[str]:
    yield (
        "Masks come from one fixed draw for each weight in both conventions, and `d` from a "
        "bisection over it; the released code draws anew at every step, unseeded."
    )
    if data == "cifar10":
        yield "No augmentation, of which the paper's text says nothing."
    yield (
        "The row new bound and 3 d chi are what the released code evaluates. Theorem 5.2 with "
        "every factor, its failure probability and lemmas 4.2 and 5.1 are reconstructed from a "
        "text that had lost its formulas: what is said of them is not said of the print."
    )
    if scale != "smoke":
        batches = "4, as the first release" if scale == "paper" else "64, as the later release"
        sgd = "SGD with weight decay, as the released configuration; the text names Adam."
        yield sgd + f" On CIFAR-10 batches of {batches}." * (data == "cifar10")
    if scale == "smoke":
        yield "Scikit-learn's digits and tiny networks stand for the paper's."
    elif scale == "laptop":
        yield from _laptop_notes(sizes, data)


def _laptop_notes(sizes: Networks, data: Data) -> Iterator[str]:
    yield (
        "Single epochs of Adam follow in which examples of small margins come 16 times more, "
        "until every training example is read right: without a positive smallest margin no `d` is "
        "allowed."
    )
    if data == "mnist":
        yield f"Hidden widths {', '.join(map(str, sizes.widths))} in place of six up to 2,500."
    else:
        yield f"Hidden width {sizes.reference} in place of 2,000; pictures are JPEG-coded copies."
