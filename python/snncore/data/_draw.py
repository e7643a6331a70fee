"""Random numbers that depend on one seed, whatever was drawn before, and that disturb nobody."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["drawing"]


@contextmanager
def drawing(seed: int) -> Iterator[None]:
    """Seed torch's CPU generator, ``numpy.random`` and ``random`` within the block, and put them back after it.

    The generators of GPUs are left alone.

    Args:
        seed: 0..2**64-1.
    """
    of_torch, of_numpy, of_python = torch.default_generator.get_state(), np.random.get_state(), random.getstate()
    try:
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        yield
    finally:
        torch.default_generator.set_state(of_torch)
        np.random.set_state(of_numpy)
        random.setstate(of_python)
