"""Loading the compiled core: what it says of itself, how it is set, and what is said where it cannot be loaded."""

from __future__ import annotations

import importlib.machinery
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import snncore
from snncore import ops
from snncore.errors import ArgumentError
from snncore.neuron import NEURONS
from snncore.surrogate import SURROGATES

PACKAGE = Path(snncore.__file__).parent


def python(code: str, *path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a new Python that finds modules in the standard library and in ``path`` alone."""
    first = [str(p) for p in path]
    lines = f"import sys; sys.path[1:] = {first!r} + [p for p in sys.path[1:] if 'site-packages' not in p]\n"
    given = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "SNNCORE", "ATEN", "COV"))}
    return subprocess.run(
        [sys.executable, "-S", "-c", lines + code],
        env={**given, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def with_torch(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a new Python with this one's packages."""
    given = {k: v for k, v in os.environ.items() if not k.startswith(("SNNCORE", "ATEN", "COV"))}
    path = os.pathsep.join([str(PACKAGE.parent), *filter(None, [given.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**given, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **environment},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture
def sources(tmp_path):
    """A folder with snncore's Python files and no compiled core."""
    ignore = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__", "*.npz")
    shutil.copytree(PACKAGE, tmp_path / "sources" / "snncore", ignore=ignore)
    return tmp_path / "sources"


def fake_torch(folder: Path, version: str) -> Path:
    """A folder with a package named torch that has a version and little else."""
    (folder / "fake" / "torch" / "autograd").mkdir(parents=True)
    init = folder / "fake" / "torch" / "__init__.py"
    init.write_text(f"__version__ = {version!r}\n")
    return folder / "fake"


def library_error(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, done.stdout + done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("snncore.errors.LibraryError: "), done.stderr
    return last.removeprefix("snncore.errors.LibraryError: ")


# ---- what cannot be loaded -------------------------------------------------------------------------------------------


def test_import_alone_loads_neither_torch_nor_numpy(sources):
    done = with_torch("import sys, snncore; print([m for m in ('torch', 'numpy', 'snncore._C') if m in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr
    done = python("import snncore; print(snncore.__version__, len(dir(snncore)))", sources)
    assert done.returncode == 0 and done.stdout.startswith(snncore.__version__), done.stderr


@pytest.mark.parametrize("first", ["snncore.build_info()", "import snncore.ops", "snncore.neuron", "snncore.surrogate"])
def test_no_torch(sources, first):
    text = library_error(python(f"import snncore\n{first}", sources))
    assert text.startswith("snncore needs PyTorch 2.10 or later and could not import it (No module named 'torch'); ")
    assert "pip install torch" in text


@pytest.mark.parametrize("version", ["2.9.1", "2.9.1+cu128", "2.9.0a0+gitabc", "1.13.1", "2.9"])
def test_torch_too_old(sources, tmp_path, version):
    text = library_error(python("import snncore.ops", fake_torch(tmp_path, version), sources))
    assert text.startswith(f"snncore needs PyTorch 2.10 or later, found {version}; ") and "pip install" in text


@pytest.mark.parametrize("version", ["2.10.0", "2.13.0+cpu", "2.14.0a0+git1234567", "3.0.0", "2.10.0.dev20260101"])
def test_no_compiled_core(sources, tmp_path, version):
    """A torch new enough; then it is the core that is absent."""
    text = library_error(python("import snncore.ops", fake_torch(tmp_path, version), sources))
    assert "snncore's compiled core is not installed for Python" in text
    assert "pip install ." in text and "C++17" in text


def test_torch_that_breaks_on_import(sources, tmp_path):
    folder = fake_torch(tmp_path, "2.13.0")
    (folder / "torch" / "__init__.py").write_text(
        "raise ImportError('libcudart.so.13: cannot open shared object file')\n"
    )
    text = library_error(python("import snncore.ops", folder, sources))
    assert "libcudart.so.13" in text and "could not import it" in text


def test_broken_core(sources, tmp_path):
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    (sources / "snncore" / f"_C{suffix}").write_bytes(b"this is no library")
    text = library_error(python("import snncore.ops", fake_torch(tmp_path, "2.13.0"), sources))
    assert "snncore's compiled core does not load beside torch 2.13.0" in text
    assert "pip install --force-reinstall --no-deps ." in text


def test_core_without_its_library(sources, tmp_path):
    """_C is there and libsnncore.so is not."""
    core = next(PACKAGE.glob("_C.*.so"), None)
    if core is None:
        pytest.skip("the compiled core lies elsewhere (editable install)")
    shutil.copy(core, sources / "snncore" / core.name)
    text = library_error(python("import snncore.ops", fake_torch(tmp_path, "2.13.0"), sources))
    assert "does not load beside torch 2.13.0" in text and ".so" in text


def test_the_error_comes_again(sources, tmp_path):
    code = """
import snncore
for _ in range(2):
    try:
        snncore.build_info()
    except ImportError as error:
        print(type(error).__name__, error)
"""
    done = python(code, fake_torch(tmp_path, "2.9.1"), sources)
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and lines[0] == lines[1] and lines[0].startswith("LibraryError snncore needs"), done.stderr


# ---- what was built and what runs ------------------------------------------------------------------------------------


def test_build_info():
    info = snncore.build_info()
    assert set(info) >= {
        "version", "build_type", "compiler", "sanitizers", "torch_built_against", "torch", "python", "cpu_capability",
        "cpu_capabilities", "neurons", "surrogates", "cuda_built", "cuda_architectures", "cuda",
    }  # fmt: skip
    assert info["torch"] == torch.__version__
    assert info["cpu_capability"] in info["cpu_capabilities"]
    assert set(info["neurons"]) == {cls.native for cls in NEURONS.values()}
    assert info["surrogates"] == ops.SURROGATE_NAMES and set(info["surrogates"]) == set(SURROGATES)
    assert json.loads(json.dumps(info)) == info
    if torch.version.cuda is None:
        assert info["cuda"] == "this torch is a CPU build"


def test_the_processor_decides_the_capabilities():
    if snncore.build_info()["sanitizers"]:
        pytest.skip("a build with sanitizers may hold one instruction set alone")
    info = snncore.build_info()["cpu_capabilities"]
    try:
        flags = set(
            next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")).split()
        )
    except (OSError, StopIteration):
        pytest.skip("no /proc/cpuinfo with flags on this machine")
    want = ["default"]
    want += ["avx2"] if {"avx2", "fma", "f16c"} <= flags else []
    want += ["avx512"] if {"avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512dq"} <= flags else []
    assert info == want


def test_set_cpu_capability():
    names = snncore.build_info()["cpu_capabilities"]
    try:
        for name in names:
            snncore.set_cpu_capability(name)
            assert snncore.build_info()["cpu_capability"] == name
        snncore.set_cpu_capability(names[0])
        for bad in ("sse", "", "AVX2", "avx2 ", "neon" if "avx2" in names else "avx2"):
            with pytest.raises(ArgumentError, match=r"^set_cpu_capability\.name: must be one of default.*, got .*; "):
                snncore.set_cpu_capability(bad)
            assert snncore.build_info()["cpu_capability"] == names[0]
    finally:
        snncore.set_cpu_capability(names[-1])


def test_capability_from_the_environment():
    names = snncore.build_info()["cpu_capabilities"]
    code = "import snncore; print(snncore.build_info()['cpu_capability'])"
    lowest, best = names[0], names[-1]
    for environment, want in (
        ({}, best),
        ({"SNNCORE_CPU_CAPABILITY": lowest}, lowest),
        ({"SNNCORE_CPU_CAPABILITY": "no such thing"}, best),
        ({"SNNCORE_CPU_CAPABILITY": lowest, "ATEN_CPU_CAPABILITY": "avx2"}, lowest),
    ):
        done = with_torch(code, **environment)
        assert done.stdout.strip() == want, f"{environment}: {done.stdout}{done.stderr}"


def test_keep_freed_blocks():
    """Page faults of a small training loop, in a process of its own: it is the setting of a whole process."""
    if snncore.build_info()["sanitizers"]:
        pytest.skip("sanitizers bring their own allocator")
    code = """
import torch, snncore
taken = snncore.keep_freed_blocks(KEEP)
faults = lambda: int(open('/proc/self/stat').read().rsplit(')', 1)[1].split()[7])
linear, x = torch.nn.Linear(64, 64), torch.randn(1 << 15, 64)
for step in range(24):
    before = faults() if step == 16 else 0 if step < 16 else before
    linear(linear(x).relu()).relu().sum().backward()
print(taken, faults() - before)
"""
    if not sys.platform.startswith("linux") or "glibc" not in os.confstr("CS_GNU_LIBC_VERSION"):
        assert snncore.keep_freed_blocks(True) is False
        return
    found = {}
    for keep in (True, False):
        done = with_torch(code.replace("KEEP", str(keep)))
        assert done.stdout.startswith("True "), done.stderr
        found[keep] = int(done.stdout.split()[1])
    assert found[True] * 4 < found[False], found


def test_importing_twice_and_reloading():
    code = """
import importlib, torch, snncore.ops, snncore
from snncore import neuron
importlib.reload(snncore)
print(neuron.IFNode(step_mode='m')(torch.ones(2, 3)).sum().item())
"""
    done = with_torch(code)
    assert done.stdout.strip() == "6.0", done.stderr
