"""The study of language models: its ways are options that have an effect, and its page."""

from pathlib import Path

from prunable.experiments.prune.effects import check_effects
from prunable.experiments.prune.specs import PruningJob


def _options(how):
    words, given = how.split(), {}
    while words:
        name = words.pop(0).removeprefix("--").replace("-", "_")
        given[name] = words.pop(0) if words and not words[0].startswith("--") else True
    return given


def test_every_way_has_an_effect_and_one_budget(tool):
    ways = tool("language_model_study").WAYS
    assert len(ways) == 3 * 8 + 4
    for how in ways.values():
        given = _options(how)
        calibrated = {} if given["method"] == "magnitude" else {"calibrate": "valid.txt"}
        job = PruningJob.create(checkpoint=Path("model"), **calibrated, **given)
        check_effects(job)
        assert job.budget.kappa in (0.5, 0.4, 0.7)


def test_the_page_has_a_row_for_each_way(tool):
    numbers = {"held_out": 30.0, "test": 25.4942}
    pruned = {"held_out": 50.0, "test": 41.5, "minutes": 3.25, "gigabytes": 2.5, "whole": 44.0}
    ways = {"dense": numbers, "surgery, 2:4": pruned}
    document = {"model": "net", "valid": "valid.txt", "windows": 128, "ways": ways}
    lines = tool("language_model_study").page(document).splitlines()
    assert any(line.endswith("calibrated with 128 windows of valid.txt.") for line in lines)
    assert lines[-2] == "| dense | 30.00 | 25.49 |  |  |  |"
    assert lines[-1] == "| surgery, 2:4 | 50.00 | 41.50 | 44.00 | 3.2 | 2.5 |"
