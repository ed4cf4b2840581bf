"""Mutants in forked workers: each ends in time and memory, as success or in the package's words."""

import json
import mmap
import os
import resource
import signal
import tempfile
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tests.fuzz.formats import FORMATS, Format

from prunable.errors import PrunableError

SECONDS = 5  # of processor time, for one mutant
PAGE = resource.getpagesize()
MEMORY = 2**30  # bytes, beside what the reader's libraries take
PATIENCE = 60  # seconds on the clock, where a mutant waits rather than computes
LONGEST = 4000  # characters of a message


@dataclass
class Outcome:
    """How many mutants were read, or refused; and what befell the others."""

    counts: Counter[str] = field(default_factory=Counter)
    findings: list[dict[str, str]] = field(default_factory=list)


def mutant(name: str, number: int, seed: int) -> bytes:
    """Mutant of a format, the same everywhere."""
    rng = np.random.default_rng([seed, number, *name.encode()])
    chosen = FORMATS[name]
    return chosen.damage(chosen.whole(), rng)


def trial(chosen: Format, content: bytes, folder: Path) -> tuple[str, str]:
    """Read one mutant: "read", "refused", or what is wrong with how it ended, and where."""
    path = folder / chosen.name
    path.write_bytes(content)
    try:
        chosen.read(path)
    except PrunableError as error:
        message, cause = str(error), _asked_for_memory(error)
        if cause:
            return "asks for memory", f"{message}\n{cause}"
        if any(not c.isprintable() for c in message) or len(message) > LONGEST:
            return "says it badly", repr(message[:500])
        return "refused", ""
    except BaseException:  # all of it is what is looked for
        return "traceback", traceback.format_exc(limit=-8)
    return "read", ""


def _asked_for_memory(error: BaseException | None) -> str:
    while error is not None:
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            return repr(error)
        error = error.__cause__ or error.__context__
    return ""


def run(name: str, count: int, seed: int = 0, first: int = 0) -> Outcome:
    """Try `count` mutants of a format, from number `first` on; the whole file must be read."""
    done = Outcome()
    with tempfile.TemporaryDirectory() as folder:
        whole = trial(FORMATS[name], FORMATS[name].whole(), Path(folder))
        if whole[0] != "read":
            raise AssertionError(f"the whole file of {name}: {whole}")
        at = first
        while at < first + count:
            at = _worker(name, at, first + count, seed, Path(folder), done)
    return done


def _worker(name: str, at: int, end: int, seed: int, folder: Path, done: Outcome) -> int:
    """Fork a process for the mutants from `at` on; where to go on if one ended it."""
    place = mmap.mmap(-1, 8)
    place[:] = at.to_bytes(8, "little")
    log = folder.parent / f"{folder.name}.log"
    log.write_bytes(b"")
    pid = os.fork()
    if not pid:
        _work(name, at, end, seed, folder, place, log)
    _, status = os.waitpid(pid, 0)
    for line in log.read_text().splitlines():
        kind, number, where = json.loads(line)
        done.counts[kind] += 1
        if where:
            _note(done, name, number, kind, where)
    log.unlink()
    reached = int.from_bytes(place[:], "little")
    if status:
        kind = {signal.SIGPROF: "too long", signal.SIGALRM: "waits"}.get(os.WTERMSIG(status))
        done.counts["ended"] += 1
        _note(done, name, reached, kind or f"ends the process, status {status}", "")
        return reached + 1
    return end


def _note(done: Outcome, name: str, number: int, kind: str, where: str) -> None:
    done.findings.append({"format": name, "number": str(number), "what": kind, "where": where})


def _work(
    name: str, at: int, end: int, seed: int, folder: Path, place: mmap.mmap, log: Path
) -> None:
    """What a forked worker does; it never returns."""
    try:
        warnings.simplefilter("ignore")
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with log.open("a") as stream:
            for number in range(at, end):
                place[:] = number.to_bytes(8, "little")
                content = mutant(name, number, seed)  # by whatever memory that takes
                held = int(Path("/proc/self/statm").read_text().split()[0]) * PAGE
                resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, resource.RLIM_INFINITY))
                signal.setitimer(signal.ITIMER_PROF, SECONDS)
                signal.alarm(PATIENCE)
                kind, where = trial(FORMATS[name], content, folder)
                signal.setitimer(signal.ITIMER_PROF, 0)
                signal.alarm(0)
                resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
                stream.write(json.dumps([kind, number, where]) + "\n")
                stream.flush()
    except BaseException:
        traceback.print_exc()
        os._exit(3)
    os._exit(0)
