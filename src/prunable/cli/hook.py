"""`prunable-hook`: `prunable measure` of each of several files, for pre-commit."""

import sys
from typing import Any

from typer import Context
from typer.main import get_command

from prunable.cli.app import app


def main() -> None:
    """Measure each file among the arguments with the options before them; fail if one fails."""
    words = sys.argv[1:]
    first = _first_model(words)
    worst = 0
    for model in words[first:]:
        try:
            app(["measure", model, *words[:first], "--quiet"], prog_name="prunable")
        except SystemExit as done:
            worst = max(worst, int(done.code or 0))
    sys.exit(worst)


def _first_model(words: list[str]) -> int:
    """Place of the first word that is neither an option nor the value of one."""
    command: Any = get_command(app)
    params = command.get_command(Context(command), "measure").params
    valued = {name for x in params if not getattr(x, "is_flag", True) for name in x.opts}
    at = 0
    while at < len(words) and words[at].startswith("-"):
        at += 2 if words[at] in valued else 1
    return min(at, len(words))
