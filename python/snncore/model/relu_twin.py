"""The artificial twin of a spiking net."""

from __future__ import annotations

import copy

from torch import nn

from ..layer import ReLU
from ..neuron import BaseNode

__all__ = ["relu_twin"]


def relu_twin(net: nn.Module) -> nn.Module:
    """Return a copy of ``net`` with a ReLU in the place of every neuron, for a fair comparison.

    Names and values in ``state_dict`` stay, less what neurons had. The twin keeps the step mode, but has no use for
    time: give it T = 1, or one step in 's'.

    Args:
        net: any net of layers and neurons; it is not changed.
    """
    if isinstance(net, BaseNode):
        return ReLU(step_mode=net.step_mode).train(net.training)
    twin = copy.deepcopy(net)
    for name, module in list(twin.named_modules()):
        if isinstance(module, BaseNode):
            parent = twin.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], ReLU(step_mode=module.step_mode).train(module.training))
    return twin
