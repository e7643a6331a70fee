"""One rank of several that call ``snncore-train``, once or more often; a process of its own, for test_ranks_train.py.

    python ranks_run.py JOBS

JOBS is a JSON file: ``{"out": FOLDER, "jobs": [{"arguments": [...], "stop": [rank, place, count, what]}, ...]}``.
Where there is a ``stop``, that rank is stopped as stopped_run.py says (once, if it is started again). Each rank writes
its exit codes and the sums of its weights to FOLDER/RANK.json.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from stopped_run import DropoutNet, stop_at
from torch import nn

from snncore import functional, layer
from snncore.cli.train import main
from snncore.model import MODELS
from snncore.train import LOSSES
from snncore.train.loop import Loop
from snncore.train.sharded import whole


class HalfUsed(nn.Module):
    """A net with a layer that nothing goes through."""

    def __init__(self, sizes, spiking_neuron, **neuron_args) -> None:
        super().__init__()
        self.net = nn.Sequential(layer.Flatten(), layer.Linear(sizes[0], sizes[-1]), spiking_neuron(**neuron_args))
        self.idle = layer.Linear(3, 3)
        functional.set_step_mode(self, "m")

    def forward(self, x):
        return self.net(x)


class Overflows(nn.Module):
    """A linear net whose gradients are not finite in rank 1's third step."""

    def __init__(self, sizes, spiking_neuron, **neuron_args) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(2), nn.Linear(sizes[0], sizes[-1]))
        self.step_mode, self.calls = "m", 0

    def forward(self, x):
        self.calls += self.training
        y = self.net(x)
        return y * float("inf") if self.training and self.calls == 3 and os.environ["RANK"] == "1" else y


class Double(nn.Module):
    """A net of the tables in float64, where sums in another order flip no spike."""

    model = ""

    def __init__(self, **arguments) -> None:
        super().__init__()
        self.net = MODELS[self.model](**arguments).double()

    def forward(self, x):
        return self.net(x.double())


class DoubleCSNN(Double):
    """The same net as ``csnn``."""

    model = "csnn"

    def __init__(self, in_shape, num_classes, **arguments) -> None:
        super().__init__(in_shape=in_shape, num_classes=num_classes, channels=4, **arguments)


class DoubleMLP(Double):
    """The same net as ``mlp``."""

    model = "mlp"

    def __init__(self, sizes, **arguments) -> None:
        super().__init__(sizes=(sizes[0], 30, sizes[-1]), **arguments)


def ce_double(spike_seq, label):
    """The loss ce_count, in the dtype of the spikes."""
    return nn.functional.cross_entropy(spike_seq.sum(0), label)


OWN_MODELS = {
    "dropout_net": DropoutNet, "half_used": HalfUsed, "double_csnn": DoubleCSNN, "double_mlp": DoubleMLP,
    "overflows": Overflows,
}  # fmt: skip


def digest(net: nn.Module) -> str:
    found = hashlib.sha256()
    for value in whole(net.state_dict()).values():
        found.update(value.numpy().tobytes())
    return found.hexdigest()


def run(rank: int, job: dict) -> int:
    stop = job.get("stop")
    if stop and stop[0] == rank and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
        stop_at(*stop[1:])
    return main(job["arguments"])


def go(path: str) -> int:
    torch.set_num_threads(1)
    MODELS.update(OWN_MODELS)
    LOSSES["ce_double"] = ce_double
    task = json.loads(Path(path).read_text())
    rank = int(os.environ["RANK"])
    weights: list[str] = []
    measure = Loop.measure

    def measured(self):
        weights.append(digest(self.task.net))
        return measure(self)

    Loop.measure = measured
    several = len(task["jobs"]) > 1  # then the group is this program's, not that of each run
    if several:
        dist.init_process_group("gloo", timeout=timedelta(seconds=20))
    codes = [run(rank, job) for job in task["jobs"]]
    Path(task["out"], f"{rank}.json").write_text(json.dumps({"codes": codes, "weights": weights}))
    if several:
        dist.destroy_process_group()
    return max(codes)


if __name__ == "__main__":
    sys.exit(go(sys.argv[1]))
