"""Iterative pruning with rewinding, and the tickets it finds.

Rounds of training, pruning and rewinding follow Frankle and Carbin (2019); rewinding to an
early step Frankle, Dziugaite, Roy and Carbin (2020); rewinding of the learning rate alone
Renda, Frankle and Carbin (2020).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
import torch

from prunable.errors import DataIntegrityError, InputError, PrunableError
from prunable.nets.archive import load_tensors, save_tensors
from prunable.nets.networks.views import WeightView, to_numpy
from prunable.nets.prune.plan import Keep
from prunable.nets.prune.pruning import prune
from prunable.nets.prune.retraining import MaskHandle, check_masks, hold_masks, zero_pruned_
from prunable.nets.prune.strategies import Strategy
from prunable.numerics.randomness import child_seed, rng
from prunable.numerics.weights.selection import kept_count

Rewind = Literal["init", "step", "learning-rate", "none"]
Tensors = dict[str, torch.Tensor]

_TICKET, _ROUNDS = "ticket-1", "rounds-1"


@dataclass(frozen=True, eq=False)
class Ticket:
    """The masks that iterative pruning found, and how.

    Attributes
    ----------
    masks : mapping of str to bool Tensor
        What is kept of each parameter, in its shape.
    seed : int
        Seed of the rounds.
    rewind_step : int, optional
        Training step whose weights belong to the ticket, 0 for the initial ones; None if
        weights were not rewound.
    shares : tuple of float
        Kept share after each round, of the masked parameters.

    Raises
    ------
    InputError
        If there is no mask or one is not bool.
    """

    masks: Mapping[str, torch.Tensor]
    seed: int
    rewind_step: int | None
    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        wrong = [name for name, mask in self.masks.items() if mask.dtype != torch.bool]
        if wrong or not self.masks:
            raise InputError.parameter("masks", "Ticket", "one or more bool tensors", wrong)
        masks = {name: mask.cpu() for name, mask in self.masks.items()}
        object.__setattr__(self, "masks", MappingProxyType(masks))
        object.__setattr__(self, "shares", tuple(map(float, self.shares)))

    @property
    def n_total(self) -> int:
        """Number of weights that have a mask."""
        return sum(mask.numel() for mask in self.masks.values())

    @property
    def n_kept(self) -> int:
        """Number of weights that stay."""
        return _count(self.masks)

    @property
    def kappa(self) -> float:
        """Kept share of the weights that have a mask."""
        return self.n_kept / self.n_total


@dataclass(frozen=True)
class Round:
    """What the training of one round needs to know.

    Attributes
    ----------
    number : int
        1 for the first.
    seed : int
        Seed of this round, for batches and noise.
    first_step : int
        Step at which schedules such as that of the learning rate start: 0 in the first round
        and with rewinding to the start, the rewind step, or, without rewinding, the last step
        told to `on_step`.
    hold : callable
        Given the optimizer, holds this round's masks; see `hold_masks`. Call it before the
        first step. Iteration removes the handle after the round.
    on_step : callable
        To be told the number of steps done, `first_step` included, after each step; only
        rewinding to a step, and no rewinding at all, need it.
    masks : mapping of str to bool Tensor
        What is left before the round.
    """

    number: int
    seed: int
    first_step: int
    hold: Callable[[torch.optim.Optimizer], MaskHandle]
    on_step: Callable[[int], None]
    masks: Mapping[str, torch.Tensor] = field(repr=False)


TrainRound = Callable[[torch.nn.Module, Round], float]


@dataclass(frozen=True, eq=False)
class IterationOutcome:
    """How iterative pruning ended.

    Attributes
    ----------
    ticket : Ticket
    losses : tuple of float
        Loss that each round's training returned.
    """

    ticket: Ticket
    losses: tuple[float, ...]


def kept_shares(kappa: float, rounds: int) -> tuple[float, ...]:
    """Shares kept after each round, geometric from 1 to a final share.

    Parameters
    ----------
    kappa : float
        Final share, 0 < kappa <= 1.
    rounds : int
        At least 1.

    Returns
    -------
    tuple of float
        `rounds` shares kappa^(i / rounds); the last is `kappa` exactly.

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    if not 0 < kappa <= 1:
        raise InputError.parameter("kappa", "kept_shares", "above 0 and at most 1", kappa)
    if rounds < 1:
        raise InputError.parameter("rounds", "kept_shares", "at least 1", rounds)
    return tuple(kappa ** (i / rounds) for i in range(1, rounds + 1))


