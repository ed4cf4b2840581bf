"""What a network is called with: one tensor, several in order, or several by name."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from prunable.errors import InputError, PrunableError, kind_of, require

# A tensor, a tuple of positional arguments, or a mapping of keyword arguments.
Example = Tensor | tuple[Any, ...] | Mapping[str, Any]

# What a model raises that is given something of the wrong shape or type, or has a fault of its own.
MISFITS = (
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    NameError,
    ImportError,
)


def as_call(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments that an example stands for.

    >>> as_call({"input_ids": 1})
    ((), {'input_ids': 1})
    """
    if isinstance(example, Mapping):
        return (), dict(example)
    return (tuple(example) if isinstance(example, tuple | list) else (example,)), {}


def run(model: nn.Module, example: Any) -> Any:
    """What a model gives for an example; gradients and modes are the caller's business."""
    args, kwargs = as_call(example)
    return model(*args, **kwargs)


def scores_of(output: Any) -> Any:
    """The scores that a classifier gives: its output, or the logits of one of transformers."""
    return getattr(output, "logits", output)


def mapped(example: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The example with each tensor changed, in the same form."""
    if isinstance(example, Tensor):
        return change(example)
    if isinstance(example, Mapping):
        return {name: mapped(part, change) for name, part in example.items()}
    if isinstance(example, tuple | list):
        return tuple(mapped(part, change) for part in example)
    return example


def on_device_of(model: nn.Module, example: Any) -> Any:
    """The example where the model is, floating-point tensors in the model's precision."""
    first = next((p for p in model.parameters() if p.is_floating_point()), None)
    if first is None:
        return example
    device, dtype = first.device, first.dtype
    return mapped(example, lambda x: x.to(device, dtype) if x.is_floating_point() else x.to(device))


def shapes_of(example: Any) -> str:
    """The shapes of an example's tensors, for messages.

    >>> shapes_of((torch.zeros(2, 3), torch.zeros(1)))
    '(2, 3), (1,)'
    """
    args, kwargs = as_call(example)
    parts = [str(tuple(getattr(x, "shape", ()))) for x in args]
    parts += [f"{n} {tuple(getattr(x, 'shape', ()))}" for n, x in kwargs.items()]
    return ", ".join(parts)


def checked_run(model: nn.Module, example: Any, param: str = "example") -> Any:
    """Run a model without gradients, and blame the example where that fails, by its name.

    Raises InputError if the example does not fit the model.
    """
    try:
        with torch.no_grad():
            return run(model, example)
    except PrunableError:
        raise
    except Exception as error:  # the model's own code
        raise misfit(model, example, error, param) from error


def misfit(model: nn.Module, example: Any, error: Exception, param: str = "example") -> InputError:
    """What says that a model does not run on an example, and what is likely wrong with this."""
    args, kwargs = as_call(example)
    for part in (*args, *kwargs.values()):
        if part is None or type(part).__module__ == "numpy" or isinstance(part, str | Path):
            mend = " Give torch.from_numpy of it." if type(part).__module__ == "numpy" else ""
            return InputError(f"`{param}` must be a tensor, or several; got {kind_of(part)}.{mend}")
    brief = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
    mend = _wanted(model)
    if any(isinstance(part, Tensor) and not part.numel() for part in (*args, *kwargs.values())):
        brief, mend = "it is empty", ""
    elif len(args) > 1 and "positional argument" in brief:
        mend = " Each part of a tuple or list is an argument of the model: leave out classes."
    return InputError(
        f"`{param}` of shape {shapes_of(example)} does not fit the model: {brief}.{mend}"
    )


def _wanted(model: nn.Module) -> str:
    """What the first layer that a model holds takes, where that is known."""
    for name, layer in model.named_modules():
        if isinstance(layer, _ConvNd):
            return f" Its first layer, {name or 'itself'}, takes (n, {layer.in_channels}, ...)."
        if isinstance(layer, nn.Linear):
            return f" Its first layer, {name or 'itself'}, takes (n, ..., {layer.in_features})."
    return ""


@contextmanager
def uncached(model: nn.Module) -> Iterator[None]:
    """Keep a network of transformers from putting its keys and values among its outputs."""
    configs: list[Any] = [getattr(module, "config", None) for module in model.modules()]
    cached = list({id(c): c for c in configs if getattr(c, "use_cache", False) is True}.values())
    for config in cached:
        config.use_cache = False
    try:
        yield
    finally:
        for config in cached:
            config.use_cache = True


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Hold a model in evaluation mode; every module then gets back its own mode."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def watching(
    model: nn.Module, modules: Iterable[nn.Module], watch: Callable[[nn.Module, Tensor], None]
) -> Iterator[None]:
    """Look at the first input of some modules while a model runs in evaluation mode."""

    def before(module: nn.Module, args: Any, kwargs: Any) -> None:
        watch(module, (args[0] if args else next(iter(kwargs.values()))).detach())

    handles = [m.register_forward_pre_hook(before, with_kwargs=True) for m in modules]
    try:
        with evaluating(model):
            yield
    finally:
        for handle in handles:
            handle.remove()


def check_several(inputs: Any, where: str) -> None:
    """Raise InputError unless these are a tensor of several inputs, or batches of them."""
    several = inputs.ndim if isinstance(inputs, Tensor) else isinstance(inputs, Iterable)
    wanted = "a tensor of several inputs, or batches of them"
    several = several and not isinstance(inputs, Mapping | str)
    require(several, "inputs", where, wanted, kind_of(inputs))
