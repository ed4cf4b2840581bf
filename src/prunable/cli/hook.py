"""`prunable-hook`: `prunable measure` of each of several files, for pre-commit."""

import sys
from pathlib import Path

from prunable.cli.app import app


def main() -> None:
    """Measure each file among the arguments with the options before them; fail if one fails."""
    words = sys.argv[1:]
    first = next((at for at in range(len(words)) if _all_files(words[at:])), len(words))
    worst = 0
    for model in words[first:]:
        try:
            app(["measure", model, *words[:first], "--quiet"], prog_name="prunable")
        except SystemExit as done:
            worst = max(worst, int(done.code or 0))
    sys.exit(worst)


def _all_files(words: list[str]) -> bool:
    return all(Path(word).exists() for word in words)
