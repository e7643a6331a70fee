"""MNIST and Fashion-MNIST: every folder layout, what is said when something is amiss, and the real sets."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import shutil
from itertools import pairwise

import pytest
import torch
from torch import nn

from snncore import data
from snncore.data import mnist
from snncore.errors import ArgumentError, DataError

FOLDERS = {
    "fashion_mnist": ["FashionMNIST/raw", "raw", ".", "data/fashion"],
    "mnist": ["MNIST/raw", "raw", ".", "SMNIST"],
}
PLACES = [(name, folder) for name, folders in FOLDERS.items() for folder in folders]
TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


@pytest.mark.parametrize(("name", "folder"), PLACES)
@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_every_layout(name, folder, dotted, packed, write_set, made_split, tmp_path):
    write_set(tmp_path / folder, dotted=dotted, packed=packed)
    for part, split in zip(data.load(name, tmp_path), ("train", "test"), strict=True):
        made = made_split(split, 0)
        assert (part.name, part.split, part.scale) == (name, split, 255)
        assert torch.equal(part.images[:, 0], made[3])
        assert torch.equal(part.labels, made[1].to(torch.int64))


@pytest.mark.parametrize("name", FOLDERS)
def test_first_folder_wins(name, write_set, made_split, tmp_path):
    """Taken away one after the other, the next in the row is read."""
    for seed, folder in enumerate(FOLDERS[name]):
        write_set(tmp_path / folder, seed=seed)
    for seed, folder in enumerate(FOLDERS[name]):
        assert torch.equal(data.load(name, str(tmp_path))[0].images[:, 0], made_split("train", seed)[3]), folder
        (tmp_path / folder / f"{TEST_LABELS}.gz").unlink()  # no longer complete, so no longer a match


def test_home_is_expanded(write_set, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_set(tmp_path / "sets" / "MNIST" / "raw")
    train, _ = data.load("mnist", "~/sets")
    assert len(train) == 50 and f"{tmp_path}/sets/MNIST/raw/{TRAIN_IMAGES}.gz" in train.source


@pytest.mark.parametrize("published", [True, False])
def test_of_gz_and_raw_the_published_gz_is_taken(published, write_set, made_split, tmp_path, monkeypatch):
    packed = write_set(tmp_path, packed=True, seed=1)
    write_set(tmp_path, packed=False, seed=2)
    if published:
        sums = {name: (hashlib.md5(path.read_bytes()).hexdigest(), "") for name, path in packed.items()}
        monkeypatch.setattr(mnist, "MNIST", dataclasses.replace(mnist.MNIST, md5=sums))
    expected = made_split("train", 1 if published else 2)[3]
    assert torch.equal(data.load("mnist", tmp_path)[0].images[:, 0], expected)


@pytest.mark.parametrize("name", FOLDERS)
def test_absent_set_says_where_it_looked(name, tmp_path):
    with pytest.raises(DataError) as caught:
        data.load(name, tmp_path)
    message = str(caught.value)
    assert caught.value.path == tmp_path
    for expected in [*(str(tmp_path / f) for f in FOLDERS[name]), TRAIN_IMAGES, TEST_LABELS, ".gz", "https://"]:
        assert expected in message
    assert f"into {tmp_path / FOLDERS[name][0]}" in caught.value.hint


def test_incomplete_set_says_what_is_lacking(write_set, tmp_path):
    write_set(tmp_path / "raw")[TEST_LABELS].unlink()
    with pytest.raises(DataError, match=rf"raw \(lacks {TEST_LABELS}\)"):
        data.load("mnist", tmp_path)


def test_root_that_cannot_be_one(tmp_path):
    with pytest.raises(
        ArgumentError, match=r"data.load.root: must be the folder that holds mnist, got None; .*https?://"
    ):
        data.load("mnist")
    with pytest.raises(ArgumentError, match=r"data.load.root: must be a path, got 5"):
        data.load("mnist", 5)
    with pytest.raises(DataError, match=r"found nothing; put the four files"):
        data.load("mnist", tmp_path / "no")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"found a file; put the four files"):
        data.load("mnist", tmp_path / "file")


def set_of(values):
    return lambda idx_bytes: gzip.compress(idx_bytes(values))


@pytest.mark.parametrize(
    ("broken", "content", "reason"),
    [
        (TRAIN_LABELS, set_of(torch.tensor([*[0] * 7, 10, *[0] * 42])), r"labels in 0\.\.9, found 10 at sample 7"),
        (TRAIN_LABELS, set_of(torch.zeros(49)), r"expected 50 labels, one per image in train-images.*found 49"),
        (TEST_LABELS, set_of(torch.zeros(21)), r"expected 20 labels, .* found 21"),
        (TEST_IMAGES, set_of(torch.zeros(20, 32, 32)), r"expected images of 28x28, found 32x32"),
        (TRAIN_IMAGES, set_of(torch.zeros(50)), r"expected idx images .* found magic 0x00000801"),
        (TEST_LABELS, lambda _: b"<html>", r"HTML page"),
        (TRAIN_IMAGES, lambda _: b"", r"an empty file"),
    ],
)
def test_broken_file_in_a_set(broken, content, reason, write_set, idx_bytes, tmp_path):
    paths = write_set(tmp_path)
    paths[broken].write_bytes(content(idx_bytes))
    with pytest.raises(DataError, match=reason) as caught:
        data.load("mnist", tmp_path)
    assert caught.value.path == paths[broken]


@pytest.mark.parametrize("verify", [False, True])
def test_another_number_of_samples_is_accepted_and_said(verify, write_set, tmp_path):
    write_set(tmp_path)
    train, test = data.load("fashion_mnist", tmp_path, verify=verify)
    assert "50 samples (officially 60,000)" in train.source and train.source.endswith("md5 differs")
    assert "20 samples (officially 10,000)" in test.source and test.source.endswith("md5 differs")


REAL = {  # name -> mean and standard deviation of the training pixels / 255, samples per class of train and test
    "fashion_mnist": (0.2860, 0.3530, [6000] * 10, [1000] * 10),
    "mnist": (
        0.1307,
        0.3081,
        [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    ),
}


@pytest.mark.parametrize("name", REAL)
def test_real_set(name, real):
    mean, std, *per_class = REAL[name]
    parts = data.load(name, real(name), verify=True)
    assert [len(p) for p in parts] == [60_000, 10_000]
    for part, counts in zip(parts, per_class, strict=True):
        assert part.in_shape == (1, 28, 28) and part.num_classes == 10
        assert part.images.dtype == torch.uint8 and part.labels.dtype == torch.int64
        assert torch.bincount(part.labels).tolist() == counts
        assert part.source.endswith("md5 official") and f"{len(part):,} samples from" in part.source
    pixels = parts[0].images.to(torch.float32).div_(255)
    assert (round(float(pixels.mean()), 4), round(float(pixels.std()), 4)) == (mean, std)


def test_real_set_unverified_is_unknown(real):
    assert [p.source.rsplit(", ", 1)[1] for p in data.load("mnist", real("mnist"))] == ["md5 unknown"] * 2


def test_md5_is_of_the_content(real, tmp_path):
    """Unpacked, the real set is still official; with one pixel changed it is not, and only ``verify`` can see it."""
    for path in (real("mnist") / "MNIST/raw").glob("*.gz"):
        (tmp_path / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    train, test = data.load("mnist", tmp_path, verify=True)
    assert train.source.endswith("md5 official") and test.source.endswith("md5 official")
    with open(tmp_path / TEST_IMAGES, "r+b") as file:
        file.seek(16 + 5_000_000)
        file.write(b"\x7f")
    assert data.load("mnist", tmp_path, verify=True)[1].source.endswith("md5 differs")
    assert data.load("mnist", tmp_path)[1].source.endswith("md5 unknown")
    with open(tmp_path / TEST_LABELS, "r+b") as file:
        file.seek(8)
        file.write(b"\x08")
    assert data.load("mnist", tmp_path)[1].source.endswith("md5 differs")  # labels are always compared


def test_real_set_of_another_name(real):
    with pytest.raises(DataError, match=rf"expected {TRAIN_LABELS} of fashion_mnist \(train\), found .* of mnist"):
        data.load("fashion_mnist", real("mnist") / "MNIST")


def test_train_and_test_exchanged(real, tmp_path):
    for path in (real("mnist") / "MNIST/raw").glob("*.gz"):
        other = path.name.replace("train", "t10k") if "train" in path.name else path.name.replace("t10k", "train")
        (tmp_path / other).symlink_to(path)
    with pytest.raises(DataError, match=rf"expected {TRAIN_LABELS} of mnist \(train\), found {TEST_LABELS} of mnist"):
        data.load("mnist", tmp_path)


def test_images_of_another_set_are_found_by_verify(real, tmp_path):
    for path in (real("mnist") / "MNIST/raw").glob("*.gz"):
        shutil.copy(path, tmp_path)
    (tmp_path / f"{TEST_IMAGES}.gz").unlink()
    (tmp_path / f"{TEST_IMAGES}.gz").symlink_to(real("fashion_mnist") / f"FashionMNIST/raw/{TEST_IMAGES}.gz")
    assert data.load("mnist", tmp_path)[1].source.endswith("md5 unknown")
    with pytest.raises(DataError, match=rf"found {TEST_IMAGES} of fashion_mnist"):
        data.load("mnist", tmp_path, verify=True)


def test_published_losses_of_the_pytorch_quickstart(real):
    """The first printed losses of a log published by a vendor: same images, labels, order and scaling, or no match."""
    train, _ = data.load("fashion_mnist", real("fashion_mnist"))
    torch.manual_seed(0)
    sizes = (784, 512, 512, 10)
    layers = [nn.Flatten()]
    for i, o in pairwise(sizes):
        layers += [nn.Linear(i, o), nn.ReLU()]
    net = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
    losses = []
    for x, y in data.Batches(train, 64, shuffle=False, seed=0, indices=torch.arange(101 * 64)):
        loss = nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[::100] == pytest.approx([2.305312, 2.298351], abs=2e-6)
