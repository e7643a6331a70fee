"""One way to look a name up in a table, with one message for all tables.

A table is a literal dict in the ``__init__`` of its room (``neuron``, ``model``, ``data``...).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from .errors import UnknownNameError

__all__ = ["lookup", "nearest"]

T = TypeVar("T")


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the entry of ``names`` that ``name`` most likely meant, or None."""
    folded = {n.lower().replace("-", "_"): n for n in names}
    hits = difflib.get_close_matches(name.lower().replace("-", "_"), folded, n=1, cutoff=0.6)
    return folded[hits[0]] if hits else None


def lookup(table: Mapping[str, T], name: str, what: str) -> T:
    """Return ``table[name]``.

    Args:
        table: name -> entry.
        name: the exact spelling of an entry.
        what: what the caller calls the name, e.g. ``"--model"`` or ``"LIFNode.engine"``.

    Raises:
        UnknownNameError: ``name`` is not in the table; the message lists every name.
    """
    if name in table:
        return table[name]
    guess = nearest(str(name), table)
    hint = f"did you mean {guess!r}? " if guess else ""
    raise UnknownNameError(f"{what}: must be one of {', '.join(sorted(table))}, got {name!r}; {hint}use a listed name")
