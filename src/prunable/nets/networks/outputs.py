"""Which matrices give the outputs of a network, which are inside, which cannot be told."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from prunable.nets.networks.roles import Part, Role, components, natural_key

HEAD = re.compile(
    r"(?!pre_)(fc|fc_out|heads?|head_\w+|\w+_heads?|classifiers?|classifier_\w+|\w+_classifier|cls|cls_\w+"
    r"|logits?|scores?|predictions?|predictor|outputs?|output_layer|out|outc|out_conv|conv_out"
    r"|final\w*|qa_outputs|embed_out|proj_out|regressor|aux\w*)",
    re.IGNORECASE,
)
SEVERAL = re.compile(r"(heads|\w+_heads|classifiers|outputs)", re.IGNORECASE)


@dataclass(frozen=True)
class Sizes:
    """What the roles of matrices follow from, beside themselves."""

    norms: Mapping[str, int] = field(default_factory=dict)  # channels of each normalisation
    # names in the order in which a module registers them; None where they have no such order
    ordered: bool = False
    # parameters that are known to be inside, whatever their shapes
    inside: Collection[str] = ()


def with_roles(parts: Iterable[Part], sizes: Sizes) -> list[Part]:
    """The parts with their roles: what is output, what is hidden, and what cannot be told.

    An output has a head's name, or gives what nothing takes; or it is the last, where a module
    registers the layers in an order or the shapes make a chain of them. What is taken by a layer or
    a normalisation is hidden.
    """
    parts = list(parts)
    # an embedding that is tied to a layer of another kind gives the outputs too
    others = {p.tied or p.name for p in parts if p.reason is None and p.kind != "embedding"}
    parts = _same_where_tied(parts)
    candidates = [p for p in parts if p.reason is None and p.tied is None]
    matrices = [p for p in candidates if p.kind != "embedding" and p.role != "unknown"]
    if not sizes.ordered:
        matrices.sort(key=lambda p: natural_key(p.name))
    heads = others | {p.tied or p.name for p in parts if p.reason is None and _head_of(p)}
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
        taken = any(q is not part and _fits(part, q) for q in self.matrices)
        return taken or part.n_out in self.sizes.norms.values()

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
        # a width may be that of another layer by chance: a taker must be in reach, as the last are
        # of most
        if any(
            q is not part and _fits(part, q) and self._is_in_reach(part, q, outputs_are_known)
            for q in reversed(self.matrices)
        ):
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
