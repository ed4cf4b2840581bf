"""What the tensors of a file or a state dict are: names and shapes tell, whatever their order."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from prunable.nets.networks.experts import stack_of
from prunable.nets.networks.outputs import Sizes, with_roles
from prunable.nets.networks.roles import (
    DOUBT,
    Part,
    Shape,
    bias_of,
    components,
    is_named_weight,
    kind_of,
    natural_key,
    no_matrix,
    orientation,
)

# Names of transformers' Conv1D, a linear layer whose weight is stored (in, out).
CONV1D = re.compile(r"(^|[._/])(c_attn|q_attn|c_proj|c_fc)[._/]weight$")
# Operators of ONNX that take one number a channel, however many dimensions it is stored with.
ELEMENTWISE = {"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "PRelu", "Equal", "Quant"}

# Names of layers that make pictures larger.
UPWARDS = re.compile(
    r"(up_?(conv)?\d*|upsample\w*|de_?conv\w*|\w*transposed?\w*|tconv\d*)", re.IGNORECASE
)


@dataclass(frozen=True)
class Known:
    """What is known of tensors beside their names and shapes."""

    ordered: bool = False  # whether they come in the order in which the network uses them
    weights: bool = False  # whether all of two dimensions and more are weights of layers
    # the operator of ONNX that reads a tensor, and whether it reads it as (in, out)
    readers: Mapping[str, tuple[str | None, bool]] = field(default_factory=dict)
    ties: Mapping[str, str] = field(default_factory=dict)  # names that others' numbers have


def parts_of(shapes: Mapping[str, Shape], known: Known = Known()) -> dict[str, Part]:
    """What the tensors of a file or a state dict are, from their names and shapes.

    Unless it is `known` to be that of the network the order does not count: most files sort names.
    """
    named = dict(shapes)
    norms = norm_sizes(named)
    conv1d = _conv1d_is_transposed(named)
    parts = [_part_of(name, named, norms, conv1d, known) for name in named]
    if not known.readers:
        parts = _with_transposed(parts, named, norms)
    of_layers = any(components(name)[-1] in ("weight", "kernel") for name in named)
    if not known.readers and not known.weights and of_layers:
        # where layers hold weights by this name, what has another is held by no layer
        parts = [replace(part, doubt=_doubt(part)) for part in parts]
    parts = with_followers(parts, named, norms)
    sizes = Sizes(norms, ordered=known.ordered)
    return {part.name: part for part in with_roles(parts, sizes)}


def _part_of(
    name: str, shapes: Mapping[str, Shape], norms: Mapping[str, int], conv1d: bool, known: Known
) -> Part:
    shape = shapes[name]
    reader, in_out = known.readers.get(name, (None, False))
    if reader in ELEMENTWISE and len(shape) > 1 and max(shape) == math.prod(shape):
        return Part(name, shape, reason=f"read by {reader}: a bias or a scale")
    # the only tensor that is given is what is meant
    weight = known.weights or len(shapes) == 1 or (reader is not None and reader not in ELEMENTWISE)
    reason = no_matrix(name, shape, weight=weight)
    if reason is not None:
        return Part(name, shape, reason=reason)
    kind = kind_of(name, shape, reader)
    if kind == "embedding" and reader is None and bias_of(name) in shapes:
        kind = "dense"  # embeddings have no biases
    if reader is None and (stack := stack_of(name, shapes)) is not None:
        return Part(name, shape, role="unknown", stack=stack, tied=known.ties.get(name))
    many = len(shape) == 3 and "." in name and not name.endswith(("weight", "kernel"))
    transposed, groups = in_out and len(shape) == 2, 1
    if reader is None:
        if many and kind == "convolution":
            return Part(name, shape, role="unknown", tied=known.ties.get(name))
        transposed, groups = orientation(shape, bias_length(name, shapes, norms))
        if CONV1D.search(name) and len(shape) == 2:
            transposed = transposed or conv1d
    part = Part(name, shape, kind, transposed=transposed, groups=groups)
    return replace(part, n_in=_inputs(part), tied=known.ties.get(name))


def _doubt(part: Part) -> str | None:
    """Why a tensor among those of layers may be no weight; embeddings are left alone anyway."""
    told = is_named_weight(part.name) or part.kind in ("embedding", "recurrent")
    return None if told else DOUBT


def _with_transposed(
    parts: list[Part], shapes: Mapping[str, Shape], norms: Mapping[str, int]
) -> list[Part]:
    """Parts with the transposed convolutions among them that have no bias to tell them by.

    Their kernels are even, and either their names say it, or what comes before them in a chain is
    transposed and gives as many channels as they are stored with first.
    """
    found = {part.name: part for part in parts}
    before: dict[tuple[str, ...], Part] = {}
    for name in sorted(found, key=natural_key):
        part = found[name]
        if part.reason is not None or part.kind != "convolution":
            continue
        chain, previous = tuple(part.path[:-1]), before.get(tuple(part.path[:-1]))
        untold = bias_length(name, shapes, norms) is None and part.shape[0] != part.shape[1]
        if untold and part.shape[1] > 1 and not any(size % 2 for size in part.shape[2:]):
            goes_on = previous is not None and previous.transposed
            fits = previous is not None and previous.n_out == part.shape[0]
            if (goes_on and fits) or any(map(UPWARDS.fullmatch, part.path)):
                part = replace(part, transposed=True, n_in=part.shape[0])
                found[name] = part
        before[chain] = part
    return list(found.values())


def _inputs(part: Part) -> int:
    if part.transposed:
        return part.shape[0]
    depthwise = len(part.shape) > 2 and part.shape[1] == 1
    return part.shape[0] if depthwise else part.shape[1]


def bias_length(name: str, shapes: Mapping[str, Shape], norms: Mapping[str, int]) -> int | None:
    """Number of units of a weight, by its bias or else by the normalisation after it."""
    bias = shapes.get(bias_of(name))
    if bias is not None and len(bias) == 1:
        return bias[0]
    after = next_in_chain(name)
    return norms.get(after or "") if f"{after}.running_mean" in shapes else None


def _conv1d_is_transposed(shapes: Mapping[str, Shape]) -> bool:
    """Whether the layers with the names of transformers' Conv1D are stored as those are.

    Their biases tell; without any, the attention does, whose outputs are three times its inputs.
    """
    found = []
    for name, shape in shapes.items():
        if CONV1D.search(name) and len(shape) == 2 and shape[0] != shape[1]:
            bias = shapes.get(bias_of(name))
            if bias or max(shape) == 3 * min(shape):
                found.append(orientation(shape, bias[0] if bias else max(shape))[0])
    return bool(found) and all(found)


def norm_sizes(shapes: Mapping[str, Shape]) -> dict[str, int]:
    """Channels of the normalisations among named tensors, by the names of these."""
    return {
        name.removesuffix(".weight"): shape[0]
        for name, shape in shapes.items()
        if len(shape) == 1 and name.endswith(".weight")
    }


def next_in_chain(name: str) -> str | None:
    """Name of the layer after that of a weight where they are numbered: 4.conv.1 after 4.conv.0."""
    layer = name.removesuffix(".weight")
    head, _, number = layer.rpartition(".")
    if layer == name or not number.isdigit():
        return None
    return f"{head}.{int(number) + 1}" if head else str(int(number) + 1)


def with_followers(
    parts: Sequence[Part], shapes: Mapping[str, Shape], norms: Mapping[str, int]
) -> list[Part]:
    """Give parts their biases, and the rows of the BatchNorm that provably follows.

    It follows as the next number of a chain. conv1 and bn1 belong together if that is so of all
    such pairs, and one of them could not be in the other order.
    """
    by_name = {part.name: part for part in parts if part.reason is None}
    batch = {norm for norm in norms if f"{norm}.running_mean" in shapes}
    pairs = {}
    for name in by_name:
        head, _, layer = name.removesuffix(".weight").rpartition(".")
        if match := re.fullmatch(r"conv(_?\d*)", layer):
            norm = f"{head}.bn{match[1]}" if head else f"bn{match[1]}"
            if norm in batch:
                pairs[name] = norm
    fitting = [norms[norm] == by_name[name].n_out for name, norm in pairs.items()]
    telling = [by_name[n].n_in != by_name[n].n_out and by_name[n].shape[1] > 1 for n in pairs]
    paired = pairs if all(fitting) and any(telling) else {}
    found = []
    for part in parts:
        norm = paired.get(part.name, next_in_chain(part.name) or "")
        rows = [f"{norm}.weight", f"{norm}.bias"] if norm in batch else []
        names = [bias_of(part.name), *rows] if part.reason is None else []
        followers = tuple(n for n in names if shapes.get(n) == (part.n_out,))
        found.append(replace(part, followers=followers))
    return found
