"""``Trainer``: the class to inherit from, with SpikingJelly's hooks and arguments, on the loop of `fit`.

Example::

    class MyTrainer(Trainer):
        def preprocess_train_sample(self, args, x):
            return x.unsqueeze(0).repeat(args.T, 1, 1, 1, 1)  # [N, C, H, W] -> [T, N, C, H, W]

        preprocess_test_sample = preprocess_train_sample

        def process_model_output(self, args, y):
            return y.mean(0)  # firing rates, [N, classes]

        def get_args_parser(self, add_help=True):
            parser = super().get_args_parser(add_help)
            parser.add_argument("--T", type=int, default=4)
            return parser

        def load_model(self, args, num_classes):
            return my_net(num_classes)


    trainer = MyTrainer()
    trainer.main(trainer.get_args_parser().parse_args())
"""

from __future__ import annotations

import argparse
import functools
import os
import random
import re
import shutil
from argparse import Namespace
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    LRScheduler,
    SequentialLR,
    StepLR,
)

from ..data import Dataset, load, transform
from ..errors import ArgumentError, ConfigError
from ..registry import lookup
from . import checkpoint, folder
from .arguments import add_arguments, changes, completed, settings_of
from .augment import make_transforms
from .build import check_workers, find_device
from .compiling import compile_net, readable
from .config import OptimConfig
from .data_config import DataConfig
from .distributed import Ranks, connected
from .evaluate import evaluate
from .log import progress_bar
from .loop import Loop
from .optim import make_optimizer
from .report import Result
from .stop import StopSignal
from .task import Plan
from .trainer_check import check_arguments, run_folder
from .trainer_task import TrainerTask

__all__ = ["Trainer"]

_SCHEDULERS: dict[str, Any] = {
    "cosa": lambda optimizer, a, epochs: CosineAnnealingLR(optimizer, T_max=max(epochs, 1)),
    "step": lambda optimizer, a, epochs: StepLR(optimizer, step_size=a.lr_step_size, gamma=a.lr_gamma),
    "exp": lambda optimizer, a, epochs: ExponentialLR(optimizer, gamma=a.lr_gamma),
    "none": lambda optimizer, a, epochs: ConstantLR(optimizer, factor=1.0, total_iters=0),
}
_WARMUPS: dict[str, Any] = {"linear": LinearLR, "constant": ConstantLR}


