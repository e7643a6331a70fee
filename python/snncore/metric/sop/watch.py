"""The dispatch mode of a counter: what it does with each operator of torch that runs in its block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode
from torch.utils._pytree import tree_leaves

from .fan_out import Margins
from .forward import Forward
from .operators import COUNTED, UNCOUNTED
from .weights import Weights

__all__ = ["Watch"]

_get_compiler = torch._C._dynamo.eval_frame.get_eval_frame_callback
_FOLDS = {torch.ops.aten.view, torch.ops.aten._unsafe_view}
_PAD = torch.ops.aten.constant_pad_nd
_KNOWN_NAMESPACES = {"aten", "prim", "prims", "snncore", "profiler", "c10d", "_c10d_functional"}

Count = Callable[[Forward, tuple[Any, ...], dict[str, Any]], None]
Note = Callable[[Forward, tuple[Any, ...], dict[str, Any], Any], None]


class _Plan(NamedTuple):
    """What to do with an operator: worked out once, since thousands run.

    Attributes:
        composite: it consists of others, which are to be seen. Torch takes such an operator apart before a mode sees
            it, but not in inference mode.
        counts: called before it in a forward of the net.
        notes: called after it in a forward of the net.
        writes: it changes an argument in place.
        derives: its result may be a new weight.
    """

    composite: bool
    counts: Count | None
    notes: Note | None
    writes: bool
    derives: bool


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Hands the operators that run to ``forward``, the forward of the net that is running, or None."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.forward: Forward | None = None
        self._weights = weights
        self._plans: dict[Any, _Plan] = {}
        self.on = False

    def turn(self, on: bool) -> None:
        """Watch, or look away.

        It goes on watching where another mode stands above it, and where torch.compile would begin to compile, hooks
        and all, once no mode is on.
        """
        if on and not self.on:
            self.__enter__()  # type: ignore[no-untyped-call]
            self.on = True
        elif self.on and not on and _get_current_dispatch_mode() is self and _get_compiler() is None:
            self.__exit__(None, None, None)  # type: ignore[no-untyped-call]
            self.on = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        forward = self.forward
        plan = self._plans.get(func)
        if plan is None:
            plan = self._plans[func] = self._plan(func)
        if plan.composite and forward is not None:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        if plan.counts is not None and forward is not None:
            out = _count_and_run(plan.counts, forward, func, args, kwargs)
        else:
            out = func(*args, **kwargs)
        if plan.writes:
            self._weights.written((args, kwargs))
            if forward is not None:
                forward.written()
        if forward is not None:
            if plan.notes is not None:
                plan.notes(forward, args, kwargs, out)
            if plan.derives:
                self._weights.derive(args, kwargs, out)
        return out

    def _plan(self, func: Any) -> _Plan:
        counts = _counting(func) if func.overloadpacket in COUNTED else None
        writes, derives = bool(func._schema.is_mutable) and func.namespace != "snncore", not func.is_view
        return _Plan(func._can_decompose(), counts, self._noting(func), writes, derives)

    def _noting(self, func: Any) -> Note | None:
        packet = func.overloadpacket
        if packet in UNCOUNTED:
            return lambda forward, args, kwargs, out: forward.not_counted(str(packet), UNCOUNTED[packet])
        if packet in _FOLDS:
            return lambda forward, args, kwargs, out: forward.fold(args[0], out)
        if packet is _PAD:
            return _pad
        if func.namespace not in _KNOWN_NAMESPACES:
            return self._foreign(str(packet))
        return None

    def _foreign(self, name: str) -> Note:
        def note(forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
            tensors = (t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor))
            if any(t.dim() > 1 and t in self._weights for t in tensors):
                forward.not_counted(name, "an operator that is not torch's own takes a weight")

        return note


def _counting(func: Any) -> Count:
    count, names = COUNTED[func.overloadpacket], [argument.name for argument in func._schema.arguments]

    def counts(forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if torch._C._current_graph_task_id() == -1:  # else a backward that the forward runs
            count(forward, dict(zip(names, args, strict=False)) | kwargs)

    return counts


def _count_and_run(count: Count, forward: Forward, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Count an operator, then run it: its input still lies in the caches, and lies there for the operator too."""
    before = len(forward.counted)
    try:
        count(forward, args, kwargs)
    except Exception:
        func(*args, **kwargs)  # if the arguments do not fit each other, torch says so better
        raise
    try:
        return func(*args, **kwargs)
    except Exception:
        del forward.counted[before:]
        raise


def _pad(forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> None:
    """Take note of zeros around an input: F.pad, and padding='same' with an even kernel."""
    if len(args) < 3 or args[2] == 0:
        forward.pad(out, _margins(args[1], out.dim() - 2))


def _margins(pad: list[int], dims: int) -> Margins:
    """Turn torch's list, last dimension first, into a pair per spatial dimension; what cuts off pads nothing."""
    pairs = [(max(pad[i], 0), max(pad[i + 1], 0)) for i in range(0, len(pad), 2)][: max(dims, 0)]
    return tuple(reversed(pairs + [(0, 0)] * (dims - len(pairs))))
