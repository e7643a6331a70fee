"""Where the counts of all forwards stay: one after another in few large tensors."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Entry", "Ledger"]

_LEAST = 2**17  # integers in a page: 1 MiB
_TIMES = 16  # how many of the largest entry it holds at least


class Entry(NamedTuple):
    """A small tensor of integers in a page.

    Attributes:
        page: int64 [elements].
        start: where its elements begin.
        shape: its own.
    """

    page: Tensor
    start: int
    shape: tuple[int, ...]

    @classmethod
    def of(cls, counts: Tensor) -> Entry:
        """Return an entry that is a page of its own."""
        return cls(counts.flatten(), 0, tuple(counts.shape))

    @property
    def elements(self) -> int:
        """How many there are."""
        return math.prod(self.shape)

    @property
    def flat(self) -> Tensor:
        """A view of the elements in a row."""
        return self.page.narrow(0, self.start, self.elements)

    @property
    def counts(self) -> Tensor:
        """A view of the elements in their shape."""
        return self.flat.view(self.shape)


class Ledger:
    """Hands out room in pages.

    The counts of a forward outlive it. As tensors of their own they would settle wherever a large tensor of the net has
    just been freed, and the next forward, finding no hole of that size, would have to ask the system for fresh pages:
    up to half the time of the forward itself.
    """

    def __init__(self) -> None:
        self._pages: dict[torch.device, Tensor] = {}
        self._taken: dict[torch.device, int] = {}

    def blank(self, shape: tuple[int, ...], device: torch.device) -> Entry:
        """Return a new entry, to be written to."""
        elements = math.prod(shape)
        page, start = self._pages.get(device), self._taken.get(device, 0)
        if page is None or start + elements > page.numel():
            with torch.inference_mode(False):  # so that forwards outside that mode may write to it too
                page = self._pages[device] = torch.empty(
                    max(_LEAST, _TIMES * elements), dtype=torch.int64, device=device
                )
            start = 0
        self._taken[device] = start + elements
        return Entry(page, start, shape)

    def keep(self, entry: Entry) -> Entry:
        """Return an entry that holds the same in a page."""
        if entry.page is self._pages.get(entry.page.device):
            return entry
        kept = self.blank(entry.shape, entry.page.device)
        kept.flat.copy_(entry.flat)
        return kept
