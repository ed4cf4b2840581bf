"""Architectures by name, and networks rebuilt from what a checkpoint says of itself."""

import json
import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import torch
from torch import nn

from prunable.errors import InputError, require
from prunable.files import brief, parse_json
from prunable.nets.catalogue import NETS, known_net
from prunable.nets.models.chains import mlp, vgg
from prunable.nets.models.mean_field import MeanFieldNetwork
from prunable.nets.models.residual import resnet20
from prunable.nets.networks.effective import parametrized_names
from prunable.nets.networks.parametrized import make_plain_

ARCHITECTURE = "architecture"
# What torch.compile, DataParallel and modules of training libraries put before all names.
COMPILED = "_orig_mod"
WRAPPERS = frozenset({COMPILED, "module", "model", "net", "network"})


@dataclass(frozen=True)
class Architecture:
    """A registered architecture (a name of `NETS`), sized for a data set.

    `shape` is that of one example: (features,) or (channels, height, width). A `width` of None
    is the architecture's own.
    """

    name: str
    shape: tuple[int, ...]
    n_outputs: int
    width: int | None = None

    def __post_init__(self) -> None:
        known_net(self.name)
        object.__setattr__(self, "shape", tuple(int(size) for size in self.shape))
        sizes = (*self.shape, self.n_outputs, 1 if self.width is None else self.width)
        if not self.shape or min(sizes) < 1:
            raise InputError.parameter("shape", "Architecture", "sizes of at least 1", sizes)

    @property
    def pictures(self) -> bool:
        """Whether the network wants pictures rather than vectors."""
        return NETS[self.name].pictures

    def metadata(self) -> dict[str, str]:
        """What to store beside the weights for `rebuild`."""
        return {ARCHITECTURE: json.dumps(asdict(self))}


Builder = Callable[[tuple[int, ...], int, int, torch.Generator], nn.Module]


def _lenet(shape: tuple[int, ...], k: int, width: int, g: torch.Generator) -> nn.Module:
    return mlp((math.prod(shape), width, max(1, width // 3), k), generator=g)


def _chain(hidden: int, bias: bool = True) -> Builder:
    def build(shape: tuple[int, ...], k: int, width: int, g: torch.Generator) -> nn.Module:
        return mlp((math.prod(shape), *[width] * hidden, k), generator=g, bias=bias)

    return build


# By the names of `prunable.nets.catalogue.NETS`; the arguments are the shape of one example,
# the number of outputs and the width.
_BUILDERS: Mapping[str, Builder] = {
    "mean-field": lambda shape, k, width, g: MeanFieldNetwork(
        math.prod(shape), width, k, generator=g
    ),
    "two-layer": _chain(1),
    "lenet-300-100": _lenet,
    "mlp5": _chain(4),
    "fcn4": _chain(4, bias=False),
    "fcn6": _chain(6, bias=False),
    "vgg": lambda shape, k, width, g: vgg(_picture(shape), k, width=width, generator=g),
    "resnet20": lambda shape, k, width, g: resnet20(
        _picture(shape)[0], k, width=width, generator=g
    ),
}


def build(architecture: Architecture, *, generator: torch.Generator) -> nn.Module:
    """Build an untrained network; InputError if it cannot take examples of such a shape."""
    width = architecture.width or NETS[architecture.name].width
    make = _BUILDERS[architecture.name]
    return make(architecture.shape, architecture.n_outputs, width, generator)


def rebuild(
    tensors: Mapping[str, torch.Tensor], architecture: Architecture | Mapping[str, str]
) -> nn.Module:
    """Build a network around a stored state dict, in evaluation mode, with its dtypes.

    The architecture may be given by the metadata of the file that the weights come from.
    InputError if these name none, or the weights do not fit.
    """
    if not isinstance(architecture, Architecture):
        architecture = stored_architecture(architecture)
    what = f"{architecture.name} on examples of shape {reprlib.repr(architecture.shape)}"
    try:
        with torch.device("meta"):  # its own weights take no memory, whatever sizes a file claims
            model = build(architecture, generator=torch.Generator("cpu"))
    except (RuntimeError, TypeError, OverflowError) as error:
        raise InputError(
            f"There is no {what} ({brief(error)}). Name the architecture the weights belong to."
        ) from error
    return with_weights(model, tensors, what)


def with_weights(model: nn.Module, tensors: Mapping[str, torch.Tensor], what: str) -> nn.Module:
    """The model around stored weights, in evaluation mode; InputError if they are not its own.

    Parameters that the model shares stay shared; a file may hold one copy of them. The names may
    begin with what wraps networks puts before them, and weights that the model makes up of others
    may be stored as what is made: they are plain parameters then.
    """
    tensors = _unwrapped(tensors, set(model.state_dict()))
    made = [name for name in parametrized_names(model) if name in tensors]
    if made:
        make_plain_(model, made)
    shared: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        shared.setdefault(id(parameter), []).append(name)
    ties = [names for names in shared.values() if len(names) > 1]
    given = dict(tensors)
    for names in ties:
        held = next((given[name] for name in names if name in given), None)
        if held is not None:
            given |= {name: held for name in names if name not in given}
    try:
        model.load_state_dict(given, assign=True)
    except RuntimeError as error:
        raise InputError(
            f"The weights are not those of {what} ({' '.join(str(error).split())[:300]}). "
            "Name the architecture they were trained as."
        ) from error
    for first, *others in ties:
        for name in others:
            if not torch.equal(given[first], given[name]):
                raise InputError(
                    f"The weights are not those of {what}: it has one parameter for {first} and "
                    f"{name}, and the file two. Name the architecture they were trained as."
                )
            owner, _, own = name.rpartition(".")
            setattr(model.get_submodule(owner), own, model.get_parameter(first))
    return model.eval()


def _unwrapped(tensors: Mapping[str, torch.Tensor], own: set[str]) -> dict[str, torch.Tensor]:
    """Tensors under the names that a network has, where all are wrapped in the same way."""
    found = dict(tensors)
    while not own & found.keys():
        before = {name.partition(".")[0] for name in found}
        if len(before) != 1 or not before <= WRAPPERS:
            break
        found = {name.partition(".")[2]: tensor for name, tensor in found.items()}
    if not any(COMPILED in name.split(".") for name in own):
        found = {
            ".".join(part for part in name.split(".") if part != COMPILED): tensor
            for name, tensor in found.items()
        }
    return found if own & found.keys() else dict(tensors)


def stored_architecture(metadata: Mapping[str, str]) -> Architecture:
    """Read the architecture from the metadata of a file."""
    try:
        return Architecture(**parse_json(metadata[ARCHITECTURE]))
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise InputError(
            "The file does not say which architecture its weights belong to. Name it by `net`, "
            "such as mynet:build for the function `build` of mynet.py."
        ) from error


def _picture(shape: tuple[int, ...]) -> tuple[int, int, int]:
    require(
        len(shape) == 3, "shape", "Architecture", "channels, height and width for this net", shape
    )
    return (shape[0], shape[1], shape[2])
