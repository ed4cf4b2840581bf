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


@pytest.mark.parametrize("given", ["folder", "index"])
@pytest.mark.parametrize("link", ["same", "symbolic", "hard"])
def test_an_output_that_is_a_file_of_an_input_is_refused(tmp_path, given, link):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("a.safetensors", "model.safetensors.index.json", "config.json", "old.html"):
        (folder / name).write_text(name)
    read = folder if given == "folder" else folder / "model.safetensors.index.json"
    for name in ("a.safetensors", "config.json"):
        other = tmp_path / name
        if link == "symbolic":
            other.symlink_to(folder / name)
        elif link == "hard":
            os.link(folder / name, other)
        else:
            other = folder / name
        with pytest.raises(InputError, match="`--out` of `prune` is a file of the checkpoint"):
            check_places("prune", {"--out": other}, {"the checkpoint": read})
    for name in ("new.safetensors", "old.html"):
        check_places("prune", {"--out": folder / name}, {"the checkpoint": read})


def test_a_name_that_no_file_can_have_is_one_message(tmp_path):
    with pytest.raises(InputError, match="cannot write"):
        check_places("prune", {"--out": tmp_path / ("x" * 300)}, {"the checkpoint": tmp_path})
