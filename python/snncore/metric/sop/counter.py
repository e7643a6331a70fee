"""Counting synaptic operations of a net while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.hooks import RemovableHandle

from ...errors import ArgumentError, StateError
from ...layer.time import is_static
from ...neuron import BaseNode
from .maps import FanOutMaps, Margins
from .operators import COUNTED, UNCOUNTED
from .record import Geometry, LayerRecord, Part
from .report import Report

__all__ = ["Place", "SopCounter"]


@dataclass(frozen=True)
class Place:
    """Where the rows of a counted tensor belong: ``rows`` = T * B (t-major), or B where it is computed once."""

    rows: int
    static: bool


class _Watch(TorchDispatchMode):
    """Hands the operators of a running net to its counter."""

    def __init__(self, counter: SopCounter) -> None:
        super().__init__()
        self._counter = counter

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        counter = self._counter
        if counter.watching and func not in COUNTED and func._can_decompose() and torch.is_inference_mode_enabled():
            with self:  # composite operators arrive whole in inference mode
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        out = func(*args, **kwargs)
        if counter.watching:
            counter.saw(func, args, out)
        return out


class SopCounter:
    """Counts synaptic operations (one spike reaching one synapse) exactly, per layer, time step and sample.

    Sees every convolution, linear layer and matmul that runs inside the net's forward, whether a module or a
    functional call makes it, and counts in 64-bit integers on the device the tensors are on; nothing synchronises before
    ``report()``. What holds synapses and cannot be counted is a row of the report that says why. At exit everything
    installed is removed; the counts stay.

    Example::

        with SopCounter(net) as sop:
            for x, _ in batches:
                net(direct(x, T))
        print(sop.report(mode="exact"))

    Samples: in step mode 'm' the net's first argument is [T, B, *]. In 's' it is [B, *]; the calls from one
    ``functional.reset_net`` to the next are the steps of the same B samples. Definitions: soul.md-independent, see
    ``Report``.

    Args:
        net: any module.
        time_steps: T, for a net that takes [B, *] and makes its T steps inside; None: as above.

    Raises:
        ArgumentError: ``time_steps`` is no positive integer.
        StateError: entered twice at once; forward: the net's neurons see other steps than ``time_steps`` says.
    """

    def __init__(self, net: nn.Module, time_steps: int | None = None) -> None:
        if time_steps is not None and (isinstance(time_steps, bool) or time_steps < 1):
            raise ArgumentError(
                f"SopCounter.time_steps: must be None or a positive integer, got {time_steps!r}; pass the number of "
                "steps the net makes of one input"
            )
        self.net = net
        self.maps = FanOutMaps()
        self.layers: dict[tuple[str, str, int], LayerRecord] = {}
        self.uncounted: dict[tuple[str, str], str] = {}
        self.samples: list[int] = []  # B of every run
        self.steps: list[int] = []  # T of every run so far
        self.forwards = 0
        self.watching = False
        self._time_steps = time_steps
        self._watch: _Watch | None = None
        self._handles: list[RemovableHandle] = []
        self._stack: list[tuple[str, bool]] = []  # names of the modules that run, and whether their input is static
        self._calls: dict[tuple[str, str], int] = {}  # calls of one kind in one module during this forward
        self._weights: dict[int, Tensor] = {}
        self._padded: dict[int, tuple[Tensor, Margins]] = {}  # padded inside this forward, kept so that it stays alive
        self._T = self._B = 0

    # ---- the block -----------------------------------------------------------------------------------------------

    def __enter__(self) -> SopCounter:
        if self._watch is not None:
            raise StateError("SopCounter: must not be entered twice at once; make another one")
        self._weights = {_storage(t): t for t in (*self.net.parameters(), *self.net.buffers())}
        hook = partial(self._handles.append)
        hook(self.net.register_forward_pre_hook(self._begin, with_kwargs=True))
        for name, module in self.net.named_modules():
            hook(module.register_forward_pre_hook(partial(self._enter, name)))
            hook(module.register_forward_hook(self._leave, always_call=True))
        hook(self.net.register_forward_hook(self._end, always_call=True))
        self._watch = _Watch(self)
        self._watch.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._watch is not None
        self._watch.__exit__(kind, error, trace)
        self._watch = None
        self.watching = False
        self._stack.clear()
        self._weights.clear()
        while self._handles:
            self._handles.pop().remove()

    def report(self, mode: str = "exact", **options: Any) -> Report:
        """Return the counts as one of the views of ``Report``; synchronises.

        Raises:
            StateError: nothing ran, or nothing that was seen could be counted.
            ArgumentError: the mode is unknown; the message lists the modes.
        """
        if not self.forwards:
            raise StateError("SopCounter.report: nothing ran inside the with block; call the net there")
        if not self.layers and not self.uncounted:
            raise StateError(
                "SopCounter.report: the net ran and no operator was seen; a compiled net (torch.compile) shows none: "
                "count the net it was made from"
            )
        return Report.of(self, mode, **options)

    # ---- what the operators ask ------------------------------------------------------------------------------------

    def saw(self, func: Any, args: tuple[Any, ...], out: Any) -> None:
        """Count ``func`` if it holds synapses."""
        count = COUNTED.get(func)
        if count is not None:
            count(self, args, out)
        elif func is torch.ops.aten.constant_pad_nd.default:  # padding='same' with an even kernel
            if len(args) < 3 or args[2] == 0:
                self._padded[_storage(out)] = (out, _margins(args[1], out.dim() - 2))
        elif func is torch.ops.aten._to_copy.default:
            if self.is_weight(args[0]):  # autocast's copy of a weight; kept, so that its storage stays its own
                self._weights[_storage(out)] = out
        elif func.overloadpacket in UNCOUNTED:
            self.not_counted(str(func.overloadpacket), UNCOUNTED[func.overloadpacket])

    def margins(self, x: Tensor) -> Margins | None:
        """Return how far ``x`` [N, C, *] was padded with zeros before, along each dimension; None: not at all."""
        found = self._padded.get(_storage(x))
        return None if found is None or found[0].shape != x.shape else found[1]

    def is_weight(self, t: Tensor) -> bool:
        """Return whether ``t`` is a parameter or buffer of the net, or a view or low-precision copy of one."""
        return _storage(t) in self._weights

    def place(self, rows: int) -> Place | str:
        """Return how ``rows`` are made of samples and steps, or why that cannot be told."""
        T, B = self._T, self._B
        static = bool(self._stack) and self._stack[-1][1]
        if not static and T * B and rows % (T * B) == 0:
            return Place(T * B, static=False)
        if B and rows % B == 0:
            return Place(B, static=T > 1)
        return f"its {rows} rows are no multiple of the {B} samples"

    def not_counted(self, kind: str, why: str) -> None:
        """Name a layer that holds synapses and is not counted."""
        self.uncounted[(self._here(), kind)] = why

    def add(self, kind: str, counts: Tensor, geometry: Geometry, place: Place) -> None:
        """Keep the counts [rows, columns] of one call."""
        name = self._here()
        index = self._calls.get((name, kind), 0)
        self._calls[(name, kind)] = index + 1
        layer = self.layers.setdefault((name, kind, index), LayerRecord(name, kind))
        steps = 1 if place.static else self._T
        part = Part(counts.view(steps, self._B, counts.shape[1]), geometry, place.static, self._T)
        layer.runs.setdefault(len(self.samples) - 1, []).append(part)

    def _here(self) -> str:
        return self._stack[-1][0] if self._stack else ""

    # ---- hooks -----------------------------------------------------------------------------------------------------

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        x = next((a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)), None)
        if x is None or x.dim() < 1:
            raise ArgumentError("SopCounter: the net must be called with a tensor [T, B, *] or [B, *] first")
        nodes = [m for m in self.net.modules() if isinstance(m, BaseNode)]
        many = any(node.step_mode == "m" for node in nodes)
        if self._time_steps is not None:
            self._T, self._B = self._time_steps, x.shape[0]
        elif many and x.dim() >= 2:
            self._T, self._B = x.shape[0], x.shape[1]
        else:
            self._T, self._B = 1, x.shape[0]
        going_on = not many and any(node.state is not None for node in nodes)
        if going_on and self.samples and self.samples[-1] == self._B:
            self.steps[-1] += 1
        else:
            self.samples.append(self._B)
            self.steps.append(self._T)
        self.forwards += 1
        self._calls.clear()
        self.watching = True

    def _end(self, module: nn.Module, args: Any, out: Any) -> None:
        self.watching = False
        self._padded.clear()

    def _enter(self, name: str, module: nn.Module, args: tuple[Any, ...]) -> None:
        x = args[0] if args and isinstance(args[0], Tensor) else None
        many = getattr(module, "step_mode", None) == "m"
        if isinstance(module, BaseNode) and many and x is not None and x.dim() >= 2:
            if tuple(x.shape[:2]) != (self._T, self._B):
                raise StateError(
                    f"SopCounter: {name or 'the net'} sees steps and samples {list(x.shape[:2])} where the net's input "
                    f"says [{self._T}, {self._B}]; pass time_steps=... to the counter if the net takes [B, *]"
                )
        self._stack.append((name, many and x is not None and x.dim() >= 2 and is_static(x)))

    def _leave(self, module: nn.Module, args: Any, out: Any) -> None:
        if self._stack:
            self._stack.pop()


def _margins(pad: list[int], dims: int) -> Margins:
    """Turn torch's list, last dimension first, into a pair per spatial dimension."""
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)][:dims]
    return tuple(reversed(pairs + [(0, 0)] * (dims - len(pairs))))


def _storage(t: Tensor) -> int:
    return t.untyped_storage().data_ptr()
