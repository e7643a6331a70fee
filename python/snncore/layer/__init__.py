"""Stateless torch layers that also take a sequence, what keeps a mask or a trace over it, and recurrent containers.

A layer with the name of a `torch.nn` layer is that layer: same constructor arguments, same parameters, same
``state_dict``, plus the keyword ``step_mode``. 's' takes one step, x [B, *]; 'm' takes all steps, x_seq [T, B, *], and
folds ``T`` into the batch once. `functional.set_step_mode` switches a whole net.
"""

from __future__ import annotations

from .base import StatefulModule, StepModule, StepShape
from .dropout import Dropout
from .norm import BatchNorm2d
from .online import Trace, TraceConv2d, TraceLinear
from .pool import AdaptiveAvgPool2d, AvgPool2d, Flatten, MaxPool2d
from .recurrent import ElementWiseRecurrent, LinearRecurrent, Recurrent, Scale
from .recurrent_leaky import RLeaky, RSynaptic
from .synapse import Conv2d, Linear

__all__ = [
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BatchNorm2d",
    "Conv2d",
    "Dropout",
    "ElementWiseRecurrent",
    "Flatten",
    "Linear",
    "LinearRecurrent",
    "MaxPool2d",
    "RLeaky",
    "RSynaptic",
    "Recurrent",
    "Scale",
    "StatefulModule",
    "StepModule",
    "StepShape",
    "Trace",
    "TraceConv2d",
    "TraceLinear",
]
