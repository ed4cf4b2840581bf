"""The study of coupled units: its one epoch of retraining, and its page."""

from pathlib import Path

import pytest
import torch
from torch import nn

from prunable.files import write_json


def _network(tool):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (1280,), generator=generator)
    pictures = torch.randn(1280, 3, 8, 8, generator=generator)
    pictures += 0.6 * (2.0 * labels - 1).view(-1, 1, 1, 1)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)
        )
    return tool("units_networks").Network("tiny", model.eval(), pictures, labels, pictures, labels)


def test_one_epoch_learns_what_the_pictures_hold_and_repeats_itself(tool):
    retrained = tool("units_retraining").retrained
    ends = []
    for _ in range(2):
        network = _network(tool)
        before = network.accuracy(network.model, 1280)
        ends.append(retrained(network, network.model, seed=3))
        assert network.accuracy(ends[-1], 1280) > max(before, 0.9)
    for first, second in zip(ends[0].parameters(), ends[1].parameters(), strict=True):
        assert torch.equal(first, second)


def test_the_page_shows_both_sides_after_retraining_and_a_dash_where_one_is_missing(
    tool, tmp_path: Path
):
    page = tool("units_page")
    gathered, means = page.gathered, page.means
    times = {"dense": 2.0, "cut": 1.0}
    for name, ours, peer in (("a", 0.8, 0.7), ("b", 0.6, 0.7)):
        cell = {"macs": 0.5, "images": 10, "accuracy": 0.5, "milliseconds": times}
        rows = {"l1": {"macs": 0.5, "images": 10, "accuracy": 0.4, "selecting": 0.4}}
        write_json(tmp_path / name / "dense.json", {"images": 10, "accuracy": 0.9})
        write_json(tmp_path / name / "ours-0.5.json", cell)
        write_json(tmp_path / name / "peer-0.5.json", {"rows": rows})
        after = {"ours": {"accuracy": ours}, "l1": {"accuracy": peer}}
        write_json(tmp_path / name / "retrained-0.5.json", after)
    both = means(gathered(tmp_path, [0.5]), 0.5)["retrained"]
    assert both == pytest.approx({"ours": 0.7, "peer": 0.7})
    write_json(tmp_path / "b" / "retrained-0.5.json", {"ours": {"accuracy": 0.6}})
    rows = gathered(tmp_path, [0.5])
    assert [row["retrained"] is None for row in rows] == [False, True]
    assert means(rows, 0.5)["retrained"] is None
