"""Trainings of the paper's networks at each scale, how they are measured, and plans of them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from prunable.experiments.reproduce.document import Convention, Scale
from prunable.experiments.reproduce.plans import Plan
from prunable.experiments.train.specs import TrainSpec
from prunable.papers import published
from prunable.papers.barsbey2021.specs import COARSE_RATIOS, MeasureSpec
from prunable.runs.spec import Spec

Rates = tuple[tuple[int, tuple[float, ...]], ...]
Case = tuple[str, str]

PAPER = "barsbey2021"
PUBLISHED = published(PAPER)
NET_LABELS = {"fcn4": "FCN4", "fcn6": "FCN6", "vgg": "CNN"}
DATA_LABELS = {"cifar10": "CIFAR-10", "mnist": "MNIST", "digits": "digits"}
PAPER_WIDTHS = {"fcn4": 2048, "fcn6": 2048, "vgg": 64}
# At most three panels beside each other, as in the paper: first CIFAR-10, then MNIST.
CASES: tuple[Case, ...] = tuple((net, data) for data in ("cifar10", "mnist") for net in NET_LABELS)
# Step sizes by batch size of the 215 networks.
PAPER_RATES: dict[Case, Rates] = {
    (net, data): tuple(
        (int(batch), tuple(etas))
        for batch, etas in PUBLISHED.stated["learning_rates"][data][net].items()
    )
    for net, data in CASES
}
SMOKE_CASES: tuple[Case, ...] = (("fcn4", "mnist"), ("vgg", "mnist"))
SMOKE_RATIOS = (0.0, 0.5, 0.9)
# As the released code: averaging starts 9,000 steps after the rule is met. The text has 1,000
# extra steps; their mean would be of the same steps relative to the last, so one training serves
# both conventions.
EXTRA_STEPS, AVERAGE_LAST = 10_000, 1_000
UNTIL_LOSS = 5e-5  # of the stop rule, beside 100 % training accuracy


@dataclass(frozen=True)
class Setting:
    """How the networks of one architecture and data set are trained.

    train : of any step size and batch; small step sizes may take more steps.
    rates : step sizes eta by batch size b.
    horizon : least eta times the most steps.
    """

    train: TrainSpec
    rates: Rates
    horizon: float = 0.0

    @property
    def pairs(self) -> list[tuple[int, float]]:
        """Batch size and step size of each network, in the order of eta / b."""
        pairs = [(batch, eta) for batch, etas in self.rates for eta in etas]
        return sorted(pairs, key=lambda pair: (pair[1] / pair[0], pair[0]))

    def trainings(self) -> dict[str, TrainSpec]:
        """Runs by keys such as `b=50 eta=0.1`, in the order of eta / b."""
        return {f"b={batch} eta={eta:g}": self._training(batch, eta) for batch, eta in self.pairs}

    def _training(self, batch: int, eta: float) -> TrainSpec:
        steps = max(self.train.steps, round(self.horizon / eta))
        own = {"batch_size": batch, "lr": eta, "steps": steps}
        return TrainSpec.create(**{**dict(self.train), **own})

    def summary(self) -> dict[str, Any]:
        """What a reader must know, by words for reports."""
        train, ratios = self.train, [eta / batch for batch, eta in self.pairs]
        loss = "" if train.until_loss is None else f", loss < {train.until_loss:g}"
        return {
            "width": train.width,
            "training examples": train.dataset.train_size or "all",
            "step sizes": len(ratios),
            "eta/b": f"{ratios[0]:.3g} to {ratios[-1]:.3g}",
            "stop rule": f"training accuracy {train.until_accuracy:.0%}{loss}",
            "extra steps, averaged": f"{train.extra_steps}, last {train.average_last}",
        }

    def departure(self) -> str:
        """How the setting departs from the paper's, in words."""
        train, examples = self.train, self.train.dataset.train_size
        size = "all examples" if examples is None else f"{examples:,} examples"
        full = train.until_loss == UNTIL_LOSS
        rule = "full stop rule" if full else f"loss < {train.until_loss:g}"
        said = f"width {train.width}, {size}, {len(self.pairs)} step sizes, {rule}"
        if (train.extra_steps, train.average_last) == (EXTRA_STEPS, AVERAGE_LAST):
            return said
        averaged = f"{train.extra_steps:,} extra steps of which {train.average_last:,} are averaged"
        return f"{said}, {averaged}"


def _train(
    net: str, dataset: str, width: int, train_size: int | None = None, **fields: Any
) -> TrainSpec:
    data = {"name": dataset, "train_size": train_size, "inputs": "standardized"}
    paper = {
        "until_accuracy": 1.0,
        "until_loss": UNTIL_LOSS,
        "extra_steps": EXTRA_STEPS,
        "average_last": AVERAGE_LAST,
        "evaluate_every": 1_000,
    }
    return TrainSpec.create(dataset=data, net=net, width=width, **{**paper, **fields})


def _chain(net: str, dataset: str, *etas: float, until_loss: float = UNTIL_LOSS) -> Setting:
    sizes = {"width": 128, "train_size": 5_000, "steps": 40_000}
    return Setting(_train(net, dataset, until_loss=until_loss, **sizes), ((50, etas),), 1_200)


