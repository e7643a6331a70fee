"""Random numbers that depend on one seed, whatever was drawn before, and that disturb nobody."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["put_back", "seed_all"]


def seed_all(seed: int) -> None:
    """Seed torch's CPU generator, ``numpy.random`` and ``random``; the generators of GPUs are left alone.

    Args:
        seed: 0..2**64-1.
    """
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


@contextmanager
def put_back() -> Iterator[None]:
    """After the block, have the generators that `seed_all` seeds where they were before it. Costs about 0.1 ms."""
    of_torch, of_numpy, of_python = torch.default_generator.get_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.default_generator.set_state(of_torch)
        np.random.set_state(of_numpy)
        random.setstate(of_python)