def iterate(
    model: torch.nn.Module,
    train_round: TrainRound,
    *,
    strategy: Strategy,
    rounds: int,
    kappa: float,
    rewind: Rewind = "init",
    rewind_step: int = 0,
    only: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    seed: int = 0,
    force: bool = False,
    checkpoint: Path | None = None,
) -> IterationOutcome:
    """Train, prune and rewind a model in rounds, in place.

    Each round trains the model under its masks, prunes single weights by one threshold over all
    layers among those that are left, and rewinds. In the end the model holds the ticket: weights
    rewound and pruned, to be trained once more under the ticket's masks.

    Parameters
    ----------
    model : torch.nn.Module
    train_round : callable
        Given the model and a `Round`, trains the model and returns its final loss. A function of
        the weights and `Round.seed` alone, for exact resumption; torch's global generators are
        seeded for it, and restored afterwards.
    strategy : Strategy
        Chooses among single weights, of which it sees those that are left, a row a layer.
    rounds : int
        At least 1.
    kappa : float
        Final kept share, 0 < kappa <= 1, reached by `kept_shares`.
    rewind : {"init", "step", "learning-rate", "none"}
        What returns after each round: all parameters and buffers to their first values or to
        those after `rewind_step` steps of the first round, bit for bit; only schedules, to
        `rewind_step`; or nothing.
    rewind_step : int
        At least 1 for "step", at least 0 for "learning-rate", 0 otherwise.
    only, exclude : sequence of str
        Names of parameters, or patterns with * and ?; exclusion wins.
    seed : int
        Of the rounds, 0 <= seed < 2**63.
    force : bool
        Whether a layer may be pruned to nothing.
    checkpoint : Path, optional
        File written after each round, and resumed from if it exists, with all values of the
        model: a killed run goes on and ends as an uninterrupted one, bit for bit.

    Returns
    -------
    IterationOutcome

    Raises
    ------
    InputError
        If an argument is out of range, the strategy cannot choose single weights globally, a
        layer would be pruned to nothing, or `train_round` did not hold the masks or tell the
        rewind step.
    DataIntegrityError
        If the checkpoint is damaged or of another run.
    PrunableError
        If a round's loss or weights are not finite. The model is then, as after any exception,
        what it was before the round, and the checkpoint that of the last whole round.
    """
    shares = kept_shares(kappa, rounds)
    _check_rewind(rewind, rewind_step)
    first = prune(
        model,
        strategy,
        Keep(shares[0], scope="global"),
        only=only,
        exclude=exclude,
        seed=seed,
        force=True,
        dry_run=True,
    )
    for layer in first.plan.layers:
        if layer.axis != "weight" or layer.fill is not None:
            raise InputError.parameter(
                "strategy", "iterate", "one that sets single weights to 0", first.plan.method
            )
    named = dict(model.named_parameters())
    settings = {
        "strategy": repr(strategy),
        "rounds": rounds,
        "kappa": kappa,
        "rewind": rewind,
        "rewind_step": rewind_step,
        "seed": seed,
        "shapes": {layer.name: list(named[layer.name].shape) for layer in first.plan.layers},
    }
    if checkpoint is not None and checkpoint.exists():
        progress = _load_progress(checkpoint, settings, model)
        _restore(model, progress.values)
    else:
        masks = {
            layer.name: torch.ones(named[layer.name].shape, dtype=torch.bool)
            for layer in first.plan.layers
        }
        origin = _values(model) if rewind == "init" else None
        progress = _Progress(masks, _values(model), origin)

    for number in range(len(progress.shares) + 1, rounds + 1):
        try:
            progress = _one_round(
                model,
                train_round,
                progress,
                number,
                share=shares[number - 1],
                strategy=strategy,
                rewind=rewind,
                rewind_step=rewind_step,
                seed=seed,
                force=force,
                where=f"round {number} of {rounds}",
            )
        except BaseException:
            _restore(model, progress.values)
            raise
        if checkpoint is not None:
            _save_progress(checkpoint, settings, progress)
    step = {"init": 0, "step": rewind_step}.get(rewind)
    ticket = Ticket(progress.masks, seed, step, progress.shares)
    return IterationOutcome(ticket, progress.losses)


