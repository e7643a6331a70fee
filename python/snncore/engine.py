"""Which kernel runs: ``explain`` says it for every neuron of a net, and why where it is not the fused one."""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .errors import ArgumentError
from .neuron import BaseNode
from .ops.library import core

__all__ = ["Explanation", "NeuronKernel", "explain"]

_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class NeuronKernel:
    """What runs for one neuron with one kind of input.

    Attributes:
        name: of the module in the net ("" for the net itself); neuron: its class.
        engine: ``"native"`` (fused kernel); ``"torch"`` (plain torch loop); ``"error"``: the neuron was built with
            ``engine="native"``, which cannot run; ``"not run"``: the net's forward did not come to it.
        kernel: name of the equations in the compiled core, else None.
        runs_on: instruction set ("avx512", ...) or GPU architecture ("sm_90", ...) of the fused kernel, else None.
        reason: why it is not the fused kernel, else None.
        dtype: of the input; None where not run.
        device: of the input; None where not run.
        shape: of the input, [T, B, *]; None where nothing has been run.
        calls: how often it was called with such an input in one forward pass; 0 where nothing has been run.
    """

    name: str
    neuron: str
    engine: Literal["native", "torch", "error", "not run"]
    kernel: str | None
    runs_on: str | None
    reason: str | None
    dtype: torch.dtype | None
    device: torch.device | None
    shape: tuple[int, ...] | None
    calls: int

    def __str__(self) -> str:
        """Return the verdict: "native: lif, avx512", or "torch: " and the reason."""
        return f"{self.engine}: {self.reason or f'{self.kernel}, {self.runs_on}'}"


class Explanation(tuple[NeuronKernel, ...]):
    """The rows of ``explain``, in the order of the net's modules; prints as a table."""

    @property
    def native(self) -> bool:
        """True if no neuron runs on anything but the fused kernel."""
        return all(row.engine in ("native", "not run") for row in self)

    def __str__(self) -> str:
        """Return the table."""
        if not self:
            return "no neurons of snncore in this net"
        lines = [("name", "neuron", "input", "kernel")]
        for row in self:
            kind = "" if row.dtype is None else f"{str(row.dtype).removeprefix('torch.')} {row.device}"
            shape = "" if row.shape is None else f" {list(row.shape)}"
            times = f" x {row.calls}" if row.calls > 1 else ""
            lines.append((row.name or "(the net)", row.neuron, kind + shape + times, str(row)))
        widths = [max(len(line[i]) for line in lines) for i in range(3)]
        return "\n".join("  ".join(f"{c:{w}}" for c, w in zip(line, [*widths, 0], strict=True)) for line in lines)

    __repr__ = __str__


class _Like(NamedTuple):
    """What a neuron's choice of engine looks at of its input."""

    device: torch.device
    dtype: torch.dtype


