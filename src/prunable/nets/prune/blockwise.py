"""A folder of transformers pruned in order with one of its blocks in memory at a time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import nn

from prunable.errors import InputError, UnsupportedModelError, require
from prunable.nets.calibration.stages import InOrder, Stages, stages_of
from prunable.nets.models.streaming import Streamed
from prunable.nets.networks.examples import on_device_of
from prunable.nets.networks.usage import Use, uses_of
from prunable.nets.prune.counting import nonzero
from prunable.nets.prune.in_order import Done, Ordered, read_stage, touched
from prunable.nets.prune.layer_outputs import LayerOutput
from prunable.nets.prune.losses import division_of
from prunable.nets.prune.masks import apply_plan_
from prunable.nets.prune.plan import Budget, Keep
from prunable.nets.prune.pruning import check_not_emptied
from prunable.nets.prune.selecting import Weights, selected
from prunable.nets.prune.strategies import Strategy
from prunable.nets.prune.strategies.calibrated import divides
from prunable.numerics.measure.network import Skipped
from prunable.results import Result


@dataclass(frozen=True)
class StreamedResult(Result):
    """What was pruned, without the masks, which no memory need hold; see `PruningResult`."""

    plan: Mapping[str, Any]
    n_parameters: int
    n_nonzero_before: int
    n_nonzero: int
    skipped: tuple[Skipped, ...]
    outputs: tuple[LayerOutput, ...]
    unreached: tuple[str, ...]
    baked: tuple[str, ...] = ()
    corrected: tuple[str, ...] = ()
    recalibrated: None = None


def prune_streamed(
    streamed: Streamed,
    strategy: Strategy,
    budget: Budget,
    given: InOrder,
    *,
    only: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    seed: int = 0,
    force: bool = False,
    example: Any = None,
) -> StreamedResult:
    """Prune a network block by block, as `prune` does with `InOrder`, to the same weights.

    `given` has a store, from which the network takes what it has become whenever a block is read
    from then on. Beside a block, its Gram matrices and the hidden states of the inputs, twice,
    nothing is in memory but what lies in no block.

    Raises InputError as `prune` does, if a share is divided by what needs the whole network, or
    there is something to prune outside of blocks; UnsupportedModelError if blocks do not run one
    after another.
    """
    require(given.store is not None, "store", "InOrder", "a folder, for what is streamed", None)
    _check_division(strategy, budget)
    model, given = streamed.model, replace(given, held=streamed.held)
    weights = Weights.of(model, example, partial(_uses, streamed)).without_scores_of_tokens()
    chosen, skipped = selected(weights, strategy.axis, only, exclude)

    def check(gone: Sequence[str]) -> None:
        if not force:
            check_not_emptied(gone, "The budget")

    ordered = Ordered(model, strategy, budget, seed, weights, chosen, check)
    stages = ordered.stages(given)
    _check_blocks(streamed, stages)
    found = _Found(weights, budget)
    before = sum(_nonzero(weights, names) for names in _by_block(streamed, weights))
    for done in ordered.walk(given, found.remember, stages):
        found.add(done)
    numbers = {label: number for number, label in enumerate(stages.labels)}

    def changed(path: str) -> None:
        if path in numbers:
            done = read_stage(str(given.store), numbers[path])
            apply_plan_(weights.named.items(), done.plan)

    streamed.changed = changed
    return found.result(chosen, before, skipped)


class _Found:
    """What blocks became, in numbers."""

    def __init__(self, weights: Weights, budget: Budget) -> None:
        self.weights, self.budget = weights, budget
        self.rows: dict[str, dict[str, Any]] = {}
        self.documents: list[dict[str, Any]] = []
        self.outputs: dict[str, LayerOutput] = {}
        self.unreached: list[str] = []
        self.lost = 0

    def remember(self, done: Done) -> None:
        """A stage a moment before it is changed."""
        self.lost += _nonzero(self.weights, touched(done))

    def add(self, done: Done) -> None:
        """The same a moment after."""
        self.lost -= _nonzero(self.weights, touched(done))
        document = replace(done.plan, budget=self.budget).to_dict()
        self.rows |= {row["name"]: row for row in document.pop("layers")}
        self.documents.append(document)
        self.outputs |= {output.name: output for output in done.outputs}
        self.unreached += done.unreached

    def result(
        self, chosen: Sequence[str], before: int, skipped: tuple[Skipped, ...]
    ) -> StreamedResult:
        """All of it."""
        totals = {
            key: sum(one[key] for one in self.documents)
            for key in ("n_parameters", "n_parameters_kept")
        }
        kappa = totals["n_parameters_kept"] / totals["n_parameters"]
        rows = [self.rows[name] for name in chosen]
        plan = self.documents[0] | {"kappa": kappa} | totals | {"layers": rows}
        return StreamedResult(
            plan,
            sum(p.numel() for p in self.weights.named.values()),
            before,
            before - self.lost,
            skipped,
            tuple(self.outputs[name] for name in chosen if name in self.outputs),
            tuple(self.unreached),
        )


def _check_division(strategy: Strategy, budget: Budget) -> None:
    if not isinstance(budget, Keep) or budget.scope == "layer":
        return
    if division_of(strategy) is not None:
        raise InputError(
            "`--stream` of `prune` cannot divide a share by what pruning does to the outputs of "
            "the whole network. Give --slope with --allocation atp, or another --allocation than "
            "optimum."
        )
    if not divides(strategy):
        raise InputError(
            f"`--stream` of `prune` cannot divide a share of all layers for "
            f"{type(strategy).__name__}, which sees them all at once. Give --scope layer."
        )


def _check_blocks(streamed: Streamed, stages: Stages) -> None:
    """Refuse what does not go block by block."""
    name = type(streamed.model).__name__
    paths = {outline.label for outline in stages.outlines if outline.block is not None}
    if not paths:
        raise UnsupportedModelError(
            f"{name} is no chain of blocks that hand hidden states on. Leave out --stream."
        )
    outside = [x.names[0] for x in stages.outlines if x.names and x.block is None]
    if outside:
        raise InputError(
            f"`{outside[0]}` lies in no block of {name}, where --stream prunes. Leave it to "
            "--exclude, or leave out --stream."
        )
    unknown = sorted(paths - streamed.blocks.keys())
    if unknown:
        raise UnsupportedModelError(
            f"`{unknown[0]}` of {name} is no member of a list of modules, which --stream reads one "
            "by one. Leave out --stream."
        )


def _uses(
    streamed: Streamed, model: nn.Module, example: Any, names: Collection[str]
) -> dict[str, Use]:
    """How a run uses parameters that no layer holds, found block by block."""
    stages = stages_of(model, [on_device_of(model, example)], only=names, held=streamed.held)
    found: dict[str, Use] = {}
    for stage in stages:
        before = f"{stage.label}." if stage.part is not model else ""
        own = {name.removeprefix(before): name for name in stage.names}
        uses = uses_of(stage.part, stage.batches[0], own)
        found |= {name: uses[short] for short, name in own.items()}
    return found


def _by_block(streamed: Streamed, weights: Weights) -> Any:
    """Names of weights in each block while it is in memory, and then all others."""
    left = dict.fromkeys(weights.named)
    for path, block in streamed.blocks.items():
        names = [name for name in left if name.startswith(f"{path}.")]
        with streamed.held(block):
            yield names
        for name in names:
            del left[name]
    yield list(left)


def _nonzero(weights: Weights, names: Collection[str]) -> int:
    return nonzero({name: weights.named[name] for name in names})
