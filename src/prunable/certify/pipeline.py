"""Every bound of a user's network: its own code, its noise, its margins, its held-out errors."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from prunable.arguments import checked
from prunable.certify.architecture import FloatNetwork, count_errors, without_weights
from prunable.certify.bounds.base import DENSE, BoundResult
from prunable.certify.bounds.checks import check_delta
from prunable.certify.bounds.held_out import held_out_bound
from prunable.certify.bounds.inversion import why_vacuous
from prunable.certify.bounds.occam import dense_through_compression, occam_bound
from prunable.certify.certificate import Certificate, advice, certify_network
from prunable.certify.checkpoint import as_modules, integer_network
from prunable.certify.code_file import CodedNetwork
from prunable.certify.coding.levels import ideal_bits
from prunable.certify.examples import Examples, examples_of
from prunable.certify.gaussian_posterior import SHARES, GaussianPosterior, gaussian_certificate
from prunable.certify.given import GivenNetwork, as_taken, read_given
from prunable.certify.learned import (
    OnSteps,
    chain_plan,
    is_reference,
    network_plan,
    network_state,
    share_of,
)
from prunable.certify.network_bounds import bounds_of_model
from prunable.certify.path import PathCertificate, certify_path
from prunable.certify.polishing import passes
from prunable.certify.quantization import OnPhase, QuantizationSettings, QuantizedNet, fine_tune
from prunable.certify.statements import Statement, above, together
from prunable.certify.student import Plan, Students, chain_state, student_plan
from prunable.certify.telling import Told
from prunable.data.loaders import load
from prunable.data.own import is_own, load_own
from prunable.errors import InputError, UnsupportedModelError, require
from prunable.experiments.prune.inputs import FROM_ZERO
from prunable.nets.networks.examples import checked_run, scores_of
from prunable.nets.train.checkpoint import progress_of
from prunable.results import Result


@dataclass(frozen=True, eq=False, repr=False)
class CertifiedModel(Result):
    """Three statements about a network, and every bound: those of its certificate, then the others.

    The certificate is of the pruned and quantised network, that of the `student` is of a small one
    that answers alike, and of the network through it. Where no code file can name the network,
    both are the student's. `skipped` names bounds that cannot be evaluated here, and why; `advice`
    says what would certify more.
    """

    model: str
    certificate: Certificate
    bounds: tuple[BoundResult, ...]
    skipped: tuple[tuple[str, str], ...]
    advice: str
    statements: tuple[Statement, ...] = ()
    student: Certificate | None = None
    path: PathCertificate | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON document of `prunable certify --json`."""
        statement, notes = self.certificate.statement, self.certificate.document["notes"]
        guessing = 1 - 1 / notes["classes"]
        sound = [b for b in self.bounds if b.quantity == "risk" and not b.violated]
        best = min(sound, key=lambda bound: bound.value)
        return {
            "model": self.model,
            "n": statement["train"]["n"],
            "delta": statement["delta"],
            "network": notes["network"],
            "weights": notes["weights"],
            "kept": notes["kept"],
            "bits": statement["bits"],
            "guessing": guessing,
            "statements": [statement.to_dict() for statement in self.statements],
            "together": together(self.statements),
            "path": None if self.path is None else self.path.to_dict(),
            "bounds": [
                {
                    **bound.to_dict(),
                    "certifies": bound in sound and bound.value < guessing,
                    "why": why_vacuous(bound),
                }
                for bound in self.bounds
            ],
            "best": {"name": best.name, "about": best.about, "value": min(best.value, 1.0)},
            "skipped": [{"name": name, "reason": reason} for name, reason in self.skipped],
            "advice": self.advice,
        }

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        shown = ("name", "about", "quantity", "value", "certifies")
        return [{key: bound[key] for key in shown} for bound in self.to_dict()["bounds"]]

    def __repr__(self) -> str:
        found = self.to_dict()["best"]
        return f"CertifiedModel({self.model}: {found['name']}, {above(found['value'])})"


