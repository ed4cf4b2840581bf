"""What each parameter is, as far as names and shapes tell: matrix or none, its kind, its role."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

# "unknown": it cannot be told whether the units of the matrix are outputs of the network.
Role = Literal["hidden", "output", "unknown"]
Kind = Literal["dense", "convolution", "embedding", "attention", "recurrent"]
Shape = tuple[int, ...]

RECURRENT = re.compile(
    r"(^|[._/])(weight_[ih]h(_l\d+)?(_reverse)?|recurrent_kernel|lstm|gru|rnn)\b"
)
EMBEDDING = re.compile(
    r"(^|[._/])(\w*embed\w*|wte|wpe|token_type|shared|relative_attention_bias)([._/]|$)",
    re.IGNORECASE,
)
ATTENTION = re.compile(
    r"(attn|attention|(^|[._/])(self|cross)_?att|q_proj|k_proj|v_proj|[._/]query|[._/]key|[._/]value)",
    re.IGNORECASE,
)
FUSED = re.compile(
    r"(in_proj_weight|qkv[._/]weight|query_key_value[._/]weight|to_qkv[._/]weight|c_attn[._/]weight)$",
    re.IGNORECASE,
)
# Names of transformers' Conv1D, a linear layer whose weight is stored (in, out).
CONV1D = re.compile(r"(^|[._/])(c_attn|q_attn|c_proj|c_fc)[._/]weight$")
HEAD = re.compile(
    r"(fc|fc_out|heads?|head_\w+|\w+_heads?|classifiers?|classifier_\w+|\w+_classifier|cls|cls_\w+"
    r"|logits?|scores?|predictions?|predictor|outputs?|output_layer|out|outc|out_conv|conv_out"
    r"|final\w*|qa_outputs|embed_out|proj_out|regressor|aux\w*)",
    re.IGNORECASE,
)
SEVERAL = re.compile(r"(heads|\w+_heads|classifiers|outputs)", re.IGNORECASE)
NORM = re.compile(r"(\w*norm\w*|ln|ln_\w+|ln\d+|bn|bn_?\d+)", re.IGNORECASE)
# Last parts of names of what is added to activations or multiplies them, and of tables and masks.
NO_MATRIX: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(f"({pattern})", re.IGNORECASE), reason)
    for pattern, reason in (
        (r"\w*layer_?scale\w*|gamma\w*|ls_?\d*|\w*scale|gain|temperature", "a scale"),
        (r"beta\w*|\w*bias", "a bias"),
        (r"\w*tokens?", "a token"),
        (
            r"\w*pos(ition(al)?)?_?(emb|embed|embedding|embeddings|encoding|enc)|pe|pos|rel_pos\w*",
            "a table of positions",
        ),
        (r"\w*bias_table|\w*coords_table|\w*position_index", "a table of positions"),
        (r"\w*mask", "a mask"),
        (r"a_logs?|log_a", "a constant of each channel's dynamics"),
    )
)
NORMALISED = "the scale of a normalisation"
ONE_AXIS = "one number a channel: a scale or a token"
# Operators of ONNX that take one number a channel, however many dimensions it is stored with.
ELEMENTWISE = {"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "PRelu", "Equal", "Quant"}
CONSUMERS: dict[str, Kind] = {
    "Gather": "embedding",
    "Embedding": "embedding",
    "EmbeddingBag": "embedding",
    "LSTM": "recurrent",
    "GRU": "recurrent",
    "RNN": "recurrent",
    "LSTMCell": "recurrent",
    "GRUCell": "recurrent",
    "RNNCell": "recurrent",
    "Attention": "attention",
    "MultiHeadAttention": "attention",
    "MultiheadAttention": "attention",
}


@dataclass(frozen=True)
class Part:
    """What a parameter is; of those that are no matrix only `name`, `shape`, `reason` count."""

    name: str
    shape: Shape  # as stored
    kind: Kind = "dense"
    role: Role = "hidden"
    reason: str | None = None  # why it is no weight matrix
    # stored (in, out / groups, ...) rather than (out, in / groups, ...)
    transposed: bool = False
    groups: int = 1  # of what is transposed
    n_in: int = 0  # channels that it takes; 0 if that is not known
    # parameters of one number a unit that go with a unit: its bias, the rows of its normalisation
    followers: tuple[str, ...] = ()
    tied: str | None = None  # name of the parameter whose numbers these are

    @property
    def n_out(self) -> int:
        """Channels that it gives."""
        return self.shape[1] * self.groups if self.transposed else self.shape[0]

    @property
    def path(self) -> list[str]:
        """The parts of the name, without the last one."""
        return components(self.name)[:-1]


@dataclass(frozen=True)
class Sizes:
    """What the roles of matrices follow from, beside themselves."""

    norms: Mapping[str, int] = field(default_factory=dict)  # channels of each normalisation
    # names in the order in which a module registers them; None where they have no such order
    ordered: bool = False
    # parameters that are known to be inside, whatever their shapes
    inside: Collection[str] = ()


def components(name: str) -> list[str]:
    """The parts of a name between dots or slashes."""
    return re.split(r"[./]", name)


def natural_key(name: str) -> list[tuple[int, str]]:
    """Put layer 9 before layer 10 in a sorting of names."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def kind_of(name: str, shape: Shape, consumer: str | None = None) -> Kind:
    """Tell what a layer does from its name and shape, and from what reads it.

    The consumer is an operator of ONNX or a module class of torch.
    """
    if consumer in CONSUMERS:
        return CONSUMERS[consumer]
    if (consumer or "").startswith("Conv") and len(shape) > 2:
        return "convolution"
    if RECURRENT.search(name):
        return "recurrent"
    if len(shape) > 2:
        return "convolution"
    if consumer is None and EMBEDDING.search(name):
        return "embedding"
    return "attention" if ATTENTION.search(name) or FUSED.search(name) else "dense"


