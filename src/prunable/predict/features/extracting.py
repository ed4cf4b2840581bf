"""Features that a network computes in one of its layers, streamed over data."""

from collections.abc import Iterable, Iterator
from typing import Literal, get_args

import numpy as np
import torch
from torch import nn

from prunable.arguments import checked
from prunable.errors import InputError, UnsupportedModelError, check_at_least, check_one_of, require
from prunable.nets.networks.examples import evaluating
from prunable.numerics.arrays import FloatArray

Side = Literal["input", "output"]
Pooling = Literal["none", "mean"]
BATCH = 1024


def penultimate_layer(model: nn.Module) -> str:
    """Name the last linear layer registered: its inputs are the penultimate features."""
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not names:
        raise UnsupportedModelError(
            "The network has no torch.nn.Linear layer, so that it has no penultimate layer. "
            f"Name one of its layers: {_listed(model)}."
        )
    return names[-1]


@checked("extract_features")
def extract_features(
    model: nn.Module,
    inputs: torch.Tensor,
    layer: str | None = None,
    *,
    side: Side | None = None,
    pooling: Pooling = "none",
    batch_size: int = BATCH,
) -> FloatArray:
    """Compute what a layer takes in or gives out, shape (N, p); see `stream_features`.

    >>> import torch, prunable
    >>> net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    >>> extract_features(net, torch.randn(100, 8), "2", side="input").shape
    (100, 16)
    """
    batches = stream_features(
        model, inputs, layer, side=side, pooling=pooling, batch_size=batch_size
    )
    return np.concatenate(list(batches))


def stream_features(
    model: nn.Module,
    inputs: torch.Tensor | Iterable[torch.Tensor],
    layer: str | None = None,
    *,
    side: Side | None = None,
    pooling: Pooling = "none",
    batch_size: int = BATCH,
) -> Iterator[FloatArray]:
    """Yield the features of one layer, shape (batch, p), batch by batch.

    The network is in evaluation mode while a batch passes, each of its modules in its former mode
    between batches, and nothing stays attached to it. Raises InputError if there is no such layer,
    there are no examples, or features are NaN or infinite; UnsupportedModelError if the layer is
    not called exactly once for a batch, or does not handle one tensor.

    Parameters
    ----------
    inputs : the examples, shape (N, ...), or batches of them (such as a data loader over inputs),.
        moved to the device of the model's first parameter
    layer : name as in `model.named_modules()`. None is the last linear layer, whose inputs are.
        taken.
    """
    where = "stream_features"
    check_at_least(batch_size, 1, "batch_size", where)
    for option, value, choices in (
        ("pooling", pooling, get_args(Pooling)),
        ("side", side, (*get_args(Side), None)),
    ):
        check_one_of(value, choices, option, where)
    chosen = side or ("input" if layer is None else "output")
    name = penultimate_layer(model) if layer is None else layer
    modules = dict(model.named_modules())
    require(
        name in modules, "layer", where, "a layer of the network", name, f"It has {_listed(model)}."
    )
    if isinstance(inputs, torch.Tensor) and not len(inputs):
        raise InputError.parameter("inputs", where, "not empty", "no examples")
    batches = inputs.split(batch_size) if isinstance(inputs, torch.Tensor) else inputs
    first = next(model.parameters(), None)
    seen = 0
    for batch in batches:
        moved = batch if first is None else batch.to(first.device)
        with evaluating(model), torch.no_grad():
            found = _captured(model, modules[name], name, chosen, moved)
        rows = _as_rows(found, len(batch), name, pooling)
        if not np.isfinite(rows).all():
            bad = seen + int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
            raise InputError(
                f"The features of layer `{name}` hold NaN or infinity, first for example {bad}. "
                "Check the inputs and the weights."
            )
        seen += len(rows)
        yield rows


def _captured(
    model: nn.Module, module: nn.Module, name: str, side: Side, batch: torch.Tensor
) -> torch.Tensor:
    caught: list[object] = []

    def keep(value: object) -> None:
        # a copy: the next layer may work in place
        caught.append(value.clone() if isinstance(value, torch.Tensor) else value)

    def before(_: nn.Module, arguments: tuple[object, ...]) -> None:
        keep(arguments[0] if arguments else None)

    def after(_: nn.Module, __: object, output: object) -> None:
        keep(output)

    handle = (
        module.register_forward_pre_hook(before)
        if side == "input"
        else module.register_forward_hook(after)
    )
    try:
        model(batch)
    finally:
        handle.remove()
    if len(caught) != 1:
        raise UnsupportedModelError(
            f"Layer `{name}` is called {len(caught)} times for a batch; its features are not "
            "one vector an example. Name a layer that is called once."
        )
    if not isinstance(caught[0], torch.Tensor):
        raise UnsupportedModelError(
            f"The {side} of layer `{name}` is a {type(caught[0]).__name__}, not a tensor. "
            "Name another layer."
        )
    return caught[0]


def _as_rows(found: torch.Tensor, count: int, name: str, pooling: Pooling) -> FloatArray:
    if found.ndim == 0 or len(found) != count:
        raise UnsupportedModelError(
            f"Layer `{name}` gives shape {tuple(found.shape)} for a batch of {count}: its first "
            "axis does not count examples. Name another layer."
        )
    if pooling == "mean" and found.ndim > 2:
        found = found.flatten(2).mean(2)
    return found.reshape(count, -1).to("cpu", torch.float64).numpy().copy()


def _listed(model: nn.Module) -> str:
    names = [name for name, _ in model.named_modules() if name]
    shown = ", ".join(names[:20])
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "") or "no named layers"
