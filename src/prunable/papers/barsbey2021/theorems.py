"""Theorems 3 and 4, ergodic weights, and proposition 8 with the laws that contradict it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from prunable.experiments.reproduce import document
from prunable.experiments.reproduce.checks import exceeds, undecided
from prunable.experiments.reproduce.frame import Found, Frame, Result
from prunable.experiments.reproduce.items import Gather, Item
from prunable.experiments.reproduce.plans import Plan
from prunable.experiments.reproduce.tables import series
from prunable.papers.barsbey2021.settings import PAPER
from prunable.papers.barsbey2021.specs import CompressionSpec, MixtureSpec
from prunable.runs.spec import Spec

LAWS = {
    "independent": "independent weights",
    "columns": "independent columns",
    "autoregressive": "ergodic sequence",
    "layer": "one vector",
}
WHAT = {"weights": "weights", "singular": "singular values", "nodes": "columns"}
UNITS = {"weights": "d, weights", "singular": "h, side of the matrix", "nodes": "h, columns"}


@dataclass(frozen=True)
class Study:
    """Random layers that grow.

    what, laws : See `CompressionSpec`; of `controls` no theorem speaks, their errors do not fall.
    sizes : At the scales laptop and paper, and at smoke.
    """

    what: str
    laws: tuple[str, ...]
    controls: tuple[str, ...]
    sizes: tuple[int, ...]
    small: tuple[int, ...]
    alphas: tuple[float, ...] = (1.5, 1.9)
    kappa: float = 0.2
    draws: int = 40

    def runs(self, scale: document.Scale) -> Iterator[tuple[str, Spec]]:
        """By keys such as "columns, independent, 1.9/400"."""
        sizes, draws = (self.small, 4) if scale == "smoke" else (self.sizes, self.draws)
        # the first theorem's inequality holds for p above alpha/2, and its proof takes p = 1
        p = 1.0 if self.what == "singular" else 2.0
        for law in (*self.laws, *self.controls):
            for alpha in self.alphas:
                for size in sizes:
                    own = {"alpha": alpha, "size": size, "kappa": self.kappa, "p": p}
                    spec = CompressionSpec.create(what=self.what, law=law, draws=draws, **own)
                    yield f"{self.what}, {law}, {alpha:g}/{size}", spec

    def frames(self, found: Found, law: str, alpha: float, metric: str) -> dict[int, Frame]:
        """Errors of every size, one a draw."""
        rows = found.of(f"{self.what}, {law}, {alpha:g}", metric).group("seed")
        return {int(size): rows[size] for size in sorted(rows, key=int)}

    def panel(self, found: Found) -> document.Panel:
        """Mean errors by size."""
        shown = [
            series(
                f"{LAWS[law]}, alpha = {alpha:g}",
                self.frames(found, law, alpha, "errors").items(),
                style="line+points",
            )
            for law in (*self.laws, *self.controls)
            for alpha in self.alphas
        ]
        title = f"{WHAT[self.what].capitalize()}, kappa = {self.kappa:g}"
        axes = (title, UNITS[self.what], "relative error, ± 1 standard deviation")
        return document.Panel(*axes, tuple(shown), x_log=True)

    def checks(self, found: Found) -> Iterator[document.Check]:
        """Whether errors fall where the theorem says so, and only there."""
        for law in self.laws:
            for alpha in self.alphas:
                case = f"{WHAT[self.what]} of {LAWS[law]}, alpha = {alpha:g}"
                yield _falls(
                    f"Errors of pruning fall as the layer grows: {case}",
                    self.frames(found, law, alpha, "errors"),
                )
                if self.what == "singular":
                    yield _falls(
                        f"So do those of the eigenvalues of W^T W (p = 1): {case}",
                        self.frames(found, law, alpha, "eigenvalue_errors"),
                    )
        for law in self.controls:
            for alpha in self.alphas:
                found_errors = self.frames(found, law, alpha, "errors")
                case = f"{WHAT[self.what]} of {LAWS[law]}, alpha = {alpha:g}"
                yield _stays(f"Errors do not fall: {case}", found_errors)


def _means(errors: Mapping[int, Frame]) -> str:
    return ", ".join(
        f"{size}: {frame.mean:.3f} ± {frame.std or 0.0:.3f}" for size, frame in errors.items()
    )


def _falls(statement: str, errors: Mapping[int, Frame]) -> document.Check:
    """The claim that the mean error of the largest layer is below that of the smallest."""
    if len(errors) < 2:
        return undecided(statement)
    first, *_, last = errors.values()
    return exceeds(statement, [(first, last)], _means(errors))


def _stays(statement: str, errors: Mapping[int, Frame]) -> document.Check:
    """The claim that the mean error does not change by a tenth; not the paper's own."""
    if len(errors) < 2:
        return undecided(statement).aside()
    first, *_, last = (frame.mean or 0.0 for frame in errors.values())
    return document.Check(statement, last > 0.9 * first, _means(errors)).aside()


def every_draw(spec: Spec, result: Result) -> Iterator[tuple[str, float]]:
    """Each draw's numbers, one row each."""
    del spec
    for name in ("errors", "eigenvalue_errors", "kappas"):
        yield from ((name, value) for value in result.get(name, ()))
    for name in ("limit_error", "limit_kappa"):
        if name in result:
            yield name, result[name]


def _plan(studies: Sequence[Study], scale: document.Scale, convention: document.Convention) -> Plan:
    runs = dict(pair for study in studies for pair in study.runs(scale))
    draws = {
        f"draws, {WHAT[study.what]}": 4 if scale == "smoke" else study.draws for study in studies
    }
    return Plan(scale, convention, runs, {"kappa": studies[0].kappa, **draws})