def no_matrix(name: str, shape: Shape, *, weight: bool = False) -> str | None:
    """Say why a parameter is no weight matrix, or None if it may be one.

    `weight` says that the parameter is known as the weight of a layer, which may have one unit.
    """
    if not shape:
        return "a single number"
    if 0 in shape:
        return f"empty, of shape {shape}"
    if len(shape) == 1:
        return "one dimension: a bias or a scale"
    if weight:
        return None
    *parents, leaf = components(name)
    while parents and leaf.isdigit():  # an entry of a list of parameters
        leaf = parents.pop()
    for pattern, reason in NO_MATRIX:
        if pattern.fullmatch(leaf):
            return reason
    if parents and leaf == "weight" and NORM.fullmatch(parents[-1]):
        return NORMALISED
    single = max(shape) == math.prod(shape)
    return ONE_AXIS if single and leaf not in ("weight", "kernel", "weight_orig") else None


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
    weight = known.weights or (reader is not None and reader not in ELEMENTWISE)
    reason = no_matrix(name, shape, weight=weight)
    if reason is not None:
        return Part(name, shape, reason=reason)
    kind = kind_of(name, shape, reader)
    if kind == "embedding" and reader is None and bias_of(name) in shapes:
        kind = "dense"  # embeddings have no biases
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


def _inputs(part: Part) -> int:
    if part.transposed:
        return part.shape[0]
    depthwise = len(part.shape) > 2 and part.shape[1] == 1
    return part.shape[0] if depthwise else part.shape[1]


def bias_of(name: str) -> str:
    """Name that the bias of a weight has where there is one."""
    head, _, tail = name.rpartition("weight")
    return f"{head}bias{tail}" if head or tail or name == "weight" else f"{name}.bias"


def bias_length(name: str, shapes: Mapping[str, Shape], norms: Mapping[str, int]) -> int | None:
    """Number of units of a weight, by its bias or else by the normalisation after it."""
    bias = shapes.get(bias_of(name))
    if bias is not None and len(bias) == 1:
        return bias[0]
    after = next_in_chain(name)
    return norms.get(after or "") if f"{after}.running_mean" in shapes else None


def orientation(shape: Shape, units: int | None) -> tuple[bool, int]:
    """Whether a weight of so many units is stored with inputs first, and in how many groups.

    Where both orders fit it is stored with outputs first, as torch does.
    """
    if units is None or units == shape[0] or units % shape[1]:
        return False, 1
    groups = units // shape[1]
    fits = groups == 1 if len(shape) == 2 else shape[0] % groups == 0
    return (True, groups) if fits else (False, 1)


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


