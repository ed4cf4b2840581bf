"""How long it takes to certify a network, by a step of each part before any of them goes on."""

from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import torch
from torch.nn import functional

from prunable.certify.architecture import without_weights
from prunable.certify.examples import Examples
from prunable.certify.given import as_taken
from prunable.certify.learned import chain_plan, is_reference, network_plan, network_state, share_of
from prunable.certify.polishing import passes
from prunable.certify.quantization import QuantizationSettings, QuantizedNet
from prunable.certify.student import Plan, Students, chain_state, student_plan
from prunable.certify.telling import Told
from prunable.nets.networks.examples import scores_of
from prunable.nets.train.checkpoint import progress_of

_BATCH, _RUNS = 32, 4


def estimated_seconds(
    told: Told, students: Students, settings: QuantizationSettings | None, shares: int
) -> float:
    """Rough time on one core of answers and of what is left of trainings, not of the bounds."""
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
        total += n * passes * _of_net(net, x)
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
