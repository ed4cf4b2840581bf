"""Certificates computed anew, by the verifier, in an isolated process of its own."""

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import prunable.verify_certificate as verifier
from prunable import plugins
from prunable.arguments import checked
from prunable.certify.certificate import answers_beside
from prunable.certify.examples import PARTS, examples_of
from prunable.certify.statements import above
from prunable.data.own import is_own, load_own
from prunable.data.store import locate
from prunable.errors import DataIntegrityError, PrunableError, require, shortage
from prunable.files import write_bytes
from prunable.report.tables import printable
from prunable.results import Result
from prunable.runs.data import DataSpec

MOST_ANSWERS = 1 << 28  # bytes
_MOST_LETTERS = 40  # of a name in the notes
_MOST_SAID = 400  # letters of why a certificate's data are not there, which its maker may choose


class RefutedError(DataIntegrityError):
    """A certificate says what its files and the data do not give."""

    exit_code = 1


class MissingDataError(DataIntegrityError):
    """The data or the code file that a certificate speaks of are not there."""

    exit_code = 3


_KINDS: dict[str, type[DataIntegrityError]] = {
    "refuted": RefutedError,
    "malformed": DataIntegrityError,
    "missing": MissingDataError,
}


@dataclass(frozen=True)
class Verification(Result):
    """What the verifier found: a bound on the true error, vacuous where guessing is as good.

    The answer holds the `statement`, every number of it computed, and what is merely `claimed`.
    """

    certificate: Path
    bound: float
    vacuous: bool
    answer: dict[str, Any] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """JSON document of `prunable verify --json`."""
        return self.answer

    def __str__(self) -> str:
        found = self.answer["statement"]
        train, test = found["train"], found["test"]
        path, file = _quoted(str(self.certificate)), _quoted(found["file"])
        text = (
            f"{path}: verified. With probability at least 1 - {found['delta']:g} over the draw of "
            f"{train['n']:,} examples ({_called(train)}), the network of {file} "
            f"({found['bits']:,} bits) errs on a new example with probability at most "
            f"{above(self.bound)}{', no more than guessing' if self.vacuous else ''}."
        )
        if test is not None:
            text += (
                f" If the {test['n']:,} examples ({_called(test)}) served no choice, which is "
                f"claimed, at most {above(test['bound'])}."
            )
        if (network := found.get("network")) is not None:
            total, delta = self.bound + network["bound"], 2 * found["delta"]
            text += (
                f" If its inputs served no choice, and the answers to them that lie beside it are "
                f"a network's, both claimed, that network errs with probability at most "
                f"{above(min(total, 1.0))}, with probability at least 1 - {delta:g}: "
                f"{network['errors']:,} answers differ."
            )
        notes = self.answer["claimed"]
        names = notes if isinstance(notes, dict) else ["notes"] if notes else []
        claimed = ", ".join(_quoted(name[:_MOST_LETTERS]) for name in names)
        return printable(f"{text} Claimed, not checked: {claimed or 'nothing'}.")


@checked("verify")
def verify(certificate: Path | str, data: Path | str | None = None) -> Verification:
    """Compute a certificate anew from its code file and the data that it names.

    The process that does so is isolated: it runs a file of under 250 lines that knows numpy and
    nothing of this package, and imports nothing from where the certificate lies. `data` are your
    own, as `certify` took them; by default they are those of the public set that the certificate
    names, which is fetched if need be. Either way they must have the digest that it says.

    Raises RefutedError if the files or the data give something else than the certificate says,
    MissingDataError if they are not there, and DataIntegrityError if the certificate or its code
    file are malformed.

    >>> import prunable
    >>> prunable.verify("missing.json")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    prunable.certify.verifying.MissingDataError: missing.json is not confirmed: ...
    """
    path = Path(certificate)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            document = verifier.read_document(path)
        except OSError as error:
            mend = " Give the .json file that `certify` wrote into it." if path.is_dir() else ""
            raise MissingDataError(f"{path} is not confirmed: {error}.{mend}") from error
        except Exception as error:  # whatever else a hostile file may cause
            raise DataIntegrityError(
                f"{path} is no certificate that can be read: {error}. `certify --out` writes them."
            ) from error
        _put_data(document["notes"], data, path, Path(scratch))
        if document["format"] == verifier.FORMATS[1]:
            _put_answers(path, Path(scratch))
        command = [sys.executable, "-I", verifier.__file__, str(path.absolute()), scratch]
        # -I obeys two variables that say where Python lies
        launched = ("PYTHON", "__PYVENV_LAUNCHER__")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(launched)}
        done = subprocess.run(command, capture_output=True, text=True, cwd=scratch, env=clean)
    try:
        answer = json.loads(done.stdout)
    except ValueError as error:
        last = done.stderr.strip().splitlines()[-1:] or ["nothing"]
        raise DataIntegrityError(f"the verifier failed on {path}: {last[0]}") from error
    if not answer["verified"]:
        if "MemoryError(" in answer["reason"]:
            raise MemoryError(answer["reason"])
        kind = _KINDS[answer["outcome"]]
        raise kind(f"{path} is not confirmed: {answer['reason']}.")
    return Verification(path, answer["bound"], answer["vacuous"], answer)


