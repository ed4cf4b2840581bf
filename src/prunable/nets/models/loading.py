"""From a file of weights to the network that they belong to."""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from prunable.errors import InputError, UnsupportedModelError, nearest
from prunable.extras import source_of
from prunable.nets.archive import open_archive
from prunable.nets.archive.packed import refuse_packed
from prunable.nets.archive.safetensors_file import metadata_of, tied_again
from prunable.nets.models.registry import (
    NETS,
    Architecture,
    rebuild,
    stored_architecture,
    with_weights,
)
from prunable.nets.models.sources import network_by_reference
from prunable.nets.networks.interop import merge_masks
from prunable.nets.networks.roles import natural_key

Tensors = dict[str, torch.Tensor]


def read_weights(path: Path | str, *, unpickle: bool = False) -> tuple[Tensors, dict[str, str]]:
    """Read all tensors of a checkpoint (a file or a folder of them), and the text stored with them.

    They have the dtypes they are stored in, in the order of the file or, where it keeps none, of
    the names with their numbers; masks of torch.nn.utils.prune are applied, and tied tensors are
    one. A pickled model may run its code if `unpickle` says so.
    """
    with open_archive(path, unpickle=unpickle) as archive:
        if archive.format == "onnx":
            raise UnsupportedModelError(
                f"{path} is an ONNX file, which `prune` cannot write; prune what it was made from."
            )
        refuse_packed(archive)
        # half precision is read as float32, and back is exact
        stored: Tensors = {}
        for t in archive.tensors:
            known = stored.get(t.tied or "")
            if known is None:
                known = torch.from_numpy(t.load().copy()).to(getattr(torch, t.dtype))
            stored[t.name] = known
        metadata = metadata_of(path) if archive.format == "safetensors" else {}
        stored, metadata = tied_again(stored, metadata)
        if not archive.ordered:
            stored = dict(sorted(stored.items(), key=lambda item: natural_key(item[0])))
    return merge_masks(stored), metadata


def network_of(
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str],
    net: str | None = None,
    *,
    shape: tuple[int, ...] | None = None,
) -> nn.Module:
    """Build the network of stored weights, in evaluation mode, with their dtypes and names.

    The metadata may say which architecture it is, as the files of `prunable train` do. `net`
    overrides that: a name of `NETS`; "mlp" for linear layers with ReLU between, in the order and of
    the sizes of the stored matrices; or a reference to a network of torchvision, of timm or of the
    user's own, see `network_by_reference`. A named architecture that takes pictures needs the shape
    of one.
    """
    if net is None:
        return rebuild(tensors, stored_architecture(metadata))
    if ":" in net:
        return with_weights(network_by_reference(net), tensors, net)
    matrices = [t for t in tensors.values() if t.ndim >= 2]
    if not matrices:
        raise InputError("The file holds no weight matrix, so no network can be built of it.")
    if net == "mlp":
        return _chain(tensors)
    first, last = matrices[0], matrices[-1]
    if net not in NETS:
        known = ", ".join([*NETS, "mlp", "torchvision:NAME", "timm:NAME", "hub", "MODULE:FUNCTION"])
        module = net.removesuffix(".py").replace("/", ".")
        inside = ":".join(module.rsplit(".", 1)) if "." in module else ""
        mine = [x for x in (f"{module}:FUNCTION", inside) if x and source_of(x) is not None]
        action = f"Did you mean {mine[0]}?" if mine else nearest(net, [*NETS, "mlp"]).strip()
        raise InputError.parameter("net", "load", f"one of {known}", net, action)
    if not NETS[net].pictures:
        shape = (first.shape[1],)
    elif shape is None:
        raise InputError(
            f"`{net}` needs the shape of its pictures: name the data set, or give the "
            "shape of one without the batch."
        )
    return rebuild(tensors, Architecture(net, shape, last.shape[0], first.shape[0]))


def _chain(tensors: Mapping[str, torch.Tensor]) -> nn.Module:
    model = nn.Sequential(OrderedDict(flatten=nn.Flatten()))
    names: list[str] = []
    for name in _linked({n: t for n, t in tensors.items() if t.ndim != 1}):
        layer, weight = name.removesuffix(".weight"), tensors[name]
        if names:
            _place(model, f"{names[-1]}_relu", nn.ReLU())
        bias = tensors.get(f"{layer}.bias")
        linear = nn.utils.skip_init(
            nn.Linear, weight.shape[1], weight.shape[0], bias=bias is not None
        )
        linear.weight = nn.Parameter(weight.detach().clone())
        if bias is not None:
            linear.bias = nn.Parameter(bias.detach().clone())
        _place(model, layer, linear)
        names.append(layer)
    known = {f"{name}.{leaf}" for name in names for leaf in ("weight", "bias")}
    strangers = [name for name in tensors if name not in known]
    if strangers:
        raise InputError(
            f"{strangers[0]} has no place in a chain of linear layers. Name the network's own "
            "architecture instead of mlp."
        )
    return model.eval()


def _linked(matrices: Mapping[str, torch.Tensor]) -> list[str]:
    """Names in an order in which each matrix takes what the one before gives.

    The order of the names if it is one, else the first that the shapes allow.
    """
    for name, weight in matrices.items():
        if weight.ndim != 2 or not name.endswith(".weight"):
            raise InputError(
                f"{name} of shape {tuple(weight.shape)} is no link of a chain of linear layers. "
                "Name the network's own architecture instead of mlp."
            )

    def completed(chain: list[str]) -> list[str] | None:
        if len(chain) == len(matrices):
            return chain
        for name, weight in matrices.items():
            fits = not chain or matrices[chain[-1]].shape[0] == weight.shape[1]
            if name not in chain and fits and (found := completed([*chain, name])):
                return found
        return None

    found = completed([])
    if found is None:
        shapes = ", ".join(f"{name} {tuple(w.shape)}" for name, w in matrices.items())
        raise InputError(
            f"The matrices make no chain of linear layers: {shapes}. Name the network's own "
            "architecture instead of mlp."
        )
    return found


def _place(model: nn.Sequential, path: str, layer: nn.Module) -> None:
    """Append a layer under a dotted name; its parents become chains too."""
    *parents, name = path.split(".")
    for parent in parents:
        if parent not in model._modules:
            model.add_module(parent, nn.Sequential())
        child = model.get_submodule(parent)
        assert isinstance(child, nn.Sequential)
        model = child
    model.add_module(name, layer)
