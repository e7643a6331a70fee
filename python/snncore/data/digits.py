"""The one set that comes with the package: 1,797 real handwritten digits of 8x8 (see NOTICE-digits.txt)."""

from __future__ import annotations

import hashlib
import io
from importlib import resources
from pathlib import Path

import numpy as np
import torch

from ..errors import DataError
from .image_set import ImageSet

__all__ = ["load_digits"]

_FILE = "digits.npz"
_SHA256 = "6a47dd914f1e9809d6251157a91e074d15a58fb30388447291a6227622e8f2c8"
_CLASSES = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")


def load_digits(root: Path | None = None, verify: bool = False) -> tuple[ImageSet, ImageSet]:
    """Return (train, test) of ``digits``: 1,437 and 360 samples, 8x8, pixels 0..16.

    The split is fixed and lies in the file. It is stratified by class but not by writer: the same hand may occur in
    both parts, so the accuracy is not comparable with work that splits by writer.

    Args:
        root: not used, the set is part of the package.
        verify: not needed, the packaged file is always compared with its sha256.

    Raises:
        DataError: the packaged file is absent or was changed.
    """
    file = resources.files(__package__).joinpath(_FILE)
    hint = "the installation is damaged, install snncore again"
    try:
        packed = file.read_bytes()
    except OSError as exc:
        raise DataError(file, f"expected the packaged digits, cannot be read ({exc.strerror})", hint) from exc
    found = hashlib.sha256(packed).hexdigest()
    if found != _SHA256:
        raise DataError(file, f"expected sha256 {_SHA256}, found {found} ({len(packed):,} bytes)", hint)
    with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
        whole = {name: torch.from_numpy(arrays[name]) for name in ("images", "labels", "train", "test")}
    return _part(whole, "train"), _part(whole, "test")


def _part(whole: dict[str, torch.Tensor], split: str) -> ImageSet:
    places = whole[split].to(torch.int64)
    return ImageSet(
        name="digits",
        split=split,
        images=whole["images"].index_select(0, places).unsqueeze(1),
        labels=whole["labels"].index_select(0, places).to(torch.int64),
        classes=_CLASSES,
        scale=16,
        source=f"digits {split}: {len(places):,} samples from the packaged {_FILE}, sha256 as published with snncore",
    )
