"""Masks that hold while a pruned network trains on, under any optimizer and its noise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch

from prunable.errors import InputError


def hold_masks(
    optimizer: torch.optim.Optimizer,
    named_parameters: Iterable[tuple[str, torch.Tensor]],
    masks: Mapping[str, torch.Tensor],
) -> MaskHandle:
    """Keep pruned weights at exactly 0 from now on, whatever the optimizer does.

    Their gradients are zeroed as backward passes fill them and again before each step, so that
    neither clipping nor momentum sees them; the weights are zeroed after each step, after every
    other hook, and so is what the optimizer remembers of them now. Noise of `attach_noise` may be
    attached before or after, and the weights that stay receive the same draws as without masks.

    Masks are bools that say what is kept of each parameter, in its shape; parameters without one
    train freely. An InputError, if a mask names no parameter, has another shape or type, or its
    parameter is to be trained by another optimizer, changes nothing.
    """
    named = dict(named_parameters)
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
