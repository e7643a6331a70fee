"""Presets: what a model, a neuron or a data set brings along, and the order in which everything is merged.

packaged defaults < model < model on data set < neuron < the run that is resumed < user's file < command line
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..config import Merged, merge
from .config import Config
from .folder import find, saved_settings

__all__ = ["ON_DATA", "PRESETS", "resolve"]

Layer = tuple[str, Mapping[str, Any]]

# section -> name -> settings
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "model": {
        # SpikingJelly's conv_fashion_mnist: 0.9330 on Fashion-MNIST with 128 channels
        "csnn": {
            "model": {"T": 4},
            "neuron": {"name": "if", "surrogate": "atan"},
            "data": {"batch_size": 128},
            "optim": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "scheduler": "cosine"},
            "train": {"epochs": 64, "loss": "mse_rate"},
        },
        # snnTorch's 784-1000-10
        "mlp": {
            "model": {"T": 25, "hidden": [1000]},
            "neuron": {"name": "leaky", "surrogate": "atan"},
            "data": {"batch_size": 128},
            "optim": {"name": "adam", "lr": 1e-3, "scheduler": "none"},
            "train": {"epochs": 10, "loss": "ce_count"},
        },
    },
    "neuron": {
        "if": {},
        "lif": {"neuron": {"args": {"tau": 2.0}}},
        "plif": {"neuron": {"args": {"init_tau": 2.0}}},
        "leaky": {"neuron": {"args": {"beta": 0.9}}},
        "cubalif": {"neuron": {"surrogate": "rect", "args": {"c_decay": 0.5, "v_decay": 0.75}}},
        "synaptic": {"neuron": {"args": {"alpha": 0.9, "beta": 0.8}}},
        "alpha": {"neuron": {"args": {"alpha": 0.9, "beta": 0.8}}},
        "lapicque": {},
        "raf": {},
        "qif": {},
        "eif": {},
        "izhikevich": {},
        "klif": {"neuron": {"args": {"tau": 2.0}}},
        "alif": {},
        "ternary_if": {},
        "ternary_lif": {"neuron": {"args": {"tau": 2.0}}},
        # their publications' surrogates
        "integer_lif": {"neuron": {"surrogate": "multi_level"}},
        "ielif": {"neuron": {"surrogate": "open_multi_level"}},
        "clif": {"neuron": {"surrogate": "rect", "args": {"tau": 2.0}}},
        "tslif": {},
        "stbif": {},
        "rplif": {},
        "ilif": {"neuron": {"surrogate": "rect"}},
        "glif": {},
        "ltmd": {"neuron": {"surrogate": "rect"}},
        "half_threshold_if": {},
    },
}

# (model, data set) -> settings
ON_DATA: dict[tuple[str, str], dict[str, Any]] = {
    ("csnn", "digits"): {
        "model": {"channels": 32},
        "data": {"batch_size": 16},
        "train": {"epochs": 20},
    },
    ("mlp", "digits"): {
        "data": {"batch_size": 64},
    },
}


def resolve(layers: Sequence[Layer] = ()) -> Merged[Config]:
    """Return the configuration of a run: the defaults and presets under ``layers``, the last layer winning.

    Args:
        layers: (name of the source, nested mapping of settings), e.g. ``[("here", {"model": {"T": 8}})]``. The names
            of model, data set and neuron in them decide which presets apply. If they name a run to resume, its
            settings lie under them.

    Raises:
        ConfigError: a setting does not exist or cannot have its value.
    """
    chosen = merge(Config, layers).config
    if chosen.train.resume not in (None, "auto") and (path := find(chosen)):
        layers = [(f"the run {path.parent}", saved_settings(path)), *layers]
        chosen = merge(Config, layers).config
    recipe = _model_presets(chosen)
    neuron = merge(Config, [*recipe, *layers]).config.neuron.name
    recipe.append((f"preset of neuron {neuron}", PRESETS["neuron"].get(neuron, {})))
    return merge(Config, [*recipe, *layers])


def _model_presets(chosen: Config) -> list[Layer]:
    model, data = chosen.model.name, chosen.data.name
    return [
        (f"preset of model {model}", PRESETS["model"].get(model, {})),
        (f"preset of {model} on {data}", ON_DATA.get((model, data), {})),
    ]
