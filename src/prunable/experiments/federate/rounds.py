"""Rounds of federated learning: clients train, prune and send; the server averages.

The two halves of a round, `answer` and `average_into`, are plain functions that exchange
bytes; `flower` runs the same ones under Flower.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from filelock import FileLock

from prunable.data.partition import Parts, dirichlet_parts, iid_parts
from prunable.errors import RunsFailedError
from prunable.experiments.federate.specs import FederatedMethod, FederatedSpec
from prunable.experiments.train.networks import as_tensors
from prunable.files import damage_named, os_errors_named, parsed
from prunable.nets.archive import load_tensors, save_tensors
from prunable.nets.federated.aggregation import add_update, weighted_mean
from prunable.nets.federated.client import train_locally
from prunable.nets.federated.message import decode, encode
from prunable.nets.federated.update_pruning import add_memory, prune_update, residual, top_k
from prunable.nets.models import NETS, Architecture, build
from prunable.nets.train.training import evaluate
from prunable.numerics.randomness import child_seed, rng
from prunable.runs.store import Run

State = dict[str, torch.Tensor]
Row = dict[str, Any]
OnRound = Callable[[Row], None]
MEASURED_KAPPA = 0.1
_SERVER, _MEMORY = "server:", "memory:"


@dataclass(frozen=True, eq=False)
class Federation:
    """What a run needs besides its state: data, the examples of each client, a scratch network."""

    model: torch.nn.Module
    x: torch.Tensor
    y: torch.Tensor
    x_test: torch.Tensor
    y_test: torch.Tensor
    parts: Parts

    def examples(self, client: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and classes of one client."""
        part = torch.from_numpy(self.parts[client])
        return self.x[part], self.y[part]


@dataclass(frozen=True, eq=False)
class Answer:
    """What a client gives back: a message, unless its training diverged, and its memory.

    `info` has client, bytes, error (relative l2 error of what was sent), kept (share of entries
    sent that are not 0), loss, reason (why it diverged, or ""), compressibility (of the first
    client alone, see `compressibility`).
    """

    message: bytes | None
    memory: State | None
    info: Row


def federate(spec: FederatedSpec) -> Federation:
    """Load the data, deal it out, and build the initial network.

    Raises InputError if the data cannot be dealt out like that, or the network takes no such
    examples.
    """
    pictures = spec.net in NETS and NETS[spec.net].pictures
    data = spec.dataset.load(flatten=not pictures)
    x, y, x_test, y_test = as_tensors(data)
    generator = rng(spec.seed, "partition", spec.partition)
    if spec.partition == "iid":
        parts = iid_parts(len(y), spec.clients, generator)
    else:
        parts = dirichlet_parts(data.y_train, spec.clients, spec.concentration, generator)
    architecture = Architecture(spec.net, x.shape[1:], len(data.class_names), spec.width)
    weights = torch.Generator().manual_seed(child_seed(spec.seed, "weights"))
    return Federation(build(architecture, generator=weights), x, y, x_test, y_test, parts)


def answer(
    spec: FederatedSpec,
    model: torch.nn.Module,
    state: Mapping[str, torch.Tensor],
    memory: State | None,
    examples: tuple[torch.Tensor, torch.Tensor],
    *,
    round_: int,
    client: int,
) -> Answer:
    """Do a client's part of a round: train, prune, encode.

    Parameters
    ----------
    round_, client : counted from 0; batches and noise are drawn for them
    """
    x, y = examples
    seed = child_seed(spec.seed, "client", client, "round", round_)
    outcome = train_locally(model, state, x, y, spec.training(), seed=seed)
    info: Row = {
        "client": client,
        "bytes": 0,
        "error": None,
        "kept": None,
        "loss": outcome.loss,
        "reason": "",
        "compressibility": None,
    }
    if outcome.status == "diverged":
        return Answer(None, memory, info | {"reason": outcome.reason})
    method = spec.method
    update = residual(outcome.state, {name: state[name] for name in outcome.state})
    if client == 0:
        info["compressibility"] = compressibility(update, outcome.state)
    wanted = outcome.state if method.sends == "model" else update
    if method.feedback:
        wanted = add_memory(wanted, memory)
    message = encode(
        selected(wanted, method),
        n_examples=len(x),
        form="dense" if method.selection == "all" else "auto",
        precision=method.precision,
    )
    sent = decode(message).tensors
    left = residual(wanted, sent)
    info["bytes"] = len(message)
    info["error"] = _norm(left) / (_norm(wanted) or 1.0)
    info["kept"] = sum(int(t.count_nonzero()) for t in sent.values()) / sum(
        t.numel() for t in sent.values()
    )
    return Answer(message, left if method.feedback else None, info)


