"""MNIST and Fashion-MNIST from a folder. Nothing is ever downloaded.

Whether files are the official ones ("md5" in `ImageSet.source`) is judged by the md5 of the unpacked idx content, so
that a file packed again counts as what it is:

- ``official``: both files of the split have the official content;
- ``differs``: one does not. Such files are accepted, also with another number of samples: training on a part is
  common, and the idx header vouches for the length. The log says both numbers;
- ``unknown``: the images were not compared, because ``verify`` was not asked for, and the labels are official.

Labels are 60 kB, so they are always compared (another number of samples is thus always ``differs``). Labels that are
officially those of *another* set or split are an error: accuracy on MNIST must not be reported as Fashion-MNIST.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import ArgumentError, DataError
from .idx import read_idx
from .image_set import ImageSet

__all__ = ["FASHION_MNIST", "MNIST", "Spec", "load_fashion_mnist", "load_mnist"]

_SIDE = 28
_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_COUNTS = {"train": 60_000, "test": 10_000}


@dataclass(frozen=True)
class Spec:
    """What there is to know about a set of the family.

    Args:
        name: its name in `snncore.data.DATASETS`.
        folders: where its files may lie below the root, first match wins.
        classes: names of the classes.
        address: where it is published.
        md5: file -> (md5 of the published .gz, md5 of what is in it).
    """

    name: str
    folders: tuple[str, ...]
    classes: tuple[str, ...]
    address: str
    md5: dict[str, tuple[str, str]]


# The .gz sums are those torchvision checks on download; those of the content were taken from files that have them.
MNIST = Spec(
    name="mnist",
    folders=("MNIST/raw", "raw", "", "SMNIST"),
    classes=("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"),
    address="http://yann.lecun.com/exdb/mnist/ (mirror: https://ossci-datasets.s3.amazonaws.com/mnist/)",
    md5={
        "train-images-idx3-ubyte": ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "6bbc9ace898e44ae57da46a324031adb"),
        "train-labels-idx1-ubyte": ("d53e105ee54ea40749a09fcbcd1e9432", "a25bea736e30d166cdddb491f175f624"),
        "t10k-images-idx3-ubyte": ("9fb629c4189551a2d022fa330f9573f3", "2646ac647ad5339dbf082846283269ea"),
        "t10k-labels-idx1-ubyte": ("ec29112dd5afa0611ce80d1b7f02629c", "27ae3e4e09519cfbb04c329615203637"),
    },
)
FASHION_MNIST = Spec(
    name="fashion_mnist",
    folders=("FashionMNIST/raw", "raw", "", "data/fashion"),
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    address="https://github.com/zalandoresearch/fashion-mnist (folder data/fashion)",
    md5={
        "train-images-idx3-ubyte": ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
        "train-labels-idx1-ubyte": ("25c81989df183df01b3e8a0aad5dffbe", "9018921c3c673c538a1fc5bad174d6f9"),
        "t10k-images-idx3-ubyte": ("bef4ecab320f06d8554ea6380940ec79", "8181f5470baa50b63fa0f6fddb340f0a"),
        "t10k-labels-idx1-ubyte": ("bb300cfdad3c16e7a12a480ee83cd310", "15d484375f8d13e6eb1aabb0c3f46965"),
    },
)
_FAMILY = (MNIST, FASHION_MNIST)


def load_mnist(root: Path | None, verify: bool) -> tuple[ImageSet, ImageSet]:
    """Return (train, test) of MNIST: 28x28, 10 digits. See `snncore.data.load`."""
    return _load(MNIST, root, verify)


def load_fashion_mnist(root: Path | None, verify: bool) -> tuple[ImageSet, ImageSet]:
    """Return (train, test) of Fashion-MNIST: 28x28, 10 kinds of clothing. See `snncore.data.load`."""
    return _load(FASHION_MNIST, root, verify)


def _load(spec: Spec, root: Path | None, verify: bool) -> tuple[ImageSet, ImageSet]:
    if root is None:
        raise ArgumentError(
            f"data.load.root: must be the folder that holds {spec.name}, got None; {_where_to_put(spec, Path('ROOT'))}"
        )
    files = _find(spec, root)
    return _read(spec, "train", files, verify), _read(spec, "test", files, verify)


def _read(spec: Spec, split: str, files: dict[str, Path], verify: bool) -> ImageSet:
    """Read and check one split, in the order: each file by itself, label range, counts, then md5."""
    image_stem, label_stem = _FILES[split]
    image_path, label_path = files[image_stem], files[label_stem]
    images = read_idx(image_path, 3, digest=verify)
    labels = read_idx(label_path, 1, digest=True)
    n, height, width = images.values.shape
    if (height, width) != (_SIDE, _SIDE):
        raise DataError(
            image_path,
            f"expected images of {_SIDE}x{_SIDE}, found {height}x{width}",
            f"is this {spec.name}? replace it",
        )
    wrong = (labels.values >= len(spec.classes)).nonzero()
    if len(wrong):
        place = int(wrong[0])
        raise DataError(
            label_path,
            f"expected labels in 0..{len(spec.classes) - 1}, found {int(labels.values[place])} at sample {place}",
            "delete it and fetch it again",
        )
    if len(labels.values) != n:
        raise DataError(
            label_path,
            f"expected {n:,} labels, one per image in {image_path.name}, found {len(labels.values):,}",
            "take both files from the same place",
        )
    _check_not_another(spec, split, label_path, label_stem, labels.md5)
    _check_not_another(spec, split, image_path, image_stem, images.md5)
    same = [(images.md5, spec.md5[image_stem][1]), (labels.md5, spec.md5[label_stem][1])]
    if any(found not in (None, official) for found, official in same):
        state = "differs"
    else:
        state = "unknown" if None in (found for found, _ in same) else "official"
    counted = f"{n:,} samples" if n == _COUNTS[split] else f"{n:,} samples (officially {_COUNTS[split]:,})"
    return ImageSet(
        name=spec.name,
        split=split,
        images=images.values.unsqueeze(1),
        labels=labels.values.to(torch.int64),
        classes=spec.classes,
        scale=255,
        source=f"{spec.name} {split}: {counted} from {image_path} and {label_path.name}, md5 {state}",
    )


def _check_not_another(spec: Spec, split: str, path: Path, stem: str, md5: str | None) -> None:
    """Raise if the file is officially another one of the family."""
    for other in _FAMILY:
        for other_stem, (_, content) in other.md5.items():
            if md5 == content and (other.name, other_stem) != (spec.name, stem):
                raise DataError(
                    path,
                    f"expected {stem} of {spec.name} ({split}), found {other_stem} of {other.name}",
                    "check the name of the data set and of the file",
                )


def _find(spec: Spec, root: Path) -> dict[str, Path]:
    """Return the path of each of the four files in the first folder that has them all."""
    if not os.path.isdir(root):
        found = "a file" if os.path.exists(root) else "nothing"
        raise DataError(root, f"expected the folder that holds {spec.name}, found {found}", _where_to_put(spec, root))
    stems = [stem for pair in _FILES.values() for stem in pair]
    notes = []
    for folder in (root / name for name in spec.folders):
        found_files = {stem: path for stem in stems if (path := _pick(spec, folder, stem))}
        if len(found_files) == len(stems):
            return found_files
        lacking = [stem for stem in stems if stem not in found_files]
        notes.append(f"{folder} (lacks {', '.join(lacking)})" if found_files else str(folder))
    raise DataError(
        root,
        f"{spec.name} not found: expected {', '.join(stems)} in one folder (each with or without .gz, or with a dot "
        f"as in train-images.idx3-ubyte), looked in {', '.join(notes)}",
        _where_to_put(spec, root),
    )


def _pick(spec: Spec, folder: Path, stem: str) -> Path | None:
    """Return the file to read for ``stem``: of a .gz and a raw one, the .gz if it is the published one."""
    for name in (stem, stem.replace("-idx", ".idx")):
        packed, raw = folder / f"{name}.gz", folder / name
        if os.path.isfile(packed) and (not os.path.isfile(raw) or _file_md5(packed) == spec.md5[stem][0]):
            return packed
        if os.path.isfile(raw):
            return raw
    return None


def _file_md5(path: Path) -> str | None:
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError:  # then it is not the better of the two; if it is the only one, reading it says why
        return None
    return digest.hexdigest()


def _where_to_put(spec: Spec, root: Path) -> str:
    return (
        f"put the four files {{train,t10k}}-{{images-idx3,labels-idx1}}-ubyte.gz into {root / spec.folders[0]}; "
        f"they are published at {spec.address}"
    )
