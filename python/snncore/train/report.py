"""What a run says at its beginning, after each epoch and at its end, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import ops
from ..metric.sop import Report
from ..neuron import BaseNode
from . import augment
from .build import Machine, Parts
from .config import Config
from .distributed import Ranks
from .evaluate import Score
from .folder import BEST, ENERGY, LAST, METRICS, best_name
from .position import Position

__all__ = ["Result", "Speed", "closing", "epoch_line", "epoch_record", "final_record", "in_words", "opening"]


@dataclass
class Speed:
    """Images of all ranks and wall seconds of this one, data included."""

    images: int = 0
    seconds: float = 0.0

    def add(self, images: int, seconds: float) -> Speed:
        """Count more, and return the speed of just these."""
        self.images += images
        self.seconds += seconds
        return Speed(images, seconds)

    @property
    def images_per_s(self) -> float:
        """Images per second; 0 if there were none."""
        return self.images / self.seconds if self.images else 0.0


@dataclass(frozen=True)
class Result:
    """What a run reached.

    Args:
        folder: where everything was saved.
        interrupted: it was stopped before its last epoch was done and measured; what follows is then not all there.
        epochs: epochs done.
        best_epoch: the epoch, from 1, of the best weights.
        test_accuracy: of the best weights on the test set, in [0, 1].
        last_test_accuracy: of the last weights.
        firing_rate: of the best weights on the test set: module name of the neuron layer -> [0, 1].
        train_images_per_s: over all ranks, data included.
        test_images_per_s: likewise.
        others: the best of further weights by name ("ema"): accuracy on the test set in [0, 1], and its epoch, from 1.
        energy: operations and energy of the best weights; None: not asked for, or nothing could be counted.
    """

    folder: Path
    interrupted: bool
    epochs: int
    best_epoch: int
    test_accuracy: float | None = None
    last_test_accuracy: float | None = None
    firing_rate: Mapping[str, float] = field(default_factory=dict)
    train_images_per_s: float = 0.0
    test_images_per_s: float = 0.0
    others: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    energy: Report | None = None


def opening(
    config: Config,
    machine: Machine,
    parts: Parts,
    net: nn.Module,
    folder: Path,
    resumed: Path | None,
    at: Position,
    ranks: Ranks,
) -> Iterator[str]:
    """Yield the lines at the beginning: versions, machine, data, net, and how the best weights are chosen."""
    if resumed:
        yield f"going on from {resumed}: epoch {at.epoch + 1}, step {at.step + 1}"
    elif config.train.resume == "auto":
        yield f"no run in {config.train.output_dir} has these settings yet; this is a new one"
    yield f"run folder: {folder}"
    build = ops.build_info()
    where = f"{machine.device}" if machine.device.type != "cpu" else f"cpu ({build['cpu_capability']})"
    yield (
        f"snncore {build['version']}, torch {torch.__version__}, {where}, {torch.get_num_threads()} threads, "
        f"seed {config.train.seed}"
    )
    if ranks.size > 1:
        yield in_words(ranks, config.data.batch_size)
    if machine.keeps_blocks:
        yield "freed memory is kept and reused by this process (--no-keep-freed-blocks switches that off)"
    yield from (f"data: {part.source}" for part in (parts.train, parts.val, parts.test) if part)
    if done := augment.in_words(config.data):
        yield f"training images: {done}"
    neurons = [module for module in net.modules() if isinstance(module, BaseNode)]
    size = sum(parameter.numel() for parameter in net.parameters())
    yield (
        f"net: {config.model.name}, {size:,} parameters, {len(neurons)} layers of {config.neuron.name} "
        f"({config.neuron.surrogate or 'own surrogate'}), T={config.model.T}"
    )
    if parts.val:
        yield f"the best weights are chosen on {len(parts.val):,} validation samples, the test set only reports"
    else:
        yield "the best weights are chosen on the test set, which flatters them (--val-split 0.1 avoids it)"


def in_words(ranks: Ranks, batch_size: int) -> str:
    """Return how a batch is shared."""
    return f"{ranks.size} ranks share each batch of {batch_size}: {batch_size // ranks.size} samples a rank"


def epoch_record(
    at: Position,
    totals: Mapping[str, float],
    score: Score,
    others: Mapping[str, Score],
    split: str,
    train: Speed,
    classes: int,
) -> dict[str, Any]:
    """Return an epoch's line of metrics.jsonl: all but ``*_images_per_s`` and ``seconds`` is reproducible.

    Args:
        at: where the run stands, the epoch's last step done and the epoch not closed yet.
        totals: ``loss_sum``, ``correct`` and ``correct5`` of the epoch over all ranks.
        score: after the epoch.
        others: further scores after it, by name.
        split: what they were measured on; the keys are ``test_loss``, say.
        train: of all ranks in this epoch.
        classes: with five or fewer the accuracy of the best five says nothing and is left out.
    """
    record: dict[str, Any] = {"epoch": at.epoch + 1, "steps": at.step, "lr": at.lr}
    record["train_loss"] = totals["loss_sum"] / at.seen
    record["train_accuracy"] = totals["correct"] / at.seen
    if classes > 5:
        record["train_accuracy5"] = totals["correct5"] / at.seen
    for name, of in {split: score, **{f"{name}_{split}": of for name, of in others.items()}}.items():
        record[f"{name}_loss"] = of.loss
        record[f"{name}_accuracy"] = of.accuracy
        if classes > 5:
            record[f"{name}_accuracy5"] = of.accuracy5
    record["train_images_per_s"] = train.images_per_s
    record[f"{split}_images_per_s"] = score.images_per_s
    record["seconds"] = train.seconds + score.seconds
    return record


def final_record(result: Result) -> dict[str, Any]:
    """Return the last line of metrics.jsonl."""
    return {
        "final": True,
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "best_test_accuracy": result.test_accuracy,
        "last_test_accuracy": result.last_test_accuracy,
        **{f"best_{name}_test_accuracy": accuracy for name, (accuracy, _) in result.others.items()},
        **{f"best_{name}_epoch": epoch for name, (_, epoch) in result.others.items()},
        "firing_rate": dict(result.firing_rate),
    }


def epoch_line(record: Mapping[str, Any], epochs: int, split: str, at: Position) -> str:
    """Return the epoch's line for people."""
    width = len(str(epochs))
    return (
        f"epoch {record['epoch']:{width}}/{epochs}  lr {record['lr']:.4g}  "
        f"train loss {record['train_loss']:.4f} accuracy {record['train_accuracy']:.4f}  "
        f"{split} loss {record[f'{split}_loss']:.4f} accuracy {record[f'{split}_accuracy']:.4f} "
        f"(best {at.best:.4f})  "
        f"{record['train_images_per_s']:,.0f} images/s train, {record[f'{split}_images_per_s']:,.0f} {split}"
    )


