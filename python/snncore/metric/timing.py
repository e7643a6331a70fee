"""How long a net takes: latency quantiles, throughput and peak memory at several batch sizes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ArgumentError
from ..functional import reset_net
from .memory import peak_memory

__all__ = ["Latency", "LatencyRow", "latency"]

Inputs = tuple[Tensor, ...]
MakeInput = Callable[[int, int], Tensor | Inputs]


@dataclass(frozen=True)
class LatencyRow:
    """One batch size.

    Attributes:
        batch_size: samples per call.
        p50_ms, p90_ms, p99_ms: quantiles of the time of one call, in milliseconds.
        mean_ms, min_ms, max_ms: its mean and range, in milliseconds.
        throughput: samples per second.
        peak_bytes: the most memory held during a call, weights and inputs too; None: cannot be told here.
        peak_growth_bytes: of it, what was not held before the call; None: cannot be told here.
    """

    batch_size: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    min_ms: float
    max_ms: float
    throughput: float
    peak_bytes: int | None
    peak_growth_bytes: int | None


@dataclass(frozen=True)
class Latency:
    """What ``latency`` measured.

    Attributes:
        rows: one per batch size, in the order asked for.
        device: where the net is.
        threads: threads of torch on the CPU.
        warmup, repeats: calls before and while it was timed.
        memory: how the peak memory was told, or why not.
    """

    rows: tuple[LatencyRow, ...]
    device: str
    threads: int
    warmup: int
    repeats: int
    memory: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """Return the table."""
        lines = [f"{'batch':>6} {'p50 ms':>10} {'p90 ms':>10} {'p99 ms':>10} {'samples/s':>12} {'peak MiB':>10}"]
        for row in self.rows:
            peak = "-" if row.peak_growth_bytes is None else f"+{row.peak_growth_bytes / 2**20:.1f}"
            lines.append(
                f"{row.batch_size:>6} {row.p50_ms:>10.3f} {row.p90_ms:>10.3f} {row.p99_ms:>10.3f} "
                f"{row.throughput:>12.1f} {peak:>10}"
            )
        where = f"{self.device}, {self.threads} threads" if self.device == "cpu" else self.device
        lines.append(f"{where}; {self.repeats} calls after {self.warmup} to warm up; memory: {self.memory}")
        return "\n".join(lines)


def latency(
    net: nn.Module,
    x: Tensor | MakeInput,
    *,
    batch_sizes: Sequence[int] = (1, 8, 32),
    warmup: int = 10,
    repeats: int = 100,
    batch_dim: int = 1,
    distinct: int = 8,
) -> Latency:
    """Measure how long a call of ``net`` takes, how many samples a second it does and how much memory it takes.

    A call is timed from before it until its result is there: on the CPU with ``time.perf_counter_ns``, on a GPU between
    two CUDA events on an idle device, so that launching the kernels counts. Throughput on the CPU is samples over the
    time of these calls; on a GPU ``repeats`` more calls are queued one behind the other and waited for once. Quantile q
    of n sorted times lies at place (n - 1) q, between two times in proportion (numpy's default); with fewer than 100
    ``repeats`` p99 says little more than the maximum. Peak memory is that of one call after the warm-up
    (``peak_memory`` says how).

    The net runs in ``eval()`` and without gradients, and is left as it was: training flags of every module come back,
    also if it raises. A net that keeps state (step_mode ``"s"``) is reset ahead of each batch size and at the end: the
    call of one step is measured, and the state it held is forgotten. Autocast around the call works.

    Args:
        net: any module, on the CPU or a CUDA device.
        x: samples to take batches from, N of them along ``batch_dim``: [T, N, *], in turn, from the start again after
            the last. A static sequence (``encoding.direct``) stays static. Or ``make_input(batch_size, i)``, which
            returns the i-th input as a tensor or a tuple of the net's arguments. Inputs are made, and moved to the
            net's device, before the clock starts.
        batch_sizes: samples per call.
        warmup: calls before it counts.
        repeats: calls that are timed.
        batch_dim: which dimension of x holds the samples; 0 for nets that take [B, *].
        distinct: how many inputs are made and passed in turn, so that no call sees what the last one saw.

    Raises:
        ArgumentError: an argument cannot be used.
    """
    _check(x, batch_sizes, warmup, repeats, batch_dim, distinct)
    make = _taking(x, batch_dim) if isinstance(x, Tensor) else x
    rows, how, device = [], "", torch.device("cpu")
    with _as_it_was(net), torch.no_grad():
        for batch_size in batch_sizes:
            inputs = [_arguments(make(batch_size, i)) for i in range(distinct)]
            device = _device(net, inputs[0])
            inputs = [tuple(_moved(t, device) for t in one) for one in inputs]
            reset_net(net)
            for i in range(warmup):
                net(*inputs[i % distinct])
            peak = peak_memory(lambda one=inputs[0]: net(*one), device)  # type: ignore[misc]
            how = peak.how
            times, seconds = (_time_cuda if device.type == "cuda" else _time_cpu)(net, inputs, repeats, device)
            times.sort()
            mean, throughput = sum(times) / repeats, batch_size * repeats / seconds
            p50, p90, p99 = (quantile(times, q) for q in (0.5, 0.9, 0.99))
            spread = (mean, times[0], times[-1])
            rows.append(LatencyRow(batch_size, p50, p90, p99, *spread, throughput, peak.total, peak.growth))
    return Latency(tuple(rows), str(device), torch.get_num_threads(), warmup, repeats, how)


def quantile(ordered: Sequence[float], q: float) -> float:
    """Return quantile ``q`` of sorted values: place (n - 1) q, between two values in proportion."""
    place = (len(ordered) - 1) * q
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def _time_cpu(net: nn.Module, inputs: list[Inputs], repeats: int, device: torch.device) -> tuple[list[float], float]:
    """Return milliseconds of each call and seconds of all."""
    times = []
    for i in range(repeats):
        one = inputs[i % len(inputs)]
        start = time.perf_counter_ns()
        net(*one)
        times.append((time.perf_counter_ns() - start) / 1e6)
    return times, sum(times) / 1e3


def _time_cuda(net: nn.Module, inputs: list[Inputs], repeats: int, device: torch.device) -> tuple[list[float], float]:
    """Return milliseconds of each call and seconds of as many calls in a row."""
    times = []
    with torch.cuda.device(device):
        for i in range(repeats):
            begin = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()
            begin.record()
            net(*inputs[i % len(inputs)])
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end))
        start = time.perf_counter()
        for i in range(repeats):
            net(*inputs[i % len(inputs)])
        torch.cuda.synchronize()
    return times, time.perf_counter() - start


@contextmanager
def _as_it_was(net: nn.Module) -> Iterator[None]:
    """Set the net to ``eval()`` for the block; afterwards every module has its own flag again and no state."""
    training = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, flag in training.items():
            module.training = flag
        reset_net(net)


def _is_static(x: Tensor) -> bool:
    """Return whether x is one step seen several times: layers then compute it once, and its batches have to keep it."""
    return x.dim() > 1 and x.shape[0] > 1 and x.stride(0) == 0


def _moved(x: Tensor, device: torch.device) -> Tensor:
    """Return x on ``device``; what is static stays so, which ``Tensor.to`` does not do."""
    return x[0].to(device).expand(x.shape) if _is_static(x) else x.to(device)


def _taking(x: Tensor, batch_dim: int) -> MakeInput:
    """Return what takes batches from the samples of ``x``, one after the other."""

    def make(batch_size: int, i: int) -> Tensor:
        chosen = torch.arange(i * batch_size, (i + 1) * batch_size, device=x.device) % x.shape[batch_dim]
        if batch_dim == 1 and _is_static(x):
            return x[0].index_select(0, chosen).expand(x.shape[0], batch_size, *x.shape[2:])
        return x.index_select(batch_dim, chosen)

    return make


def _arguments(made: object) -> Inputs:
    made = made if isinstance(made, tuple) else (made,)
    if not made or not all(isinstance(t, Tensor) for t in made):
        got = ", ".join(type(t).__name__ for t in made) or "nothing"
        raise ArgumentError(f"latency.x: must make a tensor or a tuple of tensors, got {got}; return the net's input")
    return made


def _device(net: nn.Module, inputs: Inputs) -> torch.device:
    device = next((t.device for t in (*net.parameters(), *net.buffers())), inputs[0].device)
    if device.type not in ("cpu", "cuda"):
        raise ArgumentError(f"latency.net: must be on 'cpu' or 'cuda', got {str(device)!r}; move it there")
    return device


def _check(x: object, batch_sizes: Sequence[int], warmup: int, repeats: int, batch_dim: int, distinct: int) -> None:
    if isinstance(x, Tensor):
        if not 0 <= batch_dim < x.dim() or x.shape[batch_dim] == 0:
            raise ArgumentError(
                f"latency.x: must hold samples along dimension batch_dim={batch_dim}, got {list(x.shape)}; "
                "pass [T, N, *], or batch_dim=0 with [N, *]"
            )
    elif not callable(x):
        raise ArgumentError(
            f"latency.x: must be a tensor or make_input(batch_size, i), got {type(x).__name__}; pass one"
        )
    if not batch_sizes or any(type(b) is not int or b < 1 for b in batch_sizes):
        raise ArgumentError(f"latency.batch_sizes: must be whole numbers >= 1, got {list(batch_sizes)}; pass such")
    for name, value, least in (("warmup", warmup, 0), ("repeats", repeats, 1), ("distinct", distinct, 1)):
        if type(value) is not int or value < least:
            raise ArgumentError(f"latency.{name}: must be a whole number >= {least}, got {value!r}; pass such")
