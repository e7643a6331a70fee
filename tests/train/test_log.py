"""Logs: complete lines only, numbers that JSON knows, TensorBoard if it is there, and no handler left behind."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest

from snncore.train.log import RunLog


def entries(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_what_is_said_and_what_the_library_warns_of_is_in_the_file(tmp_path):
    with RunLog(tmp_path, tensorboard=False) as log:
        log.say("100 % of it")
        logging.getLogger("snncore").warning("IFNode runs on the torch engine")
    text = (tmp_path / "log.txt").read_text()
    assert text.splitlines()[0].endswith("INFO 100 % of it")
    assert "WARNING IFNode runs on the torch engine" in text
    logging.getLogger("snncore").warning("later")
    assert (tmp_path / "log.txt").read_text() == text


def test_an_error_is_in_the_file_too(tmp_path):
    with pytest.raises(ValueError, match="disk gone"), RunLog(tmp_path, tensorboard=False):
        raise ValueError("disk gone")
    assert "ERROR stopped: disk gone" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize(("set_up", "shown"), [("", 1), ("logging.basicConfig(stream=sys.stdout)", 1)])
def test_the_console_shows_a_line_once_whatever_the_program_logs_to(tmp_path, set_up, shown):
    script = f"""
import logging, sys
from pathlib import Path
from snncore.train.log import RunLog
{set_up}
logging.getLogger().setLevel(logging.INFO)
with RunLog(Path({str(tmp_path)!r}), tensorboard=False) as log:
    log.say("hello")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("hello") == shown


def test_numbers_that_json_does_not_know_become_null(tmp_path):
    with RunLog(tmp_path, tensorboard=False) as log:
        log.metrics({"epoch": 1, "train_loss": float("nan"), "lr": float("inf"), "test_loss": 0.5})
        assert log.lines == 1
    assert (
        tmp_path / "metrics.jsonl"
    ).read_text() == '{"epoch": 1, "train_loss": null, "lr": null, "test_loss": 0.5}\n'


@pytest.mark.parametrize(
    ("present", "lines", "kept"),
    [
        ('{"epoch": 1}\n{"epoch": 2}\n', 2, [1, 2]),
        ('{"epoch": 1}\n{"epoch": 2}\n', 1, [1]),
        ('{"epoch": 1}\n{"epo', 1, [1]),
        ('{"epoch": 1}\n{"epoch": 2}', 2, [1]),
        ('{"epoch": 1}\n', 0, []),
    ],
)
def test_lines_after_the_checkpoint_go(tmp_path, present, lines, kept):
    (tmp_path / "metrics.jsonl").write_text(present)
    with RunLog(tmp_path, tensorboard=False, lines=lines) as log:
        assert [entry["epoch"] for entry in entries(tmp_path)] == kept
        assert log.lines == len(kept)
        log.metrics({"epoch": 9})
    assert [entry["epoch"] for entry in entries(tmp_path)] == [*kept, 9]
    warned = "are lost" in (tmp_path / "log.txt").read_text()
    assert warned == (len(kept) < lines)


def test_tensorboard_gets_the_numbers_and_forgets_what_is_run_again(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with RunLog(tmp_path, tensorboard=True) as log:
        for epoch in (1, 2, 3):
            log.metrics({"epoch": epoch, "train_loss": 1.0 / epoch, "name": "no number"})
        log.metrics({"final": True, "epochs": 3})
    with RunLog(tmp_path, tensorboard=True, lines=2, epoch=2) as log:
        log.metrics({"epoch": 3, "train_loss": 7.0})
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    assert events.Tags()["scalars"] == ["train_loss"]
    assert [(e.step, e.value) for e in events.Scalars("train_loss")] == [(1, 1.0), (2, 0.5), (3, 7.0)]


def test_without_tensorboard_one_line_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with RunLog(tmp_path, tensorboard=True) as log:
        log.metrics({"epoch": 1})
    text = (tmp_path / "log.txt").read_text()
    assert text.count("pip install 'snncore[tensorboard]'") == 1
    assert not list(tmp_path.glob("events*"))
