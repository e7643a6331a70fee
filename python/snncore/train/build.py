"""From a configuration to the things it names: device, data, net. All that can be wrong with it is found here."""

from __future__ import annotations

import inspect
import math
import os
import random
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import nn

from .. import ops
from ..data import Dataset, load, split
from ..data.sample_set import Transform
from ..errors import ArgumentError, ConfigError
from ..model import MODELS
from ..neuron import NEURONS
from ..registry import lookup
from ..surrogate import SURROGATES, Surrogate
from .augment import check_images, make_transforms
from .config import Config, DataConfig, ModelConfig, NeuronConfig, TrainConfig
from .distributed import Ranks

__all__ = [
    "Machine",
    "Parts",
    "absolute",
    "build_net",
    "check_sizes",
    "check_workers",
    "find_device",
    "load_parts",
    "set_up_process",
]


@dataclass(frozen=True)
class Machine:
    """Where the run computes, and whether freed memory is kept (only some C libraries can)."""

    device: torch.device
    keeps_blocks: bool


@dataclass(frozen=True)
class Parts:
    """The parts of a data set: what is learned from, what the best weights are chosen on, what is reported."""

    train: Dataset
    val: Dataset | None
    test: Dataset


def set_up_process(config: TrainConfig, ranks: Ranks | None = None) -> Machine:
    """Set allocator, threads and seeds as ``config`` says, before anything large exists.

    The seeds are the same on all ``ranks``, so that they build the same net.
    """
    keeps_blocks = config.keep_freed_blocks and ops.keep_freed_blocks(True)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    random.seed(config.seed)
    np.random.seed(config.seed)
    torch.manual_seed(config.seed)
    return Machine(find_device(config.device, ranks or Ranks()), keeps_blocks)


def find_device(name: str, ranks: Ranks) -> torch.device:
    """Return the device called ``name``; of several GPUs each of ``ranks`` gets its own.

    Raises:
        ConfigError: it is not there, or all ranks would share one GPU.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if ranks.size > 1 and name.startswith("cuda"):
        if ":" in name:
            raise ConfigError(
                f"train.device (--device): must be auto, cpu or cuda for {ranks.size} ranks, each of which takes the "
                f"GPU of its own number, got {name!r}; choose the GPUs by CUDA_VISIBLE_DEVICES"
            )
        name = f"cuda:{ranks.local_rank}"
    do = "use auto, cpu, or cuda where there is one"
    try:
        device = torch.device(name)
        torch.empty(1, device=device).sum().item()  # a device that exists in name only fails here
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"train.device (--device): must be a device of this machine, got {name!r} ({reason}); {do}"
        ) from None
    return device


def load_parts(config: DataConfig, seed: int, device: torch.device) -> Parts:
    """Load the data set that ``config`` names onto ``device``, its training set split if asked for, with transforms.

    Those of training are for the training set alone; validation and test set have those of evaluation.

    Raises:
        ConfigError: it needs a folder and none is given, the split leaves one part empty, or a transform cannot be.
        DataError: files are absent or damaged.
    """
    check_workers(config.workers)
    for_training, for_evaluation = make_transforms(config)
    try:
        train, test = load(config.name, config.root, verify=config.verify)
        val = None
        if config.val_split:
            train, val = split(train, config.val_split, seed)
    except ArgumentError as error:
        told = str(error).replace("data.load.root", "data.root (--data-root)")
        raise ConfigError(told.replace("data.split.fraction", "data.val_split (--val-split)")) from None
    check_images(config, train)
    return Parts(
        _ready(train, for_training, device), val and _ready(val, for_evaluation, device),
        _ready(test, for_evaluation, device),
    )  # fmt: skip


def check_workers(workers: int | None) -> None:
    """Raise ConfigError for so many worker processes that the machine would stand still."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    most = max(64, 16 * cpus)
    if workers is not None and workers > most:
        raise ConfigError(
            f"data.workers (--workers): must be at most {most} with {cpus} CPUs, got {workers}; leave it out for as "
            "many as suit them"
        )


def _ready(part: Dataset, transform: Transform | None, device: torch.device) -> Dataset:
    """Return ``part`` on ``device``; without a transform it stays what it is, which is faster in memory."""
    return (part if transform is None else part.with_transform(transform)).to(device)


def check_sizes(config: Config, parts: Parts) -> None:
    """Raise ConfigError if the model is built for one size of images and evaluation has another than training."""
    takes = set(inspect.signature(lookup(MODELS, config.model.name, "model.name")).parameters)
    train, test = parts.train.in_shape, parts.test.in_shape
    if takes & {"in_shape", "sizes"} and train != test:
        train_size, test_size = ("x".join(map(str, shape)) for shape in (train, test))
        raise ConfigError(
            f"data.val_crop_size (--val-crop-size): must give images of the size of training, {train_size}, for "
            f"{config.model.name}, which is built for one size, got {test_size}; say --val-crop-size {train[-1]}"
        )


def build_net(config: Config, in_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Build the net that ``config`` names, for images of ``in_shape`` (C, H, W) and ``num_classes`` classes.

    Raises:
        ConfigError: the model, the neuron or the surrogate does not take a setting.
        ArgumentError: an argument of the model or its neurons cannot be used.
    """
    model = lookup(MODELS, config.model.name, "model.name")
    args = _model_args(config.model, set(inspect.signature(model).parameters), in_shape, num_classes)
    args |= {
        "spiking_neuron": lookup(NEURONS, config.neuron.name, "neuron.name"),
        "surrogate_function": _surrogate(config.neuron),
        "engine": config.train.engine,
        **config.neuron.args,
    }
    return model(**args)


def _model_args(c: ModelConfig, takes: set[str], in_shape: tuple[int, int, int], num_classes: int) -> dict[str, Any]:
    """Return the arguments of the model: what the data set decides, as far as it takes them, and what was asked for."""
    sizes = (math.prod(in_shape), *(c.hidden or ()), num_classes)
    offered = {"in_shape": in_shape, "in_channels": in_shape[0], "num_classes": num_classes, "sizes": sizes}
    args: dict[str, Any] = {name: value for name, value in offered.items() if name in takes}
    for name, value, needs in (("channels", c.channels, "channels"), ("hidden", c.hidden, "sizes")):
        if value is not None and needs not in takes:
            raise ConfigError(
                f"model.{name} (--{name}): must be left out for {c.name}, which has none, got {value!r}; drop it or "
                "choose another model"
            )
    if c.channels is not None:
        args["channels"] = c.channels
    return args | dict(c.args)


def _surrogate(c: NeuronConfig) -> Surrogate:
    if c.surrogate is None:  # with the numbers that suit its arguments, such as its levels
        if c.alpha is not None:
            raise ConfigError(
                f"neuron.alpha (--alpha): must be left out for the neuron's own surrogate, got {c.alpha}; name one"
            )
        own: Surrogate = lookup(NEURONS, c.name, "neuron.name")(**c.args).surrogate_function
        return own
    surrogate = lookup(SURROGATES, c.surrogate, "neuron.surrogate")
    if c.alpha is None:
        return surrogate()
    if "alpha" not in {item.name for item in fields(surrogate)}:
        raise ConfigError(
            f"neuron.alpha (--alpha): must be left out for {c.surrogate}, which has none, got {c.alpha}; drop it or "
            "choose another surrogate"
        )
    return surrogate(alpha=c.alpha)  # type: ignore[call-arg]


def absolute(path: str | None) -> str | None:
    """Return ``path`` with ``~`` expanded and made absolute, so that it still leads there from another folder."""
    return None if path is None else os.path.abspath(os.path.expanduser(path))
