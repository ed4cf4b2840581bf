"""The certificate file: a statement, the code file it is about, and notes that it needs not.

A certificate is a JSON file beside a code file. Its `statement` holds every number that
`prunable verify` finds again from the code file and the data; its `notes` are claimed: they say
how the network was made, which the statement does not depend on, since the prior is fixed by the
code, before the data, and training is free. docs/certificate-format.md has every rule.
"""

import hashlib
import io
import math
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, Context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunable.certify.architecture import count_errors
from prunable.certify.bounds import occam
from prunable.certify.bounds.base import BoundResult
from prunable.certify.bounds.checks import check_delta
from prunable.certify.bounds.held_out import held_out_bound
from prunable.certify.code_file import MOST_BYTES, CodedNetwork, decode_network, encode_network
from prunable.certify.examples import PARTS, Examples
from prunable.errors import DataIntegrityError, require
from prunable.files import write_bytes, write_json
from prunable.verify_certificate import FORMATS, MEANING, read, read_document

DIGITS = 6  # of delta; more would be told from no bound
CODED = "pruned and quantised network"
Answers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Certificate:
    """A certified network: its code file, and its document without the name of that file.

    Bounds are Occam's, its form with permutations, its kl form, the held-out bound if there
    are held-out examples, and that of the network whose answers to them are given, if they are.
    """

    network: CodedNetwork
    code: bytes
    document: dict[str, Any]
    bounds: tuple[BoundResult, ...]
    answers: Answers | None = None  # of the network that it stands for, to the test inputs

    @property
    def statement(self) -> dict[str, Any]:
        """What the verifier finds again."""
        found: dict[str, Any] = self.document["statement"]
        return found


def certify_network(
    network: CodedNetwork,
    train: Examples,
    test: Examples | None,
    delta: float,
    notes: dict[str, Any] | None = None,
    answers: Answers | None = None,
) -> Certificate:
    """Encode a network, count its errors and state its bounds.

    Test examples served no choice at all; `delta` is the probability that a bound fails, the
    held-out one too, and is rounded down to 6 digits; notes say how the network was made and are
    not part of the statement. `answers` are classes (n,) that another network gives the test
    inputs: it errs where this one errs or the two differ, which is counted too.

    Raises InputError if labels are no classes of the network, or there are answers without test.
    """
    require(answers is None or test is not None, "answers", "certify", "of test inputs", "no test")
    check_delta(delta, "certify")
    mend = "Both parts hold at once with probability 1 - 2 delta."
    require(answers is None or delta < 0.5, "delta", "certify", "below 1/2", delta, mend)
    delta = float(Context(prec=DIGITS, rounding=ROUND_DOWN).create_decimal(repr(delta)))
    classes = network.architecture.classes
    code = encode_network(network)
    bits, found, bounds = 8 * len(code), {}, []
    asked = None if answers is None or test is None else Examples(test.x, answers)
    for part, examples in zip(PARTS, (train, test, asked), strict=True):
        if examples is None:
            continue
        low, high = examples.y.min(), examples.y.max()
        wanted = f"classes 0 to {classes - 1} of the network"
        require(low >= 0 and high < classes, "y", "certify", wanted, f"{low} to {high}")
        errors, n = count_errors(network.logits, *examples.tensors), len(examples.y)
        if part == "train":
            saving = min(network.saving, bits)
            bounds += [
                occam.occam_bound(errors, n, bits, delta, about=CODED),
                occam.occam_bound(errors, n, bits, delta, saving=saving, about=CODED),
                occam.occam_bound(errors, n, bits, delta, form="kl", about=CODED),
            ]
            bound = bounds[0].value
        elif part == "test":
            bounds.append(replace(held_out_bound(errors, n, delta), about=CODED))
            bound = bounds[-1].value
        else:
            bounds.append(occam.dense_through_compression(bounds[0], errors, n, delta))
            bound = bounds[-1].term("P(f != g)").value
        named = {"sha256": examples.sha256, "data": examples.name(part)}
        found[part] = {"n": n, "errors": errors, "bound": bound, **named}
    guessing = 1 - 1 / len(np.unique(train.y))
    statement = {
        "meaning": "".join(MEANING[: len(found)]),
        "file": "",
        "sha256": hashlib.sha256(code).hexdigest(),
        "bits": bits,
        "delta": delta,
        "vacuous": bounds[0].value >= guessing,
        "test": None,
        **found,
    }
    about = {
        "network": network.architecture.text,
        "normalised": network.architecture.normalised,
        "weights": network.architecture.n_weights,
        "kept": network.kept,
        "classes": classes,
        "permutation_saving_bits": network.saving,
        "bound_with_permutations": bounds[1].value,
        **(notes or {}),
    }
    document = {"format": FORMATS[asked is not None], "statement": statement, "notes": about}
    return Certificate(network, code, document, tuple(bounds), answers)