def explain(
    model: nn.Module,
    *example_inputs: Any,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Explanation:
    """Say for every neuron of ``model`` which kernel will run, and why where it is not the fused one.

    With ``example_inputs`` a copy of the net runs forward once, in eval mode and without gradients, so that every
    neuron is seen with the dtype and device that reach it (call it under the autocast you train with); the net itself,
    its state and the random number generators of torch, numpy and Python are left as they are. Forward hooks of the net
    do not run. Without inputs the answer is for ``device`` and ``dtype``.

    Args:
        model: any module with neurons of snncore in it.
        *example_inputs: what ``model`` is called with.
        device: without inputs; None: that of the first parameter or buffer, else the CPU.
        dtype: without inputs; None: that of the first floating parameter or buffer, else torch's default.

    Returns:
        One row per neuron and kind of input.

    Raises:
        ArgumentError: an argument cannot be used, or the net cannot be copied.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"explain.model: must be a torch module, got {type(model).__name__}; pass the net")
    model = getattr(model, "_orig_mod", model)  # below torch.compile
    if example_inputs:
        if device is not None or dtype is not None:
            raise ArgumentError(
                f"explain.device: must be left out with example inputs, and dtype too, got {device!r} and {dtype!r}; "
                "give the inputs in that dtype on that device, or leave them out"
            )
        return _by_running(model, example_inputs)
    like = _asked_for(model, device, dtype)
    return Explanation(_row(n, m, like, None, 0) for n, m in _neurons(model))


def _neurons(model: nn.Module) -> list[tuple[str, BaseNode]]:
    return [(name, module) for name, module in model.named_modules() if isinstance(module, BaseNode)]


def _asked_for(model: nn.Module, device: torch.device | str | None, dtype: torch.dtype | None) -> _Like:
    tensors = [*model.parameters(), *model.buffers()]
    if device is None:
        device = tensors[0].device if tensors else "cpu"
    if dtype is None:
        dtype = next((t.dtype for t in tensors if t.is_floating_point()), torch.get_default_dtype())
    if dtype not in _FLOATS:
        raise ArgumentError(f"explain.dtype: must be float64, float32, bfloat16 or float16, got {dtype!r}; pass one")
    try:
        return _Like(torch.device(device), dtype)
    except (RuntimeError, TypeError):
        raise ArgumentError(f"explain.device: must be a device of torch, got {device!r}; pass e.g. 'cuda'") from None


def _row(name: str, node: BaseNode, x: Tensor | _Like, shape: tuple[int, ...] | None, calls: int) -> NeuronKernel:
    reason = node.why_not_native(x)  # type: ignore[arg-type]
    engine: Literal["native", "torch", "error"] = "native" if reason is None else "torch"
    if node.engine == "torch":
        engine, reason = "torch", "asked for with engine='torch'"
    elif reason is not None and node.engine == "native":
        engine, reason = "error", f"engine='native' cannot run here: {reason}"
    native = engine == "native"
    return NeuronKernel(
        name, type(node).__name__, engine, node.native if native else None, _runs_on(x.device) if native else None,
        reason, x.dtype, x.device, shape, calls,
    )  # fmt: skip


def _runs_on(device: torch.device) -> str:
    if device.type != "cuda":
        return str(core.cpu_capability())
    if not torch.cuda.is_available():
        return "cuda"
    return "sm_{}{}".format(*torch.cuda.get_device_capability(device))


@contextmanager
def _same_random_numbers(devices: list[int]) -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _without_compiler(net: nn.Module) -> AbstractContextManager[Any]:
    compiled = any(hasattr(module, "_orig_mod") for module in net.modules())
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()


def _by_running(model: nn.Module, example_inputs: tuple[Any, ...]) -> Explanation:
    try:
        net = copy.deepcopy(model).eval()
    except Exception as error:
        raise ArgumentError(
            f"explain.model: must be a net that can be copied, got one that cannot ({error}); leave the example inputs "
            "out and give device and dtype"
        ) from error
    inputs = [x.detach().clone() if isinstance(x, Tensor) else copy.deepcopy(x) for x in example_inputs]
    tensors = [*net.parameters(), *net.buffers(), *(x for x in inputs if isinstance(x, Tensor))]
    devices = sorted({t.device.index or 0 for t in tensors if t.device.type == "cuda"})
    seen: list[list[NeuronKernel]] = []
    for module in net.modules():
        module._forward_hooks.clear()
    for name, node in _neurons(net):
        seen.append([])
        _watch(name, node, seen[-1])
    with torch.no_grad(), _same_random_numbers(devices), _without_compiler(net):
        net(*inputs)
    rows: list[NeuronKernel] = []
    for (name, node), found in zip(_neurons(model), seen, strict=True):
        for row, calls in Counter(found).items():
            rows.append(NeuronKernel(**{**vars(row), "calls": calls}))
        if not found:
            why = "this input does not reach it"
            rows.append(NeuronKernel(name, type(node).__name__, "not run", None, None, why, None, None, None, 0))
    return Explanation(rows)


def _watch(name: str, node: BaseNode, seen: list[NeuronKernel]) -> None:
    """Let ``node``, of the copy, note what it is called with; and let it run on whatever engine can, in silence."""
    run = node._run

    def watched(x_seq: Tensor, *args: Any, **kwargs: Any) -> Any:
        seen.append(_row(name, node, x_seq, tuple(x_seq.shape), 1))
        return run(x_seq, *args, **kwargs)

    def can_run(x: Tensor) -> bool:
        return node.engine != "torch" and node.why_not_native(x) is None

    node.__dict__.update(_run=watched, _use_native=can_run)