def closing(result: Result, source: str) -> Iterator[str]:
    """Yield the block at the end."""
    resume = f"snncore-train --resume {result.folder}"
    if result.interrupted:
        yield f"stopped; everything up to this step is in {result.folder / LAST}. Go on with: {resume}"
        return
    assert result.test_accuracy is not None and result.last_test_accuracy is not None
    yield f"done: {result.epochs} epochs"
    yield f"  data           {source}"
    yield f"  test accuracy  {result.test_accuracy:.4f} best (epoch {result.best_epoch})"
    yield f"                 {result.last_test_accuracy:.4f} last (epoch {result.epochs})"
    for name, (accuracy, epoch) in result.others.items():
        yield f"                 {accuracy:.4f} best {name} (epoch {epoch})"
    for i, (name, rate) in enumerate(result.firing_rate.items()):
        yield f"  {'' if i else 'firing rate':<13}  {rate:.4f} {name}"
    yield f"  images/s       {result.train_images_per_s:,.0f} train, {result.test_images_per_s:,.0f} test"
    files = [BEST, *map(best_name, result.others), LAST, METRICS]
    if result.energy is not None:
        files.append(ENERGY)
        yield "operations and energy of the best weights:"
        yield from str(result.energy).splitlines()
    yield f"  saved in       {result.folder} ({', '.join(files)})"
