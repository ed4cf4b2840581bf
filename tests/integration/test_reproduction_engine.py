"""What a sweep survives: kills, dying workers, a second runner, disks that refuse."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.processes import command_of, descendants, wait_for
from threadpoolctl import threadpool_info, threadpool_limits

from prunable.errors import InputError
from prunable.experiments.prune.specs import EvaluateSpec
from prunable.experiments.train.specs import TrainSpec
from prunable.runs.backends import ProcessBackend, RayBackend, SerialBackend
from prunable.runs.backends.base import Task
from prunable.runs.runner import missing_runs, run_all
from prunable.runs.spec import Spec
from prunable.runs.store import Store

HERE = Path(__file__).parent
PATHS = [str(HERE), str(HERE.parents[1])]  # of scripts that import this file
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
SWEEP = """
import sys
from pathlib import Path
from prunable.runs.backends import ProcessBackend, RayBackend
from prunable.runs.runner import run_all
from prunable.runs.store import Store
sys.path[:0] = {paths!r}
from test_reproduction_engine import evaluation

if __name__ == "__main__":
    rows = run_all([evaluation(seed) for seed in range(4)], Store(Path(sys.argv[1])),
                   backend={backend})
    print(*[row["status"] + row["reason"] for row in rows], sep=chr(10))
"""


class DeadlySpec(Spec):
    """A run that kills its worker."""

    stage = "test_reproduction_engine:die"


def die(spec, run):
    """Leave as a process does that the system kills."""
    del spec, run
    os.kill(os.getpid(), signal.SIGKILL)


class ThreadsSpec(Spec):
    """A run that says on how many threads it computes."""

    stage = f"{__name__}:threads"


def threads(spec, run):
    """Threads of every numerical library; torch has one of its own kind."""
    del spec, run
    pools = {pool["filepath"]: pool["num_threads"] for pool in threadpool_info()}
    return {"torch": torch.get_num_threads(), "pools": pools}


def training(seed=0, **changes):
    fields = {"dataset": "digits", "width": 300, "steps": 1200, "lr": 1e-4, "seed": seed}
    return TrainSpec.create(**(fields | changes))


def evaluation(seed=0, **changes):
    return EvaluateSpec.create(train=training(seed, **changes), eps=(0.1,), keep=(1.0,))


def quick(seed=0, **changes):
    return evaluation(seed, width=30, steps=10, **changes)


def start_sweep(tmp_path, backend):
    script = tmp_path / "sweep.py"
    script.write_text(SWEEP.format(paths=PATHS, backend=backend))
    return subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "store")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )


def under_way(store):
    return lambda: list(store.glob("runs/*/checkpoint.safetensors"))


def results_of(root):
    return {p.parent.name: p.read_bytes() for p in sorted(root.glob("runs/*/result.json"))}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Results of the sweep when nothing happens to it."""
    root = tmp_path_factory.mktemp("undisturbed")
    run_all([evaluation(seed) for seed in range(4)], Store(root), backend=SerialBackend())
    return results_of(root)


def test_killed_at_random_moments_and_run_again(tmp_path):
    done = subprocess.run(
        [sys.executable, str(HERE / "killed_runner.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kills"] >= 20
    assert found["with_checkpoint"] > 0
    assert found["recomputed"] == 0
    assert found["same_rows"]
    assert found["same_files"]
    assert found["names"] == ["metrics.parquet", "model.safetensors", "result.json"]


def test_dead_worker_costs_a_retry_only(tmp_path, undisturbed):
    sweep = start_sweep(tmp_path, "ProcessBackend(workers=2)")
    wait_for(under_way(tmp_path / "store"))
    workers = [p for p in descendants(sweep.pid) if "spawn_main" in command_of(p)]
    os.kill(workers[0], signal.SIGKILL)
    out, err = sweep.communicate(timeout=120)
    assert out.split() == ["done"] * 4, err
    assert results_of(tmp_path / "store") == undisturbed


def test_worker_that_dies_between_waits_costs_a_retry_only(tmp_path):
    store = Store(tmp_path / "store")
    with ProcessBackend(workers=2).open() as pool:
        pool.submit(Task((quick(0),), store))
        pool.next_done()
        pool.submit(Task((evaluation(1),), store))
        for worker in multiprocessing.active_children():
            worker.kill()
        wait_for(lambda: pool._executor._broken)
        pool.submit(Task((quick(2),), store))  # the pool is found dead here
        found = dict(pool.next_done() for _ in range(2))
    assert {task.specs[0] for task in found} == {evaluation(1), quick(2)}
    assert [row["status"] for rows in found.values() for row in rows] == ["done", "done"]


def test_killed_parent_leaves_no_worker_and_no_half_file(tmp_path, undisturbed):
    sweep = start_sweep(tmp_path, "ProcessBackend(workers=2)")
    wait_for(under_way(tmp_path / "store"))
    workers = descendants(sweep.pid)
    assert workers
    sweep.kill()
    sweep.communicate()
    wait_for(lambda: not any("spawn_main" in command_of(p) for p in workers))
    specs = [evaluation(seed) for seed in range(4)]
    run_all(specs, Store(tmp_path / "store"), backend=SerialBackend())
    assert results_of(tmp_path / "store") == undisturbed
    assert not list(tmp_path.rglob("*.part"))
    assert not list(tmp_path.rglob("checkpoint*"))


def test_a_task_that_always_kills_its_worker_is_a_row(tmp_path):
    script = (
        f"import sys; sys.path[:0] = {PATHS!r}\n"
        "from pathlib import Path\n"
        "from test_reproduction_engine import *\n"
        "if __name__ == '__main__':\n"
        "    rows = run_all([DeadlySpec.create(), quick()], Store(Path(sys.argv[1])),\n"
        "                   backend=ProcessBackend(1, retries=1))\n"
        "    print(*[row['status'] + ': ' + row['reason'] for row in rows], sep=chr(10))\n"
    )
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "store")],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=False,
    )
    dead, alive = done.stdout.splitlines()
    assert dead.startswith("failed"), done.stderr
    assert "worker process died" in dead
    assert alive.startswith("done")


