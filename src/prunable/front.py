"""The functions of the front door that bring several rooms together; the others live in theirs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from torch import nn

from prunable.arguments import checked
from prunable.errors import InputError, SpecError, check_at_least, check_one_of, require
from prunable.experiments.federate.comparing import compare_methods
from prunable.experiments.federate.specs import FederatedSpec, standard_methods
from prunable.experiments.reproduce import run
from prunable.experiments.reproduce.document import Convention, ItemDocument, Scale, load_documents
from prunable.experiments.reproduce.registry import items_named
from prunable.experiments.simulate.simulating import DynamicsSettings, run_experiment
from prunable.experiments.simulate.specs import Experiment
from prunable.experiments.train.specs import TrainSpec
from prunable.experiments.train.stages import MODEL, train_into
from prunable.files import read_json, write_json, write_text
from prunable.nets.archive.safetensors_file import metadata_of
from prunable.nets.catalogue import NETS
from prunable.nets.models.hub import NET, is_hub_source, load_folder
from prunable.nets.models.loading import network_of, read_weights
from prunable.nets.models.sources import network_by_reference, of_package
from prunable.nets.shrink.export import MANIFEST, ExportResult, load_exported, save_exported
from prunable.numerics.measure.documents import measurement_from
from prunable.numerics.measure.network import Measurement, Trajectory
from prunable.report.measure.html import write_measurement
from prunable.report.reproduce.writing import write_index, write_item
from prunable.results import Result
from prunable.runs.backends import Backend, backend_of
from prunable.runs.runner import OnDone
from prunable.runs.store import Store

UNLIMITED = 1_000_000  # steps, where a stop rule ends a training


@checked("load")
def load(
    path: Path | str,
    model: nn.Module | None = None,
    *,
    net: str | None = None,
    shape: tuple[int, ...] | None = None,
    unpickle: bool = False,
) -> nn.Module:
    """Load a network, in evaluation mode, from a file, a folder of transformers, or by its name.

    Files are those of `save`, of `prunable train`, or of weights; a folder has a config.json of
    transformers; GGUF is read as such a folder; a name is torchvision:NAME or timm:NAME, whose
    weights are drawn with a fixed seed.

    Raises DataIntegrityError if the file is missing or damaged; InputError if no network is named
    or found, or the weights do not fit it.

    >>> import tempfile, torch, prunable
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = prunable.save(folder + "/net.safetensors", torch.nn.Linear(3, 2))
    ...     prunable.load(folder + "/net.safetensors")
    Linear(in_features=3, out_features=2, bias=True)

    Parameters
    ----------
    model : An instance to fill, for exported files that cannot be rebuilt from nothing.
    net : Architecture of bare weights: a name of `prunable train`, "mlp", torchvision:NAME,
        timm:NAME, or MODULE:FUNCTION; "hub" for a folder of transformers. Of exported files, what
        makes the instance to fill.
    shape : Of one example, for architectures that take pictures.
    unpickle : Whether a pickled file may run its code; only if you trust it.
    """
    if net is None and of_package(str(path)):
        require(model is None, "model", "load", "left out for a network by name", str(path))
        return network_by_reference(str(path))
    path = Path(path)
    if path.suffix == ".safetensors" and MANIFEST in metadata_of(path):
        if model is None and net is not None and ":" in net:
            model = network_by_reference(net)
        elif net is not None:
            wanted = "left out for files of `save`, or MODULE:FUNCTION, torchvision:NAME, timm:NAME"
            raise InputError.parameter("net", "load", wanted, net)
        return load_exported(path, model)
    if model is not None:
        raise InputError.parameter(
            "model", "load", "left out for files that `save` did not write", str(path)
        )
    if net == NET or (net is None and is_hub_source(path)):
        return load_folder(path)
    tensors, metadata = read_weights(path, unpickle=unpickle)
    return network_of(tensors, metadata, net, shape=shape).eval()


@checked("save")
def save(
    path: Path | str, model: nn.Module, *, metadata: Mapping[str, str] | None = None
) -> ExportResult:
    """Write a network, pruned or not, to one file that `load` reads; see `save_exported`.

    >>> import tempfile, torch, prunable
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = prunable.save(folder + "/net.safetensors", torch.nn.Linear(3, 2))
    >>> result.rebuilt_from_nothing
    True
    """
    return save_exported(Path(path), model, metadata=metadata)


@checked("write")
def write(result: Result, path: Path | str) -> None:
    """Write a result to a file of the format that its ending says.

    .json: the document, which `read` reads again for measurements; .csv: the rows that `to_pandas`
    has; .html: a page, of measurements that of `prunable measure --report`.

    Raises InputError if the ending is another one, the result has no rows, or the file cannot be
    written.

    >>> import tempfile, torch, prunable
    >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
    <...>
    >>> measurement = prunable.measure(torch.nn.Linear(40, 30))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     prunable.write(measurement, folder + "/net.json")
    ...     again = prunable.read(folder + "/net.json")
    >>> again
    Measurement('Linear', 1,200 weights in 1 layer: 1 light-tailed)
    """
    path = Path(path)
    if path.suffix == ".json":
        write_json(path, result.to_dict())
    elif path.suffix == ".csv":
        write_text(path, result.to_pandas().to_csv())
    elif path.suffix == ".html":
        if isinstance(result, Measurement | Trajectory):
            write_measurement(result, path)
        else:
            write_text(path, f"<!doctype html><meta charset=utf-8>{result.to_html()}\n")
    else:
        wanted = "a file ending in .json, .csv or .html"
        raise InputError.parameter("path", "write", wanted, str(path))


@checked("read")
def read(path: Path | str) -> Measurement | Trajectory:
    """Read a measurement that `write` or `prunable measure --json` wrote; see `write`.

    Raises DataIntegrityError if the file is missing, damaged or no measurement.

    >>> import tempfile, torch, prunable
    >>> measurement = prunable.measure({"weight": torch.eye(20)})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     prunable.write(measurement, folder + "/net.json")
    ...     prunable.read(folder + "/net.json").layers[0].shape
    (20, 20)
    """
    return measurement_from(read_json(path, "give a file of `write`"), str(path))


@dataclass(frozen=True)
class Training(Result):
    """How a training ended, and where it left its network.

    >>> import tempfile, prunable
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     training = prunable.train(folder, dataset="digits", net="two-layer", width=8, epochs=1)
    ...     training.model.exists(), training.to_dict()["status"], len(training.metrics)
    (True, 'done', 6)
    """

    folder: Path
    status: str
    reason: str
    metrics: Mapping[str, float] = field(repr=False)
    result: Mapping[str, Any] = field(repr=False)

    @property
    def model(self) -> Path:
        """File of the trained network, for `load` and `prune`."""
        return self.folder / MODEL

    def to_dict(self) -> dict[str, Any]:
        """The document of `prunable train --json`."""
        return dict(self.result)

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [{"metric": name, "value": value} for name, value in self.metrics.items()]


@checked("train")
def train(
    out: Path | str,
    *,
    epochs: int | None = None,
    device: str = "auto",
    on_step: Callable[[int, int | None], None] | None = None,
    on_spec: Callable[[TrainSpec], None] | None = None,
    **settings: Any,
) -> Training:
    """Train one network into a folder; resumes an interrupted run, repeats no finished one.

    Raises SpecError if a setting is unknown or out of range, or the folder holds another run.

    >>> import tempfile, prunable
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     training = prunable.train(folder, dataset="digits", net="two-layer", width=8, epochs=1)
    ...     training.status, training.model.name, prunable.load(training.model)[1]
    ('done', 'model.safetensors', Linear(in_features=64, out_features=8, bias=True))

    Parameters
    ----------
    epochs : Passes over the training set; otherwise `until_accuracy` or `until_loss` is the stop
        rule.
    device : auto, cpu, cuda or one of several such as cuda:1.
    on_step : Told the number of steps done, and of how many if that is known.
    on_spec : Told the specification once training begins, when nothing is refused any more; not
        of a training without an end.
    **settings : Fields of `TrainSpec`: dataset, net, width, lr, batch_size, noise, alpha, sigma,
        seed, ...; the width is the architecture's own by default.
    """
    stop_rules = {"until_accuracy", "until_loss"}
    ruled = any(settings.get(rule) is not None for rule in stop_rules)
    if (epochs is None) != ruled:
        raise SpecError("give either --epochs or --until-accuracy (or --until-loss).")
    if epochs is not None:
        check_at_least(epochs, 1, "epochs", "train")
    net = settings.get("net", TrainSpec.model_fields["net"].default)
    if settings.get("width") is None and net in NETS:
        settings["width"] = NETS[net].width
    spec = TrainSpec.create(steps=UNLIMITED, **settings)
    total = None
    if epochs is not None:
        total = epochs * -(-spec.dataset.n_train // spec.batch_size)
        spec = TrainSpec.create(steps=total, **settings)
    folder = Path(out)
    begun = False

    def told(step: int) -> None:
        nonlocal begun
        if on_spec is not None and total is not None and not begun:
            on_spec(spec)
        begun = True
        if on_step is not None:
            on_step(step, total)

    with Store(folder).locked():
        result = train_into(folder, spec, told, device=device)
    return Training(folder, result["status"], result["reason"], result["metrics"], result)


@dataclass(frozen=True)
class Simulation(Result):
    """An experiment on dynamics or of federated clients, and the folder of its runs.

    >>> Simulation("chaos", Path("out"), {"rates": []}).to_dict()
    {'rates': []}
    """

    experiment: str
    folder: Path
    document: Mapping[str, Any] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The document of `prunable simulate --json`."""
        return dict(self.document)

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        if self.experiment == "federated":
            runs = self.document["runs"]
            return [{"method": run["method"]["label"], **run["summary"]} for run in runs]
        shown = ("name", "alpha", "size", "exponent", "low", "high", "theorem", "agreement")
        rates = [{key: rate[key] for key in shown} for rate in self.document["rates"]]
        table = self.document["table"]
        return rates or [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]


