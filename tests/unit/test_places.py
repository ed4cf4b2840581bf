"""Files to write are not files to read, whatever they are called."""

import os

import pytest

from prunable.errors import InputError
from prunable.files import check_places


@pytest.mark.parametrize("link", ["same", "symbolic", "hard", "dotted"])
def test_an_output_that_is_an_input_is_refused_by_any_name(tmp_path, link):
    model = tmp_path / "model.xml"
    model.write_text("weights")
    other = tmp_path / "other.xml"
    if link == "symbolic":
        other.symlink_to(model)
    elif link == "hard":
        os.link(model, other)
    else:
        other = tmp_path / "." / "model.xml" if link == "dotted" else model
    with pytest.raises(InputError, match="`--junit` of `measure` is the checkpoint"):
        check_places("measure", {"--junit": other}, {"the checkpoint": str(model)})
    assert model.read_text() == "weights"


def test_two_outputs_in_one_place_are_refused(tmp_path):
    place = tmp_path / "new.html"
    with pytest.raises(InputError, match="`--b` of `x` is a file that is written as well"):
        check_places("x", {"--a": place, "--b": place}, {})
    check_places("x", {"--a": place, "--b": None}, {"the data": None, "more": "digits"})
