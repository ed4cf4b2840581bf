"""`prunable predict rf` and `prunable predict features`."""

from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console

from prunable.errors import InputError, check_at_least, require
from prunable.files import check_ending, check_places, read_arrays
from prunable.predict.features import random_features
from prunable.predict.features.kernels import Activation, Link
from prunable.predict.tables import print_estimate, print_points, print_validity
from prunable.report.terminal import AsJson, Figure, Seed, emit, progress

Sizes = Annotated[list[int], typer.Option("--s", help="Features kept; may be given several times.")]


def rf(
    n: Annotated[int, typer.Option("--n", help="Training examples.")],
    p: Annotated[list[int], typer.Option("--p", help="Random features; several give a curve.")],
    s: Sizes,
    d: Annotated[int, typer.Option("--d", help="Inputs.")] = 10,
    activation: Annotated[Activation, typer.Option(help="Of the first layer.")] = Activation.RELU,
    link: Annotated[Link, typer.Option(help="Target psi(beta . a).")] = Link.SQUARE,
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
    as_json: AsJson = False,
) -> None:
    """Predict the risk of random-features regression, dense, pruned and retrained.

    Inputs are Gaussian, targets psi(beta . a); the equivalent linear problem is exact, its use
    for nonlinear features an approximation, whose measured error is printed.

    Example: prunable predict rf --d 20 --n 100 --p 50 --p 300 --s 30 --simulate 5
    """
    check_at_least(simulate, 0, "simulate", "predict rf")
    check_ending(figure, "--figure", "predict rf", ".svg")
    check_places("predict rf", {"--figure": figure}, {})
    features = random_features.RandomFeatures(d, activation, link, noise, weight_scale)
    points: list[dict[str, Any]] = []
    facts = {"condition": 0.0, "n_floored": 0, "residual": 0.0}
    total, steps = len(p) * draws * (2 if simulate else 1), count(1)
    with progress("first layers") as advance:
        options: dict[str, Any] = {
            "draws": draws,
            "seed": seed,
            "on_draw": lambda _: advance(next(steps), total, ""),
        }
        for width in p:
            kept = [size for size in s if size <= width] if len(p) > 1 else s
            if not kept:
                raise InputError.parameter("p", "predict rf", f"at least s = {min(s)}", width)
            predicted = random_features.predict_random_features(features, n, width, kept, **options)
            simulated = None
            if simulate:
                simulated = random_features.simulate_random_features(
                    features, n, width, kept, repeats=simulate, **options
                )
            points += random_features.points(predicted, simulated)
            for key in facts:
                facts[key] = max(facts[key], getattr(predicted, key))
    document: dict[str, Any] = {
        "settings": {
            "n": n,
            "p": p,
            "s": s,
            "d": d,
            "activation": activation.value,
            "link": link.value,
            "noise": noise,
            "weight_scale": weight_scale,
            "draws": draws,
            "simulate": simulate,
            "seed": seed,
        },
        "points": points,
        "fixed_point": facts,
        "validity": asdict(
            random_features.nearest_cell(d, n, points[-1]["width"], points[-1]["s"])
        ),
    }
    _draw(points, figure, f"Random features, n = {n}")

    def show(console: Console) -> None:
        title = f"risk, noise included; n = {n}, d = {d}, {draws} first layers"
        print_points(points, title, "simulated" if simulate else None, console)
        print_validity(document["validity"], console)

    emit(document, as_json, show)


def features(
    s: Sizes,
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
    as_json: AsJson = False,
) -> None:
    """Predict dense, pruned and retrained risks on features of your own, and check them.

    Moments are estimated on one part of the examples; the truth is measured by training on
    subsamples of n of it and testing on the other part. Without --layer the features of a
    network are the inputs of its last linear layer, on the test examples of the data set.

    Example: prunable predict features X.npz --n 200 --s 20 --s 60 --width 100 --width 400
    """
    from prunable.predict.features.prediction import predict_features

    check_ending(figure, "--figure", "predict features", ".svg")
    check_places("predict features", {"--figure": figure}, {"FILE": file, "the model": model})
    if (file is None) == (model is None):
        raise InputError("`predict features` needs either FILE.npz or --model FILE --data NAME.")
    if model is None and (layer or data or net):
        raise InputError("--layer, --data and --net of `predict features` go with --model.")
    if file is not None:
        x, y = _arrays(file)
    else:
        assert model is not None
        x, y = _network_features(model, layer, data, net)
    if one_against_rest or model is not None:
        y = _indicators(y)
    with progress("predicting features") as advance:
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
        **found.to_dict(),
    }
    points, targets = document["points"], len(found.null)
    _draw(points, figure, f"Given features, n = {n}")
    summed = f", summed over {targets} targets" if targets > 1 else ""

    def show(console: Console) -> None:
        title = f"risk, noise included{summed}; n = {n}"
        print_points(points, title, "held out" if simulate else None, console)
        print_estimate(document, console)

    emit(document, as_json, show)


def _arrays(file: Path) -> tuple[NDArray[np.float64], NDArray[Any]]:
    arrays = read_arrays(file)
    features = "X" if "X" in arrays else "x"  # as data of own networks have it
    if not {features, "y"} <= arrays.keys():
        raise InputError(
            f"{file} holds {', '.join(arrays) or 'nothing'}; `predict features` needs arrays named "
            "X and y: save them by numpy.savez."
        )
    return arrays[features], arrays["y"]


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
    where = "predict features"
    wanted = "of shape (N,) for --one-against-rest"
    require(y.ndim == 1, "y", where, wanted, f"shape {y.shape}")
    classes = np.unique(y)
    wanted = "2 to 1,000 classes for --one-against-rest"
    require(2 <= len(classes) <= 1000, "y", where, wanted, f"{len(classes)} different values")
    return (y[:, None] == classes).astype(np.float64)


def _shrinkage(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def _draw(points: list[dict[str, Any]], path: Path | None, title: str) -> None:
    if path is not None:
        from prunable.predict.figures import risk_figure, save

        save(risk_figure(points, title), path)
