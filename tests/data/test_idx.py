"""Every way an idx file can be broken gives one DataError that names the file and what was found."""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib

import pytest
import torch

from snncore.data.idx import read_idx
from snncore.errors import DataError

HTML = b"<!DOCTYPE html>\n<html><head><title>404</title></head></html>\n"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9912422\n"
ANNEX = b"/annex/objects/MD5E-s9912422--f68b3c2dcbeaaa9fbdd348bbdeb94873.gz\n"


def header(*shape, magic=None):
    return struct.pack(">I", 0x800 + len(shape) if magic is None else magic) + struct.pack(f">{len(shape)}I", *shape)


def flip(content, place):
    broken = bytearray(content)
    broken[place] ^= 0x10
    return bytes(broken)


def wrong_crc(content):
    return flip(gzip.compress(content), -8)


# name -> (raw content of a whole image file -> content of a broken one, what the message must say was found)
DAMAGE = {
    "gz truncated": (lambda c: gzip.compress(c, 1)[: len(c) // 3], "cut off"),
    "gz without its check sum": (lambda c: gzip.compress(c, 1)[:-4], "cut off"),
    "gz of 5 bytes": (lambda c: gzip.compress(c, 1)[:5], "cut off (5 bytes on disk)"),
    "gz wrong crc": (wrong_crc, "damaged one (CRC check failed"),
    "gz body flipped": (lambda c: flip(gzip.compress(c, 1), len(c) // 3), "damaged one"),
    "gz with rubbish after it": (lambda c: gzip.compress(c, 1) + b"rubbish", "damaged one"),
    "gz of nothing": (lambda c: gzip.compress(b""), "a gzip file with nothing in it"),
    "gz of gz": (lambda c: gzip.compress(gzip.compress(c[:99])), "gzip inside gzip"),
    "gz of labels": (lambda c: gzip.compress(header(9) + bytes(9)), "magic 0x00000801, idx labels"),
    "gz shorter than its header": (lambda c: gzip.compress(c[:-1], 1), "found "),
    "gz longer than its header": (lambda c: gzip.compress(c + b"\0", 1), "found more"),
    "gz header out of reach": (lambda c: gzip.compress(header(2**32 - 1, 28, 28) + bytes(99)), "of gzip can hold"),
    "gz header cut off": (lambda c: gzip.compress(c[:9]), "found 9 bytes"),
    "empty": (lambda c: b"", "an empty file"),
    "HTML": (lambda c: HTML, "an HTML page"),
    "gz of HTML": (lambda c: gzip.compress(HTML), "an HTML page"),
    "LFS pointer": (lambda c: LFS, "a Git LFS pointer"),
    "annex pointer": (lambda c: ANNEX, "a git-annex pointer"),
    "zip": (lambda c: b"PK\x03\x04" + c, "a zip file"),
    "text": (lambda c: b"5 0 4 1 9 2", "first bytes 0x3520302034203120"),
    "raw truncated": (lambda c: c[:-1], "bytes on disk"),
    "raw too long": (lambda c: c + b"\0", "bytes on disk"),
    "raw header cut off": (lambda c: c[:9], "found 9 bytes"),
    "raw without samples": (lambda c: header(0, 28, 28), "found a header 0 x 28 x 28 = 0 values"),
    "raw labels": (lambda c: header(9) + bytes(9), "magic 0x00000801, idx labels"),
    "raw floats": (lambda c: header(1, 28, 28, magic=0xD03) + bytes(784 * 4), "first bytes 0x00000d03"),
    "raw of two dimensions": (lambda c: header(28, 28) + bytes(784), "idx of 2 dimensions"),
    "3 bytes": (lambda c: c[:3], "first bytes 0x000008"),
}


@pytest.fixture
def made(idx_bytes, made_split):
    """A whole image file and a whole label file, raw."""
    whole = made_split("test", 0)
    return {ndim: idx_bytes(values) for ndim, values in whole.items()}


@pytest.mark.parametrize("source", ["made", "real"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named(damage, source, made, real, tmp_path):
    if source == "made":
        content = made[3]
    else:
        file = real("fashion_mnist") / "FashionMNIST/raw/t10k-images-idx3-ubyte.gz"
        content = zlib.decompress(file.read_bytes(), wbits=31)[: 16 + 500 * 784]
        content = header(500, 28, 28) + content[16:]
    spoil, found = DAMAGE[damage]
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(spoil(content))
    with pytest.raises(DataError) as caught:
        read_idx(path, 3)
    assert caught.value.path == path
    assert found in caught.value.reason
    assert "fetch it again" in caught.value.hint
    assert str(path) in str(caught.value)


def test_images_given_as_labels(made, tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(made[3])
    with pytest.raises(
        DataError, match=r"expected idx labels \(magic 0x00000801\), found magic 0x00000803, idx images"
    ):
        read_idx(path, 1)


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda p: None, "found nothing"),
        (lambda p: p.mkdir(), "found a folder"),
        (lambda p: p.symlink_to("nowhere"), "found a link to nothing"),
    ],
)
def test_no_file_there(make, found, tmp_path):
    path = tmp_path / "x"
    make(path)
    with pytest.raises(DataError, match=found):
        read_idx(path, 3)


def test_no_permission(made, tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(made[3])

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(DataError, match=r"cannot be read.*Permission denied.*; check the permissions"):
        read_idx(path, 3)


def test_real_download_cut_or_flipped(real, tmp_path):
    whole = (real("mnist") / "MNIST/raw/t10k-images-idx3-ubyte.gz").read_bytes()
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    broken = [whole[: len(whole) * k // 4] for k in (1, 2, 3)] + [whole[:-1]]
    broken += [flip(whole, len(whole) * k // 5) for k in (1, 2, 3, 4)] + [flip(whole, -1), flip(whole, -8)]
    for content in broken:
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"cut off|damaged one|found more"):
            read_idx(path, 3)


@pytest.mark.parametrize("packed", [False, True])
def test_no_truncation_goes_unseen(packed, made, tmp_path):
    whole = gzip.compress(made[1]) if packed else made[1]
    path = tmp_path / "x"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError):
            read_idx(path, 1)


def test_no_flip_in_gzip_goes_unseen(made, tmp_path):
    """A flipped bit either raises, or lies in a field of the gzip header that says nothing about the values."""
    whole = gzip.compress(made[1])
    good = read_bytes(whole, tmp_path)
    raised = 0
    for place in range(len(whole)):
        for bit in range(8):
            broken = bytearray(whole)
            broken[place] ^= 1 << bit
            try:
                assert torch.equal(read_bytes(bytes(broken), tmp_path), good)
            except DataError:
                raised += 1
            else:
                assert 3 <= place < 10, f"byte {place}, bit {bit}"
    assert raised > len(whole) * 5


def read_bytes(content, folder):
    path = folder / "x"
    path.write_bytes(content)
    return read_idx(path, 1).values


@pytest.mark.parametrize("name", ["x", "x.gz"])
@pytest.mark.parametrize("packed", [False, True])
def test_content_decides_not_the_name(name, packed, made, made_split, tmp_path):
    path = tmp_path / name
    path.write_bytes(gzip.compress(made[3]) if packed else made[3])
    values, md5 = read_idx(path, 3, digest=True)
    assert torch.equal(values, made_split("test", 0)[3])
    assert values.dtype == torch.uint8 and values.is_contiguous()
    assert md5 == hashlib.md5(made[3]).hexdigest()
    assert read_idx(path, 3).md5 is None


def test_well_packed_blank_images_are_not_out_of_reach(tmp_path):
    path = tmp_path / "blank.gz"
    path.write_bytes(gzip.compress(header(10_000, 28, 28) + bytes(10_000 * 784), 9))
    assert read_idx(path, 3).values.shape == (10_000, 28, 28)
