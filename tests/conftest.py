"""Shared by all tests: one thread, the folder of real data, and what is skipped where the machine lacks something."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)

LARGE_BYTES = 12 << 30


def available_memory() -> int | None:
    """Return the bytes that can be taken without swapping, or None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None
    limits = [free]
    for used, most in (
        ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.max"),
        ("/sys/fs/cgroup/memory/memory.usage_in_bytes", "/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    ):
        try:
            limits.append(int(Path(most).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return min(limits)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, and this torch sees none")
    if item.get_closest_marker("large"):
        there = available_memory()
        if there is None or there < LARGE_BYTES:
            got = "unknown" if there is None else f"{there / 2**30:.1f} GiB"
            pytest.skip(f"needs {LARGE_BYTES >> 30} GiB of free memory, there is {got}")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Give the next test one thread again, whatever this one set."""
    yield
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of the real data sets; skips where there is none."""
    named = os.environ.get("SNNCORE_DATA")
    root = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not root.is_dir():
        pytest.skip(f"no data folder: {root} is not there (set SNNCORE_DATA)")
    return root
