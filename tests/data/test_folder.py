"""Folders of images: labels by name on every machine, every file once, and one clear error for what cannot be read."""

from __future__ import annotations

import builtins
import io
import os

import numpy as np
import pytest
import torch

from snncore import data
from snncore.data import folder, transform
from snncore.errors import ArgumentError, DataError, LibraryError

# torch warns of more workers than CPUs, and a test may run on one CPU.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

Image = pytest.importorskip("PIL.Image", reason="needs Pillow (pip install 'snncore[images]')")


def picture(seed, height=8, width=8, channels=3):
    return np.random.RandomState(seed).randint(0, 256, (height, width, channels)).astype(np.uint8)


def write(path, seed=0, **size):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(seed, **size)).save(path)


@pytest.fixture
def root(tmp_path):
    """Classes cat, dog and Zebra (capitals sort first); train has 3 + 2 + 1 images, val 1 + 1."""
    write(tmp_path / "train/dog/b.png", 1)
    write(tmp_path / "train/dog/a.png", 2)
    write(tmp_path / "train/cat/10.png", 3)
    write(tmp_path / "train/cat/2.PNG", 4)
    write(tmp_path / "train/cat/below/1.bmp", 5)
    write(tmp_path / "train/Zebra/only.ppm", 6)
    write(tmp_path / "val/cat/x.png", 7)
    write(tmp_path / "val/dog/y.png", 8)
    (tmp_path / "train/cat/notes.txt").write_text("not an image")
    (tmp_path / "train/README").write_text("not a class")
    return tmp_path


def test_classes_labels_and_order(root):
    train, val = data.load("image_folder", root)
    assert train.classes == val.classes == ("Zebra", "cat", "dog")
    assert train.labels.tolist() == [0, 1, 1, 1, 2, 2]
    names = [os.path.relpath(train.reader.where(i), root) for i in range(6)]
    assert names == [
        "train/Zebra/only.ppm", "train/cat/10.png", "train/cat/2.PNG", "train/cat/below/1.bmp", "train/dog/a.png",
        "train/dog/b.png",
    ]  # fmt: skip
    assert val.labels.tolist() == [1, 2]  # the numbers of train, though val has no Zebra
    assert (train.name, train.split, val.split) == ("image_folder", "train", "val")
    assert train.source == f"image_folder train: 6 samples in 3 classes from {root}/train, content not compared"
    assert train.in_shape == (3, 8, 8) and train.num_classes == 3


def test_pixels(root):
    train, _ = data.load("image_folder", str(root))
    x, y = next(iter(data.Batches(train, 6, shuffle=False, seed=0)))
    for place, seed in enumerate((6, 3, 4, 5, 2, 1)):
        assert torch.equal(x[place], torch.from_numpy(picture(seed)).permute(2, 0, 1) / 255)
    assert y.tolist() == [0, 1, 1, 1, 2, 2]


def test_other_modes_become_rgb(tmp_path):
    grey = picture(0, channels=1)[..., 0]
    (tmp_path / "a").mkdir()
    Image.fromarray(grey).save(tmp_path / "a/grey.png")
    Image.fromarray(picture(1, channels=4)).save(tmp_path / "a/rgba.png")
    Image.fromarray(picture(2)).quantize(16).save(tmp_path / "a/palette.png")
    images = data.image_folder(tmp_path, split="train").reader
    assert torch.equal(images(0), torch.from_numpy(grey).expand(3, 8, 8))
    assert images(1).shape == (3, 8, 8)
    assert torch.equal(images(2), torch.from_numpy(picture(1, channels=4)[..., :3]).permute(2, 0, 1))


@pytest.mark.parametrize("workers", [0, 2])
def test_images_of_many_sizes_with_workers(workers, tmp_path):
    for i in range(12):
        write(tmp_path / f"train/{i % 3}/{i}.jpg", i, height=20 + i, width=40 - i)
        write(tmp_path / f"val/{i % 3}/{i}.webp", i, height=30 - i, width=20 + i)
    train, val = data.load("image_folder", tmp_path)
    train, val = train.with_transform(transform.training(16)), val.with_transform(transform.evaluation(18, 16))
    args = {"shuffle": True, "seed": 5, "epoch": 1}
    whole = list(data.Batches(train, 5, workers=workers, **args))
    assert [tuple(x.shape) for x, _ in whole] == [(5, 3, 16, 16)] * 2 + [(2, 3, 16, 16)]
    for (x, y), (x_again, y_again) in zip(whole, data.Batches(train, 5, workers=0, **args), strict=True):
        assert torch.equal(x, x_again) and torch.equal(y, y_again)
    assert sorted(torch.cat([y for _, y in whole]).tolist()) == [0] * 4 + [1] * 4 + [2] * 4
    shards = [data.Batches(val, 4, shuffle=False, seed=0, rank=r, world_size=5, uneven="exact") for r in range(5)]
    counted = torch.cat([x.mean((1, 2, 3)) for shard in shards for x, _ in shard])
    (once, _), = data.Batches(val, 12, shuffle=False, seed=0)  # fmt: skip
    assert torch.equal(counted.sort().values, once.mean((1, 2, 3)).sort().values)  # each sample once


def test_split_keeps_transform_and_files(root):
    train, _ = data.load("image_folder", root)
    rest, val = data.split(train, 0.5, seed=0)
    files = {s.reader.where(i) for s in (rest, val) for i in range(len(s))}
    assert len(rest) + len(val) == len(files) == 6


