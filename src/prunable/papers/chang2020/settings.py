"""Sizes of the figures at each scale, plans of their runs, and how they depart from the paper."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from prunable.experiments.reproduce.document import Convention, Scale
from prunable.experiments.reproduce.plans import Plan
from prunable.experiments.train.specs import TrainSpec
from prunable.papers import published
from prunable.papers.chang2020 import specs
from prunable.runs.spec import Spec

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
    epochs : of the training, and of retraining.
    restarts : whether retraining from initial weights is compared.
    """

    train: TrainSpec
    bases: tuple[int, ...]
    widths: tuple[int, ...]
    epochs: int
    seeds: tuple[int, ...] = (0,)
    restarts: bool = False

    @property
    def n_train(self) -> int:
        """Training examples."""
        return self.train.dataset.n_train

    @property
    def steps(self) -> int:
        """Optimizer steps of all epochs."""
        return self.epochs * -(-self.n_train // self.train.batch_size)

    def dense(self, width: int, seed: int) -> TrainSpec:
        """Training of the dense network of a width."""
        own = {"width": width, "seed": seed, "steps": self.steps, "evaluate_every": self.steps}
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
    "smoke": NetworkSize(_resnet("digits", 64, 128), (1,), (1, 2), 1),
    "laptop": NetworkSize(
        _resnet("cifar10", 32, 5000), (2, 4), (2, 3, 4, 6, 8), 6, seeds=(0, 1, 2)
    ),
    "paper": NetworkSize(
        _resnet("cifar10", 128),
        bases=(5, 8, 10),
        widths=(2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20),
        epochs=1600,
    ),
}

_TWO_LAYER = NetworkSize(
    _two_layer("mnist", 0.001),
    bases=(2, 4),
    widths=(2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256),
    epochs=200,
    seeds=(0, 1, 2),
    restarts=True,
)

TWO_LAYER: dict[Scale, NetworkSize] = {
    "smoke": NetworkSize(_two_layer("digits", 0.01), (2, 4), (2, 4, 8), 2, restarts=True),
    "laptop": replace(_TWO_LAYER, widths=(2, 4, 8, 16, 32, 64, 128, 256)),
    "paper": _TWO_LAYER,
}

# Widths of predicted curves next to a pole, where risks diverge.
_TO_THE_POLE = (2, 3, 4, 6, 8, 11, 15, 20)

# Models: the dense one; pruned by magnitude and retrained, from where pruning left off and from
# the initial weights; pruned at random and retrained; pruned by magnitude only.
DENSE, MAGNITUDE, RANDOM = "dense", "magnitude", "random"
CURVE_LAYERS = 5  # first layers behind a predicted curve of random features
INITIAL, UNTRAINED = "from initial weights", "not retrained"


def linear_plan(scale: Scale, convention: Convention) -> Plan:
    """Theory on a fine grid and at the points simulated, and simulations by chunks of widths."""
    size = LINEAR[scale]
    n, s = 3 * size.p // 10, size.p // 10
    chunks = [size.widths[i : i + size.chunk] for i in range(0, len(size.widths), size.chunk)]
    runs: dict[str, Spec] = {}
    for panel in ("a", "b"):
        curve = {"panel": panel, "p": size.p, "widths": _curve_widths(size)}
        points = {"panel": panel, "p": size.p, "widths": size.widths, "same_data": True}
        runs[f"{panel} theory"] = specs.LinearCurveSpec.create(**curve)
        runs[f"{panel} theory at points"] = specs.LinearCurveSpec.create(**points)
        for some in chunks:
            runs[f"{panel} simulated/k={some[0]}..{some[-1]}"] = specs.LinearTrialsSpec.create(
                panel=panel, p=size.p, widths=some, trials=size.trials
            )
    settings: dict[str, Any] = {
        "p": size.p,
        "n": n,
        "s": s,
        "spike": 25,
        "sigma": 0,
        "data sets": size.trials,
        "widths simulated": len(size.widths),
    }
    notes = (
        "The paper's text as we have it lost s/p and n/p: 0.1 and 0.3 are inferred. It states "
        "neither the spike nor the noise: 25 and 0 here. Coefficients are divided by sqrt(p).",
        "The paper does not say how many data sets its markers average.",
        f"Widths closer than {min(abs(k - n) for k in size.widths)} to n = {n} are not "
        "simulated: the risk there varies too much from data set to data set.",
        "The paper's retraining reuses the data, its formula assumes fresh ones: we simulate both.",
    )
    return Plan(scale, convention, runs, settings, notes)