def with_roles(parts: Iterable[Part], sizes: Sizes) -> list[Part]:
    """The parts with their roles: what is output, what is hidden, and what cannot be told.

    An output has a head's name, or gives what nothing takes; or it is the last, where a module
    registers the layers in an order or the shapes make a chain of them. What is taken by a layer or
    a normalisation is hidden.
    """
    parts = _same_where_tied(list(parts))
    candidates = [p for p in parts if p.reason is None and p.tied is None]
    matrices = [p for p in candidates if p.kind != "embedding" and p.role != "unknown"]
    if not sizes.ordered:
        matrices.sort(key=lambda p: natural_key(p.name))
    # an embedding that is tied to a head gives the outputs too
    heads = {p.tied or p.name for p in parts if p.reason is None and _head_of(p)}
    given = {p.name for p in candidates if p.kind == "embedding" and p.name in heads}
    roles = _Roles(matrices, sizes, bool(given)).found()
    roles |= dict.fromkeys(given, "output")
    return [replace(p, role=roles.get(p.tied or p.name, p.role)) for p in parts]


def _same_where_tied(parts: list[Part]) -> list[Part]:
    """What is an embedding under one of its names is one under all."""
    embeddings = {p.tied or p.name for p in parts if p.kind == "embedding"}
    return [replace(p, kind="embedding") if (p.tied or p.name) in embeddings else p for p in parts]


def _head_of(part: Part) -> tuple[str, ...] | None:
    """The beginning of a name up to the word for a head, unless a numbered block comes before."""
    path = part.path
    for i, word in enumerate(path):
        if HEAD.fullmatch(word):
            more = i + 2 if SEVERAL.fullmatch(word) else i + 1
            return tuple(path[:more])
        if word.isdigit():
            return None
    return None


