"""`prunable demo` and `prunable train` as a user runs them, at a small size."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from tests.processes import alive, descendants

import prunable

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


def in_a_process(*arguments):
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    done = in_a_process("demo", "--out", str(out), "--json", *SMALL)
    assert done.returncode == 0, done.stderr
    return out, done


def test_digits_need_no_network(document_of, tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNABLE_CACHE", str(tmp_path / "empty"))
    tiny = "--seeds 1 --width 20 --steps 5"
    document = document_of("demo --data digits", tiny, "--out", tmp_path / "d")
    assert document["dataset"]["label"] == "Digits (scikit-learn)"
    # pixels are not negative: type I noise reaches the function here
    assert not any("invisible" in finding["title"] for finding in document["findings"])


def test_outputs_are_all_there(uninterrupted):
    out, done = uninterrupted
    document = json.loads(done.stdout)
    assert document == {"schema_version": 1, **json.loads((out / "results.json").read_text())}
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


def test_killed_demo_finishes_with_the_same_results(uninterrupted, tmp_path):
    """Interrupted as by a terminal, gone on with, killed, and gone on with again."""
    deadline = time.monotonic() + 600
    for sent, results in ((signal.SIGINT, 3), (signal.SIGKILL, 6)):
        process = subprocess.Popen(
            command("demo", "--out", str(tmp_path), *SMALL),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        while len(list(tmp_path.glob("runs/evaluate-*/result.json"))) < results:
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
    again = in_a_process("demo", "--out", str(tmp_path), *SMALL)
    assert again.returncode == 0, again.stderr
    out, _ = uninterrupted
    for name in ("results.json", "table.md", "report.html"):
        # but for the command that made it, which the page says
        found, wanted = (
            re.sub("<code>prunable demo .*?</code>", "", (folder / name).read_text())
            for folder in (tmp_path, out)
        )
        assert found == wanted, name
    assert not list(tmp_path.rglob("*.part"))


TRAIN = "train --data digits --width 60 --epochs 9 --eta 0.01"
NOISE = "--noise type1 --sigma 0.1 --alpha"


def test_train_command_resumes_and_repeats(run, document_of, tmp_path):
    out = tmp_path / "run"
    first = document_of(TRAIN, NOISE, "1.7 --out", out)
    assert first["status"] == "done"
    assert document_of(TRAIN, NOISE, "1.7 --out", out) == first
    other = run(TRAIN, NOISE, "1.6 --out", out)
    assert other.exit_code == 2
    assert "another folder" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        (f"{TRAIN} {NOISE} 0", "alpha"),
        (f"{TRAIN} {NOISE} 2.1", "alpha"),
        (f"{TRAIN} --noise type1 --alpha 1.8 --sigma -1", "sigma"),
        (f"{TRAIN} --until-accuracy 0.9", "--epochs"),
        (TRAIN.replace("digits", "nowhere"), "nowhere"),
        ("demo --sigma -1", "sigma"),
        ("demo --workers 0", "workers"),
    ],
)
def test_bad_options_get_one_message_and_status_2(run, arguments, culprit, tmp_path):
    out = tmp_path / "out"
    found = run(arguments, "--out", out)
    assert found.exit_code == 2, found.output
    assert culprit in found.output
    assert "Traceback" not in found.output
    assert not out.exists()


def test_unwritable_folder_is_named(run, tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("in the way")
    found = run("demo --out", blocker / "demo")
    assert found.exit_code == 2
    assert str(blocker / "demo") in found.output.replace("\n", "")
    assert blocker.read_text() == "in the way"


def test_unsupported_network_is_status_4(run, tmp_path):
    found = run(TRAIN, "--net transformer --out", tmp_path / "x")
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


@pytest.mark.parametrize("name", ["demo", "train", "data list"])
def test_help_has_an_example(run, name):
    found = run(name, "--help")
    assert found.exit_code == 0
    assert "xample" in found.output


def test_version_is_the_packages(run):
    found = run("--version")
    assert found.exit_code == 0
    assert found.output == f"prunable {prunable.__version__}\n"