def test_two_runners_share_one_store(tmp_path, undisturbed):
    one = start_sweep(tmp_path, "ProcessBackend(workers=1)")
    two = start_sweep(tmp_path, "ProcessBackend(workers=1)")
    for sweep in (one, two):
        out, err = sweep.communicate(timeout=240)
        assert out.split() == ["done"] * 4, err
    assert results_of(tmp_path / "store") == undisturbed


def test_a_local_ray_cluster_that_loses_a_worker(tmp_path, undisturbed):
    sweep = start_sweep(tmp_path, "RayBackend(workers=2)")
    wait_for(under_way(tmp_path / "store"), 120)
    workers = [p for p in descendants(sweep.pid) if command_of(p).startswith("ray::compute")]
    assert workers
    os.kill(workers[0], signal.SIGKILL)
    out, err = sweep.communicate(timeout=240)
    assert out.split() == ["done"] * 4, err
    assert results_of(tmp_path / "store") == undisturbed


def test_ray_cluster_that_is_not_there():
    with (
        pytest.raises(InputError, match=r"Ray cluster 127\.0\.0\.1:1"),
        RayBackend("127.0.0.1:1").open(),
    ):
        pass


@pytest.mark.parametrize(
    ("backend", "fields", "name"),
    [
        (ProcessBackend, {"workers": 0}, "workers"),
        (ProcessBackend, {"retries": -1}, "retries"),
        (RayBackend, {"workers": 0}, "workers"),
        (RayBackend, {"gpus": -0.5}, "gpus"),
        (RayBackend, {"retries": -1}, "retries"),
    ],
)
def test_bad_backend_settings_are_named(backend, fields, name):
    with pytest.raises(InputError, match=f"`{name}`"):
        backend(**fields)


def test_every_numerical_library_computes_on_the_threads_of_its_worker(tmp_path):
    with threadpool_limits(2):
        (row,) = run_all([ThreadsSpec.create()], Store(tmp_path), backend=SerialBackend())
        after = {pool["num_threads"] for pool in threadpool_info()}
    assert row["torch"] == 1
    assert len(row["pools"]) > 1
    assert set(row["pools"].values()) == {1}
    assert after == {2}


def test_inputs_come_first_and_once(tmp_path):
    both = [quick(tolerance) for tolerance in (0, 0)] + [quick(1)]
    order = missing_runs(both, Store(tmp_path))
    assert [spec.kind() for spec in order] == ["train", "evaluate", "train", "evaluate"]
    run_all([quick()], Store(tmp_path), backend=SerialBackend())
    assert [spec.kind() for spec in missing_runs(both, Store(tmp_path))] == ["train", "evaluate"]


def test_another_pruning_trains_nothing_anew(tmp_path):
    seen = []
    store = Store(tmp_path)
    run_all([quick()], store, backend=SerialBackend())
    again = EvaluateSpec.create(train=quick().train, tolerance=0.3, eps=(0.2,), keep=(0.5,))
    run_all([again], store, backend=SerialBackend(), on_done=lambda spec, _: seen.append(spec))
    assert seen == [again]


def test_failed_input_fails_what_builds_on_it(tmp_path):
    store = Store(tmp_path)
    spec = quick()
    store.folder(spec.train).parent.mkdir(parents=True)
    store.folder(spec.train).write_text("a file where the folder belongs")
    failed, other = run_all([spec, quick(1)], store, backend=SerialBackend())
    assert failed["status"] == "failed"
    assert spec.train.run_id in failed["reason"]
    assert other["status"] == "done"


def test_disk_that_takes_no_more(tmp_path):
    """The system refuses files above 20 kB, as a full disk would."""
    script = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        f"sys.path[:0] = {PATHS!r}\n"
        "from pathlib import Path\n"
        "from test_reproduction_engine import *\n"
        "(row,) = run_all([evaluation()], Store(Path(sys.argv[1])), backend=SerialBackend())\n"
        "print(row['status'], row['reason'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "store")],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=False,
    )
    assert done.stdout.startswith("failed"), done.stderr
    assert "cannot write" in done.stdout
    assert "checkpoint.safetensors" in done.stdout
    assert "Traceback" not in done.stderr
    assert not [p for p in (tmp_path / "store").rglob("*") if p.suffix == ".part"]
    # With room again the sweep goes on as if nothing had been.
    (row,) = run_all([evaluation()], Store(tmp_path / "store"), backend=SerialBackend())
    assert row["status"] == "done"


def test_store_that_cannot_be_written():
    """It is said before anything is computed."""
    with pytest.raises(InputError, match="cannot write in /proc/store"):
        run_all([quick()], Store(Path("/proc/store")), backend=SerialBackend())
