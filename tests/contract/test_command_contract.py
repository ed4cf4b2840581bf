"""No command loses an option, a choice or a JSON key: what was promised is still there."""

import json

import pytest
from tests.contract.command_contract import STORED, contract


@pytest.fixture(scope="module")
def found():
    return contract()


PROMISED = json.loads(STORED.read_text())


@pytest.mark.parametrize("command", sorted(PROMISED["options"]))
def test_options_and_choices_are_kept(found, command):
    assert command in found["options"]
    now = found["options"][command]
    for flag, choices in PROMISED["options"][command].items():
        assert flag in now, flag
        assert set(choices) <= set(now[flag]), flag


@pytest.mark.parametrize("document", sorted(PROMISED["json"]))
def test_json_keys_are_kept(found, document):
    missing = set(PROMISED["json"][document]) - set(found["json"][document])
    # a specification has a schema version of its own
    assert sorted(path for path in missing if ".spec." not in path) == []
