"""The arguments of `Trainer`: those of SpikingJelly's training script with its defaults, and some more.

A table, so that what is accepted, its default and its help stand in one place.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Mapping
from typing import Any

import torch

from ..config import parse_yaml
from ..errors import ConfigError

__all__ = ["ARGUMENTS", "MAY_CHANGE", "NAMED", "add_arguments", "changes", "completed", "settings_of", "without_effect"]

FLAG = {"action": "store_true"}


def _arg(default: Any, kind: Any, help: str, **more: Any) -> dict[str, Any]:
    return {"default": default, "type": kind, "help": help, **more}


# flags -> what argparse is told of them
ARGUMENTS: dict[tuple[str, ...], dict[str, Any]] = {
    ("--data-path",): _arg("/datasets01/imagenet_full_size/061417/", str, "folder with train and val"),
    ("--model",): _arg("resnet18", str, "model name"),
    ("--device",): _arg("cuda", str, "cuda, cpu or auto"),
    ("-b", "--batch-size"): _arg(32, int, "images per rank; the whole batch is ranks x batch size"),
    ("--epochs",): _arg(90, int, "total epochs", metavar="N"),
    ("-j", "--workers"): _arg(None, int, "processes that read images; default: as suits data and CPUs", metavar="N"),
    ("--opt",): _arg("sgd", str, "sgd, nesterov, adam, adamw, adamax, rmsprop; sgd_nesterov is nesterov"),
    ("--lr",): _arg(0.1, float, "initial learning rate"),
    ("--momentum",): _arg(0.9, float, "momentum", metavar="M"),
    ("--wd", "--weight-decay"): _arg(0.0, float, "weight decay", metavar="W", dest="weight_decay"),
    ("--norm-weight-decay",): _arg(None, float, "weight decay of normalisation layers; default: as --wd"),
    ("--label-smoothing",): _arg(0.1, float, "label smoothing of the training loss"),
    ("--mixup-alpha",): _arg(0.2, float, "mixup alpha; 0: none"),
    ("--cutmix-alpha",): _arg(1.0, float, "cutmix alpha; 0: none"),
    ("--lr-scheduler",): _arg("cosa", str, "cosa, step, exp or none"),
    ("--lr-warmup-epochs",): _arg(5, int, "epochs of the warm-up"),
    ("--lr-warmup-method",): _arg("linear", str, "linear or constant"),
    ("--lr-warmup-decay",): _arg(0.01, float, "first factor of the warm-up"),
    ("--lr-step-size",): _arg(30, int, "epochs between two steps of the rate"),
    ("--lr-gamma",): _arg(0.1, float, "factor of step and exp"),
    ("--output-dir",): _arg("./logs", str, "folder in which the run gets a folder of its own"),
    ("--resume",): _arg(None, str, "checkpoint or run folder; latest or auto: the last of this run, if there is one"),
    ("--start-epoch",): _arg(0, int, "first epoch of a new run", metavar="N"),
    ("--cache-dataset",): {**FLAG, "help": "accepted without effect: folders are listed anew"},
    ("--sync-bn",): {**FLAG, "help": "batch norms over the samples of all ranks"},
    ("--test-only",): {**FLAG, "help": "only test the weights of --resume, or those the model comes with"},
    ("--pretrained",): {**FLAG, "help": "for load_model: begin with weights that are there"},
    ("--auto-augment",): _arg("ta_wide", str, "ta_wide, ra or none"),
    ("--random-erase",): _arg(0.1, float, "probability of erasing a rectangle"),
    ("--world-size",): _arg(1, int, "accepted without effect: torchrun says it"),
    ("--dist-url",): _arg("env://", str, "accepted without effect: torchrun says it"),
    ("--model-ema",): {**FLAG, "help": "also average the weights, and test the average"},
    ("--model-ema-steps",): _arg(32, int, "steps between two updates of the average"),
    ("--model-ema-decay",): _arg(0.99998, float, "decay of the average, before it is adjusted"),
    ("--interpolation",): _arg("bilinear", str, "of resizing and augmentation"),
    ("--val-resize-size",): _arg(232, int, "pixels of the shorter side before the crop for validation"),
    ("--val-crop-size",): _arg(224, int, "pixels of the central crop for validation"),
    ("--train-crop-size",): _arg(176, int, "pixels of the random crop for training"),
    ("--clip-grad-norm",): _arg(None, float, "greatest norm of all gradients together"),
    ("--ra-sampler",): {**FLAG, "help": "repeated augmentation in training"},
    ("--ra-reps",): _arg(4, int, "repetitions of repeated augmentation"),
    ("--prototype",): {**FLAG, "help": "of torchvision's model builders, for load_model"},
    ("--weights",): _arg(None, str, "name of weights, for load_model"),
    ("--seed",): _arg(2020, int, "of weights, data order and everything random"),
    ("--print-logdir",): {**FLAG, "help": "print the folder of the run and exit"},
    ("--clean",): {**FLAG, "help": "delete the folder of the run first"},
    ("--disable-pinmemory",): {**FLAG, "help": "accepted without effect: memory is pinned for a GPU"},
    ("--disable-amp",): {**FLAG, "help": "as --amp off"},
    ("--local_rank", "--local-rank"): _arg(None, int, "accepted; torchrun says it", dest="local_rank"),
    ("--disable-uda",): {**FLAG, "help": "as --no-deterministic"},
    ("--amp",): _arg(
        None, str, "mixed precision; default on CUDA: fp16, with --parallel fsdp bf16; else off",
        choices=("off", "fp16", "bf16"),
    ),
    ("--grad-accum",): _arg(1, int, "work each batch off in so many parts"),
    ("--val-split",): _arg(0.0, float, "share of the training set on which the best weights are chosen"),
    ("--shuffle",): {
        "action": argparse.BooleanOptionalAction,
        "default": True,
        "help": "draw a new order of the training samples every epoch",
    },
    ("--engine",): _arg("auto", str, "neuron kernels", choices=("auto", "native", "torch")),
    ("--compile",): {**FLAG, "help": "compile the model with torch.compile"},
    ("--checkpoint-activations",): {**FLAG, "help": "compute blocks once more in the backward pass: less memory"},
    ("--compile-backend",): _arg("inductor", str, "compiler of torch that does it"),
    ("--deterministic",): {
        "action": argparse.BooleanOptionalAction,
        "default": True,
        "help": "refuse what has no deterministic implementation",
    },
    ("--save-every-steps",): _arg(0, int, "also write last.pt every so many steps"),
    ("--save-every-epochs",): _arg(0, int, "also keep a checkpoint of every so many epochs"),
    ("--keep",): _arg(0, int, "of these, only so many, the newest; 0: all"),
    ("--unused-parameters",): _arg("auto", str, "with several ranks; see snncore-train", choices=("auto", "yes", "no")),
    ("--parallel",): _arg("ddp", str, "several ranks: copies of the net or parts of it", choices=("ddp", "fsdp")),
    ("--rank-timeout",): _arg(600.0, float, "seconds that a rank waits for the others"),
    ("--set",): {
        "action": "append",
        "default": [],
        "metavar": "KEY=VALUE",
        "help": "any argument by its name, as lr=0.05; may be given often",
    },
}  # fmt: skip

# name in the parsed arguments -> (longest flag, what argparse is told of it); and -> default
NAMED: dict[str, tuple[str, dict[str, Any]]] = {
    told.get("dest") or max(flags, key=len).lstrip("-").replace("-", "_"): (max(flags, key=len), told)
    for flags, told in ARGUMENTS.items()
}
_DEFAULTS = {name: told.get("default", False) for name, (_, told) in NAMED.items()}

# those that may differ when a run goes on
MAY_CHANGE = frozenset(
    {
        "data_path", "device", "workers", "output_dir", "resume", "start_epoch", "cache_dataset", "test_only",
        "world_size", "dist_url", "print_logdir", "clean", "disable_pinmemory", "local_rank", "disable_uda",
        "deterministic", "engine", "compile", "compile_backend", "save_every_steps", "save_every_epochs", "keep",
        "checkpoint_activations", "unused_parameters", "parallel", "rank_timeout", "set",
        "disable_amp",  # amp tells
    }
)  # fmt: skip

# those of SpikingJelly's script that do nothing here -> why
_WITHOUT_EFFECT = {
    "--cache-dataset": "the folders are listed anew at every start, which takes seconds and never shows old files",
    "--disable-pinmemory": "what worker processes read for a GPU is always put into pinned memory, and nothing else is",
    "--world-size": "torchrun says how many ranks there are (--nproc-per-node)",
    "--dist-url": "torchrun says where the ranks meet (--rdzv-endpoint)",
}


def without_effect(args: argparse.Namespace) -> list[str]:
    """Return a line for each argument that was given and does nothing."""
    return [
        f"{flag} has no effect: {why}"
        for flag, why in _WITHOUT_EFFECT.items()
        if getattr(args, name := flag.lstrip("-").replace("-", "_")) != _DEFAULTS[name]
    ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add them all to ``parser``."""
    for flags, told in ARGUMENTS.items():
        shown = told["help"].replace("%", "%%")
        if "type" in told and told["default"] is not None:
            shown += " (default: %(default)s)"
        parser.add_argument(*flags, **{**told, "help": shown})


