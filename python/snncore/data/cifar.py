"""CIFAR-10 and CIFAR-100 from a folder, in the binary or in the pickled layout. Nothing is ever downloaded.

The binary layout is preferred where both are there: a record is the label (CIFAR-100: the coarse label, then the fine
one), then 3,072 bytes, the red, green and blue planes of 32x32. The pickled layout is read without unpickling anything
but numbers and text, see `_cifar_pickle`. Both are described at https://www.cs.toronto.edu/~kriz/cifar.html.

"md5" in `ImageSet.source` is ``official`` or ``differs`` for pickled files when ``verify`` was asked for, and
``unknown`` otherwise: for the binary files only the sum of the whole archive is published. Files with another number of
samples than the published ones are accepted, and the log says both numbers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ArgumentError, DataError
from ._cifar_names import CIFAR10_CLASSES, CIFAR100_CLASSES
from ._cifar_pickle import read_pickle
from ._files import FETCH_AGAIN, check_is_file, check_is_folder, describe, unreadable
from .image_set import ImageSet

__all__ = ["load_cifar10", "load_cifar100"]

_SIDE = 32
_PIXELS = 3 * _SIDE * _SIDE
_COUNTS = {"train": 50_000, "test": 10_000}


@dataclass(frozen=True)
class _Spec:
    """What there is to know about one of the two.

    Args:
        name: its name in `snncore.data.DATASETS`.
        classes: names of the classes.
        label_bytes: bytes before the pixels of a binary record; the last of them is the label.
        key: what the labels are called in the pickled files.
        folders: layout -> its folder in the archive.
        archives: layout -> the archive.
        files: layout -> split -> its files.
        md5: pickled file -> md5.
    """

    name: str
    classes: tuple[str, ...]
    label_bytes: int
    key: str
    folders: dict[str, str]
    archives: dict[str, str]
    files: dict[str, dict[str, tuple[str, ...]]]
    md5: dict[str, str]


# The sums of the pickled files are those torchvision checks.
_CIFAR10 = _Spec(
    name="cifar10",
    classes=CIFAR10_CLASSES,
    label_bytes=1,
    key="labels",
    folders={"binary": "cifar-10-batches-bin", "pickled": "cifar-10-batches-py"},
    archives={"binary": "cifar-10-binary.tar.gz", "pickled": "cifar-10-python.tar.gz"},
    files={
        "binary": {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)},
        "pickled": {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)},
    },
    md5={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
)
_CIFAR100 = _Spec(
    name="cifar100",
    classes=CIFAR100_CLASSES,
    label_bytes=2,
    key="fine_labels",
    folders={"binary": "cifar-100-binary", "pickled": "cifar-100-python"},
    archives={"binary": "cifar-100-binary.tar.gz", "pickled": "cifar-100-python.tar.gz"},
    files={
        "binary": {"train": ("train.bin",), "test": ("test.bin",)},
        "pickled": {"train": ("train",), "test": ("test",)},
    },
    md5={"train": "16019d7e3df5f24257cddd939b257f8d", "test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
)


def load_cifar10(root: Path | None, verify: bool) -> tuple[ImageSet, ImageSet]:
    """Return (train, test) of CIFAR-10: 3x32x32, 10 classes. See `snncore.data.load`."""
    return _load(_CIFAR10, root, verify)


def load_cifar100(root: Path | None, verify: bool) -> tuple[ImageSet, ImageSet]:
    """Return (train, test) of CIFAR-100: 3x32x32, its 100 fine classes. See `snncore.data.load`."""
    return _load(_CIFAR100, root, verify)


def _load(spec: _Spec, root: Path | None, verify: bool) -> tuple[ImageSet, ImageSet]:
    if root is None:
        raise ArgumentError(
            f"data.load.root: must be the folder that holds {spec.name}, got None; {_where_to_put(spec, Path('ROOT'))}"
        )
    layout, folder = _find(spec, root)
    return _read(spec, "train", layout, folder, verify), _read(spec, "test", layout, folder, verify)


def _find(spec: _Spec, root: Path) -> tuple[str, Path]:
    """Return the layout and the folder of the first that has any of the files; what it lacks is said on reading."""
    check_is_folder(root, f"the folder that holds {spec.name}", _where_to_put(spec, root))
    places = [
        (layout, folder) for layout, name in spec.folders.items() for folder in (root / name, root)
    ]  # binary first, in its own folder first
    for layout, folder in places:
        if any((folder / name).exists() for files in spec.files[layout].values() for name in files):
            return layout, folder
    packed = [root / name for name in spec.archives.values() if (root / name).exists()]
    found = f"found {packed[0].name}, not unpacked" if packed else "found none of its files"
    hint = f"unpack it there: tar -xzf {packed[0].name}" if packed else _where_to_put(spec, root)
    looked = ", ".join(dict.fromkeys(str(folder) for _, folder in places))
    raise DataError(root, f"expected {spec.name} in one of {looked}, {found}", hint)


def _read(spec: _Spec, split: str, layout: str, folder: Path, verify: bool) -> ImageSet:
    """Read one split: all its files in their order."""
    names = spec.files[layout][split]
    for name in names:
        check_is_file(folder / name)
    parts, same = [], []
    for name in names:
        path = folder / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise unreadable(path, error) from error
        pixels, labels = _records(spec, path, content) if layout == "binary" else _pickled(spec, path, content)
        _check_labels(spec, path, labels)
        parts.append((pixels, labels))
        if verify and layout == "pickled":
            same.append(hashlib.md5(content, usedforsecurity=False).hexdigest() == spec.md5[name])
    images = torch.from_numpy(np.concatenate([pixels for pixels, _ in parts])).reshape(-1, 3, _SIDE, _SIDE)
    all_labels = torch.from_numpy(np.concatenate([labels for _, labels in parts]))
    return ImageSet(spec.name, split, images, all_labels, spec.classes, 255, _source(spec, split, folder, images, same))


def _source(spec: _Spec, split: str, folder: Path, images: Tensor, same: list[bool]) -> str:
    n = len(images)
    counted = f"{n:,} samples" if n == _COUNTS[split] else f"{n:,} samples (officially {_COUNTS[split]:,})"
    state = "unknown" if not same else "official" if all(same) else "differs"
    return f"{spec.name} {split}: {counted} from {folder}, md5 {state}"


def _records(spec: _Spec, path: Path, content: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Take a binary file apart: pixels uint8 [n, 3072] and labels int64 [n]."""
    size = spec.label_bytes + _PIXELS
    if not content or len(content) % size:
        found = "an empty file" if not content else f"{len(content):,} bytes, {len(content) % size:,} too many"
        found += f" ({describe(content[:64])})" if 0 < len(content) < size else ""
        raise DataError(path, f"expected {spec.name} records of {size:,} bytes each, found {found}", FETCH_AGAIN)
    table = np.frombuffer(content, dtype=np.uint8).reshape(-1, size)
    return table[:, spec.label_bytes :], table[:, spec.label_bytes - 1].astype(np.int64)


