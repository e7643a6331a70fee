"""The best averaged weights are kept beside the best weights, and are of use wherever those are."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from test_resume import metrics, the_run
from test_trainer import SMALL, Digits, launched, lines

from snncore.cli.profile import main as profile
from snncore.cli.train import main
from snncore.profile import load

COMMON = [
    *("--epochs", "4", "-b", "128", "--channels", "4", "--threads", "1", "--device", "cpu", "--no-tensorboard"),
    *("--no-keep-freed-blocks", "--energy-samples", "0", "--lr-scheduler", "none", "--save-every-epochs", "1"),
    *("--opt", "adam", "--lr", "0.01", "--loss", "ce_count", "--set", "neuron.args.v_threshold=0.5"),
    *("--model-ema", "--model-ema-steps", "3", "--model-ema-decay", "0.99"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    assert main([*COMMON, "--output-dir", str(folder)]) == 0
    return the_run(folder)


def content(path):
    return torch.load(path, weights_only=True)


def best(folder, key):
    """Epoch (from 1) and value of the first highest value of ``key``."""
    values = [line[key] for line in metrics(folder)[:-1]]
    return values.index(max(values)) + 1, max(values)


def test_the_best_average_is_kept(run):
    epoch, accuracy = best(run, "ema_test_accuracy")
    kept = content(run / "best_ema.pt")
    assert kept["weights"] == "ema" and kept["position"]["epoch"] == epoch
    assert content(run / "last.pt")["position"]["best_others"] == {"ema": [accuracy, epoch]}
    of_epoch = content(run / f"epoch-{epoch}.pt")
    assert "weights" not in of_epoch
    average = of_epoch["extra"]["ema"]["average"]
    assert all(torch.equal(kept["model"][key], average[key]) for key in average)
    assert any(not torch.equal(kept["model"][key], of_epoch["model"][key]) for key in average)
    last = metrics(run)[-1]
    assert (last["best_ema_test_accuracy"], last["best_ema_epoch"]) == (accuracy, epoch)
    assert f"{accuracy:.4f} best ema (epoch {epoch})" in (run / "log.txt").read_text()


def test_the_best_weights_are_chosen_as_without(run):
    epoch, accuracy = best(run, "test_accuracy")
    assert best(run, "ema_test_accuracy") != (epoch, accuracy), "the two must not be the same here"
    assert content(run / "best.pt")["position"]["epoch"] == metrics(run)[-1]["best_epoch"] == epoch
    assert metrics(run)[-1]["best_test_accuracy"] == accuracy


def test_it_is_profiled(run, tmp_path):
    net = load(run / "best_ema.pt").net
    kept = content(run / "best_ema.pt")["model"]
    assert all(torch.equal(value, kept[key]) for key, value in net.state_dict().items())
    assert profile([str(run / "best_ema.pt"), "--samples", "4", "--json", str(tmp_path / "a.json")]) == 0
    assert json.loads((tmp_path / "a.json").read_text())


def test_it_is_not_resumed_by_mistake(run, capsys):
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.name != "log.txt"}
    assert main(["--resume", str(run / "best_ema.pt")]) == 2
    said = capsys.readouterr().err
    assert "best_ema.pt: must hold the weights that were trained, got others (ema)" in said and "Traceback" not in said
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.name != "log.txt"} == before


def test_the_decay_is_that_of_so_many_epochs(run, capsys):
    assert main(["--resume", str(run), "--epochs", "5"]) == 2
    assert "train.epochs (4 -> 5) (the decay of --model-ema is made for all epochs)" in capsys.readouterr().err


def test_a_resumed_run_keeps_the_same_best(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "best_ema.pt").unlink()
    assert main(["--resume", str(tmp_path / "run" / "epoch-1.pt")]) == 0
    kept, again = (content(folder / "best_ema.pt") for folder in (run, tmp_path / "run"))
    assert kept["position"]["epoch"] > 1, "or the file would not be written again"
    assert str(kept["position"]) == str(again["position"])
    assert all(torch.equal(kept["model"][key], again["model"][key]) for key in kept["model"])


def test_trainer(tmp_path):
    result = launched(Digits(), *SMALL, path=tmp_path)
    accuracies = [line["ema_test_accuracy"] for line in lines(result.folder)[:-1]]
    assert result.others == {"ema": (max(accuracies), accuracies.index(max(accuracies)) + 1)}
    tested = launched(Digits(), *SMALL, "--test-only", "--resume", str(result.folder / "best_ema.pt"), path=tmp_path)
    assert tested.test_accuracy == max(accuracies)
