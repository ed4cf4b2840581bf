"""A network walked in order: each layer gets what those before it, as they are by now, send.

Networks that are a chain of blocks, as language models are, run block by block: one block's
products and one set of hidden states are in memory. Others run as a whole for each stage.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from prunable.errors import check_one_of, require
from prunable.nets.calibration import calibrating
from prunable.nets.networks.examples import (
    Example,
    checked_run,
    evaluating,
    mapped,
    run,
    uncached,
    watching,
)
from prunable.nets.networks.inputs import PLAIN, batch_of, tensors_of

Hidden = dict[str, Any]  # what a block is called with, by name, hidden states first
Holding = Callable[[nn.Module], AbstractContextManager[None]]


@dataclass(frozen=True, eq=False)
class InOrder:
    """Unlabelled inputs to calibrate a network with in the order of its layers, as it is pruned.

    What comes later sees, and makes up for, what pruning did before: `prune` takes these as its
    `calibration`. Networks that are a chain of blocks go block by block, others layer by layer.

    >>> import torch, prunable
    >>> net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> inputs = InOrder(torch.randn(200, 8))
    >>> half = prunable.budgets.Keep(0.5)
    >>> pruned = prunable.prune(net, prunable.strategies.BrainSurgery(), half, calibration=inputs)
    >>> [output.name for output in pruned.outputs]
    ['0.weight', '2.weight']
    """

    inputs: Tensor | Iterable[Example] = field(repr=False)
    # folder for what is done; another call with the same arguments goes on from there
    store: Any = None
    # told the number of stages done, that of all, and the name of the last
    on_stage: Callable[[int, int, str], None] | None = None
    chunk: int = 32
    # what the outputs of a layer should be: its own, dense, on the inputs that it gets by then; or
    # what the dense network has there, so that it makes up for what went before it. For the latter
    # all inputs pass at once and nothing is stored; strategies must reconstruct
    towards: Literal["layer", "network"] = "layer"
    # what has a block's numbers in memory for a while; None if they are there always
    held: Holding | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_one_of(self.towards, ("layer", "network"), "towards", "InOrder")
        stored = self.towards == "network" and self.store is not None
        require(not stored, "store", "InOrder", "left out towards the network", self.store)


@dataclass(frozen=True, eq=False)
class Stage:
    """Layers that are calibrated together: those of a block, or those that read the same tensor."""

    label: str
    names: tuple[str, ...]  # of the weights
    part: nn.Module = field(repr=False)  # what runs: the block, or the network
    layers: dict[nn.Module, str] = field(repr=False)  # those of the names that are layers
    batches: tuple[Example, ...] = field(repr=False)  # what the part is called with

    def calibrate(self) -> calibrating.Calibration:
        """What flows into the layers now."""
        return calibrating.calibrated_layers(self.part, self.layers, self.batches)

    def measured_errors(self, weights: dict[str, Tensor]) -> dict[str, float]:
        """The relative l_2 errors of the layers' outputs with other weights, by running them."""
        return calibrating.errors_of_layers(self.part, self.layers, weights, self.batches)


@dataclass(frozen=True, eq=False)
class _Outline:
    """A stage before it is reached."""

    label: str
    names: tuple[str, ...]
    block: _Block | None = None


@dataclass(frozen=True, eq=False)
class _Block:
    """One of a chain of modules that hand hidden states on."""

    path: str
    module: nn.Module
    wrap: Callable[[Tensor], Any]  # hidden states in the form in which it gives them


@dataclass(frozen=True, eq=False)
class Stages:
    """All stages of a network in order.

    Iterating gives each when those before it have run: whoever prunes does so between two.
    """

    model: nn.Module
    layers: dict[nn.Module, str]
    batches: tuple[Example, ...]
    outlines: tuple[_Outline, ...]
    held: Holding | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The stages' names: the paths of blocks, or the first weights."""
        return tuple(outline.label for outline in self.outlines if outline.names)

    def __iter__(self) -> Iterator[Stage]:
        blocks = [x.block for x in self.outlines if x.block is not None]
        calls: list[list[Hidden]] | None = None
        for outline in self.outlines:
            block = outline.block
            names = set(outline.names)
            layers = {m: name for m, name in self.layers.items() if name in names}
            if block is None:
                with uncached(self.model):
                    yield Stage(outline.label, outline.names, self.model, layers, self.batches)
                continue
            if calls is None:
                calls = [_calls(self.model, blocks, batch) for batch in self.batches]
            now = [own.pop(0) for own in calls]
            with self.holding(block.module):
                if outline.names:
                    yield Stage(outline.label, outline.names, block.module, layers, tuple(now))
                for call, later in zip(now, calls, strict=True):
                    if later:
                        first = next(iter(later[0]))
                        with evaluating(block.module):
                            later[0][first] = _hidden(checked_run(block.module, call))

    def parts(self) -> Iterator[tuple[str, ...]]:
        """The names of the weights of each stage, while it has its numbers; nothing runs."""
        for outline in self.outlines:
            if outline.names:
                with self.holding(self.model if outline.block is None else outline.block.module):
                    yield outline.names

    def holding(self, module: nn.Module) -> AbstractContextManager[None]:
        """Have the numbers of a block, or of a part of it, in memory."""
        return nullcontext() if self.held is None else self.held(module)


