"""Sets of images, found by name in `DATASETS`, and the batches made of them.

There are two kinds, and `Dataset` is either:

- `ImageSet` lies in memory as a whole, as bytes; `Batches` turns what it needs into floats.
- `SampleSet` is read sample by sample, from a folder (`image_folder`) or from memory, by worker processes, and each
  image is sent through a transform, such as those of `transform`. ``dataset.with_transform(t)`` makes one of either.

What a training loop needs is the same for both, so it has one path: ``name``, ``split``, ``source`` (a line for the
log), ``labels`` (int64 [N]), ``classes``, ``num_classes``, ``in_shape`` (C, H, W), ``device``, ``len()``,
``subset(places)``, ``to(device)``, ``with_transform(t)``, `split`, and

    Batches(dataset, batch_size, shuffle=, seed=, epoch=, start=, rank=, world_size=, uneven=, mix=, workers=)

which yields x [B, C, H, W] float32 and y [B] int64 on ``dataset.device``. A loop so begins with

    train, test = load(name, root)
    train, val = split(train, fraction, seed)
    train, val = train.with_transform(augment).to(device), val.with_transform(plain).to(device)

where ``with_transform`` is left out if there is nothing to transform: that keeps an `ImageSet` as fast as it is. On
several ranks train with ``uneven="pad"`` and evaluate with ``uneven="exact"``, or divide the order in the loop and say
``uneven="given"``; seed, epoch and start are those of the run in each case, for they seed transforms and ``mix`` too.
With ``mix`` the labels become float [B, num_classes]. What comes out never depends on ``workers``, so these may change
on resuming.

Nothing is downloaded: ``digits`` comes with the package, the others are read from a folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ..errors import ArgumentError
from ..registry import lookup
from . import transform
from .batches import Batches
from .cifar import load_cifar10 as _load_cifar10
from .cifar import load_cifar100 as _load_cifar100
from .digits import load_digits as _load_digits
from .folder import image_folder
from .folder import load_image_folder as _load_image_folder
from .image_set import ImageSet, split
from .mnist import load_fashion_mnist as _load_fashion_mnist
from .mnist import load_mnist as _load_mnist
from .sample_set import SampleSet

__all__ = [
    "DATASETS",
    "Batches",
    "Dataset",
    "ImageSet",
    "SampleSet",
    "image_folder",
    "load",
    "split",
    "transform",
]

Dataset = ImageSet | SampleSet

# Each takes (root, verify) and returns (train, test).
DATASETS: dict[str, Callable[[Path | None, bool], tuple[Dataset, Dataset]]] = {
    "cifar10": _load_cifar10,
    "cifar100": _load_cifar100,
    "digits": _load_digits,
    "fashion_mnist": _load_fashion_mnist,
    "image_folder": _load_image_folder,
    "mnist": _load_mnist,
}


def load(name: str, root: str | os.PathLike[str] | None = None, *, verify: bool = False) -> tuple[Dataset, Dataset]:
    """Load the data set called ``name`` in `DATASETS`.

    Args:
        name: a key of `DATASETS`.
        root: the folder with the files, ``~`` is expanded. Not needed for ``digits``. Accepted below it, the first
            that has all four files wins, .gz or raw, also with file names like ``train-images.idx3-ubyte``:
            ``FashionMNIST/raw``, ``raw``, the root itself, ``data/fashion`` for ``fashion_mnist``;
            ``MNIST/raw``, ``raw``, the root itself, ``SMNIST`` for ``mnist``;
            ``cifar-10-batches-bin``, the root itself with the binary files, ``cifar-10-batches-py``, the root itself
            with the pickled files for ``cifar10``; the same with ``cifar-100-binary``, ``cifar-100-python`` for
            ``cifar100``. For ``image_folder`` it must have the folders ``train`` and ``val``, with a folder per class.
        verify: compare the content of all files with the official md5 and say the result in `ImageSet.source`; other
            content is accepted. Costs about 0.1 s.

    Returns:
        (train, test); (train, val) of ``image_folder``. Each an `ImageSet`, those of ``image_folder`` a `SampleSet`.

    Raises:
        UnknownNameError: there is no such set; the message lists those there are.
        ArgumentError: the set needs a ``root``, or it is not a path.
        LibraryError: ``image_folder`` without Pillow.
        DataError: files are absent (the message says where they were looked for), damaged, or of another set.
    """
    loader = lookup(DATASETS, name, "data.load.name")
    if root is None:
        return loader(None, verify)
    try:
        path = Path(os.path.expanduser(os.fspath(root)))
    except TypeError:
        raise ArgumentError(f"data.load.root: must be a path, got {root!r}; give a string or a Path") from None
    return loader(path, verify)
