"""Training: a configuration, one loop, checkpoints from which a run goes on bit for bit.

``resolve`` merges settings over defaults and presets; ``fit`` trains as they say; ``Trainer`` is the class to inherit
from. Started by torchrun, both train on several ranks. ``LOSSES``, ``OPTIMIZERS``,
``SCHEDULES`` and ``PRESETS`` are the tables of names.
"""

from __future__ import annotations

from .clip import clip_gradients, non_finite
from .config import Config, DataConfig, EnergyConfig, ModelConfig, NeuronConfig, OptimConfig, TrainConfig
from .ema import WeightAverage, adjusted_decay
from .loss import LOSSES, make_loss
from .optim import OPTIMIZERS, make_optimizer, parameter_groups
from .preset import PRESETS, resolve
from .recompute import ActivationCheckpointing
from .regularise import FiringRatePenalty
from .report import Result
from .run import fit
from .schedule import SCHEDULES, learning_rate, schedule_factor
from .trainer import Trainer

__all__ = [
    "LOSSES",
    "OPTIMIZERS",
    "PRESETS",
    "SCHEDULES",
    "ActivationCheckpointing",
    "Config",
    "DataConfig",
    "EnergyConfig",
    "FiringRatePenalty",
    "ModelConfig",
    "NeuronConfig",
    "OptimConfig",
    "Result",
    "TrainConfig",
    "Trainer",
    "WeightAverage",
    "adjusted_decay",
    "clip_gradients",
    "fit",
    "learning_rate",
    "make_loss",
    "make_optimizer",
    "non_finite",
    "parameter_groups",
    "resolve",
    "schedule_factor",
]
