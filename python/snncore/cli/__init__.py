"""Command lines. Each module is one command and has ``main(argv=None) -> int``."""

from __future__ import annotations

__all__: list[str] = []
