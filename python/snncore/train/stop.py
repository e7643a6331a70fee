"""Ctrl-C: the first one ends the run after the step at hand, the second one at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

__all__ = ["StopSignal", "Stopped"]


class Stopped(Exception):
    """The run was asked to stop, and the step at hand is done."""


class StopSignal:
    """Catches SIGINT within a ``with`` block; does nothing outside the main thread, where Python gives no signals."""

    def __init__(self) -> None:
        self._asked = False
        self._before: Any = None
        self._here = False

    def __enter__(self) -> StopSignal:
        self._here = threading.current_thread() is threading.main_thread()
        if self._here:
            self._before = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._here:
            signal.signal(signal.SIGINT, self._before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        # not through logging, which may be at work at this very moment
        os.write(2, b"\nstopping after this step; Ctrl-C once more stops at once\n")

    def check(self) -> None:
        """Raise `Stopped` if a stop was asked for."""
        if self._asked:
            raise Stopped
