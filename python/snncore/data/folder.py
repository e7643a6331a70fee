"""Images in a folder per class, the layout of ImageNet. Nothing is ever downloaded.

    ROOT/train/CLASS/anything/below/x.jpg        ROOT/val/CLASS/y.png

Classes are numbered by their names in sorted order, those of ``train``; the files of a class come in sorted order, so
that labels and order are the same on every machine. A file is an image if its name ends in one of `EXTENSIONS`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ArgumentError, DataError, LibraryError
from ._files import FETCH_AGAIN, check_is_file, check_is_folder, describe, unreadable
from .sample_set import SampleSet, Transform

__all__ = ["EXTENSIONS", "FileReader", "image_folder", "load_image_folder"]

# Those of torchvision.datasets.ImageFolder, in upper and lower case.
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")

_LAYOUT = "the layout is ROOT/train/CLASS/*.jpg and ROOT/val/CLASS/*.jpg"


@dataclass(frozen=True, eq=False)
class FileReader:
    """Reads image files with Pillow, as 8-bit RGB.

    Args:
        root: the folder below which they lie.
        names: their paths from there, as the system spells them, bytes [N]; an array, because a list of a million
            strings would be copied into every worker process as it is read.
    """

    root: str
    names: NDArray[np.bytes_]

    def __len__(self) -> int:
        return len(self.names)

    def where(self, place: int) -> str:
        """Return the path of the file at ``place``."""
        return os.path.join(self.root, os.fsdecode(self.names[place].item()))

    def take(self, places: Tensor) -> FileReader:
        """Return a reader of the files at ``places``."""
        return FileReader(self.root, self.names[places.numpy()])

    def __call__(self, place: int) -> Tensor:
        """Return the image at ``place``, torch.uint8 [3, H, W].

        Grey images are repeated, transparency is dropped, and an orientation noted in the file is not applied, as
        torchvision does.

        Raises:
            DataError: the file is absent, damaged, or has more than 8 bits a channel.
            LibraryError: Pillow is not installed.
        """
        path = Path(self.where(place))
        image_module = _pillow()
        check_is_file(path)
        try:
            with image_module.open(path) as image:
                mode = image.mode
                # more than 8 bits would be cut off at 255 without a word
                pixels = None if mode.startswith(("I", "F")) else np.array(image.convert("RGB"))
        except PermissionError as error:
            raise unreadable(path, error) from error
        except Exception as error:  # a damaged image raises almost anything
            raise _damaged(path, error) from error
        if pixels is None:
            raise DataError(path, f"expected 8 bits a channel, found mode {mode}", "convert it to an 8-bit image")
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _damaged(path: Path, error: Exception) -> DataError:
    try:
        with open(path, "rb") as file:
            head = file.read(64)
        size = f"{path.stat().st_size:,} bytes, " if head else ""
    except OSError as later:
        return unreadable(path, later)
    return DataError(path, f"expected an image, found {size}{describe(head)} ({error})", FETCH_AGAIN)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise LibraryError(
            f"data.image_folder: must have Pillow to read images, got: {error}; do pip install 'snncore[images]'"
        ) from error
    return Image


def load_image_folder(root: Path | None, verify: bool) -> tuple[SampleSet, SampleSet]:
    """Return (train, val) of the folders ``train`` and ``val`` of ``root``. See `snncore.data.load`.

    Labels of both are those of the classes of ``train``. There are no published sums, so ``verify`` does nothing.
    """
    if root is None:
        raise ArgumentError(f"data.load.root: must be the folder with train/ and val/, got None; {_LAYOUT}")
    check_is_folder(root, "the folder with train/ and val/", _LAYOUT)
    train = image_folder(root / "train", split="train")
    return train, image_folder(root / "val", split="val", classes=train.classes)


def image_folder(
    path: str | os.PathLike[str],
    *,
    split: str,
    classes: tuple[str, ...] | None = None,
    transform: Transform | None = None,
    name: str = "image_folder",
) -> SampleSet:
    """Return the set of all images in the class folders of ``path``; none is read yet.

    Args:
        path: the folder that has one folder per class. Their folders may have folders again; links are followed.
        split: what the set is called.
        classes: names of the classes in the order of their labels, of which each folder must be one; None: the names of
            the folders, sorted.
        transform: see `SampleSet`.
        name: of the data set.

    Raises:
        DataError: the folder is absent, has no class folders, a class is unknown or has no images.
        LibraryError: Pillow is not installed.
    """
    _pillow()
    path = Path(os.path.expanduser(os.fspath(path)))
    check_is_folder(path, f"the folder of {split} with one folder per class", _LAYOUT)
    try:
        found = sorted(entry.name for entry in os.scandir(path) if entry.is_dir())
    except OSError as error:
        raise unreadable(path, error) from error
    if not found:
        raise DataError(path, "expected one folder per class, found no folders", _LAYOUT)
    classes = tuple(found) if classes is None else classes
    numbers = {name: number for number, name in enumerate(classes)}
    if unknown := [name for name in found if name not in numbers]:
        raise DataError(
            path, f"expected only the {len(classes):,} classes of train, found {unknown[0]!r}", "name its folders alike"
        )
    files, labels = [], []
    for folder in found:
        there = _images(path, folder)
        files += there
        labels += [numbers[folder]] * len(there)
    reader = FileReader(str(path), np.array(files, dtype=np.bytes_))
    source = f"{name} {split}: {len(files):,} samples in {len(found):,} classes from {path}, content not compared"
    return SampleSet(name, split, reader, torch.tensor(labels), classes, source, transform)


def _images(root: Path, folder: str) -> list[bytes]:
    """Return the paths of the images of a class, from ``root``, sorted by folder and then by name."""

    def stop(error: OSError) -> None:  # os.walk would pass over a folder that it may not read
        raise unreadable(Path(error.filename or root / folder), error) from error

    found = []
    for where, _, names in os.walk(root / folder, onerror=stop, followlinks=True):
        below = os.path.relpath(where, root)
        found += [(below, name) for name in names if name.lower().endswith(EXTENSIONS)]
    if not found:
        raise DataError(
            root / folder, f"expected images ({', '.join(EXTENSIONS)}), found none", "remove the folder or fill it"
        )
    return [os.fsencode(os.path.join(*pair)) for pair in sorted(found)]
