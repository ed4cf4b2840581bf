"""What each parameter is, as far as names and shapes tell: matrix or none, its kind, its role."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Literal

from prunable.nets.networks.experts import Stack

# "unknown": it cannot be told whether the units of the matrix are outputs of the network.
Role = Literal["hidden", "output", "unknown"]
Kind = Literal["dense", "convolution", "embedding", "attention", "recurrent"]
Shape = tuple[int, ...]

RECURRENT = re.compile(
    r"(^|[._/])(weight_[ih]h(_l\d+)?(_reverse)?|recurrent_kernel|lstm|gru|rnn)\b"
)
EMBEDDING = re.compile(
    r"(^|[._/])(\w*embe?d\w*|(\w+_)?embs?(_\w+)?|wte|wpe|token_type|shared"
    r"|relative_attention_bias)([._/]|$)",
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
NORM = re.compile(r"(\w*norm\w*|ln|ln_\w+|ln\d+|bn|bn_?\d+)", re.IGNORECASE)
TOKEN, TABLE = TOLD_BY_USE = ("a token", "a table")  # names that tell less than a run does
# Last parts of names of what is added to activations or multiplies them, and of tables and masks.
NO_MATRIX: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(f"({pattern})", re.IGNORECASE), reason)
    for pattern, reason in (
        (r"\w*layer_?scale\w*|gamma\w*|ls_?\d*|\w*scale|gain|temperature", "a scale"),
        (r"beta\w*|\w*bias", "a bias"),
        (
            r"\w*tokens?|registers?|prompts?|latents?|(?!w_|weight)\w*quer(y|ies)|query_emb\w*",
            TOKEN,
        ),
        (r"codebooks?|prototypes?|anchors?|centroids?|transitions?", TABLE),
        (
            r"\w*pos(ition(al)?)?_?(emb|embed|embedding|embeddings|encoding|enc)\d*|pe|(\w+_)?pos|rel_pos\w*",
            "a table of positions",
        ),
        (
            r"\w*bias_table|\w*attention_biases|seg_embed|\w*coords_table|\w*position_index",
            "a table of positions",
        ),
        (r"\w*mask", "a mask"),
        (r"a_logs?|log_a", "a constant of each channel's dynamics"),
    )
)
NORMALISED = "the scale of a normalisation"
# Last parts of names of weights that a module holds by itself.
WEIGHT = re.compile(
    r"(\w*_)?weights?(_\w+)?|(\w*_)?kernels?|[wv]\d*|w[iqkvoug]\d?|w_\w+|[qkvor]"
    r"|\w*proj(ection)?s?(_\w+)?|(\w*_)?(matrix|mat)|lora_\w+|fc_?\d*|linear_?\d*"
    r"|(\w*_)?experts?(_\w+)?",
    re.IGNORECASE,
)
DOUBT = (
    "it cannot be told whether it is a weight matrix or a table: give the network and an example, "
    "or name it"
)
ONE_AXIS = "one number a channel: a scale or a token"
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
    doubt: str | None = None  # why it may be no weight matrix: it is measured, not pruned
    # stored (in, out / groups, ...) rather than (out, in / groups, ...)
    transposed: bool = False
    groups: int = 1  # of what is transposed
    stack: Stack | None = None  # how the matrices of experts are stored that it is a stack of
    n_in: int = 0  # channels that it takes; 0 if that is not known
    # parameters of one number a unit that go with a unit: its bias, the rows of its normalisation
    followers: tuple[str, ...] = ()
    tied: str | None = None  # name of the parameter whose numbers these are

    @property
    def n_out(self) -> int:
        """Channels that it gives."""
        return self.shape[1] * self.groups if self.transposed else self.shape[0]

    def by_expert(self) -> Part:
        """A stack of experts as one matrix, a row for each output of each; others as they are."""
        if self.stack is None:
            return self
        experts, first, last = self.shape
        inner = self.stack == "in_out"
        shape, groups = (experts * first, last), experts if inner else 1
        return replace(self, shape=shape, transposed=inner, groups=groups, stack=None)

    @property
    def path(self) -> list[str]:
        """The parts of the name, without the last one."""
        return components(self.name)[:-1]


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
    leaf, parents = leaf_of(name), components(name)[:-1]
    for pattern, reason in NO_MATRIX:
        if pattern.fullmatch(leaf):
            return reason
    if parents and leaf == "weight" and NORM.fullmatch(parents[-1]):
        return NORMALISED
    single = max(shape) == math.prod(shape)
    return ONE_AXIS if single and leaf not in ("weight", "kernel", "weight_orig") else None


def leaf_of(name: str) -> str:
    """The last part of a name; of an entry of a list of parameters that of the list."""
    *parents, leaf = components(name)
    while parents and leaf.isdigit():
        leaf = parents.pop()
    return leaf


def is_named_weight(name: str) -> bool:
    """Whether a parameter that no layer holds has the name of a weight."""
    return WEIGHT.fullmatch(leaf_of(name)) is not None


def bias_of(name: str) -> str:
    """Name that the bias of a weight has where there is one."""
    head, _, tail = name.rpartition("weight")
    return f"{head}bias{tail}" if head or tail or name == "weight" else f"{name}.bias"


def orientation(shape: Shape, units: int | None) -> tuple[bool, int]:
    """Whether a weight of so many units is stored with inputs first, and in how many groups.

    Where both orders fit it is stored with outputs first, as torch does.
    """
    if units is None or units == shape[0] or units % shape[1]:
        return False, 1
    groups = units // shape[1]
    fits = groups == 1 if len(shape) == 2 else shape[0] % groups == 0
    return (True, groups) if fits else (False, 1)
