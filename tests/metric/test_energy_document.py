"""The examples of docs/energy.md do what the page shows."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

from snncore.metric.sop import ENERGY, MEMORY, VIEWS

DOCUMENT = Path(__file__).parents[2] / "docs" / "energy.md"
TEXT = DOCUMENT.read_text()
BLOCKS = dict(re.findall(r"<!-- (\w+) -->\n```\w*\n(.*?)```", TEXT, re.DOTALL))


def test_the_python_example_prints_what_stands_there():
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(BLOCKS["python"], f"{DOCUMENT.name}: python", "exec"), {"__name__": "document"})
    assert out.getvalue() == BLOCKS["prints"]


def masked(text: str) -> str:
    """Without numbers, units and line breaks, which depend on the bits of the training."""
    words = re.sub(r"(?<![\w.])<?-?\d[\d,.e+-]*", "#", text)
    return " ".join(re.sub(r"# (B|kB|MB)\b", "# bytes", words).split())


def test_the_commands_print_what_stands_there(tmp_path):
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    for line in BLOCKS["command"].splitlines():
        name, *arguments = line.split()
        module = {"snncore-train": "snncore.cli.train", "snncore-profile": "snncore.cli.profile"}[name]
        words = [sys.executable, "-m", module, *arguments]
        found = subprocess.run(words, capture_output=True, text=True, timeout=120, env=env, cwd=tmp_path)
        assert found.returncode == 0, found.stderr
    assert masked(found.stdout) == masked(BLOCKS["output"])
    assert (tmp_path / "profile.html").is_file() and (tmp_path / "profile.json").is_file()


def test_every_name_is_on_the_page():
    for name in (*VIEWS, *ENERGY, *MEMORY):
        assert f"`{name}`" in TEXT or f'"{name}"' in TEXT, name
