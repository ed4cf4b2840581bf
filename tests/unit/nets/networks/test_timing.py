"""Who else uses the cores while something is timed."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from prunable.nets.networks import timing
from prunable.nets.networks.timing import Machine, watched_machine
from prunable.nets.shrink.footprint import compare
from prunable.report.prune.pruned import footprint_table

STAT = "cpu  {} 100 200 5000 300 10 20 30 7 7\ncpu0 1 1 1 1 1 1 1 1 0 0\n"


@pytest.fixture
def clock(monkeypatch, tmp_path):
    """Four cores, of which all programs take two meanwhile and this one half of one."""
    file = tmp_path / "stat"
    file.write_text(STAT.format(1000), encoding="ascii")
    now = {"wall": 0.0, "own": 0.0}
    monkeypatch.setattr(timing, "TICKS", file)
    monkeypatch.setattr(timing, "perf_counter", lambda: now["wall"])
    monkeypatch.setattr(timing, "_own_seconds", lambda: now["own"])
    monkeypatch.setattr(timing.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(timing.os, "sysconf", lambda _: 100)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    seen = watched_machine()
    file.write_text(STAT.format(3000), encoding="ascii")  # 20 seconds of a core
    now |= {"wall": 10.0, "own": 5.0}
    return seen, file


def test_what_others_had_is_told(clock):
    assert clock[0]() == Machine(cores=4, threads=1, others=1.5)


def test_nothing_is_told_where_the_system_does_not(clock):
    seen, file = clock
    file.unlink()
    assert seen().others is None
    assert not seen().busy


@pytest.mark.parametrize(
    ("threads", "others", "busy"),
    [(1, 0.0, False), (1, 2.9, False), (1, 3.5, True), (4, 0.1, False), (4, 0.5, True)],
)
def test_a_machine_is_busy_if_our_threads_wait(threads, others, busy):
    assert Machine(4, threads, others).busy is busy


@pytest.mark.skipif(not timing.TICKS.exists(), reason="only Linux tells")
def test_a_program_that_spins_is_seen():
    spinning = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        # it, or what keeps it from running, has a core while this process sleeps
        assert watched_machine()().others > 0.5
    finally:
        spinning.kill()
        spinning.wait()


@pytest.mark.parametrize(("others", "said"), [(0.0, False), (1.5, True)])
def test_the_table_says_that_the_machine_was_busy(monkeypatch, others, said):
    monkeypatch.setattr(
        "prunable.nets.shrink.footprint.watched_machine", lambda: lambda: Machine(2, 1, others)
    )
    document = compare({"dense": nn.Linear(3, 2)}, torch.zeros(1, 3), repeats=2).to_dict()
    assert document["machine"] == {"cores": 2, "threads": 1, "others": others, "busy": said}
    notes = " ".join(footprint_table(document).notes)
    assert ("The machine was busy: other programs had 1.5 of 2 cores" in notes) is said
