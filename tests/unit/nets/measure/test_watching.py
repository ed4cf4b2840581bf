"""Tails watched while a network trains: in a loop, in Lightning, in transformers; real loggers."""

import csv
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import prunable
from prunable.callbacks import TailWatch, watch_lightning, watch_trainer
from prunable.errors import InputError
from prunable.nets.models.hub import transformers_module
from prunable.nets.models.torch_extras import torch_extra


class Recorder:
    """A logger that keeps what it is told."""

    def __init__(self):
        self.told = []

    def log(self, numbers, step):
        self.told.append((step, numbers))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(40, 50), torch.nn.Linear(50, 40))


def test_rows_are_what_measure_finds(net, tmp_path):
    logger = Recorder()
    watch = TailWatch(tmp_path / "t.parquet", every=5, loggers=[logger])
    for step in range(11):
        watch.step(net, step)
    rows = pq.read_table(tmp_path / "t.parquet").to_pylist()
    assert [(row["step"], row["layer"]) for row in rows] == [
        (step, name) for step in (0, 5, 10) for name in ("0.weight", "1.weight")
    ]
    found = prunable.measure(net, eps=(0.1,))
    for row, layer in zip(rows[-2:], found.layers, strict=True):
        assert row["kappa"] == layer.kappa["weight"]["0.1"]
        assert row["verdict"] == layer.verdict
        assert (row["alpha"] is None) == (layer.alpha != layer.alpha)
    assert [step for step, _ in logger.told] == [0, 5, 10]
    assert logger.told[0][1]["0.weight/kappa"] == rows[0]["kappa"]
    assert None not in logger.told[0][1].values()


def test_a_resumed_training_goes_on(net, tmp_path):
    TailWatch(tmp_path / "t.parquet", every=1, spectrum=False).step(net, 7)
    TailWatch(tmp_path / "t.parquet", every=1, spectrum=False).step(net, 8)
    again = TailWatch(tmp_path / "t.parquet", every=1, spectrum=False)
    again.step(net, 8)
    assert [row["step"] for row in again.rows] == [7, 7, 8, 8]


def test_bad_options_are_refused(tmp_path):
    with pytest.raises(InputError, match="`every` of `TailWatch` must be at least 1"):
        TailWatch(tmp_path / "t.parquet", every=0)
    with pytest.raises(InputError, match="a SummaryWriter, a run of W&B"):
        TailWatch(tmp_path / "t.parquet", loggers=[3])


def steps_of(path):
    return [row["step"] for row in pq.read_table(path).to_pylist()]


def told(path, name="0.weight/kappa"):
    """What loggers should have been told of one number: (step, value)."""
    layer, _, key = name.partition("/")
    rows = pq.read_table(path).to_pylist()
    return [(row["step"], row[key]) for row in rows if row["layer"] == layer]


def same(found, wanted):
    assert [step for step, _ in found] == [step for step, _ in wanted]
    for (_, one), (_, other) in zip(found, wanted, strict=True):
        assert one == pytest.approx(other, rel=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_lightning_calls_it_and_its_loggers_are_told(tmp_path):
    torch_extra("torchvision", "these tests")  # which Lightning looks at
    lightning = pytest.importorskip("pytorch_lightning")
    from pytorch_lightning.loggers import CSVLogger

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.layer = torch.nn.Linear(40, 50)

        def training_step(self, batch, _):
            return self.layer(batch[0]).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    data = TensorDataset(torch.randn(20, 40))
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=[watch_lightning(tmp_path / "t.parquet", every=2, spectrum=False)],
        logger=CSVLogger(tmp_path, name="", version=0, flush_logs_every_n_steps=1),
        default_root_dir=tmp_path,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(Module(), DataLoader(data, batch_size=4))
    assert steps_of(tmp_path / "t.parquet") == [0, 2, 4]
    (metrics,) = tmp_path.rglob("metrics.csv")
    with metrics.open() as file:
        rows = [row for row in csv.DictReader(file) if row["layer.weight/kappa"]]
    found = [(int(row["step"]), float(row["layer.weight/kappa"])) for row in rows]
    same(found, told(tmp_path / "t.parquet", "layer.weight/kappa"))


@pytest.mark.filterwarnings("ignore")
def test_the_trainer_of_transformers_calls_it(tmp_path):
    transformers = transformers_module("these tests")

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.layer = torch.nn.Linear(40, 50)

        def forward(self, x, labels=None):
            del labels
            out = self.layer(x)
            return {"loss": out.square().mean(), "logits": out}

    x = torch.randn(20, 40)
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "out"),
        max_steps=4,
        per_device_train_batch_size=4,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )
    callback = watch_trainer(tmp_path / "t.parquet", every=2, spectrum=False)
    examples = [{"x": row, "labels": 0} for row in x]
    trainer = transformers.Trainer(
        model=Model(), args=arguments, train_dataset=examples, callbacks=[callback]
    )
    trainer.train()
    assert steps_of(tmp_path / "t.parquet") == [0, 2, 4]


def watched(net, path, logger):
    watch = TailWatch(path, every=5, loggers=[logger], spectrum=False)
    for step in range(11):
        watch.step(net, step)


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_is_told(net, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path / "board") as writer:
        watched(net, tmp_path / "t.parquet", writer)
    read = EventAccumulator(str(tmp_path / "board"))
    read.Reload()
    found = [(event.step, event.value) for event in read.Scalars("0.weight/kappa")]
    same(found, told(tmp_path / "t.parquet"))


@pytest.mark.filterwarnings("ignore")
def test_mlflow_is_told(net, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # read by versions that ask
    mlflow = pytest.importorskip("mlflow")
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    with mlflow.start_run() as run:
        watched(net, tmp_path / "t.parquet", mlflow)
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "0.weight/kappa")
    same([(metric.step, metric.value) for metric in history], told(tmp_path / "t.parquet"))


@pytest.mark.filterwarnings("ignore")
def test_weights_and_biases_is_told_offline(net, tmp_path):
    wandb = pytest.importorskip("wandb")
    settings = wandb.Settings(mode="offline", silent=True, console="off")
    run = wandb.init(project="tails", dir=str(tmp_path), settings=settings)
    watched(net, tmp_path / "t.parquet", run)
    last = run.summary["0.weight/kappa"]
    folder = Path(run.dir).parent
    run.finish()
    assert last == pytest.approx(told(tmp_path / "t.parquet")[-1][1])
    (kept,) = folder.glob("*.wandb")
    deadline = time.monotonic() + 20
    # a process of its own writes the file, on a busy machine after `finish` came back
    while b"0.weight/kappa" not in kept.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert b"0.weight/kappa" in kept.read_bytes()
