"""What the demonstration found in the schema of `results.json`; pure functions of its runs."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from prunable.experiments.prune.specs import EvaluateSpec
from prunable.experiments.reproduce.frame import Found
from prunable.experiments.reproduce.published import PublishedItem
from prunable.experiments.train.specs import TrainSpec
from prunable.papers.wan2023.claims import PRUNED, RATIO, TEST
from prunable.papers.wan2023.demo_settings import DemoSettings
from prunable.papers.wan2023.settings import EPS_GRID, KEEP_GRID
from prunable.papers.wan2023.specs import Demonstration
from prunable.runs.spec import Spec

Row = dict[str, Any]

# Suspected causes of differences from the paper, by metric; shown beside the numbers.
CAUSES = {
    "train_accuracy": (
        "the paper does not state the initial second layer; with c_i/n started as torch starts "
        "a linear layer the training accuracy agrees best"
    ),
    "test_accuracy": (
        "the demonstration tells all five classes apart, with the learning rate eta * n of the "
        "theory; the paper's task is normal against abnormal and its learning rate eta itself, "
        "and so `prunable reproduce wan2023-table1` finds 0.955"
    ),
    "pruning_ratio_squared": (
        "sigma = 0.15 is inferred, not printed (the printed 0.5 prunes 62 to 75 %); and the "
        "mean of a few draws of a heavy-tailed ratio scatters widely"
    ),
    "train_accuracy_pruned_squared": "follows from the pruning ratio and the accuracy before",
    "test_accuracy_pruned_squared": "follows from the pruning ratio and the accuracy before",
}
# Share of an input's norm that type I noise must meet to count as seen by the network.
INVISIBLE = 1e-4
# Share of the units at which networks are compared whatever the error.
EQUAL_SIZE = 0.1


def results_document(found: Found, settings: DemoSettings, labels: Mapping[str, str]) -> Row:
    """What `prunable demo` writes as `results.json`.

    Every mean is over the seeds, every standard deviation has ddof 1. It holds neither times nor
    paths, so that interrupted and uninterrupted executions write the same.

    labels : Names for people of the conditions.
    """
    printed = settings.printed()
    data = found.results_of("data")[""]
    return {
        "schema_version": 1,
        "experiment": "demo",
        "title": "Networks trained with heavy-tailed noise, measured and pruned",
        "spec_id": identity(found.plan.runs),
        "spec": {
            **_training(_evaluation(found, "none").train),
            "sigma": settings.sigma,
            "seeds": list(range(settings.n_seeds)),
            "conditions": list(labels),
            "learning_rate": settings.lr * settings.width,
        },
        "dataset": data["facts"],
        "conditions": [_condition(found, c, labels[c], printed.get(c)) for c in labels],
        "runs": [
            {
                "run_id": spec.train.run_id,
                "condition": key.partition("/")[0],
                "seed": int(key.partition("/")[2]),
                "status": found.results[key]["status"],
                "reason": found.results[key]["reason"],
                "metrics": found.results[key].get("metrics", {}),
            }
            for key, spec in found.plan.runs.items()
            if isinstance(spec, EvaluateSpec)
        ],
        "controls": [row for c in labels if (row := controls_of(found, c))],
        "differences": differences(found, printed),
        "findings": findings(found, labels),
    }


def identity(runs: Mapping[str, Spec]) -> str:
    """Identity of a whole demonstration: of the evaluations it is made of."""
    evaluations = tuple(spec for spec in runs.values() if isinstance(spec, EvaluateSpec))
    return Demonstration.create(evaluations=evaluations).run_id


def caption(found: Found) -> str:
    """What the comparison shows, in one line."""
    seeds, width = found.plan.settings["seeds"], found.plan.settings["hidden units"]
    label = next((r["facts"]["label"] for r in found.results_of("data").values()), "")
    runs = f"{seeds} run{'' if seeds == 1 else 's'}"
    return f"{label}, n = {width:,} hidden units, {runs} each: mean ± standard deviation"


def norms(found: Found, condition: str) -> tuple[np.ndarray, np.ndarray]:
    """Edges and counts of the histogram of the units' norms, over all seeds."""
    spec = _evaluation(found, condition)
    rows = [result["norm_counts"] for result in found.results_of(condition).values()]
    return np.logspace(*spec.norm_decades, spec.norm_bins + 1), np.sum(rows, axis=0)


