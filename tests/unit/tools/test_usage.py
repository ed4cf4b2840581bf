"""Every tool says how it is called, before it does anything."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = {
    path.stem: path
    for path in sorted((Path(__file__).parents[3] / "tools").glob("*.py"))
    if "__main__" in path.read_text(encoding="utf-8")
}


@pytest.mark.parametrize("name", TOOLS)
def test_words_are_looked_at_first(name):
    """Starting all of them takes minutes of imports; two are started below."""
    text = TOOLS[name].read_text(encoding="utf-8")
    if "argparse.ArgumentParser(description=__doc__)" in text:
        return
    start = text.partition('if __name__ == "__main__":\n')[2]
    first = re.search(r"typed\(__doc__, \d+(, \d+)?\)|if len\(sys.argv\) != 3:", start)
    assert first, start
    assert start[: first.start()].strip() in {
        "",
        "main(",
        "main(*",
        "main(Path(",
        "for name in",
    } or ("= " in start[: first.start()])
    assert f"tools/{name}.py" in text.partition("\nimport ")[0], "the docstring shows no call"


@pytest.mark.parametrize("name", ["readme", "plain_verifier"])
@pytest.mark.parametrize("given", [["--help"], []], ids=["help", "nothing"])
def test_help_is_the_usage_and_all_that_happens(name, given, tmp_path):
    done = subprocess.run(
        [sys.executable, str(TOOLS[name]), *given],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert f"tools/{name}.py" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert (done.returncode == 0) is (given == ["--help"])
    assert list(tmp_path.iterdir()) == []
