"""Networks of transformers whose blocks are in memory only while they run."""

from __future__ import annotations

import ctypes
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from prunable.errors import InputError, UnsupportedModelError
from prunable.extras import extra
from prunable.files import staged, write_json
from prunable.nets.archive import write_in_turn
from prunable.nets.models.hub import (
    LARGEST_SHARD,
    FolderResult,
    check_folder,
    keep_files,
    listed_modules,
    load_folder,
    misread,
    outputs_on,
    quiet,
    transformers_module,
)
from prunable.nets.networks.equality import largest_difference, within_rounding
from prunable.nets.networks.ties import ties_of


class Streamed:
    """A network whose blocks have no numbers until they run, or are held.

    `model` runs as ever. `changed` is told the path of a block whenever that has been read as a
    whole, and may change it in place.
    """

    def __init__(self, model: nn.Module, stored: Mapping[str, Tensor]) -> None:
        self.model, self.stored = model, stored
        self.blocks = listed_modules(model)
        self.changed: Callable[[str], None] | None = None
        self._paths = {module: path for path, module in self.blocks.items()}
        self._names = {
            parameter: f"{path}.{name}"
            for path, module in self.blocks.items()
            for name, parameter in module.named_parameters()
        }
        for parameter in model.parameters():
            if parameter not in self._names:  # a part of a mapped file would keep all of it
                parameter.data = parameter.data.clone()
        self._holders: Counter[nn.Parameter] = Counter()
        self._forwards = {module: self._held_while(module) for module in self._paths}
        for module, forward in self._forwards.items():
            module.__dict__["forward"] = forward

    @contextmanager
    def held(self, module: nn.Module) -> Iterator[None]:
        """Have the numbers of a block, or of a part of one; what is in no block has them always."""
        mine = [p for p in module.parameters() if p in self._names]
        absent = [p for p in mine if not self._holders[p]]
        self._holders.update(mine)
        if module in self._paths:  # which is itself while it is held
            module.__dict__.pop("forward", None)
        try:
            for parameter in absent:
                # a copy, for what is read is part of a file as long as that is open
                found = self.stored[self._names[parameter]]
                _become(parameter, found.to(parameter.dtype, copy=True))
            if absent and module in self._paths and self.changed is not None:
                self.changed(self._paths[module])
            yield
        finally:
            self._holders.subtract(mine)
            for parameter in mine:
                if not self._holders[parameter]:
                    _become(parameter, torch.empty_like(parameter, device="meta"))
            if module in self._paths and not any(self._holders[p] for p in mine):
                module.__dict__["forward"] = self._forwards[module]
                _trim()(0)

    def _held_while(self, module: nn.Module) -> Callable[..., Any]:
        module.__dict__.pop("forward", None)
        forward = module.forward

        @functools.wraps(forward)
        def held(*args: Any, **kwargs: Any) -> Any:
            with self.held(module):
                return forward(*args, **kwargs)

        return held


@functools.cache
def _trim() -> Callable[[int], Any]:
    """What gives memory that is free back to the system: blocks leave it in pieces."""
    try:
        trim: Callable[[int], Any] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # other libraries of C do without
        return lambda _: None
    return trim


def _become(parameter: nn.Parameter, tensor: Tensor) -> None:
    """Give a parameter other numbers, on another device; it stays the same object."""
    torch.utils.swap_tensors(parameter, nn.Parameter(tensor, parameter.requires_grad))


