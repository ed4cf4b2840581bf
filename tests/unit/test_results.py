"""The family of results: documents, frames and notebook tables."""

import builtins
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
import torch

from prunable.errors import InputError
from prunable.results import SHOWN, Result, as_plain


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True)
class Inner(Result):
    share: float


@dataclass(frozen=True)
class Outer(Result):
    name: str
    inner: Inner
    values: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Tabular(Result):
    n: int

    def _rows(self):
        return [{"layer": f"<b>{i}", "kappa": i / 7} for i in range(self.n)]


def test_plain_values():
    assert as_plain({1: (Colour.RED, Path("a/b")), "t": torch.tensor([1.5])}) == {
        "1": ["red", "a/b"],
        "t": [1.5],
    }
    assert as_plain(np.float32(0.5)) == 0.5


def test_a_result_is_its_fields():
    assert Outer("net", Inner(0.25), np.arange(2)).to_dict() == {
        "name": "net",
        "inner": {"share": 0.25},
        "values": [0, 1],
    }


def test_the_frame_has_the_rows():
    frame = Tabular(3).to_pandas()
    assert list(frame.columns) == ["layer", "kappa"]
    assert frame["kappa"].tolist() == [0, 1 / 7, 2 / 7]
    assert Inner(0.25).to_pandas()["share"].tolist() == [0.25]


def test_a_frame_without_pandas_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def absent(name, *rest, **more):
        if name == "pandas":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(InputError, match=r"prunable\[pandas\]"):
        Tabular(1).to_pandas()


def test_a_notebook_sees_escaped_rows_and_how_many_are_left_out():
    shown = Tabular(SHOWN + 5)._repr_html_()
    assert shown.count("<tr>") == SHOWN + 1
    assert "&lt;b&gt;0" in shown
    assert "<b>" not in shown
    assert "5 more rows" in shown
    assert "more rows" not in Tabular(2)._repr_html_()
