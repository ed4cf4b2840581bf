"""Studies go on from what is stored, of their own settings only."""

import json

import pytest

from prunable.errors import InputError


def test_a_study_goes_on_from_its_own_settings(tmp_path, tool):
    begun, place = tool("stored_study").begun, tmp_path / "study.json"
    fresh = {"windows": 8, "ways": {}}
    assert begun(place, fresh, "ways") == fresh
    stored = {"windows": 8, "ways": {"dense": 25.5}, "judged": {}}
    place.write_text(json.dumps(stored))
    assert begun(place, fresh, "ways") == stored
    with pytest.raises(InputError, match="made with windows 8, and 9 is asked for"):
        begun(place, {"windows": 9, "ways": {}}, "ways")
