"""Masks that hold while a pruned network trains on, under any optimizer and its noise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol, overload

import torch
from torch.nn.parallel import DistributedDataParallel

from prunable.arguments import as_named, checked
from prunable.errors import InputError, require
from prunable.nets.prune.masks import masks_of
from prunable.nets.prune.plan import PruningPlan


class Pruned(Protocol):
    """A result that holds a plan, such as that of `prune`."""

    @property
    def plan(self) -> PruningPlan:
        """What was kept."""


Masks = Mapping[str, torch.Tensor] | PruningPlan | Pruned


@overload
def hold_masks(
    optimizer: torch.optim.Optimizer,
    named_parameters: Iterable[tuple[str, torch.Tensor]],
    masks: Masks,
) -> MaskHandle: ...


@overload
def hold_masks(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, masks: Masks
) -> MaskHandle: ...


def hold_masks(*args: Any, **kwargs: Any) -> MaskHandle:
    """Keep pruned weights at exactly 0 from now on, whatever the optimizer does.

    `hold_masks(model, optimizer, pruned)`, or `hold_masks(optimizer, named_parameters, masks)`.
    What was pruned is said by a result of `prune`, a plan, or masks: bools that say what is kept of
    each parameter, in its shape; parameters without one train freely.

    Gradients of pruned weights are zeroed as backward passes fill them and again before each step,
    so that neither clipping nor momentum sees them; the weights are zeroed after each step, after
    every other hook, and so is what the optimizer remembers of them now. Noise of `attach_noise`
    may be attached before or after, and the weights that stay receive the same draws as without
    masks.

    The handle's `state_dict()` belongs into the checkpoint: given as masks, it lets a resumed run
    hold what the interrupted one held.

    An InputError, if a mask names no parameter, has another shape or type, its parameter is to be
    trained by another optimizer, or the plan leaves no zeros, changes nothing.

    >>> import torch, prunable
    >>> net = torch.nn.Linear(20, 10)
    >>> magnitude, half = prunable.strategies.MagnitudePruning(), prunable.budgets.Keep(0.5)
    >>> pruned = prunable.prune(net, magnitude, half)
    >>> optimizer = torch.optim.Adam(net.parameters())
    >>> held = prunable.hold_masks(net, optimizer, pruned)
    >>> net(torch.randn(4, 20)).square().sum().backward()
    >>> optimizer.step()
    >>> int((net.weight == 0).sum())
    100
    """
    by_model = "model" in kwargs or (args and isinstance(args[0], torch.nn.Module))
    return (_held_in_model if by_model else _held)(*args, **kwargs)


@checked("hold_masks")
def _held_in_model(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, masks: Masks
) -> MaskHandle:
    return _held(optimizer, named_inside(model).items(), masks)


@checked("hold_masks")
def _held(
    optimizer: torch.optim.Optimizer,
    named_parameters: Iterable[tuple[str, torch.Tensor]],
    masks: Masks,
) -> MaskHandle:
    named = as_named(named_parameters, "hold_masks")
    masks = masks_from(masks, named)
    check_masks(named, masks, "hold_masks")
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    strangers = [
        name for name in masks if named[name].requires_grad and id(named[name]) not in held
    ]
    if strangers:
        raise InputError(
            f"`optimizer` of `hold_masks` does not train {', '.join(strangers)}. "
            "Build it from the model's own parameters, after moving the model."
        )
    return MaskHandle(optimizer, {name: (named[name], mask) for name, mask in masks.items()})


def named_inside(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters by every name they have: tied ones, and those inside what wraps a model.

    So masks of a model fit it under torch.compile and DataParallel, and the other way round.
    """
    named: dict[str, torch.Tensor] = {}
    inside: Any = model
    while isinstance(inside, torch.nn.Module):
        named = {**dict(inside.named_parameters(remove_duplicate=False)), **named}
        parallel = isinstance(inside, torch.nn.DataParallel | DistributedDataParallel)
        inside = inside.module if parallel else getattr(inside, "_orig_mod", None)
    return named


