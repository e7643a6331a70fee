"""The sections of a training run's configuration: every value, its help, its flag and its limits in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..config import option
from ..metric.sop import ENERGY, MEMORY, VIEWS
from ..model import MODELS
from ..neuron import NEURONS
from ..surrogate import SURROGATES
from .data_config import DataConfig
from .loss import LOSSES
from .optim import OPTIMIZERS
from .presets import PRESETS
from .schedule import SCHEDULES, WARMUPS

__all__ = ["Config", "DataConfig", "EnergyConfig", "ModelConfig", "NeuronConfig", "OptimConfig", "TrainConfig"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """the net"""

    name: str = option("csnn", "architecture", "--model", choices=MODELS)
    T: int = option(4, "time steps; a static image is shown at each of them", "-T", "--time-steps", at_least=1)
    channels: int | None = option(None, "channels of the convolutions; none: the model's own", "--channels", at_least=1)
    hidden: tuple[int, ...] | None = option(
        None, "sizes of the hidden layers of a fully connected net, as 512,512", "--hidden", at_least=1
    )
    args: Mapping[str, Any] = option({}, "further arguments of the model, as --set model.args.NAME=VALUE")


@dataclass(frozen=True, kw_only=True)
class NeuronConfig:
    """its neurons"""

    name: str = option("if", "spiking neuron", "--neuron", choices=NEURONS)
    surrogate: str | None = option(
        "atan", "surrogate gradient; none: the neuron's own", "--surrogate", choices=SURROGATES
    )
    alpha: float | None = option(None, "sharpness of the surrogate; none: the surrogate's own", "--alpha", above=0)
    args: Mapping[str, Any] = option({}, "further arguments of the neuron, as --set neuron.args.tau=3.0")


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """how it learns"""

    name: str = option("sgd", "optimiser", "--opt", choices=OPTIMIZERS)
    lr: float = option(0.1, "learning rate", "--lr", above=0)
    momentum: float = option(0.9, "momentum (sgd, nesterov and rmsprop)", "--momentum", at_least=0, below=1)
    weight_decay: float = option(0.0, "weight decay", "--weight-decay", "--wd", at_least=0)
    norm_weight_decay: float | None = option(
        None, "that of normalisation layers; none: as the others", "--norm-weight-decay", at_least=0
    )
    bias_weight_decay: float | None = option(
        None, "that of biases; none: as the others", "--bias-weight-decay", at_least=0
    )
    neuron_weight_decay: float | None = option(
        None,
        "that of what neurons learn (time constants, thresholds...); none: as the others",
        "--neuron-weight-decay",
        at_least=0,
    )
    scheduler: str = option("cosine", "course of the learning rate", "--lr-scheduler", choices=SCHEDULES)
    schedule_by: str = option("epoch", "when it moves on", "--lr-schedule-by", choices=("epoch", "step"))
    warmup_epochs: int = option(0, "epochs before that with a smaller rate", "--lr-warmup-epochs", at_least=0)
    warmup_method: str = option(
        "linear", "linear: it rises to the full rate; constant: it stays", "--lr-warmup-method", choices=WARMUPS
    )
    warmup_decay: float = option(
        0.01, "share of the full rate with which the warm-up begins", "--lr-warmup-decay", at_least=0
    )
    warmup_by: str = option("step", "when the warm-up moves on", "--lr-warmup-by", choices=("epoch", "step"))
    step_size: int = option(30, "epochs between two steps (step)", "--lr-step-size", at_least=1)
    gamma: float = option(0.1, "factor of each step (step) or epoch (exp)", "--lr-gamma", above=0)
    restart_epochs: int = option(10, "epochs to the first restart (warm_restarts)", "--lr-restart-epochs", at_least=1)
    restart_mult: int = option(
        2, "how many times longer each cycle is than the one before (warm_restarts)", "--lr-restart-mult", at_least=1
    )


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """the run"""

    preset: str = option(
        "published",
        "settings below all others. published: what each net was published with; soul: those of the SOUL scripts",
        "--preset",
        choices=PRESETS,
    )
    epochs: int = option(64, "epochs", "--epochs", at_least=1)
    loss: str = option("mse_rate", "loss on the spikes of the last layer", "--loss", choices=LOSSES)
    label_smoothing: float = option(
        0.0, "share of the label that is spread over all classes", "--label-smoothing", at_least=0, below=1
    )
    tet_lambda: float = option(1e-3, "weight of the pull to tet_phi, in [0, 1] (tet)", "--tet-lambda", at_least=0)
    tet_phi: float = option(1.0, "what every output is pulled to (tet)", "--tet-phi")
    correct_rate: float = option(
        1.0, "firing rate wanted of the right class, in [0, 1] (mse_count)", "--correct-rate", at_least=0
    )
    incorrect_rate: float = option(0.0, "and of the others (mse_count)", "--incorrect-rate", at_least=0)
    on_target: float = option(1.0, "potential wanted of the right class (mse_membrane)", "--on-target")
    off_target: float = option(0.0, "and of the others (mse_membrane)", "--off-target")
    firing_rate_strength: float = option(
        0.0, "weight of the penalty on firing rates beyond bounds; 0: none", "--firing-rate-strength", at_least=0
    )
    firing_rate_lower: float = option(
        0.0, "spikes per step below which the penalty sets in; 0: none", "--firing-rate-lower", at_least=0
    )
    firing_rate_upper: float | None = option(
        None, "spikes per step above which it sets in; none: no bound", "--firing-rate-upper", at_least=0
    )
    firing_rate_power: int = option(
        2, "1: the distance from the bound, 2: its square", "--firing-rate-power", at_least=1, below=3
    )
    firing_rate_per: str = option(
        "layer", "whose mean rate is bounded, for each sample", "--firing-rate-per", choices=("layer", "neuron")
    )
    clip_grad_norm: float | None = option(
        None, "norm that the gradient of all parameters is scaled down to", "--clip-grad-norm", above=0
    )
    clip_grad_value: float | None = option(
        None, "value that each element of the gradient is cut off at, before the norm", "--clip-grad-value", above=0
    )
    check_gradients: bool = option(
        False, "stop at a gradient that is not finite and say where", "--check-gradients", may_change=True
    )
    model_ema: bool = option(False, "also keep and test a moving average of the weights", "--model-ema")
    model_ema_steps: int = option(32, "steps between two updates of the average", "--model-ema-steps", at_least=1)
    model_ema_decay: float = option(
        0.99998,
        "its decay, before the adjustment to batch size, steps and epochs",
        "--model-ema-decay",
        at_least=0,
        below=1,
    )
    seed: int = option(0, "seed of weights, data order and everything random", "--seed", at_least=0, below=2**32)
    device: str = option("auto", "cpu, cuda, cuda:1, ...; auto: cuda if there is one", "--device", may_change=True)
    threads: int | None = option(
        None, "CPU threads; none: as torch chooses", "--threads", metavar="N", at_least=1, may_change=True
    )
    amp: str = option("off", "mixed precision", "--amp", choices=("off", "fp16", "bf16"))
    compile: bool = option(False, "compile the net with torch.compile", "--compile", may_change=True)
    compile_backend: str = option(
        "inductor", "compiler of torch that does it", "--compile-backend", metavar="NAME", may_change=True
    )
    checkpoint_activations: bool = option(
        False,
        "compute the blocks of the net once more in the backward pass: less memory",
        "--checkpoint-activations",
        may_change=True,
    )
    engine: str = option(
        "auto",
        "neuron kernels: native (fused), torch (plain loop), auto",
        "--engine",
        choices=("auto", "native", "torch"),
        may_change=True,
    )
    output_dir: str = option(
        "logs", "folder in which each run gets a folder of its own", "--output-dir", metavar="DIR", may_change=True
    )
    name: str | None = option(None, "name of the run's folder; none: made from the settings", "--name", may_change=True)
    resume: str | None = option(
        None,
        "go on with a run: its folder, a checkpoint in it, or auto: the newest run of just these settings, if any",
        "--resume",
        metavar="RUN",
        may_change=True,
    )
    save_every_steps: int = option(
        0,
        "also write last.pt every so many steps; 0: after every epoch only",
        "--save-every-steps",
        at_least=0,
        may_change=True,
    )
    keep_freed_blocks: bool = option(
        True, "reuse freed memory instead of returning it to the system", "--keep-freed-blocks", may_change=True
    )
    save_every_epochs: int = option(
        0,
        "also keep a checkpoint epoch-N.pt of every so many epochs; 0: none",
        "--save-every-epochs",
        at_least=0,
        may_change=True,
    )
    keep: int = option(
        0, "of these, keep only so many, the newest; 0: all", "--keep", metavar="N", at_least=0, may_change=True
    )
    grad_accum: int = option(
        1, "work each batch off in so many parts and add up their gradients: less memory", "--grad-accum", at_least=1
    )
    sync_bn: bool = option(False, "batch norms over the samples of all ranks", "--sync-bn")
    unused_parameters: str = option(
        "auto",
        "whether the net has parameters that get no gradient, on several ranks; auto: tried once; yes: looked for at "
        "every step",
        "--unused-parameters",
        choices=("auto", "yes", "no"),
        may_change=True,
    )
    parallel: str = option(
        "ddp",
        "several ranks: each has the whole net (ddp), or they divide its parameters, gradients and optimiser states "
        "(fsdp): for nets that outgrow one GPU",
        "--parallel",
        choices=("ddp", "fsdp"),
        may_change=True,
    )
    rank_timeout: float = option(
        600.0, "seconds that a rank waits for the others", "--rank-timeout", above=0, may_change=True
    )
    tensorboard: bool = option(True, "write TensorBoard files if it is installed", "--tensorboard", may_change=True)


@dataclass(frozen=True, kw_only=True)
class EnergyConfig:
    """what its operations cost"""

    samples: int = option(
        128,
        "test samples on which operations and energy are counted at the end; 0: none",
        "--energy-samples",
        at_least=0,
        may_change=True,
    )
    mode: str = option("exact", "what counts as an operation", "--energy-mode", choices=VIEWS, may_change=True)
    first_layer: str = option(
        "once",
        "how often a layer counts whose input is the same at every step",
        "--energy-first-layer",
        choices=("once", "every_step"),
        may_change=True,
    )
    cost: str = option("fp32", "energy of an operation", "--energy-cost", choices=ENERGY, may_change=True)
    memory: str = option("on_chip", "energy of moving a byte", "--energy-memory", choices=MEMORY, may_change=True)


@dataclass(frozen=True, kw_only=True)
class Config:
    """A training run."""

    model: ModelConfig = field(default_factory=ModelConfig)
    neuron: NeuronConfig = field(default_factory=NeuronConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    energy: EnergyConfig = field(default_factory=EnergyConfig)
