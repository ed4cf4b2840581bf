"""Masks held by training frameworks, stored in their checkpoints and found again there."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from prunable.errors import InputError
from prunable.nets.models.torch_extras import torch_extra
from prunable.nets.prune import retraining
from prunable.nets.prune.mask_file import load_masks, save_masks

# The file of masks in a checkpoint of transformers' Trainer.
FILE = "prunable_masks.safetensors"
LIGHTNING = ("lightning.pytorch", "pytorch_lightning")  # two names of one package


class _Held:
    """The masks of one training: given, or stored by an interrupted one; and the handles."""

    def __init__(self, pruned: retraining.Masks | None, where: str) -> None:
        self.pruned, self.where = pruned, where
        self.stored: dict[str, Tensor] | None = None
        self.masks: dict[str, Tensor] = {}
        self._handles: list[retraining.MaskHandle] = []

    def hold(self, model: nn.Module, optimizers: Iterable[torch.optim.Optimizer]) -> None:
        """Hold the masks in all optimizers that train what they prune."""
        self.release()
        named = retraining.named_inside(model)
        self.masks = self._agreed(named)
        retraining.check_masks(named, self.masks, self.where)
        left = dict(self.masks)
        for optimizer in optimizers:
            own = {id(p) for group in optimizer.param_groups for p in group["params"]}
            mine = {name: mask for name, mask in self.masks.items() if id(named[name]) in own}
            self._handles.append(retraining.hold_masks(optimizer, named.items(), mine))
            left = {name: mask for name, mask in left.items() if name not in mine}
        lost = [name for name in left if named[name].requires_grad]
        if lost:
            raise InputError(
                f"`{self.where}` holds masks of {', '.join(lost)}, which no optimizer trains. "
                "Freeze what is not to be trained, or leave it out of the masks."
            )

    def release(self) -> None:
        """Let the weights go."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _agreed(self, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self.pruned is None and self.stored is None:
            raise InputError(
                f"`{self.where}` has no masks: none were given, and no checkpoint holds any. Give "
                "the result of `prune`."
            )
        if self.pruned is None:
            return dict(self.stored or {})
        given = retraining.masks_from(self.pruned, named)
        if self.stored is not None and not _equal(given, self.stored):
            raise InputError(
                f"`{self.where}` was given other masks than the checkpoint holds. Leave them out "
                "to go on with the checkpoint's."
            )
        return given


def for_lightning(pruned: retraining.Masks | None = None) -> Any:
    """A callback of PyTorch Lightning that keeps pruned weights at 0 while `fit` runs.

    `pruned` is what `hold_masks` takes, of the LightningModule itself: prune that. The masks are
    part of Lightning's checkpoints; a resumed `fit` takes them from there, and needs none here.

    Raises InputError if neither `lightning` nor `pytorch_lightning` is installed.

    >>> import torch, prunable
    >>> net = torch.nn.Linear(20, 10)
    >>> magnitude, half = prunable.strategies.MagnitudePruning(), prunable.budgets.Keep(0.5)
    >>> pruned = prunable.prune(net, magnitude, half)
    >>> callbacks = [prunable.callbacks.for_lightning(pruned)]  # for pytorch_lightning.Trainer
    >>> callbacks[0].state_key
    'prunable.HoldMasks'
    """
    held = _Held(pruned, "for_lightning")

    class HoldMasks(*lightning_callbacks("for_lightning")):  # type: ignore[misc]
        """Holds masks from the first step to the last."""

        @property
        def state_key(self) -> str:
            """Where Lightning's checkpoints keep the masks, whichever package wrote them."""
            return "prunable.HoldMasks"

        def on_train_start(self, trainer: Any, pl_module: nn.Module) -> None:
            """Hold the masks, once optimizers and weights are those of the checkpoint."""
            held.hold(pl_module, trainer.optimizers)

        def on_train_end(self, trainer: Any, pl_module: nn.Module) -> None:
            """Let the weights go."""
            del trainer, pl_module
            held.release()

        def state_dict(self) -> dict[str, Any]:
            """The masks, for a checkpoint."""
            return {"masks": {name: mask.cpu() for name, mask in held.masks.items()}}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            """Take the masks of a checkpoint."""
            held.stored = dict(state_dict["masks"])

    return HoldMasks()


def for_trainer(pruned: retraining.Masks | None = None) -> Any:
    """A callback of transformers' Trainer that keeps pruned weights at 0 while `train` runs.

    `pruned` is what `hold_masks` takes, of the Trainer's model. The masks lie in each checkpoint as
    `prunable_masks.safetensors`; a run resumed from a checkpoint in its own `output_dir` takes them
    from there, and needs none here. From another place give `prunable.load_masks` of that file.

    Raises InputError if transformers is not installed.

    >>> import torch, prunable
    >>> net = torch.nn.Linear(20, 10)
    >>> magnitude, half = prunable.strategies.MagnitudePruning(), prunable.budgets.Keep(0.5)
    >>> pruned = prunable.prune(net, magnitude, half)
    >>> callbacks = [prunable.callbacks.for_trainer(pruned)]  # for transformers.Trainer
    >>> type(callbacks[0]).__mro__[1].__name__
    'TrainerCallback'
    """
    base: Any = torch_extra("transformers", "for_trainer", "hub").TrainerCallback
    held = _Held(pruned, "for_trainer")

    class HoldMasks(base):
        """Holds masks from the first step to the last."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Hold the masks, once optimizer and weights are those of the checkpoint."""
            del control
            file = _checkpoint(args, state) / FILE
            held.stored = load_masks(file) if state.global_step and file.exists() else None
            held.hold(kwargs["model"], [_innermost(kwargs["optimizer"])])

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Put the masks into the checkpoint."""
            del control, kwargs
            if state.is_world_process_zero:
                save_masks(_checkpoint(args, state) / FILE, held.masks)

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Let the weights go."""
            del args, state, control, kwargs
            held.release()

    return HoldMasks()


def lightning_callbacks(where: str) -> tuple[type, ...]:
    """The class of callbacks of each name of Lightning that is in use, or of the one installed.

    Raises InputError, which names `where`, if neither is installed.
    """
    used: list[Any] = [sys.modules[name] for name in LIGHTNING if sys.modules.get(name)]
    if not used:
        try:
            used = [torch_extra(LIGHTNING[0], where, "lightning")]
        except InputError:
            used = [torch_extra(LIGHTNING[1], where, "lightning")]
    return tuple(dict.fromkeys(module.Callback for module in used))


def _checkpoint(args: Any, state: Any) -> Path:
    """The folder of the checkpoint of this step."""
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"


def _innermost(optimizer: Any) -> torch.optim.Optimizer:
    """The optimizer whose hooks are called, inside those that accelerate wraps around it."""
    while isinstance(getattr(optimizer, "optimizer", None), torch.optim.Optimizer):
        optimizer = optimizer.optimizer
    found: torch.optim.Optimizer = optimizer
    return found


def _equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(mask.cpu(), other[name].cpu()) for name, mask in one.items()
    )
