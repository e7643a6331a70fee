"""Stateless torch layers that also take a sequence, and what keeps a mask over it.

Each is the `torch.nn` layer of the same name: same constructor arguments, same parameters, same ``state_dict``, plus
the keyword ``step_mode``. 's' takes one step, x [B, *]; 'm' takes all steps, x_seq [T, B, *], and folds ``T`` into
the batch once. `functional.set_step_mode` switches a whole net.
"""

from __future__ import annotations

from .base import StatefulModule, StepModule, StepShape
from .dropout import Dropout
from .norm import BatchNorm2d
from .pool import AdaptiveAvgPool2d, AvgPool2d, Flatten, MaxPool2d
from .synapse import Conv2d, Linear

__all__ = [
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BatchNorm2d",
    "Conv2d",
    "Dropout",
    "Flatten",
    "Linear",
    "MaxPool2d",
    "StatefulModule",
    "StepModule",
    "StepShape",
]