def save_ticket(path: Path, ticket: Ticket) -> None:
    """Write a ticket to one safetensors file atomically, a bit a weight.

    Parameters
    ----------
    path : Path
        Destination.
    ticket : Ticket

    Raises
    ------
    InputError
        If the file cannot be written.

    Notes
    -----
    The tensor `mask/NAME` holds bytes of 8 weights in C order, the first in the highest bit.
    The header's `document` is JSON of shapes, seed, rewind step and shares, and `digest` covers
    all of it.
    """
    tensors, shapes = _packed(ticket.masks)
    document = {
        "shapes": shapes,
        "seed": ticket.seed,
        "rewind_step": ticket.rewind_step,
        "shares": list(ticket.shares),
    }
    _write(path, _TICKET, tensors, document)


def load_ticket(path: Path) -> Ticket:
    """Read a file of `save_ticket`.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Ticket

    Raises
    ------
    DataIntegrityError
        If the file is missing, damaged or no ticket.
    """
    tensors, document = _read(path, _TICKET, "ticket")
    with _malformed_named(path):
        masks = _unpacked(tensors, document["shapes"])
        step = document["rewind_step"]
        return Ticket(masks, document["seed"], step, tuple(document["shares"]))


def apply_ticket_(model: torch.nn.Module, ticket: Ticket) -> None:
    """Zero the weights that a ticket prunes, in place.

    Parameters
    ----------
    model : torch.nn.Module
        Whose weights are those that the ticket was rewound to; `hold_masks` keeps the zeros while
        it trains.
    ticket : Ticket

    Raises
    ------
    InputError
        If the model has no such parameters; then nothing is changed.
    """
    named = dict(model.named_parameters())
    check_masks(named, ticket.masks, "apply_ticket_")
    zero_pruned_(named, ticket.masks)


def shuffle_masks(ticket: Ticket, rng: np.random.Generator) -> Ticket:
    """Shuffle each mask: the control that keeps the share of every layer.

    Parameters
    ----------
    ticket : Ticket
    rng : numpy.random.Generator

    Returns
    -------
    Ticket
        As many weights of each layer as in `ticket`, chosen uniformly.
    """
    masks = {
        name: torch.from_numpy(rng.permutation(mask.numpy().ravel())).reshape(mask.shape)
        for name, mask in ticket.masks.items()
    }
    return replace(ticket, masks=masks)


def random_ticket(ticket: Ticket, rng: np.random.Generator) -> Ticket:
    """Draw masks of the same total count: the control that forgets the layers too.

    Parameters
    ----------
    ticket : Ticket
    rng : numpy.random.Generator

    Returns
    -------
    Ticket
        As many weights in all as in `ticket`, chosen uniformly from all layers together.
    """
    pooled = np.zeros(ticket.n_total, dtype=np.bool_)
    pooled[rng.choice(pooled.size, ticket.n_kept, replace=False)] = True
    ends = np.cumsum([mask.numel() for mask in ticket.masks.values()])[:-1]
    parts = np.split(pooled, ends)
    masks = {
        name: torch.from_numpy(part.copy()).reshape(mask.shape)
        for (name, mask), part in zip(ticket.masks.items(), parts, strict=True)
    }
    return replace(ticket, masks=masks)


@dataclass(frozen=True, eq=False)
class _Progress:
    """Everything that a round hands to the next."""

    masks: Tensors
    values: Tensors  # of the model, as the next round starts
    origin: Tensors | None  # values to rewind to, once known
    shares: tuple[float, ...] = ()
    losses: tuple[float, ...] = ()
    last_step: int = 0


