"""Folders of pruned shards, written one after the other: another run goes on with what is there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

from filelock import FileLock, Timeout
from pydantic import Field

from prunable.errors import DataIntegrityError, InputError
from prunable.files import LOCK, Document, Size, os_errors_named, read_json, write_json
from prunable.nets.archive.rewriting import Shard

INDEX = "model.safetensors.index.json"
STATE = "pruning.json"  # in a folder that is not finished: whose it is, and the rows of its shards

Row = dict[str, Any]
# Writes shards into files of a folder that end in .part, and gives each one's place, its file's
# name and its rows as it is done.
Write = Callable[[Path, Sequence[Shard]], Generator[tuple[int, tuple[str, dict[str, Row]]]]]
_Count = Annotated[int, Field(ge=0, strict=True)]


class _Row(Document):
    """What was kept of a tensor."""

    name: str
    shape: list[Size]
    axis: str
    n_total: _Count
    n_kept: _Count
    kappa_asked: float | None
    kappa: float
    eps: float | None
    p: float | None
    before: _Count
    after: _Count


class _Finished(Document):
    size: Size  # bytes
    rows: dict[str, _Row]


class _State(Document):
    mark: dict[str, Any]
    done: dict[str, _Finished]


def write_folder(
    out: Path | str,
    shards: Sequence[Shard],
    asked: Mapping[str, Any],
    changed: Collection[str],
    write: Write,
    check: Callable[[Mapping[str, Row]], None],
    beside: Sequence[Path],
) -> dict[str, Row]:
    """Write shard by shard beside the place of the folder, which appears when all are there.

    Rows are of the tensors `changed`; `check` refuses all rows; `asked` is what they depend on
    beside the files. Shards that a killed run of the same job finished are kept.

    Raises InputError if there is something, another process writes it, or the disk has no room.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        wanted = "a folder that is empty or not there yet"
        raise InputError.parameter("out", "prune", wanted, str(out), "Choose another one.")
    sources = [[str(x.path.resolve()), x.size, x.path.stat().st_mtime_ns] for x in shards]
    mark = json.loads(json.dumps({"asked": dict(asked), "sources": sources}))
    names = {x.path.name: {name for name in x.entries if name in changed} for x in shards}
    place = out.parent / f".{out.name}.unfinished"
    made = [parent for parent in out.parents if not parent.exists()]
    done: dict[str, _Finished] = {}
    with os_errors_named("write", out), _alone(place, out):
        try:
            done |= _done(place, mark, names)
            left = [shard for shard in shards if shard.path.name not in done]
            check_room(place, sum(shard.size for shard in left))
            with closing(write(place, left)) as written:
                for at, (part, rows) in written:
                    target = place / left[at].path.name
                    (place / part).replace(target)
                    known = {name: _Row.model_validate(row) for name, row in rows.items()}
                    done[target.name] = _Finished(size=target.stat().st_size, rows=known)
                    _keep(place, mark, done)
            found = {
                name: row.model_dump()
                for shard in shards
                for name, row in done[shard.path.name].rows.items()
            }
            try:
                check(found)
            except InputError:
                done.clear()
                raise
            size = sum(shard.numbers for shard in shards)
            places = {name: shard.path.name for shard in shards for name in shard.entries}
            write_json(place / INDEX, {"metadata": {"total_size": size}, "weight_map": places})
            for file in beside:
                shutil.copyfile(file, place / file.name)
            (place / STATE).unlink()
            (place / LOCK).unlink(missing_ok=True)
            _delete_unfinished(place)
            place.replace(out)
        except BaseException:
            _delete_unfinished(place)
            if not done:
                shutil.rmtree(place, ignore_errors=True)
                for parent in made:
                    with suppress(OSError):
                        parent.rmdir()
            raise
    return found


def _delete_unfinished(place: Path) -> None:
    """What attempts left that were killed, or thought dead."""
    for path in place.glob("*.part"):
        path.unlink(missing_ok=True)


@contextmanager
def _alone(place: Path, out: Path) -> Iterator[None]:
    """Make a folder and be the only one that writes it; InputError if another process does."""
    place.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with suppress(NotImplementedError):  # a file system without locks
            try:
                stack.enter_context(FileLock(place / LOCK, timeout=0))
            except Timeout as error:
                raise InputError(
                    f"{out} is being written by another process. Wait for it, or name another "
                    "folder."
                ) from error
        yield


def _done(
    place: Path, mark: Mapping[str, Any], names: Mapping[str, set[str]]
) -> dict[str, _Finished]:
    """What another run of the same job has finished; all else in the folder is deleted.

    `names` are those of the rows that each shard has.
    """
    state = _State(mark={}, done={})
    with suppress(DataIntegrityError):  # not there, or damaged: whose shards these are is unknown
        state = read_json(place / STATE, schema=_State)
    done = state.done if state.mark == mark else {}
    whole = {
        name: one
        for name, one in done.items()
        if one.rows.keys() == names.get(name)
        and (place / name).is_file()
        and (place / name).stat().st_size == one.size
    }
    for path in place.iterdir():
        if path.name not in (*whole, STATE, LOCK):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    _keep(place, mark, whole)
    return whole


def _keep(place: Path, mark: Mapping[str, Any], done: Mapping[str, _Finished]) -> None:
    write_json(place / STATE, _State(mark=dict(mark), done=dict(done)).model_dump())


def check_room(place: Path | str, size: int) -> None:
    """Raise InputError if the disk of a place has not so many bytes free."""
    folder = next(x for x in (Path(place), *Path(place).parents) if x.is_dir())
    free = shutil.disk_usage(folder).free
    if free < size:
        raise InputError(
            f"There are {free:,} bytes free at {folder}, and {size:,} are to be written. Free "
            "some, or choose another place."
        )