@checked("simulate")
def simulate(
    experiment: Experiment | Literal["federated"],
    out: Path | str,
    *,
    workers: int | None = 1,
    on_done: OnDone | None = None,
    **settings: Any,
) -> Simulation:
    """Simulate the dynamics behind the theorems, or federated clients; resumable.

    Raises InputError if the experiment is unknown or a setting out of range; RunsFailedError if a
    system, or all clients, diverge.

    >>> import tempfile, prunable
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = prunable.simulate("moments", folder, scale="smoke")
    >>> found.experiment, len(found.to_dict()["rates"]) > 0
    ('moments', True)

    Parameters
    ----------
    experiment : chaos, euler, moments, compression, sgd-tail or federated.
    workers : Processes, which change no number; None for as many as there are cores.
    **settings : Of `DynamicsSettings`: alphas, seeds, noise, activation, loss, scale. Of federated
        clients: those of `FederatedSpec`, and kappa, noise, alpha, sigma and precision of its
        methods.
    """
    folder, backend = Path(out), backend_of(workers)
    if experiment == "federated":
        of_methods = {"kappa", "noise", "alpha", "sigma", "precision"}
        methods = standard_methods(**{k: v for k, v in settings.items() if k in of_methods})
        rest = {k: v for k, v in settings.items() if k not in of_methods}
        specs = [FederatedSpec.create(method=method, **rest) for method in methods]
        document = compare_methods(specs, folder, backend=backend, on_done=on_done)
        return Simulation(experiment, folder, document)
    # the tail of SGD has no particles: their settings would do nothing
    known = {"scale"} if experiment == "sgd-tail" else set(DynamicsSettings.__dataclass_fields__)
    for name in settings:
        check_one_of(name, sorted(known), "settings", f"simulate {experiment}")
    chosen = DynamicsSettings(**settings)
    found = run_experiment(experiment, chosen, folder, backend=backend, on_row=on_done)
    return Simulation(experiment, folder, found)


