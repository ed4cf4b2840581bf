"""State of a training run in one safetensors file, written whole or not at all."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from prunable.errors import DataIntegrityError
from prunable.nets.archive import load_tensors, save_tensors
from prunable.nets.train.averaging import IterateAverage


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

    def load(self, path: Path | str) -> dict[str, Any]:
        """Restore everything from `path` and return the `progress` stored with it.

        DataIntegrityError if the file is missing, truncated, or the state of another kind of run.
        """
        tensors, metadata = load_tensors(path)
        try:
            document = json.loads(metadata["training_state"])
            state: dict[int, dict[str, Any]] = {
                int(index): dict(slots) for index, slots in document["scalars"].items()
            }
            for name, tensor in _below(tensors, "optimizer/").items():
                index, slot = name.split("/", 1)
                state.setdefault(int(index), {})[slot] = tensor
            self.model.load_state_dict(_below(tensors, "model/"))
            self.optimizer.load_state_dict({"state": state, **document["optimizer"]})
            if self.average is not None:
                self.average.load_state_dict(_below(tensors, "average/"))
        except (KeyError, ValueError, RuntimeError) as error:
            raise DataIntegrityError(
                f"{path} does not hold the state of this run ({error}); "
                "delete it to train from the start."
            ) from error
        return dict(document["progress"])


def _below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
