"""What every reader of files says in the same words: that there is no file, and what lies in its place."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import DataError

__all__ = ["FETCH_AGAIN", "check_is_file", "check_is_folder", "describe", "unreadable"]

FETCH_AGAIN = "delete it and fetch it again"


def check_is_file(path: Path) -> None:
    """Raise DataError if there is no file at ``path``."""
    if not os.path.isfile(path):
        found = "a folder" if os.path.isdir(path) else "a link to nothing" if os.path.islink(path) else "nothing"
        raise DataError(path, f"expected a file, found {found}", "put the file there")


def check_is_folder(path: Path, what: str, hint: str) -> None:
    """Raise DataError if ``path`` is not a folder; ``what`` says which one it should be."""
    if not os.path.isdir(path):
        found = "a file" if os.path.exists(path) else "a link to nothing" if os.path.islink(path) else "nothing"
        raise DataError(path, f"expected {what}, found {found}", hint)


def describe(head: bytes) -> str:
    """Say what a file is that begins with ``head``, if it is one of the usual mistakes, else its first bytes."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "an empty file"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        return "an HTML page (the download gave a web page instead of the file)"
    if text.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer (the repository was cloned without `git lfs pull`)"
    if b"annex/objects/" in text:
        return "a git-annex pointer (run `git annex get`)"
    if head.startswith(b"PK\x03\x04"):
        return "a zip file (unpack it first)"
    if head.startswith(b"\x1f\x8b"):
        return "a gzip file (unpack it first)"
    return f"first bytes 0x{head[:8].hex()}"


def unreadable(path: Path, error: OSError) -> DataError:
    """Return the error for a file that the system does not let us read."""
    return DataError(path, f"cannot be read ({error.strerror or error})", "check the permissions and the disk")
