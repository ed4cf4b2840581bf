"""The certificate study: networks trained, pruned, quantised, encoded and bounded, from scratch."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import Field

from prunable.certify.architecture import CodedArchitecture, count_errors
from prunable.certify.certificate import certify_network, write_certificate
from prunable.certify.checkpoint import save_network
from prunable.certify.examples import examples_of
from prunable.certify.polishing import polish
from prunable.certify.quantization import (
    DivergedError,
    QuantizationSettings,
    QuantizedNet,
    fine_tune,
)
from prunable.experiments.reproduce.checks import percent, undecided
from prunable.experiments.reproduce.document import Check, Column, Convention, Findings, Scale
from prunable.experiments.reproduce.frame import Found
from prunable.experiments.reproduce.items import Gather, Item
from prunable.experiments.reproduce.plans import Plan
from prunable.experiments.reproduce.tables import Line, Metric, TableSpec
from prunable.numerics.randomness import child_seed
from prunable.runs.data import DataSpec
from prunable.runs.execution import CHECKPOINT
from prunable.runs.spec import Spec
from prunable.runs.store import Run

CERTIFICATE = "certificate.json"


class CertifySpec(QuantizationSettings, Spec):
    """One certified network."""

    stage: ClassVar[str] = "prunable.certify.study:certify_stage"

    data: DataSpec
    random_labels: bool = False  # whether labels are drawn anew, uniformly: the control
    net: str = "c5-8,m4,c3-12,m2,d"  # see `prunable.certify.architecture`
    delta: float = Field(0.05, gt=0, lt=1)
    epochs: int = Field(20, ge=1)
    keep: float = Field(0.8, gt=0, le=1)
    rate: float = Field(1.5e-4, ge=0)
    lr: float = Field(1e-2, gt=0)

    @property
    def label_seed(self) -> int | None:
        """Seed of the random labels of a control."""
        return child_seed(self.seed, "certify", "labels") if self.random_labels else None

    def estimated_seconds(self) -> float:
        """Rough time on one core: ten seconds an epoch on 60,000 small pictures."""
        return self.epochs * self.data.n_train / 6000


def certify_stage(spec: CertifySpec, run: Run) -> dict[str, Any]:
    """Certify one network; leaves certificate.json, certificate.code and model.safetensors."""
    data = spec.data.load(flatten=False)
    train, test = examples_of(data, spec.label_seed)
    architecture = CodedArchitecture.parse(spec.net, train.x.shape[1:], len(data.class_names))
    net = QuantizedNet.fresh(architecture, spec.levels, spec.seed).to(run.device)
    try:
        log = fine_tune(
            net,
            *train.tensors,
            spec,
            checkpoint=run.folder / CHECKPOINT,
            on_epoch=lambda epoch, _: run.on_step(epoch),
        )
    except DivergedError as error:
        return {"status": "diverged", "reason": str(error)}
    net.to("cpu")
    notes = {
        "dataset": spec.data.name,
        "random_labels": spec.label_seed,
        "settings": spec.to_dict(),
    }
    network = polish(net.coded(), *train.tensors, spec.delta)
    certificate = certify_network(network, train, test, spec.delta, notes)
    write_certificate(run.folder / CERTIFICATE, certificate)
    save_network(run.folder / "model.safetensors", certificate.network)
    latent = count_errors(lambda x: net.logits(x.float(), rounded=False).double(), *train.tensors)
    return {
        "statement": certificate.statement,
        "notes": certificate.document["notes"],
        "latent_errors": latent,
        "log": log,
    }


_PICTURES: dict[str, Any] = {"float_epochs": 2, "keep": 1.0, "lr": 1.2e-2, "q": 0.7}
PICTURES: dict[str, dict[str, Any]] = {
    name: {"net": net, "rate": rate, "epochs": epochs, **_PICTURES}
    for name, net, rate, epochs in (
        ("mnist", "s,u,e5,m4,c1-8,c3-12,m2,d", 2e-4, 28),
        ("fashion-mnist", "e5,m4,c1-12,c3-12,m2,d", 1.2e-4, 48),
        ("cifar10", "f,e5,m4,c1-12,c3-12,m2,d", 1.5e-4, 48),
    )
}
# of controls, which learn nothing longer, and of students unless they are told
FEWER_EPOCHS = {"mnist": 14, "fashion-mnist": 24, "cifar10": 16}
SMOKE: dict[str, Any] = {
    "net": "d12,d",
    "epochs": 12,
    "keep": 0.4,
    "levels": 1,
    "rate": 1e-3,
    "lr": 2e-2,
    "batch_size": 50,
}
SEEDS: dict[Scale, int] = {"smoke": 1, "laptop": 1, "paper": 3}
COLUMNS = (
    Metric("weights", "weights", digits=0),
    Metric("kept", "kept", digits=0),
    Metric("bits", "bits", digits=0),
    Metric("float_train_error", "unrounded train error", "%", 2),
    Metric("train_error", "train error", "%", 2),
    Metric("test_error", "test error", "%", 2),
    Metric("bound", "certified", "%", 2),
    Metric("bound_with_permutations", "with permutations", "%", 2),
    Metric("held_out_bound", "by test set", "%", 2),
    Metric("guessing", "guessing", "%", 2),
)


def _plan(scale: Scale, convention: Convention) -> Plan:
    settings = {"digits": SMOKE} if scale == "smoke" else PICTURES
    runs: dict[str, Spec] = {}
    for seed in range(SEEDS[scale]):
        for name, its in settings.items():
            spec = CertifySpec.create(data=name, seed=seed, **its)
            runs[f"{name}, seed {seed}"] = spec
    for name, its in settings.items():
        its = its | {"epochs": FEWER_EPOCHS.get(name, its["epochs"])}
        spec = CertifySpec.create(data=name, random_labels=True, **its)
        runs[f"{name}, random labels"] = spec
    nets = ", ".join(f"{its['net']} on {name}" for name, its in settings.items())
    seeds = SEEDS[scale]
    return Plan(scale, convention, runs, {"net": nets, "delta": spec.delta, "seeds": seeds})


def measure(spec: Spec, result: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """What a certificate comes to."""
    del spec
    statement, notes = result["statement"], result["notes"]
    train, test = statement["train"], statement["test"]
    yield from (("weights", notes["weights"]), ("kept", notes["kept"]), ("bits", statement["bits"]))
    yield "float_train_error", result["latent_errors"] / train["n"]
    yield "train_error", train["errors"] / train["n"]
    yield "test_error", test["errors"] / test["n"]
    yield "bound", train["bound"]
    yield "bound_with_permutations", notes["bound_with_permutations"]
    yield "held_out_bound", test["bound"]
    yield "guessing", 1 - 1 / notes["classes"]


def _claims(found: Found) -> Iterator[Check]:
    bounds = found.frame.select(metric="bound").group("condition")
    control = [name for name in bounds if "random" in name]

    def compare(statement: str, names: list[str], metric: str, below: bool) -> Check:
        if not names:
            return undecided(statement)
        holds = all(
            (bounds[name].values < found.of(name, metric).values) is below for name in names
        )
        evidence = "; ".join(f"{name}: {percent(bounds[name].mean)}" for name in names)
        return Check(statement, holds, evidence)

    true = [name for name in bounds if name not in control]
    yield compare("Less than guessing is certified", true, "guessing", True)
    statement = "Of random labels no more than guessing is certified"
    yield compare(statement, control, "guessing", False)
    statement = "No bound is below the error on the test set"
    yield compare(statement, list(bounds), "test_error", False)


def _gather(plan: Plan, results: Mapping[str, dict[str, Any]]) -> Findings:
    lines = [Line(key, key) for key in plan.runs]
    table = TableSpec("Certificates", Column("run", "data"), COLUMNS, lines)
    return Gather(tables=(table,), claims=(_claims,), measure=measure)(plan, results)


CERTIFICATES = Item(
    name="study-certificates",
    paper=None,
    kind="study",
    label="Certificates",
    title="Certified errors of small networks, and of their controls",
    claim="A network of half a kilobyte is certified far below guessing by its code alone.",
    plan=_plan,
    gather=_gather,
)
