"""The config that says the shapes of a network of transformers, found among its numbers."""

import copy
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from prunable.errors import DataIntegrityError, UnsupportedModelError

Shapes = dict[str, tuple[int, ...]]
Edit = tuple[str, int]  # path of a number in the config, and its new value

MOST_EDITS = 6
# Settings that are None where a size follows from others, such as n_inner of GPT-2.
_SIZES = re.compile(r"inner|intermediate|ffn|ff_dim|mlp|head_dim|d_kv|d_ff|key_value_heads")
_HEAD_SIZES = re.compile(r"head_dim|head_size|d_kv|key_size")
# Numbers that are no sizes of layers.
_OTHERS = re.compile(r"token_id|_id$|layers?$|position|window|dtype|version")


def fitting_configs(model: Any) -> list[tuple[Any, dict[str, int]]]:
    """Copies of a model's config that say its shapes, each with the numbers changed for it.

    Only numbers change that stand for a size that changed; what is tried is built without memory,
    and all shapes compared. There may be several, for as many heads of half the size have the
    shapes of half the heads: fewer heads come first.

    Raises UnsupportedModelError if there is no such config, and says why.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    dense = copy.deepcopy(model.config)
    before = _shapes(type(model), dense)
    if before == wanted:
        return [(dense, {})]
    name = type(model).__name__
    if reason := _layers_differ(before, wanted):
        raise _refusal(name, reason)
    changes = {
        (old, new)
        for tensor, shape in wanted.items()
        for old, new in zip(before[tensor], shape, strict=True)
        if old != new
    }
    search = _Search(type(model), dense, wanted, changes)
    found: list[tuple[Any, dict[str, int]]] = []
    for pinned in (False, True):
        for heads_only in (True, False):
            fit = search.fit(pinned, heads_only)
            if fit is not None and fit[1] not in [changed for _, changed in found]:
                found.append(fit)
    if found:
        return found
    place = next(tensor for tensor, shape in wanted.items() if shape != before[tensor])
    fields = ", ".join(dict.fromkeys(path for path, _ in _candidates(dense, changes)))
    complaints = "; ".join(dict.fromkeys(search.complaints[:3]))
    raise _refusal(
        name,
        f"no change of {fields or 'a number'} in {type(dense).__name__} gives {place} the shape "
        f"{wanted[place]} in place of {before[place]} and leaves the other shapes"
        f"{complaints and f' ({complaints})'}",
    )


class _Search:
    """Changes one number of a config after the other, each time the one that mends most shapes."""

    def __init__(
        self, kind: Any, dense: Any, wanted: Shapes, changes: set[tuple[int, int]]
    ) -> None:
        self._kind, self._dense, self._wanted, self._changes = kind, dense, wanted, changes
        self.complaints: list[str] = []  # what configs say that refuse a change

    def fit(self, pinned: bool, heads_only: bool) -> tuple[Any, dict[str, int]] | None:
        """A config of the wanted shapes, if there is one.

        `pinned` says the size of a head first; `heads_only` leaves it as it is.
        """
        config = copy.deepcopy(self._dense)
        done = _pin_head_size(config) if pinned else {}
        if pinned and not done:
            return None
        candidates = [
            edit
            for edit in _candidates(config, self._changes)
            if edit[0] not in done and not (heads_only and _HEAD_SIZES.search(edit[0]))
        ]
        left = self._mismatches(config)
        while left and len(done) < MOST_EDITS:
            tried = [
                (self._mismatches(_edited(config, edit)), edit)
                for edit in candidates
                if edit[0] not in done
            ]
            fewest, edit = min(tried, default=(left, ("", 0)))
            if fewest >= left:
                return None
            config, left = _edited(config, edit), fewest
            done[edit[0]] = edit[1]
        return None if left else (config, done)

    def _mismatches(self, config: Any) -> float:
        """How many tensors a config gives other shapes; more than any number if it builds none."""
        try:
            found = _shapes(self._kind, config)
        except Exception as error:  # configs refuse what they cannot say by errors of many kinds
            self.complaints.append(" ".join(str(error).split())[:200])
            return float("inf")
        if found.keys() != self._wanted.keys():
            return float("inf")
        return sum(found[name] != shape for name, shape in self._wanted.items())


def _refusal(name: str, reason: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"`{name}` cannot be written as a folder: {reason.rstrip('.')}. Save it to a file ending "
        "in .safetensors instead."
    )


def _layers_differ(before: Shapes, wanted: Shapes) -> str:
    """Why no config can say the shapes: names that differ, or layers of one kind that do."""
    if strange := sorted(before.keys() ^ wanted.keys()):
        return f"its config builds other tensors, such as {strange[0]}"
    first: dict[str, str] = {}
    for name, shape in wanted.items():
        if len(shape) != len(before[name]):
            return f"{name} has another number of dimensions"
        holder = first.setdefault(_unnumbered(name), name)
        if before[holder] == before[name] and wanted[holder] != shape:
            return (
                "layers keep different sizes, for which its config has one number: "
                f"{holder} {wanted[holder]}, {name} {shape}"
            )
    return ""


def _candidates(config: Any, changes: set[tuple[int, int]]) -> Iterator[Edit]:
    """Numbers that are an old size or divide it, with what becomes of them."""
    found: dict[Edit, None] = {}
    for path, value in _numbers(config):
        for old, new in sorted(changes):
            if value is None:
                found[path, new] = None
            elif value > 1 and old % value == 0 and value * new % old == 0:
                found[path, value * new // old] = None
    yield from found


def _numbers(config: Any, at: str = "") -> Iterator[tuple[str, int | None]]:
    for name, value in vars(config).items():
        path = f"{at}{name}"
        if name.startswith("_") or _OTHERS.search(name):
            continue
        if type(value) is int or (value is None and _SIZES.search(name)):
            yield path, value
        elif hasattr(value, "to_dict") and hasattr(value, "model_type"):
            yield from _numbers(value, f"{path}.")


def _edited(config: Any, edit: Edit) -> Any:
    changed = copy.deepcopy(config)
    holder = changed
    *parents, name = edit[0].split(".")
    for parent in parents:
        holder = getattr(holder, parent)
    setattr(holder, name, edit[1])
    return changed


def _pin_head_size(config: Any) -> dict[str, int]:
    """Say the size of a head where the network would divide the width by the number of heads."""
    text = config.get_text_config()
    width, heads = (getattr(text, name, None) for name in ("hidden_size", "num_attention_heads"))
    if getattr(text, "head_dim", None) is not None or not width or not heads:
        return {}
    text.head_dim = width // heads
    return {"head_dim": text.head_dim}


def _shapes(kind: Any, config: Any) -> Shapes:
    config = copy.deepcopy(config)
    if hasattr(config, "validate"):
        config.validate()
    with torch.device("meta"):
        state: Mapping[str, Any] = kind(config).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def misfit_of(
    kind: Any, config: Any, stored: Shapes, path: Path | str
) -> DataIntegrityError | None:
    """What to raise where tensors have other shapes than a config asks for."""
    for name, shape in _shapes(kind, config).items():
        if stored.get(name, shape) != shape:
            return DataIntegrityError(
                f"{path} stores {name} of shape {stored[name]}, and its config.json asks for "
                f"{shape}; fetch both again."
            )
    return None


def further_layers(model: Any, unused: Iterable[str]) -> list[str]:
    """Names of stored tensors that differ from those of a network in numbers of layers only.

    Other tensors that it does not take, such as heads for other tasks, are no sign of damage.
    """
    known = {_unnumbered(name) for name in model.state_dict()}
    inside = f"{model.base_model_prefix}."
    return sorted(n for n in unused if known & {_unnumbered(n), inside + _unnumbered(n)})


def _unnumbered(name: str) -> str:
    return re.sub(r"\d+", "#", name)
