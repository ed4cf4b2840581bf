"""What follows from a measurement: where there is room, what to type next, what fails a build."""

import math
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath

from prunable.errors import check_between, nearest, require
from prunable.files import parse_json
from prunable.numerics.measure.layer import MeasuredLayer
from prunable.numerics.measure.network import Measurement, Trajectory
from prunable.numerics.measure.options import eps_key
from prunable.numerics.measure.verdict import Kind
from prunable.report.checks import Case, Condition
from prunable.report.tables import as_number, as_share

SHOWN = 3  # layers that are named
Overall = Callable[[Measurement, str], float]
# What a condition may be about: of the whole network, and of each layer.
NUMBERS: Mapping[str, Overall] = {
    "kept": lambda doc, key: doc.overall.kappa["common_eps"][key],
    "one_vector": lambda doc, key: doc.overall.kappa["global_threshold"][key],
    "threshold": lambda doc, key: doc.overall.allocation[key].global_threshold,
    "lamp": lambda doc, key: doc.overall.allocation[key].lamp,
    "best": lambda doc, key: doc.overall.allocation[key].best,
    "alpha": lambda doc, _: doc.overall.alpha_median,
}
LAYERS: Mapping[str, Callable[[MeasuredLayer, str], float]] = {
    "layer.kept": lambda layer, key: layer.kappa["weight"][key],
    "layer.alpha": lambda layer, _: layer.alpha,
    "layer.zeros": lambda layer, _: layer.zeros_share,
}


def advice(doc: Measurement) -> list[str]:
    """Sentences: layers with most room, what each rule would keep, refusals, the next command."""
    key = eps_key(doc.settings.middle_eps)
    lines = _room(doc.layers, key)
    same = doc.overall.allocation.get(key)
    if same is not None and math.isfinite(same.best):
        rules = {
            "one threshold keeps": same.global_threshold,
            "LAMP": same.lamp,
            "the best division": same.best,
            "equal errors": same.common_eps,
        }
        kept = ", ".join(
            f"{rule} {as_share(share)} %" for rule, share in rules.items() if math.isfinite(share)
        )
        lines.append(f"Under the same summed error of the layers: {kept}.")
    refused = Counter(
        layer.verdict for layer in doc.layers if layer.verdict not in (Kind.STABLE, Kind.GAUSSIAN)
    )
    if refused:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in refused.most_common())
        lines.append(
            f"Not judged stable: {refused.total():,} of {len(doc.layers):,} layers ({kinds}). The "
            "kept shares need no stable law, and hold for them too."
        )
    if same is not None and 0 < same.best < 1 and (command := next_command(doc, same.best)):
        lines.append(f"Next: {command}")
        left = "add --data NAME to see what is left of it"
        if _is_language_model(Path(doc.model)):
            out = shlex.split(command)[-1]
            left = f"prunable evaluate {shlex.quote(out)} --text FILE says what is left of it"
        lines.append(f"An error of weights is no accuracy: {left}.")
    return lines


