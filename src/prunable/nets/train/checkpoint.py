"""State of a training run in one safetensors file, written whole or not at all."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from prunable.errors import DataIntegrityError
from prunable.files import Document, damage_named, parsed
from prunable.nets.archive import load_tensors, save_tensors
from prunable.nets.train.averaging import IterateAverage

_MEND = "it does not hold the state of this run: delete it to train from the start"


@dataclass(frozen=True)
class TrainingState:
    """The live objects whose state makes up a training run.

    Hooks keep their state in `optimizer.state_dict()`.
    """

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    average: IterateAverage | None = None

    def save(self, path: Path | str, progress: dict[str, Any]) -> None:
        """Write everything, and a JSON-able `progress`, to `path`."""
        optimizer = self.optimizer.state_dict()
        tensors = {f"model/{k}": v for k, v in self.model.state_dict().items()}
        scalars: dict[str, dict[str, Any]] = {}
        for index, slots in optimizer.pop("state").items():
            for slot, value in slots.items():
                if isinstance(value, torch.Tensor):
                    tensors[f"optimizer/{index}/{slot}"] = value
                else:
                    scalars.setdefault(str(index), {})[slot] = value
        if self.average is not None:
            tensors |= {f"average/{k}": v for k, v in self.average.state_dict().items()}
        document = {"progress": progress, "optimizer": optimizer, "scalars": scalars}
        save_tensors(path, tensors, {"training_state": json.dumps(document)})

    def _check(self, groups: Any, state: dict[int, dict[str, Any]]) -> None:
        """ValueError unless settings and tensors are such as this optimizer has."""
        for own, stored in zip(self.optimizer.param_groups, groups, strict=True):
            named = {key: value for key, value in own.items() if key != "params"}
            wrong = [key for key, value in named.items() if _kind(stored[key]) != _kind(value)]
            if wrong:
                raise ValueError(f"its {wrong[0]} cannot be {stored[wrong[0]]!r:.40}")
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        for index, slots in state.items():
            if not 0 <= index < len(parameters):
                raise ValueError(f"no parameter {index} has a state")
            for slot, value in slots.items():
                shape = getattr(value, "shape", torch.Size())
                if shape and shape != parameters[index].shape:
                    raise ValueError(f"{slot} of parameter {index} has the shape {tuple(shape)}")

    def load(self, path: Path | str) -> dict[str, Any]:
        """Restore everything from `path` and return the `progress` stored with it.

        DataIntegrityError if the file is missing, truncated, or the state of another kind of run.
        """
        tensors, metadata = load_tensors(path)
        with damage_named(path, _MEND, DataIntegrityError):
            found = parsed(_StateDocument, metadata["training_state"], finite=False)
            state = {index: dict(slots) for index, slots in found.scalars.items()}
            for name, tensor in _below(tensors, "optimizer/").items():
                index, slot = name.split("/", 1)
                state.setdefault(int(index), {})[slot] = tensor
            self.model.load_state_dict(_below(tensors, "model/"))
            self._check(found.optimizer["param_groups"], state)
            self.optimizer.load_state_dict({"state": state, **found.optimizer})
            if self.average is not None:
                self.average.load_state_dict(_below(tensors, "average/"))
        return found.progress


def progress_of(path: Path | str) -> dict[str, Any]:
    """The `progress` of a state, all else left aside; DataIntegrityError as of `load`."""
    _, metadata = load_tensors(path)
    with damage_named(path, _MEND, DataIntegrityError):
        return parsed(_StateDocument, metadata["training_state"], finite=False).progress


class _StateDocument(Document):
    progress: dict[str, Any]
    optimizer: dict[str, Any]
    scalars: dict[int, dict[str, Any]]


def _kind(value: Any) -> str:
    """What JSON makes of a value: what is stored as one kind comes back as it."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_kind, value))}]"
    kinds = {bool: "bool", int: "number", float: "number"}
    return kinds.get(type(value), type(value).__name__)


def _below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
