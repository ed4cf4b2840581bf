"""Specifications of runs that measure, prune and compare networks, or prune while training."""

import math
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, cast, get_args

from pydantic import Field, field_validator, model_validator

from prunable.errors import InputError, check_one_of, require
from prunable.experiments.train.specs import MeanFieldSpec, Noise, Optimizer, Schedule, TrainSpec
from prunable.nets.catalogue import NETS
from prunable.nets.prune import choices
from prunable.nets.prune.plan import Budget, Energy, Error, Keep, Target
from prunable.runs.data import DataSpec
from prunable.runs.spec import Frozen, Spec

# Networks that are trained beside a ticket, or under other masks of its size.
Control = Literal["dense", "re-initialised", "shuffled", "random"]


class EvaluateSpec(Spec):
    """Measures and prunes one trained network."""

    stage: ClassVar[str] = "prunable.experiments.train.stages:evaluate_stage"

    train: MeanFieldSpec
    # bound of both pruning criteria: relative Frobenius error <= tolerance, and squared relative
    # error <= tolerance
    tolerance: float = Field(default=0.1, gt=0, lt=1)
    eps: tuple[float, ...]  # grid of the curve kappa(eps)
    keep: tuple[float, ...]  # grid of shares kept for the accuracy curve
    # log10 range of the histogram of unit norms; outliers fall in the end bins
    norm_decades: tuple[float, float] = (-1.0, 3.0)
    norm_bins: int = Field(default=80, ge=1)


class PruneSpec(Spec):
    """Prunes one trained network to a share kappa of its hidden units.

    An evaluation in its place stands for the share that it keeps at its squared relative error.
    """

    stage: ClassVar[str] = "prunable.experiments.train.stages:prune_stage"

    train: MeanFieldSpec
    kappa: Annotated[float, Field(ge=0, le=1)] | EvaluateSpec


class Retraining(Frozen):
    """How to train on after pruning, pruned weights held at 0 and free of noise."""

    epochs: int = Field(0, ge=0, description="Epochs to train on, pruned weights held at 0.")
    lr: float = Field(0.05, gt=0, description="Step size.")
    batch: int = Field(128, ge=1, description="Examples a step.")
    optimizer: Optimizer = Field("sgd", description="Rule of the steps.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Of sgd.")
    schedule: Schedule = Field("cosine", description="Of the step size.")
    rewind: Path | None = Field(None, description="Weights to start again from, such as the first.")
    noise: Noise = Field("none", description="Injected noise.")
    alpha: float | None = Field(None, description="Its tail index.")
    sigma: float = Field(0.0, description="Its level.")

    @model_validator(mode="after")
    def _noise_is_whole(self) -> Self:
        if self.noise != "none" and self.alpha is None:
            raise InputError("`--noise` of `prune` needs its tail index: give --alpha.")
        return self


