"""Processes of this machine, from /proc."""

import time
from pathlib import Path


def _stat(pid):
    """What follows the name of a process: its state, its parent; nothing once it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return []


def descendants(pid):
    """Processes below a process."""
    stats = {int(path.name): _stat(path.name) for path in Path("/proc").glob("[0-9]*")}
    found, level = set(), {pid}
    while level:
        level = {child for child, stat in stats.items() if stat and int(stat[1]) in level} - found
        found |= level
    return found


def alive(pid):
    """Whether a process runs; a zombie waits for nobody here and does not count."""
    return (_stat(pid) or ["Z"])[0] != "Z"


def command_of(pid):
    """The command line of a process; empty once it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def wait_for(condition, seconds=60):
    """What the condition comes to once it holds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("what was waited for did not come")
