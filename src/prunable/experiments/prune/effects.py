"""Options of `prunable prune` that do nothing unless something else is asked for."""

from collections.abc import Callable, Mapping
from shlex import quote
from typing import Any

from torch import nn

from prunable.errors import InputError
from prunable.experiments.prune.specs import PruningJob, Retraining
from prunable.extras import extra
from prunable.nets.prune.choices import DIVIDING
from prunable.nets.prune.finishing import has_statistics
from prunable.nets.prune.plan import PruningPlan

# What an option needs to have an effect, in the words of the command line, and whether it is there.
Need = tuple[str, Callable[[PruningJob], bool]]

RETRAINED: Need = ("--retrain", lambda job: job.retraining.epochs > 0)
BY_UNIT: Need = ("--method unit", lambda job: job.method == "unit")
NEEDS: Mapping[str, Need] = {
    "allocation": (
        "--scope global, and --method magnitude, wanda, obs or calibrated without --n-m",
        lambda job: job.scope == "global" and job.method in DIVIDING and job.pattern is None,
    ),
    "slope": ("--allocation atp", lambda job: job.allocation == "atp"),
    "target": BY_UNIT,
    "aggregate": BY_UNIT,
    "round_to": BY_UNIT,
    "calibrate_size": ("--calibrate", lambda job: job.calibrate is not None),
    "calibrate_length": (
        "--calibrate with a text (.txt) or tokens",
        lambda job: job.calibrates_tokens,
    ),
    "norms": (
        "--method wanda alone, --calibrate left out",
        lambda job: job.method == "wanda" and job.calibrate is None,
    ),
    "in_order": ("--calibrate", lambda job: job.calibrate is not None),
    "stream": (
        "--calibrate, and --in-order or --method calibrated",
        lambda job: job.calibrate is not None and (job.in_order or job.method == "calibrated"),
    ),
    "towards": (
        "--calibrate, and --method obs or --refit",
        lambda job: job.calibrate is not None and (job.refit or job.method == "obs"),
    ),
    "bias_correction": ("--calibrate", lambda job: job.calibrate is not None),
    **{f"retraining.{name}": RETRAINED for name in Retraining.model_fields},
    "retraining.momentum": (
        "--retrain and --optimizer sgd",
        lambda job: RETRAINED[1](job) and job.retraining.optimizer == "sgd",
    ),
    **dict.fromkeys(
        ("retraining.alpha", "retraining.sigma"),
        ("--retrain and --noise", lambda job: RETRAINED[1](job) and job.retraining.noise != "none"),
    ),
}
# What a plan says already.
PLANNED = (
    "keep",
    "eps",
    "energy",
    "target",
    "n_m",
    "method",
    "scope",
    "aggregate",
    "round_to",
    "allocation",
    "slope",
    "calibrate",
    "norms",
    "in_order",
    "stream",
    "refit",
    "towards",
    "bias_correction",
    "center",
    "only",
    "exclude",
    "force",
)
# What needs the whole network.
WHOLE = (
    "net",
    "data",
    "input_shape",
    "towards",
    "bias_correction",
    "recalibrate",
    "shrink",
    "storage",
    "onnx",
    "batch_size",
)
# What `prune --compare` looks at.
COMPARED = ("checkpoint", "out", "net", "data", "seed", "unpickle", "retraining.")


def check_effects(job: PruningJob, *, comparing: bool = False) -> None:
    """Raise InputError for an option that has no effect, or needs what is not installed.

    An option at its default counts as left out. `comparing` is for `prune --compare`.
    """
    for path, value, default in _options(job):
        if value == default:
            continue
        if comparing and not path.startswith(COMPARED):
            raise InputError(
                f"`{_flag(path)}` of `prune` has no effect with --compare. Leave it out."
            )
        if job.plan is not None and path in PLANNED:
            raise InputError(
                f"`{_flag(path)}` of `prune` has no effect with --plan, which says what is pruned. "
                "Leave it out."
            )
        if job.stream and path in WHOLE:
            raise InputError(
                f"`{_flag(path)}` of `prune` needs the whole network, of which --stream keeps one "
                "block in memory. Leave one of them out."
            )
        needs, there = NEEDS.get(path, ("", None))
        if there is not None and not there(job):
            raise InputError(
                f"`{_flag(path)}` of `prune` has no effect without {needs}. Give that, or leave it "
                "out."
            )
    for package in ("onnx", "onnxruntime") if job.onnx is not None else ():
        extra(package, "prune --onnx", "onnx")


def lost_of(
    job: PruningJob, model: nn.Module, plan: PruningPlan, constant: float | None
) -> dict[str, Any] | None:
    """What a job can be given besides, whose network is as good as naming one class always.

    None if there is no such accuracy. Gives constant; mends, options that are valid beside the
    job's others; and larger, what would keep more, None where a plan says it.
    """
    if constant is None:
        return None
    zeros = all(x.axis != "singular_value" and x.fill is None for x in plan.layers)
    options = {
        "--recalibrate 256": has_statistics(model) and not job.recalibrate,
        f"--calibrate {quote(str(job.data))}": job.plan is None and job.calibrate is None,
        "--retrain 5": zeros and not job.retraining.epochs,
    }
    larger = next((x for x in ("keep", "energy", "target") if getattr(job, x) is not None), None)
    larger = "a smaller --eps" if larger is None else f"a larger --{larger}"
    if job.pattern is not None:
        larger = "an --n-m that keeps more"
    mends = [option for option, helps in options.items() if helps]
    return {"constant": constant, "mends": mends, "larger": None if job.plan else larger}


def _options(job: PruningJob) -> list[tuple[str, Any, Any]]:
    """Paths of fields, their values and defaults."""
    own = [
        (name, getattr(job, name), "magnitude" if name == "method" else field.default)
        for name, field in PruningJob.model_fields.items()
        if name != "retraining"
    ]
    again = [
        (f"retraining.{name}", getattr(job.retraining, name), field.default)
        for name, field in Retraining.model_fields.items()
    ]
    return own + again


def _flag(path: str) -> str:
    leaf = path.rpartition(".")[2]
    return "--" + ("retrain" if leaf == "epochs" else leaf.replace("_", "-"))
