"""Modules inside a model: put in another's place, or found to be more than their own weights."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import nn

from prunable.results import Result

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True, eq=False)
class SmallerModel(Result):
    """A smaller copy of a model and the check that it computes the same as the masked one.

    Numbers of parameters count tied ones once, and added biases too.
    """

    copied: ClassVar[bool] = True

    # in the training mode, precision and device of the given model, which is left as it was
    model: nn.Module = field(repr=False)
    # largest |smaller(example) - masked(example)|, in evaluation mode and float64
    max_difference: float
    n_parameters_before: int
    n_parameters: int

    def to_dict(self) -> dict[str, Any]:
        """Summarise as plain JSON values, without the model."""
        return {
            "max_difference": self.max_difference,
            "n_parameters_before": self.n_parameters_before,
            "n_parameters": self.n_parameters,
            "layers": self._rows(),
        }


@dataclass(frozen=True, eq=False)
class ShrinkResult(SmallerModel):
    """A model whose pruned units are cut out, of the same classes."""

    # units (filters) and inputs (channels) left in each linear or convolutional layer, by the
    # layer's name
    kept: Mapping[str, tuple[int, int]] = field(repr=False)
    # what modules remember of their sizes and was changed, such as numbers of heads
    attributes: Mapping[str, Mapping[str, int | tuple[int, ...]]] = field(
        default_factory=dict, repr=False
    )

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [
            {"name": name, "units": units, "inputs": inputs}
            for name, (units, inputs) in self.kept.items()
        ]


def kept_of(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Units and inputs of each linear or convolutional layer."""
    return {
        name: (module.weight.shape[0], module.weight.shape[1])
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, *CONVOLUTIONS))
    }


def count_parameters(model: nn.Module) -> int:
    """Numbers in a model's parameters, tied ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def swap_(
    model: nn.Module, names: Iterable[str], make: Callable[[str, Any], nn.Module]
) -> nn.Module:
    """Put other modules in the place of some, in place, under every name that these have.

    `make` is given the name and the module. The model returned is another one only if it is
    itself among them.
    """
    for name in names:
        old = model.get_submodule(name)
        new = make(name, old)
        if old is model:
            return new
        for parent in list(model.modules()):
            for own, child in list(parent._modules.items()):
                if child is old:
                    setattr(parent, own, new)
    return model


def has_hooks(module: nn.Module) -> bool:
    """Whether a module does more in its forward pass than its class says.

    What transformers puts on its own modules, to note outputs, it puts there whenever they run.
    """
    hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
    return any(not str(getattr(h, "__module__", "")).startswith("transformers.") for h in hooks)


def shared(model: nn.Module, module: Any) -> str | None:
    """Why a layer of a model is more than its own weights; None if it is not."""
    owners = [m for m in model.modules() for p in m._parameters.values() if p is module.weight]
    if len(owners) > 1:
        return "its weights are tied to another layer's"
    return "it has hooks" if has_hooks(module) else None