@checked("certify")
def certify_model(
    path: Path | str,
    dataset: str,
    *,
    net: str | None = None,
    held_out: str = "test",
    delta: float = 0.05,
    settings: QuantizationSettings | None = None,
    students: Students | None = None,
    shares: int = 0,
    draws: int = 3000,
    unpickle: bool = False,
    on_epoch: OnPhase | None = None,
    on_step: OnSteps | None = None,
    on_estimate: Callable[[float], None] | None = None,
) -> CertifiedModel:
    """Certify a network as it is by three statements, and evaluate every bound there is.

    `dataset` is a registered set, or your own as `prune` takes it (an .npz file, a folder of
    pictures), which the certificate then knows by its digest alone. `net` says which network the
    weights are of, as in `prunable.load`; dense layers with ReLU and networks of the study need
    none. `held_out` is "test" for the test part of the set that it was trained on, another
    registered name for that one's, or "none". The settings are of the fine-tuning that makes
    integers, behind as many epochs of pruning if `keep` is below 1; a network that holds integers
    already is taken as it is. `students` are small networks that answer like it; both are "none"
    if not given; `shares` of a pruning path are certified all at once, 0 for no path; they stand in
    the notes of the certificate. Each bound fails with probability delta on its own; no `draws`
    leave the Gaussian posterior out.

    `on_estimate` is told beforehand how many seconds it takes, roughly; `on_epoch` which training
    has how many epochs behind it, and the mean loss of the last.

    Raises InputError if weights, inputs or logits are not finite, or a network that no code file
    can name has no student; UnsupportedModelError if nothing says what the network is;
    DivergedError if a training does not stay finite.

    >>> import tempfile, prunable
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     training = prunable.train(folder, dataset="digits", net="two-layer", width=8, epochs=3)
    ...     certified = prunable.certify(training.model, "digits", draws=0)
    >>> len(certified.bounds) > 1
    True
    """
    check_delta(delta, "certify")
    path, students = Path(path), students or Students(net="none", learned="none")
    train, test, classes = _examples(dataset, held_out)
    channels, height, width = train.x.shape[1:]
    given = read_given(path, (channels, height, width), net, unpickle=unpickle)
    _check_classes(given, train, classes, dataset)
    notes = {"dataset": dataset, "random_labels": None, "model": path.name}
    told = Told(given, train, test, classes, delta, notes, on_epoch, on_step)
    if on_estimate is not None:
        on_estimate(estimated_seconds(told, students, settings, shares, draws))
    student, held = told.through_student(students), told.held_out()
    if given.chain is None:
        mend = "Name one, or leave the option out."
        wanted = "a student of a network that no code file can name"
        require(student is not None, "student", "certify", wanted, "none", mend)
        assert student is not None
        certificate, how = student, f"Its weights take {given.bits:,} bits as stored."
        skipped: list[tuple[str, str]] = []
        bounds = [told.stored(), *([held.bound, student.bounds[-1]] if held else [])]
    else:
        certificate, bounds, skipped = _of_chain(told, given.chain, settings, draws)
        bits = certificate.statement["bits"]
        how = f"The pruned and quantised network made of it is a file of {bits:,} bits."
    found = (
        held,
        told.compression(bounds[0], how),
        told.by_student(student, bounds),
        told.through_learned(students),
    )
    path_found = None
    if shares:
        coded = None if given.chain is None else certificate.network
        path_found = certify_path(given, test, coded, train, shares=shares, delta=delta)
        document = dict(certificate.document)
        document["notes"] = {**document["notes"], "path": path_found.columns}
        certificate = replace(certificate, document=document)
    stated = certificate.statement["train"]
    halfway = (stated["errors"] / stated["n"] + stated["bound"]) / 2
    more = advice(certificate, min(max(halfway, 1e-4), 1 - 1e-4))
    statements = tuple(statement for statement in found if statement is not None)
    return CertifiedModel(
        str(path), certificate, tuple(bounds), tuple(skipped), more, statements, student, path_found
    )


def _examples(dataset: str, held_out: str) -> tuple[Examples, Examples | None, int]:
    """Training and held-out examples, and the number of classes."""
    data = load_own(dataset, where="certify") if is_own(dataset) else load(dataset, flatten=False)
    train, own = examples_of(data)
    test: Examples | None = own
    if held_out != "test":
        test = None if held_out == "none" else examples_of(load(held_out, flatten=False))[1]
    alike = test is None or test.x.shape[1:] == train.x.shape[1:]
    require(alike, "held_out", "certify", f"a set of inputs like {dataset}'s", held_out)
    return train, test, len(data.class_names)


