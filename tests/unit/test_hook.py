"""The pre-commit hook: options first, then every file that changed."""

import pytest
import torch
from safetensors.torch import save_file

from prunable.cli.hook import main


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "base"):
        save_file({"w": torch.eye(60)}, f"{name}.safetensors")


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["a.safetensors", "b.safetensors"], 0),
        (["--fail-if", "kept>0.9", "a.safetensors", "b.safetensors"], 0),
        (["--fail-if", "kept>0.001", "a.safetensors", "b.safetensors"], 1),
        # a file that is the value of an option is not one of those that changed
        (["--against", "base.safetensors", "a.safetensors"], 0),
        (["--eps=0.1", "a.safetensors"], 0),
        (["a.safetensors", "gone.safetensors"], 2),
    ],
)
def test_status_is_that_of_the_worst_file(monkeypatch, capsys, words, status):
    monkeypatch.setattr("sys.argv", ["prunable-hook", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == status, capsys.readouterr()
