"""Sizes of the networks at each scale, and the runs that items share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from prunable.experiments.reproduce.items import Convention, Plan, Scale
from prunable.papers.guha2023.published import nearest
from prunable.papers.guha2023.specs import (
    ComparedBoundsSpec,
    MarginPruneSpec,
    MarginTrainSpec,
    StrengthsSpec,
)
from prunable.runs.spec import Spec

Data = Literal["mnist", "cifar10"]


@dataclass(frozen=True)
class Networks:
    """Networks of one data set at one scale.

    Parameters
    ----------
    dataset : str
        Registered name; "digits" stands for the paper's data at the smallest scale.
    widths : tuple of int
    reference : int
        The width of the figures that show one network.
    seeds : tuple of int
    n_train : int
    epochs, batch_size : int
    lr : float
        Learning rate at the start.
    strengths : tuple of float
        Values of `d` of the curves.
    snapshots : tuple of int
        Epochs of figure 2.
    refine_epochs : int
    bfloat16, adam : bool
        Adam falls to 0 by a cosine; without it SGD, as the released configuration.
    """

    dataset: str
    widths: tuple[int, ...]
    reference: int
    seeds: tuple[int, ...]
    n_train: int
    epochs: int
    batch_size: int
    lr: float
    strengths: tuple[float, ...]
    snapshots: tuple[int, ...] = ()
    refine_epochs: int = 0
    bfloat16: bool = False
    adam: bool = True

    def train(self, width: int, seed: int) -> MarginTrainSpec:
        """One training run; those of the reference width keep the snapshots."""
        per_epoch = -(-self.n_train // self.batch_size)
        return MarginTrainSpec.create(
            dataset={"name": self.dataset, "train_size": self.n_train, "inputs": "signed"},
            net="mlp5",
            width=width,
            lr=self.lr,
            batch_size=self.batch_size,
            steps=self.epochs * per_epoch,
            optimizer="adam" if self.adam else "sgd",
            schedule="cosine" if self.adam else "constant",
            weight_decay=0.0 if self.adam else 1e-4,
            seed=seed,
            evaluate_every=per_epoch * max(1, self.epochs // 6),
            refine_epochs=self.refine_epochs,
            bfloat16=self.bfloat16,
            snapshots=self.snapshots if width == self.reference else (),
        )

    def strengths_of(self, width: int) -> tuple[float, ...]:
        """Values of `d` at which networks of a width are pruned, the published row's too."""
        published = nearest(self.dataset, width)
        implied = () if published is None else (round(published.implied_d, 4),)
        grid = self.strengths if width == self.reference else ()
        return tuple(sorted({*grid, *implied}))


_CURVE = (0.01, 0.1, 1.0, 3.0, 10.0)
_REPOSITORY_CURVE = tuple(round(10 * k / 99, 4) for k in range(1, 100))
_PAPER_EPOCHS = (1, 2, 3, 5, 10, *range(20, 301, 20))

SIZES: dict[Scale, dict[Data, Networks]] = {
    "smoke": {
        "mnist": Networks(
            "digits", (48, 64), 48, (0,), 600, 12, 32, 5e-3, (0.1, 1.0, 10.0), (1, 3, 8, 12), 16
        ),
        "cifar10": Networks("digits", (56,), 56, (0,), 600, 12, 32, 5e-3, (0.1, 1.0, 10.0), (), 16),
    },
    "laptop": {
        "mnist": Networks(
            "mnist",
            (500, 784, 1000),
            784,
            (0, 1),
            48_000,
            12,
            256,
            1e-3,
            _CURVE,
            (1, 2, 3, 4, 6, 8, 10, 12),
            20,
            bfloat16=True,
        ),
        "cifar10": Networks(
            "cifar10", (500,), 500, (0,), 40_000, 24, 256, 1e-3, _CURVE, (), 20, bfloat16=True
        ),
    },
    "paper": {
        "mnist": Networks(
            "mnist",
            (500, 784, 1000, 1500, 2000, 2500),
            784,
            (0, 1, 2),
            48_000,
            300,
            256,
            0.02,
            _REPOSITORY_CURVE,
            _PAPER_EPOCHS,
            adam=False,
        ),
        "cifar10": Networks(
            "cifar10", (2000,), 2000, (0, 1, 2), 40_000, 300, 4, 0.01, _REPOSITORY_CURVE, adam=False
        ),
    },
}