def _check_classes(given: GivenNetwork, train: Examples, classes: int, dataset: str) -> None:
    """Raise InputError if a network does not take the data, or gives no scores of their classes."""
    x = torch.from_numpy(train.x[:2].copy())
    if given.model is not None:
        checked_run(given.model, as_taken(x), "data")
    with torch.no_grad():
        shown = tuple(given.logits(x.double()).shape)
    wanted = f"data whose classes ({classes} here) the network gives scores of, (n, classes)"
    fits = len(shown) == 2 and shown[1] >= classes
    require(fits, "data", "certify", wanted, f"{dataset}, on which it gives {shown}", FROM_ZERO)


def _of_chain(
    told: Told, dense: FloatNetwork, settings: QuantizationSettings | None, draws: int
) -> tuple[Certificate, list[BoundResult], list[tuple[str, str]]]:
    """Certificate and bounds of a network that a code file can name; what is left out, and why."""
    train, test, delta = told.train, told.test, told.delta
    network, pruned = integer_network(dense), dense
    if network is None:
        chosen = settings or QuantizationSettings(epochs=5, float_epochs=0, keep=1.0, lr=1e-3)
        network, pruned = _quantized(dense, told, chosen)
    certificate = certify_network(network, train, test, delta, told.notes)
    bounds, skipped = list(certificate.bounds), []
    if test is not None:
        bounds += _of_dense(dense, test, delta, bounds[0], network)
    if draws:
        try:
            bounds += gaussian_certificate(pruned, train, delta, draws=draws)
        except InputError as error:
            skipped.append(("PAC-Bayes with a Gaussian posterior", str(error)))
    try:
        # the bounds of the papers and their baselines, where they know the network
        bounds += bounds_of_model(
            as_modules(dense), *train.tensors, as_modules(pruned), delta=delta, tickets=True
        )
    except (UnsupportedModelError, InputError) as error:
        skipped.append(("bounds of norms and margins", str(error)))
    return certificate, bounds, skipped


