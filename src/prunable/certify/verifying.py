"""Certificates computed anew, by the verifier, in a process of its own."""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prunable.certify.certificate import read_certificate
from prunable.certify.examples import verifiable_data
from prunable.errors import DataIntegrityError
from prunable.results import Result


@dataclass(frozen=True)
class Verification(Result):
    """What the verifier found: a bound on the true error, vacuous where guessing is as good."""

    certificate: Path
    bound: float
    vacuous: bool
    answer: dict[str, Any] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """JSON document of `prunable verify --json`."""
        return self.answer

    def __str__(self) -> str:
        said = "no more than guessing" if self.vacuous else "confirmed"
        return f"{self.certificate}: error at most {self.bound:.2%}, {said}."


def verify(certificate: Path | str) -> Verification:
    """Compute a certificate anew from its code file and the data that it names.

    The process that does so runs under 200 lines that know numpy and nothing of this package.

    Raises DataIntegrityError if the certificate is not confirmed, or the verifier cannot read it.
    """
    path = Path(certificate)
    document, _ = read_certificate(path)
    with tempfile.TemporaryDirectory() as scratch:
        source = verifiable_data(document, Path(scratch))
        command = [sys.executable, "-m", "prunable.verify_certificate", str(path), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        answer = json.loads(done.stdout)
    except ValueError as error:
        last = done.stderr.strip().splitlines()[-1:] or ["nothing"]
        raise DataIntegrityError(f"the verifier failed on {path}: {last[0]}") from error
    if not answer["verified"]:
        raise DataIntegrityError(f"{path} is not confirmed: {answer['reason']}.")
    return Verification(path, answer["bound"], answer["vacuous"], answer)
