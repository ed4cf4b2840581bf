"""Checkpoints as chains that a code file can name: dense layers with ReLU, or our own networks."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from prunable.certify.architecture import CodedArchitecture, FloatNetwork, Op, PictureShape
from prunable.certify.code_file import CodedLayer, CodedNetwork
from prunable.errors import DataIntegrityError, UnsupportedModelError
from prunable.nets.archive import load_tensors, open_archive, save_tensors
from prunable.nets.networks.roles import natural_key


def save_network(path: Path | str, network: CodedNetwork) -> None:
    """Write the decoded weights as float64 safetensors; the name of the chain goes along."""
    tensors = {}
    for place, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        tensors[f"layers.{place}.weight"] = torch.from_numpy(weight)
        tensors[f"layers.{place}.bias"] = torch.from_numpy(bias)
    normalised = "true" if network.architecture.normalised else "false"
    save_tensors(path, tensors, {"net": network.architecture.text, "normalised": normalised})


def read_network(path: Path | str, shape: PictureShape, *, unpickle: bool = False) -> FloatNetwork:
    """Read a checkpoint as a chain: one of `save_network`, or dense layers with ReLU."""
    path = Path(path)
    metadata = load_tensors(path)[1] if path.suffix == ".safetensors" else {}
    with open_archive(path, unpickle=unpickle) as archive:
        if archive.format == "onnx":
            raise UnsupportedModelError(
                f"{path} is an ONNX file; `certify` needs a checkpoint of torch or safetensors."
            )
        tensors = {t.name: torch.from_numpy(t.load().copy()) for t in archive.tensors}
    if "net" not in metadata:
        return dense_chain(tensors, shape)
    weights = [t for name, t in tensors.items() if name.endswith("weight")]
    biases = [t for name, t in tensors.items() if name.endswith("bias")]
    normalised = metadata.get("normalised") == "true"
    classes = len(weights[-1]) if weights else 0
    architecture = CodedArchitecture.parse(metadata["net"], shape, classes, normalised=normalised)
    if [tuple(w.shape) for w in weights] != list(architecture.shapes):
        raise DataIntegrityError(
            f"{path} says that it is {metadata['net']} on inputs of {shape}, and its tensors have "
            "other shapes."
        )
    return FloatNetwork(architecture, weights, biases)


def dense_chain(tensors: dict[str, torch.Tensor], input_shape: PictureShape) -> FloatNetwork:
    """Recognise a plain chain of dense layers with ReLU in a checkpoint.

    `tensors`: matrices (out, in), named in their order, each perhaps with a bias (out,).
    """
    features = width = input_shape[0] * input_shape[1] * input_shape[2]
    modules: dict[str, dict[int, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        parts = modules.setdefault(name.rpartition(".")[0] or name, {})
        if tensor.ndim not in (1, 2) or tensor.ndim in parts:
            raise UnsupportedModelError(
                "`certify` knows chains of dense layers and the networks that it certified; "
                f"{name} of shape {tuple(tensor.shape)} fits neither."
            )
        parts[tensor.ndim] = tensor
    matrices: list[torch.Tensor] = []
    biases: list[torch.Tensor] = []
    # "10.weight" is behind "2.weight", whatever the file's order
    for name in sorted(modules, key=natural_key):
        matrix, bias = modules[name].get(2), modules[name].get(1)
        fits = matrix is not None and matrix.shape[1] == width
        if matrix is None or not fits or (bias is not None and len(bias) != len(matrix)):
            shapes = [tuple(tensor.shape) for tensor in modules[name].values()]
            raise UnsupportedModelError(
                f"`certify` needs a chain of dense layers on {features} inputs; {name} with "
                f"tensors of shapes {shapes} follows {width} units."
            )
        width = len(matrix)
        matrices.append(matrix)
        biases.append(torch.zeros(width, dtype=matrix.dtype) if bias is None else bias)
    if not matrices or width < 2:
        raise UnsupportedModelError("`certify` needs a classifier; the checkpoint holds no layers.")
    steps = tuple(Op("dense", len(matrix)) for matrix in matrices)
    architecture = CodedArchitecture(input_shape, width, steps, normalised=False)
    weights = [m.reshape(s) for m, s in zip(matrices, architecture.shapes, strict=True)]
    return FloatNetwork(architecture, weights, biases)


def integer_network(network: FloatNetwork) -> CodedNetwork | None:
    """The coded network of a normalised checkpoint that holds integers, else None."""
    if not network.architecture.normalised:
        return None
    layers = []
    for place, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        scaled = bias * (1 if place == len(network.weights) - 1 else 4)
        if not ((weight == weight.round()).all() and (scaled == scaled.round()).all()):
            return None
        layers.append(CodedLayer(weight.numpy().astype(np.int64), scaled.numpy().astype(np.int64)))
    return CodedNetwork(network.architecture, tuple(layers))


def as_modules(network: FloatNetwork) -> nn.Sequential:
    """The same chain, not normalised, as `torch.nn` modules; a bias of zeros is left out."""
    if network.architecture.normalised:
        raise UnsupportedModelError(
            "They are about chains of linear layers and ReLU; this network normalises its layers."
        )
    modules: list[nn.Module] = []
    tensors = zip(network.weights, network.biases, strict=True)
    for (channels, height, width), op in network.architecture.inputs():
        if op.kind == "pool":
            modules.append(nn.MaxPool2d(op.size))
            continue
        weight, bias = (tensor.float() for tensor in next(tensors))
        has_bias = bool(bias.any())
        module: nn.Linear | nn.Conv2d
        if op.kind == "conv":
            module = nn.Conv2d(channels, op.units, op.size, op.stride, op.size // 2, bias=has_bias)
        else:
            modules.append(nn.Flatten())
            module = nn.Linear(channels * height * width, op.units, bias=has_bias)
        module.load_state_dict(
            {"weight": weight.reshape(module.weight.shape), **({"bias": bias} if has_bias else {})}
        )
        modules += [module, nn.ReLU()]
    return nn.Sequential(*modules[:-1]).requires_grad_(False)
