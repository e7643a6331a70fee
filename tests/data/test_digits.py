"""The packaged digits: what is in the file, how it was divided, and that a changed file is refused."""

from __future__ import annotations

import hashlib
import importlib
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch

from snncore import data
from snncore.errors import DataError

digits = importlib.import_module("snncore.data.digits")
COUNTS = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # per class, as published with the set


@pytest.fixture(scope="module")
def arrays():
    with np.load(Path(digits.__file__).with_name("digits.npz"), allow_pickle=False) as file:
        return dict(file)


def test_parts():
    train, test = data.load("digits")
    assert (len(train), len(test)) == (1437, 360)
    for part, split in ((train, "train"), (test, "test")):
        assert (part.name, part.split, part.scale, part.in_shape) == ("digits", split, 16, (1, 8, 8))
        assert part.images.dtype == torch.uint8 and part.labels.dtype == torch.int64
        assert part.classes == tuple("0123456789")
        assert f"{len(part):,} samples" in part.source and "sha256" in part.source and "\n" not in part.source
    for label, whole in enumerate(COUNTS):
        in_test = int((test.labels == label).sum())
        assert int((train.labels == label).sum()) + in_test == whole
        assert abs(in_test - whole * 360 / 1797) < 1  # stratified to less than one sample


def test_first_rows_are_the_published_ones(arrays):
    """The first line of the original text file, and sums over all."""
    assert arrays["images"][0].ravel().tolist() == [
        *(0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0, 0, 3, 15, 2, 0, 11, 8, 0, 0, 4, 12, 0, 0, 8, 8, 0),
        *(0, 5, 8, 0, 0, 9, 8, 0, 0, 4, 11, 0, 1, 12, 7, 0, 0, 2, 14, 5, 10, 12, 0, 0, 0, 0, 6, 13, 10, 0, 0, 0),
    ]
    assert arrays["labels"][:10].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert arrays["images"].shape == (1797, 8, 8) and arrays["images"].max() == 16
    assert np.bincount(arrays["labels"]).tolist() == COUNTS


def test_parts_are_disjoint_and_all(arrays):
    assert sorted([*arrays["train"], *arrays["test"]]) == list(range(1797))


def test_split_follows_the_rule_in_the_notice(arrays):
    """The rule written out once more, from the words of NOTICE-digits.txt."""
    labels = arrays["labels"]
    shares = [n * 360 / 1797 for n in COUNTS]
    quotas = [int(s) for s in shares]
    by_remainder = sorted(range(10), key=lambda c: (quotas[c] - shares[c], c))
    for c in by_remainder[: 360 - sum(quotas)]:
        quotas[c] += 1
    random = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(0, spawn_key=(1,))))
    test = []
    for c in range(10):
        test += random.permutation(np.flatnonzero(labels == c))[: quotas[c]].tolist()
    assert arrays["test"].tolist() == sorted(test)


def test_split_is_that_of_the_library(arrays):
    whole = data.ImageSet(
        name="digits",
        split="all",
        images=torch.from_numpy(arrays["images"]).unsqueeze(1),
        labels=torch.from_numpy(arrays["labels"]).to(torch.int64),
        classes=digits._CLASSES,
        scale=16,
        source="test",
    )
    for part, loaded in zip(data.split(whole, 360 / 1797, seed=0), data.load("digits"), strict=True):
        assert torch.equal(part.images, loaded.images) and torch.equal(part.labels, loaded.labels)


def test_file_is_the_one_the_code_names():
    file = Path(digits.__file__).with_name("digits.npz")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == digits._SHA256
    assert file.stat().st_size < 60_000


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda b: b[:-1] + bytes([b[-1] ^ 1]), "expected sha256"),
        (lambda b: b[: len(b) // 2], "expected sha256"),
        (lambda b: b"", "(0 bytes)"),
        (None, "cannot be read (No such file"),
    ],
)
def test_damaged_installation(damage, reason, tmp_path, monkeypatch):
    whole = resources.files("snncore.data").joinpath("digits.npz").read_bytes()
    if damage:
        (tmp_path / "digits.npz").write_bytes(damage(whole))
    monkeypatch.setattr(digits.resources, "files", lambda _: tmp_path)
    with pytest.raises(DataError, match="install snncore again") as caught:
        data.load("digits")
    assert reason in caught.value.reason


def test_notice_lies_beside_the_file():
    text = Path(digits.__file__).with_name("NOTICE-digits.txt").read_text(encoding="utf-8")
    for needed in ("E. Alpaydin", "C. Kaynak", "CC BY 4.0", "https://doi.org/10.24432/C50P49", "What was changed"):
        assert needed in text


def test_root_is_not_needed_and_does_no_harm(tmp_path):
    assert len(data.load("digits", tmp_path / "no", verify=True)[0]) == 1437
