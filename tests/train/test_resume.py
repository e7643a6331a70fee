"""A run that was stopped, by Ctrl-C or by kill -9, wherever it was, goes on to the same bits."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from stopped_run import DropoutNet

from snncore.cli.train import main
from snncore.model import MODELS

# 1,437 samples in batches of 128: 12 steps an epoch, 9 with a fifth of them kept for validation
SIZES = [
    *("--epochs", "3", "-b", "128", "--loss", "ce_count", "--threads", "1"),
    *("--no-tensorboard", "--no-keep-freed-blocks"),
]
PLAIN = [*SIZES, "--channels", "4"]
ADAM = [
    *SIZES,
    *("--model", "dropout_net", "-T", "4"),
    *("--opt", "adam", "--lr", "0.02", "--lr-warmup-epochs", "1", "--val-split", "0.2"),
    *("--neuron", "plif", "--amp", "bf16"),
]
# every random transform, mixing, copies of samples, and processes that read; 12 steps an epoch
MIXED = [
    *SIZES,
    *("--model", "dropout_net", "-T", "4", "--neuron", "plif", "--opt", "adam", "--lr", "0.02"),
    *("--crop", "8", "--crop-padding", "1", "--flip", "0.5", "--auto-augment", "ta_wide", "--random-erase", "0.3"),
    *("--mean", "0.3", "--std", "0.4", "--mixup-alpha", "0.3", "--cutmix-alpha", "1", "--ra-reps", "2"),
    *("--workers", "2", "--energy-samples", "0"),
]
EVERY = ["--save-every-steps", "5"]


def run(folder: Path, *arguments: str) -> int:
    return main(["--output-dir", str(folder), *arguments])


def stopped(folder: Path, place: str, count: int, what: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).with_name("stopped_run.py")
    command = [sys.executable, str(script), place, str(count), what, "--output-dir", str(folder), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)


def the_run(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def metrics(path: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.endswith("images_per_s") and k != "seconds"} for line in lines]


def assert_same(left: object, right: object, where: str) -> None:
    assert type(left) is type(right), where
    if isinstance(left, torch.Tensor):
        assert left.dtype == right.dtype and torch.equal(left, right), where
    elif isinstance(left, dict):
        assert list(left) == list(right), where
        for key in left:
            assert_same(left[key], right[key], f"{where}.{key}")
    elif isinstance(left, (list, tuple)):
        assert len(left) == len(right), where
        for i, (a, b) in enumerate(zip(left, right, strict=True)):
            assert_same(a, b, f"{where}[{i}]")
    else:
        assert left == right, where


def assert_same_run(left: Path, right: Path, besides: tuple[str, ...] = (), besides_data: tuple[str, ...] = ()) -> None:
    """Weights, optimiser, random generators, position, settings and metrics are equal bit for bit."""
    for name in ("last.pt", "best.pt"):
        contents = [torch.load(path / name, weights_only=True) for path in (left, right)]
        for content in contents:  # settings that differ: where the runs are, and how often they save
            for key in ("output_dir", "save_every_steps", *besides):
                del content["config"]["train"][key]
            for key in besides_data:
                del content["config"]["data"][key]
        assert_same(*contents, name)
    assert metrics(left) == metrics(right)
    assert not list(right.glob(".*"))


@pytest.fixture(scope="module", autouse=True)
def a_net_with_dropout():
    MODELS["dropout_net"] = DropoutNet
    yield
    del MODELS["dropout_net"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Runs from beginning to end: name -> (arguments, folder)."""
    runs = {}
    for name, arguments in (("plain", PLAIN), ("adam", ADAM), ("mixed", MIXED)):
        folder = tmp_path_factory.mktemp(name)
        assert run(folder, *arguments) == 0
        runs[name] = (arguments, the_run(folder))
    return runs


# place, call of it, which run, what happens then. A call of train_output is a training step, one of test_output a
# batch of an evaluation; checkpoint.save: at the start, every five steps, then best and last of each epoch.
KILLED = [
    ("snncore.train.run.ConfigTask.train_output", 1, "plain", "before the first step"),
    ("snncore.train.run.ConfigTask.train_output", 19, "plain", "in the middle of the second epoch"),
    ("snncore.train.run.ConfigTask.train_output", 17, "adam", "in the middle of the second epoch"),
    ("snncore.train.run.ConfigTask.test_output", 2, "adam", "in the first evaluation"),
    ("snncore.train.checkpoint.save", 4, "plain", "between the epoch's line and best.pt"),
    ("snncore.train.checkpoint.save", 4, "adam", "between best.pt and last.pt"),
    ("os.replace", 5, "plain", "while a checkpoint is written"),
    ("snncore.train.run.ConfigTask.train_output", 20, "mixed", "with transforms, mixing and workers"),
]


@pytest.mark.parametrize(("place", "count", "kind"), [row[:3] for row in KILLED], ids=[row[3] for row in KILLED])
def test_after_kill_9(whole, tmp_path, place, count, kind):
    arguments, reference = whole[kind]
    done = stopped(tmp_path, place, count, "SIGKILL", *arguments, *EVERY)
    assert done.returncode == -9, done.stderr
    assert run(tmp_path, "--resume", str(the_run(tmp_path))) == 0
    assert_same_run(reference, the_run(tmp_path))


