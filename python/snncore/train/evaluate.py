"""Loss and accuracy of a net on a set."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..encoding import direct
from ..errors import StateError
from .config import Config
from .distributed import Ranks
from .stop import StopSignal

if TYPE_CHECKING:
    from .task import Task

__all__ = ["Score", "evaluate", "forward", "mixed_precision"]

_HALF = {"fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Score:
    """What a net reaches on a set: mean loss, accuracies in [0, 1], number of samples, wall seconds with data."""

    loss: float
    accuracy: float
    accuracy5: float
    count: int
    seconds: float

    @property
    def images_per_s(self) -> float:
        """Throughput."""
        return self.count / self.seconds


def mixed_precision(amp: str, device: torch.device) -> torch.autocast:
    """Return the block in which a net computes as ``--amp`` says: fp16, bf16 or off."""
    return torch.autocast(device.type, _HALF.get(amp, torch.bfloat16), enabled=amp != "off")


def forward(net: nn.Module, x: Tensor, config: Config) -> Tensor:
    """Show the images x [B, C, H, W] for T steps and return the spikes of the output, [T, B, num_classes].

    The one place where static images get their time axis.
    """
    with mixed_precision(config.train.amp, x.device):
        spike_seq: Tensor = net(direct(x, config.model.T))
    return spike_seq


@torch.no_grad()
def evaluate(task: Task, part: str, ranks: Ranks, stop: StopSignal, bar: Any) -> Score:
    """Return the score of ``task.net``, in evaluation mode, on all of ``part``, each sample once, over all ranks.

    Raises:
        StateError: the ranks together did not see each sample once.
    """
    task.net.eval()
    loss_sum: Tensor | float = 0.0
    correct: Tensor | int = 0
    seen = 0
    began = time.perf_counter()
    for batch in task.batches(part, ranks):
        if batch is not None:
            found = task.test_output(batch.x)
            loss_sum = task.test_loss(found, batch.label).double() * batch.count + loss_sum
            correct = task.correct(found, batch.label) + correct
            seen += batch.count
            bar.update(batch.total)
        stop.check()
    right = [0, 0] if isinstance(correct, int) else correct.tolist()  # waits for the device
    count, total = task.count(part), ranks.total(seen)
    if total != count:
        raise StateError(f"evaluate.{part}: must see each of its {count} samples once, got {total}; see its batches")
    return Score(
        ranks.total_float(float(loss_sum)) / count,
        ranks.total(right[0]) / count,
        ranks.total(right[1]) / count,
        count,
        time.perf_counter() - began,
    )