def stages_of(
    model: nn.Module,
    inputs: Tensor | Iterable[Example],
    *,
    only: Collection[str] | None = None,
    chunk: int = 32,
    held: Holding | None = None,
) -> Stages:
    """Find the order in which the weights of a network are reached.

    Blocks are found by what they do: members of one list that run one after another, each on what
    the one before it gives. Weights of no layer, which cannot be calibrated, come with the block
    that holds them, or first. `inputs`, `only` and `chunk` are those of `calibrate`,
    `held` is that of `InOrder`.

    Raises InputError if there are no inputs, or one does not fit.
    """
    batches = calibrating.batches_of(model, inputs, chunk)
    layers = calibrating.layers_of(model, only)
    names = list(dict.fromkeys(layers.values())) if only is None else list(only)
    example = batch_of(batches[0], 1)
    blocks = _chain(model, example)
    reached = _order(model, layers, blocks, example)
    owner = {
        name: block
        for block in reversed(blocks)
        for name in names
        if name.startswith(f"{block.path}.")
    }
    known = set(layers.values())
    loose = [name for name in names if name not in owner and name not in known]
    outlines = [_Outline(loose[0], tuple(loose))] if loose else []
    done = set(loose)
    for what in reached:
        own = what if isinstance(what, list) else [n for n in names if owner.get(n) is what]
        own = [n for n in own if n not in done and (n not in owner or not isinstance(what, list))]
        done.update(own)
        if isinstance(what, _Block):
            outlines.append(_Outline(what.path, tuple(own), what))
        elif own:
            outlines.append(_Outline(own[0], tuple(own)))
    left = [name for name in names if name not in done]
    if left:  # what one example does not reach
        outlines.append(_Outline(left[0], tuple(left)))
    return Stages(model, layers, batches, tuple(outlines), held)


def _order(
    model: nn.Module, layers: dict[nn.Module, str], blocks: Sequence[_Block], example: Example
) -> list[_Block | list[str]]:
    """Blocks, and layers outside of them, in the order in which they run.

    Layers that read one tensor stand together.
    """
    found: list[_Block | list[str]] = []
    inside = {module: block for block in blocks for module in block.module.modules()}
    last: tuple[Tensor, object] | None = None  # held, so that its memory is not used again

    def watch(module: nn.Module, x: Tensor) -> None:
        nonlocal last
        if (block := inside.get(module)) is not None:
            if block not in found:
                found.append(block)
            last = None
            return
        key = calibrating.identity_of(x)
        if last is None or key != last[1]:
            found.append([])
        last = x, key
        group = found[-1]
        assert isinstance(group, list)
        group.append(layers[module])

    watched = dict.fromkeys([*layers, *(block.module for block in blocks)])
    with uncached(model), watching(model, watched, watch):
        checked_run(model, example)
    return found


# a chain of blocks


def _chain(model: nn.Module, example: Example) -> tuple[_Block, ...]:
    """The blocks of the longest chain in which each does nothing but hand hidden states on.

    Empty if there is none, or running the blocks by themselves gives something else.
    """
    lists = [
        (path, module)
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList | nn.Sequential) and len(module) > 1
    ]
    lists.sort(key=lambda x: -sum(p.numel() for p in x[1].parameters()))
    for path, members in lists[:3]:
        paths = [f"{path}.{name}".lstrip(".") for name, _ in members.named_children()]
        blocks = _tried(model, dict(zip(paths, members, strict=True)), example)
        if blocks:
            return blocks
    return ()


