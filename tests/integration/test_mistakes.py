"""Over a hundred mistakes that users make: each is answered by one message that names the mend."""

import json
import re
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

# What is typed, and what the answer must say: the culprit and the mend. NET is a checkpoint.
MISTAKES = [
    # commands
    ("mesure NET", "Did you mean 'measure'?"),
    ("pruning NET", "Did you mean 'prune'?"),
    ("predict lpg --n 3", "Did you mean 'lgp'?"),
    ("data lst", "Did you mean 'list'?"),
    ("sketch encod NET", "Did you mean 'encode'"),
    ("reproduce figure3", "See `prunable reproduce list`"),
    ("reproduce chang2020-fig33", "such as chang2020-fig3"),
    ("reproduce wan2024", "such as wan2023"),
    ("--vresion", "Did you mean --version?"),
    # options
    ("measure NET --csv rows.csv", "`--csv` of `measure` prints; give `> rows.csv` to keep it"),
    ("measure NET --markdown a.md", "`--markdown` of `measure` prints; give `> a.md` to keep it"),
    ("measure NET --jsn", "`measure` has no option --jsn. Did you mean --json?"),
    ("measure NET --epsilon 0.1", "has no option --epsilon. Did you mean --eps?"),
    ("prune NET --kep 0.5", "Did you mean --keep?"),
    ("prune NET --keep 0.5 --output x", "Did you mean --out?"),
    ("prune NET --keep 0.5 --metod unit", "Did you mean --method?"),
    ("prune NET --keep", "'--keep' requires an argument"),
    ("prune", "Missing argument 'MODEL...'"),
    ("train --epochs 1", "Missing option '--out'"),
    ("certify NET", "Missing option '--data'"),
    ("train --data digits --lr 0.1 --eta 0.1 --out x", "Give --lr alone"),
    ("prune NET --keep 0.5 --lr 0.1 --eta 0.1 --out x", "Give --lr alone"),
    ("simulate federated --keep 0.1 --kappa 0.1 --out x", "Give --keep alone"),
    # values
    ("measure NET --eps 0", "`--eps` of `measure` must be relative errors in (0, 1]"),
    ("measure NET --eps 1.5", "`--eps` of `measure` must be relative errors in (0, 1]"),
    ("measure NET --eps small", "'--eps': it must be a number"),
    ("measure NET --p 0", "of `measure` must be positive"),
    ("measure NET --spectrum fast", "is not one of 'auto', 'exact', 'none'"),
    ("measure NET --seed -1", "'--seed'"),
    ("prune NET --keep 50 --out x.safetensors", "`--keep` of `prune` must be between 0 and 1"),
    ("prune NET --keep -0.1 --out x.safetensors", "`--keep` of `prune` must be between 0 and 1"),
    ("prune NET --keep half --out x.safetensors", "'--keep'"),
    ("prune NET --keep 0.5 --method magnitud --out x", "Did you mean magnitude?"),
    ("prune NET --keep 0.5 --scope globl --out x", "Did you mean global?"),
    ("prune NET --keep 0.5 --allocation lmap --out x", "Did you mean lamp?"),
    ("prune NET --keep 0.5 --n-m 4:2 --method n:m --out x.safetensors", "n:m with 0 < n < m"),
    ("train --data digits --epochs 1 --out x --width 0", "`--width` of `train`"),
    ("train --data digits --epochs 1 --out x --net mlp6", "Did you mean mlp5?"),
    ("train --data mnits --epochs 1 --out x", "Did you mean mnist?"),
    ("train --data digits --epochs 1 --out x --noise typ1", "Did you mean type1?"),
    ("train --data digits --epochs 1 --out x --lr -1", "`--lr` of `train`"),
    ("data path mnits", "Did you mean mnist?"),
    ("predict lgp --n 30 --p 50 --s 500", "`--s` of `predict lgp` must be"),
    ("predict lgp --p 50", "needs --n"),
    ("predict features --n 9 --s 3", "needs either FILE.npz or --model FILE"),
    ("simulate chaos --out x --alpha 3", "`--alpha` of `simulate chaos` must be above 1"),
    ("reproduce chang2020-fig1 --scale huge", "is not one of 'smoke', 'laptop', 'paper'"),
    # options of other commands and programs, and several values at once
    ("prune NET --sparsity 0.5 --out x", "Did you mean --keep? It is the share that stays."),
    ("certify NET --inputs x.npz", "`certify` has no option --inputs. Did you mean --data?"),
    ("forecast NET --data x.npz", "Did you mean --inputs?"),
    ("measure NET --eps .1,.2", "got .1,.2. Give each by itself: --eps .1 --eps .2."),
    ("prune NET --keep 0.5 --recalibrate --out x", "an integer. Give --recalibrate one; --out"),
    ("measure NET --top all", "'--top': it must be an integer; got all."),
    ("prune NET --keep 50 --out x.safetensors", "got 50.0. Did you mean 0.5?"),
    # a network of one's own
    ("prune NET --net own --keep 0.5 --out x.safetensors", "Did you mean own:FUNCTION?"),
    ("prune NET --net own.build --keep 0.5 --out x.safetensors", "Did you mean own:build?"),
    ("prune NET --net own:biuld --keep 0.5 --out x.safetensors", "Did you mean build?"),
    ("prune NET --net own.py:build --keep 0.5 --out x.safetensors", "without .py: own:NAME."),
    ("forecast NET --inputs X --accuracy .9", "Name it by `--net`, such as mynet:build"),
    ("forecast NET --net own:biuld --inputs X", "`--net` own:biuld of `forecast` cannot be built"),
    ("forecast NET --net own:build --inputs WIDE", "`--inputs` of shape (40, 50) does not fit"),
    ("forecast NET --net own:build --inputs X --methods lamp", "Did you mean magnitude/lamp?"),
    (
        "prune NET --net own:build --keep 0.5 --input-shape 2,9 --out x.safetensors",
        "without the batch.",
    ),
    (
        "prune NET --net own:build --keep 0.5 --calibrate TEXT.csv --out x.safetensors",
        "`--calibrate` TEXT.csv is no data set",
    ),
    ("advise NET --net own:build --inputs X --accuracy .9 --confidence 95", "Did you mean 0.95?"),
    ("check NET JSON --inputs X", "the plan first, then the checkpoint: prunable check x.json"),
    ("check NET NET --inputs X", "give a plan that `prunable advise` wrote"),
    ("evaluate nothere --text TEXT", "nothere is missing; check the path"),
    ("forecast nothere --text TEXT", "nothere is missing; check the path"),
    # files
    ("measure nothere.safetensors", "nothere.safetensors is missing; check the path"),
    ("prune nothere.pt --keep 0.5 --out x.safetensors", "nothere.pt is missing; check the path"),
    ("measure EMPTY", "is empty; fetch or write it again"),
    ("measure TEXT", "of no known format; give weights as safetensors"),
    ("measure LFS", "run git lfs pull"),
    ("measure HTML", "is a web page, not a file of weights; fetch it again"),
    ("measure FOLDER", "holds no weights"),
    ("measure BIASES", "holds no weight matrix to measure"),
    ("measure NAN", "layer.weight"),
    ("verify NET", "is no certificate"),
    ("verify JSON", "is no certificate"),
    ("sketch decode NET --out x.safetensors", "NET"),
    ("evaluate NET --text TEXT", "is no folder of transformers"),
    # what does not go together
    ("prune NET --keep 0.5", "needs --out FILE, or --dry-run"),
    ("prune NET --out x.safetensors", "--keep"),
    ("prune NET --keep 0.5 --eps 0.1 --out x.safetensors", "--eps"),
    ("prune NET --keep 0.5 --out NET", "Name another file, or give --in-place instead."),
    ("sketch encode NET --out NET", "is the checkpoint, net.safetensors, which stays as it is."),
    ("sketch decode NET --out x.bin", "must be a file ending in .safetensors"),
    ("prune NET --keep 0.5 --out x.bin", ".safetensors"),
    ("prune NET --keep 0.5 --allocation lamp --out x.safetensors", "without --scope global"),
    ("prune NET --keep 0.5 --noise type1 --alpha 1.8 --out x.safetensors", "without --retrain"),
    ("prune NET NET --keep 0.5 --out x.safetensors", "several go with --compare"),
    ("prune NET --keep 0.5 --data mnits --out x.safetensors", "digits"),
    ("measure NET NET --against NET", "compares one model with another"),
    ("measure NET --report x.pdf", "`--report` of `measure` must be a file ending in .html"),
    ("train --data digits --out x", "give either --epochs or --until-accuracy"),
    ("train --data digits --epochs 1 --alpha 1.5 --out x", "Choose type1, type2 or type3"),
    ("predict lgp --n 30 --p 50 --points 9", "`--points` of `predict lgp` has no effect without"),
    ("predict lgp --n 30 --p 50 --figure x.svg", "add --sweep width"),
    ("measure NET --address auto", "has no effect without --backend ray"),
    ("prune NET --keep 0.5 --address auto --out x.safetensors", "without --backend ray"),
    ("prune NET --keep 0.5 --backend ray --out x.safetensors", "needs what is pruned shard by"),
    ("prune NET --compare --backend ray --data digits --out x", "has no effect with --compare"),
    ("prune NET --keep 0.5 --norms NET --out x.safetensors", "without --method wanda alone"),
    ("prune NET --method wanda --keep 0.5 --norms NET --out x.safetensors", "no sizes of inputs"),
    (
        "prune NET --method wanda --keep .5 --scope global --allocation erk --norms NET --out x",
        "`--norms` of `prune` needs weights that are pruned as they lie in files",
    ),
    ("prune NET --method wanda --keep 0.5 --out x.safetensors", "give --calibrate, or --norms"),
    ("reproduce all --gpus 1", "has no effect without --backend ray"),
    ("simulate federated --out x --concentration 1", "without --partition dirichlet"),
    # found late, half said, or said in words of the code
    ("--json measure NET", "Options of a command come after its name."),
    (
        "measure NET --fail-if kept>80",
        "of `measure` must be between 0 and 1; got 80.0. Did you mean 0.8",
    ),
    ("measure NET --fail-if kpet>0.8", "got kpet. Did you mean kept?"),
    ("measure NET --against OTHER", "OTHER has no layer of the same name as net.safetensors"),
    ("measure NET OTHER", "Give checkpoints of one network."),
    (
        "prune NET --plan JSON --out x.safetensors",
        "is no plan (no entry 'schema_version'); give a plan",
    ),
    ("prune NET --plan NET --out x.safetensors", "cannot be read (it is no text); give a plan"),
    ("forecast NET --net own:build --inputs FEW --accuracy .9", "`--inputs` of `forecast` must be"),
    ("forecast NET --net own:build --accuracy .9", "; got nothing."),
    ("certify NET --data digits --held-out tets", "`--held-out` tets is no registered data set"),
    ("certify digits --data NET", "`--data` net.safetensors is no registered data set"),
    ("iterate --data digits --keep .5 --control dens --out x", "`--control` of `iterate` must be"),
    ("train --data digits --epochs 1 --out x --average 100000", "between 0 and the 3 steps"),
    ("train --data digits --epochs 1 --out x --device gpu", "Did you mean cpu?"),
    ("train --data digits --epochs 1 --noise type1 --sigma 1 --out x", "(0, 2]; got nothing."),
    (
        "train --data digits --until-accuracy 99 --out x",
        "`--until-accuracy` of `train` must be less",
    ),
    (
        "predict lgp --n 9 --p 50 --s 5 --spectrum MATRIX",
        "`--spectrum` of `predict lgp` must be one-",
    ),
    ("simulate chaos --out TEXT --scale smoke", "cannot write in notes.txt"),
    ("reproduce chang2020-fig1 --out TEXT --scale smoke", "cannot write in notes.txt"),
    # what cannot be written is refused before the work, and refusals come before estimates
    *(
        (f"{typed} notes.txt/new.{ending}", f"cannot write notes.txt/new.{ending}: Not a directory")
        for typed, ending in (
            ("measure NET --fail-if kept>0.5 --junit", "xml"),
            ("measure NET --report", "html"),
            ("prune NET --keep 0.5 --out x.safetensors --onnx", "onnx"),
            ("advise NET --inputs X --accuracy 0.9 --at-most-loss 0.1 --junit", "xml"),
            ("forecast NET --inputs X --figure", "svg"),
            ("certify NET --data digits --figure", "svg"),
            ("predict lgp --n 30 --p 50 --s 5 --figure", "svg"),
            ("predict rf --d 5 --n 30 --p 9 --s 5 --figure", "svg"),
            ("predict features X --n 9 --s 3 --figure", "svg"),
            ("sketch encode NET --out", "bin"),
        )
    ),
    ("certify NET --data digits --states TEXT", "cannot write notes.txt/state"),
    ("forecast NET --inputs X --report dated.html", "cannot write dated.html: Is a directory"),
    ("predict rf --d 5 --n 30 --p 9 --s 5 --figure x.png", "a file ending in .svg"),
    ("train --data digits --net vgg --epochs 9 --out x", "a picture of sides of 16 or more"),
    ("iterate --data digits --net vgg --keep 0.5 --out x", "a picture of sides of 16 or more"),
    ("reproduce wan2023-table1 --device cuda:77", "Choose auto or cpu"),
    ("demo --device cuda:77", "Choose auto or cpu"),
]
# Words of the code that no user has typed.
INTERNAL = re.compile(r"Traceback|Spec`|Settings`|`kappa`|Value error|NoneType|Error:|object at 0x")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mistakes")
    rng = np.random.default_rng(0)
    weights = torch.from_numpy(rng.standard_normal((40, 40))).float()
    save_file(
        {"layer.weight": weights, "layer.bias": weights[0].clone()}, folder / "net.safetensors"
    )
    save_file({"layer.bias": weights[0].clone()}, folder / "biases.safetensors")
    save_file({"layer.weight": weights * float("nan")}, folder / "nan.safetensors")
    texts = {
        "empty.safetensors": "",
        "notes.txt": "weights are elsewhere " * 20,
        "lfs.safetensors": "version https://git-lfs.github.com/spec/v1\n",
        "page.pt": "<!DOCTYPE html><html></html>",
        "x.json": json.dumps({"a": 1}),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "own.py").write_text(
        "from collections import OrderedDict\nfrom torch import nn\n"
        "def build():\n    return nn.Sequential(OrderedDict(layer=nn.Linear(40, 40)))\n"
    )
    np.savez(folder / "inputs.npz", x=rng.standard_normal((40, 40)).astype("float32"))
    np.savez(folder / "few.npz", x=rng.standard_normal((5, 40)).astype("float32"))
    np.save(folder / "matrix.npy", rng.standard_normal((50, 40)))
    save_file({"other.weight": weights.clone()}, folder / "other.safetensors")
    np.savez(folder / "wide.npz", x=rng.standard_normal((40, 50)).astype("float32"))
    (folder / "folder").mkdir()
    (folder / "dated.html").mkdir()
    named = {
        "NET": "net.safetensors",
        "BIASES": "biases.safetensors",
        "NAN": "nan.safetensors",
        "EMPTY": "empty.safetensors",
        "TEXT": "notes.txt",
        "LFS": "lfs.safetensors",
        "HTML": "page.pt",
        "JSON": "x.json",
        "FOLDER": "folder",
        "X": "inputs.npz",
        "WIDE": "wide.npz",
        "FEW": "few.npz",
        "MATRIX": "matrix.npy",
        "OTHER": "other.safetensors",
    }
    return folder, named


