"""Training of many small networks at once: seeds, tail indices and noise levels of one study."""

import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import torch

from prunable.errors import InputError, check_at_least, require
from prunable.nets.train.settings import TrainingOutcome, TrainingSettings
from prunable.nets.train.stacked_chain import StackedChain, chain_of
from prunable.nets.train.training import Trainee, advance, check_examples


@dataclass(frozen=True)
class Replica:
    """One of the networks trained together; settings and files are those of `train`.

    The model is a chain of linear layers with ReLU between them, and is trained in place; its
    pictures cannot be augmented. `on_step` is called on a thread of its own.
    """

    model: torch.nn.Module
    settings: TrainingSettings
    checkpoint: Path | None = None
    on_step: Callable[[int], None] | None = None


def train_together(
    replicas: Sequence[Replica],
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    threads: int | None = None,
    together: int | None = None,
) -> list[TrainingOutcome]:
    """Train networks on the same data, each as `train` would.

    Gives the outcomes in the order of `replicas`: those of `train`, up to the rounding of sums
    taken in another order. One that diverges leaves; the others go on. The numbers of a replica
    depend neither on the others nor on `threads`.

    Models lie on the device of the data. On the CPU `threads`, by default as many as torch uses,
    share the replicas out among them, and each computes on one. `together` replicas of equal
    architectures and batch sizes are one stack of tensors: by default 1 on the CPU, where a wide
    network fills a core, and all that are equal on an accelerator.
    """
    where = "train_together"
    check_examples(x, y, where)
    for name, value in (("threads", threads), ("together", together)):
        check_at_least(1 if value is None else value, 1, name, where)
    for replica in replicas:
        if replica.settings.augment:
            raise InputError("`train_together` does not augment pictures. Use `train`.")
        kinds = {(p.dtype, p.device) for p in replica.model.parameters()}
        wanted = "of the type and on the device of the models"
        require(kinds == {(x.dtype, x.device)}, "x", where, wanted, x.dtype)
    on_cpu = x.device.type == "cpu"
    trainees = [
        Trainee(r.model, x, y, r.settings, checkpoint=r.checkpoint, on_step=r.on_step)
        for r in replicas
    ]
    stacks = _stacks(trainees, together or (1 if on_cpu else max(1, len(trainees))))
    before = torch.get_num_threads()
    workers = min(threads or before, len(stacks)) if on_cpu else 1
    try:
        if on_cpu:
            torch.set_num_threads(1)
        if workers > 1:
            _on_threads(workers, stacks)
        else:
            for stack in stacks:
                _train_stack(stack, threading.Event())
    finally:
        torch.set_num_threads(before)
    return [trainee.outcome() for trainee in trainees]


def _stacks(trainees: Sequence[Trainee], most: int) -> list[list[Trainee]]:
    """Those that can go in lockstep: of equal form, at one step, with batches of one size."""
    alike: dict[object, list[Trainee]] = {}
    for trainee in trainees:
        chain = chain_of(trainee.model)
        if trainee.ended:
            continue
        form = tuple((p.shape, p.dtype, p.requires_grad) for p in trainee.model.parameters())
        batch_size = min(trainee.settings.batch_size, len(trainee.x))
        alike.setdefault((chain, form, batch_size, trainee.step), []).append(trainee)
    return [
        group[start : start + most]
        for group in alike.values()
        for start in range(0, len(group), most)
    ]


def _on_threads(workers: int, stacks: Sequence[list[Trainee]]) -> None:
    stop = threading.Event()
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        futures = [pool.submit(_train_stack, stack, stop) for stack in stacks]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _train_stack(trainees: Sequence[Trainee], stop: threading.Event) -> None:
    while trainees and not stop.is_set():
        stack = StackedChain([trainee.model for trainee in trainees])
        advance(trainees, functools.partial(_losses, stack, trainees), stop)
        for trainee in trainees:
            for parameter in trainee.model.parameters():  # memory of its own again
                parameter.grad = None
                parameter.data = parameter.detach().clone()
        trainees = [trainee for trainee in trainees if not trainee.ended]


def _losses(stack: StackedChain, trainees: Sequence[Trainee]) -> list[float]:
    """Losses of every replica's next batch; leaves the gradients in the replicas."""
    batches = [trainee.next_batch() for trainee in trainees]
    inputs, labels = batches[0]
    if inputs is trainees[0].x:  # all examples, which need no copy for each
        x = inputs.flatten(1).expand(len(batches), -1, -1)
        y = labels.expand(len(batches), -1)
    else:
        x = torch.stack([batch[0] for batch in batches]).flatten(2)
        y = torch.stack([batch[1] for batch in batches])
    losses: list[float] = stack.loss_and_gradients(x, y).tolist()
    return losses