def test_after_kill_9_with_other_workers(whole, tmp_path):
    arguments, reference = whole["mixed"]
    done = stopped(tmp_path, "snncore.train.run.ConfigTask.train_output", 9, "SIGKILL", *arguments, *EVERY)
    assert done.returncode == -9, done.stderr
    assert run(tmp_path, "--resume", str(the_run(tmp_path)), "--workers", "0") == 0
    assert_same_run(reference, the_run(tmp_path), besides_data=("workers",))


INTERRUPTED = [
    ("snncore.train.run.ConfigTask.train_output", 16, "adam", "in a step"),
    ("snncore.train.run.ConfigTask.train_output", 24, "plain", "in the last step of an epoch"),
    ("snncore.train.run.ConfigTask.test_output", 2, "plain", "in an evaluation"),
]


@pytest.mark.parametrize(
    ("place", "count", "kind"), [row[:3] for row in INTERRUPTED], ids=[row[3] for row in INTERRUPTED]
)
def test_after_ctrl_c(whole, tmp_path, place, count, kind):
    arguments, reference = whole[kind]
    done = stopped(tmp_path, place, count, "SIGINT", *arguments)
    folder = the_run(tmp_path)
    assert done.returncode == 130
    assert f"Go on with: snncore-train --resume {folder}" in done.stdout
    assert "stopping after this step" in done.stderr and "Traceback" not in done.stderr
    position = torch.load(folder / "last.pt", weights_only=True)["position"]
    if place.endswith("train_output"):  # the step at hand was finished and saved, in the middle of the epoch
        steps = {"plain": 12, "adam": 9}[kind]
        assert position["epoch"] * steps + position["step"] == count
    assert run(tmp_path, *arguments, "--resume", "auto") == 0
    assert_same_run(reference, the_run(tmp_path))


def test_kill_9_between_the_last_two_checkpoints(tmp_path):
    """last.pt must not tell of a best.pt that is not there."""
    arguments = [*PLAIN, "--epochs", "1"]
    done = stopped(tmp_path, "snncore.train.checkpoint.save", 3, "SIGKILL", *arguments)
    assert done.returncode == -9
    assert run(tmp_path, "--resume", str(the_run(tmp_path))) == 0