def course_advice(doc: Trajectory) -> list[str]:
    """Sentences: shares kept at both ends, the layers that changed most, the next command."""
    if not doc.trajectory:
        return []
    begin, end = doc.trajectory[0], doc.trajectory[-1]
    keys = [key for key in doc.eps if key in begin.kappa and key in end.kappa]
    if not keys:
        return []
    key = keys[len(keys) // 2]
    lines = [
        f"At a relative error of {key} the network keeps {as_share(begin.kappa[key])} % of its "
        f"weights at step {begin.step:g} and {as_share(end.kappa[key])} % at step {end.step:g}."
    ]
    kept = {
        name: (begin.layers[name].kappa_weight.get(key), layer.kappa_weight.get(key))
        for name, layer in end.layers.items()
        if name in begin.layers
    }
    known = [(a, b, name) for name, (a, b) in kept.items() if a is not None and b is not None]
    most = sorted(known, key=lambda found: -abs(found[1] - found[0]))[:SHOWN]
    if most:
        named = ", ".join(f"{name} ({as_share(a)} to {as_share(b)} %)" for a, b, name in most)
        lines.append(f"Layers that changed most: {named}.")
    if Path(end.model).exists():
        lines.append(f"Next: prunable measure {shlex.quote(end.model)}")
    return lines


def _is_language_model(path: Path) -> bool:
    """Whether `prunable evaluate` takes a checkpoint: GGUF, or a folder whose config says so."""
    try:
        config = parse_json((path / "config.json").read_bytes()) if path.is_dir() else {}
    except (OSError, ValueError):
        return False
    kinds = config.get("architectures") if isinstance(config, dict) else None
    return path.suffix == ".gguf" or "CausalLM" in str(kinds) or "LMHead" in str(kinds)


def next_command(doc: Measurement, share: float) -> str:
    """The command that prunes to a share by the best division; empty where none writes the model.

    That is a model in memory, or ONNX. What comes of a folder, or of GGUF, is a folder.
    """
    path = PurePath(doc.model)
    if path.suffix.lower() == ".onnx" or not Path(path).exists():
        return ""
    folder = Path(path).is_dir() or path.suffix == ".gguf"
    out = path.with_name(f"{path.name}-pruned" if folder else f"{path.stem}-pruned.safetensors")
    return (
        f"prunable prune {shlex.quote(str(path))} --keep {share:.3g} --scope global "
        f"--allocation relative --out {shlex.quote(str(out))}"
    )


def failures(doc: Measurement, conditions: Sequence[Condition]) -> list[Case]:
    """Each condition with what was found; it fails where the condition holds.

    Raises InputError if a condition names no number there is, or an error that was not measured.
    """
    check_conditions(conditions, doc.settings.eps)
    return [_case(doc, condition) for condition in conditions]


def check_conditions(conditions: Sequence[Condition], eps: Sequence[float]) -> None:
    """InputError if one names no number there is, an error not measured, or a share above 1."""
    where, option = "measure", "--fail-if"
    measured = [eps_key(error) for error in eps]
    for condition in conditions:
        known, name = [*NUMBERS, *LAYERS], condition.name
        wanted, near = f"a condition on one of {', '.join(known)}", nearest(name, known).strip()
        require(name in known, option, where, wanted, name, near)
        key = measured[0] if condition.eps is None else eps_key(condition.eps)
        wanted = f"at an error that is measured ({', '.join(measured)})"
        require(key in measured, option, where, wanted, key, f"Add --eps {key}, or take another.")
        if not name.endswith("alpha"):
            check_between(condition.bound, 0, 1, option, where)


def _case(doc: Measurement, condition: Condition) -> Case:
    key = eps_key(doc.settings.middle_eps if condition.eps is None else condition.eps)
    if condition.name in NUMBERS:
        value = NUMBERS[condition.name](doc, key)
        failed = condition.holds(value)
        return Case(condition.text, f"{condition.name} at eps {key} is {value:.4g}", failed)
    found = [(LAYERS[condition.name](layer, key), layer.name) for layer in doc.layers]
    guilty = [f"{name} ({value:.4g})" for value, name in found if condition.holds(value)]
    said = f"{len(guilty):,} of {len(found):,} layers" + (
        f": {', '.join(guilty[:SHOWN])}{', ...' if len(guilty) > SHOWN else ''}" if guilty else ""
    )
    return Case(condition.text, said, bool(guilty))


def _room(layers: Sequence[MeasuredLayer], key: str) -> list[str]:
    """The layers of which most weights can go; embeddings, which pruning leaves alone, are none."""
    pruned = [layer for layer in layers if layer.kind != "embedding"]
    shares = [(layer, layer.kappa.get("weight", {}).get(key)) for layer in pruned]
    known = [(layer, kept) for layer, kept in shares if kept is not None and math.isfinite(kept)]
    most = sorted(known, key=lambda pair: -pair[0].n * (1 - pair[1]))[:SHOWN]
    named = ", ".join(
        f"{layer.name} (keeps {as_share(kept)} % of {layer.n:,})" for layer, kept in most
    )
    return [f"Most room at a relative error of {as_number(float(key))}: {named}."] if most else []
