"""Safetensors files written again from others, tensor by tensor, some of them changed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from prunable.files import os_errors_named
from prunable.nets.archive.safetensors_file import header_bytes

PIECE = 2**22  # bytes copied at a time

Change = Callable[[BinaryIO], None]


@dataclass(frozen=True)
class Shard:
    """One sound file: where its numbers start, and its tensors' headers by name, as they lie."""

    path: Path
    start: int
    entries: Mapping[str, Mapping[str, Any]]
    metadata: Mapping[str, str]

    @classmethod
    def of(cls, path: Path) -> Shard:
        """Read the header of a file that a reader of safetensors has opened before."""
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
        metadata = header.pop("__metadata__", None) or {}
        entries = dict(sorted(header.items(), key=lambda item: item[1]["data_offsets"]))
        return cls(path, 8 + size, entries, metadata)

    def only(self, wanted: Callable[[str], bool]) -> Shard:
        """The same without the tensors of other names, which are not written again."""
        return replace(self, entries={n: x for n, x in self.entries.items() if wanted(n)})

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.start + max((x["data_offsets"][1] for x in self.entries.values()), default=0)

    @property
    def numbers(self) -> int:
        """Bytes of the tensors' numbers."""
        return sum(x["data_offsets"][1] - x["data_offsets"][0] for x in self.entries.values())


def write_again(
    target: Path,
    shards: Sequence[Shard],
    metadata: Mapping[str, str],
    changed: Mapping[str, Change],
) -> None:
    """Write the tensors of files into one, in their order; those `changed` write themselves."""
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    place = 0
    for _, name, entry in _entries(shards):
        first, last = entry["data_offsets"]
        header[name] = {**entry, "data_offsets": [place, place + last - first]}
        place += last - first
    with os_errors_named("write", target), target.open("wb") as out:
        out.write(header_bytes(header))
        for shard, name, entry in _entries(shards):
            if name in changed:
                changed[name](out)
            else:
                _copy(shard, entry["data_offsets"], out)
        out.flush()
        os.fsync(out.fileno())


def _entries(shards: Sequence[Shard]) -> Iterator[tuple[Shard, str, Mapping[str, Any]]]:
    for shard in shards:
        for name, entry in shard.entries.items():
            yield shard, name, entry


def _copy(shard: Shard, between: Sequence[int], out: BinaryIO) -> None:
    first, last = between
    with shard.path.open("rb") as source:
        source.seek(shard.start + first)
        while first < last:
            piece = source.read(min(PIECE, last - first))
            if not piece:
                raise OSError(f"{shard.path} ends early")
            out.write(piece)
            first += len(piece)
