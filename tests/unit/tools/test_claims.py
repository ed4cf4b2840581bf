"""The index of claims: whole, true to the code, and leading somewhere."""

import re
from dataclasses import replace

import pytest
from tools import claims as tool

from prunable.certify.bounds.reconstruction import REBUILT
from prunable.experiments.reproduce.registry import all_items

# What each paper numbers, read from the papers.
NUMBERED = {
    "barsbey2021": {
        "Definition": "1",
        "Hypothesis": "H1",
        "Theorem": "2 3 4 5 6 7",
        "Lemma": "1 2 3 4 5 6 7 8",
        "Proposition": "8",
        "Corollary": "1 2",
        "Figure": "1 2 3 4 5 6 7 8 9 10 11 12",
        "Table": "1 2",
        "Ergodic": "independence",
        "Appendix": "A.4 A.5",
    },
    "guha2023": {
        "Definition": "3.1 5.1 E.1",
        "Assumption": "3.1",
        "Condition": "C.1",
        "Remark": "4.1 5.1",
        "Theorem": "3.1 5.1 5.2 6.1 6.2 D.1",
        "Lemma": "4.1 4.2 4.3 4.4 5.1 B.1 B.2 B.3 C.1 C.2 C.3 C.4 D.1 D.2 D.3 E.1",
        "Algorithm": "1",
        "Figure": "1a 1b 1c 2",
        "Table": "1 2",
    },
    "chang2020": {
        "Definition": "1 2 3 4 5 6",
        "Assumption": "1 2 3 4",
        "Theorem": "1 2 3",
        "Lemma": "1 2 3 4 5 6 7 8",
        "Corollary": "1",
        "Figure": "1 2 3 4 5 6 7",
        "Denoising": "example",
    },
    "wan2023": {
        "Definition": "B.1",
        "Assumption": "1",
        "Theorem": "3.1 4.1 4.2 4.3",
        "Lemma": "A.1 A.2 A.3 B.1",
        "Figure": "1",
        "Table": " ".join(map(str, range(1, 21))),
    },
}


@pytest.mark.parametrize("paper", NUMBERED)
def test_every_numbered_statement_has_its_row(paper):
    wanted = [f"{kind} {n}" for kind, all_n in NUMBERED[paper].items() for n in all_n.split()]
    assert sorted(row.number for row in tool.claims()[paper]) == sorted(wanted)


def test_every_item_stands_for_a_statement():
    named = {i for rows in tool.claims().values() for row in rows for i in tool.several(row.items)}
    assert {item.name for item in all_items()} <= named


@pytest.mark.parametrize("paper", NUMBERED)
def test_no_row_points_nowhere(paper):
    assert [fault for row in tool.claims()[paper] for fault in tool.faults(row)] == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"code": "prunable.numerics.absent.f"}, "there is no prunable"),
        ({"code": "prunable.numerics.weights.selection.absent"}, "there is no prunable"),
        ({"tests": "tests/unit/test_files.py::test_absent"}, "there is no test"),
        ({"tests": "tests/unit/absent.py::test_x"}, "there is no test"),
        ({"tests": "tests/unit/test_files.py"}, "there is no test"),
        ({"items": ["barsbey2021-fig99"]}, "there is no item"),
        ({"code": "", "note": ""}, "needs a note"),
        ({"tests": "", "note": ""}, "needs a note"),
    ],
)
def test_a_row_that_points_nowhere_is_found(change, fault):
    sound = tool.claims()["barsbey2021"][1]
    assert tool.faults(sound) == []
    assert any(fault in found for found in tool.faults(replace(sound, **change)))


def test_what_was_rebuilt_is_marked():
    marked = {row.number.lower() for row in tool.claims()["guha2023"] if row.reconstructed}
    assert {name.lower() for name in REBUILT} <= marked


def test_the_page_is_the_one_that_the_code_generates():
    assert tool.PAGE.read_text("utf-8") == tool.page(), "run `python tools/claims.py`"


def test_links_of_the_page_lead_to_files():
    targets = re.findall(r"\]\(([^)]+)\)", tool.PAGE.read_text("utf-8"))
    assert targets
    for target in set(targets):
        assert (tool.PAGE.parent / target).exists(), target
