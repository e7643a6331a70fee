"""Reader of CIFAR's pickled files that runs nothing of what a pickle may ask for.

Unpickling calls whatever the file names. These files name three things, numpy's ``_reconstruct``, ``ndarray`` and
``dtype`` (and ``_codecs.encode``, where Python 3 has written them in protocol 2), and each is answered here with a
stand-in that only keeps what it is given. Everything else is refused by name, and the array of bytes is built from what
was kept after its length has been compared with its shape; numpy's own unpickling is not used.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ._files import FETCH_AGAIN, describe

__all__ = ["read_pickle"]


class _Kept:
    """Stands for an ndarray or a dtype: keeps the arguments it was made with and the state it was given."""

    def __init__(self, *args: Any) -> None:
        self.args = args
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array(_Kept):
    pass


class _Dtype(_Kept):
    pass


def _reconstruct(*args: Any) -> _Array:
    return _Array(*args)


def _encode(text: str, encoding: str = "utf-8") -> bytes:
    """Do what protocol 2 writes for bytes: ``_codecs.encode(text, "latin1")``."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"text encoded as {encoding!r}")
    return text.encode("latin-1")


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no CIFAR file holds") from None

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it asks for an object outside the file")


def read_pickle(path: Path, content: bytes) -> dict[str, Any]:
    """Return the dictionary in ``content``, arrays in it as uint8 arrays.

    Args:
        path: named in errors.
        content: the whole file.

    Raises:
        DataError: it is no pickle, is cut off, asks for anything but numbers, text and arrays of bytes, or an array
            has another length than its shape says.
    """
    try:
        batch = _Unpickler(io.BytesIO(content), encoding="latin-1").load()
    except Exception as error:  # a damaged pickle raises almost anything
        looks = describe(content[:64])
        what = "" if looks.startswith("first bytes 0x80") else f", {looks}"
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        found = f"{len(content):,} bytes{what} ({reason})"
        raise DataError(path, f"expected a pickled CIFAR file, found {found}", FETCH_AGAIN) from None
    if not isinstance(batch, dict):
        raise DataError(path, f"expected a dictionary, found {type(batch).__name__}", FETCH_AGAIN)
    return {
        key.decode("latin-1") if isinstance(key, bytes) else str(key): _built(path, value)
        for key, value in batch.items()
    }


def _built(path: Path, value: Any) -> Any:
    """Return ``value``, or the array it stands for."""
    if not isinstance(value, _Kept):
        return value
    state = value.state
    if isinstance(value, _Array) and isinstance(state, tuple) and len(state) == 5:
        _, shape, dtype, fortran, raw = state
        raw = raw.encode("latin-1") if isinstance(raw, str) else raw  # a string of Python 2
        of_bytes = isinstance(dtype, _Dtype) and dtype.args[:1] in (("u1",), ("|u1",), ("uint8",))
        sized = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
        if of_bytes and sized and isinstance(raw, bytes):
            if len(raw) != math.prod(shape):
                claim = " x ".join(map(str, shape))
                raise DataError(path, f"expected {claim} bytes of pixels, found {len(raw):,}", FETCH_AGAIN)
            return np.frombuffer(raw, dtype=np.uint8).reshape(shape, order="F" if fortran else "C")
    raise DataError(path, "expected arrays of unsigned bytes, found another kind", FETCH_AGAIN)
