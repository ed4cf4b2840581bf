"""The tools that write the pages of simulations and of federated clients, at a small size."""

import json

from tools import federated_study, simulate_study


def test_pages_of_all_experiments(tmp_path):
    simulate_study.main(tmp_path, tmp_path / "rows", seeds=2, scale="smoke")
    for name, title in simulate_study.TITLES.items():
        assert json.loads((tmp_path / f"{name}.json").read_text())["experiment"] == name
        page = (tmp_path / f"{name}.md").read_text()
        assert page.startswith(f"# {title}\n\n![{title}]({name}.svg)")
        assert (tmp_path / f"{name}.svg").read_bytes().startswith(b"<?xml")
    page = (tmp_path / "compression.md").read_text("utf-8")
    # of 256 particles at most in a smoke run: 256^-1.75 = 6.1e-05 at alpha = 1.5
    assert "Theorem 3.1 asks for eta" in page
    assert "6.1e-05 at alpha = 1.5" in page


def test_pages_of_federated_clients(tmp_path):
    federated_study.main(tmp_path, tmp_path / "work", dataset="digits", rounds=1)
    found = json.loads((tmp_path / "digits.json").read_text())
    assert list(found["partitions"]) == ["iid", "dirichlet"]
    page = (tmp_path / "digits.md").read_text()
    assert page.count("top-k with error feedback") == 4
    # the time of runs is that of the machine's load: the page tells none
    assert "minutes" not in page
    assert (tmp_path / "digits.svg").exists()
