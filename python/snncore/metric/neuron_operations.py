"""How much arithmetic one update of a neuron is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..neuron import Alpha, BaseNode, IFNode, Lapicque, Leaky, LIFNode, ParametricLIFNode, Synaptic
from ..neuron.delayed import DelayedReset

__all__ = ["operations_per_update"]

# Arithmetic of one neuron in one step by reset mechanism: the table of neurobench 2.3.0.
_NEUROBENCH: dict[type[BaseNode], dict[str, int]] = {
    Leaky: {"subtract": 4, "zero": 4},
    Synaptic: {"subtract": 6, "zero": 8},
    Lapicque: {"subtract": 11, "zero": 11},
    Alpha: {"subtract": 18, "zero": 24},
}


def _reset(node: BaseNode) -> int:
    """v = h - spike * drop: a product and a difference; one more where drop = h - v_reset is not h itself."""
    if node.reset_kind == "hard":
        return 2 + (node.reset_target != 0)
    return 2 if node.reset_kind == "soft" else 0


def _if(node: Any) -> int:
    return 1 + _reset(node)  # v + x


def _lif(node: Any) -> int:
    # beta * v + x, with a product for the input's own factor and a sum for (1 - beta) * v_rest, where there are such.
    return 2 + int(node.decay_input) + int(node.v_rest != 0) + _reset(node)


# Not in NeuroBench. By the same rule: products, sums and differences per neuron, constants folded, no comparison; a
# LIF with soft reset and without decay_input is Leaky and has its 4.
_BY_THE_SAME_RULE: dict[type[BaseNode], Callable[[Any], int]] = {IFNode: _if, LIFNode: _lif, ParametricLIFNode: _lif}


def operations_per_update(node: BaseNode) -> int | None:
    """Return the operations of one update of one neuron, None where no constant is known for its class.

    ``Leaky`` 4, ``Synaptic`` 6 (subtract) or 8 (zero), ``Lapicque`` 11, ``Alpha`` 18 or 24: the constants of
    ``neurobench`` 2.3.0 (NeuronOperations), which has none for reset mechanism "none". ``IFNode``, ``LIFNode`` and
    ``ParametricLIFNode``, which it does not know, are counted by its rule from their equations, constants folded: IF
    v + x 1; LIF beta*v + x 2, ``decay_input`` 1 more, ``v_rest`` other than 0 1 more; soft reset 2, hard 2, or 3 with
    ``v_reset`` other than 0. Subclasses are other neurons and have no constant.
    """
    if isinstance(node, DelayedReset):
        return _NEUROBENCH.get(type(node), {}).get(node.reset_mechanism)
    rule = _BY_THE_SAME_RULE.get(type(node))
    return None if rule is None else rule(node)