class Trainer:
    """Trains a net for classification. Every method but `main` is a hook: override it, call ``super()`` or not.

    All get ``args``, the parsed command line, whole: what is added in `get_args_parser` is there.
    """

    def __init_subclass__(cls) -> None:
        """See to it that a parser that was forgotten to be returned is told of, and not the None in its place."""
        own = cls.__dict__.get("get_args_parser")
        if own is None:
            return

        @functools.wraps(own)
        def checked(self: Trainer, *args: Any, **kwargs: Any) -> argparse.ArgumentParser:
            parser = own(self, *args, **kwargs)
            if not isinstance(parser, argparse.ArgumentParser):
                raise ArgumentError(
                    f"{cls.__name__}.get_args_parser: must return the parser, got {parser!r}; end it with "
                    "'return parser'"
                )
            return parser

        cls.get_args_parser = checked  # type: ignore[method-assign]

    def get_args_parser(self, add_help: bool = True) -> argparse.ArgumentParser:
        """Return the parser of the command line."""
        parser = argparse.ArgumentParser(
            description="Train a spiking neural network for classification", add_help=add_help
        )
        add_arguments(parser)
        return parser

    def preprocess_train_sample(self, args: Namespace, x: Tensor) -> Tensor:
        """Return what the model is given for the batch x [N, C, H, W] while training: with a time axis, say."""
        return x

    def preprocess_test_sample(self, args: Namespace, x: Tensor) -> Tensor:
        """Return likewise in an evaluation."""
        return x

    def process_model_output(self, args: Namespace, y: Tensor) -> Tensor:
        """Return the scores [N, classes] for what the model gave: ``y.mean(0)`` of [T, N, classes], say."""
        return y

    def loss(self, args: Namespace, y: Tensor, label: Tensor) -> Tensor:
        """Return the mean loss of the scores y [N, classes]; label is int64 [N], or shares [N, classes] if mixed."""
        return F.cross_entropy(y, label, label_smoothing=args.label_smoothing)

    def load_model(self, args: Namespace, num_classes: int) -> nn.Module:
        """Return the model; has to be overridden."""
        raise ArgumentError(
            f"{type(self).__name__}.load_model: must be overridden, for only you know the model; return a module there"
        )

    def load_data(self, args: Namespace) -> tuple[Dataset, Dataset]:
        """Return training set and test set: the images in ``args.data_path``, with the folders train and val.

        Overridden, it may return any two sets of `snncore.data`. What ``--val-split`` takes of the first gets the
        transform of the second.
        """
        train, test = load("image_folder", args.data_path)
        for_training, for_evaluation = make_transforms(
            DataConfig(
                train_crop_size=args.train_crop_size,
                val_resize_size=args.val_resize_size,
                val_crop_size=args.val_crop_size,
                interpolation=args.interpolation,
                flip=0.5,
                auto_augment=None if args.auto_augment in (None, "none", "") else args.auto_augment,
                random_erase=args.random_erase,
                mean=transform.IMAGENET_MEAN,
                std=transform.IMAGENET_STD,
            )
        )
        return train.with_transform(for_training), test.with_transform(for_evaluation)

    def set_optimizer(self, args: Namespace, parameters: Iterable[Any]) -> Optimizer:
        """Return the optimiser of ``parameters``, which come in groups of equal weight decay."""
        name = args.opt.lower()
        if name.startswith("sgd"):
            name = "nesterov" if "nesterov" in name else "sgd"
        return make_optimizer(
            parameters, OptimConfig(name=name, lr=args.lr, momentum=args.momentum, weight_decay=args.weight_decay)
        )

    def set_lr_scheduler(self, args: Namespace, optimizer: Optimizer) -> LRScheduler:
        """Return the scheduler of the learning rate, which moves on once an epoch."""
        warmup = args.lr_warmup_epochs
        make = lookup(_SCHEDULERS, args.lr_scheduler.lower(), "--lr-scheduler")
        begin = lookup(_WARMUPS, args.lr_warmup_method, "--lr-warmup-method")
        if not warmup:
            return make(optimizer, args, args.epochs)  # type: ignore[no-any-return]
        names = {"linear": "start_factor", "constant": "factor"}
        first = begin(optimizer, total_iters=warmup, **{names[args.lr_warmup_method]: args.lr_warmup_decay})
        return SequentialLR(optimizer, [first, make(optimizer, args, args.epochs - warmup)], milestones=[warmup])

    def get_tb_logdir_name(self, args: Namespace) -> str:
        """Return the name of the folder of the run, made of what was asked for."""
        a = args
        return (
            f"{a.model}_b{a.batch_size}_e{a.epochs}_{a.opt}_lr{a.lr}_wd{a.weight_decay}_ls{a.label_smoothing}"
            f"_ma{a.mixup_alpha}_ca{a.cutmix_alpha}_sbn{int(a.sync_bn)}_ra{a.ra_reps if a.ra_sampler else 0}"
            f"_re{a.random_erase}_aaug{a.auto_augment}_size{a.train_crop_size}_{a.val_resize_size}_{a.val_crop_size}"
            f"_seed{a.seed}"
        )

    def main(self, args: Namespace) -> Result | None:
        """Train as ``args`` says; started by torchrun, on several ranks.

        Returns:
            What was reached; None where nothing was to be trained (``--print-logdir``).

        Raises:
            ConfigError, ArgumentError, DataError: something asked for cannot be done.
            CheckpointError: a checkpoint cannot be read or written.
            DistributedError: another rank failed.
        """
        args = completed(args)
        check_arguments(args)
        check_workers(args.workers)
        base = run_folder(type(self).__name__, args, self.get_tb_logdir_name(args))
        if args.print_logdir:
            print(base)
            return None
        with connected(args.device, args.rank_timeout) as ranks:
            device = _set_up(args, ranks)
            settings = settings_of(args)
            resumed = ranks.from_first(lambda: _found(args, base, settings))
            sets = self.load_data(args)
            task = TrainerTask(self, args, sets, device, ranks, settings)
            if args.test_only:
                return _tested(task, ranks, resumed, base)
            path = resumed.parent if resumed else ranks.from_first(lambda: _new_folder(base, args.clean))
            return Loop(task, _plan(args, ranks), ranks, path, resumed).go()