def write_certificate(path: Path | str, certificate: Certificate) -> Path:
    """Write the JSON file and, beside it, the code file, whose path is returned.

    Answers of the network that the certificate stands for are a third file, `answers_beside` it.
    """
    path = Path(path)
    file = path.with_suffix(".code")
    require(file != path, "out", "certify", "a name that does not end in .code", path.name)
    document = dict(certificate.document)
    document["statement"] = {**document["statement"], "file": file.name}
    write_bytes(file, certificate.code)
    if certificate.answers is not None:
        content = io.BytesIO()
        np.save(content, np.ascontiguousarray(certificate.answers, "<i8"))
        write_bytes(answers_beside(path), content.getvalue())
    write_json(path, document)
    return file


def answers_beside(path: Path | str) -> Path:
    """Name the file of a network's answers to the test inputs, beside its certificate."""
    return Path(path).with_suffix(".answers.npy")


def read_certificate(path: Path | str) -> tuple[dict[str, Any], CodedNetwork]:
    """Read a certificate and decode its network, without looking at data."""
    path = Path(path)
    try:
        document = read_document(path)
        statement = document["statement"]
        file, digest, bits = (statement[key] for key in ("file", "sha256", "bits"))
        place = path.with_name(file)
    except (KeyError, TypeError, AttributeError, ValueError, OSError) as error:
        raise DataIntegrityError(f"{path} is no certificate that can be read: {error}.") from error
    try:
        code = read(place, MOST_BYTES)
    except (ValueError, OSError) as error:
        raise DataIntegrityError(
            f"{place}, the code file of {path.name}, cannot be read: {error}. It has to lie beside "
            "the certificate."
        ) from error
    found = hashlib.sha256(code).hexdigest()
    if (digest, bits) != (found, 8 * len(code)):
        raise DataIntegrityError(
            f"{file} is not the code file of {path.name}: it has {8 * len(code)} bits and sha256 "
            f"{found}, where the certificate says {bits} bits and {digest}."
        )
    return document, decode_network(code)


def advice(certificate: Certificate, target: float) -> str:
    """What would certify a risk in (0, 1): fewer bits, or more examples; one sentence."""
    statement = certificate.statement
    train, delta, bits = statement["train"], statement["delta"], statement["bits"]
    rate = train["errors"] / train["n"]
    if rate >= target:
        return (
            f"The training error, {rate:.2%}, is not below {target:.2%}; no code is short enough."
        )
    allowed = occam.bits_allowed(train["errors"], train["n"], delta, target)
    needed = occam.examples_needed(rate, bits, delta, target)
    fewer = (
        "no code is short enough"
        if allowed is None
        else f"a code of {math.floor(allowed):,} bits instead of {bits:,}"
    )
    more = "" if needed is None else f", or {needed:,} examples instead of {train['n']:,}"
    return f"A bound of {target:.2%} with this training error takes {fewer}{more}."
