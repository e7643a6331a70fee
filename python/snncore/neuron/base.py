"""What every neuron shares: step modes, state, and the choice of engine."""

from __future__ import annotations

import contextlib
import logging
import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from .. import ops
from ..errors import ArgumentError, EngineError, StateError
from ..ops import reference
from ..ops.neuron import LEARNABLE_SURROGATES, state_dtype
from ..ops.transforms import why_not_differentiable
from ..surrogate import Sigmoid, Surrogate, native_name, with_alpha
from .coefficients import as_rows, channels_of, lanes_per_channel, to_step
from .stages import STAGES, Coefficient, Stages

__all__ = ["BaseNode", "State"]

_log = logging.getLogger("snncore")

State = tuple[Tensor, ...]
Reset = float | Literal["none"] | None

_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_SIGMOID = Sigmoid()  # frozen, so one instance may serve every neuron


class BaseNode(Stages, nn.Module):
    """Base of the neurons.

    A subclass gives ``charge`` in plain torch (the definition, the torch engine and the graph that export traces), any
    other of the ``Stages`` it does differently, and, if the compiled core has the same equations, ``native`` (its name
    there), ``coefficients`` and ``constants``. Every step charges, fires where ``h >= v_threshold`` and resets.

    Args:
        v_threshold: potential at which the neuron fires; equality fires. A number, or a tensor [] or [C] (one per
            element of dimension 1 of a step [B, C, *]): a ``nn.Parameter`` is learned, another tensor is a buffer.
        v_reset: a number: hard reset to it; None: soft reset, subtract ``v_threshold``; ``"none"``: no reset.
        surrogate_function: stands in for the derivative of the spike (``snncore.surrogate``). Its ``alpha`` may be a
            tensor like ``v_threshold``; it becomes the node's ``surrogate_alpha``.
        detach_reset: True to keep the reset of the potential out of the gradient.
        step_mode: ``"m"``: forward takes x_seq [T, B, *] and starts from rest at every call, leaving nothing behind;
            ``"s"``: forward takes x [B, *] of one step and keeps its state until ``functional.reset_net``.
        store_v_seq: keep ``v_seq`` [T, B, *], the potential after reset of every step, float64 beside float64 input
            and float32 otherwise; in ``"s"`` the steps since the last reset.
        noise: standard deviation of Gaussian noise that is added to x while the module trains, not in ``eval()``; 0:
            none. Drawn once a call from torch's generator (``torch.manual_seed``), in either engine.
        engine: ``"native"`` (fused kernel, or EngineError), ``"torch"`` (plain torch loop), or ``"auto"``: native where
            it can run, else torch, and the log says so once with the reason.

    Raises:
        ArgumentError: an argument cannot be used.
    """

    _no_kernel: ClassVar[str | None] = "BaseNode has no equation"  # why this class has no native kernel, or None
    v_threshold: Coefficient
    surrogate_alpha: Tensor | None
    spiking: ClassVar[bool] = True  # False: what leaves the neuron are potentials
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

    def __init__(
        self,
        *,
        v_threshold: Coefficient = 1.0,
        v_reset: Reset = 0.0,
        surrogate_function: Surrogate = _SIGMOID,
        detach_reset: bool = False,
        step_mode: str = "s",
        store_v_seq: bool = False,
        noise: float = 0.0,
        engine: str = "auto",
    ) -> None:
        super().__init__()
        self._coefficient("v_threshold", v_threshold)
        self.v_reset = v_reset
        if isinstance(surrogate_function, type) or not callable(getattr(surrogate_function, "step", None)):
            raise self._bad(
                "surrogate_function", "be an instance with a step(u) method", surrogate_function,
                "pass one of snncore.surrogate, e.g. ATan()",
            )  # fmt: skip
        alpha = getattr(surrogate_function, "alpha", None)
        if isinstance(alpha, Tensor) and isinstance(surrogate_function, Surrogate):
            self._coefficient("surrogate_alpha", alpha)
            surrogate_function = with_alpha(surrogate_function, float(alpha.detach().mean()))
        else:
            self.surrogate_alpha = None
        self.surrogate_function = surrogate_function
        self.detach_reset = bool(detach_reset)
        self.store_v_seq = bool(store_v_seq)
        self.step_mode = step_mode
        self.noise = noise
        self.engine = engine
        self.smooth = False  # fire with the surrogate's smooth step; gradient checks only
        self.state: State | None = None
        self.v_seq: Tensor | None = None
        self._said: set[str] = set()

    # ---- arguments ---------------------------------------------------------------------------------------------

    def _bad(self, name: str, must: str, got: object, do: str) -> ArgumentError:
        return ArgumentError(f"{type(self).__name__}.{name}: must {must}, got {got!r}; {do}")

    def _number(self, name: str, value: Any) -> float:
        number = math.nan
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            with contextlib.suppress(OverflowError):  # an int may be larger than any float
                number = float(value)
        if not math.isfinite(number):
            raise self._bad(name, "be a finite number", value, "pass a number")
        return number

    def _coefficient(self, name: str, value: Coefficient) -> None:
        """Make ``value`` the attribute ``name``: a number as it is, a ``nn.Parameter`` learned, a tensor a buffer."""
        if not isinstance(value, Tensor):
            setattr(self, name, self._number(name, value))
            return
        if value.dim() > 1 or not value.is_floating_point() or value.numel() == 0:
            raise self._bad(name, "be a number or a floating tensor [] or [C]", list(value.shape), "flatten it")
        if not value.isfinite().all():
            raise self._bad(name, "be finite", value.tolist(), "pass finite values")
        if isinstance(value, nn.Parameter):
            self.register_parameter(name, value)
        else:
            self.register_buffer(name, value.detach().clone())

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
    def noise(self) -> float:
        """The standard deviation of what is added to x while training."""
        return self._noise

    @noise.setter
    def noise(self, value: float) -> None:
        if self._number("noise", value) < 0:
            raise self._bad("noise", "be a standard deviation >= 0", value, "pass 0 for none")
        self._noise = float(value)

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

    @property
    def reset_target(self) -> float:
        """Where a hard reset goes; 0 where there is none."""
        return float(self.v_reset) if isinstance(self.v_reset, float) else 0.0

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
        return {**super().__getstate__(), "state": None, "v_seq": None, "_said": set()}  # type: ignore[no-untyped-call]

    # ---- forward -----------------------------------------------------------------------------------------------

    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes of ``x`` ([T, B, *] in ``"m"``, [B, *] in ``"s"``), same shape and dtype, contiguous."""
        self._check_input(x)
        if self.step_mode == "m":
            spike_seq, _, v_seq = self._run(x, None, keep_state=False)
            if self.store_v_seq:
                self.v_seq = v_seq
            return spike_seq
        if torch.compiler.is_exporting():  # torch.export drops what a call leaves behind, without a word
            raise self._bad(
                "step_mode", "be 'm' for torch.export, whose programs keep no state between calls", "s",
                "call functional.set_step_mode(net, 'm'), or export a module that calls run() with the state",
            )  # fmt: skip
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

    def _states(self) -> int:
        """Return how many tensors are kept from step to step."""
        return len(self.rest())

    def _check_state(self, state: State, shape: torch.Size, x: Tensor, fix: str) -> None:
        if not isinstance(state, (tuple, list)) or not all(isinstance(s, Tensor) for s in state):
            raise self._bad("state", "be a tuple of tensors", state, fix)
        if len(state) != self._states():
            raise StateError(
                f"{type(self).__name__}.state: must hold {self._states()} tensors, got {len(state)}; {fix}"
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
        if self._noise and self.training:
            x_seq = x_seq + self._noise * torch.randn_like(x_seq)
        own = self.coefficients()
        given: list[Coefficient] = [self.v_threshold, *own.values()]
        channels = channels_of([*given, self.surrogate_alpha])
        if channels is not None and channels > 1:
            self._check_channels([*given, self.surrogate_alpha], x_seq.shape[1:])
        if not self._use_native(x_seq):
            return self._run_torch(x_seq, state, self.v_threshold, own, self.surrogate_alpha)
        start = None if state is None else state[0].unsqueeze(0) if len(state) == 1 else torch.stack(state)
        params = None
        if channels is not None:
            rows = given if self.surrogate_alpha is None else [*given, self.surrogate_alpha]
            params = as_rows(rows, channels, x_seq, state_dtype(x_seq.dtype))
        numbers = tuple(0.0 if isinstance(c, Tensor) else c for c in given)
        spike_seq, last, v_seq = ops.multi_step(
            self._dynamics(numbers), x_seq, start, params, lanes_per_channel(x_seq.shape[1:], channels or 1),
            keep_state, self.store_v_seq, self._definition,
        )  # fmt: skip
        return spike_seq, None if last is None else last.unbind(0), v_seq

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

    def extra_repr(self) -> str:
        """Return the arguments that matter, for ``print(net)``."""
        parts = {
            "v_threshold": self.v_threshold,
            "v_reset": self.v_reset,
            "detach_reset": self.detach_reset,
            "step_mode": self.step_mode,
            "surrogate_function": self.surrogate_function,
        }
        if self.noise:
            parts["noise"] = self.noise
        return ", ".join(f"{k}={v}" for k, v in parts.items())