def _one_round(
    model: torch.nn.Module,
    train_round: TrainRound,
    progress: _Progress,
    number: int,
    *,
    share: float,
    strategy: Strategy,
    rewind: Rewind,
    rewind_step: int,
    seed: int,
    force: bool,
    where: str,
) -> _Progress:
    named = dict(model.named_parameters())
    handles: list[MaskHandle] = []
    first_step = 0
    if number > 1:
        first_step = progress.last_step if rewind == "none" else rewind_step
    last_step, origin = first_step, progress.origin

    def hold(optimizer: torch.optim.Optimizer) -> MaskHandle:
        handles.append(hold_masks(optimizer, model.named_parameters(), progress.masks))
        return handles[-1]

    def on_step(step: int) -> None:
        nonlocal last_step, origin
        last_step = step
        if rewind == "step" and number == 1 and step == rewind_step:
            origin = _values(model)

    round_seed = child_seed(seed, "round", number)
    chosen = Round(number, round_seed, first_step, hold, on_step, MappingProxyType(progress.masks))
    loss = _seeded(model, train_round, chosen, handles)

    broken = [name for name, p in named.items() if not torch.isfinite(p).all()]
    if not math.isfinite(loss) or broken:
        what = (
            f"weights of {broken[0]} are not finite" if math.isfinite(loss) else f"loss is {loss}"
        )
        raise PrunableError(
            f"{where} diverged: its {what}. The model is back where the round began; "
            "train with a smaller learning rate or less noise."
        )
    if any(named[name].detach().cpu()[~mask].any() for name, mask in progress.masks.items()):
        raise InputError(
            f"`train_round` of `iterate` moved pruned weights in {where}. "
            "Call `hold` of the round with the optimizer before the first step."
        )
    if rewind == "step" and origin is None:
        raise InputError(
            f"`train_round` of `iterate` did not tell step {rewind_step} in {where}. "
            "Call `on_step` of the round after each step, and train so long."
        )
    masks = _pruned(named, progress.masks, share, strategy, rng(seed, "prune", number))
    gone = [name for name, mask in masks.items() if not mask.any()]
    if gone and not force:
        raise InputError(
            f"{where} leaves nothing of {', '.join(gone)}. Keep more, exclude "
            f"{'it' if len(gone) == 1 else 'them'}, or force it."
        )
    if origin is not None:
        _restore(model, origin)
    zero_pruned_(named, masks)
    kept = _count(masks) / sum(mask.numel() for mask in masks.values())
    return _Progress(
        masks, _values(model), origin, (*progress.shares, kept), (*progress.losses, loss), last_step
    )


def _seeded(
    model: torch.nn.Module, train_round: TrainRound, chosen: Round, handles: list[MaskHandle]
) -> float:
    """Train with seeded global generators, and leave neither them nor hooks changed."""
    devices = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    try:
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(chosen.seed)
            return float(train_round(model, chosen))
    finally:
        for handle in handles:
            handle.remove()


def _pruned(
    named: Mapping[str, torch.Tensor],
    masks: Tensors,
    share: float,
    strategy: Strategy,
    generator: np.random.Generator,
) -> Tensors:
    """Masks after a strategy chose among the weights that are left."""
    left = {name: mask for name, mask in masks.items() if mask.any()}
    # a row of what is left, since pruned zeros would compete with zeros that stay
    views = [
        WeightView(name, to_numpy(named[name])[mask.numpy()][np.newaxis])
        for name, mask in left.items()
    ]
    n_left = _count(masks)
    n_kept = min(n_left, kept_count(share, sum(mask.numel() for mask in masks.values())))
    plan = strategy.plan(views, Keep(n_kept / n_left, scope="global"), rng=generator)
    pruned = {name: torch.zeros_like(mask) for name, mask in masks.items()}
    for layer in plan.layers:
        pruned[layer.name][masks[layer.name]] = torch.from_numpy(layer.kept.copy())
    return pruned


def _check_rewind(rewind: str, rewind_step: int) -> None:
    if rewind not in get_args(Rewind):
        raise InputError.parameter("rewind", "iterate", f"one of {get_args(Rewind)}", rewind)
    least = 1 if rewind == "step" else 0
    if rewind_step < least:
        raise InputError.parameter("rewind_step", "iterate", f"at least {least}", rewind_step)
    if rewind_step and rewind not in ("step", "learning-rate"):
        raise InputError.parameter(
            "rewind_step", "iterate", f"0 with rewind {rewind!r}", rewind_step
        )


