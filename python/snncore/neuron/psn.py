"""Parallel spiking neurons: a matrix over time in place of the recursion.

Fang et al., "Parallel spiking neurons with high efficiency and ability to learn long-term dependencies", NeurIPS 2023,
arXiv:2304.12760. The potential of every time step is a weighted sum of the inputs of other steps, so all steps are
computed at once. There is no reset, and the threshold is learned: a step fires where h >= 0, its bias included.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import StateError
from ..ops.neuron import state_dtype
from ..surrogate import ATan, Surrogate
from .base import BaseNode, State

__all__ = ["PSN", "MaskedPSN", "SlidingPSN"]

_ATAN = ATan(2.0)
_BLOCK = 64  # steps per matrix of SlidingPSN, whose work would otherwise grow with the square of T


class _ParallelNode(BaseNode):
    """A matrix over time, then one step of integrate-and-fire from 0 without reset for all time steps: h >= 0 fires.

    The matrix product runs in float64 beside float64 input and in float32 otherwise, under autocast too, so that a
    half type rounds no potential before it is compared. What backward keeps is x and h.
    """

    native = "if"  # what fires; the potentials come from torch's matrix product

    def __init__(self, surrogate_function: Surrogate, common: dict[str, Any]) -> None:
        for name, why in (
            ("v_threshold", "the bias is the threshold"), ("v_reset", "there is no reset"),
            ("detach_reset", "there is no reset"),
        ):  # fmt: skip
            if name in common:
                raise self._bad(name, "be absent", common[name], f"drop it: {why}")
        super().__init__(v_threshold=0.0, v_reset="none", surrogate_function=surrogate_function, **common)

    def charge(self, x: Tensor, *state: Tensor, **own: Any) -> Tensor:
        """Return x on top of the 0 that every step starts from."""
        return state[0] + x

    @property
    def v(self) -> float:
        """0: no potential outlives its step (``store_v_seq`` keeps them)."""
        return 0.0

    def _count(self, name: str, value: object, most: int | None = None) -> int:
        if type(value) is not int or value < 1 or (most is not None and value > most):
            must = "be a whole number >= 1" if most is None else f"be a whole number from 1 to T = {most}"
            raise self._bad(name, must, value, "pass such a number")
        return value

    def _mix(self, x_seq: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Return weight [S, T] times x_seq [T, *], plus bias [S, 1] or []: h_seq [S, *] in the state's dtype."""
        dtype = state_dtype(x_seq.dtype)
        with torch.autocast(x_seq.device.type, enabled=False):
            h_seq = torch.addmm(bias.to(dtype), weight.to(dtype), x_seq.to(dtype).flatten(1))
        return h_seq.view(weight.shape[0], *x_seq.shape[1:])

    def _fire(self, h_seq: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """Return the spikes of h_seq [T, B, *] in ``dtype``, and v_seq where it is stored."""
        # Time goes into the batch, so dimension 1 of a step stays the channels.
        spikes, _, v_seq = super()._run(h_seq.flatten(0, 1).unsqueeze(0), None, keep_state=False)
        if self.spike_count is not None:
            self.spike_count = self.spike_count.view(h_seq.shape[:2])
        return spikes.view(h_seq.shape).to(dtype), None if v_seq is None else v_seq.view(h_seq.shape)


class _AllSteps(_ParallelNode):
    """With weights for each of T time steps: ``weight`` [T, T] and ``bias`` [T, 1]."""

    def __init__(self, T: int, surrogate_function: Surrogate, common: dict[str, Any]) -> None:
        super().__init__(surrogate_function, common)
        self.T = self._count("T", T)
        self.weight = nn.Parameter(torch.empty(self.T, self.T))
        self.bias = nn.Parameter(torch.full((self.T, 1), -1.0))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def time_weight(self) -> Tensor:
        """Return the weights in force, [T, T]: row t makes the potential of step t."""
        return self.weight

    def _states(self) -> int:
        return 0

    def _run(
        self, x_seq: Tensor, state: State | None, keep_state: bool = True
    ) -> tuple[Tensor, State | None, Tensor | None]:
        if x_seq.shape[0] != self.T:
            raise self._bad(
                "x", f"have T = {self.T} time steps, for which it has weights", f"{x_seq.shape[0]} (shape "
                f"{list(x_seq.shape)})", f"give [T, B, *] with that T, or build it with T={x_seq.shape[0]}",
            )  # fmt: skip
        spike_seq, v_seq = self._fire(self._mix(x_seq, self.time_weight(), self.bias), x_seq.dtype)
        return spike_seq, (), v_seq

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        return f"T={self.T}, step_mode={self.step_mode}, surrogate_function={self.surrogate_function}"


class PSN(_AllSteps):
    """Parallel spiking neuron: h = weight @ x_seq + bias over T time steps; step_mode ``"m"`` only.

    ``weight`` [T, T] is a full matrix: a spike depends on later inputs too. ``bias`` [T, 1] starts at -1, a threshold
    of 1. Both are learned; weight starts as in SpikingJelly (Kaiming, uniform, a = sqrt 5).

    Args:
        T: time steps; x_seq must have as many.
        surrogate_function: as in ``BaseNode``.
        **common: ``step_mode``, ``store_v_seq`` and ``engine`` of ``BaseNode``.

    Raises:
        ArgumentError: an argument cannot be used; step_mode is ``"s"``; on forward: x_seq has another T.
    """

    def __init__(self, T: int, surrogate_function: Surrogate = _ATAN, **common: Any) -> None:
        super().__init__(T, surrogate_function, {"step_mode": "m", **common})

    @property
    def step_mode(self) -> str:
        """``"m"``."""
        return self._step_mode

    @step_mode.setter
    def step_mode(self, value: str) -> None:
        if value != "m":
            raise self._bad(
                "step_mode", "be 'm', because the spikes of a step depend on all steps", value,
                "give whole sequences, or use SlidingPSN, which can take one step at a time",
            )  # fmt: skip
        self._step_mode = value


class MaskedPSN(_AllSteps):
    """PSN that is pressed, while it trains, into looking at no more than the last k inputs.

    h = (weight * mask) @ x_seq + bias, mask = lambda_ inside the band t-k < s <= t plus 1 - lambda_ everywhere: at
    ``lambda_`` = 0 it is PSN, at 1 it is causal and needs k inputs. The training loop raises ``node.lambda_``, a buffer
    in ``state_dict``, from 0 to 1. At 1 step_mode ``"s"`` works too: it keeps the last k - 1 inputs and the number of
    the step until ``functional.reset_net``; ``run`` takes whole sequences only.

    Args:
        k: inputs that a step looks at in the end, 1 to T.
        T: time steps.
        lambda_init: ``lambda_`` at the start, 0 to 1.
        surrogate_function: as in ``BaseNode``.
        **common: ``step_mode``, ``store_v_seq`` and ``engine`` of ``BaseNode``.

    Raises:
        ArgumentError: an argument cannot be used; on forward: x_seq has another T, or lambda_ < 1 in ``"s"``.
        StateError: in ``"s"``: more than T steps, or x does not fit the inputs kept.
    """

    _lambda: Tensor
    band: Tensor

    def __init__(
        self, k: int, T: int, lambda_init: float = 0.0, surrogate_function: Surrogate = _ATAN, **common: Any
    ) -> None:
        super().__init__(T, surrogate_function, common)
        self.k = self._count("k", k, self.T)
        self.time_step = 0  # of the next call in 's'
        steps = torch.arange(self.T)
        past = steps.unsqueeze(1) - steps
        self.register_buffer("band", (past >= 0) & (past < self.k), persistent=False)
        self.register_buffer("_lambda", torch.zeros(()))
        self.lambda_ = lambda_init

    @property
    def lambda_(self) -> float:
        """How far the mask is in force, 0 to 1."""
        return float(self._lambda)

    @lambda_.setter
    def lambda_(self, value: float) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise self._bad("lambda_", "be a number from 0 to 1", value, "pass such a number")
        self._lambda.fill_(value)

    def time_weight(self) -> Tensor:
        """Return the masked weights, [T, T]."""
        share = self._lambda.to(self.weight.dtype)
        return self.weight * (share * self.band + (1 - share))

    def reset(self) -> None:
        """Forget the inputs kept, and begin with the first step."""
        super().reset()
        self.time_step = 0

    def run(self, x_seq: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Run over all T time steps of ``x_seq``; see ``BaseNode.run``. There is no state to go on from."""
        self._check_input(x_seq)
        if state:
            raise StateError(f"MaskedPSN.state: must be None, got {len(state)} tensors; give all T steps at once")
        return super()._run(x_seq, None)[0], ()

    def _run(
        self, x_seq: Tensor, state: State | None, keep_state: bool = True
    ) -> tuple[Tensor, State | None, Tensor | None]:
        if self.step_mode == "m":
            return super()._run(x_seq, state, keep_state)
        t = self.time_step
        if t >= self.T:
            raise StateError(
                f"MaskedPSN.x: must be one of T = {self.T} time steps, got another after the last; "
                "call functional.reset_net(net) before a new sequence"
            )
        if self.lambda_ < 1:
            raise self._bad(
                "lambda_", "be 1 in step_mode 's', since below it a step depends on later ones", self.lambda_,
                "set lambda_ = 1 when it is trained, or give whole sequences in step_mode 'm'",
            )  # fmt: skip
        inputs = (*(state or ()), x_seq[0].to(state_dtype(x_seq.dtype)))
        weight = self.weight[t : t + 1, t + 1 - len(inputs) : t + 1]
        spikes, v_seq = self._fire(self._mix(torch.stack(inputs), weight, self.bias[t : t + 1]), x_seq.dtype)
        self.time_step = t + 1
        return spikes, inputs[1:] if len(inputs) == self.k else inputs, v_seq

    def _states(self) -> int:
        return min(self.time_step, self.k - 1) if self.step_mode == "s" else 0

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "time_step": 0}

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        return f"k={self.k}, lambda_={self.lambda_:g}, {super().extra_repr()}"


class SlidingPSN(_ParallelNode):
    """Parallel spiking neuron whose steps share their weights: any T, causal.

    h[t] = bias + sum over i of weight[i] * x[t - k + 1 + i], with x = 0 before the first step. ``weight`` [k] and
    ``bias`` [] (starting at -1) are learned. In step_mode ``"s"`` it keeps the last k - 1 inputs. ``"s"`` and ``"m"``
    agree but for the rounding of the matrix product, which sums in another order.

    Args:
        k: inputs that a step looks at, >= 1.
        exp_init: True to start from weights 1, 1/2, 1/4, ... back in time; False: Kaiming, uniform, a = sqrt 5.
        surrogate_function: as in ``BaseNode``.
        **common: ``step_mode``, ``store_v_seq`` and ``engine`` of ``BaseNode``.

    Raises:
        ArgumentError: an argument cannot be used.
        StateError: in ``"s"``: x does not fit the inputs kept.
    """

    def __init__(self, k: int, exp_init: bool = True, surrogate_function: Surrogate = _ATAN, **common: Any) -> None:
        super().__init__(surrogate_function, common)
        self.k = self._count("k", k)
        weight = 0.5 ** torch.arange(self.k - 1, -1, -1.0).view(1, -1)
        if not exp_init:
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
        self.weight = nn.Parameter(weight[0])
        self.bias = nn.Parameter(torch.tensor(-1.0))

    def _states(self) -> int:
        return self.k - 1

    def _run(
        self, x_seq: Tensor, state: State | None, keep_state: bool = True
    ) -> tuple[Tensor, State | None, Tensor | None]:
        T, before = x_seq.shape[0], len(state or ())
        x = x_seq.to(state_dtype(x_seq.dtype))
        seen = torch.cat((torch.stack(state), x)) if state else x  # [before + T, B, *]
        h = [self._block(seen, first, min(first + _BLOCK, before + T)) for first in range(before, before + T, _BLOCK)]
        h_seq = x if T == 0 else h[0] if len(h) == 1 else torch.cat(h)
        spike_seq, v_seq = self._fire(h_seq, x_seq.dtype)
        return spike_seq, self._kept(seen) if keep_state else None, v_seq

    def _block(self, seen: Tensor, first: int, last: int) -> Tensor:
        """Return h [last - first, B, *] of the steps from first to last, counted in ``seen``."""
        oldest = max(0, first - self.k + 1)
        steps = torch.arange(oldest, last, device=self.weight.device)
        past = steps[first - oldest :].unsqueeze(1) - steps
        shared = self.weight[(self.k - 1 - past).clamp(0, self.k - 1)]
        return self._mix(seen[oldest:last], torch.where((past >= 0) & (past < self.k), shared, 0.0), self.bias)

    def _kept(self, seen: Tensor) -> State:
        lacking = max(0, self.k - 1 - seen.shape[0])
        rest = (seen.new_zeros(seen.shape[1:]),) * lacking
        return (*rest, *seen[seen.shape[0] - (self.k - 1) + lacking :].unbind(0)) if self.k > 1 else ()

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        return f"k={self.k}, step_mode={self.step_mode}, surrogate_function={self.surrogate_function}"
