"""Rooms import only lower rooms. This reads the source; nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "python" / "snncore"

# From the ground up. Rooms of one layer may import each other where a space parts them, and not where a bar does.
LAYERS = (
    "errors registry config",
    "ops",
    "surrogate",
    "neuron",
    "layer functional encoding engine",
    "model | metric | data",
    "train | export",
    "backend | profile",
    "cli",
)
HEIGHT = {room: i for i, layer in enumerate(LAYERS) for room in layer.replace("|", " ").split()}
NEIGHBOURS = {room: set(group.split()) for layer in LAYERS for group in layer.split("|") for room in group.split()}


def room_of(name: str) -> str:
    """Return the room of the top-level module ``name``; compiled and other private modules belong to ops."""
    return "ops" if name.startswith("_") else name


def imported(tree: ast.AST, package: list[str]) -> Iterator[tuple[int, str]]:
    """Yield line and room of every import from snncore in a module of ``package``; the room "" is snncore itself."""
    for node in ast.walk(tree):
        targets: list[list[str]] = []
        if isinstance(node, ast.Import):
            targets = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            targets = [[*base, alias.name] for alias in node.names] if base == ["snncore"] else [base]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            targets = [arg.value.split(".") for arg in node.args[:1] if isinstance(arg, ast.Constant)]
        for target in targets:
            if target[0] == "snncore":
                room = room_of(target[1]) if len(target) > 1 else ""
                yield node.lineno, room if room in HEIGHT else ""


def violations(root: Path) -> list[str]:
    """Return one line for every import that does not go down."""
    found = []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if parts == ("__init__",):
            continue  # the front door opens on every room
        mine = room_of(parts[0])
        where = f"{path.relative_to(root)}"
        if mine not in HEIGHT:
            found.append(f"{where}: the room {mine!r} has no place in LAYERS; give it one")
            continue
        for line, theirs in imported(ast.parse(path.read_text()), ["snncore", *parts[:-1]]):
            if theirs == "":
                found.append(f"{where}:{line}: imports the package itself; import from the room that has it")
            elif HEIGHT[theirs] >= HEIGHT[mine] and theirs not in NEIGHBOURS[mine]:
                found.append(f"{where}:{line}: {mine} may not import {theirs}")
    return found


def test_imports_go_down():
    assert PACKAGE.is_dir()
    assert not violations(PACKAGE), "\n".join(violations(PACKAGE))


@pytest.mark.parametrize(
    ("file", "source", "message"),
    [
        ("neuron/base.py", "from ..layer import Conv2d", "neuron may not import layer"),
        ("neuron/base.py", "from .. import functional", "neuron may not import functional"),
        (
            "neuron/base.py",
            "def f():\n    from ..train.loop import fit",
            "neuron/base.py:2: neuron may not import train",
        ),
        ("neuron/__init__.py", "from ..layer import Conv2d", "neuron may not import layer"),
        ("surrogate.py", "from .neuron import IFNode", "surrogate may not import neuron"),
        ("surrogate.py", "import snncore.neuron.base", "surrogate may not import neuron"),
        ("surrogate.py", "if TYPE_CHECKING:\n    from .neuron import IFNode", "surrogate may not import neuron"),
        ("surrogate.py", "importlib.import_module('snncore.neuron')", "surrogate may not import neuron"),
        ("errors.py", "from snncore import ops", "errors may not import ops"),
        ("model/csnn.py", "from ..data import load", "model may not import data"),
        ("data/mnist.py", "from ..metric import sop", "data may not import metric"),
        ("metric/sop.py", "from ..model import CSNN", "metric may not import model"),
        ("export/onnx.py", "from ..train import fit", "export may not import train"),
        ("layer/norm.py", "from .. import build_info", "imports the package itself"),
        ("layer/norm.py", "import snncore", "imports the package itself"),
        ("_private.py", "from .neuron import IFNode", "ops may not import neuron"),
        ("attic/old.py", "", "the room 'attic' has no place"),
    ],
)
def test_an_import_that_goes_up_is_found(tmp_path, file, source, message):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(source)
    assert [message in line for line in violations(tmp_path)] == [True]


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("__init__.py", "from . import layer, train"),
        (
            "layer/norm.py",
            "import torch\nfrom .time import over_time\nfrom . import base\nfrom ..errors import StateError",
        ),
        ("functional.py", "from .layer import Dropout\nfrom .neuron import BaseNode"),
        ("ops/library.py", "importlib.import_module('snncore._C')"),
        ("cli/train.py", "from .. import data, metric, model, train\nimport snncore.ops"),
        ("config.py", "from .registry import nearest"),
    ],
)
def test_an_import_that_goes_down_or_stays_is_fine(tmp_path, file, source):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(source)
    assert violations(tmp_path) == []
