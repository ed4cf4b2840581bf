"""What commands show: names that fit, counts in words, spreads, progress in a pipe."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from prunable.report import terminal
from prunable.report.prune.pruned import footprint_table, pruned_table
from prunable.report.tables import Column, shortened, table

NAMES = [f"model.encoder.layers.{i}.self_attention.{leaf}.weight" for i in (1, 11) for leaf in "qk"]


@pytest.fixture(autouse=True)
def _as_loud_as_usual():
    """Commands that other tests called in this process may have been quiet."""
    terminal.take_loudness([])


def printed(found, width):
    stream = io.StringIO()
    found.print(Console(file=stream, width=width))
    return stream.getvalue()


def test_long_names_are_cut_in_the_middle_and_stay_apart():
    rows = [(name, "1,000,000", "0.5") for name in NAMES]
    found = table([Column("layer", words=True, code=True), "kept", "eps"], rows)
    text = printed(found, 50)
    lines = [line for line in text.splitlines() if "…" in line]
    assert len(lines) == len(set(lines)) == 4
    assert all(line.split()[0].endswith(("q.weight", "k.weight")) for line in lines)
    assert all(len(line) <= 50 for line in text.splitlines())
    assert all(name in printed(found, 120) for name in NAMES)
    assert all(name in found.markdown() for name in NAMES)


def test_no_number_is_cut_where_names_need_more_room_than_the_least():
    names = [f"model.layers.{i}.self_attn.{x}_proj.weight" for i in range(12) for x in "qkvo"]
    spare = [Column(title, spare=at) for at, title in ((3, "shape"), (2, "of"), (1, "eps"))]
    columns = [Column("layer", words=True, code=True), *spare, "kappa"]
    numbers = ["1024x1024", "1,048,576", "0.06626", "0.5"]
    found = table(columns, [(name, *numbers) for name in names])
    for width in (50, 60, 80):
        lines = [line for line in printed(found, width).splitlines() if "weight" in line]
        assert len(lines) == len({line.split()[0] for line in lines}) == len(names)
        assert all(rest == numbers[-len(rest) :] for _, *rest in map(str.split, lines))
        assert all(len(line) <= width for line in lines)


def test_names_that_would_become_one_are_not_cut():
    names = [f"{'a' * 40}{i}{'b' * 40}" for i in range(3)]
    found = table([Column("layer", words=True, code=True), "n"], [(name, "1") for name in names])
    assert "…" not in printed(found, 40)
    assert shortened("abcdefghij", 5) == "ab…ij"


def test_progress_is_a_line_now_and_then_where_no_terminal_is(capsys, monkeypatch):
    clock = iter([0.0, 1.0, 11.0, 12.0, 30.0])
    monkeypatch.setattr(terminal, "monotonic", lambda: next(clock))
    with terminal.progress("m.gguf") as advance:
        for done in range(4):
            advance(done, 4, f"layer.{done}")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "m.gguf takes roughly 44 seconds here",  # once, by the first step that was done
        "m.gguf layer.1: 1 of 4, 11 s",
        "m.gguf layer.3: 3 of 4, 30 s",
    ]


def test_a_slow_first_step_of_many_announces_nothing_long(capsys, monkeypatch):
    clock = iter([0.0, *(20 + 0.1 * step for step in range(60))])
    monkeypatch.setattr(terminal, "monotonic", lambda: next(clock))
    with terminal.progress("training") as advance:
        for done in range(60):
            advance(done + 1, 260)
    # twenty seconds to prepare, then ten steps a second: 46 in all, and not 87 minutes
    said = [line for line in capsys.readouterr().err.splitlines() if "takes" in line]
    assert said == ["training takes roughly 46 seconds here"]


@pytest.mark.parametrize(
    ("typed", "seconds", "said"),
    [
        ([], 29.0, ""),
        ([], 31.0, "the run takes roughly 31 seconds on one core\n"),
        ([], 7300.0, "the run takes roughly 2.0 hours on one core\n"),
        (["--json"], 7300.0, ""),
        (["-q"], 7300.0, ""),
    ],
)
def test_what_takes_long_is_announced_but_not_to_programs(capsys, typed, seconds, said):
    terminal.take_loudness(typed)
    try:
        terminal.announce(seconds, "the run")
    finally:
        terminal.take_loudness([])
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(("each", "announced"), [(1.0, False), (1.4, False), (1.6, True)])
def test_what_proves_to_take_long_is_announced_by_its_first_seconds(
    capsys, monkeypatch, each, announced
):
    clock = iter(each * step for step in range(20))
    monkeypatch.setattr(terminal, "monotonic", lambda: next(clock))
    with terminal.counted("windows", 10) as done:
        # the clock is asked before the first step, too: that ends after twice as long
        for _ in range(10):
            done()
    words = [line for line in capsys.readouterr().err.splitlines() if "roughly" in line]
    assert len(words) == announced


def test_unlike_runs_are_judged_by_their_costs(capsys, monkeypatch):
    costs = {f"long {i}": 10.0 for i in range(4)} | {f"short {i}": 0.5 for i in range(40)}
    seconds = list(costs.values())  # 60 in all, and not 44 runs of 10
    now = 0.0
    monkeypatch.setattr(terminal, "monotonic", lambda: now)
    with terminal.counted("runs", len(costs), costs) as done:
        for run_id, taken in zip(costs, seconds, strict=True):
            now += taken
            done(SimpleNamespace(run_id=run_id), {})
    said = [
        line for line in capsys.readouterr().err.splitlines() if "takes" in line or "take " in line
    ]
    assert said == ["runs take roughly 60 seconds here"]


def test_one_step_is_one_step():
    plan = {"method": "magnitude", "layers": [], "kappa": 1.0, "budget": {}}
    plan |= {"n_parameters": 2, "n_parameters_kept": 2}
    document = {"plan": plan, "n_nonzero": 2, "n_nonzero_before": 2, "skipped": [], "baked": ()}
    document |= {"recalibrated": None, "corrected": None, "shrunk": None}
    for steps, words in ((1, "for 1 step:"), (2000, "for 2,000 steps:")):
        retrained = {"steps": steps, "train_accuracy": 1.0}
        assert any(
            words in note for note in pruned_table(document | {"retrained": retrained}).notes
        )


def test_times_are_shown_with_their_spread():
    costs = dict.fromkeys(("parameters", "nonzeros", "disk_bytes", "macs", "peak_bytes"), 7)
    one = costs | {"milliseconds": {"8": {"median": 1.234, "spread": 0.056}}, "accuracy": None}
    document = {"models": {"dense": one, "pruned": one}, "machine": {"busy": False}}
    found = footprint_table(document)
    (row,) = [row for row in found.rows if row.cells[0] == "ms at batch 8"]
    assert row.cells[1:] == ("1.23 ± 0.056",) * 2
    assert "interquartile" in found.notes[0]
