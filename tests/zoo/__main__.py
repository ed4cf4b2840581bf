"""Send the whole zoo through everything and write docs/zoo: zoo.json, zoo.md, zoo.svg.

Usage: python -m tests.zoo docs/zoo [--work build/zoo] [--only NAME ...] [--again]

Each network runs in a process of its own, beside it Torch-Pruning alone. What is done stays in the
working folder, so that an interrupted run goes on; --again does ours anew, of --only those named.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.zoo.architectures import ZOO
from tests.zoo.table import as_figure, as_page

from prunable.files import write_bytes, write_json, write_text

LIMIT, PEER_LIMIT = 600, 120  # seconds


def record_of(module: str, name: str, limit: int) -> dict[str, Any]:
    """What a program of this folder says of a network, or how it ended without a word."""
    command = [sys.executable, "-m", f"tests.zoo.{module}", name]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"outcome": "time-out", "why": f"more than {limit} s"}
    try:
        found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        return {"outcome": "crash", "why": f"exit status {ended.returncode}: {last[:200]}"}
    return found


def stored(path: Path, module: str, name: str, limit: int, again: bool) -> dict[str, Any]:
    """A record that lies in the working folder, or is made and put there."""
    if again or not path.exists():
        write_json(path, record_of(module, name, limit))
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def main() -> None:
    """Run what is missing, then write the three files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--work", type=Path, default=Path("build/zoo"))
    parser.add_argument("--only", nargs="+", choices=list(ZOO), default=list(ZOO), metavar="NAME")
    parser.add_argument("--again", action="store_true")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    records = []
    for name in ZOO:
        path = given.work / re.sub(r"\W+", "-", name).strip("-")
        again = given.again and name in given.only
        if name in given.only or path.with_suffix(".json").exists():
            record = stored(path.with_suffix(".json"), "trial", name, LIMIT, again)
            peer = stored(path.with_suffix(".peer.json"), "peer", name, PEER_LIMIT, False)
            records.append({"name": name} | record | {"peer": peer})
            sys.stderr.write(f"{name}: {record.get('outcome', 'done')}\n")
    given.out.mkdir(parents=True, exist_ok=True)
    write_json(given.out / "zoo.json", {"schema_version": 1, "architectures": records})
    write_text(given.out / "zoo.md", as_page(records))
    write_bytes(given.out / "zoo.svg", as_figure(records))


if __name__ == "__main__":
    main()
