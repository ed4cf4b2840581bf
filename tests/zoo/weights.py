"""What is a weight in a network of the zoo, told by the classes of its layers alone.

A second opinion on the package's own: nothing here is taken from it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

CONVOLUTIONS = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)


@dataclass(frozen=True)
class Weight:
    """One weight: what kind of layer holds it, and how its effective numbers are read."""

    kind: str  # as `measure` names kinds; dense stands for attention too
    read: Callable[[], Tensor]


def weights_of(model: nn.Module, patterns: Sequence[str]) -> Mapping[str, Weight]:
    """The weights of a network by name, tied ones once; `patterns` name further ones."""
    found: dict[str, Weight] = {}
    seen: set[int] = set()
    for prefix, module in model.named_modules():
        for own, kind in _weights(module):
            parameter = getattr(module, own)
            if isinstance(parameter, Tensor) and id(parameter) not in seen:
                seen.add(id(parameter))
                found[f"{prefix}.{own}".lstrip(".")] = Weight(kind, _reader(module, own))
    for name, parameter in model.named_parameters():
        if any(fnmatchcase(name, pattern) for pattern in patterns) and id(parameter) not in seen:
            owner, _, own = name.rpartition(".")
            found[name] = Weight("dense", _reader(model.get_submodule(owner), own))
    return found


def others_of(model: nn.Module, weights: Mapping[str, Weight]) -> dict[str, Tensor]:
    """Parameters that are no weights; of parametrized weights none is told."""
    parametrized = {
        f"{name}.parametrizations." if name else "parametrizations."
        for name, module in model.named_modules()
        if is_parametrized(module)
    }
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if name not in weights and not any(name.startswith(prefix) for prefix in parametrized)
    }


def _weights(module: nn.Module) -> Iterator[tuple[str, str]]:
    if isinstance(module, nn.Embedding):
        yield "weight", "embedding"
    elif isinstance(module, CONVOLUTIONS):
        yield "weight", "convolution"
    elif isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D":
        yield "weight", "dense"
    elif isinstance(module, nn.RNNBase):
        yield from ((name, "recurrent") for name in module._flat_weights_names if "weight" in name)
    elif isinstance(module, nn.MultiheadAttention):
        names = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
        yield from ((name, "dense") for name in names)


def _reader(module: nn.Module, own: str) -> Callable[[], Tensor]:
    def read() -> Tensor:
        tensor: Tensor = getattr(module, own)
        return tensor.detach()

    return read
