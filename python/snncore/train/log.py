"""What a run says: to the console, to log.txt, to metrics.jsonl, to TensorBoard, and by a progress bar."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm

from .files import replace_file
from .folder import LOG, METRICS

__all__ = ["RunLog", "progress_bar"]

_log = logging.getLogger("snncore")


class _Console(logging.Handler):
    """Writes to stdout, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(BrokenPipeError):
            tqdm.write(self.format(record), file=sys.stdout)
            sys.stdout.flush()


class RunLog:
    """The logs of one run, open within a ``with`` block.

    Lines come through the logger ``snncore``, so what the library says of itself (which engine runs, say) is in log.txt
    too. They go to the console unless the program has set up logging of its own.

    Args:
        folder: of the run.
        tensorboard: whether to write TensorBoard files, if TensorBoard is installed.
        lines: keep this many lines of metrics.jsonl and drop what was written after them; 0 for a new run.
        epoch: epochs done so far.
    """

    def __init__(self, folder: Path, *, tensorboard: bool, lines: int = 0, epoch: int = 0) -> None:
        self.folder = folder
        self.lines = lines
        self._tensorboard = tensorboard
        self._epoch = epoch
        self._handlers: list[logging.Handler] = []
        self._level = logging.NOTSET
        self._writer: Any = None

    def __enter__(self) -> RunLog:
        file = logging.FileHandler(self.folder / LOG, encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._handlers = [file] if logging.getLogger().handlers else [file, _Console()]
        self._level = _log.level
        for handler in self._handlers:
            _log.addHandler(handler)
        if _log.getEffectiveLevel() > logging.INFO:
            _log.setLevel(logging.INFO)
        self._keep_lines()
        if self._tensorboard:
            self._writer = self._open_tensorboard()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, KeyboardInterrupt):
            for handler in self._handlers[:1]:  # the console gets it from who catches it
                handler.handle(_log.makeRecord(_log.name, logging.ERROR, "", 0, f"stopped: {error}", (), None))
        if self._writer is not None:
            self._writer.close()
        for handler in self._handlers:
            _log.removeHandler(handler)
            handler.close()
        _log.setLevel(self._level)

    def say(self, line: str) -> None:
        """Write one line to console and log.txt."""
        _log.info("%s", line)

    def metrics(self, record: Mapping[str, Any]) -> None:
        """Append ``record`` to metrics.jsonl, safe on the disk when this returns, and its numbers to TensorBoard.

        A number that is not finite becomes null: JSON has no word for it.
        """
        plain = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in record.items()
        }
        with open(self.folder / METRICS, "a", encoding="utf-8") as file:
            file.write(json.dumps(plain, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.lines += 1
        if self._writer is not None and "epoch" in record:
            for key, value in record.items():
                if isinstance(value, (int, float)) and key != "epoch":
                    self._writer.add_scalar(key, value, record["epoch"])

    def _keep_lines(self) -> None:
        """Drop from metrics.jsonl what was written after the checkpoint the run goes on from."""
        path = self.folder / METRICS
        present = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
        whole = [line for line in present if line.endswith(b"\n")]
        if len(whole) < self.lines:
            _log.warning("%s has %d of the %d lines it should have; the others are lost", path, len(whole), self.lines)
            self.lines = len(whole)
        if len(present) != self.lines:
            kept = b"".join(whole[: self.lines])
            replace_file(path, lambda file: file.write(kept))

    def _open_tensorboard(self) -> Any:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.say("TensorBoard files are not written: pip install 'snncore[tensorboard]' gives them")
            return None
        return SummaryWriter(str(self.folder), purge_step=self._epoch + 1 if self._epoch else None)


def progress_bar(total: int, initial: int, title: str, hide: bool = False) -> tqdm[Any]:
    """Return a bar that counts images and shows images/s and the time left; on a terminal only, or not at all."""
    return tqdm(
        total=total, initial=initial, desc=title, unit=" images", unit_scale=True, leave=False, disable=hide or None
    )
