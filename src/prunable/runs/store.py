"""Results on disk: one folder a run, done if and only if its result repeats its id."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from prunable.errors import DataIntegrityError, InputError, SpecError
from prunable.files import os_errors_named, read_json, remove_leftovers, write_json
from prunable.runs.spec import Spec

RESULT = "result.json"


@dataclass(frozen=True)
class Store:
    """Folder that holds runs under `root/runs/RUN_ID`."""

    root: Path

    def folder(self, spec: Spec) -> Path:
        """Folder of one run."""
        return self.root / "runs" / spec.run_id

    def open(self) -> None:
        """Make the folder if needed; InputError if it cannot be one, before all else."""
        with os_errors_named("write in", self.root):
            self.root.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def run_locked(self, spec: Spec) -> Iterator[None]:
        """Hold one run, waiting for whoever holds it, and clear what a killed one left.

        Several runners share a store this way: each run is computed by one of them.
        """
        with self._lock(f".locks/{spec.run_id}.lock", timeout=-1):
            remove_leftovers(self.folder(spec))
            yield

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the store against a second process, and clear what a killed one left half-written.

        InputError if another process holds it.
        """
        with self._lock(".lock", timeout=0):
            for folder in (self.root, self.root / "figures", *self.root.glob("runs/*")):
                remove_leftovers(folder)
            yield

    @contextmanager
    def _lock(self, name: str, timeout: float) -> Iterator[None]:
        """A lock that is released even by a killed holder; without an end the timeout is -1."""
        made = [folder for folder in (self.root, *self.root.parents) if not folder.exists()]
        with os_errors_named("write in", self.root):
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path)
            try:
                lock.acquire(timeout=timeout)
            except Timeout as error:
                raise InputError(
                    f"{self.root} is in use by another running command. "
                    "Wait for it, or choose another folder."
                ) from error
        try:
            yield
        finally:
            lock.release()
            with suppress(OSError):  # where another process has begun to use it
                if made and [*self.root.iterdir()] == [path]:  # nothing came of it
                    path.unlink()
                    for folder in made:
                        folder.rmdir()


def _unheard(step: int) -> None:
    del step


@dataclass(frozen=True)
class Run:
    """What a stage is given to compute one run.

    Parameters
    ----------
    folder : Of the run; artefacts and checkpoints go there.
    device : Where networks and their data shall lie, as torch names it.
    on_step : To be told the number of steps done, of a run that has steps.
    """

    store: Store
    folder: Path
    device: str = "cpu"
    on_step: Callable[[int], None] = _unheard

    def folder_of(self, spec: Spec) -> Path:
        """Folder of an input."""
        return self.store.folder(spec)

    def result(self, spec: Spec) -> dict[str, Any]:
        """Stored result of an input; DataIntegrityError if it is not done."""
        result = read_result(self.store.folder(spec), spec)
        if result is None:
            raise DataIntegrityError(
                f"the run {spec.run_id} is missing from {self.store.root}; run the command again."
            )
        return result


def read_result(folder: Path | str, spec: Spec) -> dict[str, Any] | None:
    """The stored result of a run, or None; SpecError if the folder holds another run."""
    path = Path(folder) / RESULT
    if not path.exists():
        return None
    result = read_json(path)
    if not isinstance(result, dict) or "id" not in result:
        raise DataIntegrityError(f"{path} is not a run's result; delete it and run again.")
    if result["id"] != spec.run_id:
        raise SpecError(
            f"{folder} holds the run {result['id']}, and {spec.run_id} was asked for. "
            "Choose another folder, or the stored run's options."
        )
    return result


def write_result(folder: Path | str, spec: Spec, result: dict[str, Any]) -> dict[str, Any]:
    """Declare a run done by writing its result atomically; returns the whole document."""
    document = {"id": spec.run_id, "spec": spec.model_dump(mode="json"), **result}
    write_json(Path(folder) / RESULT, document)
    return document