def _tried(model: nn.Module, members: dict[str, nn.Module], example: Example) -> tuple[_Block, ...]:
    calls: list[tuple[nn.Module, Any, Any, Any]] = []  # module, args, kwargs, output

    def note(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        calls.append((module, args, kwargs, output))

    handles = [m.register_forward_hook(note, with_kwargs=True) for m in members.values()]
    try:
        with uncached(model), evaluating(model):
            checked_run(model, example)
    finally:
        for handle in handles:
            handle.remove()
    if [module for module, *_ in calls] != list(members.values()):
        return ()
    named = [_named(module, args, kwargs) for module, args, kwargs, _ in calls]
    given = [_hidden(output) for *_, output in calls]
    more = any(tensors_of(output[1:]) for *_, output in calls if not isinstance(output, Tensor))
    if more or any(x is None for x in named) or any(x is None for x in given):
        return ()
    whole = [x for x in named if x is not None]
    starts = [next(iter(x.values())) for x in whole]
    if any(x is not y for x, y in zip(starts[1:], given[:-1], strict=True)):
        return ()
    blocks = tuple(
        _Block(path, module, _form(output))
        for path, (module, _, _, output) in zip(members, calls, strict=True)
    )
    again = _calls(model, blocks, example)
    hidden = starts[0]
    with evaluating(model), torch.no_grad():
        for block, call, before in zip(blocks, again, whole, strict=True):
            version = hidden._version
            result = _hidden(run(block.module, call | {next(iter(call)): hidden}))
            # neither told what other blocks did, nor writing over what it is given
            if not _alike(call, before) or hidden._version != version:
                return ()
            hidden = result
    same = hidden is not None and torch.allclose(hidden, given[-1], rtol=1e-4, atol=1e-6)
    return blocks if same else ()


def _named(module: nn.Module, args: Any, kwargs: Any) -> Hidden | None:
    """What a block was called with, by name; None if it cannot be said so, or holds a state."""
    try:
        bound = inspect.signature(module.forward).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return None
    found: Hidden = {}
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY):
            return None
        found |= value if kind is inspect.Parameter.VAR_KEYWORD else {name: value}
    first = next(iter(found.values()), None)
    if not isinstance(first, Tensor) or not first.is_floating_point():
        return None
    return found if all(map(_plain, found.values())) else None


def _plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_plain, value))
    return isinstance(value, (Tensor, torch.dtype, *PLAIN))


def _hidden(output: Any) -> Any:
    """The hidden states among what a block gives; None if there are none."""
    first = output[0] if isinstance(output, tuple | list) and output else output
    return first if isinstance(first, Tensor) and first.is_floating_point() else None


def _form(output: Any) -> Callable[[Tensor], Any]:
    if isinstance(output, Tensor):
        return lambda hidden: hidden
    rest, kind = tuple(output[1:]), list if isinstance(output, list) else tuple
    return lambda hidden: kind((hidden, *rest))


def _alike(call: Hidden, other: Hidden) -> bool:
    """Whether two calls differ in their hidden states at most."""
    if call.keys() != other.keys():
        return False
    first = next(iter(call))
    mine, others = ({k: v for k, v in x.items() if k != first} for x in (call, other))
    pairs = zip(tensors_of(mine), tensors_of(others), strict=False)
    empty = mapped(mine, _blank), mapped(others, _blank)
    return all(x.shape == y.shape and torch.equal(x, y) for x, y in pairs) and (
        repr(empty[0]) == repr(empty[1])
    )


def _blank(x: Tensor) -> Tensor:
    return x.new_zeros(0)


class _Through(BaseException):
    """All blocks are passed."""


def _calls(model: nn.Module, blocks: Sequence[_Block], example: Example) -> list[Hidden]:
    """What each block is called with where every block hands on what it gets."""
    found: list[Hidden] = []
    with uncached(model), evaluating(model), _skipped(blocks, found), suppress(_Through):
        checked_run(model, example)
    return found


@contextmanager
def _skipped(blocks: Sequence[_Block], found: list[Hidden]) -> Iterator[None]:
    """Let blocks note what they are called with, and do nothing else."""
    own = [block.module.__dict__.get("forward") for block in blocks]

    def passing(block: _Block) -> Callable[..., Any]:
        forward = block.module.forward

        def passed(*args: Any, **kwargs: Any) -> Any:
            bound = inspect.signature(forward).bind(*args, **kwargs)
            named: Hidden = {}
            for name, value in bound.arguments.items():
                packed = bound.signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
                named |= value if packed else {name: value}
            found.append({k: v.detach() if isinstance(v, Tensor) else v for k, v in named.items()})
            if len(found) == len(blocks):
                raise _Through
            return block.wrap(next(iter(named.values())))

        return passed

    forwards = [passing(block) for block in blocks]
    try:
        for block, forward in zip(blocks, forwards, strict=True):
            block.module.__dict__["forward"] = forward
        yield
    finally:
        for block, before in zip(blocks, own, strict=True):
            if before is None:
                block.module.__dict__.pop("forward", None)
            else:
                block.module.__dict__["forward"] = before
