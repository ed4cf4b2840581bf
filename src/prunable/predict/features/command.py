"""`prunable predict rf` and `prunable predict features`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from prunable.errors import DataIntegrityError, InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Json = Annotated[bool, typer.Option("--json", help="Print the result on stdout.")]
Seed = Annotated[int, typer.Option(help="Of all draws.")]
Figure = Annotated[Path | None, typer.Option(help="Write an SVG figure of the risks here.")]


def rf(
    n: Annotated[int, typer.Option("--n", help="Training examples.")],
    p: Annotated[list[int], typer.Option("--p", help="Random features; several give a curve.")],
    s: Annotated[list[int], typer.Option("--s", help="Features kept; may be given several times.")],
    d: Annotated[int, typer.Option("--d", help="Inputs.")] = 10,
    activation: Annotated[str, typer.Option(help="relu, erf, sigmoid, tanh, sign, gelu.")] = "relu",
    link: Annotated[
        str,
        typer.Option(
            help="Target psi(beta . a): square, linear, absolute, relu, sign, tanh, cubic."
        ),
    ] = "square",
    noise: Annotated[float, typer.Option(help="Standard deviation added to targets.")] = 0.0,
    weight_scale: Annotated[
        float, typer.Option(help="Standard deviation of first-layer weights.")
    ] = 1.0,
    draws: Annotated[int, typer.Option(help="First layers to average over.")] = 10,
    simulate: Annotated[
        int, typer.Option(metavar="R", help="Check on R training sets for each first layer.")
    ] = 0,
    figure: Figure = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Predict the risk of random-features regression, dense, pruned and retrained.

    Inputs are Gaussian, targets psi(beta . a); the equivalent linear problem is exact, its use
    for nonlinear features an approximation, whose measured error is printed.

    Example: prunable predict rf --d 20 --n 100 --p 50 --p 300 --s 30 --simulate 5
    """
    from prunable.predict.features.console import print_points, print_validity
    from prunable.predict.features.random_features import (
        RandomFeatures,
        predict_random_features,
        simulate_random_features,
    )
    from prunable.predict.linear.validity import nearest_cell

    if simulate < 0:
        raise InputError.parameter("simulate", "predict rf", "at least 0", simulate)
    features = RandomFeatures(d, activation, link, noise, weight_scale)
    points: list[dict[str, Any]] = []
    facts = {"condition": 0.0, "n_floored": 0, "residual": 0.0}
    with _progress() as progress:
        task = progress.add_task("first layers", total=len(p) * draws * (2 if simulate else 1))
        for width in p:
            kept = [size for size in s if size <= width] if len(p) > 1 else s
            if not kept:
                raise InputError.parameter("p", "predict rf", f"at least s = {min(s)}", width)

            def advance(_: int) -> None:
                progress.advance(task)

            predicted = predict_random_features(
                features, n, width, kept, draws=draws, seed=seed, on_draw=advance
            )
            simulated = None
            if simulate:
                simulated = simulate_random_features(
                    features,
                    n,
                    width,
                    kept,
                    draws=draws,
                    repeats=simulate,
                    seed=seed,
                    on_draw=advance,
                )
            points += _points(predicted, simulated)
            for key in facts:
                facts[key] = max(facts[key], getattr(predicted, key))
    document: dict[str, Any] = {
        "settings": {
            "n": n,
            "p": p,
            "s": s,
            "d": d,
            "activation": activation,
            "link": link,
            "noise": noise,
            "weight_scale": weight_scale,
            "draws": draws,
            "simulate": simulate,
            "seed": seed,
        },
        "points": points,
        "fixed_point": facts,
        "validity": asdict(nearest_cell(d, n, points[-1]["width"], points[-1]["s"])),
    }
    _figure(points, figure, f"Random features, n = {n}")
    if as_json:
        typer.echo(json.dumps(document))
        return
    console = Console()
    title = f"risk, noise included; n = {n}, d = {d}, {draws} first layers"
    print_points(points, title, "simulated" if simulate else None, console)
    print_validity(document["validity"], console)


