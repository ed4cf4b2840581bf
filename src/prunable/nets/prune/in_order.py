"""Layers pruned in the order in which they run, each on what the pruned ones before it send."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from prunable.errors import DataIntegrityError, InputError
from prunable.files import Document, Size, damage_named, parsed, read_json, write_text
from prunable.nets.archive import load_tensors, save_tensors
from prunable.nets.archive.safetensors_file import metadata_of
from prunable.nets.calibration.calibrating import root_mean_squares
from prunable.nets.calibration.stages import InOrder, Stage, Stages, stages_of
from prunable.nets.networks.examples import uncached
from prunable.nets.networks.identity import Identity
from prunable.nets.networks.inputs import tensors_of
from prunable.nets.networks.views import WeightView, to_numpy
from prunable.nets.prune.layer_outputs import LayerOutput, outputs_of_plan
from prunable.nets.prune.masks import apply_plan_
from prunable.nets.prune.plan import (
    Budget,
    Keep,
    LayerPlan,
    PruningPlan,
    plan_from_json,
    plan_to_json,
)
from prunable.nets.prune.selecting import Weights
from prunable.nets.prune.strategies import Strategy
from prunable.nets.prune.strategies.calibrated import counts_of
from prunable.numerics.arrays import Lazy
from prunable.numerics.randomness import rng

JOB = "job.json"
PLAN = "plan"  # among the tensors of a stage


@dataclass(frozen=True, eq=False)
class Done:
    """What was pruned of one stage, or of all."""

    plan: PruningPlan
    outputs: tuple[LayerOutput, ...]
    unreached: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Ordered:
    """Pruning of some weights of a network, stage by stage."""

    model: nn.Module
    strategy: Strategy
    budget: Budget
    seed: int
    weights: Weights
    chosen: Sequence[str]
    check: Callable[[Sequence[str]], None]  # refuses names of layers of which nothing would stay

    def prune_(self, given: InOrder) -> Done:
        """Prune, in place; where that fails, the weights become again what they were.

        Raises InputError as `prune` does, or if the store holds another job.
        """
        before: dict[str, torch.Tensor] = {}
        found: list[Done] = []
        named = self.weights.named

        def remember(done: Done) -> None:
            before.update({name: named[name].detach().clone() for name in touched(done)})
            found.append(done)

        try:
            for _ in self.walk(given, remember):
                pass
        except BaseException:
            with torch.no_grad():
                for name, tensor in before.items():
                    named[name].copy_(tensor)
            raise
        layers = {layer.name: layer for one in found for layer in one.plan.layers}
        outputs = {output.name: output for one in found for output in one.outputs}
        plan = replace(found[0].plan, layers=tuple(layers[n] for n in self.chosen))
        return Done(
            replace(plan, budget=self.budget),
            tuple(outputs[name] for name in self.chosen if name in outputs),
            tuple(name for one in found for name in one.unreached),
        )

    def stages(self, given: InOrder) -> Stages:
        """The order in which weights are pruned."""
        only, chunk, held = self.chosen, given.chunk, given.held
        return stages_of(self.model, given.inputs, only=only, chunk=chunk, held=held)

    def walk(
        self, given: InOrder, before: Callable[[Done], None], stages: Stages | None = None
    ) -> Iterator[Done]:
        """Prune stage by stage, in place; `before` is told what is done a moment before it is."""
        stages = self.stages(given) if stages is None else stages
        store = None if given.store is None else _Store(Path(given.store), self._identity(stages))
        counts = self._counts(stages, store)
        for number, stage in enumerate(stages):
            done = None if store is None else store.load(number)
            if done is None:
                try:
                    done = self._pruned(stage, counts)
                except InputError:  # which it will be again: nothing is left to go on with
                    if given.store is not None:
                        remove_stages(given.store)
                    raise
                if store is not None:
                    store.save(number, done)
            before(done)
            apply_plan_(self.weights.named.items(), done.plan)
            yield done
            if given.on_stage is not None:
                given.on_stage(number + 1, len(stages.labels), stage.label)

    def _views(self, names: Sequence[str]) -> list[WeightView]:
        return list(self.weights.views(names, self.strategy))

    def _counts(self, stages: Stages, store: "_Store | None") -> dict[str, int] | None:
        """How many candidates each layer keeps of a share of all; None if layers share nothing."""
        if not isinstance(self.budget, Keep) or self.budget.scope == "layer":
            return None
        if store is not None and store.counts is not None:
            return store.counts
        found = self._shares(stages, self.budget)
        counts = dict(zip(self.chosen, found, strict=True))
        self.check([name for name, count in counts.items() if count == 0])
        if store is not None:
            store.keep_counts(counts)
        return counts

    def _shares(self, stages: Stages, budget: Keep) -> list[int]:
        """The numbers of a share of all layers, by what the dense network sends them."""
        rms: dict[str, NDArray[np.float64]] = {}
        views: Sequence[WeightView]
        if stages.held is None:
            with uncached(self.model):
                rms = root_mean_squares(self.model, stages.layers, stages.batches)
            views = [replace(view, rms=rms.get(view.name)) for view in self._views(self.chosen)]
        else:  # one block after the other, and then one weight
            for stage in stages:
                rms |= root_mean_squares(stage.part, stage.layers, stage.batches)
            views = Lazy(len(self.chosen), lambda i: self._read(self.chosen[i], stages, rms))
        return counts_of(self.strategy, views, budget, rng=rng(self.seed, "prune"))

    def _read(
        self, name: str, stages: Stages, rms: Mapping[str, NDArray[np.float64]]
    ) -> WeightView:
        with stages.holding(self.model.get_submodule(name.rpartition(".")[0])):
            (view,) = self._views([name])
        return replace(view, rms=rms.get(name))

    def _pruned(self, stage: Stage, counts: Mapping[str, int] | None) -> Done:
        known = stage.calibrate() if stage.layers else None
        views = self._views(stage.names)
        views = views if known is None else list(known.seen(views))
        unreached = tuple(view.name for view in views if view.gram is None)
        # of what no input reaches every input counts the same, also where a stage has nothing else
        views = [
            view if view.gram else replace(view, rms=np.ones((1, view.matrix.shape[1])))
            for view in views
        ]
        plan = self._plan(stage.label, views, counts)
        layers = tuple(map(self.weights.with_followers, map(_compact, plan.layers, views)))
        plan = replace(plan, layers=layers)
        self.check([layer.name for layer in layers if layer.n_kept == 0])
        outputs = outputs_of_plan(plan, views, self.weights.named, stage.measured_errors)
        return Done(plan, outputs, unreached)

    def _plan(
        self, label: str, views: Sequence[WeightView], counts: Mapping[str, int] | None
    ) -> PruningPlan:
        draw = rng(self.seed, "prune", label)
        if counts is None:
            return self.strategy.plan(views, self.budget, rng=draw)
        plans = []
        for view in views:
            # candidates are weights, or what the strategy's axis makes of them
            total = self.strategy.plan([view], Keep(1.0), rng=draw).layers[0].n_total
            share = Keep(counts[view.name] / total)
            plans.append(self.strategy.plan([view], share, rng=draw))
        layers = [replace(plan.layers[0], kappa_asked=None) for plan in plans]
        return replace(plans[0], layers=tuple(layers))

    def _identity(self, stages: Stages) -> str:
        """What a job is known by: how, what and with what it prunes."""
        identity = Identity(self.strategy, self.budget, self.seed, stages.labels, self.chosen)
        identity.add_network(self.model, stages.holding)
        for batch in stages.batches:
            for x in tensors_of(batch):
                identity.add(x)
        return identity.text


def touched(done: Done) -> set[str]:
    """Names of the parameters that are changed."""
    return {name for layer in done.plan.layers for name in (layer.name, *layer.followers)}


def _compact(layer: LayerPlan, view: WeightView) -> LayerPlan:
    """The plan of a layer with its values in the precision of its weights."""
    if layer.values is None:
        return layer
    return replace(layer, values=layer.values.astype(view.matrix.dtype))


def remove_stages(folder: Path | str) -> None:
    """Delete what the store of an `InOrder` wrote; the folder goes if nothing else is in it."""
    folder = Path(folder)
    if (folder / JOB).exists():
        for written in (*folder.glob("[0-9][0-9][0-9][0-9].safetensors"), folder / JOB):
            written.unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()


class _Job(Document):
    job: str
    counts: dict[str, Size] | None


class _Store:
    """A folder of the stages that are done, of one job."""

    def __init__(self, folder: Path, job: str) -> None:
        self._folder, self._job = folder, job
        self.counts: dict[str, int] | None = None
        if not (folder / JOB).exists():
            return  # made when there is something to keep
        known = read_json(folder / JOB, f"it is damaged: remove {folder} to begin again", _Job)
        if known.job != job:
            raise InputError(
                f"{folder} holds stages of another pruning: of other weights, inputs or options. "
                "Remove it, or name another folder."
            )
        self.counts = known.counts

    def keep_counts(self, counts: dict[str, int]) -> None:
        self.counts = counts
        self._write()

    def _write(self) -> None:
        write_text(self._folder / JOB, json.dumps({"job": self._job, "counts": self.counts}))

    def _path(self, number: int) -> Path:
        return _path_in(self._folder, number)

    def save(self, number: int, done: Done) -> None:
        """Write what a stage became: its plan as text, its new weights as tensors."""
        values = {
            layer.name: torch.from_numpy(np.array(layer.values))
            for layer in done.plan.layers
            if layer.values is not None
        }
        bare = tuple(replace(layer, values=None) for layer in done.plan.layers)
        plan = plan_to_json(replace(done.plan, layers=bare)).encode()
        # as numbers, for masks of many weights are more than a header may hold
        values[PLAN] = torch.frombuffer(bytearray(plan), dtype=torch.uint8)
        text = {
            "stage": self._stage(number),
            "outputs": json.dumps([asdict(output) for output in done.outputs]),
            "unreached": json.dumps(done.unreached),
        }
        if not (self._folder / JOB).exists():
            self._write()
        save_tensors(self._path(number), values, text)

    def load(self, number: int) -> Done | None:
        """Read it back; None if it is not there, or was left by another job."""
        if not self._path(number).exists():
            return None
        with stage_named(self._folder, number):
            if metadata_of(self._path(number)).get("stage") != self._stage(number):
                return None
        return read_stage(self._folder, number)

    def _stage(self, number: int) -> str:
        return f"{self._job}/{number}"


def read_stage(folder: Path | str, number: int) -> Done:
    """What a stage became, as the store of an `InOrder` has it."""
    with stage_named(folder, number):
        values, text = load_tensors(_path_in(Path(folder), number))
        plan = plan_from_json(values.pop(PLAN).numpy().tobytes().decode())
        layers = tuple(
            replace(layer, values=to_numpy(values[layer.name])) if layer.name in values else layer
            for layer in plan.layers
        )
        outputs = parsed(tuple[LayerOutput, ...], text["outputs"], finite=False)
        unreached = parsed(tuple[str, ...], text["unreached"])
        return Done(replace(plan, layers=layers), outputs, unreached)


@contextmanager
def stage_named(folder: Path | str, number: int) -> Iterator[None]:
    """Say of a stage that cannot be read what to do about it."""
    path = _path_in(Path(folder), number)
    mend = f"remove {folder} to begin again"
    try:
        with damage_named(path, mend):
            yield
    except DataIntegrityError as error:
        if mend in str(error):
            raise
        raise DataIntegrityError(f"{path} is damaged: {mend}.") from error


def _path_in(folder: Path, number: int) -> Path:
    return folder / f"{number:04d}.safetensors"