def _item(name: str, label: str, title: str, claim: str, studies: tuple[Study, ...]) -> Item:
    def panels(found: Found) -> Iterable[document.Panel]:
        return [study.panel(found) for study in studies]

    def claims(found: Found) -> Iterable[document.Check]:
        return [check for study in studies for check in study.checks(found)]

    plan: Callable[[document.Scale, document.Convention], Plan] = partial(_plan, studies)
    gather = Gather((), (panels,), (claims,), measure=every_draw)
    return Item(f"{PAPER}-{name}", PAPER, "figure", label, title, claim, plan, gather)


# --- proposition 8 -----------------------------------------------------------------------------

LIGHT, HEAVY = "Pareto", "flat body, Pareto tail"
STABLE = ((1.9, "stable, alpha = 1.9"), (1.2, "stable, alpha = 1.2"))


def _plan_order(scale: document.Scale, convention: document.Convention) -> Plan:
    size, draws = (2_000, 4) if scale == "smoke" else (1_000_000, 20)
    own: dict[str, Any] = {"size": size, "draws": draws}
    runs: dict[str, Spec] = {
        LIGHT: MixtureSpec.create(alpha=1.9, **own),
        HEAVY: MixtureSpec.create(alpha=1.2, share=1e-3, **own),
    }
    for alpha, name in STABLE:
        runs[name] = CompressionSpec.create(alpha=alpha, kappa=0.5, p=1.0, **own)
    settings = {"p": 1, "kappa": 0.5, "eps": 0.1, "numbers": size, "vectors": draws}
    return Plan(scale, convention, {f"{key}/0": spec for key, spec in runs.items()}, settings)


def _table_order(found: Found) -> document.Table:
    columns = (
        document.Column("law", "Law of the weights"),
        document.Column("alpha", "Tail index", digits=1),
        document.Column("limit_error", "Error at kappa = 0.5, limit"),
        document.Column("errors", "Error at kappa = 0.5, drawn"),
        document.Column("limit_kappa", "kappa_1(0.1), limit"),
        document.Column("kappas", "kappa_1(0.1), drawn"),
    )
    rows = []
    for key, spec in found.plan.runs.items():
        assert isinstance(spec, MixtureSpec | CompressionSpec)
        condition = key.rpartition("/")[0]
        cells = [document.Cell(condition), document.Cell(spec.alpha)]
        for column in columns[2:]:
            frame = found.of(condition, column.key)
            cells.append(document.Cell(frame.mean, frame.std, runs=frame.runs))
        rows.append(tuple(cells))
    return document.Table("Weights of two tail indices, p = 1", columns, tuple(rows))


def _claims_order(found: Found) -> Iterator[document.Check]:
    for metric, limit, statement in (
        ("errors", "limit_error", "The heavier tail has the smaller error at kappa = 0.5 (D.2)"),
        ("kappas", "limit_kappa", "The heavier tail needs the smaller share at error 0.1 (D.3)"),
    ):
        light, heavy = found.of(LIGHT, metric), found.of(HEAVY, metric)
        ends = [found.of(name, limit).mean for name in (LIGHT, HEAVY)]
        said = "limits unknown"
        if ends[0] is not None and ends[1] is not None:
            said = (
                f"tail index 1.9: {ends[0]:.3f}, tail index 1.2: {ends[1]:.3f} in the limit; drawn "
                f"{light.mean or 0.0:.4f} and {heavy.mean or 0.0:.4f}"
            )
        yield exceeds(statement, [(light, heavy)], said)
    (_, light_law), (_, heavy_law) = STABLE
    light, heavy = (found.of(name, "errors") for name in (light_law, heavy_law))
    yield exceeds(
        "Of symmetric stable laws the heavier tail has the smaller error (kappa = 0.5)",
        [(light, heavy)],
        f"alpha 1.9: {light.mean or 0.0:.4f}, alpha 1.2: {heavy.mean or 0.0:.4f}",
    ).aside()


ITEMS = (
    _item(
        "thm3",
        "Theorem 3",
        "Errors of pruning singular values of random matrices that grow",
        "Singular values of independent stable weights can be pruned at any share once the layer "
        "is wide enough.",
        (Study("singular", ("independent",), (), (50, 100, 200, 400), (10, 20), draws=80),),
    ),
    _item(
        "thm4",
        "Theorem 4",
        "Errors of pruning columns of random matrices that grow",
        "Whole columns can be pruned once there are enough of them, also where the weights of a "
        "column depend on each other.",
        (
            Study(
                "nodes",
                ("independent", "columns"),
                ("layer",),
                (100, 400, 1_600, 6_400),
                (20, 40),
                draws=120,
            ),
        ),
    ),
    _item(
        "ergodic",
        "Section 3.3",
        "Errors of pruning weights and columns that depend on their neighbours",
        "Stationary and ergodic weights are enough for theorems 2 to 4; weights that all share one "
        "scale are not ergodic.",
        (
            Study(
                "weights",
                ("independent", "autoregressive"),
                ("layer",),
                (1_000, 10_000, 100_000, 1_000_000),
                (100, 1_000),
            ),
            Study("nodes", ("autoregressive",), (), (100, 400, 1_600, 6_400), (20, 40), draws=120),
        ),
    ),
    Item(
        f"{PAPER}-prop8",
        PAPER,
        "table",
        "Proposition 8",
        "Compressibility of two laws, the heavier-tailed of which compresses worse",
        "For p below both tail indices heavier-tailed weights compress better, whatever their "
        "laws.",
        _plan_order,
        Gather((_table_order,), (), (_claims_order,), measure=every_draw),
    ),
)
