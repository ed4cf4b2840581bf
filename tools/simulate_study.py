"""Run every experiment of `prunable simulate` at laptop scale and write the study's pages.

Usage: python tools/simulate_study.py docs/simulate [ROWS]

Writes `EXPERIMENT.json`, `.md` and `.svg`; about 15 minutes on two cores. Rows are kept in
ROWS (by default a temporary folder), and a killed study goes on where it stopped.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch

from prunable.experiments.simulate.simulating import ALPHAS, DynamicsSettings, run_experiment
from prunable.files import write_json, write_text
from prunable.report.simulate.dynamics import markdown, save_panels

TITLES = {
    "chaos": "Propagation of chaos",
    "euler": "Discretisation error",
    "moments": "Second moments and maxima",
    "compression": "Compressibility against size",
    "sgd-tail": "The tail of SGD on a linear regression",
}


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    out = Path(sys.argv[1])
    rows = Path(sys.argv[2] if len(sys.argv) == 3 else tempfile.mkdtemp())
    # arrays are small: a second thread waits more than it computes
    torch.set_num_threads(1)
    for name, title in TITLES.items():
        # moments have a Gaussian control, whose second moment exists
        settings = DynamicsSettings((*ALPHAS, 2.0) if name == "moments" else ALPHAS, seeds=12)
        document = run_experiment(
            name,
            settings,
            rows / name,
            on_row=lambda done, total, name=name: print(f"{name} {done}/{total}", flush=True),
        )
        write_json(out / f"{name}.json", document)
        write_text(out / f"{name}.md", markdown(document, title))
        save_panels(document, out / f"{name}.svg")


if __name__ == "__main__":
    main()
