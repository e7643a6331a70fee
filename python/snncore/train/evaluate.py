"""Loss and accuracy of a net on a set."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..data import Batches, Dataset
from ..encoding import direct
from ..metric import Accuracy
from ..registry import lookup
from .config import Config
from .log import progress_bar
from .loss import LOSSES
from .stop import StopSignal

__all__ = ["Score", "evaluate", "forward"]


@dataclass(frozen=True)
class Score:
    """What a net reaches on a set: mean loss, accuracy in [0, 1], number of samples, wall seconds with data."""

    loss: float
    accuracy: float
    count: int
    seconds: float

    @property
    def images_per_s(self) -> float:
        """Throughput."""
        return self.count / self.seconds


def forward(net: nn.Module, x: Tensor, config: Config) -> Tensor:
    """Show the images x [B, C, H, W] for T steps and return the spikes of the output, [T, B, num_classes].

    The one place where static images get their time axis.
    """
    with torch.autocast(x.device.type, torch.bfloat16, enabled=config.train.amp == "bf16"):
        spike_seq: Tensor = net(direct(x, config.model.T))
    return spike_seq


@torch.no_grad()
def evaluate(net: nn.Module, dataset: Dataset, config: Config, stop: StopSignal, title: str) -> Score:
    """Return the score of ``net``, in evaluation mode, on all of ``dataset``, each sample once."""
    net.eval()
    loss_of = lookup(LOSSES, config.train.loss, "train.loss")
    accuracy = Accuracy()
    loss_sum = torch.zeros((), dtype=torch.float64, device=dataset.device)
    began = time.perf_counter()
    with progress_bar(len(dataset), 0, title) as bar:
        for x, label in Batches(dataset, config.data.batch_size, shuffle=False, seed=0):
            spike_seq = forward(net, x, config)
            loss_sum += loss_of(spike_seq, label).double() * len(label)
            accuracy.add(spike_seq, label)
            bar.update(len(label))
            stop.check()
    reached = accuracy.compute()  # waits for the device
    return Score(loss_sum.item() / len(dataset), reached, len(dataset), time.perf_counter() - began)
