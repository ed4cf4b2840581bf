"""Compute certificates of an earlier format anew, from their code files and the data.

    python tools/upgrade_certificates.py docs/certify/*.json

A file is replaced by a certificate of its network on the data that its notes name: errors are
counted, bounds computed and data identified anew; what it claimed of itself stays claimed.
"""

from __future__ import annotations

from pathlib import Path

from usage import typed

from prunable.certify.certificate import certify_network, write_certificate
from prunable.certify.code_file import decode_network
from prunable.certify.examples import examples_of
from prunable.errors import require
from prunable.files import read_json
from prunable.runs.data import DataSpec


def upgrade(path: Path) -> None:
    """Replace one certificate."""
    document = read_json(path, "give a certificate")
    notes, old = document["notes"], document["statement"]
    network = decode_network(path.with_name(old["file"]).read_bytes())
    settings = notes.get("settings", {}).get("data", {"name": notes["dataset"]})
    data = DataSpec.create(**settings).load(flatten=False)
    train, test = examples_of(data, notes["random_labels"])
    held_out = None if old["test"] is None else test
    anew = certify_network(network, train, held_out, old["delta"], notes)
    same = path.with_name(old["file"]).read_bytes() == anew.code
    require(same, "path", "upgrade", "a certificate whose code file is the encoder's", str(path))
    write_certificate(path, anew)


if __name__ == "__main__":
    for name in typed(__doc__, 1):
        upgrade(Path(name))
        print(f"{name} is computed anew")
