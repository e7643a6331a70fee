"""``fit`` as a library call: its result, its process, and threads."""

from __future__ import annotations

import errno
import os
import threading

import pytest
import torch

from snncore import ops, train
from snncore.errors import CheckpointError, ConfigError
from snncore.train import build, fit, resolve
from snncore.train.files import sole_user

TINY = {
    "model": {"channels": 2, "T": 2},
    "data": {"batch_size": 400},
    "train": {"epochs": 1, "threads": 1, "tensorboard": False, "keep_freed_blocks": False},
}


def tiny(tmp_path, **more):
    layers = [("tiny", TINY), ("folder", {"train": {"output_dir": str(tmp_path)}})]
    return resolve([*layers, *((key, value) for key, value in more.items())]).config


def test_the_result_says_it_all(tmp_path):
    result = fit(tiny(tmp_path))
    assert (result.interrupted, result.epochs, result.best_epoch) == (False, 1, 1)
    assert result.folder.parent == tmp_path and (result.folder / "best.pt").is_file()
    assert result.test_accuracy == result.last_test_accuracy
    assert list(result.firing_rate) == ["conv_fc.2", "conv_fc.6", "conv_fc.10", "conv_fc.12"]
    assert result.train_images_per_s > 0 and result.test_images_per_s > 0


@pytest.mark.parametrize("keep", [True, False])
def test_freed_blocks_are_kept_before_anything_large_exists(tmp_path, monkeypatch, keep):
    calls = []
    monkeypatch.setattr(ops, "keep_freed_blocks", lambda enable=True: calls.append("keep") or True)
    loaded = build.load
    monkeypatch.setattr(build, "load", lambda *args, **kw: calls.append("load") or loaded(*args, **kw))
    result = fit(tiny(tmp_path, keep={"train": {"keep_freed_blocks": keep}}))
    assert calls == (["keep", "load"] if keep else ["load"])
    assert ("freed memory is kept" in (result.folder / "log.txt").read_text()) == keep


def test_outside_the_main_thread_it_runs_too(tmp_path):
    found = []
    thread = threading.Thread(target=lambda: found.append(fit(tiny(tmp_path))))
    thread.start()
    thread.join()
    assert found[0].epochs == 1


def test_the_seed_decides_weights_and_order_whatever_was_drawn_before(tmp_path):
    weights = []
    for seed, drawn in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(drawn)
        result = fit(tiny(tmp_path, seed={"train": {"seed": seed}}))
        weights.append(torch.load(result.folder / "last.pt", weights_only=True)["model"]["conv_fc.0.weight"])
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_two_engines_learn_the_same(tmp_path):
    losses = []
    for engine in ("native", "torch"):
        result = fit(tiny(tmp_path, engine={"train": {"engine": engine}}))
        text = (result.folder / "metrics.jsonl").read_text()
        losses.append(float(text.split('"train_loss": ')[1].split(",")[0]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_loss_that_is_not_finite_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(train.LOSSES, "mse_rate", lambda spike_seq, label: spike_seq.sum() * float("nan"))
    result = fit(tiny(tmp_path))
    assert "train loss is nan" in (result.folder / "log.txt").read_text()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"model": {"hidden": [3]}}, "model.hidden"),
        ({"train": {"device": "cuda:99"}}, "train.device"),
        ({"data": {"name": "mnist", "root": "/nowhere"}}, "/nowhere"),
        ({"train": {"resume": "/nowhere"}}, "train.resume"),
    ],
)
def test_what_cannot_be_used_leaves_no_folder(tmp_path, section, message):
    with pytest.raises(ValueError, match=message):
        fit(tiny(tmp_path / "logs", bad=section))
    assert not (tmp_path / "logs").exists()


def test_a_torn_checkpoint_is_refused_and_nothing_is_touched(tmp_path):
    result = fit(tiny(tmp_path))
    last = result.folder / "last.pt"
    last.write_bytes(last.read_bytes()[:-10])
    before = {path.name: path.read_bytes() for path in result.folder.iterdir()}
    with pytest.raises(CheckpointError, match=r"last\.pt: must be a whole checkpoint.*best\.pt"):
        fit(tiny(tmp_path, resume={"train": {"resume": str(result.folder)}}))
    assert {path.name: path.read_bytes() for path in result.folder.iterdir()} == before
    again = fit(tiny(tmp_path, resume={"train": {"resume": str(result.folder / "best.pt")}}))
    assert again.folder == result.folder and again.test_accuracy == result.test_accuracy


def test_resuming_with_other_settings_is_refused_by_fit_itself(tmp_path):
    result = fit(tiny(tmp_path))
    config = tiny(tmp_path, other={"train": {"resume": str(result.folder)}, "optim": {"momentum": 0.5}})
    with pytest.raises(ConfigError, match=r"optim.momentum \(0.9 -> 0.5\)"):
        fit(config)


@pytest.mark.parametrize("writes", range(1, 11))
def test_a_disk_that_fills_up_is_one_error_whatever_is_written(tmp_path, monkeypatch, writes):
    calls = 0

    def fsync(descriptor):
        nonlocal calls
        calls += 1
        if calls >= writes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(CheckpointError, match=rf"{tmp_path}.*No space left on device.*make room.*--resume {tmp_path}"):
        fit(tiny(tmp_path))
    monkeypatch.undo()
    (folder,) = tmp_path.iterdir()
    assert not list(folder.glob(".*"))
    if (folder / "last.pt").exists():
        fit(tiny(tmp_path, resume={"train": {"resume": str(folder)}}))
        assert '"final": true' in (folder / "metrics.jsonl").read_text()


def test_a_run_that_is_still_going_is_not_resumed(tmp_path):
    result = fit(tiny(tmp_path))
    before = (result.folder / "last.pt").stat().st_mtime_ns
    resume = tiny(tmp_path, resume={"train": {"resume": "auto"}})
    with sole_user(result.folder) as free:
        assert free
        with pytest.raises(CheckpointError, match="one process at a time"):
            fit(resume)
    assert (result.folder / "last.pt").stat().st_mtime_ns == before
    assert fit(resume).folder == result.folder
