"""Checkpoints: whole or not there, readable without running code, and everything comes back bit for bit."""

from __future__ import annotations

import errno
import os
import random
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from snncore.errors import CheckpointError
from snncore.train import checkpoint
from snncore.train.files import remove_leftovers, replace_file
from snncore.train.folder import keep_newest
from snncore.train.position import Position

CONFIG = {"optim": {"lr": 0.1}, "model": {"args": {}}}


def made(seed=0):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    return net, torch.optim.Adam(net.parameters(), lr=0.01)


def states(seed=0):
    return tuple(part.state_dict() for part in made(seed))


def step(net, optimizer):
    x = torch.randn(8, 4) + random.random() + float(np.random.standard_normal())
    optimizer.zero_grad()
    net(x).square().mean().backward()
    optimizer.step()


def test_a_restored_run_goes_on_bit_for_bit(tmp_path):
    net, optimizer = made()
    np.random.standard_normal()  # leaves a second number in NumPy's generator
    step(net, optimizer)
    path = tmp_path / "last.pt"
    at = {"epoch": 1, "step": 2, "sums": {"n": 8, "loss": torch.tensor(0.5)}}
    checkpoint.save(path, net.state_dict(), optimizer.state_dict(), at, CONFIG)
    step(net, optimizer)
    other, other_optimizer = made(1)
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    content = checkpoint.load(path)
    position = checkpoint.restore(path, other, other_optimizer, content)
    assert position["epoch"] == 1 and position["step"] == 2 and position["sums"]["loss"] == 0.5
    assert content["config"] == CONFIG
    step(other, other_optimizer)
    for left, right in zip(net.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(left, right)
    for left, right in zip(optimizer.state.values(), other_optimizer.state.values(), strict=True):
        assert all(torch.equal(left[key], right[key]) for key in left)


def saved(folder: Path) -> Path:
    path = folder / "last.pt"
    checkpoint.save(path, *states(), {"epoch": 0}, CONFIG)
    return path


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    at = data.find(made()[0][0].weight.detach().numpy().tobytes())  # the first weights, stored as they are
    assert at > 0
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "torn or foreign"),
        (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), "torn or foreign"),
        (lambda path: path.write_bytes(b""), "torn or foreign"),
        (lambda path: path.write_text("hello"), "torn or foreign"),
        (flip, "damaged content"),
        (lambda path: torch.save({"weight": torch.zeros(2)}, path), "another kind of file"),
        (lambda path: torch.save([1, 2], path), "another kind of file"),
        (lambda path: torch.save(nn.Linear(2, 2), path), "torn or foreign"),  # would run code: refused
        (lambda path: torch.save({**checkpoint.load(path), "format": 99}, path), "must have format 1 or 2, got 99"),
        (lambda path: path.unlink(), "no such file"),
        (lambda path: (path.unlink(), path.mkdir()), "Is a directory"),
    ],
)  # fmt: skip
def test_what_is_no_whole_checkpoint_is_refused_with_its_path(tmp_path, damage, message):
    path = saved(tmp_path)
    damage(path)
    with pytest.raises(CheckpointError, match=message) as caught:
        checkpoint.load(path)
    assert str(path) in str(caught.value)


def test_weights_and_optimiser_of_another_net_are_refused(tmp_path):
    path = saved(tmp_path)
    content = checkpoint.load(path)
    other = nn.Linear(4, 3)
    with pytest.raises(CheckpointError, match="weights of this net"):
        checkpoint.load_weights(path, other, content)
    net, _ = made()
    with pytest.raises(CheckpointError, match="state of this optimiser"):
        checkpoint.restore(path, net, torch.optim.SGD(net[0].parameters(), lr=0.1), content)


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["fsync", "replace", "write"])
def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch, where):
    path = saved(tmp_path)
    before = path.read_bytes()
    if where == "write":
        monkeypatch.setattr(torch, "save", lambda content, file: (file.write(b"half"), full_disk()))
    else:
        monkeypatch.setattr(os, where, full_disk)
    with pytest.raises(CheckpointError, match=r"No space left on device.*unharmed.*--resume") as caught:
        checkpoint.save(path, *states(3), {"epoch": 1}, CONFIG)
    monkeypatch.undo()
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]