def test_links_are_followed(root):
    os.symlink(root / "train/dog", root / "train/wolf")
    assert data.load("image_folder", root)[0].classes == ("Zebra", "cat", "dog", "wolf")


def test_names_outside_of_utf_8(tmp_path):
    try:
        write(tmp_path / "train/a" / os.fsdecode(b"\xff\xe4.png"))
    except (OSError, UnicodeError):
        pytest.skip("this file system takes only UTF-8 names")
    assert data.image_folder(tmp_path / "train", split="train").sample(0).shape == (3, 8, 8)


def test_layouts_that_are_refused(root):
    with pytest.raises(
        ArgumentError, match=r"data.load.root: must be the folder with train/ and val/, got None; the lay"
    ):
        data.load("image_folder")
    with pytest.raises(
        DataError, match=r"nowhere: expected the folder with train/ and val/, found nothing; the layout is"
    ):
        data.load("image_folder", root / "nowhere")
    with pytest.raises(
        DataError, match=r"train/train: expected the folder of train with one folder per class, found noth"
    ):
        data.load("image_folder", root / "train")
    with pytest.raises(DataError, match=r"below: expected one folder per class, found no folders"):
        data.image_folder(root / "train/cat/below", split="train")
    write(root / "val/fish/1.png")
    with pytest.raises(DataError, match=r"val: expected only the 3 classes of train, found 'fish'"):
        data.load("image_folder", root)
    (root / "train/fish").mkdir()
    (root / "train/fish/1.gif").write_bytes(b"GIF")
    with pytest.raises(
        DataError, match=r"train/fish: expected images \(.jpg, .jpeg, .*\), found none; remove the folder"
    ):
        data.load("image_folder", root)


def png():
    file = io.BytesIO()
    Image.fromarray(picture(0, 64, 64)).save(file, "png")
    return file.getvalue()


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", r"expected an image, found an empty file \("),
        (b"<html>no such page</html>", r"expected an image, found 25 bytes, an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", r"found 43 bytes, a Git LFS pointer"),
        (png()[:2000], r"expected an image, found 2,000 bytes, first bytes 0x89504e470d0a1a0a \(.*truncated"),
        (png()[:100], r"expected an image, found 100 bytes"),
        (png()[:60] + b"\0\0\0\0" + png()[64:], r"expected an image, found [0-9,]+ bytes"),
        (None, r"dog/b.png: expected a file, found nothing; put the file there"),
    ],
    ids=["empty", "html", "lfs", "cut off", "cut off early", "damaged", "absent"],
)
def test_damaged_files(content, says, workers, root):
    train, _ = data.load("image_folder", root)
    path = root / "train/dog/b.png"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(DataError, match=says) as caught:
        list(data.Batches(train, 2, shuffle=False, seed=0, workers=workers))
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_sixteen_bits_are_not_cut_off(root):
    Image.fromarray(np.full((8, 8), 60_000, np.uint16)).save(root / "train/dog/b.png")
    train, _ = data.load("image_folder", root)
    with pytest.raises(DataError, match=r"b.png: expected 8 bits a channel, found mode I;16; convert it"):
        train.sample(5)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(root):
    (root / "train/dog/b.png").chmod(0)
    train, _ = data.load("image_folder", root)
    with pytest.raises(DataError, match=r"b.png: cannot be read \(Permission denied\); check the permissions"):
        train.sample(5)
    (root / "train/cat/below").chmod(0)
    with pytest.raises(DataError, match=r"below: cannot be read \(Permission denied\)"):
        data.load("image_folder", root)


def test_without_pillow_the_extra_is_named(root, monkeypatch):
    there = builtins.__import__

    def absent(name, *args, **kwargs):
        if name.split(".")[0] == "PIL":
            raise ModuleNotFoundError(f"No module named {name!r}")
        return there(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(
        LibraryError, match=r"must have Pillow to read images, got: No module named 'PIL'; do pip install '"
    ):
        data.load("image_folder", root)


def test_a_large_list_of_files_is_small(root):
    """Worker processes share it: an array of bytes has no counts of references that reading would write to."""
    train, _ = data.load("image_folder", root)
    assert train.reader.names.dtype.kind == "S" and train.reader.names.nbytes < 6 * 40
    assert folder.EXTENSIONS == (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


def test_real_photographs(real, tmp_path):
    """122 pictures of blood cells, 640x480 JPEG: read, cropped and resized as Pillow reads and resizes them."""
    os.symlink(real("bccd_subset") / "BCCD/JPEGImages", tmp_path / "blood")
    cells = data.image_folder(tmp_path, split="test", transform=transform.Resize(60))
    assert len(cells) == 122 and cells.in_shape == (3, 60, 80)
    shards = [
        data.Batches(cells, 16, shuffle=False, seed=0, rank=r, world_size=2, uneven="exact", workers=r) for r in (0, 1)
    ]
    seen = [torch.cat([x for x, _ in shard]) for shard in shards]
    assert [len(x) for x in seen] == [61, 61]
    for place in (0, 1, 120, 121):
        with Image.open(cells.reader.where(place)) as image:
            theirs = np.array(image.convert("RGB").resize((80, 60), Image.Resampling.BILINEAR))
        ours = seen[place % 2][place // 2] * 255
        assert (ours - torch.from_numpy(theirs).permute(2, 0, 1)).abs().max() <= 1.01