def _new_folder(base: Path, clean: bool) -> Path:
    """Return the folder of a new run, whose settings are in order by now: only then is an old one deleted for it."""
    if clean:
        shutil.rmtree(base, ignore_errors=True)
    return folder.make_folder(base.parent, base.name)


def _set_up(args: Namespace, ranks: Ranks) -> torch.device:
    device = find_device(args.device, ranks)
    random.seed(args.seed)
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)
    if args.deterministic and device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS refuses
        torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(args.deterministic)
    return device


def _found(args: Namespace, base: Path, settings: dict[str, Any]) -> Path | None:
    """Return the checkpoint to go on from, which is whole and of the same settings."""
    if args.resume in (None, ""):
        return None
    if args.resume in ("auto", "latest"):
        named = re.compile(re.escape(base.name) + r"(-\d+)?")  # as folder.make_folder does
        runs = [p for p in base.parent.glob(f"*/{folder.LAST}") if p.is_file() and named.fullmatch(p.parent.name)]
        path = max(runs, key=lambda p: p.stat().st_mtime_ns, default=None)
        if path is None:
            return None
    else:
        path = Path(args.resume).expanduser()
        path = path / folder.LAST if path.is_dir() else path
    other = changes(checkpoint.load(path)["config"], settings)
    if other and not args.test_only:
        listed = ", ".join(f"{key} ({old!r} -> {new!r})" for key, (old, new) in other.items())
        raise ConfigError(
            f"--resume: must keep the arguments that {path} was trained with, got other {listed}; leave them as they "
            "were, or train anew"
        )
    return path


def _plan(args: Namespace, ranks: Ranks) -> Plan:
    return Plan(
        epochs=args.epochs,
        start_epoch=args.start_epoch,
        batch_size=args.batch_size * ranks.size,
        seed=args.seed,
        save_every_steps=args.save_every_steps,
        save_every_epochs=args.save_every_epochs,
        keep=args.keep,
        grad_accum=args.grad_accum,
        clip_grad_norm=args.clip_grad_norm,
        fp16=args.amp == "fp16",
        unused_parameters=args.unused_parameters,
        compile=args.compile,
        compile_backend=args.compile_backend,
    )


def _tested(task: TrainerTask, ranks: Ranks, resumed: Path | None, base: Path) -> Result:
    """Return the score of the weights there are."""
    if resumed:
        checkpoint.load_weights(resumed, task.net, checkpoint.load(resumed))
    if task.args.compile:
        compile_net(task.net, task.args.compile_backend)
    bars = progress_bar(task.count("test"), 0, "test", hide=not ranks.first)
    with readable() if task.args.compile else nullcontext(), bars as bar:
        score = evaluate(task, "test", ranks, StopSignal(ranks.any), bar)
    if ranks.first:
        print(
            f"test loss {score.loss:.4f} acc@1 {score.accuracy:.4f} acc@5 {score.accuracy5:.4f}"
            f" ({score.count:,} samples)"
        )
    where = resumed.parent if resumed else base
    return Result(where, interrupted=False, epochs=0, best_epoch=0, test_accuracy=score.accuracy)
