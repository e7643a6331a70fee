"""Sets of images, found by name in `DATASETS`, and the batches made of them.

A set lies in memory as a whole, as bytes; `Batches` turns what it needs into floats. Nothing is downloaded: ``digits``
comes with the package, the others are read from a folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ..errors import ArgumentError
from ..registry import lookup
from .batches import Batches
from .cifar import load_cifar10 as _load_cifar10
from .cifar import load_cifar100 as _load_cifar100
from .digits import load_digits as _load_digits
from .image_set import ImageSet, split
from .mnist import load_fashion_mnist as _load_fashion_mnist
from .mnist import load_mnist as _load_mnist

__all__ = ["DATASETS", "Batches", "ImageSet", "load", "split"]

# Each takes (root, verify) and returns (train, test).
DATASETS: dict[str, Callable[[Path | None, bool], tuple[ImageSet, ImageSet]]] = {
    "cifar10": _load_cifar10,
    "cifar100": _load_cifar100,
    "digits": _load_digits,
    "fashion_mnist": _load_fashion_mnist,
    "mnist": _load_mnist,
}


def load(name: str, root: str | os.PathLike[str] | None = None, *, verify: bool = False) -> tuple[ImageSet, ImageSet]:
    """Load the data set called ``name`` in `DATASETS`.

    Args:
        name: a key of `DATASETS`.
        root: the folder with the files, ``~`` is expanded. Not needed for ``digits``. Accepted below it, the first
            that has all four files wins, .gz or raw, also with file names like ``train-images.idx3-ubyte``:
            ``FashionMNIST/raw``, ``raw``, the root itself, ``data/fashion`` for ``fashion_mnist``;
            ``MNIST/raw``, ``raw``, the root itself, ``SMNIST`` for ``mnist``;
            ``cifar-10-batches-bin``, the root itself with the binary files, ``cifar-10-batches-py``, the root itself
            with the pickled files for ``cifar10``; the same with ``cifar-100-binary``, ``cifar-100-python`` for
            ``cifar100``.
        verify: compare the content of all files with the official md5 and say the result in `ImageSet.source`; other
            content is accepted. Costs about 0.1 s.

    Returns:
        (train, test).

    Raises:
        UnknownNameError: there is no such set; the message lists those there are.
        ArgumentError: the set needs a ``root``, or it is not a path.
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
