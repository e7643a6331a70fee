"""What every neuron shares: arguments, step modes and state."""

from __future__ import annotations

import contextlib
import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ..errors import StateError
from ..ops.neuron import state_dtype
from ..surrogate import Sigmoid, Surrogate, with_alpha
from .engines import Engines, State
from .stages import Coefficient

__all__ = ["BaseNode", "State"]

Reset = float | Literal["none"] | None

_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_SIGMOID = Sigmoid()  # frozen, so one instance may serve every neuron


class BaseNode(Engines):
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

    Attributes:
        count_spikes: how many observers want spikes counted, 0 at first: each adds 1 and takes it back when it is done.
            The fused kernel counts while it writes the spikes. Neither saved nor copied.
        spike_count: how many elements of each sample's spikes were not zero (so graded and negative spikes count as
            one each) in the last forward or ``run``: int64 [T, B], [1, B] for the one step of ``"s"``, B being the
            dimension after T, on x's device. None where nobody asked, after ``functional.reset_net``, under
            torch.func and torch.export, and from an integrator that does not spike.

    Raises:
        ArgumentError: an argument cannot be used.
    """

    spiking: ClassVar[bool] = True  # False: what leaves the neuron are potentials

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
        self.count_spikes = 0
        self.spike_count: Tensor | None = None
        self._said: set[str] = set()

    # ---- arguments ---------------------------------------------------------------------------------------------

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
        """Forget state, ``v_seq`` and ``spike_count``."""
        self.state = None
        self.v_seq = None
        self.spike_count = None

    def detach(self) -> None:
        """Keep the state's values but cut it from the graph of earlier steps (truncated BPTT)."""
        if self.state is not None:
            self.state = tuple(s.detach() for s in self.state)
        if self.v_seq is not None:
            self.v_seq = self.v_seq.detach()

    def __getstate__(self) -> dict[str, Any]:
        # State belongs to a run, not to the module: a copy starts from rest (and a live graph cannot be copied).
        # Nor has anybody asked the copy to count.
        left: dict[str, Any] = {"state": None, "v_seq": None, "count_spikes": 0, "spike_count": None, "_said": set()}
        return {**super().__getstate__(), **left}  # type: ignore[no-untyped-call]

    # ---- forward -----------------------------------------------------------------------------------------------

    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes of ``x`` ([T, B, *] in ``"m"``, [B, *] in ``"s"``), same shape and dtype.

        They lie in memory as ``torch.channels_last`` where the steps of ``x`` do, else they are contiguous.
        """
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
