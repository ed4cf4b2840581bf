"""Read mutants of every format: python -m tests.fuzz COUNT [--seed S] [--jobs J] [--only FORMAT].

Exit status 1 if one ended otherwise than as success or in the package's words.
"""

import argparse
import subprocess
import sys
from collections import Counter
from time import monotonic

from tests.fuzz.formats import FORMATS
from tests.fuzz.running import Outcome, run

from prunable.report.tables import printable

SHOWN = 40


def say(text: str) -> None:
    """Print, whatever a mutant put into the text."""
    sys.stdout.write(printable(text, keep="\n") + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run the mutants that fall to this process, or divide them among several."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", action="append", choices=FORMATS)
    parser.add_argument("--first", type=int, default=0)
    asked = parser.parse_args()
    names, started, total = asked.only or list(FORMATS), monotonic(), Outcome()
    each = -(-asked.count // len(names))
    if asked.jobs > 1:
        return _divided(asked, each * len(names))
    for name in names:
        done = run(name, each, asked.seed, asked.first)
        total.counts.update(done.counts)
        total.findings += done.findings
        say(f"{name}: {dict(done.counts)}")
    for finding in total.findings[:SHOWN]:
        say("\n  ".join(finding.values()))
    kinds = Counter(f"{f['format']}: {f['what']}" for f in total.findings)
    n, spent = sum(total.counts.values()), monotonic() - started
    say(f"{n} mutants, {dict(total.counts)}; {spent:.0f} s; findings: {dict(kinds) or 'none'}")
    return 1 if total.findings else 0


def _divided(asked: argparse.Namespace, count: int) -> int:
    each = -(-count // asked.jobs)
    own = [sys.executable, "-m", "tests.fuzz", str(each), "--seed", str(asked.seed)]
    own += [word for name in asked.only or () for word in ("--only", name)]
    running = [subprocess.Popen([*own, "--first", str(job * each)]) for job in range(asked.jobs)]
    return max(process.wait() for process in running)


if __name__ == "__main__":
    sys.exit(main())