def controls_of(found: Found, condition: str) -> Row | None:
    """A noisy condition against plain SGD pruned to the same shares; None where runs are lost."""
    control = found.of(f"{condition}-control", "test_accuracy_pruned")
    if not len(control):
        return None
    wanted = set(control.seeds)
    kept, own = (
        found.of(condition, metric).where(lambda row: row.seed in wanted)
        for metric in (RATIO, PRUNED)
    )
    return {
        "condition": condition,
        "kappa": float(np.mean([1 - share for share in kept.values])),
        "test_accuracy_pruned": _summary(own.values),
        "test_accuracy_vanilla_same_kappa": _summary(control.values),
    }


def differences(found: Found, printed: Mapping[str, PublishedItem]) -> list[Row]:
    """Every number of ours beside the paper's, with the suspected cause of the difference."""
    rows = []
    for condition, table in printed.items():
        for name, theirs in table.cells[condition.partition("-")[2] or condition].items():
            ours = found.of(condition, name)
            if ours.mean is None or theirs.mean is None:
                continue
            cause = CAUSES[name]
            if name == RATIO:
                cause += f": the median of ours is {100 * (ours.median or 0):.1f} %"
            rows.append(
                {
                    "condition": condition,
                    "metric": name,
                    "ours": ours.mean,
                    "paper": theirs.mean,
                    "difference": ours.mean - theirs.mean,
                    "cause": cause,
                }
            )
    return rows


def findings(found: Found, labels: Mapping[str, str]) -> list[Row]:
    """What the numbers say beyond the table, as titles and sentences."""
    made = (
        _invisible(found),
        _two_indices(found),
        _pruned_as_far(found),
        _equal_size(found, labels),
    )
    return [{"title": title, "text": text} for titled in made if titled for title, text in [titled]]


def _evaluation(found: Found, condition: str) -> EvaluateSpec:
    spec = found.plan.runs[f"{condition}/0"]
    assert isinstance(spec, EvaluateSpec)
    return spec


def _training(spec: TrainSpec) -> Row:
    """What all trainings share, under the names of the document."""
    own = {"noise", "alpha", "sigma", "seed", "schema_version", "lr", "dataset"}
    data = spec.dataset
    return {
        "dataset": data.name,
        "split": data.split,
        "split_seed": data.split_seed,
        "train_size": data.train_size,
        "eta": spec.lr,
        **spec.model_dump(mode="json", exclude=own),
    }


def _summary(values: tuple[float, ...]) -> Row | None:
    """Mean, standard deviation (ddof 1) and the values; None where there are none."""
    if not values:
        return None
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "std": spread, "values": list(values)}


def _condition(found: Found, condition: str, label: str, printed: PublishedItem | None) -> Row:
    done = list(found.results_of(condition).values())
    names = dict.fromkeys(name for result in done for name in result["metrics"])
    train = _evaluation(found, condition).train
    curves: Row = {"eps": list(EPS_GRID), "keep": list(KEEP_GRID)}
    for curve in ("kappa", "test_accuracy"):
        rows = np.array([result[curve] for result in done])
        for name, reduce in (("mean", np.mean), ("min", np.min), ("max", np.max)):
            curves[f"{curve}_{name}"] = reduce(rows, axis=0).tolist() if done else []
    edges, counts = norms(found, condition)
    seeds = sum(key.startswith(f"{condition}/") for key in found.plan.runs)
    return {
        "key": condition,
        "label": label,
        "noise": train.noise,
        "alpha": train.alpha,
        "sigma": train.sigma,
        "n_runs": seeds,
        "n_failed": seeds - len(done),
        "summary": {name: _summary(found.of(condition, name).values) for name in names},
        "paper": _published(condition, printed),
        "curves": curves,
        "norm_histogram": {"edges": edges.tolist(), "counts": counts.tolist() if done else []},
    }


