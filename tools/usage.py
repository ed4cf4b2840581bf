"""Words of a command line whose docstring says how it is called."""

import sys


def typed(usage: str | None, least: int, most: int | None = None) -> list[str]:
    """What was typed; the usage on request, and instead of a traceback if too little was."""
    given = sys.argv[1:]
    if {"-h", "--help"} & set(given):
        print(usage)
        sys.exit(0)
    if not least <= len(given) <= (len(given) if most is None else most):
        sys.exit(f"{usage}\n{len(given)} arguments were given.")
    return given