def _quantized(
    dense: FloatNetwork, told: Told, settings: QuantizationSettings
) -> tuple[CodedNetwork, FloatNetwork]:
    """Prune in rounds, then round to integers; the coded and the latent pruned network."""
    net = QuantizedNet(dense.architecture, settings.levels, dense.weights, dense.biases)
    rounding = settings.model_copy(update={"keep": 1.0, "float_epochs": 0})
    if settings.keep < 1:
        epochs = -(-settings.epochs // settings.prune_rounds)
        pruning = rounding.model_copy(
            update={"epochs": epochs, "float_epochs": epochs, "rate": 0.0}
        )
        for round_ in range(settings.prune_rounds):
            net.prune(settings.keep ** ((round_ + 1) / settings.prune_rounds))
            phase = told.epochs_of(f"pruning {round_ + 1} of {settings.prune_rounds}")
            fine_tune(net, *told.train.tensors, pruning, on_epoch=phase)
        net.fit_steps()
    fine_tune(net, *told.train.tensors, rounding, on_epoch=told.epochs_of("rounding"))
    return net.coded(), net.pruned()


def _of_dense(
    dense: FloatNetwork, test: Examples, delta: float, compressed: BoundResult, coded: CodedNetwork
) -> list[BoundResult]:
    """Bounds of the dense network: by the held-out set, and through its compression."""
    x, y = test.tensors
    errors, apart = count_errors(dense.logits, x, y), 0
    with torch.no_grad():
        for batch in x.split(1000):
            apart += int((dense.logits(batch).argmax(1) != coded.logits(batch).argmax(1)).sum())
    half = occam_bound(
        round(compressed.term("k").value),
        compressed.n or 0,
        compressed.term("L").value,
        delta / 2,
        about=compressed.about,
    )
    return [
        replace(held_out_bound(errors, len(y), delta), about=DENSE),
        dense_through_compression(half, apart, len(y), delta / 2),
    ]


_BATCH, _RUNS, _CODED = 32, 4, 1000


def estimated_seconds(
    told: Told,
    students: Students,
    settings: QuantizationSettings | None,
    shares: int,
    draws: int = 0,
) -> float:
    """Rough time on one core: of answers, what is left of trainings, codes, and networks drawn.

    Each is made for a few examples or weights and counted up. Norms and margins are left out.
    """
    n, m = len(told.train.y), 0 if told.test is None else len(told.test.y)
    x = torch.from_numpy(told.train.x[:_BATCH].copy())
    with torch.no_grad():
        asked = _seconds(lambda: told.given.logits(x.double())) / len(x)
    total = asked * (2 * n + (2 + shares) * m)
    if students.net != "none":
        plan = student_plan(told.train, told.classes, students)
        kept = students.states is not None and any(Path(students.states).glob("student-*"))
        state = chain_state(students, Examples(told.train.x, told.taught), plan) if kept else None
        total += n * (_of_plan(plan, x, state) + _of_polishing(plan, x))
    if students.learned != "none" and m:
        cut = share_of(told.train, students)
        first = Examples(told.train.x[:cut], told.train.y[:cut])
        if is_reference(students.learned):
            model, training = network_plan(told.train, told.classes, students, cut)
            state = network_state(students, first, model, training)
            model.train().requires_grad_(True)  # as it learns, which may be another way to answer
            step = _trained(lambda: scores_of(model(as_taken(x)))) / len(x)
            left = training.steps - _done(state).get("step", 0)
            total += left * training.batch_size * step
        else:
            plan = chain_plan(first, told.classes, students)
            total += cut * _of_plan(plan, x, chain_state(students, first, plan))
    if told.given.chain is not None and settings is not None:
        chain = told.given.chain
        net = QuantizedNet(chain.architecture, settings.levels, chain.weights, chain.biases)
        passes = settings.epochs * (1 if settings.keep >= 1 else 2)
        total += n * passes * _of_net(net, x) + _of_coding(net, settings.keep, draws > 0)
    if told.given.chain is not None and draws:
        posterior = GaussianPosterior.around(told.given.chain, SHARES[-1], masks=0.0)
        with suppress(InputError):  # which leaves that bound out
            once = _seconds(lambda: posterior.risks(told.train, batches=1, seed=0))
            total += once * (draws + len(SHARES) * max(1, draws // 10))
    return total


def _of_plan(plan: Plan, x: torch.Tensor, state: Path | None) -> float:
    """Seconds of the epochs of a chain that are left, for each example."""
    architecture, settings = plan
    net = QuantizedNet.fresh(architecture, settings.levels, settings.seed)
    return (settings.epochs - len(_done(state).get("log", ()))) * _of_net(net, x)


def _of_polishing(plan: Plan, x: torch.Tensor) -> float:
    """Seconds of the search behind training, for each example; more than it may take."""
    architecture, settings = plan
    net = QuantizedNet.fresh(architecture, settings.levels, settings.seed)
    begun = without_weights(architecture, x)
    with torch.no_grad():
        once = _seconds(lambda: net.logits(begun, rounded=True, begun=True)) / len(x)
    return once * passes(len(net.weights) - 1)


def _of_coding(net: QuantizedNet, keep: float, masked: bool) -> float:
    """Seconds of writing a network twice, for its length and what orders of units save, and masks.

    By some rows of its largest layer, of which a share is kept.
    """
    layer = max((layer.weights for layer in net.coded().layers), key=lambda w: w.size)
    rows = layer[: -(-_CODED // layer[0].size)]
    rows = rows * (np.random.default_rng(0).random(rows.shape) < keep)
    once = _seconds(lambda: ideal_bits(rows, net.levels))
    if masked:
        once += _seconds(lambda: ideal_bits((rows != 0).astype(np.int64), 1)) / 2
    return 2 * once * net.architecture.n_weights / rows.size


def _done(state: Path | None) -> dict[str, Any]:
    """What a training has behind it, by the state that it kept."""
    return {} if state is None or not state.exists() else progress_of(state)


def _of_net(net: QuantizedNet, x: torch.Tensor) -> float:
    net.requires_grad_(True)
    return _trained(lambda: net.logits(x, rounded=True)) / len(x)


def _trained(logits: Callable[[], torch.Tensor]) -> float:
    def step() -> None:
        found = logits()
        functional.cross_entropy(found, found.argmax(1)).backward()

    return _seconds(step)


def _seconds(run: Callable[[], object]) -> float:
    """Least time of some runs on the processor: the first prepares, others may be disturbed."""

    def once() -> float:
        started = process_time()
        run()
        return process_time() - started

    return min(once() for _ in range(_RUNS))