def _pickled(spec: _Spec, path: Path, content: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read a pickled file: pixels uint8 [n, 3072] and labels int64 [n]."""
    batch = read_pickle(path, content)
    for key in ("data", spec.key):
        if key not in batch:
            other = " (it is of the other CIFAR set)" if {"labels", "fine_labels"} & batch.keys() else ""
            found = ", ".join(map(repr, batch)) + other
            raise DataError(
                path, f"expected {spec.name} with the key {key!r}, found {found}", "check the data set's name"
            )
    pixels, listed = batch["data"], batch[spec.key]
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != _PIXELS or not len(pixels):
        found = f"an array {list(pixels.shape)}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise DataError(path, f"expected images as an array [N, {_PIXELS}], found {found}", FETCH_AGAIN)
    if not isinstance(listed, list) or not all(type(label) is int for label in listed) or len(listed) != len(pixels):
        found = f"{len(listed):,} in a list" if isinstance(listed, list) else type(listed).__name__
        raise DataError(
            path, f"expected {len(pixels):,} labels, whole numbers, one per image, found {found}", FETCH_AGAIN
        )
    if wrong := [label for label in listed if not 0 <= label < 2**31]:  # numpy would not take them all
        raise DataError(path, f"expected labels in 0..{len(spec.classes) - 1}, found {wrong[0]}", FETCH_AGAIN)
    return pixels, np.array(listed, dtype=np.int64)


def _check_labels(spec: _Spec, path: Path, labels: NDArray[np.int64]) -> None:
    wrong = np.flatnonzero(labels >= len(spec.classes))
    if len(wrong):
        place = int(wrong[0])
        raise DataError(
            path,
            f"expected labels in 0..{len(spec.classes) - 1}, found {int(labels[place])} at sample {place}",
            f"is this {spec.name}? {FETCH_AGAIN}",
        )


def _where_to_put(spec: _Spec, root: Path) -> str:
    return (
        f"unpack {spec.archives['binary']} or {spec.archives['pickled']} in {root}; they are published at "
        "https://www.cs.toronto.edu/~kriz/cifar.html"
    )
