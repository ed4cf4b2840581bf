"""Tails watched while a network trains, in a loop of one's own and in Lightning."""

import pyarrow.parquet as pq
import pytest
import torch

import prunable
from prunable.callbacks import TailWatch, watch_lightning
from prunable.errors import InputError


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


def test_lightning_calls_it(net, tmp_path):
    pytest.importorskip("pytorch_lightning")
    callback = watch_lightning(tmp_path / "t.parquet", every=2, spectrum=False)
    logger = Recorder()
    logger.log_metrics = logger.log

    class Trainer:
        global_step, loggers = 0, [logger]

    trainer = Trainer()
    callback.on_train_start(trainer, net)
    for trainer.global_step in (1, 2, 3, 4):
        callback.on_train_batch_end(trainer, net, None, None, 0)
    steps = [row["step"] for row in pq.read_table(tmp_path / "t.parquet").to_pylist()]
    assert steps == [0, 0, 2, 2, 4, 4]
    assert [step for step, _ in logger.told] == [0, 2, 4]