def masks_from(pruned: Masks, named: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The masks of what was pruned; of a plan, those of parameters of these names.

    Raises InputError if a plan leaves no zeros to hold, or names other parameters.
    """
    if isinstance(pruned, Mapping):
        return dict(pruned)
    plan = pruned if isinstance(pruned, PruningPlan) else getattr(pruned, "plan", None)
    wanted = "a result of `prune`, a plan, or bool tensors by the names of parameters"
    require(isinstance(plan, PruningPlan), "masks", "hold_masks", wanted, type(pruned).__name__)
    assert isinstance(plan, PruningPlan)
    for layer in plan.layers:
        if layer.axis == "singular_value" or layer.fill is not None:
            raise InputError(
                f"`{layer.name}` was pruned by {plan.method}, which leaves no zeros to hold. "
                "Retrain after another strategy."
            )
    try:
        return masks_of(plan, named.items())
    except (KeyError, RuntimeError) as error:
        name = next((layer.name for layer in plan.layers if layer.name not in named), None)
        why = "a parameter has another shape" if name is None else f"it has no parameter `{name}`"
        raise InputError(
            f"`masks` of `hold_masks` do not fit the model: {why}. Nothing was changed. Use the "
            "model they were made for."
        ) from error


class MaskHandle:
    """Live connection between an optimizer and the masks, of parameters `names`, to respect."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        masked: Mapping[str, tuple[torch.Tensor, torch.Tensor]],
    ) -> None:
        self.names = tuple(masked)
        self._pruned = [(p, ~mask.to(p.device)) for p, mask in masked.values()]
        self._optimizer = optimizer
        self._backward = [
            # within the pass, for optimizers that run passes of their own in a step
            p.register_post_accumulate_grad_hook(lambda p, pruned=pruned: _clear(p.grad, pruned))
            for p, pruned in self._pruned
            if p.requires_grad
        ]
        self._before = optimizer.register_step_pre_hook(self._prepare)
        self._after = optimizer.register_step_post_hook(self._zero)
        for p, pruned in self._pruned:
            _clear(p, pruned)
            for slot in optimizer.state.get(p, {}).values():
                _clear(slot, pruned)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The masks, on the CPU, for a checkpoint; `hold_masks` takes them back."""
        return {
            name: ~pruned.cpu() for name, (_, pruned) in zip(self.names, self._pruned, strict=True)
        }

    def remove(self) -> None:
        """Let the optimizer move pruned weights again; it behaves as before `hold_masks`."""
        for hook in (*self._backward, self._before, self._after):
            hook.remove()

    def _prepare(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        for p, pruned in self._pruned:
            _clear(p.grad, pruned)
        # hooks run in the order of registration: noise attached later must still come first
        self._after.remove()
        self._after = optimizer.register_step_post_hook(self._zero)

    def _zero(self, *_: object) -> None:
        for p, pruned in self._pruned:
            _clear(p, pruned)


def check_masks(
    named: Mapping[str, torch.Tensor], masks: Mapping[str, torch.Tensor], where: str
) -> None:
    """Raise InputError, naming all that is wrong, unless the masks fit the parameters."""
    problems = list(_problems(named, masks))
    if problems:
        raise InputError(
            f"`masks` of `{where}` do not fit the model: {'; '.join(problems)}. Nothing was "
            "changed. Use the model they were made for."
        )


def zero_pruned_(named: Mapping[str, torch.Tensor], masks: Mapping[str, torch.Tensor]) -> None:
    """Zero what masks prune, in place; the masks must fit, see `check_masks`."""
    for name, mask in masks.items():
        _clear(named[name], ~mask.to(named[name].device))


def _problems(
    named: Mapping[str, torch.Tensor], masks: Mapping[str, torch.Tensor]
) -> Iterator[str]:
    for name, mask in masks.items():
        if name not in named:
            yield f"it has no parameter `{name}`"
        elif mask.dtype != torch.bool:
            yield f"the mask of `{name}` is of {mask.dtype}, not of torch.bool"
        elif mask.shape != named[name].shape:
            yield f"`{name}` has shape {tuple(named[name].shape)}, its mask {tuple(mask.shape)}"


@torch.no_grad()
def _clear(tensor: object, pruned: torch.Tensor) -> None:
    """Zero the pruned entries of a tensor of the mask's shape; pass over anything else."""
    # sparse gradients cannot be filled: their weights are zeroed after the step all the same
    if (
        isinstance(tensor, torch.Tensor)
        and tensor.shape == pruned.shape
        and tensor.layout == torch.strided
    ):
        # not a product with 0, which would leave -0.0 and NaN
        tensor.masked_fill_(pruned, 0)