def completed(args: argparse.Namespace) -> argparse.Namespace:
    """Return a copy of ``args`` with ``--set`` done and what was left open decided.

    Raises:
        ConfigError: an argument is not there, or ``--set`` names none.
    """
    args = copy.copy(args)
    for name in _DEFAULTS:
        if not hasattr(args, name):
            raise ConfigError(f"args.{name}: must be there, got args without; use those of Trainer.get_args_parser")
    for text in args.set:
        key, equals, value = text.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not hasattr(args, key):
            known = ", ".join(sorted(vars(args)))
            raise ConfigError(f"--set: must be an argument and its value, got {text!r}; use one of {known}")
        setattr(args, key, parse_yaml(value, f"--set {key}"))
    on_gpu = args.device != "cpu" and torch.cuda.is_available()
    if args.disable_amp:
        args.amp = "off"
    elif args.amp is None:
        half = "bf16" if args.parallel == "fsdp" else "fp16"  # a net that is divided cannot have fp16
        args.amp = half if on_gpu else "off"
    args.deterministic = args.deterministic and not args.disable_uda
    return args


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return ``args`` as plain values."""
    plain = (bool, int, float, str, type(None))
    return {key: value if isinstance(value, plain) else repr(value) for key, value in vars(args).items()}


def changes(saved: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return argument -> (saved, now) for all that differ between the settings of two runs and must not.

    What ``saved`` lacks of the table above, for it was written before there was such an argument, had its default. Of
    an argument of the user's own nobody knows what was done without it.
    """
    spans_epochs = settings["lr_scheduler"].lower() == "cosa" or settings["model_ema"]  # the schedule, the decay
    free = MAY_CHANGE | (set() if spans_epochs else {"epochs"})
    old = {**_DEFAULTS, **saved}
    return {key: (old.get(key), now) for key, now in settings.items() if key not in free and old.get(key) != now}
