"""Writing files so that there is never a half-written one under the final name."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

__all__ = ["remove_leftovers", "replace_file", "sole_user", "sync_folder"]

_MARK = ".unfinished-"


def replace_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write ``path`` anew: under another name, flushed to the disk, then renamed over the old file.

    Whatever goes wrong, and whenever the process dies, ``path`` holds either all of the old or all of the new content.

    Args:
        path: the file; its folder must exist.
        write: writes the content to the open file it is given.

    Raises:
        OSError: as the system says; the old file is untouched and the unfinished one removed.
    """
    unfinished = path.with_name(f".{path.name}{_MARK}{os.getpid()}")
    try:
        with open(unfinished, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush the names in ``folder`` to the disk, where the system can (a file's rename is safe only then)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        with contextlib.suppress(OSError):  # some network file systems refuse it
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def sole_user(folder: Path) -> Iterator[bool]:
    """Hold ``folder`` for this process while the ``with`` block runs, where the system can; leaves no file behind.

    Yields:
        False if another living process holds it. A process that was killed holds nothing.
    """
    if fcntl is None:
        yield True
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except BlockingIOError:
            free = False
        except OSError:  # a file system without locks
            free = True
        yield free
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Remove what a process that was killed while it wrote left behind in ``folder``."""
    for path in folder.glob(f".*{_MARK}*"):
        with contextlib.suppress(OSError):
            path.unlink()