def test_ctrl_c_while_the_best_weights_are_measured(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    arguments = [*PLAIN, "--lr", "2.0", "--lr-scheduler", "none"]  # far too large: the first epoch stays the best
    assert run(whole, *arguments) == 0
    assert metrics(the_run(whole))[-1]["best_epoch"] != 3, "the best weights must not be the last ones here"
    done = stopped(cut, "snncore.train.loop.FiringRate", 1, "SIGINT", *arguments)
    assert done.returncode == 130
    assert run(cut, "--resume", str(the_run(cut))) == 0
    assert_same_run(the_run(whole), the_run(cut))


def test_the_second_ctrl_c_stops_at_once(tmp_path):
    done = stopped(tmp_path, "snncore.train.run.ConfigTask.train_output", 19, "SIGINT+SIGINT", *PLAIN)
    assert done.returncode == 130
    assert "stopped at once" in done.stderr and "Traceback" not in done.stderr
    position = torch.load(the_run(tmp_path) / "last.pt", weights_only=True)["position"]
    assert (position["epoch"], position["step"]) == (1, 0)


def test_after_a_full_disk(whole, tmp_path):
    arguments, reference = whole["plain"]
    # fsync: config, last; then the epoch's line, best, last (each with its folder)
    done = stopped(tmp_path, "os.fsync", 8, "full_disk", *arguments)
    folder = the_run(tmp_path)
    assert done.returncode == 2
    assert "No space left on device" in done.stderr and str(folder) in done.stderr and "Traceback" not in done.stderr
    assert "No space left on device" in (folder / "log.txt").read_text()
    assert run(tmp_path, "--resume", str(folder)) == 0
    assert_same_run(reference, folder)


def test_going_back_to_the_best_checkpoint(tmp_path, whole):
    _, reference = whole["adam"]
    shutil.copytree(reference, tmp_path / "run")
    assert run(tmp_path, "--resume", str(tmp_path / "run" / "best.pt")) == 0
    assert_same_run(reference, tmp_path / "run")


def test_a_finished_run_is_only_measured_again(tmp_path):
    assert run(tmp_path, *PLAIN) == 0
    lines, best = metrics(the_run(tmp_path)), (the_run(tmp_path) / "best.pt").read_bytes()
    assert run(tmp_path, *PLAIN, "--resume", "auto") == 0
    assert metrics(the_run(tmp_path)) == lines
    assert (the_run(tmp_path) / "best.pt").read_bytes() == best


def test_the_best_accuracy_survives(tmp_path):
    """A worse epoch after resuming must not replace best.pt."""
    arguments = [*PLAIN, "--epochs", "2", "--lr-scheduler", "none"]
    assert run(tmp_path, *arguments) == 0
    folder = the_run(tmp_path)
    content = torch.load(folder / "last.pt", weights_only=True)
    content["position"]["best"], content["position"]["best_epoch"] = 0.999, 1
    torch.save(content, folder / "last.pt")
    best = (folder / "best.pt").read_bytes()
    assert run(tmp_path, "--resume", str(folder), "--epochs", "3") == 0
    assert (folder / "best.pt").read_bytes() == best
    position = torch.load(folder / "last.pt", weights_only=True)["position"]
    assert (position["epoch"], position["best"], position["best_epoch"]) == (3, 0.999, 1)


def test_more_epochs_than_planned_are_those_of_a_longer_run(tmp_path):
    arguments = [*PLAIN, "--lr-scheduler", "step", "--lr-step-size", "1"]
    assert run(tmp_path / "long", *arguments, "--epochs", "3") == 0
    assert run(tmp_path / "short", *arguments, "--epochs", "2") == 0
    assert run(tmp_path / "short", "--resume", str(the_run(tmp_path / "short")), "--epochs", "3") == 0
    assert_same_run(the_run(tmp_path / "long"), the_run(tmp_path / "short"), ("epochs",))


def test_auto_takes_the_newest_run_of_these_settings_and_begins_one_if_there_is_none(tmp_path, capsys):
    one = [*PLAIN, "--epochs", "1"]
    assert run(tmp_path, *one, "--resume", "auto", "--name", "a") == 0
    assert "no run in" in (tmp_path / "a" / "log.txt").read_text()
    assert run(tmp_path, *one, "--name", "b") == 0
    assert run(tmp_path, *one, "--name", "c", "--lr", "0.2") == 0
    (tmp_path / "d").mkdir()  # not a run
    (tmp_path / "d" / "last.pt").write_text("")
    sizes = {name: (tmp_path / name / "log.txt").stat().st_size for name in "abc"}
    assert run(tmp_path, *one, "--resume", "auto") == 0
    grown = {name for name in "abc" if (tmp_path / name / "log.txt").stat().st_size > sizes[name]}
    assert grown == {"b"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c", "d"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    assert run(folder, *PLAIN, "--name", "run") == 0
    return folder / "run"


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        (["--lr", "0.2"], "optim.lr (0.1 -> 0.2)"),
        (["-T", "5"], "model.T (4 -> 5)"),
        (["--seed", "1"], "train.seed (0 -> 1)"),
        (["-b", "64"], "data.batch_size (128 -> 64)"),
        (["--preset", "soul"], "train.preset ('published' -> 'soul')"),
        (["--flip", "0.5", "--mixup-alpha", "1"], "data.flip (0.0 -> 0.5), data.mixup_alpha (0.0 -> 1.0)"),
        (["--epochs", "9"], "train.epochs (3 -> 9) (the cosine schedule spans all epochs)"),
        (["--set", "neuron.args.v_reset=0.1"], "neuron.args.v_reset (None -> 0.1)"),
        (["--neuron", "lif", "--amp", "bf16"], "neuron.name ('if' -> 'lif'), train.amp ('off' -> 'bf16')"),
    ],
)
def test_what_alters_training_cannot_change(finished, capsys, typed, named):
    before = {path.name: path.read_bytes() for path in finished.iterdir()}
    assert main(["--resume", str(finished), *typed]) == 2
    assert named in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in finished.iterdir()} == before


def test_a_run_from_before_a_setting_goes_on_with_its_default(finished, tmp_path, capsys):
    shutil.copytree(finished, tmp_path / "run")
    last = tmp_path / "run" / "last.pt"
    content = torch.load(last, weights_only=True)
    del content["config"]["data"]["flip"], content["config"]["train"]["compile"]
    torch.save(content, last)
    kept = (tmp_path / "run" / "config.yaml").read_text().splitlines()
    fewer = [line for line in kept if line.split(":")[0].strip() not in ("flip", "compile")]
    assert len(fewer) == len(kept) - 2
    (tmp_path / "run" / "config.yaml").write_text("\n".join(fewer))
    assert main(["--resume", str(last), "--flip", "0.5"]) == 2
    assert "data.flip (0.0 -> 0.5)" in capsys.readouterr().err
    assert main(["--resume", str(last)]) == 0


def test_what_may_change_may(finished, tmp_path):
    typed = ["--device", "cpu", "--threads", "1", "--engine", "torch", "--output-dir", str(tmp_path), "--name", "other"]
    typed += ["--workers", "1"]
    assert main(["--resume", str(finished), *typed, "--save-every-steps", "3"]) == 0
    assert not list(tmp_path.iterdir())  # it stays in its folder


def test_from_another_folder_and_by_a_relative_path(finished, monkeypatch):
    monkeypatch.chdir(finished.parent)
    assert main(["--resume", "run"]) == 0
    monkeypatch.chdir(finished)
    assert main(["--resume", "last.pt"]) == 0