def test_there_are_over_a_hundred():
    assert len({typed for typed, _ in MISTAKES}) >= 110


def contents(folder):
    files = (path for path in folder.rglob("*") if "__pycache__" not in path.parts)
    return {path: path.read_bytes() if path.is_file() else b"" for path in files}


@pytest.mark.parametrize(("typed", "mend"), MISTAKES, ids=[typed for typed, _ in MISTAKES])
def test_a_mistake_is_answered_by_one_message(run, files, monkeypatch, typed, mend):
    folder, named = files
    monkeypatch.chdir(folder)
    before = contents(folder)
    done = run(*(named.get(word, word) for word in typed.split()))
    assert done.exit_code in (2, 4), done.output
    said = done.stderr.strip()
    assert said.startswith("error: ")
    assert said.count("\n") == 0, said
    assert " ".join(named.get(word, word) for word in mend.split(" ")) in said
    assert not INTERNAL.search(said), said
    assert len(said) < 500
    assert done.stdout == ""
    assert contents(folder) == before


def test_what_is_not_installed_is_said_before_any_work(run, tmp_path, monkeypatch):
    """The checkpoint is not there, which work would find."""
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.chdir(tmp_path)
    typed = "prune absent.safetensors --keep 0.5 --out o.safetensors --onnx o.onnx"
    done = run(*typed.split())
    assert done.exit_code == 2
    assert "prunable[onnx]" in done.stderr
    assert not list(tmp_path.iterdir())
