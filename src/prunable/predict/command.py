"""`prunable predict`: the risk after pruning, before training anything."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from prunable import predict
from prunable.errors import InputError
from prunable.files import check_ending, check_places, damage_named
from prunable.numerics.randomness import rng
from prunable.predict.features import command as features
from prunable.predict.linear.curves import Wanted, default_points, sweep_curve
from prunable.predict.linear.names import Method, Variable
from prunable.predict.linear.presets import P, PresetName
from prunable.predict.linear.pruning import DRAWS
from prunable.predict.tables import print_lgp
from prunable.report.terminal import AsJson, Figure, Seed, emit, progress, refuse_idle, talk

app = typer.Typer(no_args_is_help=True, help="Predict the risk after pruning from formulas.")

app.command(name="rf")(features.rf)
app.command(name="features")(features.features)


@app.command(name="lgp")
def lgp(
    context: typer.Context,
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
        PresetName | None, typer.Option(help="Panels of figures 3 and 7 of the 2020 paper.")
    ] = None,
    method: Annotated[
        Method, typer.Option(help="After which pruning to retrain.")
    ] = Method.MAGNITUDE,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Retrained risks in curves too.")
    ] = False,
    same_data: Annotated[
        bool, typer.Option("--same-data", help="Retraining on the same data in curves too.")
    ] = False,
    finite_n: Annotated[
        bool, typer.Option("--finite-n", help="Exact expectations at this n where known.")
    ] = False,
    sweep: Annotated[Variable | None, typer.Option(help="A curve instead of one setting.")] = None,
    points: Annotated[int, typer.Option(help="Of the curve.")] = 100,
    simulate: Annotated[int, typer.Option(metavar="R", help="Check against R simulations.")] = 0,
    workers: Annotated[int, typer.Option(help="Threads that simulate; 0 for all cores.")] = 0,
    recommend: Annotated[
        bool, typer.Option("--recommend", help="Add which width to train for s features.")
    ] = False,
    law: Annotated[
        bool,
        typer.Option("--law", help="Add quantiles of the learned coefficients, and who survives."),
    ] = False,
    figure: Figure = None,
    draws: Annotated[int, typer.Option(help="For what has no closed form.")] = DRAWS,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Predict dense, pruned and retrained risks of least squares on Gaussian features.

    Risks include the noise sigma^2. Without files the features are independent with variance
    1, and the coefficients are 1 / sqrt(p).

    Example: prunable predict lgp --n 300 --p 1000 --s 100 --sigma 0.5
    """
    refuse_idle(
        context,
        {
            "points": (sweep is not None or preset is not None, "--sweep or --preset"),
            "retrain": (sweep is not None or preset is not None, "--sweep or --preset"),
            "same_data": (sweep is not None or preset is not None, "--sweep or --preset"),
            "workers": (simulate > 0, "--simulate"),
            "random_eigenvectors": (spectrum is not None, "--spectrum"),
        },
    )
    check_ending(figure, "--figure", "predict lgp", ".svg")
    read = {"the spectrum": spectrum, "the signal": signal, "the covariance": covariance}
    check_places("predict lgp", {"--figure": figure}, read)
    title = "risk after pruning"
    retrain_by, same_data_by = ((method,) if asked else () for asked in (retrain, same_data))
    if preset is not None:
        if any(x is not None for x in (n, s, spectrum, signal, covariance)):
            raise InputError("`--preset` of `predict lgp` sets n, s and the problem; drop those.")
        made = predict.preset(preset, p=p or P, sigma=sigma)
        problem, n, s, title = made.problem, made.n, made.s, f"{made.name}: {made.title}"
        retrain_by = tuple(dict.fromkeys((*made.wanted.retrain_by, *retrain_by)))
        sweep = sweep or Variable.WIDTH
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
    if figure is not None and sweep is None:
        raise InputError("`--figure` of `predict lgp` draws a curve; add --sweep width.")
    if simulate == 1 or simulate < 0:
        raise InputError.parameter("--simulate", "predict lgp", "0 or at least 2", simulate)
    found = predict.lgp(
        n, s=s, problem=problem, method=method, finite_n=finite_n, draws=draws, seed=seed
    )
    document = found.to_dict()
    document["settings"] |= {"preset": preset, "seed": seed}
    if recommend:
        advice = predict.recommend(problem, n, s, retrain=retrain, rng=rng(seed, "recommend"))
        document["recommendation"] = advice.to_dict()
    if law:
        document["law"] = found.coefficients.to_dict(s) if found.risks.law.finite else None
    options: dict[str, Any] = {"seed": seed, "workers": workers or os.cpu_count() or 1}
    if sweep is not None:
        wanted = Wanted(
            retrain_by=retrain_by, same_data_by=same_data_by, finite_n=finite_n, draws=draws
        )
        places = default_points(sweep, problem, points)
        with _counted(len(places)) as advance:
            document["curve"] = sweep_curve(
                sweep, problem, n, s, places, wanted, rng=rng(seed, "sweep"), advance=advance
            ).to_dict()
        if simulate:
            options["retrain_by"] = tuple({*retrain_by, *same_data_by})
            with _counted(simulate * len(places)) as advance:
                document["simulation"] = predict.simulate_curve(
                    sweep, problem, n, s, places, simulate, advance=advance, **options
                )
    elif simulate:
        with _counted(simulate) as advance:
            risks = predict.simulate(
                problem, n, s, simulate, retrain_by=(method,), advance=advance, **options
            )[0]
        # under the names of the prediction, which tells the method elsewhere
        named = {name.removesuffix(f"_{method}"): risk for name, risk in risks.items()}
        document["simulation"] = {
            "replicas": simulate,
            "mean": {name: risk.mean for name, risk in named.items()},
            "standard_error": {name: risk.stderr for name, risk in named.items()},
        }
    if figure is not None:
        from prunable.predict.figures import curve_figure, save

        save(curve_figure(document, title), figure)
    emit(document, as_json, lambda console: print_lgp(document, console))
    if figure is not None:
        talk().print(f"the figure is {figure}")


@contextmanager
def _counted(total: int) -> Iterator[Callable[[], None]]:
    """A bar that goes one step a call."""
    done = count(1)
    with progress("predicting") as advance:
        yield lambda: advance(next(done), total, "")


def _load(path: Path | None, option: str) -> NDArray[np.float64] | None:
    """Numbers of a .npy file."""
    if path is None:
        return None
    with damage_named(f"{option}: {path}", "it holds no array of numbers: write it by numpy.save"):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        return np.array(array, dtype=np.float64)