class PruningJob(Frozen):
    """What `prune_checkpoint` is asked to do; the fields are the options of `prunable prune`."""

    checkpoint: Path
    out: Path | None = Field(
        None, description="Pruned file to write; a folder with --compare, or for a folder."
    )
    in_place: bool = Field(
        False, description="Write over the checkpoint, one safetensors file, in place of --out."
    )
    # never None once it is made
    method: str | None = Field(
        None,
        description="magnitude if nothing else is asked for; unit: rows; node: columns of one "
        "input; wanda: by weights times inputs; obs: what is left makes up for what goes; "
        "calibrated: what does best in each layer, meant by --calibrate alone; these three need "
        "it.",
    )
    n_m: str | None = Field(
        None, description="Weights kept of each m inputs, with n:m (2:4 by default), wanda or obs."
    )
    keep: float | None = Field(None, description="Share to keep, kappa in [0, 1].")
    plan: Path | None = Field(
        None, description="Plan of `prunable advise`, in place of a method and a share."
    )
    eps: float | None = Field(None, description="Relative l_2 error allowed in each layer.")
    energy: float | None = Field(None, description="Share of each layer's squared norm to retain.")
    target: str | None = Field(
        None,
        description="With --method unit: share of parameters, macs or ms to leave, as macs=0.5; "
        "ms at the first --batch-size.",
    )
    scope: choices.Sharing = Field(
        "layer",
        description="Share of each layer, or of all together; with --target and --data also by "
        "what each group of units does to the outputs.",
    )
    aggregate: choices.Aggregate | None = Field(
        None, description="With --method unit: how scores of coupled matrices become one: mean."
    )
    round_to: int = Field(
        1, ge=1, description="With --method unit: units are kept in multiples of this."
    )
    allocation: choices.ShareRule = Field(
        "threshold",
        description="With --scope global: how layers share, for magnitude, wanda and obs; optimum "
        "and atp look at the outputs of the network for the inputs of --calibrate.",
    )
    slope: float | None = Field(
        None, description="With --allocation atp: how much less each layer keeps than the last."
    )
    calibrate: str | None = Field(
        None,
        description="Unlabelled inputs to run: a data set as for --data; .pt, .npy, .npz with x "
        "or .safetensors, as for --example; a text (.txt) for a language model; gaussian, or "
        "tokens drawn by chance, which are no data.",
    )
    calibrate_size: int = Field(128, ge=1, description="How many of those; windows of a text.")
    calibrate_length: int = Field(512, ge=2, description="Tokens of a window.")
    norms: Path | None = Field(
        None,
        description="Root mean squares of inputs by the names of weights, in place of "
        "--calibrate, safetensors: --method wanda prunes files as they lie.",
    )
    in_order: bool = Field(
        False,
        description="Prune block by block, or layer by layer, on what the pruned ones before send; "
        "goes on where it stopped.",
    )
    stream: bool = Field(
        False,
        description="Keep one block of a folder of transformers in memory at a time, for networks "
        "that do not fit; in order, with --calibrate.",
    )
    refit: bool = Field(
        False, description="Least-squares weights in the end, for any mask; needs --calibrate."
    )
    towards: choices.Towards = Field(
        "layer",
        description="With obs or --refit: what layers are fitted to; network: the outputs of the "
        "dense one, in order, as calibrated does where it is no language model.",
    )
    bias_correction: bool = Field(
        False, description="Biases take the mean of what outputs lose; needs --calibrate."
    )
    center: choices.Center = Field("zero", description="What pruned weights are set to.")
    only: tuple[str, ...] = Field(("*",), description="Parameters to prune; patterns with * and ?.")
    exclude: tuple[str, ...] = Field((), description="Parameters to leave alone.")
    seed: int = Field(0, description="Of methods that draw, and of retraining.")
    force: bool = Field(False, description="Let a layer be pruned to nothing.")
    net: str | None = Field(
        None,
        description="Architecture the weights belong to, if the file does not say: a name of "
        "`prunable train`, mlp, torchvision:NAME, timm:NAME, SOURCE:NAME of a plugin, hub, or "
        "MODULE:FUNCTION of your own.",
    )
    data: str | None = Field(
        None,
        description="To measure accuracy and retrain on: a set of `prunable data list`, "
        "MODULE:FUNCTION, an .npz file, or a folder of pictures.",
    )
    input_shape: str | None = Field(
        None, description="Shape of one example, as 3,224,224; what pictures are stretched to."
    )
    example: Path | None = Field(
        None, description="What the network is called with: .pt, .npz, .npy or .safetensors."
    )
    shrink: bool = Field(
        False, description="Cut out pruned nodes; factor layers of pruned singular values."
    )
    batch_size: tuple[int, ...] = Field(
        (), description="Batch sizes to time; by default 1 and 256, less for large networks."
    )
    retraining: Retraining = Retraining()
    recalibrate: int = Field(
        0,
        ge=0,
        description="Training inputs of --data, or else of --calibrate, to estimate BatchNorm "
        "statistics from in the end.",
    )
    storage: choices.Storage = Field(
        "dense", description="dense: zeros stored; bitmask: a bit a weight and what is left."
    )
    onnx: Path | None = Field(None, description="ONNX file to write as well.")
    dry_run: bool = Field(False, description="Show the plan only.")
    unpickle: bool = Field(False, description="Let a pickled model run its code.")

    @model_validator(mode="before")
    @classmethod
    def _usual_method(cls, given: Any) -> Any:
        """Inputs alone mean the way that needs no choice."""
        if not isinstance(given, dict) or given.get("method") is not None:
            return given
        plain = not given.get("refit") and given.get("center", "zero") == "zero"
        usual = given.get("calibrate") is not None and plain
        return given | {"method": "calibrated" if usual else "magnitude"}

    @field_validator("method")
    @classmethod
    def _known(cls, method: str) -> str:
        check_one_of(method, choices.methods(), "method", "prune")
        return method

    @property
    def budget(self) -> Budget:
        """The one budget that is given; InputError if there are none or several."""
        if self.method == "n:m" or (self.n_m is not None and self.pattern):
            return self._pattern_budget()
        given = (self.keep, self.eps, self.energy, self.target)
        if sum(value is not None for value in given) != 1:
            raise InputError("`prune` needs exactly one of --keep, --eps, --energy and --target.")
        if self.target is not None:
            return self._target()
        if self.scope == "sensitivity":
            raise InputError("`--scope sensitivity` of `prune` goes with --target and --data.")
        if self.keep is not None:
            return Keep(self.keep, self.scope)
        if self.scope != "layer":
            raise InputError(
                f"`--scope {self.scope}` of `prune` does not go with errors, which are layer by "
                "layer. Give --keep or --target."
            )
        return Error(self.eps) if self.eps is not None else Energy(self.energy or 0.0)

    @property
    def calibrates_tokens(self) -> bool:
        """Whether calibration inputs are windows of tokens, of a text or drawn."""
        source = self.calibrate or ""
        return source == "tokens" or Path(source).suffix == ".txt"

    @property
    def pattern(self) -> tuple[int, int] | None:
        """The numbers of --n-m; InputError if it is no pattern, or has no effect."""
        if self.n_m is not None and self.method not in ("n:m", *choices.CALIBRATED):
            raise InputError("`--n-m` of `prune` has no effect without --method n:m, wanda or obs.")
        text = self.n_m or ("2:4" if self.method == "n:m" else None)
        return None if text is None else choices.pattern_of(text, "prune")

    def _pattern_budget(self) -> Keep:
        n, m = self.pattern or (2, 4)
        others = {"--eps": self.eps, "--energy": self.energy, "--target": self.target}
        given = [name for name, value in others.items() if value is not None]
        given += ["--keep"] if self.keep not in (None, n / m) else []
        given += [f"--scope {self.scope}"] if self.scope != "layer" else []
        if given:
            pattern = "--method n:m" if self.method == "n:m" else f"--n-m {n}:{m}"
            raise InputError(
                f"`{given[0]}` of `prune` contradicts {pattern}, which keeps {n} of each {m} "
                "inputs of every output. Leave it out."
            )
        return Keep(n / m)

    def _target(self) -> Target:
        cost, _, share = str(self.target).partition("=")
        try:
            value = float(share)
        except ValueError:
            value = math.nan
        known = cost in get_args(choices.Cost) and 0 <= value <= 1
        wanted = "parameters=SHARE, macs=SHARE or ms=SHARE, with a share in [0, 1]"
        require(known, "target", "prune", wanted, self.target)
        size = self.batch_size[0] if cost == "ms" and self.batch_size else 1
        return Target(cast(choices.Cost, cost), value, size, self.scope)


