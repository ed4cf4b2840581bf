"""Run every experiment of `prunable simulate` at laptop scale and write the study's pages.

Usage: python tools/simulate_study.py docs/simulate [ROWS]

Writes `EXPERIMENT.json`, `.md` and `.svg`; about 15 minutes on two cores. Rows are kept in
ROWS (by default a temporary folder), and a killed study goes on where it stopped.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from usage import typed

from prunable.experiments.simulate.simulating import (
    ALPHAS,
    DynamicsSettings,
    Scale,
    rows_of,
    run_experiment,
)
from prunable.experiments.simulate.specs import Experiment
from prunable.files import write_json, write_text
from prunable.report.simulate.dynamics import markdown, save_panels
from prunable.report.terminal import counted

TITLES: dict[Experiment, str] = {
    "chaos": "Propagation of chaos",
    "euler": "Discretisation error",
    "moments": "Second moments and maxima",
    "compression": "Compressibility against size",
    "sgd-tail": "The tail of SGD on a linear regression",
}


def main(out: Path, rows: Path, seeds: int = 12, scale: Scale = "laptop") -> None:
    """Do the missing rows, then write what they say."""
    for name, title in TITLES.items():
        # moments have a Gaussian control, whose second moment exists
        alphas = (*ALPHAS, 2.0) if name == "moments" else ALPHAS
        settings = DynamicsSettings(alphas, seeds, scale=scale)
        with counted(name, len(rows_of(name, settings))) as done:
            document = run_experiment(name, settings, rows / name, on_row=done)
        write_json(out / f"{name}.json", document)
        write_text(out / f"{name}.md", markdown(document, title))
        save_panels(document, out / f"{name}.svg")


if __name__ == "__main__":
    out, *rows = map(Path, typed(__doc__, 1, 2))
    main(out, rows[0] if rows else Path(tempfile.mkdtemp()))
