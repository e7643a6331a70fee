"""Ctrl-C: the first one ends the run after the step at hand, the second one at once.

On several ranks SIGTERM asks for the same: torchrun sends it when it is itself asked to stop, and when a rank fails.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

__all__ = ["StopSignal", "Stopped"]


class Stopped(Exception):
    """The run was asked to stop, and the step at hand is done."""


class StopSignal:
    """Catches SIGINT within a ``with`` block; does nothing outside the main thread, where Python gives no signals.

    Args:
        agree: tells all ranks whether one of them was asked to stop; collective.
        terminate: whether to catch SIGTERM too.
    """

    def __init__(self, agree: Callable[[bool], bool] = bool, terminate: bool = False) -> None:
        self._agree = agree
        self._signals = (signal.SIGINT, signal.SIGTERM) if terminate else (signal.SIGINT,)
        self._asked = False
        self._interrupts = 0
        self._before: dict[int, Any] = {}
        self._here = False

    def __enter__(self) -> StopSignal:
        self._here = threading.current_thread() is threading.main_thread()
        if self._here:
            self._before = {number: signal.signal(number, self._on_signal) for number in self._signals}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._interrupts += number == signal.SIGINT
        if self._interrupts > 1:
            raise KeyboardInterrupt
        if self._asked:
            return
        self._asked = True
        # not through logging, which may be at work at this very moment
        os.write(2, b"\nstopping after this step; Ctrl-C once more stops at once\n")

    def check(self) -> None:
        """Raise `Stopped` if a rank was asked to stop, on all ranks: collective."""
        if self._agree(self._asked):
            raise Stopped

    def check_here(self) -> None:
        """Raise `Stopped` if this rank was asked to stop."""
        if self._asked:
            raise Stopped