def failure(certificate: Path | str, error: DataIntegrityError) -> dict[str, Any]:
    """What JSON says of a certificate that is not verified."""
    outcome = next(name for name, kind in _KINDS.items() if kind.exit_code == error.exit_code)
    said = {"certificate": str(certificate), "outcome": outcome, "reason": str(error)}
    return {"verified": False, **said}


def _put_data(notes: Any, own: Path | str | None, certificate: Path, folder: Path) -> None:
    """Write the examples that a certificate claims to be about; the verifier knows if they are."""
    name = None
    try:
        if own is None:
            settings = notes.get("settings", {}).get("data", {"name": notes["dataset"]})
            spec = DataSpec.create(**settings)
            name = spec.name
            data = spec.load(flatten=False)
        else:
            named = Path(own).is_dir() or (Path(own).is_file() and is_own(str(own)))
            named |= str(own) in plugins.plugins(plugins.DATA)
            wanted = "an .npz file, or a folder of pictures in a folder a class"
            require(named and ":" not in str(own), "data", "verify", wanted, str(own))
            data = load_own(str(own), where="verify")
            notes = notes if isinstance(notes, dict) else {}
        for part, examples in zip(PARTS, examples_of(data, _drawn(notes)), strict=False):
            examples.save(folder, part)
    except PrunableError as error:
        if cause := shortage(error):  # which refutes nothing
            raise MemoryError(str(cause)) from error
        said = f"{error!s:.{_MOST_SAID}}"
        if name is not None and locate(name) is not None:
            raise RefutedError(f"{certificate} is {verifier.OTHERS}: {said}") from error
        raise MissingDataError(f"the data of {certificate} are not there: {said}") from error
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise MissingDataError(
            f"{certificate} does not name its data ({error!r:.{_MOST_SAID}}); give them by --data."
        ) from error


def _drawn(notes: dict[str, Any]) -> int | None:
    """Seed of the labels, if they were drawn anew."""
    seed = notes.get("random_labels")
    if seed is not None and (type(seed) is not int or seed < 0):
        raise TypeError(f"random_labels is {seed!r}")
    return seed


def _put_answers(certificate: Path, folder: Path) -> None:
    """Write the answers of the network that a certificate stands for; their digest is in it."""
    file = answers_beside(certificate)
    try:
        write_bytes(folder / "y_network.npy", verifier.read(file, MOST_ANSWERS))
    except FileNotFoundError as error:
        raise MissingDataError(
            f"{certificate} is not confirmed: {error}. The answers of the network that it stands "
            "for have to lie beside it."
        ) from error
    except ValueError as error:
        raise DataIntegrityError(f"{certificate} is not confirmed: {error}.") from error


def _called(part: dict[str, Any]) -> str:
    """Examples as the verifier knows them."""
    if not part["data"].startswith("own "):
        return str(part["data"])
    return f"of its own, known by their sha256 {part['sha256']} alone"


def _quoted(name: str) -> str:
    """A name of the certificate's maker's, which could read like a sentence of ours."""
    return name if re.fullmatch(r"[\w./+-]+", name) else repr(name)
