"""Real data where there is some, and small made-up idx files."""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

NAMES = {
    ("train", 3): "train-images-idx3-ubyte",
    ("train", 1): "train-labels-idx1-ubyte",
    ("test", 3): "t10k-images-idx3-ubyte",
    ("test", 1): "t10k-labels-idx1-ubyte",
}


def find_data() -> Path:
    named = os.environ.get("SNNCORE_DATA")
    return Path(named) if named else Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.fixture
def real() -> Callable[[str], Path]:
    """real("mnist") -> the folder to give as root; skips where there is none."""

    def folder(name: str) -> Path:
        path = find_data() / name
        if not path.is_dir():
            pytest.skip(f"no real {name}: {path} is not there (set SNNCORE_DATA)")
        return path

    return folder


@pytest.fixture
def idx_bytes() -> Callable[[Tensor], bytes]:
    """idx_bytes(values) -> the raw idx file that holds them."""

    def pack(values: Tensor) -> bytes:
        header = struct.pack(f">HBB{values.dim()}I", 0, 8, values.dim(), *values.shape)
        return header + values.to(torch.uint8).contiguous().numpy().tobytes()

    return pack


@pytest.fixture
def made_split() -> Callable[[str, int], dict[int, Tensor]]:
    """made_split("train", seed) -> {3: images [N, 28, 28], 1: labels [N]}; N = 50 (train) or 20 (test)."""

    def make(split: str, seed: int = 0) -> dict[int, Tensor]:
        n = {"train": 50, "test": 20}[split]
        generator = torch.Generator().manual_seed(seed + n)
        images = torch.randint(0, 256, (n, 28, 28), generator=generator, dtype=torch.uint8)
        return {3: images, 1: torch.arange(n, dtype=torch.uint8) % 10}

    return make


@pytest.fixture
def write_set(
    idx_bytes: Callable[[Tensor], bytes], made_split: Callable[[str, int], dict[int, Tensor]]
) -> Callable[..., dict[str, Path]]:
    """write_set(folder, dotted=, packed=, seed=) -> name -> path of the four files of a small made-up set."""

    def write(folder: Path, *, dotted: bool = False, packed: bool = True, seed: int = 0) -> dict[str, Path]:
        folder.mkdir(parents=True, exist_ok=True)
        paths = {}
        for (split, ndim), name in NAMES.items():
            content = idx_bytes(made_split(split, seed)[ndim])
            written = name.replace("-idx", ".idx") if dotted else name
            paths[name] = folder / (f"{written}.gz" if packed else written)
            paths[name].write_bytes(gzip.compress(content) if packed else content)
        return paths

    return write
