"""What each neuron brings along, and what it has besides in a certain net."""

from __future__ import annotations

from typing import Any

from .published import PLIF_NETS, RESNETS, TRANSFORMERS

__all__ = ["IN_MODEL", "NEURON"]

NEURON: dict[str, dict[str, Any]] = {
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
    # their publications' surrogates; none is the neuron's own, which goes with its number of levels
    "integer_lif": {"neuron": {"surrogate": None}},
    "ielif": {"neuron": {"surrogate": None}},
    "clif": {"neuron": {"surrogate": "rect", "args": {"tau": 2.0}}},
    "tslif": {},
    "stbif": {},
    "rplif": {},
    "ilif": {"neuron": {"surrogate": "rect"}},
    "glif": {},
    "ltmd": {"neuron": {"surrogate": "rect"}},
    "half_threshold_if": {},
}

_DETACHED: dict[str, Any] = {"neuron": {"args": {"detach_reset": True}}}

# MS ResNet's neurons keep a quarter of their potential, with a threshold of 0.5 behind norms that start at 0.5 and a
# window of 0.5 on both sides. Norms here start at 1, and so threshold and window are twice that: the same spikes, the
# same gradients.
_MS: dict[str, Any] = {
    "neuron": {
        "surrogate": "rect",
        "alpha": 2.0,
        "args": {"tau": 4 / 3, "decay_input": False, "detach_reset": True},
    }
}

IN_MODEL: dict[tuple[str, str], dict[str, Any]] = {
    **{(model, "plif"): _DETACHED for model in PLIF_NETS},
    **{(model, "if"): _DETACHED for model in RESNETS},
    **{(model, "lif"): _DETACHED for model in TRANSFORMERS},
    ("ms_resnet18", "lif"): _MS,
    ("ms_resnet34", "lif"): _MS,
}
