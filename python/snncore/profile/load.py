"""A checkpoint of snncore-train and the data to show it."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ..config import merge
from ..data import DATASETS, Dataset
from ..errors import ArgumentError, CheckpointError, ConfigError
from ..registry import lookup
from ..train import Config, checkpoint
from ..train.build import build_net, load_parts, set_up_process
from ..train.folder import BEST

__all__ = ["Saved", "load"]


@dataclass(frozen=True)
class Saved:
    """A net as it was saved, in evaluation mode, and test samples for it, on one device.

    Attributes:
        path: the checkpoint.
        config: the settings it was trained with; the data set in it is the one of ``test``.
        trained_on: name of the data set it was trained on.
        net: with its weights.
        test: the test set.
    """

    path: Path
    config: Config
    trained_on: str
    net: nn.Module
    test: Dataset


def load(
    path: str | os.PathLike[str],
    dataset: str | None = None,
    root: str | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> Saved:
    """Load a net that snncore-train saved, and a test set.

    Args:
        path: a checkpoint, or the folder of a run: then its best.pt.
        dataset: a name in ``data.DATASETS``; None: the one it was trained on.
        root: the folder with the files of the data set; None: where the run had it.
        device: as ``train.device``; None: as in the run.
        threads: CPU threads; None: as in the run.

    Raises:
        CheckpointError: there is no checkpoint of snncore-train, or it is damaged.
        ConfigError: the data set is unknown or does not fit the net, or the device is not there.
        DataError: its files are absent or damaged.
    """
    path = Path(path).expanduser()
    path = path / BEST if path.is_dir() else path
    content = checkpoint.load(path)
    config = merge(Config, [(str(path), content["config"])]).config
    trained_on = config.data.name
    data = dataclasses.replace(config.data, val_split=0.0, root=root or config.data.root)
    if dataset is not None and dataset != trained_on:
        lookup(DATASETS, dataset, "--dataset")
        data = dataclasses.replace(data, name=dataset, root=root)
    run = dataclasses.replace(
        config.train, device=device or config.train.device, threads=threads or config.train.threads
    )
    config = dataclasses.replace(config, data=data, train=run)
    machine = set_up_process(config.train)
    test = load_parts(config.data, config.train.seed, machine.device).test
    try:
        net = build_net(config, test.in_shape, test.num_classes)
        checkpoint.load_weights(path, net, content)
    except (ArgumentError, CheckpointError) as error:
        if data.name == trained_on:
            raise
        raise ConfigError(
            f"--dataset: must have images and classes like {trained_on}, on which {path} was trained, got {data.name} "
            f"({_shape(test)}); leave it out"
        ) from error
    return Saved(path, config, trained_on, net.to(machine.device).eval(), test)


def _shape(test: Dataset) -> str:
    return f"{'x'.join(str(n) for n in test.in_shape)}, {test.num_classes} classes"