def features(
    s: Annotated[list[int], typer.Option("--s", help="Features kept; may be given several times.")],
    n: Annotated[int, typer.Option("--n", help="Training examples to predict for.")],
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE.npz]", help="Arrays X (N, p) and y (N,).")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Checkpoint of a network, in the place of FILE.")
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="With --model: layer whose outputs are the features.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="With --model: its data set.")] = None,
    net: Annotated[
        str | None, typer.Option(help="With --model: architecture, if the file does not name it.")
    ] = None,
    width: Annotated[
        list[int] | None, typer.Option(help="Use the first features only; gives a curve.")
    ] = None,
    one_against_rest: Annotated[
        bool, typer.Option("--one-against-rest", help="y holds classes: one target for each.")
    ] = False,
    center: Annotated[
        bool, typer.Option("--center", help="Subtract the means of features and targets.")
    ] = False,
    shrinkage: Annotated[
        str, typer.Option(help="Of the covariance: held-out, ledoit-wolf, none, or a share.")
    ] = "held-out",
    test_share: Annotated[float, typer.Option(help="Share of examples held out.")] = 0.3,
    simulate: Annotated[
        int, typer.Option(metavar="R", help="Training sets to measure the truth on; 0: none.")
    ] = 5,
    figure: Figure = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Predict dense, pruned and retrained risks on features of your own, and check them.

    Moments are estimated on one part of the examples; the truth is measured by training on
    subsamples of n of it and testing on the other part. Without --layer the features of a
    network are the inputs of its last linear layer, on the test examples of the data set.

    Example: prunable predict features X.npz --n 200 --s 20 --s 60 --width 100 --width 400
    """
    from prunable.predict.features.console import print_estimate, print_points
    from prunable.predict.features.feature_prediction import predict_features

    if (file is None) == (model is None):
        raise InputError("`predict features` needs either FILE.npz or --model FILE --data NAME.")
    if model is None and (layer or data or net):
        raise InputError("--layer, --data and --net of `predict features` go with --model.")
    if file is not None:
        x, y = _arrays(file)
    else:
        assert model is not None
        x, y = _network_features(model, layer, data, net)
        one_against_rest = True
    if one_against_rest:
        y = _indicators(y)
    with _progress() as progress:
        task = progress.add_task("estimating moments", total=None)

        def advance(done: int, total: int, what: str) -> None:
            progress.update(task, completed=done, total=total, description=what)

        found = predict_features(
            x,
            y,
            n,
            s,
            widths=width,
            center=center,
            shrinkage=_shrinkage(shrinkage),
            test_share=test_share,
            repeats=simulate,
            seed=seed,
            on_done=advance,
        )
    estimate = found.estimate
    points = found.points()
    document: dict[str, Any] = {
        "settings": {
            "file": str(file or model),
            "layer": layer,
            "data": data,
            "n": n,
            "s": s,
            "width": width,
            "center": center,
            "shrinkage": shrinkage,
            "test_share": test_share,
            "simulate": simulate,
            "seed": seed,
        },
        "estimate": {
            "n_examples": estimate.n,
            "n_test": found.n_test,
            "n_features": estimate.n_features,
            "n_zero_features": estimate.n_features - len(estimate.used),
            "n_floored": estimate.problem().n_floored,
            "shrinkage_share": estimate.share,
            "noise": estimate.noise.tolist(),
            "held_out_ridge_risk": estimate.held_out.tolist(),
            "null_risk": found.null.tolist(),
        },
        "points": points,
        "errors": found.errors(),
    }
    _figure(points, figure, f"Given features, n = {n}")
    if as_json:
        typer.echo(json.dumps(document))
        return
    console, targets = Console(), len(found.null)
    title = (
        f"risk, noise included{f', summed over {targets} targets' if targets > 1 else ''}; n = {n}"
    )
    print_points(points, title, "held out" if simulate else None, console)
    print_estimate(document, console)


def _points(predicted: Any, simulated: Any) -> list[dict[str, Any]]:
    """One row a number kept, as JSON holds it."""
    from prunable.predict.features.random_features import compare
    from prunable.predict.linear.train_prune import Model

    def by_model(vector_of: Any, place: int) -> dict[str, float | None]:
        return {model.value: _number(float(vector_of(model)[place])) for model in Model}

    rows = []
    for i, s in enumerate(predicted.kept):
        row: dict[str, Any] = {
            "width": predicted.p,
            "n": predicted.n,
            "s": s,
            "risk": by_model(predicted.mean, i),
            "stderr": by_model(predicted.stderr, i),
        }
        if simulated is not None:
            row["measured"] = by_model(simulated.mean, i)
            row["measured_stderr"] = by_model(simulated.stderr, i)
            row["error_percent"] = by_model(lambda m: compare(predicted, simulated, m).percent, i)
        rows.append(row)
    return rows


def _number(value: float) -> float | None:
    """None for what JSON cannot hold."""
    return value if abs(value) < float("inf") else None


def _arrays(file: Path) -> tuple[NDArray[np.float64], NDArray[Any]]:
    import zipfile

    import numpy as np

    try:
        # opened here: of a damaged file np.load would leave it open
        with file.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataIntegrityError(f"{file} holds one array; save X and y by numpy.savez.")
            missing = [name for name in ("X", "y") if name not in archive.files]
            if missing:
                raise InputError(
                    f"{file} holds {', '.join(archive.files) or 'nothing'}; "
                    f"`predict features` needs arrays named X and y."
                )
            return archive["X"], archive["y"]
    except FileNotFoundError as error:
        raise InputError(f"{file} is missing; save X and y by numpy.savez.") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, InputError):
            raise
        raise DataIntegrityError(
            f"{file} is not a readable npz file ({error}); save X and y by numpy.savez."
        ) from error


def _network_features(
    model: Path, layer: str | None, data: str | None, net: str | None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    import torch

    from prunable.data.loaders import load
    from prunable.nets.models import NETS
    from prunable.nets.models.loading import network_of, read_weights
    from prunable.nets.models.registry import stored_architecture
    from prunable.predict.features.extracting import extract_features

    if data is None:
        raise InputError("`predict features --model` needs --data NAME, see `prunable data list`.")
    tensors, metadata = read_weights(model)
    if net is not None:
        pictures = net in NETS and NETS[net].pictures
    else:
        pictures = stored_architecture(metadata).pictures
    examples = load(data, flatten=not pictures)
    network = network_of(tensors, metadata, net, shape=examples.x_test.shape[1:])
    # the network has fitted the training examples: their features are not those of new ones
    x = torch.from_numpy(examples.x_test.copy())
    try:
        return extract_features(network, x, layer), examples.y_test
    except RuntimeError as error:
        raise InputError(
            f"{model} cannot take examples of {data}, of shape {tuple(x.shape[1:])} "
            f"({' '.join(str(error).split())[:200]}). Name the data set it was trained on."
        ) from error


def _indicators(y: NDArray[Any]) -> NDArray[np.float64]:
    import numpy as np

    if y.ndim != 1:
        raise InputError.parameter(
            "y", "predict features", "of shape (N,) for --one-against-rest", f"shape {y.shape}"
        )
    classes = np.unique(y)
    if not 2 <= len(classes) <= 1000:
        raise InputError.parameter(
            "y",
            "predict features",
            "2 to 1,000 classes for --one-against-rest",
            f"{len(classes)} different values",
        )
    return (y[:, None] == classes).astype(np.float64)


def _shrinkage(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def _progress() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _figure(points: list[dict[str, Any]], path: Path | None, title: str) -> None:
    if path is None:
        return
    from prunable.files import write_bytes
    from prunable.predict.features.figures import risk_figure
    from prunable.report.figures import as_svg

    write_bytes(path, as_svg(risk_figure(points, title)))