def _curve_widths(size: LinearSize) -> tuple[int, ...]:
    """Evenly spread, s among them, ever closer towards the pole at n, but not at it."""
    n, s, step = 3 * size.p // 10, size.p // 10, max(1, size.p // size.points)
    near = {n + side * gap for gap in _TO_THE_POLE for side in (-1, 1)}
    spread = {*range(step, size.p + 1, step), s, *near, size.p}
    return tuple(sorted(k for k in spread if 1 <= k <= size.p and k != n))


def features_plan(scale: Scale, convention: Convention, *, only_largest: bool = False) -> Plan:
    """Runs that hold these s / n; all sizes are in each run, to be shared."""
    size = FEATURES[scale]
    shares = size.shares[-1:] if only_largest else size.shares
    settings: dict[str, Any] = {
        "d": size.d,
        "n": size.n,
        "s/n": ", ".join(f"{share:g}" for share in shares),
        "first layers": size.layers,
        "data sets for each": size.data_sets,
        "features": ", ".join(map(str, size.features)),
    }
    notes = (
        "The paper's text as we have it lost n, d and s/n: 200, 10 and 0.1, 0.3, 0.5, 0.7 "
        "are inferred; so is the range of p.",
        "Risks are exact population risks of each model; no test set is drawn.",
        f"Predicted curves are means over {min(size.layers, CURVE_LAYERS)} first layers; where a "
        "prediction is held against a simulation, it is of the same first layers.",
        "Below p = n predictions are exact expectations of the equivalent problem at this n "
        "rather than limits.",
        "Features of few inputs are not Gaussian, as the equivalent problem takes them to be: "
        "over many sizes its dense and retrained risks are off by up to 13 % at d = 10, by "
        "less than 10 % from d = 20 on (docs/predict-features.md).",
    )
    runs = dict(_feature_runs(size, round(shares[0] * size.n)))
    runs["theory"] = specs.FeaturesCurveSpec.create(
        d=size.d,
        n=size.n,
        features=_curve_features(size),
        kept=tuple(round(share * size.n) for share in size.shares),
        layers=min(size.layers, CURVE_LAYERS),
    )
    return Plan(scale, convention, runs, settings, notes)


def _curve_features(size: FeaturesSize) -> tuple[int, ...]:
    """Numbers of features of the predicted curve: geometric, and ever closer to n."""
    low, high = min(size.features), max(size.features)
    spread = {round(low * (high / low) ** (place / 24)) for place in range(25)}
    near = {size.n + side * gap for gap in _TO_THE_POLE for side in (-1, 1)}
    return tuple(sorted(p for p in spread | near if low <= p <= high and p != size.n))


def _feature_runs(size: FeaturesSize, smallest: int) -> Iterator[tuple[str, Spec]]:
    for p in size.features:
        kept = tuple(s for share in size.shares if (s := round(share * size.n)) < p)
        for first in range(0, size.layers, size.chunk) if smallest in kept else ():
            layers = min(size.chunk, size.layers - first)
            model = {"d": size.d, "n": size.n, "p": p, "kept": kept}
            draws = {"layers": layers, "data_sets": size.data_sets, "seed": first}
            spec = specs.RandomFeaturesSpec.create(**model, **draws)
            yield f"p={p}/layers {first}..{first + layers - 1}", spec


def condition_of(model: str, base: int | None, width: int) -> str:
    """What a run's key begins with; the base of a dense network is None."""
    kind = MAGNITUDE if model == UNTRAINED else model
    return f"{kind}, width {width}" + ("" if base is None else f" to {base}")