@dataclass(frozen=True)
class Reproduction(Result):
    """Items of the papers beside the papers' numbers, and the folder of their pages.

    >>> Reproduction(Path("out"), ()).to_dict()
    {'items': []}
    """

    folder: Path
    documents: tuple[ItemDocument, ...] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The documents of `prunable reproduce --json`, as "items"."""
        return {"items": [document.to_dict() for document in self.documents]}

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [
            {
                "item": document.item,
                "title": document.title,
                "verdict": document.verdict.status,
                "why": document.verdict.why,
            }
            for document in self.documents
        ]


@checked("reproduce")
def reproduce(
    *names: str,
    out: Path | str = "reproduction",
    scale: Scale = "laptop",
    convention: Convention = "paper",
    backend: Backend | None = None,
    device: str = "auto",
    batch: int | None = None,
    on_done: OnDone | None = None,
) -> Reproduction:
    """Reproduce tables and figures of the papers, beside the papers' numbers; resumable.

    Raises InputError if an item, scale or convention is unknown.

    >>> import tempfile, prunable
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = prunable.reproduce("chang2020-fig3", out=folder, scale="smoke")
    >>> found.to_dict()["items"][0]["item"]
    'chang2020-fig3'

    Parameters
    ----------
    names : Items, papers ("wan2023"), studies, or "all"; `prunable reproduce list` names them.
    out : Folder that receives index.html, and for each item a document, a table and a figure.
    scale : smoke: seconds; laptop: hours on two cores; paper: the paper's own size.
    convention : "authors-code" where a paper's text and its code differ, and the code is wanted.
    backend : Where to compute; in this process by default.
    device : "auto", "cpu", "cuda" or "cuda:i".
    batch : Most networks of equal shape computed as one.
    """
    require(bool(names), "names", "reproduce", "at least one item", "none", "Or say all.")
    check_one_of(scale, get_args(Scale), "scale", "reproduce")
    check_one_of(convention, get_args(Convention), "convention", "reproduce")
    if batch is not None:
        check_at_least(batch, 1, "batch", "reproduce")
    folder = Path(out)
    documents = run.reproduce(
        items_named(names),
        scale=scale,
        convention=convention,
        store=Store(folder),
        backend=backend or backend_of(1),
        device=device,
        batch=batch,
        on_done=on_done,
        on_item=lambda document: write_item(document, folder / "items"),
    )
    write_index(load_documents(folder), folder / "index.html")
    return Reproduction(folder, tuple(documents))
