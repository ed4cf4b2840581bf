"""Files of weights pruned without building their network: one tensor in memory at a time.

One threshold for all layers, and LAMP, take two passes over the files, one that counts magnitudes
and one that writes; what is decided layer by layer takes one.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from uuid import uuid4

import numpy as np
import torch

from prunable.errors import InputError
from prunable.files import staged
from prunable.nets.archive import Archive, StoredTensor, open_archive
from prunable.nets.archive.folder import NOT_LISTED
from prunable.nets.archive.rewriting import Change, Shard, write_again
from prunable.nets.calibration.norms import Norms
from prunable.nets.networks.interop import masked_names
from prunable.nets.networks.roles import Part, natural_key
from prunable.nets.prune.plan import Budget, Keep
from prunable.nets.prune.pruning import check_not_emptied
from prunable.nets.prune.selecting import Weights, selected
from prunable.nets.prune.shards import Row, check_room, write_folder
from prunable.nets.prune.strategies import InputWeightedPruning, MagnitudePruning, NMPruning
from prunable.nets.prune.strategies.n_m import fits_pattern
from prunable.nets.prune.tensorwise import (
    Exactly,
    Strategy,
    around,
    counted,
    cut,
    empty_view,
    measured,
    nonzero,
    pattern_of,
    planned,
    recoded,
    settled,
)
from prunable.numerics.parallel import Spread, grouped, here, in_order
from prunable.numerics.randomness import rng
from prunable.numerics.weights.lamp import lamp_counts
from prunable.numerics.weights.magnitudes import Ordered
from prunable.numerics.weights.selection import kept_count, threshold_of

STREAMED = ("threshold", "lamp")  # how a share may be divided among layers
TOGETHER = 2**26  # weights that one task looks at, if its file has so many
# Writes a pruned tensor, or only looks where no file is given too, and says what was kept.
Prune = Callable[..., Row]
T = TypeVar("T")
R = TypeVar("R")
Job = tuple[StoredTensor, Callable[[StoredTensor], R]]


@dataclass(frozen=True)
class Streaming:
    """Pruning of an open archive of safetensors by a strategy that looks at weights alone."""

    archive: Archive
    strategy: Strategy
    budget: Budget
    only: Sequence[str] = ("*",)
    exclude: Sequence[str] = ()
    seed: int = 0
    force: bool = False
    spread: Spread = here  # where tasks are sent, which open the files themselves
    norms: Norms = field(default_factory=dict, repr=False)  # of strategies that weigh inputs

    @staticmethod
    def serves(archive: Archive, strategy: object, metadata: Mapping[str, str]) -> bool:
        """Whether weights can be pruned as they lie in the files.

        Not where some are put together from others, or the text of a file ties names to them.
        """
        plain = isinstance(strategy, NMPruning) or (
            isinstance(strategy, MagnitudePruning | InputWeightedPruning)
            and strategy.allocation in STREAMED
        )
        if not plain or archive.format != "safetensors":
            return False
        names = {tensor.name for tensor in archive.tensors}
        weights = Weights.of(_shapes(archive.tensors))
        ties = any(first in names and name not in names for name, first in metadata.items())
        return not (ties or weights.computed or weights.unknown or masked_names(names))

    def prune(
        self, out: Path | str | None, metadata: Mapping[str, str], beside: Sequence[Path] = ()
    ) -> dict[str, Any]:
        """Write a file, or a folder of shards as those of the archive; nothing if `out` is None.

        A folder goes on where a killed run stopped, and gets copies of the files `beside` the
        shards. Gives the keys of `PruningResult.to_dict`.

        Raises InputError as `prune` does, or if the disk has no room; there is no output then.
        """
        tensors = sorted(self.archive.tensors, key=lambda t: natural_key(t.name))
        weights = Weights.of(_shapes(tensors))
        chosen, skipped = selected(weights, "weight", self.only, self.exclude)
        by_name = {tensor.name: tensor for tensor in tensors}
        seen = [(by_name[name], weights.parts[name]) for name in chosen]
        self._check_norms(seen)
        work = self._by_threshold(seen) if self._is_global else self._by_layer(seen)
        shards = self._shards(tensors)
        check = self._check_rows
        target = None if out is None else Path(out)
        if target is None:
            looked = self._each([(by_name[name], prune) for name, prune in work.items()])
            rows = dict(zip(work, looked, strict=True))
            check(rows)
        elif target.suffix == ".safetensors" or is_one_file(self.archive.path):
            rows = _written_file(target, shards, metadata, work, check)
        else:
            asked: dict[str, Any] = {
                "budget": asdict(self.budget),
                "strategy": asdict(self.strategy),
            }
            asked |= {"only": list(self.only), "exclude": list(self.exclude)}
            asked["norms"] = self._digest()

            def write(
                place: Path, left: Sequence[Shard]
            ) -> Generator[tuple[int, tuple[str, dict[str, Row]]]]:
                own = [{name: work[name] for name in x.entries if name in work} for x in left]
                yield from self.spread(
                    partial(_write_shard, place.absolute()), [*zip(left, own, strict=True)]
                )

            rows = write_folder(target, shards, asked, work, write, check, beside)
        ordered = [rows[name] for name in chosen]
        rest = sum(self._each([(x, nonzero) for x in tensors if x.name not in work]))
        before = rest + sum(row.pop("before") for row in ordered)
        after = rest + sum(row.pop("after") for row in ordered)
        total, kept = (sum(row[key] for row in ordered) for key in ("n_total", "n_kept"))
        return {
            "plan": {
                "method": self._method,
                "budget": {"kind": type(self.budget).__name__.lower(), **asdict(self.budget)},
                "kappa": kept / total,
                "n_parameters": total,
                "n_parameters_kept": kept,
                "layers": ordered,
                "groups": [],
            },
            "n_parameters": sum(math.prod(tensor.shape) for tensor in tensors),
            "n_nonzero_before": before,
            "n_nonzero": after,
            "skipped": [asdict(one) for one in skipped],
            "unreached": self._unreached(chosen),
            **{"baked": [], "outputs": [], "recalibrated": None, "corrected": []},
        }

    def _shards(self, tensors: Sequence[StoredTensor]) -> list[Shard]:
        """The files without what an index places elsewhere, or leaves out."""
        files = {tensor.name: tensor.file for tensor in tensors}
        left_out = {name for name, reason in self.archive.skipped if reason == NOT_LISTED}

        def listed(name: str, file: Path) -> bool:
            return files.get(name, file) == file and (name in files or name not in left_out)

        return [
            Shard.of(file.absolute()).only(partial(listed, file=file))
            for file in dict.fromkeys(files.values())
            if file
        ]

    def _each(self, jobs: Sequence[Job[R]]) -> Iterator[R]:
        """What functions make of tensors, in order; a task looks at some of one file."""
        by_file: dict[Path, list[int]] = {}
        for place, (tensor, _) in enumerate(jobs):
            assert tensor.file is not None
            by_file.setdefault(tensor.file.absolute(), []).append(place)
        tasks, places = [], list[list[int]]()
        for file, inside in by_file.items():
            for group in grouped(inside, lambda i: math.prod(jobs[i][0].shape), TOGETHER):
                places.append(group)
                tasks.append((file, [(jobs[i][0].name, jobs[i][1]) for i in group]))
        done = self.spread(_looked, tasks)
        return in_order(pair for at, found in done for pair in zip(places[at], found, strict=True))

    @property
    def _is_global(self) -> bool:
        whole = isinstance(self.budget, Keep) and self.budget.scope == "global"
        return whole and pattern_of(self.strategy) is None

    @property
    def _method(self) -> str:
        pattern = pattern_of(self.strategy)
        numbers = "" if pattern is None else f"{pattern[0]}:{pattern[1]}"
        if isinstance(self.strategy, InputWeightedPruning):
            return f"input-weighted {numbers}".rstrip()
        return numbers or "magnitude"

    def _digest(self) -> str:
        found = hashlib.sha256()
        for name, rms in sorted(self.norms.items()):
            found.update(f"{name} {rms.shape} ".encode() + rms.tobytes())
        return found.hexdigest()

    def _unreached(self, chosen: Sequence[str]) -> list[str]:
        weighs = isinstance(self.strategy, InputWeightedPruning)
        return [name for name in chosen if weighs and name not in self.norms]

    def _check_rows(self, rows: Mapping[str, Row]) -> None:
        if not self.force:
            check_not_emptied(
                [name for name, row in rows.items() if row["n_kept"] == 0], "The budget"
            )

    def _by_layer(self, seen: Sequence[tuple[StoredTensor, Part]]) -> dict[str, Prune]:
        strategy = self.strategy
        if (pattern := pattern_of(strategy)) is not None:
            m = pattern[1]
            seen = [(tensor, part.by_expert()) for tensor, part in seen]
            # shapes alone say whether there is a layer of the pattern
            views = [empty_view(tensor, part) for tensor, part in seen]
            if not any(fits_pattern(view, m) for view in views):
                strategy.plan(views, self.budget, rng=rng(self.seed, "prune"))

        return {tensor.name: self._planned(strategy, tensor, part) for tensor, part in seen}

    def _planned(self, strategy: Strategy, tensor: StoredTensor, part: Part) -> Prune:
        how = (strategy, self.budget, self.seed)
        return partial(planned, part=part, how=how, rms=self.norms.get(tensor.name))

    def _check_norms(self, seen: Sequence[tuple[StoredTensor, Part]]) -> None:
        """Raise InputError unless sizes of inputs are of these weights, if they are needed."""
        if not isinstance(self.strategy, InputWeightedPruning):
            return
        known = [(t, p) for t, p in seen if t.name in self.norms]
        if not known:
            raise InputError(
                "`--norms` of `prune` says nothing of the weights to prune: its names "
                f"({', '.join(list(self.norms)[:2]) or 'none'}) are not theirs "
                f"({', '.join(t.name for t, _ in seen[:2])}). Write it for this network."
            )
        for tensor, part in known:
            rows, width = empty_view(tensor, part).matrix.shape
            groups, given = self.norms[tensor.name].shape
            if given != width or rows % groups:
                raise InputError(
                    f"`--norms` of `prune` has {groups} x {given} numbers for {tensor.name}, whose "
                    f"matrix is {rows} x {width}. Write it for this network."
                )

    def _by_threshold(self, seen: Sequence[tuple[StoredTensor, Part]]) -> dict[str, Prune]:
        """One threshold on all magnitudes, or one a layer by LAMP, found in passes before.

        Weights times sizes of inputs have one threshold on these; LAMP looks at weights alone.
        """
        strategy, budget = self.strategy, self.budget
        assert isinstance(strategy, MagnitudePruning | InputWeightedPruning)
        assert isinstance(budget, Keep)
        weighs = isinstance(strategy, InputWeightedPruning)
        times = self.norms if weighs and strategy.allocation == "threshold" else {}
        wide = weighs or any(tensor.dtype == "float64" for tensor, _ in seen)
        common = np.dtype(np.float64 if wide else np.float32)
        size = sum(math.prod(tensor.shape) for tensor, _ in seen)
        count = kept_count(budget.kappa, size, getattr(strategy, "rounding", "ceil"))
        coded = [tensor.codes is not None and tensor.name not in times for tensor, _ in seen]
        counting = [
            (tensor, partial(counted, part=part, dtype=common))
            for (tensor, part), is_coded in zip(seen, coded, strict=True)
            if is_coded
        ]
        counts = self._each(counting)
        known = [next(counts) if is_coded else None for is_coded in coded]

        def over(looks: Sequence[Callable[[Ordered], R]]) -> Iterator[R]:
            """Look at the magnitudes of each tensor, in order; not at files that are counted."""
            jobs = [
                (t, partial(measured, part=p, dtype=common, look=look, rms=times.get(t.name)))
                for (t, p), levels, look in zip(seen, known, looks, strict=True)
                if levels is None
            ]
            found = self._each(jobs)
            for levels, look in zip(known, looks, strict=True):
                yield next(found) if levels is None else look(levels)

        def over_all(look: Callable[[Ordered], R]) -> Iterator[R]:
            return over([look] * len(seen))

        if strategy.allocation == "threshold":
            threshold, ties = threshold_of(over_all, common, count)
            thresholds, shares = [(threshold, 0)] * len(seen), list[int]()
            # of equal magnitudes those of earlier tensors stay
            for larger, equal in over_all(partial(around, threshold=threshold)):
                thresholds[len(shares)] = (threshold, min(ties, equal))
                shares.append(larger + min(ties, equal))
                ties -= min(ties, equal)
                if not (ties or weighs):
                    break
        else:
            shares = lamp_counts(over_all, count)
            if not weighs:
                thresholds = list(over([partial(settled, dtype=common, k=k) for k in shares]))
        if isinstance(strategy, InputWeightedPruning):
            return {
                tensor.name: self._planned(replace(strategy, allocation=Exactly(k)), tensor, part)
                for (tensor, part), k in zip(seen, shares, strict=True)
            }
        work: dict[str, Prune] = {}
        for (tensor, part), levels, (threshold, ties) in zip(seen, known, thresholds, strict=True):
            how = (threshold, ties, strategy.p)
            work[tensor.name] = (
                partial(cut, part=part, how=how, dtype=common)
                if levels is None
                else partial(recoded, part=part, how=how, levels=levels)
            )
        return work


def is_one_file(path: Path | str) -> bool:
    """Whether an archive is no folder, and no index of one."""
    return Path(path).is_file() and Path(path).suffix != ".json"


def _looked(task: tuple[Path, Sequence[tuple[str, Callable[[StoredTensor], R]]]]) -> list[R]:
    """What functions make of tensors of a file, by name."""
    file, jobs = task
    with open_archive(file) as archive:
        tensors = {tensor.name: tensor for tensor in archive.tensors}
        return [job(tensors[name]) for name, job in jobs]


def _shapes(tensors: Iterable[StoredTensor]) -> dict[str, torch.Tensor]:
    """Tensors without numbers, by which is told what can be pruned."""
    return {
        t.name: torch.empty(t.shape, dtype=getattr(torch, t.dtype), device="meta") for t in tensors
    }


# writing


def _written_file(
    out: Path,
    shards: Sequence[Shard],
    metadata: Mapping[str, str],
    work: Mapping[str, Prune],
    check: Callable[[Mapping[str, Row]], None],
) -> dict[str, Row]:
    with staged(out) as place:
        check_room(place.parent, sum(shard.size for shard in shards))
        rows = _written(place, shards, metadata, work)
        check(rows)
    return rows


def _write_shard(
    place: Path, task: tuple[Shard, Mapping[str, Prune]]
) -> tuple[str, dict[str, Row]]:
    """Write a shard into a folder, under a name of its own: an attempt thought dead may go on."""
    shard, work = task
    part = place / f"{shard.path.name}.{uuid4().hex}.part"
    try:
        return part.name, _written(part, [shard], shard.metadata or {"format": "pt"}, work)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def _written(
    place: Path, shards: Sequence[Shard], metadata: Mapping[str, str], work: Mapping[str, Prune]
) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    with ExitStack() as stack:
        opened = [stack.enter_context(open_archive(shard.path)) for shard in shards]
        tensors = {
            tensor.name: tensor
            for shard, archive in zip(shards, opened, strict=True)
            for tensor in archive.tensors
            if tensor.name in shard.entries
        }

        def change(file: BinaryIO, name: str) -> None:
            rows[name] = work[name](tensors[name], file)

        names = [name for shard in shards for name in shard.entries if name in work]
        changed: dict[str, Change] = {name: partial(change, name=name) for name in names}
        write_again(place, shards, metadata, changed)
    return rows