def _network_runs(size: NetworkSize, models: Sequence[str]) -> dict[str, Spec]:
    """Runs behind some of DENSE, MAGNITUDE (with UNTRAINED), INITIAL, RANDOM."""
    return {
        f"{condition_of(model, base, width)}/{seed}": spec
        for seed in size.seeds
        for width in size.widths
        for model, base, spec in _networks(size, width, seed)
        if model in models
    }


def _networks(size: NetworkSize, width: int, seed: int) -> Iterator[tuple[str, int | None, Spec]]:
    dense = size.dense(width, seed)
    yield DENSE, None, dense
    for base in size.bases:
        shared = {"train": dense, "base_width": base, "retrain_steps": size.steps}
        if width >= base:
            yield MAGNITUDE, base, specs.PruneRetrainSpec.create(**shared)
        if width > base and size.restarts:
            yield INITIAL, base, specs.PruneRetrainSpec.create(**shared, restart="initial")
        if width > base:
            yield RANDOM, base, specs.PruneRetrainSpec.create(**shared, method="random")


def _network_settings(size: NetworkSize) -> dict[str, Any]:
    train = size.train
    return {
        "data": train.dataset.name,
        "network": train.net,
        "training examples": size.n_train,
        "dense widths": ", ".join(map(str, size.widths)),
        "base widths": ", ".join(map(str, size.bases)),
        "epochs": size.epochs,
        "epochs of retraining": size.epochs,
        "optimizer": f"Adam, learning rate {train.lr:g}, batches of {train.batch_size}",
        "augmentation": train.augment,
        "seeds": len(size.seeds),
    }


def network_plan(
    sizes: Mapping[Scale, NetworkSize], models: Sequence[str], scale: Scale, convention: Convention
) -> Plan:
    """Runs of models of RESNET or TWO_LAYER at a scale."""
    size, paper = sizes[scale], sizes["paper"]
    notes = _resnet_notes if sizes is RESNET else _two_layer_notes
    said = (_network_settings(size), tuple(notes(size, paper)))
    return Plan(scale, convention, _network_runs(size, models), *said)


def _resnet_notes(size: NetworkSize, paper: NetworkSize) -> Iterator[str]:
    yield (
        "Retraining goes on from the weights that pruning left, with a fresh optimizer; the paper "
        "does not say where it starts."
    )
    yield "The number of parameters kept counts biases and batch normalisation, which stay."
    yield (
        "The paper does not state the batch size, nor how many runs its curves average. Its base "
        "widths follow from its numbers of parameters; the other widths are our choice."
    )
    if size.train.dataset.name != paper.train.dataset.name:
        yield f"The data are {size.train.dataset.name} in place of CIFAR-10."
    else:
        yield "CIFAR-10 may be a copy recompressed as JPEG; `prunable data list` says so."
    if size.n_train != paper.n_train:
        yield f"{size.n_train:,} training examples instead of 50,000."
    if size.epochs != paper.epochs:
        yield (
            f"Batches of {size.train.batch_size}; {size.epochs} epochs of training and "
            f"{size.epochs} of retraining instead of "
            f"{paper.epochs:,} each, too few to fit the training data."
        )
    if size.bases != paper.bases:
        ours, theirs = (", ".join(map(str, one.bases)) for one in (size, paper))
        yield f"Base widths {ours} instead of {theirs}, dense widths up to {max(size.widths)}."


def _two_layer_notes(size: NetworkSize, paper: NetworkSize) -> Iterator[str]:
    yield (
        "Retraining goes on from the weights that pruning left; the paper does not say where it "
        "starts, so retraining from the initial weights is shown too."
    )
    yield "Biases stay and count among the parameters kept."
    yield (
        "The paper's text as we have it lost base widths, learning rate and epochs: 4 and 2, "
        "0.001 and 200 are inferred. It does not state the batch size."
    )
    if size.train.dataset.name != paper.train.dataset.name:
        yield f"The data are {size.train.dataset.name} in place of MNIST."
    if size.epochs != paper.epochs:
        yield (
            f"{size.epochs} epochs of training and {size.epochs} of retraining instead of "
            f"{paper.epochs} each."
        )