def _published(condition: str, printed: PublishedItem | None) -> Row | None:
    if printed is None:
        return None
    cells = printed.cells[condition.partition("-")[2] or condition]
    return {
        "source": f"Wan et al. 2023, Table {printed.stated['table']}",
        "values": {name: cell._asdict() for name, cell in cells.items()},
    }


def _type1(found: Found, metric: str) -> Iterator[tuple[str, str, float]]:
    """Condition, seed and number of every network with type I noise."""
    for row in found.frame.select(metric=metric).rows:
        if row.condition.startswith("type1") and not row.condition.endswith("-control"):
            yield row.condition, row.seed, row.value


def _invisible(found: Found) -> tuple[str, str] | None:
    plain = found.of("none", TEST).by_seed
    shifts = [abs(v - plain[seed]) for _, seed, v in _type1(found, TEST) if seed in plain]
    data = found.results_of("data").get("")
    if not shifts or data is None or data["visible"] >= INVISIBLE:
        return None
    return (
        "Type I noise is invisible to a network on z-normalised series",
        "Type I noise adds one number Z to all incoming weights of a unit, which moves "
        "its pre-activation by Z times the sum of the input. Every series of "
        f"{data['facts']['label']} has mean zero: the share of an input's norm along the all-ones "
        f"direction is at most {data['visible']:.1e}. So the noise changes the norms of the "
        "columns and with them what is pruned, while test accuracy before pruning differs "
        "from the run without noise and with the same seed by at most "
        f"{100 * max(shifts):.2f} points. The paper's own Tables 1 and 2 show the same "
        "pattern: accuracy before pruning hardly depends on alpha.",
    )


def _two_indices(found: Found) -> tuple[str, str] | None:
    scalar, vector = (
        [value for _, _, value in _type1(found, name)]
        for name in ("alpha_log_moment", "alpha_log_moment_vectors")
    )
    if not scalar or not vector:
        return None
    return (
        "A tail index of single weights misreads dependent weights",
        "With type I noise the weights of one unit share their noise. An estimator that "
        "takes single weights for independent finds an alpha of "
        f"{min(scalar):.2f} to {max(scalar):.2f}, because sums of equal numbers grow like "
        "those of a law with alpha = 1; taking the units as vectors it finds "
        f"{min(vector):.2f} to {max(vector):.2f}, between the noise and the Gaussian-like "
        "initial weights it is added to.",
    )


def _pruned_as_far(found: Found) -> tuple[str, str] | None:
    gains = [
        value - control[seed]
        for condition, seed, value in _type1(found, PRUNED)
        if seed in (control := found.of(f"{condition}-control", "test_accuracy_pruned").by_seed)
    ]
    if not gains:
        return None
    mean = float(np.mean(gains))
    return (
        "Control: plain SGD pruned just as far",
        "The networks trained without noise, pruned to the same number of units as the "
        f"type I networks of the same seed, are {100 * abs(mean):.2f} points "
        f"{'less' if mean > 0 else 'more'} accurate on average (gain of the noise from "
        f"{100 * min(gains):+.2f} to {100 * max(gains):+.2f} points over {len(gains)} "
        "pairs). A pruning ratio at a fixed relative error says how unequal the columns "
        "are; accuracy at equal size says what was gained.",
    )


def _equal_size(found: Found, labels: Mapping[str, str]) -> tuple[str, str] | None:
    """What is left at a tenth of the units, whatever the error."""
    place = KEEP_GRID.index(EQUAL_SIZE)
    left = []
    for condition, label in labels.items():
        if rows := [r["test_accuracy"][place] for r in found.results_of(condition).values()]:
            left.append(f"{np.mean(rows):.3f} ({label})")
    if not left:
        return None
    return (
        "At equal size",
        f"Pruned to {100 * EQUAL_SIZE:.0f} % of the units, whatever the error, the networks "
        f"have a mean test accuracy of {', '.join(left)}. Where the noise reaches the "
        "function, the units of largest norm are those with the largest noise, and "
        "keeping them alone keeps the noise.",
    )
