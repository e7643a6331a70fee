"""Build backend: scikit-build-core, plus torch only where no torch can be found.

pip builds in isolation, where the user's torch seems absent; ``python -I`` still sees it, and the compiled core
needs nothing but torch's headers and ``libtorch_cpu.so`` (any torch >= 2.10 will do, it need not be the one used
later). So torch is asked for as a build requirement only when neither way finds one.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

from scikit_build_core.build import *  # noqa: F403
from scikit_build_core.build import get_requires_for_build_editable as _editable
from scikit_build_core.build import get_requires_for_build_wheel as _wheel

_TORCH = "torch==2.13.0"
_PROBE = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"


def _torch_requirement() -> list[str]:
    if os.environ.get("SNN_TORCH_DIR") or importlib.util.find_spec("torch") is not None:
        return []
    found = subprocess.run([sys.executable, "-I", "-c", _PROBE], check=False).returncode == 0
    return [] if found else [_TORCH]


def get_requires_for_build_wheel(config_settings=None):
    """Add torch to scikit-build-core's requirements where none is found (PEP 517)."""
    return [*_wheel(config_settings), *_torch_requirement()]


def get_requires_for_build_editable(config_settings=None):
    """Add torch to scikit-build-core's requirements where none is found (PEP 660)."""
    return [*_editable(config_settings), *_torch_requirement()]