def plan_of(
    data: Data,
    scale: Scale,
    convention: Convention,
    *,
    only_reference: bool = False,
    compared: bool = False,
    strengths: bool = False,
    epochs: bool = False,
) -> Plan:
    """Plan the runs of an item.

    Parameters
    ----------
    data : {"mnist", "cifar10"}
    scale : {"smoke", "laptop", "paper"}
    convention : {"paper", "authors-code"}
    only_reference : bool
        Whether to leave other widths out.
    compared : bool
        Whether to evaluate every bound with all constants.
    strengths : bool
        Whether to prune at given strengths, the network of the first seed.
    epochs : bool
        Whether to evaluate the snapshots of the first seed.

    Returns
    -------
    Plan
        Runs by keys such as `500/0`, `500/0/bounds`, `500/0/strengths` and `784/0/epoch 3`.
    """
    sizes = SIZES[scale][data]
    widths = (sizes.reference,) if only_reference else sizes.widths
    protect = convention == "paper"
    return Plan(
        scale,
        convention,
        dict(_runs(sizes, widths, protect, compared, strengths, epochs)),
        settings={
            "data": sizes.dataset,
            "hidden layers": 4,
            "hidden widths": ", ".join(map(str, widths)),
            "seeds": ", ".join(map(str, sizes.seeds)),
            "training examples": sizes.n_train,
            "epochs": sizes.epochs,
            "optimizer": f"{'Adam, cosine' if sizes.adam else 'SGD, weight decay 0.0001'}",
            "learning rate": sizes.lr,
            "batch size": sizes.batch_size,
            "diagonal is protected": protect,
            "norm of Bartlett 2017": "l(1,2)" if protect else "Frobenius",
        },
        notes=_notes(sizes, data, scale),
    )


def _runs(
    sizes: Networks,
    widths: tuple[int, ...],
    protect: bool,
    compared: bool,
    strengths: bool,
    epochs: bool,
) -> Iterator[tuple[str, Spec]]:
    for width in widths:
        for seed in sizes.seeds:
            key, train = f"{width}/{seed}", sizes.train(width, seed)
            pruned = MarginPruneSpec.create(train=train, protect_diagonal=protect)
            yield key, pruned
            if compared:
                yield f"{key}/bounds", ComparedBoundsSpec.create(pruned=pruned)
            if seed != sizes.seeds[0]:
                continue
            if strengths and (values := sizes.strengths_of(width)):
                yield (
                    f"{key}/strengths",
                    StrengthsSpec.create(train=train, protect_diagonal=protect, strengths=values),
                )
            if epochs:
                for epoch in train.snapshots:
                    yield (
                        f"{key}/epoch {epoch}",
                        MarginPruneSpec.create(train=train, epoch=epoch, protect_diagonal=protect),
                    )


def _notes(sizes: Networks, data: Data, scale: Scale) -> tuple[str, ...]:
    notes = [
        "Masks come from one fixed draw for each weight in both conventions, and `d` from a "
        "bisection over it; the released code draws anew at every step, unseeded."
    ]
    if data == "cifar10":
        notes.append("No augmentation, of which the paper's text says nothing.")
    if scale == "paper":
        notes.append(
            "SGD with weight decay, as the released configuration; the text names Adam. On "
            "CIFAR-10 batches of 4, as the first release."
            if data == "cifar10"
            else "SGD with weight decay, as the released configuration; the text names Adam."
        )
        return tuple(notes)
    if scale == "smoke":
        return (*notes, "Scikit-learn's digits and tiny networks stand for the paper's.")
    notes.append(
        f"{sizes.epochs} epochs of Adam from {sizes.lr:g}, falling to 0 by a cosine, without "
        "weight decay, in place of 300 epochs at 0.02, and training in bfloat16."
        if data == "mnist"
        else f"{sizes.epochs} epochs of Adam from {sizes.lr:g}, falling to 0 by a cosine, batches "
        f"of {sizes.batch_size}, in place of 300 epochs, and training in bfloat16."
    )
    notes.append(
        "Single epochs follow in which examples of small margins come 16 times more, until every "
        "training example is read right: without a positive smallest margin no `d` is allowed."
    )
    if data == "mnist":
        notes.append(
            f"Hidden widths {', '.join(map(str, sizes.widths))} in place of six up to 2,500."
        )
    else:
        notes.append(
            f"Hidden width {sizes.reference} in place of 2,000; pictures are JPEG-coded copies."
        )
    return tuple(notes)
