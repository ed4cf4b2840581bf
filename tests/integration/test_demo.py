"""`prunable demo` and `prunable train` as a user runs them, at a small size."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

import prunable
from prunable.cli.app import app

SMALL = ["--seeds", "2", "--width", "300", "--steps", "400", "--workers", "2"]


# A test run started in the background inherits a deaf SIGINT; a user's terminal does not.
MAIN = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from prunable.cli.app import main
main()
"""


def command(*arguments):
    return [sys.executable, "-c", MAIN, *arguments]


def run(*arguments):
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    done = run("demo", "--out", str(out), "--json", *SMALL)
    assert done.returncode == 0, done.stderr
    return out, done


def test_digits_need_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNABLE_CACHE", str(tmp_path / "empty"))
    tiny = ["--seeds", "1", "--width", "20", "--steps", "5"]
    done = run("demo", "--data", "digits", "--out", str(tmp_path / "d"), "--json", *tiny)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["dataset"]["label"] == "Digits (scikit-learn)"
    # pixels are not negative: type I noise reaches the function here
    assert not any("invisible" in finding["title"] for finding in document["findings"])


def descendants(pid):
    """Processes below `pid`, from the process table."""
    table = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            table.setdefault(int(fields[1]), []).append(int(folder.name))
    found, queue = [], [pid]
    while queue:
        children = table.get(queue.pop(), [])
        found += children
        queue += children
    return found


def test_outputs_are_all_there(uninterrupted):
    out, done = uninterrupted
    document = json.loads(done.stdout)
    assert document == json.loads((out / "results.json").read_text())
    assert [c["key"] for c in document["conditions"]] == [
        "none",
        "type1-1.9",
        "type1-1.8",
        "type1-1.75",
        "type2-1.8",
    ]
    assert all(c["n_failed"] == 0 and c["n_runs"] == 2 for c in document["conditions"])
    assert document["dataset"]["n_train"] == 500
    assert all(c["paper"] is None for c in document["conditions"])  # not the paper's size
    page = (out / "report.html").read_text()
    assert document["spec_id"] in page
    assert (out / "figures" / "overview.png").stat().st_size > 10_000
    assert (out / "table.md").read_text().count("|") > 20


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_killed_demo_finishes_with_the_same_results(uninterrupted, tmp_path, sent):
    process = subprocess.Popen(
        command("demo", "--out", str(tmp_path), *SMALL),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while len(list(tmp_path.glob("runs/evaluate-*/result.json"))) < 3:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    workers = descendants(process.pid)
    assert workers
    if sent == signal.SIGINT:  # as the terminal does: to the whole group
        os.killpg(process.pid, sent)
    else:
        process.send_signal(sent)
    _, talk = process.communicate()
    assert process.returncode == (130 if sent == signal.SIGINT else -sent)
    assert ("the same command goes on" in talk) == (sent == signal.SIGINT)
    assert "Traceback" not in talk
    assert not (tmp_path / "results.json").exists()
    while any(alive(pid) for pid in workers):
        assert time.monotonic() < deadline, "workers outlive their killed parent"
        time.sleep(0.02)
    again = run("demo", "--out", str(tmp_path), *SMALL)
    assert again.returncode == 0, again.stderr
    out, _ = uninterrupted
    for name in ("results.json", "table.md", "report.html"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes(), name
    assert not list(tmp_path.rglob("*.part"))


def alive(pid):
    """Whether a process runs; a zombie waits for nobody here and does not count."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


TRAIN = ["train", "--data", "digits", "--width", "60", "--epochs", "9", "--eta", "0.01"]
NOISE = ["--noise", "type1", "--sigma", "0.1", "--alpha"]


def test_train_command_resumes_and_repeats(tmp_path):
    out = str(tmp_path / "run")
    first = run(*TRAIN, *NOISE, "1.7", "--out", out, "--json")
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["status"] == "done"
    assert run(*TRAIN, *NOISE, "1.7", "--out", out, "--json").stdout == first.stdout
    other = run(*TRAIN, *NOISE, "1.6", "--out", out)
    assert other.returncode == 2
    assert "another folder" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        ([*TRAIN, *NOISE, "0"], "alpha"),
        ([*TRAIN, *NOISE, "2.1"], "alpha"),
        ([*TRAIN, "--noise", "type1", "--alpha", "1.8", "--sigma", "-1"], "sigma"),
        ([*TRAIN, "--until-accuracy", "0.9"], "--epochs"),
        ([*TRAIN[:2], "nowhere", *TRAIN[3:]], "nowhere"),
        (["demo", "--sigma", "-1"], "sigma"),
        (["demo", "--workers", "0"], "workers"),
    ],
)
def test_bad_options_get_one_message_and_status_2(arguments, culprit, tmp_path):
    out = tmp_path / "out"
    found = CliRunner().invoke(app, [*arguments, "--out", str(out)])
    assert found.exit_code == 2, found.output
    assert culprit in found.output
    assert "Traceback" not in found.output
    assert not out.exists()


def test_unwritable_folder_is_named(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("in the way")
    found = CliRunner().invoke(app, ["demo", "--out", str(blocker / "demo")])
    assert found.exit_code == 2
    assert str(blocker / "demo") in found.output.replace("\n", "")
    assert blocker.read_text() == "in the way"


def test_unsupported_network_is_status_4(tmp_path):
    found = CliRunner().invoke(app, [*TRAIN, "--net", "transformer", "--out", str(tmp_path / "x")])
    assert found.exit_code == 4
    assert "transformer" in found.output


def test_numerics_import_without_torch():
    code = (
        "import sys\n"
        "class NoTorch:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.partition('.')[0] == 'torch': raise ImportError(name)\n"
        "sys.meta_path.insert(0, NoTorch())\n"
        "import prunable.numerics, prunable.numerics.stable, prunable.numerics.tails\n"
        "import prunable.numerics.weights.compressibility, prunable.data.loaders\n"
        "import prunable.report.figures, prunable.report.pages, prunable.report.tables\n"
        "print('fine')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.stdout == "fine\n", done.stderr


@pytest.mark.parametrize("command_name", ["demo", "train", "data"])
def test_help_has_an_example(command_name):
    arguments = [command_name, "--help"] if command_name != "data" else ["data", "list", "--help"]
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 0
    assert "xample" in found.output


def test_version_is_the_packages():
    found = CliRunner().invoke(app, ["--version"])
    assert found.exit_code == 0
    assert found.output == f"prunable {prunable.__version__}\n"