def test_a_write_that_the_system_stops_leaves_the_old_checkpoint(tmp_path):
    """As above without stand-ins: the system itself refuses to let the file grow."""
    path = saved(tmp_path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    big = nn.Linear(1000, 1000)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(CheckpointError, match="unharmed"):
            checkpoint.save(path, big.state_dict(), torch.optim.SGD(big.parameters(), lr=0.1).state_dict(), {}, CONFIG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]


def test_the_order_is_file_then_name_then_folder(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda d: (calls.append(f"fsync {os.readlink(f'/proc/self/fd/{d}')}"), fsync(d)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append(f"replace {b}"), replace(a, b)))
    path = tmp_path / "x"
    replace_file(path, lambda file: file.write(b"new"))
    unfinished = tmp_path / f".x.unfinished-{os.getpid()}"
    assert calls == [f"fsync {unfinished}", f"replace {path}", f"fsync {tmp_path}"]
    assert path.read_bytes() == b"new"


def test_leftovers_of_a_killed_process_go(tmp_path):
    (tmp_path / ".last.pt.unfinished-123").write_bytes(b"half")
    (tmp_path / "last.pt").write_bytes(b"whole")
    remove_leftovers(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]


def test_files_of_format_1_still_load(tmp_path):
    """That format knew one rank: its random numbers lay in ``rng``, and its sums in ``position`` alone."""
    net, optimizer = made()
    step(net, optimizer)
    position = {"epoch": 1, "step": 2, "seen": 8, "loss_sum": 0.5, "correct": 3, "lr": 0.1, "best": 0.25}
    position |= {"best_epoch": 1, "latest": 0.25, "lines": 1}
    old = {"format": 1, "config": CONFIG, "model": net.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(old | {"rng": checkpoint.rng_state(), "position": position}, tmp_path / "last.pt")
    expected = torch.rand(3)
    other, other_optimizer = made(1)
    content = checkpoint.load(tmp_path / "last.pt")
    found = Position(**checkpoint.restore(tmp_path / "last.pt", other, other_optimizer, content))
    assert torch.equal(torch.rand(3), expected)
    assert (found.epoch, found.step, found.correct, found.correct5, found.best) == (1, 2, 3, 0, 0.25)
    assert (content["scaler"], content["extra"]) == ({}, {})


@pytest.mark.parametrize(("rank", "size", "correct"), [(0, 2, 3), (1, 2, 4), (0, 1, 7), (0, 3, 7), (2, 3, 0)])
def test_each_rank_gets_its_own_back_and_other_numbers_of_ranks_the_sums(tmp_path, rank, size, correct):
    path = tmp_path / "last.pt"
    torch.manual_seed(7)
    ranks = [{"rng": checkpoint.rng_state(), "correct": n, "loss_sum": float(n), "correct5": n} for n in (3, 4)]
    torch.manual_seed(8)
    ranks[1]["rng"] = checkpoint.rng_state()
    checkpoint.save(path, *states(), {"epoch": 0, "correct": 3}, CONFIG, ranks=ranks)
    torch.manual_seed(99)
    at = checkpoint.restore(path, *made(), checkpoint.load(path), rank, size)
    assert (at["correct"], at["loss_sum"]) == (correct, correct)
    assert torch.initial_seed() == (7 + rank if size == 2 else 0)  # 0: of made()


def test_only_the_newest_of_single_epochs_are_kept(tmp_path):
    for name in ("epoch-2.pt", "epoch-10.pt", "epoch-9.pt", "epoch-mine.pt", "last.pt"):
        (tmp_path / name).touch()
    keep_newest(tmp_path, 0)
    assert len(list(tmp_path.iterdir())) == 5
    keep_newest(tmp_path, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["epoch-10.pt", "epoch-9.pt", "epoch-mine.pt", "last.pt"]
    keep_newest(tmp_path, 5)
    assert len(list(tmp_path.iterdir())) == 4
