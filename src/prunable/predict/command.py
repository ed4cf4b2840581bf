"""`prunable predict`: the risk after pruning, before training anything."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from prunable.errors import DataIntegrityError, InputError
from prunable.predict.features import command as predict_features

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from prunable.predict.linear.simulate import Simulated

app = typer.Typer(no_args_is_help=True, help="Predict the risk after pruning from formulas.")

app.command(name="rf")(predict_features.rf)
app.command(name="features")(predict_features.features)


class Retrain(StrEnum):
    """After which pruning to retrain."""

    MAGNITUDE = "magnitude"
    HESSIAN = "hessian"
    ORACLE = "oracle"


class Sweep(StrEnum):
    """What a curve changes."""

    WIDTH = "width"
    SPARSITY = "sparsity"
    SIGMA = "sigma"
    SAMPLES = "samples"


@app.command(name="lgp")
def lgp(
    n: Annotated[int | None, typer.Option("--n", help="Samples.")] = None,
    p: Annotated[int | None, typer.Option("--p", help="Features.")] = None,
    s: Annotated[int | None, typer.Option("--s", help="Features kept.")] = None,
    sigma: Annotated[float, typer.Option("--sigma", help="Standard deviation of noise.")] = 0.0,
    spectrum: Annotated[
        Path | None, typer.Option(help=".npy file of eigenvalues; 1 by default.")
    ] = None,
    signal: Annotated[
        Path | None, typer.Option(help=".npy file of coefficients, not multiplied by sqrt(p).")
    ] = None,
    covariance: Annotated[
        Path | None, typer.Option(help=".npy file of a (p, p) covariance, for correlated features.")
    ] = None,
    random_eigenvectors: Annotated[
        bool,
        typer.Option("--random-eigenvectors", help="The eigenvectors of --spectrum lie anywhere."),
    ] = False,
    preset: Annotated[
        str | None, typer.Option(help="fig3a, fig3b, fig7a or fig7b of the 2020 paper.")
    ] = None,
    method: Annotated[
        Retrain, typer.Option(help="After which pruning to retrain.")
    ] = Retrain.MAGNITUDE,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Retrained risks in curves too.")
    ] = False,
    same_data: Annotated[
        bool, typer.Option("--same-data", help="Retraining on the same data in curves too.")
    ] = False,
    finite_n: Annotated[
        bool, typer.Option("--finite-n", help="Exact expectations at this n where known.")
    ] = False,
    sweep: Annotated[Sweep | None, typer.Option(help="A curve instead of one setting.")] = None,
    points: Annotated[int, typer.Option(help="Of the curve.")] = 100,
    simulate: Annotated[int, typer.Option(metavar="R", help="Check against R simulations.")] = 0,
    workers: Annotated[int, typer.Option(help="Threads that simulate; 0 for all cores.")] = 0,
    recommend: Annotated[
        bool, typer.Option("--recommend", help="Add which width to train for s features.")
    ] = False,
    figure: Annotated[Path | None, typer.Option(help="Draw the curve into this SVG file.")] = None,
    draws: Annotated[int, typer.Option(help="For what has no closed form.")] = 64,
    seed: Annotated[int, typer.Option(help="Of draws and simulations.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result on stdout.")] = False,
) -> None:
    """Predict dense, pruned and retrained risks of least squares on Gaussian features.

    Risks include the noise sigma^2. Without files the features are independent with variance
    1, and the coefficients are 1 / sqrt(p).

    Example: prunable predict lgp --n 300 --p 1000 --s 100 --sigma 0.5
    """
    from prunable import predict
    from prunable.numerics.randomness import rng
    from prunable.predict.linear import curves
    from prunable.predict.linear.curve import Wanted
    from prunable.predict.linear.methods import Method

    talk, after, title = Console(stderr=True), Method(method.value), "risk after pruning"
    retrain_by, same_data_by = ((after,) if asked else () for asked in (retrain, same_data))
    if preset is not None:
        if any(x is not None for x in (n, s, spectrum, signal, covariance)):
            raise InputError("`--preset` of `predict lgp` sets n, s and the problem; drop those.")
        made = predict.preset(preset, p=p or 1000, sigma=sigma)
        problem, n, s, title = made.problem, made.n, made.s, f"{made.name}: {made.title}"
        retrain_by = tuple(dict.fromkeys((*made.wanted.retrain_by, *retrain_by)))
        sweep = sweep or Sweep.WIDTH
    else:
        if n is None:
            raise InputError("`predict lgp` needs --n, the number of samples, or --preset.")
        problem = predict.problem_of(
            p,
            sigma,
            spectrum=_load(spectrum, "--spectrum"),
            signal=_load(signal, "--signal"),
            covariance=_load(covariance, "--covariance"),
            eigenvectors="random" if random_eigenvectors else "features",
        )
        s = problem.p if s is None else s
    wanted = Wanted(
        retrain_by=retrain_by, same_data_by=same_data_by, finite_n=finite_n, draws=draws
    )
    if figure is not None and sweep is None:
        raise InputError("`--figure` of `predict lgp` draws a curve; add --sweep width.")
    if simulate == 1 or simulate < 0:
        raise InputError.parameter("--simulate", "predict lgp", "0 or at least 2", simulate)
    document = predict.lgp(
        n, s=s, problem=problem, method=method.value, finite_n=finite_n, draws=draws, seed=seed
    ).to_dict()
    document["settings"] |= {"preset": preset, "seed": seed}
    if recommend:
        found = predict.recommend(problem, n, s, retrain=retrain, rng=rng(seed, "recommend"))
        document["recommendation"] = found.to_dict()
    options: dict[str, Any] = {"seed": seed, "workers": workers or os.cpu_count() or 1}
    if sweep is not None:
        variable = curves.Variable(sweep.value)
        places = curves.default_points(variable, problem, points)
        with _progress(talk, len(places)) as advance:
            document["curve"] = curves.sweep_curve(
                variable, problem, n, s, places, wanted, rng=rng(seed, "sweep"), advance=advance
            ).to_dict()
        if simulate:
            options["retrain_by"] = tuple({*wanted.retrain_by, *wanted.same_data_by})
            with _progress(talk, simulate * len(places)) as advance:
                document["simulation"] = predict.simulate_curve(
                    variable, problem, n, s, places, simulate, advance=advance, **options
                )
    elif simulate:
        with _progress(talk, simulate) as advance:
            simulated = predict.simulate(
                problem, n, s, simulate, retrain_by=(after,), advance=advance, **options
            )[0]
        document["simulation"] = _renamed(simulated, after.value, simulate)
    _show(document, title, figure, as_json=as_json)
    if figure is not None:
        talk.print(f"the figure is {figure}")


def _show(document: dict[str, Any], title: str, figure: Path | None, *, as_json: bool) -> None:
    if figure is not None:
        from prunable.predict.linear.figures import save_curve

        save_curve(document, title, figure)
    if as_json:
        typer.echo(json.dumps(document, allow_nan=False))
        return
    from prunable.predict.linear.tables import render_curve, render_risks

    (render_curve if "curve" in document else render_risks)(document, Console())


def _renamed(simulated: dict[str, Simulated], method: str, replicas: int) -> dict[str, Any]:
    """Simulated risks under the names of the prediction, which tells the method elsewhere."""
    found = {name.removesuffix(f"_{method}"): risk for name, risk in simulated.items()}
    return {
        "replicas": replicas,
        "mean": {name: risk.mean for name, risk in found.items()},
        "standard_error": {name: risk.stderr for name, risk in found.items()},
    }


@contextmanager
def _progress(talk: Console, total: int) -> Iterator[Callable[[], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=talk, transient=True) as progress:
        task = progress.add_task("predicting", total=total)
        yield lambda: progress.advance(task)


def _load(path: Path | None, option: str) -> NDArray[np.float64] | None:
    """Numbers of a .npy file."""
    import numpy as np

    if path is None:
        return None
    try:
        return np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
    except FileNotFoundError as error:
        raise InputError(f"{option}: {path} is missing; write it by numpy.save.") from error
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise DataIntegrityError(
            f"{option}: {path} holds no array of numbers ({error}); write it by numpy.save."
        ) from error