def _cnn(dataset: str, *etas: float, steps: int, horizon: float) -> Setting:
    averaged = {"extra_steps": 500, "average_last": 250, "evaluate_every": 250}
    train = _train("vgg", dataset, 8, train_size=2_000, until_loss=5e-4, steps=steps, **averaged)
    return Setting(train, ((50, etas),), horizon)


_FCN4_RATES: Rates = (
    (100, (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25)),
    (50, (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)),
)
_LAPTOP = {
    ("fcn4", "mnist"): Setting(
        _train("fcn4", "mnist", 256, steps=100_000, evaluate_every=2_000), _FCN4_RATES, 3_500
    ),
    ("fcn6", "mnist"): _chain("fcn6", "mnist", 0.01, 0.025, 0.05, 0.1, 0.2, 0.3),
    ("fcn4", "cifar10"): _chain(
        "fcn4", "cifar10", 0.01, 0.02, 0.04, 0.06, 0.09, 0.125, until_loss=2e-4
    ),
    ("fcn6", "cifar10"): _chain(
        "fcn6", "cifar10", 0.01, 0.02, 0.04, 0.08, 0.125, 0.18, until_loss=2e-4
    ),
    ("vgg", "cifar10"): _cnn(
        "cifar10", 0.01, 0.016, 0.025, 0.04, 0.055, 0.075, steps=5_000, horizon=250
    ),
    ("vgg", "mnist"): _cnn("mnist", 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, steps=3_000, horizon=120),
}


def setting(case: Case, scale: Scale) -> Setting:
    """How networks of a case are trained at a scale.

    "smoke" trains toys on the embedded digits, whose pictures are too small for the CNN: a
    residual network stands in for it.
    """
    net, dataset = case
    if scale == "laptop":
        return _LAPTOP[case]
    if scale == "paper":
        train = _train(net, dataset, PAPER_WIDTHS[net], steps=1_000_000, evaluate_every=200)
        return Setting(train, PAPER_RATES[case])
    name, width = ("resnet20", 2) if net == "vgg" else ("fcn4", 32)
    rule: dict[str, Any] = {"until_loss": None, "until_accuracy": 0.15, "evaluate_every": 10}
    sizes = {"steps": 60, "extra_steps": 10, "average_last": 5, "train_size": 100}
    return Setting(_train(name, "digits", width, **rule, **sizes), ((20, (0.05, 0.1, 0.2)),))


def cases(scale: Scale, nets: Iterable[str] = tuple(NET_LABELS)) -> tuple[Case, ...]:
    """Cases that a scale has runs of."""
    known = SMOKE_CASES if scale == "smoke" else CASES
    return tuple(case for case in known if case[0] in nets)


def case_label(case: Case, scale: Scale) -> str:
    """Title of a case's panel."""
    train = setting(case, scale).train
    stand_in = f" ({train.net})" if train.net != case[0] else ""
    return f"{NET_LABELS[case[0]]}{stand_in}, {DATA_LABELS[train.dataset.name]}"


def measurement(train: TrainSpec, case: Case, scale: Scale, convention: Convention) -> MeasureSpec:
    """How a network of a case is measured."""
    sizes: dict[str, Any] = {}
    if scale == "smoke":
        sizes = {"test_examples": 50, "train_examples": 0}
    elif scale == "laptop" and case[0] == "vgg":
        sizes = {"test_examples": 1_000, "train_examples": 500}
    if sizes:
        ratios = SMOKE_RATIOS if scale == "smoke" else COARSE_RATIOS
        names = ("magnitude_ratios", "spectral_ratios", "node_ratios")
        sizes |= dict.fromkeys(names, ratios)
    return MeasureSpec.create(train=train, convention=convention, **sizes)


def network_plan(
    scale: Scale,
    convention: Convention,
    chosen: Sequence[Case],
    spec_of: Callable[[TrainSpec, Case, Scale, Convention], Spec] = measurement,
) -> Plan:
    """Plan one run for each network of each case, by keys such as `fcn4-mnist/b=50 eta=0.1`."""
    runs = {
        f"{'-'.join(case)}/{key}": spec_of(train, case, scale, convention)
        for case in chosen
        for key, train in setting(case, scale).trainings().items()
    }
    settings = {
        f"{case_label(case, scale)}: {key}": value
        for case in chosen
        for key, value in setting(case, scale).summary().items()
    }
    return Plan(scale, convention, runs, settings, tuple(_notes(scale, chosen)))


def _notes(scale: Scale, chosen: Sequence[Case]) -> Iterable[str]:
    if scale == "smoke":
        yield "Toys on the embedded digits; a residual network stands in for the CNN."
        return
    yield (
        f"The averaged network is the mean of the last {AVERAGE_LAST:,} of {EXTRA_STEPS:,} steps "
        "taken after the stop rule is met, as in the released code; the text has "
        f"{AVERAGE_LAST:,} extra steps. One training serves both conventions."
    )
    for case in chosen if scale == "laptop" else ():
        yield f"{case_label(case, scale)}: {setting(case, scale).departure()}."
