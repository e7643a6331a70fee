"""Torch layers that also take a sequence, what keeps a mask or a trace over it, attention, and recurrent containers.

A layer with the name of a `torch.nn` layer is that layer: same constructor arguments, same parameters, same
``state_dict``, plus the keyword ``step_mode``. 's' takes one step, x [B, *]; 'm' takes all steps, x_seq [T, B, *], and
folds ``T`` into the batch once. `functional.set_step_mode` switches a whole net.
"""

from __future__ import annotations

from .attention import (
    ChannelQKAttention,
    SpikeDrivenSelfAttention,
    SpikingAttention,
    SpikingSelfAttention,
    TokenQKAttention,
)
from .base import StatefulModule, StepModule, StepShape
from .dropout import Dropout, Dropout1d, Dropout2d, Dropout3d
from .norm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    GroupNorm,
    LayerNorm,
    ThresholdDependent,
    ThresholdDependentBatchNorm1d,
    ThresholdDependentBatchNorm2d,
    ThresholdDependentBatchNorm3d,
)
from .online import Trace, TraceConv2d, TraceLinear
from .pool import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AdaptiveMaxPool3d,
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    Flatten,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
    ReLU,
    Upsample,
    Voting,
)
from .recurrent import ElementWiseRecurrent, LinearRecurrent, Recurrent, Scale
from .recurrent_leaky import RLeaky, RSynaptic
from .synapse import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, Linear
from .sync_norm import SyncBatchNorm, convert_sync_batchnorm
from .temporal_norm import (
    TemporalEffective,
    TemporalEffectiveBatchNorm1d,
    TemporalEffectiveBatchNorm2d,
    TemporalEffectiveBatchNorm3d,
)

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "ChannelQKAttention",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "ElementWiseRecurrent",
    "Flatten",
    "GroupNorm",
    "LayerNorm",
    "Linear",
    "LinearRecurrent",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "RLeaky",
    "RSynaptic",
    "ReLU",
    "Recurrent",
    "Scale",
    "SpikeDrivenSelfAttention",
    "SpikingAttention",
    "SpikingSelfAttention",
    "StatefulModule",
    "StepModule",
    "StepShape",
    "SyncBatchNorm",
    "TemporalEffective",
    "TemporalEffectiveBatchNorm1d",
    "TemporalEffectiveBatchNorm2d",
    "TemporalEffectiveBatchNorm3d",
    "ThresholdDependent",
    "ThresholdDependentBatchNorm1d",
    "ThresholdDependentBatchNorm2d",
    "ThresholdDependentBatchNorm3d",
    "TokenQKAttention",
    "Trace",
    "TraceConv2d",
    "TraceLinear",
    "Upsample",
    "Voting",
    "convert_sync_batchnorm",
]
