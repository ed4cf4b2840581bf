"""A learned prior: one network trained on a share of the examples, certified by the others.

A network f errs only where another one, g, errs or the two differ: R(f) <= R(g) + P(f != g). Here g
learns the true labels of the first share of the training examples and nothing else (f's answers
would tell of the others, which f was trained on), so that it is fixed before the others are looked
at: it is all of the prior, costs no bits, and may be any network.

Source: Bazinet, Zantedeschi and Germain (2026); Ambroladze, Parrado-Hernandez and Shawe-Taylor
(2006) for a prior of a part of the examples.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from prunable.certify import quantization
from prunable.certify.architecture import CodedArchitecture, FloatNetwork, count_errors
from prunable.certify.bounds.assumptions import Assumption
from prunable.certify.bounds.base import BoundResult
from prunable.certify.bounds.held_out import held_out_bound
from prunable.certify.bounds.occam import dense_through_compression
from prunable.certify.certificate import Answers
from prunable.certify.examples import Examples
from prunable.certify.given import Logits, as_taken, logits_of
from prunable.certify.student import SMALL, Plan, Students, chain_state, state_file
from prunable.errors import require
from prunable.nets.catalogue import NETS
from prunable.nets.models.registry import Architecture, build
from prunable.nets.models.sources import network_by_reference
from prunable.nets.networks.examples import checked_run, scores_of
from prunable.nets.train.settings import TrainingSettings
from prunable.nets.train.training import train

OnSteps = Callable[[int, int], None]  # told the steps done, and all
_CHAIN_EPOCHS, _CHAIN_LR = 6, 2e-3
_EPOCHS, _LR, _BATCH = 20, 0.05, 128
_UNTRAINED = Assumption(
    "the student was untrained when it met its share, and its settings were chosen without the "
    "other examples",
    "unchecked",
    "no computation can see it: what builds it must read no weights",
)


def learned_bound(
    answers: Answers,
    train: Examples,
    test: Examples,
    classes: int,
    students: Students,
    delta: float,
    on_epoch: quantization.OnEpoch | None = None,
    on_step: OnSteps | None = None,
) -> tuple[BoundResult, int]:
    """Bound a network through a student trained on the first share of the examples alone.

    `answers` are the network's to the test inputs. The second value is the number of labelled
    examples that the student never met, which certify it. Each part has half of delta.

    Raises InputError if a part is empty, or there is no such student; DivergedError if its training
    does not stay finite.
    """
    cut = share_of(train, students)
    first = Examples(train.x[:cut], train.y[:cut])
    rest = Examples(train.x[cut:], train.y[cut:])
    if is_reference(students.learned):
        logits = _network(first, classes, students, on_step)
    else:
        logits = _chain(first, classes, students, on_epoch).logits
    errors = count_errors(logits, *rest.tensors)
    found = held_out_bound(errors, len(rest.y), delta / 2)
    of_student = replace(
        found, about=f"student of {cut:,} examples", assumptions=(*found.assumptions, _UNTRAINED)
    )
    apart = count_errors(logits, *Examples(test.x, answers).tensors)
    return dense_through_compression(of_student, apart, len(test.y), delta / 2), len(rest.y)


def share_of(train: Examples, students: Students) -> int:
    """How many examples the student learns from; InputError unless some are left on both sides."""
    cut = round(students.share * len(train.y))
    wanted = "such that examples are on both sides"
    require(0 < cut < len(train.y), "share", "certify", wanted, students.share)
    return cut


def is_reference(learned: str) -> bool:
    """Whether a text names a network, as `net` does, rather than a chain of the study."""
    return ":" in learned or learned in NETS


def chain_plan(examples: Examples, classes: int, students: Students) -> Plan:
    """A chain of the study, and how it is trained, neither pruned nor rounded."""
    small = min(examples.x.shape[2:]) < SMALL
    text = students.learned
    if text == "auto":
        text = "d64,d" if small else "c5-20,m2,c5-50,m2,d"
    epochs = students.learned_epochs or (40 if small else _CHAIN_EPOCHS)
    settings = quantization.QuantizationSettings.create(
        epochs=epochs,
        float_epochs=epochs,
        keep=1.0,
        rate=0.0,
        lr=students.learned_lr or _CHAIN_LR,
        seed=students.seed,
    )
    return CodedArchitecture.parse(text, examples.x.shape[1:], classes), settings


def _chain(
    examples: Examples, classes: int, students: Students, on_epoch: quantization.OnEpoch | None
) -> FloatNetwork:
    architecture, settings = chain_plan(examples, classes, students)
    net = quantization.QuantizedNet.fresh(architecture, settings.levels, settings.seed)
    state = chain_state(students, examples, (architecture, settings))
    quantization.fine_tune(net, *examples.tensors, settings, checkpoint=state, on_epoch=on_epoch)
    weights = [w.detach() for w in net.weights]
    return FloatNetwork(architecture, weights, [b.detach() for b in net.biases])


def network_plan(
    examples: Examples, classes: int, students: Students, cut: int
) -> tuple[nn.Module, TrainingSettings]:
    """A network of any architecture, untrained, and how it learns from the first `cut` examples.

    By gradient descent with momentum along a cosine. InputError if there is no such network, or it
    does not take these inputs.
    """
    x = as_taken(torch.from_numpy(examples.x[:1].copy()))
    model = _untrained(students.learned, tuple(x.shape[1:]), classes, students.seed)
    outputs = scores_of(checked_run(model, x)).shape
    fits = len(outputs) == 2 and outputs[1] >= classes
    wanted = f"a network that gives scores of {classes} classes"
    require(fits, "learned", "certify", wanted, f"outputs of shape {tuple(outputs)}")
    # batch statistics need two examples
    batch = next((b for b in range(_BATCH, 1, -1) if cut % b != 1), _BATCH)
    steps = (students.learned_epochs or _EPOCHS) * -(-cut // batch)
    augment = students.augment
    if augment is None:  # a mirrored digit may be another one, or none
        augment = x.ndim == 4 and x.shape[1] == 3 and min(x.shape[2:]) >= SMALL
    settings = TrainingSettings(
        lr=students.learned_lr or _LR,
        steps=steps,
        batch_size=batch,
        seed=students.seed,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="cosine",
        augment=augment,
        log_every=steps,
    )
    return model, settings


def network_state(
    students: Students, examples: Examples, model: nn.Module, settings: TrainingSettings
) -> Path | None:
    """Where the training of an untrained network keeps its state."""
    begun = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        begun.update(f"{name} {tuple(tensor.shape)}".encode())
        begun.update(tensor.detach().double().numpy().tobytes())
    return state_file(students, examples, begun.hexdigest(), repr(settings))


def _network(
    examples: Examples, classes: int, students: Students, on_step: OnSteps | None
) -> Logits:
    x, y = examples.tensors
    model, settings = network_plan(examples, classes, students, len(y))
    state = network_state(students, examples, model, settings)

    def told(done: int) -> None:
        if on_step is not None:
            on_step(done, settings.steps)

    model.requires_grad_(True)
    outcome = train(model, as_taken(x), y, settings, checkpoint=state, on_step=told)
    if outcome.status == "diverged":
        mend = "Lower `learned_lr`."
        raise quantization.DivergedError(
            f"the student {students.learned} diverged: {outcome.reason}. {mend}"
        )
    return logits_of(model)


def _untrained(reference: str, shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    """A network of a reference, its weights drawn with the seed."""
    if ":" not in reference:
        generator = torch.Generator()
        generator.manual_seed(seed)
        architecture = Architecture(reference, shape, classes)
        return build(architecture, generator=generator).eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, again = (network_by_reference(reference, "certify") for _ in range(2))
    anew = {id(p) for p in model.parameters()}.isdisjoint(id(p) for p in again.parameters())
    wanted = "a function that builds a network anew"
    mend = "A network at hand may have met the examples that are to certify it."
    require(anew, "learned", "certify", wanted, reference, mend)
    return model
