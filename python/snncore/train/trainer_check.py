"""What the hooks and arguments of a `Trainer` have to give, checked where they gave it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..errors import ArgumentError, ConfigError
from .arguments import NAMED

__all__ = [
    "check_arguments",
    "checked_input",
    "checked_loss",
    "checked_optimizer",
    "checked_scheduler",
    "checked_scores",
    "run_folder",
]

_LEAST = {"batch_size": 1, "epochs": 1, "grad_accum": 1, "workers": 0, "seed": 0, "start_epoch": 0}


def check_arguments(args: Namespace) -> None:
    """Raise ConfigError if a value is not of its kind (``--set`` and programs may bring any) or below its least."""
    for key, (flag, told) in NAMED.items():
        value, kind = getattr(args, key), told.get("type")
        if kind not in (int, float) or value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
            wanted = "a whole number" if kind is int else "a number"
            raise ConfigError(f"{key} ({flag}): must be {wanted}, got {value!r}; correct it")
        if value < _LEAST.get(key, value) and not (key == "epochs" and args.test_only):
            raise ConfigError(f"{key} ({flag}): must be at least {_LEAST[key]}, got {value}; correct it")
    if args.clean and args.resume:
        raise ConfigError(
            f"--clean: must be left out with --resume, for it deletes the folder of the run, got --resume "
            f"{args.resume}; use one of them"
        )


def run_folder(who: str, args: Namespace, name: object) -> Path:
    """Return the folder of the run: ``name``, what get_tb_logdir_name returned, in ``args.output_dir``."""
    if not isinstance(name, str) or not Path(name).parts or ".." in Path(name).parts or Path(name).is_absolute():
        raise ArgumentError(
            f"{who}.get_tb_logdir_name: must return the name of a folder in --output-dir, got {name!r}; return one"
        )
    return Path(args.output_dir).expanduser() / name


def checked_optimizer(who: str, made: Any) -> Optimizer:
    """Return what set_optimizer returned."""
    if not isinstance(made, Optimizer):
        raise ArgumentError(
            f"{who}.set_optimizer: must return a torch optimizer, got {made!r}; end it with 'return optimizer'"
        )
    return made


def checked_scheduler(who: str, made: Any) -> Any:
    """Return what set_lr_scheduler returned."""
    if not all(hasattr(made, method) for method in ("step", "state_dict", "load_state_dict")):
        raise ArgumentError(
            f"{who}.set_lr_scheduler: must return a scheduler of torch, got {made!r}; end it with 'return scheduler', "
            "or train with --lr-scheduler none"
        )
    return made


def checked_input(who: str, hook: str, given: Any) -> Any:
    """Return what the model is given."""
    if given is None:
        raise ArgumentError(f"{who}.{hook}: must return what the model takes, got None; end it with 'return x'")
    return given


def checked_scores(who: str, y: Any, samples: int, classes: int) -> Tensor:
    """Return the scores [samples, at least classes]."""
    if not isinstance(y, Tensor) or y.dim() != 2 or len(y) != samples:
        got = list(y.shape) if isinstance(y, Tensor) else type(y).__name__
        raise ArgumentError(
            f"{who}.process_model_output: must return scores [{samples}, classes], got {got}; take the mean over the "
            "time steps, y.mean(0), of a multi-step net"
        )
    if y.shape[1] < classes:
        raise ArgumentError(
            f"{who}.process_model_output: must return a score for each of the {classes} classes of the data, got "
            f"{list(y.shape)}; make the net with num_classes outputs in load_model"
        )
    return y


def checked_loss(who: str, loss: Callable[[], Any], label: Tensor) -> Tensor:
    """Return what the hook ``loss`` returns for ``label``, which is mixed if it is floating."""
    try:
        value = loss()
    except Exception as error:  # a loss of the user may fail in any way
        if not label.is_floating_point():
            raise
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise ArgumentError(
            f"{who}.loss: must take mixed labels {list(label.shape)} with --mixup-alpha or --cutmix-alpha, got "
            f"{reason}; take shares of classes there, or train with --mixup-alpha 0 --cutmix-alpha 0"
        ) from error
    if not isinstance(value, Tensor) or value.numel() != 1:
        got = list(value.shape) if isinstance(value, Tensor) else repr(value)
        raise ArgumentError(f"{who}.loss: must return the mean loss, a tensor of one number, got {got}; return that")
    if torch.is_grad_enabled() and not value.requires_grad:
        raise ArgumentError(
            f"{who}.loss: must return a loss that depends on the net's parameters, got one without a gradient; drop "
            "detach(), no_grad() or argmax on its way"
        )
    return value
