"""CIFAR in both layouts: the same images from each, nothing unpickled that could act, and every damage named."""

from __future__ import annotations

import hashlib
import os
import pickle

import numpy as np
import pytest
import torch

from snncore import data
from snncore.data import _cifar_names, cifar
from snncore.errors import ArgumentError, DataError

N = 4  # images in a file
FOLDERS = {
    ("cifar10", "binary"): "cifar-10-batches-bin",
    ("cifar10", "pickled"): "cifar-10-batches-py",
    ("cifar100", "binary"): "cifar-100-binary",
    ("cifar100", "pickled"): "cifar-100-python",
}
FILES = {
    "cifar10": [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"],
    "cifar100": ["train", "test"],
}


def content(name, k):
    """Pixels and labels of the k-th file."""
    pixels = np.random.RandomState(k).randint(0, 256, (N, 3072)).astype(np.uint8)
    classes = 10 if name == "cifar10" else 100
    return pixels, [(7 * k + 3 * i) % classes for i in range(N)]


def write(root, name, layout, protocol=2):
    folder = root / FOLDERS[name, layout]
    folder.mkdir(parents=True)
    for k, stem in enumerate(FILES[name]):
        pixels, labels = content(name, k)
        if layout == "binary":
            coarse = [b"\x13"] * N if name == "cifar100" else [b""] * N
            records = zip(coarse, labels, pixels, strict=True)
            (folder / f"{stem}.bin").write_bytes(b"".join(c + bytes([y]) + x.tobytes() for c, y, x in records))
        else:
            batch = {"batch_label": "made up", "data": pixels, "filenames": ["x.png"] * N}
            batch["fine_labels" if name == "cifar100" else "labels"] = labels
            if name == "cifar100":
                batch["coarse_labels"] = [19] * N
            (folder / stem).write_bytes(pickle.dumps(batch, protocol))
    return folder


def expected(name):
    parts = [content(name, k) for k in range(len(FILES[name]))]
    images = torch.from_numpy(np.concatenate([x for x, _ in parts]).reshape(-1, 3, 32, 32))
    labels = torch.tensor([y for _, ys in parts for y in ys])
    return images[:-N], labels[:-N], images[-N:], labels[-N:]


@pytest.mark.parametrize(
    ("name", "layout", "protocol"), [(*key, p) for key in FOLDERS for p in ((2, 4) if key[1] == "pickled" else (None,))]
)
def test_reads(name, layout, protocol, tmp_path):
    folder = write(tmp_path, name, layout, protocol)
    train, test = data.load(name, tmp_path)
    x, y, x_test, y_test = expected(name)
    assert torch.equal(train.images, x) and torch.equal(train.labels, y)
    assert torch.equal(test.images, x_test) and torch.equal(test.labels, y_test)
    assert (train.name, train.split, test.split, train.scale, train.in_shape) == (
        name,
        "train",
        "test",
        255,
        (3, 32, 32),
    )
    official = 50_000
    assert train.source == f"{name} train: {len(x)} samples (officially {official:,}) from {folder}, md5 unknown"
    again, _ = data.load(name, folder)  # the folder itself as root
    assert torch.equal(again.images, x)


def test_planes_and_rows_lie_as_published(tmp_path):
    """1024 bytes of red, then green, then blue, each row by row."""
    folder = write(tmp_path, "cifar10", "binary")
    record = bytes([9]) + bytes(1024) + bytes([50]) * 1024 + bytes(32) + bytes([200]) * 992
    (folder / "test_batch.bin").write_bytes(record)
    _, test = data.load("cifar10", tmp_path)
    assert test.labels.tolist() == [9]
    assert test.images[0, 0].max() == 0 and (test.images[0, 1] == 50).all()
    assert test.images[0, 2, 0].max() == 0 and (test.images[0, 2, 1:] == 200).all()


def test_binary_is_preferred(tmp_path):
    write(tmp_path, "cifar10", "pickled")
    folder = write(tmp_path, "cifar10", "binary")
    assert f"from {folder}" in data.load("cifar10", tmp_path)[0].source


def test_text_of_python_2_is_read(tmp_path):
    """Python 2 wrote keys and pixels as byte strings (opcodes U and T), and so are the published files."""
    folder = write(tmp_path, "cifar10", "pickled")
    pixels, labels = content("cifar10", 5)
    raw = pixels.tobytes()
    packed = (
        b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x04M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + b"T" + len(raw).to_bytes(4, "little") + raw + b"tbU\x06labels](" + b"".join(b"K" + bytes([y]) for y in labels)
        + b"eu."
    )  # fmt: skip
    (folder / "test_batch").write_bytes(packed)
    _, test = data.load("cifar10", tmp_path)
    assert torch.equal(test.images.reshape(N, 3072), torch.from_numpy(pixels)) and test.labels.tolist() == labels


class Evil:
    def __reduce__(self):
        return os.system, ("echo run > ran",)


def test_a_pickle_that_acts_is_refused(tmp_path, monkeypatch):
    folder = write(tmp_path, "cifar10", "pickled")
    monkeypatch.chdir(tmp_path)
    for evil in (Evil(), {"data": Evil()}):
        (folder / "data_batch_3").write_bytes(pickle.dumps(evil, 2))
        with pytest.raises(
            DataError, match=r"data_batch_3: expected a pickled CIFAR file, .*asks for (posix|nt)\.system"
        ):
            data.load("cifar10", tmp_path)
    assert not (tmp_path / "ran").exists()


def batch(**changes):
    pixels, labels = content("cifar10", 1)
    return {key: value for key, value in {"data": pixels, "labels": labels, **changes}.items() if value is not None}


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (b"", r"found 0 bytes, an empty file"),
        (b"<!DOCTYPE html>", r"found 15 bytes, an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1", r"a Git LFS pointer"),
        (pickle.dumps(batch(), 2)[:5000], r"expected a pickled CIFAR file, found 5,000 bytes \(.*"),
        (pickle.dumps([1], 2), r"expected a dictionary, found list"),
        (pickle.dumps(batch(data=None), 2), r"with the key 'data', found 'labels'"),
        (pickle.dumps(batch(labels=None, fine_labels=[0]), 2), r"key 'labels', found 'data', 'fine_labels' \(it"),
        (pickle.dumps(batch(labels=[1, 2]), 2), r"expected 4 labels, .* found 2 in a list"),
        (pickle.dumps(batch(labels=[1, 2, 3, "4"]), 2), r"expected 4 labels, whole numbers"),
        (pickle.dumps(batch(labels=[1, 2, 3, 10]), 2), r"expected labels in 0..9, found 10 at sample 3"),
        (pickle.dumps(batch(labels=[1, 2, 3, -1]), 2), r"expected labels in 0..9, found -1"),
        (pickle.dumps(batch(labels=[1, 2, 3, 2**70]), 2), r"expected labels in 0..9, found 1180591620717411303424"),
        (pickle.dumps(batch(data=np.zeros((4, 3073), np.uint8)), 2), r"\[N, 3072\], found an array \[4, 3073\]"),
        (pickle.dumps(batch(data=np.zeros((4, 3072), np.float32)), 2), r"expected arrays of unsigned bytes"),
        (pickle.dumps(batch(data=np.array([print])), 2), r"asks for builtins|asks for __builtin__"),
        (pickle.dumps(batch(), 2).replace(b"K\x04M\x00", b"K\x05M\x00"), r"expected 5 x 3072 bytes .*found 12,288"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_damaged_pickles(bad, says, tmp_path):
    folder = write(tmp_path, "cifar10", "pickled")
    (folder / "data_batch_2").write_bytes(bad)
    with pytest.raises(DataError, match=says) as caught:
        data.load("cifar10", tmp_path)
    assert caught.value.path == folder / "data_batch_2"


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (b"", "expected cifar10 records of 3,073 bytes each, found an empty file"),
        (bytes(3072), r"found 3,072 bytes, 3,072 too many \(first bytes 0x0000000000000000\)"),
        (b"<html>oops", "an HTML page"),
        (bytes(2 * 3074), "found 6,148 bytes, 2 too many"),
        (bytes(3073) + b"\x0a" + bytes(3072), "labels in 0..9, found 10 at sample 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damaged_records(bad, says, tmp_path):
    folder = write(tmp_path, "cifar10", "binary")
    (folder / "test_batch.bin").write_bytes(bad)
    with pytest.raises(DataError, match=says) as caught:
        data.load("cifar10", tmp_path)
    assert caught.value.path == folder / "test_batch.bin"


def test_absent(tmp_path):
    with pytest.raises(ArgumentError, match=r"data.load.root: must be the folder that holds cifar10, got None; unpack"):
        data.load("cifar10")
    with pytest.raises(DataError, match=r"nowhere: expected the folder that holds cifar100, found nothing; unpack"):
        data.load("cifar100", tmp_path / "nowhere")
    with pytest.raises(
        DataError, match=r"expected cifar10 in one of .*cifar-10-batches-bin, .*found none of its files"
    ):
        data.load("cifar10", tmp_path)
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(b"packed")
    with pytest.raises(DataError, match=r"not unpacked; unpack it there: tar -xzf cifar-10-binary.tar.gz"):
        data.load("cifar10", tmp_path)
    folder = write(tmp_path, "cifar10", "binary")
    (folder / "data_batch_4.bin").unlink()
    with pytest.raises(DataError, match=r"data_batch_4.bin: expected a file, found nothing"):
        data.load("cifar10", tmp_path)


def test_verify_compares_the_pickled_files(tmp_path, monkeypatch):
    folder = write(tmp_path, "cifar100", "pickled")
    assert "md5 differs" in data.load("cifar100", tmp_path, verify=True)[0].source
    official = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in FILES["cifar100"]}
    monkeypatch.setitem(cifar._CIFAR100.__dict__, "md5", official)
    assert "md5 official" in data.load("cifar100", tmp_path, verify=True)[1].source
    assert "md5 unknown" in data.load("cifar100", tmp_path)[1].source


def test_names_of_classes():
    assert len(_cifar_names.CIFAR10_CLASSES) == 10
    names = _cifar_names.CIFAR100_CLASSES
    assert len(names) == 100 and list(names) == sorted(names)


def test_real_pickles_if_there_are_any(real):
    train, test = data.load("cifar10", real("cifar10"))
    assert (len(train), len(test)) == (50_000, 10_000)
    assert train.labels.bincount().tolist() == [5000] * 10
