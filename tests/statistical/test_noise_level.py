"""The printed pruned shares of type III against the law of initial weights plus noise.

150 networks a row. At the fitted level all six rows together have a chance of about 0.99, at the
printed one below 1e-7: neither bound is near, so a false alarm is as improbable.
"""

import numpy as np

from prunable.experiments.reproduce.frame import Found
from prunable.experiments.reproduce.plans import Plan
from prunable.papers.wan2023 import noise_level, settings
from prunable.runs.execution import execute
from prunable.runs.store import Store


def test_the_printed_level_is_excluded_and_the_fitted_one_is_not(tmp_path):
    runs = {
        key: spec.model_copy(update={"draws": 150})
        for key, spec in noise_level.law_runs("type3", "laptop").items()
        if "10000" not in key
    }
    results = {key: execute(spec, Store(tmp_path)) for key, spec in runs.items()}
    found = Found(Plan("laptop", "paper", runs), results)
    tables = [13, 14]
    fitted = noise_level.chance(found, "type3", settings.ECG_FITTED_SIGMA["type3"], tables)
    printed = noise_level.chance(found, "type3", settings.ECG_PRINTED_SIGMA["type3"], tables)
    code = noise_level.chance(found, "type3", 0.5 * settings.CODE_TYPE3, tables)
    assert fitted > 0.5
    assert printed < 1e-5
    assert code < 1e-4
    # rows of one seed are independent: two tail indices share no draws
    level = settings.SIGMAS.index(0.5)
    shares = [results[f"law-2000-{alpha}"]["pruned"][level] for alpha in ("1.9", "1.75")]
    assert abs(np.corrcoef(*np.argsort(np.argsort(shares)))[0, 1]) < 5 / np.sqrt(149)
