"""Gated LIF: leak, input and reset each between two kinds, by learned gates."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import StateError
from ..ops.neuron import state_dtype
from .base import State
from .fixed_reset import FixedReset
from .stages import Coefficient

__all__ = ["GatedLIFNode"]


class GatedLIFNode(FixedReset):
    """Gated leaky integrate-and-fire (GLIF; Yao et al., NeurIPS 2022, arXiv:2210.13768).

    With gates a (leak: 1 exponential, 0 linear), b (input: 1 by ``conduct``, 0 as it comes) and c (reset: 1 wiping,
    0 subtracting), all in (0, 1), and the spike of the step before:

        h = (1 - a*(1 - tau)) * h_before * (1 - c*spike_before) - (1 - a)*linear_decay
            + x * (1 - b*(1 - conduct)) - (1 - c)*v_subreset*spike_before

    The published form gives every step a ``conduct`` of its own, so it needs ``T`` and refuses other lengths
    (SpikingJelly cuts a longer x_seq). Without ``T`` there is one ``conduct`` for any number of steps. The state is
    what the next step starts from: h less reset and exponential leak. There is no other reset, hence ``v_reset`` is
    ``"none"``; ``detach_reset`` takes the spike out of the gradient of the state (published: it stays).

    Learned are logits, the parameters ``raw_<name>``, each [] or [channels], ``raw_conduct`` [T] or [T, channels] if
    there is T: a, b, c, tau, v_threshold, linear_decay, v_subreset, conduct; ``values()`` gives them in (0, 1).

    Args:
        T: number of time steps of every sequence, or None (see above).
        tau, v_threshold, linear_decay, v_subreset, conduct: values at the start, in (0, 1). None: linear_decay is
            v_threshold / (2 * T), with 4 for T if there is none; v_subreset is v_threshold.
        gates: a, b, c at the start, in (0, 1); None: drawn, their logits uniform in [-0.1, 0.1].
        channels: None: one set of parameters for the layer; else the size of dimension 1 of a step [B, channels, *].
        **common: see ``BaseNode``; ``v_reset`` is ``"none"``. With ``T``, noise goes to the input behind its gate.

    Raises:
        ArgumentError: an argument cannot be used; on forward: x_seq has not ``T`` steps.
        StateError: more than ``T`` steps in ``step_mode="s"`` without ``functional.reset_net``.
    """

    native = "glif"
    only_reset = "none"
    raw_a: nn.Parameter
    raw_b: nn.Parameter
    raw_conduct: nn.Parameter
    raw_v_threshold: nn.Parameter

    def __init__(
        self,
        T: int | None = None,
        *,
        tau: float = 0.25,
        v_threshold: float = 0.5,
        linear_decay: float | None = None,
        v_subreset: float | None = None,
        conduct: float = 0.5,
        gates: tuple[float, float, float] | None = None,
        channels: int | None = None,
        **common: Any,
    ) -> None:
        for name, count in (("T", T), ("channels", channels)):
            if count is not None and (type(count) is not int or not 1 <= count < 2**31):
                raise self._bad(name, "be None or a positive integer", count, "pass the size of that dimension")
        if gates is not None and (not isinstance(gates, (tuple, list)) or len(gates) != 3):
            raise self._bad("gates", "be None or three numbers a, b, c", gates, "pass e.g. (0.5, 0.5, 0.5)")
        if isinstance(v_threshold, Tensor):
            raise self._bad("v_threshold", "be a number, where learning starts", v_threshold, "pass channels for many")
        super().__init__(v_threshold=v_threshold, **common)
        self.T = T
        self._step = 0  # the next step in "s"
        each = () if channels is None else (channels,)
        if channels is not None:
            self.raw_v_threshold = nn.Parameter(self.raw_v_threshold.detach().expand(each).clone())
        for k, name in enumerate(("a", "b", "c")):
            raw = 0.2 * torch.rand(each) - 0.1 if gates is None else torch.full(each, self._logit(name, gates[k]))
            setattr(self, f"raw_{name}", nn.Parameter(raw))
        starts = {
            "tau": tau,
            "linear_decay": v_threshold / (2 * (T or 4)) if linear_decay is None else linear_decay,
            "v_subreset": v_threshold if v_subreset is None else v_subreset,
            "conduct": conduct,
        }
        for name, start in starts.items():
            shape = each if name != "conduct" or T is None else (T, *each)
            setattr(self, f"raw_{name}", nn.Parameter(torch.full(shape, self._logit(name, start))))

    def _logit(self, name: str, value: Any) -> float:
        number = self._number(name, value)
        if not 0.0 < number < 1.0:
            raise self._bad(name, "be in (0, 1)", value, "scale the input instead" if name[0] == "v" else "change it")
        return math.log(number / (1.0 - number))

    @property
    def v_threshold(self) -> Tensor:
        """The thresholds in (0, 1), [] or [channels]."""
        return torch.sigmoid(self.raw_v_threshold)

    @v_threshold.setter
    def v_threshold(self, value: Coefficient) -> None:
        raw = self._logit("v_threshold", value)
        if "raw_v_threshold" in self._parameters:
            with torch.no_grad():
                self.raw_v_threshold.fill_(raw)
        else:
            self.raw_v_threshold = nn.Parameter(torch.tensor(raw))

    def values(self) -> dict[str, Tensor]:
        """Return what the logits stand for, in (0, 1), differentiable: name -> [] or [channels], conduct with T."""
        return {
            name.removeprefix("raw_"): torch.sigmoid(p) for name, p in self.named_parameters() if name[:4] == "raw_"
        }

    def _gain(self, b: Tensor, conduct: Tensor) -> Tensor:
        return 1.0 - b * (1.0 - conduct)

    def coefficients(self) -> dict[str, Coefficient]:
        """What the gates make of leak, reset and input; the input of a neuron with T is gated before."""
        p = self.values()
        a, c = p["a"], p["c"]
        return {
            "decay": 1.0 - a * (1.0 - p["tau"]),
            "wipe": c,
            "leak": (1.0 - a) * p["linear_decay"],
            "drop": (1.0 - c) * p["v_subreset"],
            "gain": self._gain(p["b"], p["conduct"]) if self.T is None else 1.0,
        }

    def charge(self, x: Tensor, *state: Tensor, **own: Any) -> Tensor:
        """Return v less the linear leak, plus the gated input."""
        h: Tensor = state[0] - own["leak"] + x * own["gain"]
        return h

    def settle(self, h: tuple[Tensor, ...], spikes: tuple[Tensor, ...], v_threshold: Coefficient, **own: Any) -> Tensor:
        """Wipe, leak and subtract."""
        spike = spikes[0].detach() if self.detach_reset else spikes[0]
        v: Tensor = own["decay"] * (h[0] - spike * (own["wipe"] * h[0])) - spike * own["drop"]
        return v

    # ---- one conduct per step ----------------------------------------------------------------------------------

    def _gated(self, x_seq: Tensor, first: int = 0) -> Tensor:
        """Return x_seq [T, B, *] from step ``first`` on, each step times its gain, in the dtype of the state."""
        dtype = state_dtype(x_seq.dtype)
        conduct = torch.sigmoid(self.raw_conduct[first : first + x_seq.shape[0]])
        gain = self._gain(torch.sigmoid(self.raw_b), conduct).to(dtype)  # [T] or [T, channels]
        if gain.dim() == 2:
            self._check_channels([gain[0]], x_seq.shape[1:])
            gain = gain.unsqueeze(1)  # [T, 1, channels]
        return x_seq.to(dtype) * gain.reshape(*gain.shape, *(1,) * (x_seq.dim() - gain.dim()))

    def _check_steps(self, x_seq: Tensor) -> None:
        if x_seq.shape[0] != self.T:
            raise self._bad(
                "x", f"have T = {self.T} time steps, one for each conduct", list(x_seq.shape),
                "build the neuron with this T, or with T=None",
            )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """As ``BaseNode.forward``."""
        if self.T is None:
            return super().forward(x)
        self._check_input(x)
        if self.step_mode == "m":
            self._check_steps(x)
            return super().forward(self._gated(x)).to(x.dtype)
        if self._step >= self.T:
            raise StateError(
                f"GatedLIFNode.state: must end after T = {self.T} steps, got one more; "
                f"call functional.reset_net(net) before a new sequence"
            )
        spike = super().forward(self._gated(x.unsqueeze(0), self._step).squeeze(0)).to(x.dtype)
        self._step += 1
        return spike

    def run(self, x_seq: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """As ``BaseNode.run``; with T, x_seq has all T steps."""
        if self.T is None:
            return super().run(x_seq, state)
        self._check_input(x_seq)
        self._check_steps(x_seq)
        spike_seq, last = super().run(self._gated(x_seq), state)
        return spike_seq.to(x_seq.dtype), last

    def reset(self) -> None:
        """Forget state and ``v_seq``, and begin at the first step."""
        super().reset()
        self._step = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_step": 0}

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        channels = self.raw_a.numel() if self.raw_a.dim() else None
        with torch.no_grad():
            means = ", ".join(f"{name}={float(value.mean()):g}" for name, value in self.values().items())
        return f"T={self.T}, channels={channels}, {means}, detach_reset={self.detach_reset}, step_mode={self.step_mode}"
