"""The CUDA kernels' logic without a GPU: csrc/ops/cuda compiled as C++ over an emulation, against the CPU kernels.

tests/ops/cuda_on_host/main.cpp (neurons) and counters.cpp (counting ops) make random calls (shapes, strides, alignment,
dtypes, parameters, devices of many sizes) and compare bits. AddressSanitizer watches the tensors and shared memory
where the compiler has it. What only a device can show (that its instructions do what the emulation does, and how fast)
is in tests/neuron/test_cuda.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# program: its sources, and how many random calls it makes
PROGRAMS = {
    "main": (["csrc/ops/isa.cpp", "csrc/ops/sop_kernels.cpp"], 1500),
    "counters": ([], 200),
}
FLAGS = ["-std=c++17", "-O1", "-w", "-ffp-contract=off", "-DSNN_PART=0", "-DSNN_ISA=baseline"]
FLAGS += ["-Itests/ops/cuda_on_host", "-Icsrc", "-x", "c++"]


def build(compiler: str, to: Path, sources: list[str], *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([compiler, *flags, *FLAGS, *sources, "-o", str(to)], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("name", PROGRAMS)
def test_equals_the_cpu_kernels(tmp_path, name):
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler on this machine")
    if not (ROOT / "csrc").is_dir():
        pytest.skip("no sources beside the tests")
    others, calls = PROGRAMS[name]
    sources = [f"tests/ops/cuda_on_host/{name}.cpp", *others]
    program = tmp_path / name
    built = build(compiler, program, sources, "-fsanitize=address")
    if built.returncode != 0:
        built = build(compiler, program, sources)
    assert built.returncode == 0, built.stderr[-4000:]
    run = subprocess.run([program, str(calls)], capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr[-4000:]
