"""QIF, EIF, Izhikevich, KLIF and ALIF; the numbers keep the self-driven ones from running away with no reset."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from neuron.row import CHANNELS, RESETS, Row, with_resets
from snncore.neuron import ALIFNode, EIFNode, IzhikevichNode, KLIFNode, QIFNode

# of the rows that repeat an equation with learned coefficients or another switch
FEW = ("atan", "piecewise_quadratic", "sigmoid")


def learned(*values: float) -> nn.Parameter:
    """Return a parameter [] of one value or [CHANNELS] of three."""
    return nn.Parameter(torch.tensor(values[0] if len(values) == 1 else values))


THRESHOLDS = {"v_threshold": learned(0.7, 0.75, 0.85)}

QIF: dict[str, Any] = {"tau": 3.0, "a0": 0.375, "v_c": 0.9, "v_rest": -0.125}
LEARNED_QIF = {"tau": learned(2.5), "a0": learned(0.5, 0.25, 0.35), "v_c": learned(0.7, 0.9, 1.1), "v_rest": 0.125}
EIF: dict[str, Any] = {"tau": 6.0, "delta_T": 2.5, "theta_rh": 0.9, "v_rest": -0.125}
LEARNED_EIF = {"tau": learned(7.0), "delta_T": learned(2.5, 3.0, 2.25), "theta_rh": learned(0.8, 0.6, 1.0)}
IZHIKEVICH: dict[str, Any] = {"tau": 3.0, "a0": 0.375, "v_c": 0.9, "tau_w": 2.5, "a": 0.3, "b": 0.2, "w_rest": 0.0625}
LEARNED_IZHIKEVICH = {
    **IZHIKEVICH,
    "tau": learned(2.25),
    "tau_w": learned(2.0, 3.0, 1.5),
    "a": learned(0.3, -0.2, 0.5),
    "b": learned(0.4),
}
SPREAD_K = ("k", (1.25, 0.8, 1.6))

SELF_DRIVEN = [
    Row("qif", QIFNode, QIF),
    Row("qif-learned", QIFNode, LEARNED_QIF, only=FEW),
    Row("qif-learned-v_threshold", QIFNode, {**LEARNED_QIF, **THRESHOLDS}, only=FEW),
    # EIF: the kernel has an exponential of its own, a unit in the last place from torch's
    Row("eif", EIFNode, EIF, exact=False),
    Row("eif-learned", EIFNode, LEARNED_EIF, exact=False, only=FEW),
    Row("izhikevich", IzhikevichNode, IZHIKEVICH),
    Row("izhikevich-learned", IzhikevichNode, LEARNED_IZHIKEVICH, only=FEW),
    Row("izhikevich-learned-v_threshold", IzhikevichNode, {**LEARNED_IZHIKEVICH, **THRESHOLDS}, only=FEW),
]

KLIF = [
    Row("klif", KLIFNode, {"init_k": 1.3, "tau": 1.6}),
    Row("klif-scale_reset", KLIFNode, {"init_k": 1.3, "tau": 1.6, "v_rest": -0.375, "scale_reset": True}),
    Row(
        "klif-channels-no_decay_input-v_threshold",
        KLIFNode,
        {"channels": CHANNELS, "tau": learned(2.5), "decay_input": False, **THRESHOLDS},
        SPREAD_K,
        only=FEW,
    ),
    Row(
        "klif-channels-scale_reset-v_threshold",
        KLIFNode,
        {"channels": CHANNELS, "tau": learned(1.7, 2.1, 1.4), "scale_reset": True, "v_rest": 0.125, **THRESHOLDS},
        SPREAD_K,
        only=FEW,
    ),
]

ALIF_SCALES: dict[str, dict[str, Any]] = {
    "": {"tau": 3.0, "tau_a": 5.0, "beta": 0.3},
    "-normalize": {"tau": 1.2, "tau_a": 4.0, "beta": 0.9, "normalize": True},
}
LEARNED_ALIF = {"tau": learned(1.6), "tau_a": learned(4.0, 6.0, 3.0), "beta": learned(0.4, 0.2, 0.6)}
ALIF = [
    Row(
        f"alif-{order}-{by}{scale}",
        ALIFNode,
        {**arguments, "reset_order": order, "reset_by": by},
        only=None if (order, by, scale) == ("after_decay", "base", "") else FEW,
    )
    for order in ("after_decay", "before_decay")
    for by in ("base", "threshold")
    for scale, arguments in ALIF_SCALES.items()
]
ALIF_LEARNED = [
    replace(row, name=f"{row.name}-learned", arguments={**row.arguments, **LEARNED_ALIF, **THRESHOLDS}, only=FEW)
    for row in ALIF
]

TWO_RESETS = {name: RESETS[name] for name in ("hard-0.25", "soft")}
ROWS = [*with_resets([*SELF_DRIVEN, *KLIF, *ALIF]), *with_resets(ALIF_LEARNED, TWO_RESETS)]
