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
    inputs: int | None = None  # the dimension of its inputs, where each has its own


def weights_of(model: nn.Module, patterns: Sequence[str]) -> Mapping[str, Weight]:
    """The weights of a network by name, tied ones once; `patterns` name further ones."""
    found: dict[str, Weight] = {}
    seen: set[int] = set()
    for prefix, module in model.named_modules():
        for own, kind, inputs in _weights(module):
            parameter = getattr(module, own)
            if isinstance(parameter, Tensor) and id(parameter) not in seen:
                seen.add(id(parameter))
                found[f"{prefix}.{own}".lstrip(".")] = Weight(kind, _reader(module, own), inputs)
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


def _weights(module: nn.Module) -> Iterator[tuple[str, str, int | None]]:
    """Attribute, kind and dimension of the inputs."""
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        yield "weight", "embedding", None
    elif isinstance(module, CONVOLUTIONS):
        inputs = None if module.groups > 1 else 0 if module.transposed else 1
        yield "weight", "convolution", inputs
    elif type(module).__name__ == "Conv1D":  # of transformers: (inputs, outputs)
        yield "weight", "dense", 0
    elif isinstance(module, nn.Linear):
        yield "weight", "dense", 1
    elif isinstance(module, nn.RNNBase):
        names = [name for name in module._flat_weights_names if "weight" in name]
        yield from ((name, "recurrent", 1) for name in names)
    elif isinstance(module, nn.RNNCellBase):
        yield from ((name, "recurrent", 1) for name in ("weight_ih", "weight_hh"))
    elif isinstance(module, nn.MultiheadAttention):
        names = ["in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"]
        yield from ((name, "dense", 1) for name in names)


def _reader(module: nn.Module, own: str) -> Callable[[], Tensor]:
    def read() -> Tensor:
        tensor: Tensor = getattr(module, own)
        return tensor.detach()

    return read