class ContenderSpec(Spec):
    """Prunes one checkpoint, known by its content, by one strategy to several shares."""

    stage: ClassVar[str] = "prunable.experiments.prune.strategy_comparison:contender_stage"

    checkpoint: str
    digest: str
    unpickle: bool = False
    dataset: DataSpec
    net: str | None = None
    strategy: str
    kappas: tuple[float, ...]
    retraining: Retraining | None = None
    seed: int = Field(0, ge=0)


class IterateSpec(TrainSpec):
    """Trains in rounds, each of `steps` steps, and prunes single weights after each.

    After the rounds the ticket is trained for `last_steps` under its masks, and so are the
    controls: the whole network; the ticket's masks on other first weights; each layer's mask
    shuffled; and as many weights drawn from all layers together.
    """

    stage: ClassVar[str] = "prunable.experiments.prune.iterating:iterate_stage"

    net: str = Field("lenet-300-100", description=f"Architecture: {', '.join(NETS)}.")
    lr: float = Field(0.05, gt=0, description="Step size.")
    batch_size: int = Field(128, ge=1, description="Examples a step.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Of sgd.")
    weight_decay: float = Field(5e-4, ge=0, description="Shrinkage of weights.")
    schedule: Schedule = Field("cosine", description="Of the step size, each round.")
    method: Literal["magnitude", "random"] = Field("magnitude", description="Which weights go.")
    allocation: choices.ShareRule = Field(
        "threshold", description="How layers share, for magnitude."
    )
    keep: float = Field(gt=0, le=1, description="Share to keep in the end, kappa.")
    rounds: int = Field(10, ge=1, description="Rounds of training and pruning.")
    rewind: choices.Rewind = Field(
        "init",
        description="What returns after a round: weights to the first (init) or to those of a "
        "step; the learning rate alone; or none.",
    )
    rewind_step: int = Field(0, ge=0, description="The step to return to.")
    only: tuple[str, ...] = Field(("*",), description="Parameters to prune; * and ? match.")
    exclude: tuple[str, ...] = Field((), description="Parameters to leave alone.")
    force: bool = Field(False, description="Whether a layer may be pruned to nothing.")
    last_steps: int = Field(0, ge=0, description="Steps of the last training; 0 for none.")
    controls: tuple[Control, ...] = Field((), description="What is trained beside the ticket.")
    unit: float = Field(1.0, gt=0, description="Inputs are divided by this.")

    @model_validator(mode="after")
    def _rounds_are_whole(self) -> Self:
        choices.check_rewind(self.rewind, self.rewind_step, "IterateSpec")
        step, wanted = self.rewind_step, f"below `steps`, {self.steps}"
        require(step < self.steps, "rewind_step", "IterateSpec", wanted, step)
        if self.rewind == "none" and self.schedule != "constant":
            raise InputError(
                "`schedule` of `IterateSpec` ends at 0, and without rewinding it stays there. "
                "Choose constant, or another `rewind`."
            )
        if self.controls and not self.last_steps:
            raise InputError("`controls` of `IterateSpec` are trained last: give `last_steps`.")
        if self.average_last:
            raise InputError("`average_last` of `IterateSpec` has no use: leave it out.")
        return self

    @property
    def total_steps(self) -> int:
        """Most steps of all trainings."""
        return self.rounds * self.steps + self.last_steps * (1 + len(self.controls))

    def estimated_seconds(self) -> float:
        """Rough time on one core."""
        return super().estimated_seconds() * self.total_steps / self.steps