def open_streamed(path: Path | str, converted: Path | str, where: str = "load") -> Streamed:
    """Open a network of a folder of transformers, its blocks left on disk.

    Blocks are the members of its lists of modules. `converted` is a folder for the tensors that
    transformers holds in another form than they are stored in, as it does the experts of mixtures.

    Raises what `load_folder` raises; InputError for a GGUF file; UnsupportedModelError if blocks
    share parameters, with each other or with the rest.
    """
    path = Path(path)
    if path.is_file():
        raise InputError(
            f"{path} is a single file, whose blocks cannot be read one by one. Make a folder of it "
            f"first: prunable prune {path} --method magnitude --keep 1 --out FOLDER."
        )
    model: Any = load_folder(path, where, converted=converted)
    hooks = extra("accelerate.hooks", where, "hub")
    read = (getattr(getattr(x, "_hf_hook", None), "weights_map", None) for x in model.modules())
    stored: Mapping[str, Tensor] = next((one.dataset for one in read if one is not None), {})
    hooks.remove_hook_from_submodules(model)
    streamed = Streamed(model, stored)
    names: dict[int, set[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        holders = (path for path in streamed.blocks if name.startswith(f"{path}."))
        names.setdefault(id(parameter), set()).add(next(holders, ""))
    if any(len(holders) > 1 for holders in names.values()):
        raise UnsupportedModelError(
            f"{type(model).__name__} shares parameters between blocks, which cannot be read one by "
            "one. Leave out --stream."
        )
    return streamed


def save_streamed(
    path: Path | str, streamed: Streamed, *, source: Path | str, example: Any, scratch: Path | str
) -> FolderResult:
    """Write a streamed network, as it is, as a folder that `from_pretrained` reads.

    Nothing but one block is in memory meanwhile, and what is in memory always. Files are those of
    `save_folder`. `scratch` is a folder for what is read back in another form than it is stored in.

    Raises what `save_folder` raises.
    """
    target = Path(path)
    transformers = transformers_module("save_folder")
    check_folder(target)
    model: Any = streamed.model
    expected = outputs_on(model, example)
    with staged(target) as place, quiet(transformers):
        place.mkdir()
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(place)
        if model.can_generate():
            model.generation_config.save_pretrained(place)
        _write_weights(place, streamed)
        again = load_folder(place, converted=scratch)
        difference = largest_difference(outputs_on(again, example), expected)
        if not within_rounding(difference, expected, model):
            raise misread(model, difference)
        kept = keep_files(transformers, Path(source), place)
        size = sum(file.stat().st_size for file in place.iterdir())
    return FolderResult(target, size, {}, kept, difference)


def _write_weights(place: Path, streamed: Streamed) -> None:
    """Write all tensors, block by block, in the shards in which transformers itself would."""
    model = streamed.model
    state = model.state_dict()
    state = {name: tensor for name, tensor in state.items() if name not in ties_of(state)}
    blank = {name: torch.empty_like(tensor, device="meta") for name, tensor in state.items()}
    parts = {path: _under(path, blank) for path in streamed.blocks}
    inside = {name for part in parts.values() for name in part}
    parts[""] = [name for name in state if name not in inside]
    owner = {
        stored: path
        for path, names in parts.items()
        for stored in _as_stored(model, {name: blank[name] for name in names})
    }
    last: tuple[str | None, dict[str, Tensor]] = (None, {})

    def read(name: str) -> Tensor:
        nonlocal last
        path = owner[name]
        if path != last[0]:
            last = (None, {})
            with streamed.held(model.get_submodule(path) if path else nn.Module()):
                now = model.state_dict()
                last = path, _as_stored(model, {own: now[own] for own in parts[path]})
        return last[1][name]

    # parts of one tensor would count as the whole of it each
    whole = {name: torch.empty_like(part) for name, part in _as_stored(model, blank).items()}
    split = extra("huggingface_hub", "save_folder", "hub").split_torch_state_dict_into_shards(
        whole, filename_pattern="model{suffix}.safetensors", max_shard_size=LARGEST_SHARD
    )
    for file, names in split.filename_to_tensors.items():
        write_in_turn(place / file, {n: whole[n] for n in names}, read, {"format": "pt"})
    if split.is_sharded:
        count = sum(tensor.numel() for tensor in state.values())
        index = {"metadata": {"total_parameters": count, **split.metadata}}
        index["weight_map"] = split.tensor_to_filename
        write_json(place / "model.safetensors.index.json", index)


def _under(path: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(f"{path}.")]


def _as_stored(model: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors in the names and forms in which files hold them."""
    if find_spec("transformers.core_model_loading") is None:  # before 5 these are the model's own
        return tensors
    loading = extra("transformers.core_model_loading", "save_folder", "hub")
    found: dict[str, Tensor] = loading.revert_weight_conversion(model, tensors)
    return found
