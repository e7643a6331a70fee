"""What each room shows: its names, their docstrings, and no side effects when it is imported."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "python" / "snncore"
FILES = sorted(PACKAGE.rglob("*.py"))
ROOMS = [path for path in FILES if path.name == "__init__.py"]

# Top-level modules of chip SDKs, and of what would be heavy or foreign to load on `import snncore`.
VENDOR = {
    "lyngor", "lynpy", "lynpyapi", "lynsdk", "poptorch", "popart", "poplar", "popxl", "tpu_mlir", "tpulang", "sophon",
    "bmnetp", "bmneto", "pymlir", "onnx", "onnxruntime", "cupy",
    "spikingjelly", "snntorch", "norse", "sinabs", "torchvision", "tensorflow", "jax",
}  # fmt: skip


def ids(path):
    return str(path.relative_to(PACKAGE))


def dotted(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def bound_names(tree: ast.Module) -> set[str]:
    """Return the public names that a room's ``__init__`` defines or takes from its own files."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom) and node.level == 1:
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return {name for name in names if not name.startswith("_")}


def is_lazy(tree: ast.Module) -> bool:
    return any(isinstance(node, ast.FunctionDef) and node.name == "__getattr__" for node in tree.body)


@pytest.mark.parametrize("path", ROOMS, ids=ids)
def test_all_is_what_the_room_shows(path):
    tree = ast.parse(path.read_text())
    room = importlib.import_module(dotted(path))
    listed = room.__all__
    assert len(listed) == len(set(listed)), "a name is listed twice"
    shown = bound_names(tree)
    assert shown <= set(listed), f"not in __all__: {sorted(shown - set(listed))}"
    extra = set(listed) - shown
    assert not extra or is_lazy(tree), f"in __all__, but neither defined nor imported: {sorted(extra)}"
    for name in listed:
        getattr(room, name)
    assert set(listed) <= set(dir(room))


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_what_is_public_says_what_it_is(path):
    tree = ast.parse(path.read_text())
    defined = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    public = {"the module": tree} | {node.name: node for node in defined if not node.name.startswith("_")}
    silent = [name for name, node in public.items() if not ast.get_docstring(node)]
    assert not silent, f"no docstring: {', '.join(silent)}"


def outside_functions(tree: ast.AST):
    """Yield every node that runs when the module is imported."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield node
            yield from outside_functions(node)


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_importing_neither_prints_nor_asks_for_a_vendor(path):
    for node in outside_functions(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"line {node.lineno} prints on import"
        vendor = {name.split(".")[0] for name in names} & VENDOR
        assert not vendor, f"line {node.lineno} imports {vendor}; do so inside the function that needs it"


def test_importing_everything_is_silent_and_loads_no_vendor(tmp_path):
    modules = [dotted(path) for path in FILES if path.stem != "__main__"]
    assert "snncore.layer.norm" in modules
    script = f"""
import importlib, json, sys, torch
before = set(sys.modules)
for name in {modules!r}:
    importlib.import_module(name)
json.dump(sorted({{name.split(".")[0] for name in set(sys.modules) - before}}), open(sys.argv[1], "w"))
"""
    out = tmp_path / "modules.json"
    done = subprocess.run([sys.executable, "-c", script, str(out)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("", "")
    assert not set(json.loads(out.read_text())) & VENDOR


def test_importing_snncore_itself_loads_no_torch():
    script = "import sys, snncore; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("False", "")


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("from .a import B, c as d\nfrom typing import Any\nimport os", {"B", "d"}),
        ("X = 1\n_Y = 2\nZ: int = 3\n__all__ = []", {"X", "Z"}),
        ("def f(): ...\nclass G: ...\ndef _h(): ...", {"f", "G"}),
    ],
)
def test_the_reader_of_names(source, names):
    assert bound_names(ast.parse(source)) == names
