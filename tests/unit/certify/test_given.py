"""Networks of the user's, as they are certified."""

import torch

from prunable.certify.given import read_given


def test_vectors_are_given_to_a_network_of_the_users_as_vectors(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vectornet.py").write_text(
        "from torch import nn\n\ndef build():\n    return nn.Sequential(nn.Linear(3, 4))\n"
    )
    torch.save(torch.nn.Sequential(torch.nn.Linear(3, 4)).state_dict(), "net.pt")
    given = read_given("net.pt", (1, 1, 3), "vectornet:build")
    assert given.logits(torch.zeros(5, 1, 1, 3, dtype=torch.float64)).shape == (5, 4)
