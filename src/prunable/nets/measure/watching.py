"""Tails watched while a network trains: a row a layer and step, in a file and in loggers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from torch import nn

from prunable.arguments import checked
from prunable.errors import InputError, check_at_least, require
from prunable.files import damage_named, write_parquet
from prunable.nets.measure.measuring import measure
from prunable.nets.models.torch_extras import torch_extra
from prunable.nets.prune.callbacks import lightning_callbacks
from prunable.numerics.measure.network import Measurement
from prunable.numerics.measure.options import eps_key

NUMBERS = ("alpha", "kappa", "spectral_alpha")  # of each layer, told to loggers
_SCHEMA = pa.schema(
    [("step", pa.int64()), ("layer", pa.string()), ("verdict", pa.string())]
    + [(name, pa.float64()) for name in ("alpha", "alpha_stderr", "kappa", "spectral_alpha")]
)


class TailWatch:
    """Measures a network now and then, and keeps what it finds.

    Every time the whole of `path` is written anew, a Parquet file with a row a layer and step:
    step, layer, verdict, alpha, alpha_stderr, kappa (of weights, at `eps`) and spectral_alpha,
    null where a number is refused. Loggers are told the numbers there are, as
    LAYER/alpha and so on: a `SummaryWriter` of TensorBoard, a run of W&B, the module mlflow, or a
    logger of Lightning.

    Raises InputError if `every` is below 1, `eps` is no relative error, or a logger is none of
    those; DataIntegrityError if an earlier file is damaged, or something else.

    >>> import tempfile, torch
    >>> net = torch.nn.Linear(40, 30)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     watch = TailWatch(folder + "/tails.parquet", every=10)
    ...     for step in range(21):
    ...         watch.step(net, step)
    ...     print([row["step"] for row in watch.rows])
    [0, 10, 20]

    Parameters
    ----------
    path : The Parquet file; an earlier one is gone on with.
    every : Steps between measurements.
    eps : Relative error of kappa.
    spectrum : Whether singular values are computed too, which takes longest.
    """

    @checked("TailWatch")
    def __init__(
        self,
        path: Path | str,
        *,
        every: int = 1000,
        loggers: Sequence[Any] = (),
        eps: float = 0.1,
        spectrum: bool = True,
    ) -> None:
        check_at_least(every, 1, "every", "TailWatch")
        self.path, self.every, self.eps = Path(path), every, eps
        parquet = self.path.suffix == ".parquet"
        require(parquet, "path", "TailWatch", "a file ending in .parquet", str(path))
        self.loggers = [_told(logger) for logger in loggers]
        self.spectrum = spectrum
        self.rows: list[dict[str, Any]] = []
        if self.path.exists():
            with damage_named(self.path, "name another file, or remove it"):
                with self.path.open("rb") as stream:  # pyarrow opens no path that is no text
                    table = pq.read_table(stream, schema=_SCHEMA)
                if table["step"].null_count:
                    raise ValueError("rows have no step")
                self.rows = table.to_pylist()

    def step(self, model: nn.Module, step: int) -> None:
        """Measure the network if this step's turn has come; later steps on file are dropped."""
        if step % self.every:
            return
        found = measure(
            model, eps=(self.eps,), spectrum="auto" if self.spectrum else "none", workers=1
        )
        self.rows = [row for row in self.rows if row["step"] < step] + self._rows(found, step)
        table = pa.Table.from_pylist(self.rows, schema=_SCHEMA)
        write_parquet(self.path, table)
        numbers = {
            f"{row['layer']}/{name}": row[name]
            for row in self.rows
            if row["step"] == step
            for name in NUMBERS
            if row[name] is not None
        }
        for tell in self.loggers:
            tell(numbers, step)

    def _rows(self, found: Measurement, step: int) -> list[dict[str, Any]]:
        return [
            {
                "step": step,
                "layer": layer.name,
                "verdict": str(layer.verdict),
                "alpha": _known(layer.alpha),
                "alpha_stderr": _known(layer.alpha_stderr),
                "kappa": _known(layer.kappa["weight"][eps_key(self.eps)]),
                "spectral_alpha": _known(layer.spectrum.spectral_alpha) if layer.spectrum else None,
            }
            for layer in found.layers
        ]


def watch_lightning(path: Path | str, **options: Any) -> Any:
    """A callback of PyTorch Lightning that watches tails; options as of `TailWatch`.

    The Trainer's own loggers are told too. Raises InputError if Lightning is not installed.

    >>> import tempfile, prunable
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     callback = prunable.callbacks.watch_lightning(folder + "/tails.parquet", every=100)
    >>> type(callback).__mro__[1].__name__
    'Callback'
    """
    watch = TailWatch(path, **options)

    class WatchTails(*lightning_callbacks("watch_lightning")):  # type: ignore[misc]
        """Measures after every so many batches, and before the first."""

        def on_train_start(self, trainer: Any, pl_module: nn.Module) -> None:
            """Measure the initial weights, and find the loggers."""
            watch.loggers += [_told(logger) for logger in trainer.loggers]
            watch.step(pl_module, trainer.global_step)

        def on_train_batch_end(
            self, trainer: Any, pl_module: nn.Module, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            """Measure if it is time."""
            del outputs, batch, batch_idx
            watch.step(pl_module, trainer.global_step)

    return WatchTails()


def watch_trainer(path: Path | str, **options: Any) -> Any:
    """A callback of transformers' Trainer that watches tails; options as of `TailWatch`.

    Raises InputError if transformers is not installed.

    >>> import tempfile, prunable
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     callback = prunable.callbacks.watch_trainer(folder + "/tails.parquet", every=100)
    >>> type(callback).__mro__[1].__name__
    'TrainerCallback'
    """
    base: Any = torch_extra("transformers", "watch_trainer", "hub").TrainerCallback
    watch = TailWatch(path, **options)

    class WatchTails(base):
        """Measures after every so many steps, and before the first."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Measure the initial weights."""
            del args, control
            watch.step(kwargs["model"], state.global_step)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Measure if it is time."""
            del args, control
            watch.step(kwargs["model"], state.global_step)

    return WatchTails()


def _told(logger: Any) -> Any:
    """How a logger is told numbers by name, and the step."""
    if hasattr(logger, "log_metrics"):  # Lightning's loggers, and mlflow
        return lambda numbers, step: logger.log_metrics(numbers, step=step)
    if hasattr(logger, "add_scalar"):  # TensorBoard
        return lambda numbers, step: [
            logger.add_scalar(name, value, step) for name, value in numbers.items()
        ]
    if hasattr(logger, "log"):  # W&B
        return lambda numbers, step: logger.log(numbers, step=step)
    raise InputError.parameter(
        "loggers",
        "TailWatch",
        "a SummaryWriter, a run of W&B, mlflow, or a logger of Lightning",
        type(logger).__name__,
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
