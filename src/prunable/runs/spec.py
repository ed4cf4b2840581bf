"""What a run is: frozen, validated specifications whose hash is the run's identity."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from prunable.errors import InputError, SpecError, kind_of, nearest


class Frozen(BaseModel):
    """Base of all settings: frozen, no unknown keys, every default written out when dumped."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def create(cls, **fields: Any) -> Self:
        """Validate and build; a SpecError names the first wrong field and what it must be."""
        try:
            return cls(**fields)
        except ValidationError as error:
            # a name that is no setting may be why another is missing
            first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
            cause = first.get("ctx", {}).get("error")
            if isinstance(cause, InputError):
                raise SpecError(str(cause)) from error
            raise SpecError(_said(first, cls)) from error

    def to_dict(self) -> dict[str, Any]:
        """All settings as JSON has them."""
        return self.model_dump(mode="json")

    def parts(self) -> Iterator[Frozen]:
        """Settings among the settings, directly or in a tuple."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, Frozen):
                    yield part

    def datasets(self) -> tuple[str, ...]:
        """Registered data sets named anywhere in the settings."""
        names = (name for part in self.parts() for name in part.datasets())
        return tuple(dict.fromkeys(names))


def _said(first: Mapping[str, Any], settings: type[Frozen]) -> str:
    """What pydantic says of a field, in the words of all other errors."""
    where = settings.__name__
    name = str(first["loc"][0]) if first["loc"] else where
    if first["type"] == "extra_forbidden":
        return _unknown(name, settings)
    if first["type"] == "missing":
        return f"`{name}` of `{where}` must be given."
    wanted = re.sub(r"^(Value error, |Input should be )|, (unable|got) .*$", "", first["msg"])
    given = first["input"]
    if first["type"].endswith(("_type", "_parsing", "_from_float")):
        wanted, given = wanted.replace("a valid", "a"), kind_of(given)
    choices = re.findall(r"'([^']*)'", first.get("ctx", {}).get("expected", ""))
    near = nearest(given, choices).strip() if isinstance(given, str) else ""
    return str(InputError.parameter(name, where, wanted, given, near))


def _unknown(name: str, settings: type[Frozen]) -> str:
    """What to say of a name that is no setting: the nearest ones, or all of them."""
    known = [field for field in settings.model_fields if field != "schema_version"]
    initials = "".join(part[:1] for part in name.split("_"))  # lr of learning_rate
    near = f" Did you mean {initials}?" if initials in known else nearest(name, known)
    mend = near or f" There are: {', '.join(known)}."
    return f"`{name}` is no setting of `{settings.__name__}`.{mend}"


class Spec(Frozen):
    """Settings of one run: they name the stage that computes it, and their hash names the run."""

    # "package.module:function" that computes such a run
    stage: ClassVar[str] = ""
    # The same for several runs of one `batch_key` at once.
    batch_stage: ClassVar[str] = ""  # used whenever there is a key: also for one
    # Whether the stage wants to see inputs that diverged.
    tolerates_failed_inputs: ClassVar[bool] = False

    schema_version: Literal[2, 3] = 2  # a kind whose numbers change says so by the next

    @property
    def run_id(self) -> str:
        """Kind of run and hash of the whole specification, such as `train-5f0c...`."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        return f"{self.kind()}-{digest}"

    @classmethod
    def kind(cls) -> str:
        """First part of the run id: the class's name without `Spec`, in lower case."""
        return cls.__name__.removesuffix("Spec").lower()

    def inputs(self) -> tuple[Spec, ...]:
        """Runs whose results this one builds on: the specifications among its fields."""
        found = {part.run_id: part for part in self.parts() if isinstance(part, Spec)}
        return tuple(found.values())

    def estimated_seconds(self) -> float:
        """Rough time of the run on one core of a laptop, without that of its inputs."""
        return 1.0

    def batch_key(self) -> str | None:
        """Runs of equal keys can be computed together; None for one by one."""
        return None
