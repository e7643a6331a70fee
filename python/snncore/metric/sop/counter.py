"""Counting synaptic operations of a net while it runs."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ...errors import ArgumentError, StateError
from ...layer.time import is_static
from ...neuron import BaseNode
from .forward import Forward, Frame
from .maps import FanOutMaps
from .modules import (
    WITHOUT_SYNAPSES,
    Children,
    Repeat,
    children_of,
    count_again,
    count_module,
    has_no_hooks,
    is_countable,
    only_calls_children,
    repeat_of,
)
from .ranks import joined
from .record import Record
from .report import Report
from .watch import Watch
from .weights import Weights

__all__ = ["SopCounter"]


class SopCounter:
    """Counts synaptic operations (one spike reaching one synapse) exactly, per layer, time step and sample.

    Sees every convolution, linear layer and matmul that runs inside the net's forward, whether a module or a functional
    call makes it, and counts in 64-bit integers on the device the tensors are on; nothing synchronises before
    ``report()``. An operator that holds synapses and cannot be counted is a row of the report that says why. Not seen
    is what never becomes one of torch's matrix operators: a sum of elementwise products, or code that computes outside
    torch.

    Example::

        with SopCounter(net) as sop:
            for x, _ in batches:
                net(direct(x, T))
        print(sop.report(mode="exact"))

    What counts: forwards of the net inside the block that end without an exception. What backward runs there does not,
    nor a layer called on its own. A net under ``torch.compile`` runs uncompiled in the block. Entering again adds to
    the counts. At exit everything installed is removed; the counts stay.

    Samples and steps: where a module of the net is in step mode 'm', the net's first tensor is [T, B, *]; else it is
    [B, *], and the calls from one ``functional.reset_net`` to the next are the steps of the same B samples. Inside the
    net, time comes before the batch. A layer that a net with T steps calls on B rows is one step of a loop if it is
    called T times in a forward (or 2T, ...), else computed once for all steps.

    Attributes:
        record: what was gathered on this rank, as whole numbers.

    Args:
        net: any module; not a scripted one, not a DataParallel on several devices.
        time_steps: T, for a net that makes its steps inside; its first tensor is then [B, *]. None: as above.
        batch_dim: the dimension of the net's first tensor that counts the samples, 0 or 1 ([T, B, *]); None: as above.

    Raises:
        ArgumentError: an argument is not as above, or the net is called without a tensor.
        StateError: entered twice at once; forward: the net's neurons see other samples or steps than its input says, or
            it runs in another thread than the one that entered.
    """

    def __init__(self, net: nn.Module, time_steps: int | None = None, batch_dim: int | None = None) -> None:
        if time_steps is not None and (
            not isinstance(time_steps, int) or isinstance(time_steps, bool) or time_steps < 1
        ):
            raise ArgumentError(
                f"SopCounter.time_steps: must be None or a positive integer, got {time_steps!r}; pass the number of "
                "steps the net makes of one input"
            )
        if batch_dim not in (None, 0, 1) or isinstance(batch_dim, bool):
            raise ArgumentError(
                f"SopCounter.batch_dim: must be None, 0 or 1, got {batch_dim!r}; pass the dimension of the net's first "
                "tensor that counts the samples"
            )
        _check_net(net)
        self.net = net
        self._time_steps, self._batch_dim = time_steps, batch_dim
        self._weights = Weights(net)
        self._maps = FanOutMaps(self._weights)
        self.record = Record()
        self._watch = Watch(self._weights)
        self._goes_on = False  # the running forward is a further step of the same samples
        self._installed: ExitStack | None = None
        self._thread = 0
        self._asked: set[BaseNode] = set()  # neurons that count their spikes for this counter
        self._exploring = True  # no forward has shown yet which neurons' spikes go straight into a layer
        self._last: dict[nn.Module, Repeat] = {}  # layers counted before
        self._stepped: list[nn.Module] = []  # modules with a step mode
        self._quiet: dict[nn.Module, Children] = {}  # modules that only call these children

    # ---- the block -----------------------------------------------------------------------------------------------

    def __enter__(self) -> SopCounter:
        if self._installed is not None:
            raise StateError("SopCounter: must not be entered twice at once; make another one")
        self._weights.read()
        self._thread = threading.get_ident()
        self._asked.clear()
        self._last.clear()
        self._exploring = True
        self._stepped = [module for module in self.net.modules() if hasattr(module, "step_mode")]
        quiet = [module for module in self.net.modules() if only_calls_children(module)]
        watched = {child for module in set(self.net.modules()).difference(quiet) for child in module.children()}
        with ExitStack() as installed:
            for name, module in self.net.named_modules():
                if isinstance(module, torch.jit.ScriptModule):
                    continue  # takes no hooks; what it runs stands under the name of the module around it
                self._install(installed, name, module, module in watched)
            self._quiet = {module: children_of(module) for module in quiet}
            self._watch.turn(True)
            installed.callback(self._watch.turn, False)
            self._installed = installed.pop_all()
        return self

    def _install(self, installed: ExitStack, name: str, module: nn.Module, watched: bool) -> None:
        """Add the hooks that ``module`` needs, for each costs time; ``watched``: it may be called under the watch."""
        neuron = isinstance(module, BaseNode)
        if type(module) in WITHOUT_SYNAPSES and module is not self.net:
            if not neuron:
                return
            if not watched:
                installed.callback(module.register_forward_hook(partial(self._fired, name)).remove)
                return
        # first of all hooks, so that weights made by other hooks (pruning) are seen in the making
        enter = partial(self._begin if module is self.net else self._enter, name)
        installed.callback(module.register_forward_pre_hook(enter, prepend=True, with_kwargs=True).remove)
        if module is self.net:
            installed.callback(module.register_forward_hook(self._commit).remove)
        leave = self._end if module is self.net else self._leave_neuron if neuron else self._leave
        installed.callback(module.register_forward_hook(partial(leave, name), always_call=True).remove)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._installed is not None
        installed, self._installed, self._watch.forward = self._installed, None, None
        installed.close()

    def report(self, mode: str = "exact", across_ranks: bool = True, **options: Any) -> Report:
        """Return the counts as one of the views of ``Report``; synchronises.

        Args:
            mode: which view.
            across_ranks: where ``torch.distributed`` is initialised, return the counts of all ranks together, rank 0's
                samples first; every rank must then call this. False: those of this rank.
            **options: of ``Report.of``.

        Raises:
            StateError: nothing ran, or nothing was seen that could be counted.
            ArgumentError: the mode is unknown; the message lists the modes.
        """
        record = joined(self.record, across_ranks)
        if not record.forwards:
            raise StateError(
                "SopCounter.report: no forward of the net ended inside the with block; call the net itself there"
            )
        if not record.layers and not record.uncounted:
            raise StateError(
                "SopCounter.report: the net ran, and torch showed no convolution, linear layer or matmul in it; if it "
                "has some, they run in kernels that torch does not know or in another thread"
            )
        return Report.of(record, mode, **options)

    # ---- hooks -----------------------------------------------------------------------------------------------------

    def _begin(self, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._watch.forward is None:  # else the net calls itself
            if threading.get_ident() != self._thread:
                raise StateError("SopCounter: the net runs in another thread than the with block; enter it there")
            T, B = self._steps_and_samples(args, kwargs)
            self._watch.forward = Forward(T, B, self._weights, self._maps, self.record.ledger)
        self._enter(name, module, args, kwargs)

    def _steps_and_samples(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, int]:
        many = any(module.step_mode == "m" for module in self._stepped)
        dim = self._batch_dim if self._batch_dim is not None else int(many and self._time_steps is None)
        given = args if args and isinstance(args[0], Tensor) else tree_leaves((args, kwargs))
        x = next((a for a in given if isinstance(a, Tensor)), None)
        if x is None or x.dim() <= dim:
            got = "none" if x is None else f"one of shape {list(x.shape)}"
            raise ArgumentError(
                f"SopCounter: must see the net called with a tensor {'[T, B, *]' if dim else '[B, *]'}, got {got}; "
                "pass the samples as the first tensor, or set batch_dim"
            )
        T = self._time_steps or (x.shape[0] if dim else 1)
        B = x.shape[dim]
        self._goes_on = not many and T == 1 and self._holds_state() and self.record.samples[-1:] == [B]
        return T, B

    def _holds_state(self) -> bool:
        return any(isinstance(module, BaseNode) and module.state is not None for module in self._stepped)

    def _enter(self, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        forward = self._watch.forward
        if forward is None:  # a layer called on its own, or once more by a checkpoint's backward
            return
        last = self._last.get(module)
        if last is not None and len(args) == 1 and not kwargs and not self._watch.on:
            forward.frames.append(Frame(name, last.static, False, len(forward.counted)))
            if count_again(forward, module, args[0], last):
                return
            forward.frames.pop()
        x = args[0] if args and isinstance(args[0], Tensor) else None
        static = x is not None and getattr(module, "step_mode", None) == "m" and x.dim() >= 2 and is_static(x)
        self._watch_or_not(forward, Frame(name, static, self._watch.on), module, args, kwargs)

    def _watch_or_not(
        self, forward: Forward, frame: Frame, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Begin ``module``: count it as a whole, look away where no synapse can be, else watch its operators."""
        countable = len(args) == 1 and not kwargs and is_countable(module)
        if countable:
            frame = frame._replace(counted=len(forward.counted))
        forward.frames.append(frame)
        if countable:
            self._watch.turn(False)
            if not self._watch.on and count_module(forward, module, args, frame.static):
                repeat = repeat_of(forward, module, args[0], frame.static)
                if repeat is not None:
                    self._last[module] = repeat
                return
        no_synapses = type(module) in WITHOUT_SYNAPSES and has_no_hooks(module, but=1)
        quiet = module in self._quiet and self._quiet[module] == children_of(module)
        self._watch.turn(not (no_synapses or quiet))

    def _fired(self, name: str, node: BaseNode, args: tuple[Any, ...], out: Any) -> None:
        """Check and take note of what a neuron took and gave."""
        forward = self._watch.forward
        if forward is None or not args or not isinstance(args[0], Tensor):
            return
        forward.took(name, node, args[0])
        if self._exploring or node in self._asked:
            forward.spiked(node, out)

    def _leave_neuron(self, name: str, node: BaseNode, args: Any, out: Any) -> None:
        self._leave(name, node, args, out)
        if out is not None:
            self._fired(name, node, args, out)

    def _leave(self, name: str, module: nn.Module, args: Any, out: Any) -> None:
        frames = self._watch.forward.frames if self._watch.forward is not None else []
        if frames and frames[-1].name == name:  # an exception may have come before _enter
            frame = frames.pop()
            self._watch.turn(frame.watched)
            if out is None and frame.counted is not None and self._watch.forward is not None:  # it raised
                del self._watch.forward.counted[frame.counted :]

    def _commit(self, module: nn.Module, args: Any, out: Any) -> None:
        """Keep the counts: called only if the forward ended without an exception."""
        if self._watch.forward is not None and len(self._watch.forward.frames) == 1:
            self._watch.turn(False)
            self._watch.forward.commit(self.record, self._goes_on)
            self._exploring = False

    def _end(self, name: str, module: nn.Module, args: Any, out: Any) -> None:
        self._leave(name, module, args, out)
        if self._watch.forward is not None and not self._watch.forward.frames:
            self._ask(self._watch.forward.direct)
            self._watch.forward = None
            self._weights.forget_freed()

    def _ask(self, nodes: set[BaseNode]) -> None:
        """Ask neurons to count their spikes while they write them, until the end of the block."""
        assert self._installed is not None
        for node in nodes - self._asked:
            self._asked.add(node)
            node.count_spikes += 1
            self._installed.callback(_release, node)


def _release(node: BaseNode) -> None:
    node.count_spikes -= 1


def _check_net(net: nn.Module) -> None:
    if not isinstance(net, nn.Module):
        raise ArgumentError(f"SopCounter.net: must be a module, got {type(net).__name__}; pass the net")
    if isinstance(net, torch.jit.ScriptModule):
        raise ArgumentError("SopCounter.net: must not be a scripted or traced module; pass the net it was made from")
    if any(isinstance(m, nn.DataParallel) and len(m.device_ids) > 1 for m in net.modules()):
        raise ArgumentError(
            "SopCounter.net: must not be a DataParallel on several devices, whose copies run in threads of their own; "
            "pass net.module, or use DistributedDataParallel"
        )