class _Roles:
    """Roles of matrices that are no embeddings, in the order of the module or of their numbers."""

    def __init__(self, matrices: Sequence[Part], sizes: Sizes, given: bool) -> None:
        self.matrices, self.sizes = matrices, sizes
        self.given = given  # whether something else gives the outputs
        self.inputs = {p.n_in for p in matrices} | set(sizes.norms.values())
        self.outputs = {p.n_out for p in matrices}
        self.place = {p.name: i for i, p in enumerate(matrices)}

    def found(self) -> dict[str, Role]:
        """The role of each."""
        if not self.matrices:
            return {}
        roles: dict[str, Role] = {}
        last = self.matrices[-1]
        plain = [p for p in self.matrices if p.kind in ("dense", "convolution")]
        open_ended = [p for p in plain if p.name not in self.sizes.inside and not self._goes_on(p)]
        heads = list(self._heads())
        if heads or self.given:
            found = heads
        elif self._is_chain():
            found = [last]
        elif self.sizes.ordered:
            found = [last] if last in open_ended or not open_ended else [*open_ended, last]
        else:
            found = open_ended
        outputs = {p.name for p in found}
        for part in self.matrices:
            if part.name in outputs:
                roles[part.name] = "output"
            elif self._is_inside(part, bool(outputs) or self.given):
                roles[part.name] = "hidden"
            else:
                roles[part.name] = "unknown"
        return roles

    def _heads(self) -> Iterator[Part]:
        groups: dict[tuple[str, ...], list[Part]] = {}
        for part in self.matrices:
            head = _head_of(part)
            if head is not None and part.name not in self.sizes.inside:
                groups.setdefault(head, []).append(part)
        # layers in no block, which may take what a head of another name gives
        others = [p for p in self.matrices if not _block([*p.path, ""]) or _head_of(p)]
        for group in groups.values():
            for part in group:
                inner = any(self._hands_on(part, q) for q in group if q is not part)
                if not inner and not any(self._alone_feeds(part, q) for q in others):
                    yield part

    def _alone_feeds(self, part: Part, other: Part) -> bool:
        """Whether the other can take what it takes from a part only."""
        givers = [p for p in self.matrices if p is not other and _fits(p, other)]
        return other is not part and givers == [part]

    def _hands_on(self, part: Part, other: Part) -> bool:
        """Whether the other takes what a part gives, and does not do so the other way round."""
        if not (_fits(part, other) or _flattens(part, other)):
            return False
        mutual = _fits(other, part)
        numbered = _differ_in_number(part.path, other.path) or self.sizes.ordered
        later = self.place[other.name] > self.place[part.name]
        return (numbered and later) if mutual else True

    def _is_chain(self) -> bool:
        """Whether each takes what the one before gives, and it is plain which is the first."""
        pairs = list(pairwise(self.matrices))
        if not all(_fits(a, b) or _flattens(a, b) for a, b in pairs):
            return False
        circular = len(self.matrices) > 1 and _fits(self.matrices[-1], self.matrices[0])
        numbered = all(_differ_in_number(a.path, b.path) for a, b in pairs)
        return numbered or self.sizes.ordered or not circular

    def _goes_on(self, part: Part) -> bool:
        """Whether something takes what a part gives, directly or put together."""
        return self._is_taken(part) or self._is_taken_in_part(part)

    def _is_taken(self, part: Part) -> bool:
        takers = [q for q in self.matrices if q is not part and _fits(part, q)]
        return bool(takers) or part.n_out in self.sizes.norms.values()

    def _is_taken_in_part(self, part: Part) -> bool:
        """Whether it is flattened, gated, shuffled, or concatenated with something."""
        if any(_flattens(part, q) for q in self.matrices):
            return True
        halves = (2, 3) if part.kind == "dense" else (2, 4, 9)
        if any(
            part.n_out == times * q.n_in and q.path[:-1] == part.path[:-1]
            for q in self.matrices
            for times in halves
            if q is not part
        ):
            return True
        sums = {part.n_out + n for n in self.outputs | self.inputs}
        return part.kind == "convolution" and bool(sums & self.inputs)

    def _is_inside(self, part: Part, outputs_are_known: bool) -> bool:
        if part.name in self.sizes.inside or part.kind in ("attention", "recurrent"):
            return True
        if not self._is_taken(part):
            return outputs_are_known and self._is_taken_in_part(part)
        if outputs_are_known and _block(part.path):
            return True
        if self._is_normalised(part) or part.n_in not in self.outputs:
            return True
        # a width may be that of another layer by chance: a taker must be in reach
        takers = [q for q in self.matrices if q is not part and _fits(part, q)]
        if any(self._is_in_reach(part, q, outputs_are_known) for q in takers):
            return True
        return outputs_are_known and self._is_taken_in_part(part)

    def _is_in_reach(self, part: Part, taker: Part, outputs_are_known: bool) -> bool:
        """Whether a taker comes after a part, by numbers or where a module has an order."""
        block = _block(part.path)
        if block and block == _block(taker.path):
            return True
        for a, b in zip(part.path, taker.path, strict=False):
            if a != b and _differ_in_number([a], [b]):
                return natural_key(a) < natural_key(b)
            if a != b:
                break
        if self.sizes.ordered:
            return self.place[taker.name] > self.place[part.name]
        return outputs_are_known and not _block(taker.path)

    def _is_normalised(self, part: Part) -> bool:
        parent = part.path[:-1]
        return any(
            size == part.n_out and components(norm)[:-1] == parent
            for norm, size in self.sizes.norms.items()
        )


def _block(path: Sequence[str]) -> Sequence[str]:
    """The beginning of a path up to its last number but the layer's own: which of many blocks."""
    numbers = [i for i, word in enumerate(path[:-1]) if word.isdigit()]
    return path[: numbers[-1] + 1] if numbers else ()


def _fits(part: Part, taker: Part) -> bool:
    return part.n_out == taker.n_in


def _flattens(part: Part, taker: Part) -> bool:
    """Whether a dense layer may take the flattened pictures that a convolution gives."""
    return (
        part.kind == "convolution"
        and len(taker.shape) == 2
        and taker.n_in > part.n_out
        and taker.n_in % part.n_out == 0
    )


def _differ_in_number(a: Sequence[str], b: Sequence[str]) -> bool:
    """Whether the first difference of two names is one of numbers, as in fc1 and fc2."""
    for x, y in zip(a, b, strict=False):
        if x != y:
            return re.sub(r"\d+", "", x) == re.sub(r"\d+", "", y)
    return False