def average_into(
    spec: FederatedSpec, state: Mapping[str, torch.Tensor], messages: Sequence[bytes]
) -> State:
    """Do the server's part of a round: decode the clients' messages in their order, average, add.

    Raises DataIntegrityError if a message is damaged or of another model.
    """
    trained = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
    received = [decode(message, like=trained) for message in messages]
    mean = weighted_mean([r.tensors for r in received], [r.n_examples for r in received])
    if spec.method.sends == "model":
        return {**state, **mean}
    return add_update(state, mean)


def selected(wanted: State, method: FederatedMethod) -> State:
    """What of an update or a model is sent; the rest is 0."""
    if method.selection == "all":
        return wanted
    if method.selection == "topk":
        return top_k(wanted, method.kappa)
    axis: Literal["weight", "unit"] = "weight" if method.selection == "weights" else "unit"
    return prune_update(wanted, method.kappa, axis)


def compressibility(update: State, model: State) -> Row:
    """Relative l2 errors of keeping a tenth of the weights, or units, of update and model."""
    errors: Row = {"kappa": MEASURED_KAPPA}
    for name, tensors in (("update", update), ("model", model)):
        matrices = {key: tensor for key, tensor in tensors.items() if tensor.ndim >= 2}
        # the last matrix stays whole where units are pruned, and would hide what is lost
        parts = {"weight": matrices, "unit": dict(list(matrices.items())[:-1])}
        for axis in ("weight", "unit"):
            pruned = prune_update(matrices, MEASURED_KAPPA, axis) if len(matrices) > 1 else {}
            part = parts[axis]
            lost = {key: tensor - pruned[key] for key, tensor in part.items() if pruned}
            errors[f"{name}_{axis}s"] = _norm(lost) / (_norm(part) or 1.0) if lost else None
    return errors


def federated_stage(spec: FederatedSpec, run: Run) -> Row:
    """Run the rounds of a specification: `{"rows": ...}` as `run_rounds` returns them.

    The state lies beside the runs, so that a run of more rounds goes on from it.
    """
    path = run.store.root / "states" / f"{spec.of_one_round().run_id}.safetensors"
    with os_errors_named("write in", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_suffix(".lock"))
        lock.acquire()
    try:
        return {"rows": run_rounds(spec, path)}
    finally:
        lock.release()


