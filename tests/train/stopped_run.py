"""Runs ``snncore-train`` and stops it at a chosen place; a process of its own, for test_resume.py.

    python stopped_run.py PLACE COUNT SIGNAL ARGUMENT...

PLACE is the dotted name of a function in ``snncore.train``; the process sends itself SIGNAL (a name such as SIGKILL) at
the COUNT-th call of it, or, for ``full_disk``, that call fails as on a full disk.
"""

from __future__ import annotations

import errno
import importlib
import os
import random
import signal
import sys

import numpy as np
import torch
from torch import Tensor, nn

from snncore import functional, layer
from snncore.cli.train import main
from snncore.model import MODELS


class DropoutNet(nn.Sequential):
    """A net that draws random numbers in every training step."""

    def __init__(self, sizes, spiking_neuron, **neuron_args) -> None:
        super().__init__(
            layer.Flatten(),
            layer.Dropout(0.2),
            layer.Linear(sizes[0], 20),
            spiking_neuron(**neuron_args),
            layer.Linear(20, sizes[-1]),
            spiking_neuron(**neuron_args),
        )
        functional.set_step_mode(self, "m")

    def forward(self, x: Tensor) -> Tensor:
        # numbers of all generators, so that each of them has to come back as it was
        noise = float(np.random.standard_normal()) + random.gauss(0, 1)
        return super().forward(x + 0.01 * noise if self.training else x)


def stop_at(place: str, count: int, what: str) -> None:
    module_name, _, function_name = place.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError:  # a class
        outer, _, name = module_name.rpartition(".")
        module = getattr(importlib.import_module(outer), name)
    function = getattr(module, function_name)
    calls = 0

    def stand_in(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == count:
            if what == "full_disk":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            for name in what.split("+"):
                os.kill(os.getpid(), getattr(signal, name))
        return function(*args, **kwargs)

    setattr(module, function_name, stand_in)


if __name__ == "__main__":
    torch.set_num_threads(1)
    MODELS["dropout_net"] = DropoutNet
    stop_at(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    sys.exit(main(sys.argv[4:]))
