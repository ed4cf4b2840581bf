"""How long it takes to certify a network, by a step of each part before any of them begins."""

from collections.abc import Callable
from time import process_time

import torch
from torch.nn import functional

from prunable.certify.given import as_taken
from prunable.certify.learned import chain_plan, is_reference, network_plan, share_of
from prunable.certify.quantization import QuantizationSettings, QuantizedNet
from prunable.certify.student import Plan, Students, student_plan
from prunable.certify.telling import Told
from prunable.nets.networks.examples import scores_of

_BATCH, _RUNS = 32, 4


def estimated_seconds(
    told: Told, students: Students, settings: QuantizationSettings | None, shares: int
) -> float:
    """Rough time on one core of answers and trainings from the start, not of the bounds."""
    n, m = len(told.train.y), 0 if told.test is None else len(told.test.y)
    x = torch.from_numpy(told.train.x[:_BATCH].copy())
    with torch.no_grad():
        asked = _seconds(lambda: told.given.logits(x.double())) / len(x)
    total = asked * (2 * n + (2 + shares) * m)
    if students.net != "none":
        total += n * _of_plan(student_plan(told.train, told.classes, students), x)
    if students.learned != "none" and m:
        cut = share_of(told.train, students)
        if is_reference(students.learned):
            model, training = network_plan(told.train, told.classes, students, cut)
            model.train().requires_grad_(True)  # as it learns, which may be another way to answer
            step = _trained(lambda: scores_of(model(as_taken(x)))) / len(x)
            total += training.steps * training.batch_size * step
        else:
            total += cut * _of_plan(chain_plan(told.train, told.classes, students), x)
    if told.given.chain is not None and settings is not None:
        chain = told.given.chain
        net = QuantizedNet(chain.architecture, settings.levels, chain.weights, chain.biases)
        passes = settings.epochs * (1 if settings.keep >= 1 else 2)
        total += n * passes * _of_net(net, x)
    return total


def _of_plan(plan: Plan, x: torch.Tensor) -> float:
    """Seconds of all epochs of a chain, for each example."""
    architecture, settings = plan
    net = QuantizedNet.fresh(architecture, settings.levels, settings.seed)
    return settings.epochs * _of_net(net, x)


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
