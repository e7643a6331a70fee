"""Loads torch and the compiled library, once, and says what to do when that fails."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from types import ModuleType

from ..errors import ArgumentError, LibraryError

__all__ = ["build_info", "core", "cuda_ready", "keep_freed_blocks", "set_cpu_capability"]

_OLDEST_TORCH = (2, 10)


def _import_torch() -> ModuleType:
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise LibraryError(
            f"snncore needs PyTorch 2.10 or later and could not import it ({error}); "
            "install it with 'pip install torch==2.13.0'"
        ) from error
    found = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if found < _OLDEST_TORCH:
        raise LibraryError(
            f"snncore needs PyTorch 2.10 or later, found {torch.__version__}; "
            "upgrade it with 'pip install torch==2.13.0'"
        )
    return torch


def _load() -> tuple[ModuleType, ModuleType]:
    torch = _import_torch()  # first: the library below finds libtorch_cpu.so because torch has loaded it
    try:
        core = importlib.import_module("snncore._C")
    except ModuleNotFoundError as error:
        raise LibraryError(
            f"snncore's compiled core is not installed for Python {platform.python_version()} ({error}); "
            "install snncore with 'pip install .' (needs a C++17 compiler) and run outside its source folder"
        ) from error
    except ImportError as error:
        raise LibraryError(
            f"snncore's compiled core does not load beside torch {torch.__version__} ({error}); "
            "rebuild it for this environment with 'pip install --force-reinstall --no-deps .'"
        ) from error
    return torch, core


_torch, core = _load()
if os.environ.get("SNNCORE_OUTPUT_BLOCKS", "1") == "0":
    core.set_output_blocks(False)
_cuda_problem: str | None = "not asked for yet"


def cuda_ready() -> str | None:
    """Load the CUDA kernels if this torch has CUDA.

    Returns:
        None when the kernels are loaded, else the reason why they are not.
    """
    global _cuda_problem
    if _cuda_problem == "not asked for yet":
        if _torch.version.cuda is None:
            _cuda_problem = "this torch is a CPU build"
        elif core.build_facts()["cuda_built"] != "yes":
            _cuda_problem = "snncore was built without CUDA kernels (install it with -C cmake.define.SNN_CUDA=ON)"
        else:
            try:
                importlib.import_module("snncore._C_cuda")
                _cuda_problem = None
            except ImportError as error:
                _cuda_problem = f"the CUDA kernels do not load: {error}"
    return _cuda_problem


def build_info() -> dict[str, object]:
    """Return what was built and what runs here.

    Returns:
        A dict with ``version``, ``build_type``, ``compiler``, ``sanitizers``, ``torch_built_against``, ``torch``
        (running), ``cpu_capability`` (instruction set in use), ``cpu_capabilities`` (all this machine supports),
        ``neurons`` and ``surrogates`` with native kernels, ``cuda_built``, ``cuda_architectures`` and ``cuda`` ("ready"
        or the reason why not).
    """
    return {
        **core.build_facts(),
        "python": sys.version.split()[0],
        "torch": _torch.__version__,
        "cpu_capability": core.cpu_capability(),
        "cpu_capabilities": core.cpu_capabilities(),
        "neurons": sorted(core.neuron_table()),
        "surrogates": core.surrogate_names(),
        "cuda": cuda_ready() or "ready",
    }


def set_cpu_capability(name: str) -> None:
    """Choose the instruction set of the CPU kernels. All sets give the same bits.

    The environment variable ``SNNCORE_CPU_CAPABILITY`` (or torch's ``ATEN_CPU_CAPABILITY``) does the same at start.

    Args:
        name: one of ``build_info()["cpu_capabilities"]``.

    Raises:
        ArgumentError: the set is unknown, not built, or not supported by this CPU.
    """
    if not core.set_cpu_capability(name):
        raise ArgumentError(
            f"set_cpu_capability.name: must be one of {', '.join(core.cpu_capabilities())} on this machine, "
            f"got {name!r}; use a listed name"
        )


def keep_freed_blocks(enable: bool = True) -> bool:
    """Let this process keep freed memory blocks and reuse them, instead of returning them to the system.

    A large tensor allocated anew is page-faulted anew, which can cost more than the kernel that fills it
    (docs/measurements.md). This setting belongs to the C library's allocator and serves every tensor of the process,
    torch's own included; the process then holds its peak memory until it ends or the setting is switched off.

    snncore's own outputs of 1 MiB and more reuse memory in any case. Their storage cannot be resized in place;
    ``SNNCORE_OUTPUT_BLOCKS=0`` in the environment makes them ordinary allocations.

    Args:
        enable: True to keep freed blocks; False for the C library's default, giving unused memory back now.

    Returns:
        True if the setting was taken, False where the C library has none (not glibc).
    """
    if not enable:
        core.release_output_blocks()
    return bool(core.keep_freed_blocks(enable))
