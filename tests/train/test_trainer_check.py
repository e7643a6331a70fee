"""What is told to people whose hooks or arguments of a `Trainer` do not give what they have to."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from snncore import data
from snncore.errors import ArgumentError, ConfigError, DataError
from snncore.train import Trainer


class Linear(Trainer):
    """The shortest trainer that works."""

    def load_data(self, args):
        return data.load("digits")

    def load_model(self, args, num_classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))


def launched(tmp_path, *argv, **hooks):
    trainer = type("Mine", (Linear,), hooks)()
    plain = ["--epochs", "1", "-b", "512", "--lr-warmup-epochs", "0", "--workers", "0", "--label-smoothing", "0"]
    plain += ["--device", "cpu", "--output-dir", str(tmp_path)]
    return trainer.main(trainer.get_args_parser().parse_args([*plain, *argv]))


def nothing(self, *args):
    return None


HOOKS = {  # what is wrong -> hook, what it does, what is told
    "input": (
        "preprocess_train_sample",
        nothing,
        "preprocess_train_sample: must return what the model takes, got None",
    ),
    "test input": ("preprocess_test_sample", nothing, "preprocess_test_sample: must return what the model takes"),
    "output": ("process_model_output", nothing, r"process_model_output: must return scores \[512, classes\], got None"),
    "no loss": ("loss", nothing, "loss: must return the mean loss, a tensor of one number, got None"),
    "loss of each": (
        "loss",
        lambda self, args, y, label: F.cross_entropy(y, label, reduction="none"),
        r"loss: must return the mean loss, a tensor of one number, got \[512\]",
    ),
    "detached": (
        "loss",
        lambda self, args, y, label: F.cross_entropy(y.detach(), label),
        "loss: must return a loss that depends on the net's parameters",
    ),
    "classes only": (
        "loss",
        lambda self, args, y, label: F.nll_loss(y.log_softmax(1), label),
        r"loss: must take mixed labels \[512, 10\] .*--mixup-alpha 0 --cutmix-alpha 0",
    ),
    "few outputs": (
        "load_model",
        lambda self, args, num_classes: nn.Sequential(nn.Flatten(), nn.Linear(64, 5)),
        r"a score for each of the 10 classes of the data, got \[512, 5\]",
    ),
    "optimizer": ("set_optimizer", nothing, "set_optimizer: must return a torch optimizer, got None"),
    "scheduler": ("set_lr_scheduler", nothing, "set_lr_scheduler: must return a scheduler of torch, got None"),
    "no name": ("get_tb_logdir_name", nothing, "get_tb_logdir_name: must return the name of a folder .*got None"),
    "empty name": ("get_tb_logdir_name", lambda self, args: "", "get_tb_logdir_name: must .*got ''"),
    "name elsewhere": ("get_tb_logdir_name", lambda self, args: "../x", r"get_tb_logdir_name: must .*got '\.\./x'"),
}


@pytest.mark.parametrize("case", HOOKS)
def test_a_hook_that_returns_something_else_is_named(case, tmp_path):
    hook, does, told = HOOKS[case]
    with pytest.raises(ArgumentError, match=f"Mine.{told}" if case != "few outputs" else told):
        launched(tmp_path, **{hook: does})


ARGUMENTS = {  # what was typed -> what is told
    ("--epochs", "0"): "epochs (--epochs): must be at least 1, got 0",
    ("-b", "0"): "batch_size (--batch-size): must be at least 1, got 0",
    ("-j", "100000"): "data.workers (--workers): must be at most",
    ("-j", "-1"): "workers (--workers): must be at least 0, got -1",
    ("--set", "lr=fast"): "lr (--lr): must be a number, got 'fast'",
    ("--set", "epochs=1.5"): "epochs (--epochs): must be a whole number, got 1.5",
    ("--clean", "--resume", "auto"): "--clean: must be left out with --resume",
}


@pytest.mark.parametrize("argv", ARGUMENTS, ids=" ".join)
def test_an_argument_that_cannot_be_is_refused_before_a_folder_is_made(argv, tmp_path):
    with pytest.raises(ConfigError, match=re.escape(ARGUMENTS[argv])):
        launched(tmp_path, *argv)
    assert not list(tmp_path.iterdir())


def test_clean_deletes_the_old_run_only_for_one_that_starts(tmp_path):
    first = launched(tmp_path).folder

    def absent(self, args):
        return data.load("mnist", str(tmp_path / "nowhere"))

    with pytest.raises(DataError, match="nowhere"):
        launched(tmp_path, "--clean", load_data=absent)
    assert (first / "best.pt").is_file()
    assert launched(tmp_path, "--clean").folder == first and len(list(tmp_path.iterdir())) == 1


def test_a_run_of_an_earlier_version_without_newer_arguments_goes_on(tmp_path):
    folder = launched(tmp_path).folder
    content = torch.load(folder / "last.pt", weights_only=True)
    for key in ("ra_reps", "model_ema_steps", "parallel"):
        del content["config"][key]
    torch.save(content, folder / "last.pt")
    assert launched(tmp_path, "--resume", str(folder)).folder == folder
    with pytest.raises(ConfigError, match=r"ra_reps \(4 -> 2\)"):
        launched(tmp_path, "--resume", str(folder), "--ra-reps", "2")
