"""Reader of idx files, the format of MNIST and its relatives, raw or gzipped.

An idx file: two zero bytes, the code of the type (8: unsigned bytes, the only one read here), the number of
dimensions, each dimension as a big-endian u32, then the values. The description is on the MNIST page.

Everything that can be wrong with such a file gives one `DataError` that says what was found in its place.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import struct
import zlib
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import DataError
from ._files import FETCH_AGAIN, check_is_file, describe

__all__ = ["Idx", "read_idx"]

_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_MAX_INFLATION = 1032  # deflate cannot pack better than this, so a larger claim of a header is false
_KINDS = {1: "labels", 3: "images"}


class Idx(NamedTuple):
    """What an idx file holds.

    ``values`` is torch.uint8 with the dimensions of the header; ``md5`` is the sum of the unpacked file, None when not
    asked for.
    """

    values: Tensor
    md5: str | None


def read_idx(path: Path, ndim: int, *, digest: bool = False) -> Idx:
    """Read an idx file of unsigned bytes.

    Whether it is gzipped is seen from its first bytes, not from its name: browsers unpack what they save.

    Args:
        path: the file.
        ndim: dimensions it must have: 3 for images, 1 for labels.
        digest: also take the md5 of the unpacked content.

    Raises:
        DataError: the file is absent, empty, truncated, damaged, of another kind, or holds no samples.
    """
    check_is_file(path)
    try:
        with open(path, "rb") as raw:
            size = os.fstat(raw.fileno()).st_size
            if size == 0:
                raise DataError(path, "expected an idx file, found an empty file", FETCH_AGAIN)
            packed = raw.read(2) == _GZIP
            raw.seek(0)
            with gzip.GzipFile(fileobj=raw) if packed else nullcontext(raw) as stream:
                return _parse(path, stream, ndim, size, packed, digest)
    except (OSError, EOFError, zlib.error) as exc:
        raise _unreadable(path, exc) from exc


def _parse(path: Path, stream: io.BufferedIOBase, ndim: int, size: int, packed: bool, digest: bool) -> Idx:
    """Check magic, then the header against the length, then take the values."""
    shape = _header(path, stream, ndim)
    header, total = 4 + 4 * ndim, math.prod(shape)
    claim = f"header {' x '.join(map(str, shape))} = {total:,} values"
    if total == 0:
        raise DataError(path, f"expected samples, found a {claim}", FETCH_AGAIN)
    if packed and total > size * _MAX_INFLATION:
        raise DataError(path, f"{claim}, more than {size:,} bytes of gzip can hold", FETCH_AGAIN)
    if not packed and size != header + total:
        raise DataError(path, f"{claim}, expected {header + total:,} bytes, found {size:,} bytes on disk", FETCH_AGAIN)
    stream.seek(header)
    values, got = bytearray(total), 0
    with memoryview(values) as view:
        while got < total and (n := stream.readinto(view[got : got + _CHUNK])):
            got += n
    # Reading one byte past the end also makes gzip compare its check sum.
    if got < total or stream.read(1):
        found = f"{got:,}" if got < total else "more"
        raise DataError(path, f"{claim}, expected exactly as many after it, found {found}", FETCH_AGAIN)
    md5 = None
    if digest:
        md5 = hashlib.md5(struct.pack(f">HBB{ndim}I", 0, 8, ndim, *shape), usedforsecurity=False)
        md5.update(values)
    return Idx(torch.frombuffer(values, dtype=torch.uint8).reshape(shape), md5.hexdigest() if md5 else None)


def _header(path: Path, stream: io.BufferedIOBase, ndim: int) -> tuple[int, ...]:
    head = stream.read(64)
    if not head:
        raise DataError(path, "expected an idx file, found a gzip file with nothing in it", FETCH_AGAIN)
    if head[:4] != bytes((0, 0, 8, ndim)):
        kind = _KINDS.get(ndim, "values")
        raise DataError(path, f"expected idx {kind} (magic 0x{0x800 + ndim:08x}), found {_describe(head)}", FETCH_AGAIN)
    if len(head) < 4 + 4 * ndim:
        raise DataError(path, f"expected a header of {4 + 4 * ndim} bytes, found {len(head)} bytes", FETCH_AGAIN)
    return struct.unpack_from(f">{ndim}I", head, 4)


def _describe(head: bytes) -> str:
    """Say what a file is that begins with ``head``."""
    if head.startswith(_GZIP):
        return "gzip inside gzip (unpack it once)"
    if len(head) >= 4 and head[:3] == b"\x00\x00\x08":
        return f"magic 0x{int.from_bytes(head[:4], 'big'):08x}, idx {_KINDS.get(head[3], f'of {head[3]} dimensions')}"
    return describe(head)


def _unreadable(path: Path, exc: BaseException) -> DataError:
    if isinstance(exc, EOFError):
        size = path.stat().st_size
        return DataError(path, f"expected a whole gzip file, found one cut off ({size:,} bytes on disk)", FETCH_AGAIN)
    if isinstance(exc, (gzip.BadGzipFile, zlib.error)):
        return DataError(path, f"expected a whole gzip file, found a damaged one ({exc})", FETCH_AGAIN)
    reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
    return DataError(path, f"cannot be read ({reason})", "check the permissions and the disk")
