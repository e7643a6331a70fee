"""The CUDA kernels' logic without a GPU: csrc/ops/cuda compiled as C++ over an emulation, against the CPU kernels.

tests/ops/cuda_on_host/main.cpp makes random calls (shapes, strides, alignment, dtypes, parameters, devices of many
sizes) and compares bits. AddressSanitizer watches the tensors and shared memory where the compiler has it. What only a
device can show (that its instructions do what the emulation does, and how fast) is in tests/neuron/test_cuda.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ["tests/ops/cuda_on_host/main.cpp", "csrc/ops/isa.cpp"]
FLAGS = ["-std=c++17", "-O1", "-w", "-ffp-contract=off", "-DSNN_PART=0", "-DSNN_ISA=baseline"]
FLAGS += ["-Itests/ops/cuda_on_host", "-Icsrc", "-x", "c++"]


def build(compiler: str, to: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([compiler, *flags, *FLAGS, *SOURCES, "-o", str(to)], cwd=ROOT, capture_output=True, text=True)


def test_equals_the_cpu_kernels(tmp_path):
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler on this machine")
    if not (ROOT / "csrc").is_dir():
        pytest.skip("no sources beside the tests")
    program = tmp_path / "cuda_on_host"
    built = build(compiler, program, "-fsanitize=address")
    if built.returncode != 0:
        built = build(compiler, program)
    assert built.returncode == 0, built.stderr[-4000:]
    run = subprocess.run([program, "1500"], capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr[-4000:]
