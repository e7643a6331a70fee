"""A value from a file or a command line as the type of the field it is for."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable
from typing import Any

__all__ = ["Text", "convert"]


class Text(str):
    """Characters typed on a command line: what they mean is decided by the field they are for."""

    __slots__ = ()


def convert(value: Any, kind: Any) -> Any:
    """Return ``value`` as ``kind``: int, float, bool, str, a tuple of one of these, or one of these or None.

    Args:
        value: from a file, or characters typed, which may be `Text`.
        kind: the type of a field, as ``typing.get_type_hints`` has it.

    Raises:
        ValueError: it cannot be; the text says what it must be.
    """
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        inner = next(arg for arg in typing.get_args(kind) if arg is not types.NoneType)
        if value is None or (isinstance(value, Text) and value.lower() in ("none", "null")):
            return None
        return convert(value, inner)
    if typing.get_origin(kind) is tuple:
        if isinstance(value, str):
            value = [part for part in value.strip("[]() ").split(",") if part.strip()]
        entries = value if isinstance(value, (list, tuple)) else (value,)
        return tuple(convert(entry, typing.get_args(kind)[0]) for entry in entries)
    return _CONVERTERS[kind](value)


def _to_int(value: Any) -> int:
    must = "a whole number"
    try:
        if isinstance(value, str):
            value = int(value) if value.strip().lstrip("+-").isdigit() else float(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and float(value).is_integer():
            return int(value)
    except (ValueError, OverflowError):
        pass
    raise ValueError(must)


def _to_float(value: Any) -> float:
    must = "a number"
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(must)
    try:
        number = float(value)  # also of text: plain YAML 1.1 reads 1e-3 as text
    except (ValueError, OverflowError):
        raise ValueError(must) from None
    if not math.isfinite(number):
        raise ValueError("a finite number")
    return number


def _to_bool(value: Any) -> bool:
    if isinstance(value, str):
        value = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}.get(value.lower())
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _to_str(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("text (in a file: in quotes)")
    return str(value)


_CONVERTERS: dict[Any, Callable[[Any], Any]] = {int: _to_int, float: _to_float, bool: _to_bool, str: _to_str}