def run_rounds(
    spec: FederatedSpec, path: Path | str, *, on_round: OnRound | None = None
) -> list[Row]:
    """Run rounds, going on where an interrupted or shorter run stopped.

    Raises RunsFailedError if the training of every client diverges in one round; DataIntegrityError
    if the stored state is damaged. A row a round: round (from 1), accuracy and loss on the test
    set, bytes_up and bytes_down (lengths of all messages of the round), messages (how many went
    up), error, kept and local_loss (means over clients), diverged (clients and reasons),
    compressibility. An interrupted and resumed run gives the rows of an uninterrupted one. `path`
    is the file of the state after the last finished round; `on_round` is told each row once its
    round is stored, finished ones first.
    """
    federation = federate(spec)
    memories: dict[int, State | None] = {}
    rows: list[Row] = []
    path = Path(path)
    if path.exists():
        state, memories, rows = _load(path)
    else:
        state = initial_state(federation)
    if on_round is not None:
        for row in rows[: spec.rounds]:
            on_round(row)
    for round_ in range(len(rows), spec.rounds):
        answers = [
            answer(
                spec,
                federation.model,
                state,
                memories.get(client),
                federation.examples(client),
                round_=round_,
                client=client,
            )
            for client in range(spec.clients)
        ]
        down = len(encode_state(state)) * spec.clients
        memories = {client: given.memory for client, given in enumerate(answers)}
        messages = [given.message for given in answers if given.message is not None]
        infos = [given.info for given in answers]
        state, row = finish_round(spec, federation, state, messages, infos, round_, down)
        rows.append(row)
        _save(path, state, memories, rows)
        if on_round is not None:
            on_round(row)
    return rows[: spec.rounds]


def initial_state(federation: Federation) -> State:
    """The server's state before the first round; a function of the seed alone."""
    return {name: t.detach().clone() for name, t in federation.model.state_dict().items()}


def encode_state(state: Mapping[str, torch.Tensor]) -> bytes:
    """The message by which the server hands its model to a client."""
    floats = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
    return encode(floats, n_examples=0, form="dense")


def finish_round(
    spec: FederatedSpec,
    federation: Federation,
    state: State,
    messages: Sequence[bytes],
    infos: Sequence[Row],
    round_: int,
    bytes_down: int,
) -> tuple[State, Row]:
    """Average the messages of a round, evaluate, and write the row of `run_rounds`.

    Raises RunsFailedError if there is no message.
    """
    if not messages:
        raise RunsFailedError(
            f"the training of every client diverged in round {round_ + 1} "
            f"({infos[0]['reason']}). Lower the learning rate or the noise."
        )
    state = average_into(spec, state, messages)
    federation.model.load_state_dict(state)
    found = evaluate(federation.model, federation.x_test, federation.y_test)
    done = [info for info in infos if not info["reason"]]
    row: Row = {
        "round": round_ + 1,
        "accuracy": found["accuracy"],
        "loss": found["loss"],
        "bytes_up": sum(map(len, messages)),
        "bytes_down": bytes_down,
        "messages": len(messages),
        "error": sum(info["error"] for info in done) / len(done),
        "kept": sum(info["kept"] for info in done) / len(done),
        "local_loss": sum(info["loss"] for info in done) / len(done),
        "diverged": {str(i["client"]): i["reason"] for i in infos if i["reason"]},
        "compressibility": infos[0]["compressibility"],
    }
    return state, row


def _save(path: Path, state: State, memories: Mapping[int, State | None], rows: list[Row]) -> None:
    """State and rows in one file, so that neither is ever ahead of the other."""
    tensors = {_SERVER + name: tensor for name, tensor in state.items()}
    for client, memory in memories.items():
        for name, tensor in (memory or {}).items():
            tensors[f"{_MEMORY}{client}:{name}"] = tensor
    save_tensors(path, tensors, {"rows": json.dumps(rows)})


def _load(path: Path) -> tuple[State, dict[int, State | None], list[Row]]:
    tensors, metadata = load_tensors(path)
    memories: dict[int, State | None] = {}
    with damage_named(path, "it is no state of a federated run: delete it to start this run anew"):
        rows = parsed(list[Row], metadata["rows"], finite=False)
        for key in [key for key in tensors if key.startswith(_MEMORY)]:
            client, name = key.removeprefix(_MEMORY).split(":", 1)
            kept = memories.setdefault(int(client), {})
            assert kept is not None
            kept[name] = tensors.pop(key)
    return {key.removeprefix(_SERVER): t for key, t in tensors.items()}, memories, rows


def _norm(tensors: Mapping[str, torch.Tensor]) -> float:
    return sum(float(t.double().square().sum()) for t in tensors.values()) ** 0.5