def _values(model: torch.nn.Module) -> Tensors:
    """Copies of all parameters and buffers; tied ones each of their own."""
    state = model.state_dict().items()
    return {name: x.detach().clone() for name, x in state if isinstance(x, torch.Tensor)}


@torch.no_grad()
def _restore(model: torch.nn.Module, values: Tensors) -> None:
    state = model.state_dict()
    for name, value in values.items():
        state[name].copy_(value)


def _count(masks: Mapping[str, torch.Tensor]) -> int:
    return sum(int(mask.sum()) for mask in masks.values())


def _save_progress(path: Path, settings: dict[str, Any], progress: _Progress) -> None:
    tensors, _ = _packed(progress.masks)
    tensors |= {f"model/{name}": x for name, x in progress.values.items()}
    tensors |= {f"origin/{name}": x for name, x in (progress.origin or {}).items()}
    document = {
        "settings": settings,
        "shares": progress.shares,
        "losses": progress.losses,
        "last_step": progress.last_step,
    }
    _write(path, _ROUNDS, tensors, document)


def _load_progress(path: Path, settings: dict[str, Any], model: torch.nn.Module) -> _Progress:
    tensors, document = _read(path, _ROUNDS, "checkpoint of rounds")
    with _malformed_named(path):
        stored = document["settings"]
        own = json.loads(json.dumps(settings))
        differing = [key for key in own if stored.get(key) != own[key]]
        values = _below(tensors, "model/")
        if _kinds(values) != _kinds(_values(model)):
            differing.append("model")
        if differing:
            raise DataIntegrityError(
                f"{path} is the checkpoint of another run ({', '.join(differing)} differ); "
                "give another file, or delete it to start anew."
            )
        return _Progress(
            _unpacked(tensors, own["shapes"]),
            values,
            _below(tensors, "origin/") or None,
            tuple(document["shares"]),
            tuple(document["losses"]),
            document["last_step"],
        )


def _kinds(values: Tensors) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (x.shape, x.dtype) for name, x in values.items()}


def _below(tensors: Tensors, prefix: str) -> Tensors:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _packed(masks: Mapping[str, torch.Tensor]) -> tuple[Tensors, dict[str, list[int]]]:
    packed = {
        f"mask/{name}": torch.from_numpy(np.packbits(mask.cpu().numpy().ravel()))
        for name, mask in masks.items()
    }
    return packed, {name: list(mask.shape) for name, mask in masks.items()}


def _unpacked(tensors: Tensors, shapes: Mapping[str, Sequence[int]]) -> Tensors:
    masks = {}
    for name, shape in shapes.items():
        bits = np.unpackbits(tensors[f"mask/{name}"].numpy())[: math.prod(shape)]
        masks[name] = torch.from_numpy(bits.astype(np.bool_)).reshape(tuple(shape))
    return masks


def _write(path: Path, kind: str, tensors: Tensors, document: dict[str, Any]) -> None:
    text = json.dumps(document, allow_nan=False)
    digest = _digest(text, tensors)
    save_tensors(path, tensors, {"format": kind, "document": text, "digest": digest})


def _read(path: Path, kind: str, what: str) -> tuple[Tensors, dict[str, Any]]:
    tensors, metadata = load_tensors(path)
    if metadata.get("format") != kind:
        raise DataIntegrityError(f"{path} is not a {what}; check the path.")
    text = metadata.get("document", "")
    if metadata.get("digest") != _digest(text, tensors):
        raise DataIntegrityError(
            f"{path} is a damaged {what}: its content does not have its digest. Write it again."
        )
    with _malformed_named(path):
        return tensors, dict(json.loads(text))


def _digest(text: str, tensors: Tensors) -> str:
    """Digest of a document and its tensors, which safetensors itself does not check."""
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextmanager
def _malformed_named(path: Path) -> Iterator[None]:
    """Turn the errors of reading a malformed document into one that names the file."""
    try:
        yield
    except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise DataIntegrityError(
            f"{path} lacks parts of its content ({error}); write it again."
        ) from error
