"""The most memory that a piece of work takes."""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import ArgumentError

__all__ = ["PeakMemory", "peak_memory"]

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class PeakMemory:
    """The peak of one run.

    Attributes:
        total: bytes at the peak, whatever holds them (weights, inputs, other nets); None: cannot be told.
        growth: of them, bytes above what was held before the run; None: cannot be told.
        how: what was read, or why nothing could be.
    """

    total: int | None
    growth: int | None
    how: str


def peak_memory(run: Callable[[], object], device: torch.device | str = "cpu") -> PeakMemory:
    """Call ``run`` once and return the most memory that was held meanwhile.

    On a GPU: ``torch.cuda.max_memory_allocated``, bytes in tensors of this process on ``device``, as of PyTorch's
    allocator; its peak counter is reset by this. On the CPU, Linux only: the peak of the resident set of this process
    (VmHWM), which the kernel lets one reset by writing to /proc/self/clear_refs; free memory that the C library keeps
    is given back first, or it would be taken up unseen. The resident set is counted in pages, of which Linux counts
    some late (100 KiB or so), and holds everything: other threads, libraries loaded by the run, scratch memory of
    kernels. Elsewhere nothing can be told (``ru_maxrss`` is the peak since the process began and cannot be reset).

    Raises:
        ArgumentError: ``device`` is neither "cpu" nor "cuda".
    """
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        peak = torch.cuda.max_memory_allocated(device)
        return PeakMemory(peak, peak - before, "torch.cuda.max_memory_allocated")
    if device.type != "cpu":
        raise ArgumentError(f"peak_memory.device: must be 'cpu' or 'cuda', got {str(device)!r}; move the net there")
    reason = _begin()
    if reason is not None:
        run()
        return PeakMemory(None, None, reason)
    resident = _high_water()
    run()
    peak = _high_water()
    return PeakMemory(peak, peak - resident, "peak resident set (VmHWM of /proc/self/status, reset before)")


def _begin() -> str | None:
    """Give free memory back and set the peak to what is held now; return why that is not possible here, or None."""
    try:
        if "VmHWM:" not in _STATUS.read_text():
            return "not told: /proc/self/status has no VmHWM here"
        gc.collect()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is None:
            return "not told: the C library has no malloc_trim, so memory it keeps would hide what is taken"
        trim(0)
        _CLEAR.write_text("5")
    except OSError as error:
        return f"not told: the peak resident set cannot be reset here ({error})"
    return None


def _high_water() -> int:
    found = re.search(r"^VmHWM:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024
