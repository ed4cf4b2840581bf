"""Iterative pruning with rewinding, in rounds that end in a ticket.

Rounds of training, pruning and rewinding follow Frankle and Carbin (2019); rewinding to an
early step Frankle, Dziugaite, Roy and Carbin (2020); rewinding of the learning rate alone
Renda, Frankle and Carbin (2020).
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch

from prunable.arguments import checked
from prunable.errors import DataIntegrityError, InputError, PrunableError, check_at_least, require
from prunable.files import Document, Size
from prunable.nets.networks.views import WeightView, to_numpy
from prunable.nets.prune import tickets
from prunable.nets.prune.choices import Rewind, check_rewind
from prunable.nets.prune.plan import Keep
from prunable.nets.prune.pruning import check_not_emptied, prune
from prunable.nets.prune.retraining import MaskHandle, hold_masks, zero_pruned_
from prunable.nets.prune.strategies import Strategy
from prunable.nets.prune.tickets import Tensors, Ticket, count_kept
from prunable.numerics.randomness import child_seed, rng
from prunable.numerics.weights.selection import kept_count
from prunable.results import Result

ROUNDS = "rounds-1"


class _RoundsDocument(Document):
    settings: dict[str, Any]
    shares: tuple[float, ...]
    losses: tuple[float, ...]
    last_step: Size


@dataclass(frozen=True, eq=False)
class RoundsProgress:
    """Everything that a round hands to the next."""

    masks: tickets.Tensors
    values: tickets.Tensors  # of the model, as the next round starts
    origin: tickets.Tensors | None  # values to rewind to, once known
    shares: tuple[float, ...] = ()
    losses: tuple[float, ...] = ()
    last_step: int = 0


def values_of(model: torch.nn.Module) -> tickets.Tensors:
    """Copies of all parameters and buffers; tied ones each of their own."""
    state = model.state_dict().items()
    return {name: x.detach().clone() for name, x in state if isinstance(x, torch.Tensor)}


@torch.no_grad()
def restore_(model: torch.nn.Module, values: tickets.Tensors) -> None:
    """Give a model the values that `values_of` copied, in place."""
    state = model.state_dict()
    for name, value in values.items():
        state[name].copy_(value)


def save_progress(path: Path | str, settings: dict[str, Any], progress: RoundsProgress) -> None:
    """Write what a killed run of these settings goes on from."""
    tensors, _ = tickets.packed_masks(progress.masks)
    tensors |= {f"model/{name}": x for name, x in progress.values.items()}
    tensors |= {f"origin/{name}": x for name, x in (progress.origin or {}).items()}
    document = {
        "settings": settings,
        "shares": progress.shares,
        "losses": progress.losses,
        "last_step": progress.last_step,
    }
    tickets.write_digested(path, ROUNDS, tensors, document)


def load_progress(
    path: Path | str, settings: dict[str, Any], model: torch.nn.Module
) -> RoundsProgress:
    """Read what `save_progress` wrote; DataIntegrityError if damaged, or of other settings."""
    tensors, found = tickets.read_digested(path, ROUNDS, "checkpoint of rounds", _RoundsDocument)
    with tickets.malformed_named(path):
        own = json.loads(json.dumps(settings))
        differing = [key for key in own if found.settings.get(key) != own[key]]
        values = _below(tensors, "model/")
        if _kinds(values) != _kinds(values_of(model)):
            differing.append("model")
        if differing:
            raise DataIntegrityError(
                f"{path} is the checkpoint of another run ({', '.join(differing)} differ); "
                "give another file, or delete it to start anew."
            )
        return RoundsProgress(
            tickets.unpacked_masks(tensors, own["shapes"]),
            values,
            _below(tensors, "origin/") or None,
            found.shares,
            found.losses,
            found.last_step,
        )


def _kinds(values: tickets.Tensors) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (x.shape, x.dtype) for name, x in values.items()}


def _below(tensors: tickets.Tensors, prefix: str) -> tickets.Tensors:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


PLAIN = "Remove its parametrization first, as by torch.nn.utils.parametrize."


@dataclass(frozen=True)
class Round:
    """What the training of one round needs to know."""

    number: int  # 1 for the first
    seed: int  # of this round, for batches and noise
    # step at which schedules such as that of the learning rate start: 0 in the first round and with
    # rewinding to the start, the rewind step, or, without rewinding, the last step told to
    # `on_step`
    first_step: int
    # given the optimizer, holds this round's masks; see `hold_masks`. Call it before the first
    # step. Iteration removes the handle after the round
    hold: Callable[[torch.optim.Optimizer], MaskHandle]
    # to be told the number of steps done, `first_step` included, after each step; only rewinding to
    # a step, and no rewinding at all, need it
    on_step: Callable[[int], None]
    masks: Mapping[str, torch.Tensor] = field(repr=False)  # what is left before the round


TrainRound = Callable[[torch.nn.Module, Round], float]


@dataclass(frozen=True, eq=False)
class IterationOutcome(Result):
    """What rounds left in the model itself: the ticket, and the loss of each round's training."""

    copied: ClassVar[bool] = False

    ticket: Ticket
    losses: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Summarise as plain JSON values, without the masks."""
        ticket = self.ticket
        return {
            "seed": ticket.seed,
            "rewind_step": ticket.rewind_step,
            "n_total": ticket.n_total,
            "n_kept": ticket.n_kept,
            "rounds": self._rows(),
        }

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        pairs = zip(self.ticket.shares, self.losses, strict=True)
        return [{"round": i, "kappa": k, "loss": loss} for i, (k, loss) in enumerate(pairs, 1)]


def kept_shares(kappa: float, rounds: int, where: str = "iterate") -> tuple[float, ...]:
    """Shares kept after each round, kappa^(i / rounds); the last is `kappa`, in (0, 1], exactly."""
    require(0 < kappa <= 1, "kappa", where, "above 0 and at most 1", kappa)
    check_at_least(rounds, 1, "rounds", where)
    return tuple(kappa ** (i / rounds) for i in range(1, rounds + 1))


@checked("iterate")
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
    checkpoint: Path | str | None = None,
) -> IterationOutcome:
    """Train, prune and rewind a model in rounds, in place.

    Each round trains the model under its masks, prunes single weights by one threshold over all
    layers among those that are left, and rewinds. In the end the model holds the ticket: weights
    rewound and pruned, to be trained once more under the ticket's masks.

    Raises InputError if an argument is out of range, the strategy cannot choose single weights
    globally, a layer would be pruned to nothing, or `train_round` did not hold the masks or tell
    the rewind step; DataIntegrityError if the checkpoint is damaged or of another run;
    PrunableError if a round's loss or weights are not finite. The model is then, as after any
    exception, what it was before the round, and the checkpoint that of the last whole round.

    >>> import torch, prunable
    >>> net, x = torch.nn.Linear(20, 1), torch.randn(100, 20)
    >>> def train_round(model, round):
    ...     optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ...     held = prunable.hold_masks(model, optimizer, round.masks)
    ...     loss = model(x).square().mean()
    ...     loss.backward()
    ...     optimizer.step()
    ...     held.remove()
    ...     return loss.item()
    >>> strategy = prunable.strategies.MagnitudePruning()
    >>> ticket = prunable.iterate(net, train_round, strategy=strategy, rounds=2, kappa=0.25)
    >>> int((net.weight != 0).sum())
    5

    Parameters
    ----------
    train_round : Given the model and a `Round`, trains the model and returns its final loss. A
        function of the weights and `Round.seed` alone, for exact resumption; torch's global
        generators are seeded for it, and restored afterwards.
    strategy : Chooses among single weights, of which it sees those that are left, a row a layer.
    kappa : Final kept share, reached by `kept_shares`; `only`, `exclude` and `force` are those of
        `prune`.
    rewind, rewind_step : What returns after each round: all parameters and buffers to their first
        values ("init") or to those after `rewind_step` steps of the first round ("step"), bit for
        bit; only schedules, to `rewind_step` ("learning-rate"); or nothing ("none").
    checkpoint : File written after each round, and resumed from if it exists, with all values of
        the model: a killed run goes on and ends as an uninterrupted one, bit for bit.
    """
    shares = kept_shares(kappa, rounds)
    check_rewind(rewind, rewind_step, "iterate")
    budget = Keep(shares[0], scope="global")
    selection: dict[str, Any] = {"only": only, "exclude": exclude, "seed": seed}
    first = prune(model, strategy, budget, **selection, force=True, dry_run=True)
    single = all(layer.axis == "weight" and layer.fill is None for layer in first.plan.layers)
    wanted = "one that sets single weights to 0"
    require(single, "strategy", "iterate", wanted, first.plan.method)
    for name in first.baked:
        require(False, name, "iterate", "a parameter", "made up of others", PLAIN)
    named = dict(model.named_parameters())
    shapes = {layer.name: named[layer.name].shape for layer in first.plan.layers}
    settings = {
        "strategy": repr(strategy),
        "rounds": rounds,
        "kappa": kappa,
        "rewind": rewind,
        "rewind_step": rewind_step,
        "seed": seed,
        "shapes": {name: list(shape) for name, shape in shapes.items()},
    }
    if checkpoint is not None and Path(checkpoint).exists():
        progress = load_progress(checkpoint, settings, model)
        restore_(model, progress.values)
    else:
        masks = {name: torch.ones(shape, dtype=torch.bool) for name, shape in shapes.items()}
        origin = values_of(model) if rewind == "init" else None
        progress = RoundsProgress(masks, values_of(model), origin)
    rule = _Rule(strategy, rewind, rewind_step, seed, force)
    for number in range(len(progress.shares) + 1, rounds + 1):
        try:
            where = f"round {number} of {rounds}"
            progress = rule.next(model, train_round, progress, shares[number - 1], where)
        except BaseException:
            restore_(model, progress.values)
            raise
        if checkpoint is not None:
            save_progress(checkpoint, settings, progress)
    step = {"init": 0, "step": rewind_step}.get(rewind)
    return IterationOutcome(Ticket(progress.masks, seed, step, progress.shares), progress.losses)


@dataclass(frozen=True)
class _Rule:
    """What all rounds have in common."""

    strategy: Strategy
    rewind: Rewind
    rewind_step: int
    seed: int
    force: bool

    def next(
        self,
        model: torch.nn.Module,
        train_round: TrainRound,
        progress: RoundsProgress,
        share: float,
        where: str,
    ) -> RoundsProgress:
        """Train, prune to a share, and rewind."""
        number = len(progress.shares) + 1
        named = dict(model.named_parameters())
        handles: list[MaskHandle] = []
        first_step = 0
        if number > 1:
            first_step = progress.last_step if self.rewind == "none" else self.rewind_step
        last_step, origin = first_step, progress.origin

        def hold(optimizer: torch.optim.Optimizer) -> MaskHandle:
            handles.append(hold_masks(optimizer, model.named_parameters(), progress.masks))
            return handles[-1]

        def on_step(step: int) -> None:
            nonlocal last_step, origin
            last_step = step
            if self.rewind == "step" and number == 1 and step == self.rewind_step:
                origin = values_of(model)

        seed = child_seed(self.seed, "round", number)
        masks = MappingProxyType(progress.masks)
        chosen = Round(number, seed, first_step, hold, on_step, masks)
        loss = _seeded(model, train_round, chosen, handles)

        _check_round(named, progress.masks, loss, where)
        if self.rewind == "step" and origin is None:
            raise InputError(
                f"`train_round` of `iterate` did not tell step {self.rewind_step} in {where}. "
                "Call `on_step` of the round after each step, and train so long."
            )
        generator = rng(self.seed, "prune", number)
        left = _pruned(named, progress.masks, share, self.strategy, generator)
        if not self.force:
            check_not_emptied([name for name, mask in left.items() if not mask.any()], where)
        if origin is not None:
            restore_(model, origin)
        zero_pruned_(named, left)
        kept = count_kept(left) / sum(mask.numel() for mask in left.values())
        return RoundsProgress(
            left,
            values_of(model),
            origin,
            (*progress.shares, kept),
            (*progress.losses, loss),
            last_step,
        )


def _check_round(
    named: Mapping[str, torch.Tensor], masks: Tensors, loss: float, where: str
) -> None:
    """Refuse a round that diverged or moved what is pruned."""
    broken = [name for name, p in named.items() if not torch.isfinite(p).all()]
    if not math.isfinite(loss) or broken:
        what = (
            f"weights of {broken[0]} are not finite" if math.isfinite(loss) else f"loss is {loss}"
        )
        raise PrunableError(
            f"{where} diverged: its {what}. The model is back where the round began; "
            "train with a smaller learning rate or less noise."
        )
    if any(named[name].detach().cpu()[~mask].any() for name, mask in masks.items()):
        raise InputError(
            f"`train_round` of `iterate` moved pruned weights in {where}. "
            "Call `hold` of the round with the optimizer before the first step."
        )


def _seeded(
    model: torch.nn.Module, train_round: TrainRound, chosen: Round, handles: list[MaskHandle]
) -> float:
    """Train with seeded global generators, and leave neither them nor hooks changed."""
    devices = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    try:
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(chosen.seed)
            loss = train_round(model, chosen)
            number = isinstance(loss, Real | torch.Tensor)
            require(number, "train_round", "iterate", "a function that returns its loss", loss)
            return float(loss)
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
    # a row of what is left, since pruned zeros would compete with zeros that stay
    views = [
        WeightView(name, to_numpy(named[name])[mask.numpy()][np.newaxis])
        for name, mask in masks.items()
        if mask.any()
    ]
    n_left = count_kept(masks)
    n_kept = min(n_left, kept_count(share, sum(mask.numel() for mask in masks.values())))
    plan = strategy.plan(views, Keep(n_kept / n_left, scope="global"), rng=generator)
    pruned = {name: torch.zeros_like(mask) for name, mask in masks.items()}
    for layer in plan.layers:
        pruned[layer.name][masks[layer.name]] = torch.from_numpy(layer.kept.copy())
    return pruned
