"""What every neuron shares: step modes, state, and the choice of engine."""

from __future__ import annotations

import logging
import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from .. import ops
from ..errors import ArgumentError, EngineError, StateError
from ..ops import reference
from ..ops.neuron import state_dtype
from ..surrogate import Sigmoid, Surrogate, native_name

__all__ = ["BaseNode", "State"]

_log = logging.getLogger("snncore")

State = tuple[Tensor, ...]
Reset = float | Literal["none"] | None

_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_SIGMOID = Sigmoid()  # frozen, so one instance may serve every neuron


class BaseNode(nn.Module):
    """Base of the neurons.

    A subclass gives ``charge`` in plain torch (the definition, the torch engine and the graph that export traces) and,
    if the compiled core has the same equation, ``native`` (its name there), ``constants`` and ``parameter_rows``.
    Every step charges, fires where ``h >= v_threshold`` and resets.

    Args:
        v_threshold: potential at which the neuron fires, > -inf; equality fires.
        v_reset: a number: hard reset to it; None: soft reset, subtract ``v_threshold``; ``"none"``: no reset.
        surrogate_function: stands in for the derivative of the spike (``snncore.surrogate``).
        detach_reset: True to keep the reset out of the gradient.
        step_mode: ``"m"``: forward takes x_seq [T, B, *] and starts from rest at every call, leaving nothing behind;
            ``"s"``: forward takes x [B, *] of one step and keeps its state until ``functional.reset_net``.
        store_v_seq: keep ``v_seq`` [T, B, *], the potential after reset of every step, float64 beside float64 input
            and float32 otherwise; in ``"s"`` the steps since the last reset.
        engine: ``"native"`` (fused kernel, or EngineError), ``"torch"`` (plain torch loop), or ``"auto"``: native where
            it can run, else torch, and the log says so once with the reason.

    Raises:
        ArgumentError: an argument cannot be used.
    """

    native: ClassVar[str | None] = None
    _no_kernel: ClassVar[str | None] = "BaseNode has no equation"  # why this class has no native kernel, or None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        named, charged = (next(c for c in cls.__mro__ if name in vars(c)) for name in ("native", "charge"))
        if cls.native is None:
            cls._no_kernel = f"{cls.__name__} has no native kernel"
        elif charged is not named:
            cls._no_kernel = f"{cls.__name__} overrides the charge of {named.__name__}"
        else:
            cls._no_kernel = None

    def __init__(
        self,
        *,
        v_threshold: float = 1.0,
        v_reset: Reset = 0.0,
        surrogate_function: Surrogate = _SIGMOID,
        detach_reset: bool = False,
        step_mode: str = "s",
        store_v_seq: bool = False,
        engine: str = "auto",
    ) -> None:
        super().__init__()
        self.v_threshold = self._number("v_threshold", v_threshold)
        self.v_reset = v_reset
        if isinstance(surrogate_function, type) or not callable(getattr(surrogate_function, "step", None)):
            raise self._bad(
                "surrogate_function", "be an instance with a step(u) method", surrogate_function,
                "pass one of snncore.surrogate, e.g. ATan()",
            )  # fmt: skip
        self.surrogate_function = surrogate_function
        self.detach_reset = bool(detach_reset)
        self.store_v_seq = bool(store_v_seq)
        self.step_mode = step_mode
        self.engine = engine
        self.smooth = False  # fire with the surrogate's smooth step; gradient checks only
        self.state: State | None = None
        self.v_seq: Tensor | None = None
        self._said: set[str] = set()

    # ---- what a subclass gives ---------------------------------------------------------------------------------

    def charge(self, x: Tensor, *state: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the state after charge, h first, for input ``x`` and the state before; all of x's shape."""
        raise NotImplementedError

    def constants(self) -> tuple[float, ...]:
        """Return the native kernel's parameters (where they are plain numbers) followed by its constants."""
        return ()

    def parameter_rows(self, x_seq: Tensor) -> tuple[Tensor | None, int]:
        """Return the native kernel's parameters as ([parameters, channels], lanes per channel), or (None, 1)."""
        return None, 1

    def rest(self) -> tuple[float, ...]:
        """Return what each state starts from."""
        return (float(self.v_reset) if isinstance(self.v_reset, float) else 0.0,)

    # ---- arguments ---------------------------------------------------------------------------------------------

    def _bad(self, name: str, must: str, got: object, do: str) -> ArgumentError:
        return ArgumentError(f"{type(self).__name__}.{name}: must {must}, got {got!r}; {do}")

    def _number(self, name: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self._bad(name, "be a finite number", value, "pass a number")
        return float(value)

    @property
    def step_mode(self) -> str:
        """``"s"`` or ``"m"``."""
        return self._step_mode

    @step_mode.setter
    def step_mode(self, value: str) -> None:
        if value not in ("s", "m"):
            raise self._bad("step_mode", "be 's' (one step) or 'm' (all steps)", value, "pass one of them")
        self._step_mode = value

    @property
    def v_reset(self) -> Reset:
        """A number (hard reset), None (soft) or ``"none"``."""
        return self._v_reset

    @v_reset.setter
    def v_reset(self, value: Reset) -> None:
        self._v_reset: Reset = (
            value if value is None or (isinstance(value, str) and value == "none") else self._number("v_reset", value)
        )

    @property
    def engine(self) -> str:
        """``"auto"``, ``"native"`` or ``"torch"``."""
        return self._engine

    @engine.setter
    def engine(self, value: str) -> None:
        if value not in ("auto", "native", "torch"):
            raise self._bad("engine", "be 'auto', 'native' or 'torch'", value, "pass one of them")
        self._engine = value

    @property
    def reset_kind(self) -> str:
        """``"hard"``, ``"soft"`` or ``"none"``."""
        return "none" if self.v_reset == "none" else "soft" if self.v_reset is None else "hard"

    # ---- state -------------------------------------------------------------------------------------------------

    @property
    def v(self) -> Tensor | float:
        """The potential after the last step in ``"s"`` [B, *]; the resting value when there is none."""
        return self.rest()[0] if self.state is None else self.state[0]

    def reset(self) -> None:
        """Forget state and ``v_seq``."""
        self.state = None
        self.v_seq = None

    def detach(self) -> None:
        """Keep the state's values but cut it from the graph of earlier steps (truncated BPTT)."""
        if self.state is not None:
            self.state = tuple(s.detach() for s in self.state)
        if self.v_seq is not None:
            self.v_seq = self.v_seq.detach()

    def __getstate__(self) -> dict[str, Any]:
        # State belongs to a run, not to the module: a copy starts from rest (and a live graph cannot be copied).
        return {**self.__dict__, "state": None, "v_seq": None, "_said": set()}

    # ---- forward -----------------------------------------------------------------------------------------------

    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes of ``x`` ([T, B, *] in ``"m"``, [B, *] in ``"s"``), same shape and dtype, contiguous."""
        self._check_input(x)
        if self.step_mode == "m":
            spike_seq, _, v_seq = self._run(x, None, keep_state=False)
            if self.store_v_seq:
                self.v_seq = v_seq
            return spike_seq
        spike_seq, self.state, v_seq = self._run(x.unsqueeze(0), self._kept_state(x))
        if self.store_v_seq:
            assert v_seq is not None
            self.v_seq = v_seq if self.v_seq is None else torch.cat((self.v_seq, v_seq))
        return spike_seq.squeeze(0)

    def run(self, x_seq: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Run over ``x_seq`` from an explicit state, keeping nothing: truncated BPTT and streaming.

        Args:
            x_seq: [T, B, *].
            state: what an earlier call returned, one tensor [B, *] per state; None: rest.

        Returns:
            spike_seq [T, B, *] in x's dtype, and the state after the last step.
        """
        self._check_input(x_seq)
        if state is not None:
            self._check_state(state, x_seq.shape[1:], x_seq, "pass the state of the same net and batch")
        spike_seq, last, _ = self._run(x_seq, state)
        assert last is not None
        return spike_seq, last

    def _check_input(self, x: Tensor) -> None:
        if not isinstance(x, Tensor) or x.dtype not in _FLOATS:
            got = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise self._bad("x", "be a float64, float32, bfloat16 or float16 tensor", got, "convert it first")
        if x.dim() < (2 if self.step_mode == "m" else 1):
            shape = "[T, B, ...] in step_mode='m'" if self.step_mode == "m" else "[B, ...] in step_mode='s'"
            raise self._bad("x", f"be {shape}", list(x.shape), "add the missing dimension or set the step mode")

    def _kept_state(self, x: Tensor) -> State | None:
        if self.state is not None:
            self._check_state(self.state, x.shape, x, "call functional.reset_net(net) before a new batch")
        return self.state

    def _check_state(self, state: State, shape: torch.Size, x: Tensor, fix: str) -> None:
        if not isinstance(state, (tuple, list)) or not all(isinstance(s, Tensor) for s in state):
            raise self._bad("state", "be a tuple of tensors", state, fix)
        if len(state) != len(self.rest()):
            raise StateError(
                f"{type(self).__name__}.state: must hold {len(self.rest())} tensors, got {len(state)}; {fix}"
            )
        want = (tuple(shape), state_dtype(x.dtype), x.device)
        for kept in state:
            got = (tuple(kept.shape), kept.dtype, kept.device)
            if got != want:
                raise StateError(
                    f"{type(self).__name__}.state: must fit x (shape {list(want[0])}, {want[1]} on {want[2]}), "
                    f"got {list(got[0])}, {got[1]} on {got[2]}; {fix}"
                )

    # ---- engines -----------------------------------------------------------------------------------------------

    def why_not_native(self, x: Tensor) -> str | None:
        """Return None if the fused kernel can run for ``x``, else the reason why not."""
        if self._no_kernel is not None:
            return self._no_kernel
        if native_name(self.surrogate_function) is None:
            return f"the surrogate {type(self.surrogate_function).__name__} is not in snncore.surrogate"
        if x.device.type == "cpu":
            return None
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
        if self._use_native(x_seq):
            start = None if state is None else state[0].unsqueeze(0) if len(state) == 1 else torch.stack(state)
            params, inner = self.parameter_rows(x_seq)
            spike_seq, last, v_seq = ops.multi_step(
                self.dynamics(), x_seq, start, params, inner, keep_state, self.store_v_seq
            )
            return spike_seq, None if last is None else last.unbind(0), v_seq
        if state is None:
            dtype = state_dtype(x_seq.dtype)
            state = tuple(x_seq.new_full(x_seq.shape[1:], value, dtype=dtype) for value in self.rest())
        spike_seq, kept, v_seq = reference.multi_step(
            self.charge, self.surrogate_function.step, x_seq, state,
            v_threshold=self.v_threshold, reset_kind=self.reset_kind, v_reset=self.rest()[0],
            detach_reset=self.detach_reset, smooth=self.smooth,
        )  # fmt: skip
        return spike_seq, kept, v_seq

    def dynamics(self) -> ops.Dynamics:
        """Return the numbers and names the native kernel runs with."""
        key = (
            self.v_threshold, self.v_reset, self.detach_reset, self.surrogate_function, self.smooth, self.constants()
        )  # fmt: skip
        cached: tuple[object, ops.Dynamics] | None = self.__dict__.get("_dynamics")
        if cached is None or cached[0] != key:
            name = native_name(self.surrogate_function)
            assert self.native is not None and name is not None
            made = ops.Dynamics(
                neuron=self.native, numbers=self.constants(), state_rest=self.rest(), v_threshold=self.v_threshold,
                reset=self.reset_kind, v_reset=self.rest()[0], detach_reset=self.detach_reset,
                surrogate=name, surrogate_args=self.surrogate_function.numbers, smooth=self.smooth,
            )  # fmt: skip
            cached = (key, made)
            self.__dict__["_dynamics"] = cached
        return cached[1]

    def extra_repr(self) -> str:
        """Return the arguments that matter, for ``print(net)``."""
        parts = {
            "v_threshold": self.v_threshold,
            "v_reset": self.v_reset,
            "detach_reset": self.detach_reset,
            "step_mode": self.step_mode,
            "surrogate_function": self.surrogate_function,
        }
        return ", ".join(f"{k}={v}" for k, v in parts.items())
