"""snnTorch's recurrent neurons: Leaky and Synaptic whose spikes come back through weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ArgumentError
from ..neuron import Leaky, Synaptic
from ..neuron.coefficients import to_step
from ..ops.neuron import state_dtype
from .recurrent import LinearRecurrent, Scale

__all__ = ["RLeaky", "RSynaptic"]


def _way_back(
    who: str,
    V: float | Tensor,
    all_to_all: bool,
    linear_features: int | None,
    conv2d_channels: int | None,
    kernel_size: int | tuple[int, int] | None,
    learn_recurrent: bool,
) -> nn.Module:
    """Return the recurrence that snnTorch's arguments describe."""
    conv = conv2d_channels is not None and kernel_size is not None
    half = (conv2d_channels is None) != (kernel_size is None)
    if half or (all_to_all and conv == (linear_features is not None)) or (not all_to_all and (conv or linear_features)):
        raise ArgumentError(
            f"{who}.linear_features: must be given, or else conv2d_channels and kernel_size, where all_to_all is True, "
            f"and none of them where it is False, got linear_features={linear_features!r}, "
            f"conv2d_channels={conv2d_channels!r}, kernel_size={kernel_size!r}, all_to_all={all_to_all!r}; "
            "choose one recurrence"
        )
    if not all_to_all:
        return Scale(V, learn_recurrent)
    module: nn.Module
    if conv2d_channels is None or kernel_size is None:
        assert linear_features is not None
        module = nn.Linear(linear_features, linear_features)
    else:
        size = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        module = nn.Conv2d(conv2d_channels, conv2d_channels, size, padding=(size[0] // 2, size[1] // 2))
    return module.requires_grad_(learn_recurrent)


class RLeaky(LinearRecurrent):
    """snnTorch's RLeaky: ``Leaky`` whose input is x[t] + V(spike[t-1]) (Eshraghian et al., arXiv:2109.12894).

    As in snnTorch, a delayed reset to zero takes input and recurrence of its step along: h = (1 - r) * (beta*v + x +
    V(spike)), unlike that of ``Leaky``. ``reset_delay=False`` is that of ``Leaky``.

    Args:
        beta: as in ``Leaky``.
        V: see ``Scale``; used where ``all_to_all`` is False.
        all_to_all: True for a Linear or Conv2d recurrence with bias, False for V times a neuron's own spike.
        linear_features: size of the Linear recurrence.
        conv2d_channels: channels of the Conv2d recurrence, kernel_size: its kernel, padded to keep the size if odd.
        kernel_size: see conv2d_channels.
        learn_recurrent: True to learn the recurrence.
        step_mode: ``"s"`` or ``"m"``.
        **leaky: see ``Leaky``.
    """

    def __init__(
        self,
        beta: float | Tensor = 0.9,
        V: float | Tensor = 1.0,
        all_to_all: bool = True,
        linear_features: int | None = None,
        conv2d_channels: int | None = None,
        kernel_size: int | tuple[int, int] | None = None,
        *,
        learn_recurrent: bool = True,
        step_mode: str = "s",
        **leaky: Any,
    ) -> None:
        back = _way_back("RLeaky", V, all_to_all, linear_features, conv2d_channels, kernel_size, learn_recurrent)
        neuron = Leaky(beta, **leaky)
        super().__init__(neuron, back, step_mode=step_mode)
        self._loses_input = neuron.reset_delay and neuron.reset_mechanism == "zero"

    def join(self, y: Tensor, x: Tensor) -> Tensor:
        """Return x + V(y), or 0 where a delayed reset to zero comes with this step; [B, *]."""
        joined = super().join(y, x)
        if not self._loses_input:
            return joined
        v_threshold = to_step(self.neuron.v_threshold, state_dtype(x.dtype), x.dim())
        fired = torch.as_tensor(self.neuron.v, device=x.device) >= v_threshold
        return torch.where(fired, 0.0, joined)


class RSynaptic(LinearRecurrent):
    """snnTorch's RSynaptic: ``Synaptic`` whose input is x[t] + V(spike[t-1]) (Eshraghian et al., arXiv:2109.12894).

    ``reset_delay=False`` is that of ``Synaptic``; snnTorch's raises TypeError.

    Args:
        alpha: as in ``Synaptic``.
        beta: as in ``Synaptic``.
        V: and all up to ``step_mode`` as in ``RLeaky``.
        all_to_all: see V.
        linear_features: see V.
        conv2d_channels: see V.
        kernel_size: see V.
        learn_recurrent: see V.
        step_mode: ``"s"`` or ``"m"``.
        **synaptic: see ``Synaptic``.
    """

    def __init__(
        self,
        alpha: float | Tensor = 0.9,
        beta: float | Tensor = 0.8,
        V: float | Tensor = 1.0,
        all_to_all: bool = True,
        linear_features: int | None = None,
        conv2d_channels: int | None = None,
        kernel_size: int | tuple[int, int] | None = None,
        *,
        learn_recurrent: bool = True,
        step_mode: str = "s",
        **synaptic: Any,
    ) -> None:
        back = _way_back("RSynaptic", V, all_to_all, linear_features, conv2d_channels, kernel_size, learn_recurrent)
        super().__init__(Synaptic(alpha, beta, **synaptic), back, step_mode=step_mode)
