"""Which engine runs a neuron's stages, the fused kernel or the plain torch loop, and with what."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .. import ops
from ..errors import ArgumentError, EngineError
from ..ops import reference
from ..ops.neuron import LEARNABLE_SURROGATES, state_dtype
from ..ops.transforms import transformed, why_not_differentiable
from ..surrogate import Surrogate, native_name, with_alpha
from .coefficients import as_rows, channels_of, lanes_per_channel, to_step
from .memory_format import channels_back, channels_lie_last, channels_to_end
from .stages import STAGES, Coefficient, Stages

__all__ = ["Engines", "State"]

_log = logging.getLogger("snncore")

State = tuple[Tensor, ...]


class Engines(Stages, nn.Module):
    """The middle of ``BaseNode``: from its arguments and an input to spikes, states and potentials."""

    # set by BaseNode
    engine: str
    surrogate_function: Surrogate
    store_v_seq: bool
    smooth: bool
    noise: float
    spiking: ClassVar[bool]
    count_spikes: int
    spike_count: Tensor | None
    _said: set[str]

    _no_kernel: ClassVar[str | None] = "BaseNode has no equation"  # why this class has no native kernel, or None
    v_threshold: Coefficient
    surrogate_alpha: Tensor | None
    detach_state: ClassVar[bool] = False  # True: no gradient goes from one step to the step before

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        named = next(c for c in cls.__mro__ if "native" in vars(c))
        below = cls.__mro__[: cls.__mro__.index(named)]
        changed = [name for name in STAGES if any(name in vars(c) for c in below)]
        if cls.native is None:
            cls._no_kernel = f"{cls.__name__} has no native kernel"
        elif changed:
            cls._no_kernel = f"{cls.__name__} overrides the {changed[0]} of {named.__name__}"
        else:
            cls._no_kernel = None

    def _bad(self, name: str, must: str, got: object, do: str) -> ArgumentError:
        return ArgumentError(f"{type(self).__name__}.{name}: must {must}, got {got!r}; {do}")

    def why_not_native(self, x: Tensor) -> str | None:
        """Return None if the fused kernel can run for ``x``, else the reason why not."""
        if self._no_kernel is not None:
            return self._no_kernel
        name = native_name(self.surrogate_function)
        if name is None:
            return f"the surrogate {type(self.surrogate_function).__name__} is not in snncore.surrogate"
        if self.surrogate_alpha is not None and name not in LEARNABLE_SURROGATES:
            return f"the surrogate {type(self.surrogate_function).__name__} has no slope alpha to be given as a tensor"
        reason = why_not_differentiable()
        if reason is not None or x.device.type == "cpu":
            return reason
        if x.device.type == "cuda":
            return ops.cuda_ready()
        return f"there is no native kernel for device {x.device.type!r}"

    def _use_native(self, x: Tensor) -> bool:
        if self.engine == "torch":
            return False
        reason = self.why_not_native(x)
        if reason is None:
            return True
        if self.engine == "native":
            raise EngineError(f"{type(self).__name__}.engine: 'native' cannot run here: {reason}; use engine='auto'")
        if not torch.compiler.is_compiling() and reason not in self._said:
            self._said.add(reason)
            _log.warning("%s runs on the torch engine (slower): %s", type(self).__name__, reason)
        return False

    def _run(
        self, x_seq: Tensor, state: State | None, keep_state: bool = True
    ) -> tuple[Tensor, State | None, Tensor | None]:
        if self.detach_state and state is not None:  # or the graphs of all steps in 's' would hang together
            state = tuple(s.detach() for s in state)
        if self.noise and self.training:
            x_seq = x_seq + self.noise * torch.randn_like(x_seq)
        samples = self._samples(x_seq)
        own = self.coefficients()
        given: list[Coefficient] = [self.v_threshold, *own.values()]
        channels = channels_of([*given, self.surrogate_alpha])
        if channels is not None and channels > 1:
            self._check_channels([*given, self.surrogate_alpha], x_seq.shape[1:])
        if not self._use_native(x_seq):
            results = self._run_torch(x_seq, state, self.v_threshold, own, self.surrogate_alpha)
            if samples is not None:
                self.spike_count = reference.spike_count(results[0], samples)
            return results
        return self._run_native(x_seq, state, given, channels, keep_state, samples)

    def _run_native(
        self,
        x_seq: Tensor,
        state: State | None,
        given: list[Coefficient],
        channels: int | None,
        keep_state: bool,
        samples: int | None,
    ) -> tuple[Tensor, State | None, Tensor | None]:
        """Run the fused kernel on x_seq [T, B, *]; what comes out is ``channels_last`` if x_seq is, or contiguous."""
        start = None if state is None else state[0].unsqueeze(0) if len(state) == 1 else torch.stack(state)
        params = None
        if channels is not None:
            rows = given if self.surrogate_alpha is None else [*given, self.surrogate_alpha]
            params = as_rows(rows, channels, x_seq, state_dtype(x_seq.dtype))
        numbers = tuple(0.0 if isinstance(c, Tensor) else c for c in given)
        inner, definition = lanes_per_channel(x_seq.shape[1:], channels or 1), self._definition
        last = channels_lie_last(x_seq)
        if last:  # the lanes in the order of memory: nothing is copied, here or in the layers around
            inner, definition = 1, self._definition_of_channels_last
            x_seq, start = channels_to_end(x_seq), None if start is None else channels_to_end(start)
        spike_seq, final, v_seq, count = ops.multi_step(
            self._dynamics(numbers), x_seq, start, params, inner, keep_state, self.store_v_seq, definition, samples
        )
        if last:
            spike_seq = channels_back(spike_seq)
            final, v_seq = (None if y is None else channels_back(y) for y in (final, v_seq))
        if samples is not None:
            self.spike_count = count
        return spike_seq, None if final is None else final.unbind(0), v_seq

    def _samples(self, x_seq: Tensor) -> int | None:
        """Return B of x_seq [T, B, *] if spikes are to be counted, else None. What an earlier call counted goes."""
        if self.spike_count is not None:
            self.spike_count = None
        if not self.count_spikes or not self.spiking or torch.compiler.is_exporting() or transformed():
            return None
        return x_seq.shape[1]

    def _check_channels(self, given: list[Any], step: torch.Size) -> None:
        channels = step[1] if len(step) > 1 else None
        for c in given:
            if not isinstance(c, Tensor) or c.numel() in (1, channels):
                continue
            tensors = dict([*self.named_parameters(), *self.named_buffers()])
            name = next((n for n, t in tensors.items() if t.numel() == c.numel()), "coefficients")
            raise self._bad(
                name, f"have as many elements as dimension 1 of a step, here of shape {list(step)}",
                [c.numel()], "pass one per channel of this layer's input",
            )  # fmt: skip

    def _run_torch(
        self,
        x_seq: Tensor,
        state: State | None,
        v_threshold: Coefficient,
        own: dict[str, Coefficient],
        alpha: Tensor | None,
    ) -> tuple[Tensor, State, Tensor]:
        dtype, dim = state_dtype(x_seq.dtype), x_seq.dim() - 1
        if state is None:
            state = tuple(x_seq.new_full(x_seq.shape[1:], value, dtype=dtype) for value in self.rest())
        surrogate = self.surrogate_function
        if alpha is not None:
            surrogate = with_alpha(surrogate, to_step(alpha, dtype, dim))
        return reference.multi_step(
            self, surrogate.step, x_seq, state, v_threshold=to_step(v_threshold, dtype, dim),
            own={name: to_step(c, dtype, dim) for name, c in own.items()},
            detach_state=self.detach_state, smooth=self.smooth,
        )  # fmt: skip

    def _definition(
        self, x_seq: Tensor, state_init: Tensor | None, params: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The native call in differentiable torch: coefficients come as the rows it was given."""
        own, v_threshold, alpha = self.coefficients(), self.v_threshold, None
        if params is not None:
            v_threshold, *rows = params.unbind(0)
            alpha = rows.pop() if len(rows) > len(own) else None
            own = dict(zip(own, rows, strict=True))
        state = None if state_init is None else state_init.unbind(0)
        spike_seq, last, v_seq = self._run_torch(x_seq, state, v_threshold, own, alpha)
        return spike_seq, torch.stack(last), v_seq

    def _definition_of_channels_last(
        self, x_seq: Tensor, state_init: Tensor | None, params: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same for a call whose tensors are [*, B, spatial axes, C]."""
        start = None if state_init is None else channels_back(state_init)
        spike_seq, final, v_seq = self._definition(channels_back(x_seq), start, params)
        return channels_to_end(spike_seq), channels_to_end(final), channels_to_end(v_seq)

    def _dynamics(self, params: tuple[float, ...]) -> ops.Dynamics:
        """Return the numbers and names the native kernel runs with."""
        key = (
            params, self.constants(), self.v_reset, self.detach_reset, self.detach_state, self.surrogate_function,
            self.smooth,
        )  # fmt: skip
        cached: tuple[object, ops.Dynamics] | None = self.__dict__.get("_cached_dynamics")
        if cached is None or cached[0] != key:
            name = native_name(self.surrogate_function)
            assert self.native is not None and name is not None
            made = ops.Dynamics(
                neuron=self.native, params=params, constants=self.constants(), state_rest=self.rest(),
                reset=self.reset_kind, v_reset=self.reset_target, detach_reset=self.detach_reset,
                surrogate=name, surrogate_args=self.surrogate_function.numbers,
                detach_state=self.detach_state, smooth=self.smooth,
            )  # fmt: skip
            cached = (key, made)
            self.__dict__["_cached_dynamics"] = cached
        return cached[1]
