"""``snncore-train`` as a user meets it: what it prints, what it writes, and what it says to a slip of the finger."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from snncore import train
from snncore.cli.train import _EPILOG, main
from snncore.config import flatten, load_yaml
from snncore.metric import Accuracy
from snncore.train.build import build_net, load_parts
from snncore.train.evaluate import forward

SMALL = ["--channels", "4", "-b", "128", "--epochs", "2", "--loss", "ce_count", "--threads", "1", "--no-tensorboard"]


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "snncore.cli.train", *arguments]
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(line, capture_output=True, text=True, timeout=120, env=env)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """One small run in a process of its own: what it printed, and its folder."""
    folder = tmp_path_factory.mktemp("cli") / "deep" / "logs"
    found = command(*SMALL, "--output-dir", str(folder), "--name", "first")
    assert found.returncode == 0, found.stderr
    return found, folder / "first"


SLIPS = [
    (["--model", "cssn"], ["model.name (--model)", "one of csnn, mlp", "'cssn'", "did you mean 'csnn'"]),
    (["--dataset", "fashion-mnst"], ["data.name (--dataset)", "did you mean 'fashion_mnist'"]),
    (["--epoch", "3"], ["--epoch:", "did you mean --epochs?"]),
    (["--batchsize=3"], ["--batchsize:", "did you mean --batch-size?"]),
    (["digits"], ["the word 'digits' alone"]),
    (["--lr"], ["--lr", "expected one argument"]),
    (["--lr", "fast"], ["optim.lr (--lr)", "a number", "'fast'", "command line"]),
    (["--lr", "0"], ["optim.lr (--lr)", "greater than 0"]),
    (["--lr=-0.1"], ["optim.lr (--lr)", "greater than 0", "-0.1"]),
    (["-T", "0"], ["model.T (-T)", "at least 1", "'0'"]),
    (["-T", "4.5"], ["model.T (-T)", "a whole number"]),
    (["--amp", "fp8"], ["train.amp (--amp)", "one of bf16, fp16, off"]),
    (["--set", "optim.lrr=1"], ["optim.lrr", "did you mean 'optim.lr'"]),
    (["--set", "lr=1"], ["--set", "section.key=value"]),
    (["--set", "optim.lr"], ["--set", "section.key=value"]),
    (["--hidden", "3,4"], ["model.hidden (--hidden)", "left out for csnn"]),
    (["--workers", "100000"], ["data.workers (--workers)", "at most", "CPUs, got 100000"]),
    (["--set", "neuron.args.tau=2", "--neuron", "if"], ["tau"]),
    (["--neuron", "lif", "--set", "neuron.args.taus=2"], ["did you mean 'tau'"]),
    (["--dataset", "mnist"], ["data.root (--data-root)", "mnist", "published at"]),
    (["--dataset", "mnist", "--data-root", "/nowhere/at/all"], ["/nowhere/at/all", "found nothing"]),
    (["--config", "nowhere.yaml"], ["nowhere.yaml", "No such file"]),
    (["--resume", "nowhere"], ["train.resume (--resume)", "'nowhere'"]),
    (["--device", "gpu"], ["train.device (--device)", "'gpu'", "use auto"]),
    (["--val-split", "1"], ["data.val_split", "less than 1"]),
    (["--val-split", "0.0001"], ["data.val_split (--val-split)", "leave samples in both parts"]),
    (["--name", "a/b"], ["train.name (--name)", "one folder", "'a/b'"]),
    (["--output-dir", "/dev/null"], ["train.output_dir (--output-dir)", "/dev/null"]),
    (["--output-dir", "/dev/null/sub"], ["train.output_dir (--output-dir)", "/dev/null"]),
]


@pytest.mark.parametrize(("arguments", "parts"), SLIPS, ids=[" ".join(row[0]) for row in SLIPS])
def test_a_slip_gets_one_line_that_says_what_to_do(tmp_path, monkeypatch, capsys, arguments, parts):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1 and printed.err.startswith("snncore-train: ")
    for part in parts:
        assert part in printed.err
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_slips_end_the_process_with_2_and_without_a_traceback():
    found = command("--model", "cssn")
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1 and "Traceback" not in found.stderr


def test_an_error_that_is_no_slip_keeps_its_traceback(monkeypatch):
    def broken(*args):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(train.run, "build_net", broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        main(SMALL)


def test_a_core_that_does_not_load_is_one_line_too(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('broken on purpose')")
    found = command(PYTHONPATH=os.pathsep.join([str(tmp_path), str(Path(train.__file__).parents[2])]))
    assert found.returncode == 2
    assert "broken on purpose" in found.stderr and found.stderr.count("\n") == 1


def test_help_tells_everything_once(capsys):
    with pytest.raises(SystemExit) as leaving:
        main(["--help"])
    assert leaving.value.code == 0
    text = capsys.readouterr().out
    flags = (
        "--model --dataset --data-root -T -b --batch-size --epochs --opt --lr --momentum --weight-decay --wd --device "
        "--seed --channels --neuron --surrogate --amp --engine --output-dir --resume --config --set --show-config "
        "--version --preset --workers -j --resize --crop --crop-padding --train-crop-size --val-resize-size "
        "--val-crop-size --interpolation --flip --auto-augment --random-erase --mean --std --mixup-alpha "
        "--cutmix-alpha --ra-reps"
    )
    for flag in flags.split():
        assert re.search(rf"(^|[\s,]){flag}[\s,]", text), flag
    for part in ("which value counts", "examples:", "packaged defaults <", "(default: 20)", "csnn, mlp"):
        assert part in text


def test_version(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"snncore \S+ \(torch \S+, Python \S+, .*\)\n", capsys.readouterr().out)


def test_show_config_prints_every_value_with_its_source_and_can_be_fed_back(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["--neuron", "lif", "--set", "neuron.args.tau=1e1", "--lr", "1e-3", "-T", "8", "--amp", "bf16"]
    assert main([*arguments, "--show-config"]) == 0
    text = capsys.readouterr().out
    for key, value, source in (
        ("lr", "0.001", "command line"),
        ("tau", "10.0", "command line"),
        ("channels", "32", "preset of csnn on digits"),
        ("loss", "mse_rate", "preset of model csnn"),
        ("gamma", "0.1", "packaged defaults"),
    ):
        assert re.search(rf"^ +{key}: {re.escape(value)} +# {source}$", text, re.M), key
    assert set(flatten(train.Config())) <= {*re.findall(r"\S+", _dotted(text))}
    (tmp_path / "my.yaml").write_text(text)
    assert main(["--config", "my.yaml", "--show-config"]) == 0
    again = capsys.readouterr().out
    assert [line.split("#")[0] for line in again.splitlines()] == [line.split("#")[0] for line in text.splitlines()]
    assert "# my.yaml" in again and "# command line" not in again
    assert main(["--config", "my.yaml", "--show-config", "--lr", "0.5"]) == 0
    assert re.search(r"lr: 0.5 +# command line", capsys.readouterr().out)
    assert [path.name for path in tmp_path.iterdir()] == ["my.yaml"], "nothing was trained"


def test_the_examples_of_the_help_are_commands(capsys):
    """Each is merged as it stands; what it would train is not built."""
    examples = [line.split("   ")[0].split() for line in _EPILOG.splitlines() if line.startswith("  snncore-train")]
    assert len(examples) >= 10
    for _, *arguments in examples:
        if not {">", "--config", "--resume"} & set(arguments):
            assert main([*arguments, "--show-config"]) == 0, arguments
            capsys.readouterr()


def test_show_config_of_soul_says_where_each_value_is_from(capsys):
    assert main(["--preset", "soul", "--neuron", "plif", "--epochs", "3", "--flip", "0", "--show-config"]) == 0
    text = capsys.readouterr().out
    for key, value, source in (
        ("preset", "soul", "command line"),
        ("epochs", "3", "command line"),
        ("seed", "2025", "preset soul"),
        ("crop", "32", "preset soul of cifar10"),
        ("flip", "0.0", "command line"),
        ("init_tau", "2.0", "preset soul of neuron plif"),
        ("mixup_alpha", "0.0", "packaged defaults"),
    ):
        assert re.search(rf"^ +{key}: {re.escape(value)} +# {source}$", text, re.M), key


def _dotted(text):
    """The dotted names in a file of settings, one a line."""
    names, section = [], ""
    for line in text.splitlines():
        key = line.split(":")[0]
        section = key if not key.startswith(" ") else section
        names.append(f"{section}.{key.strip()}")
    return "\n".join(names)


def test_the_run_ends_with_what_was_reached_and_where_it_is(done):
    found, folder = done
    assert found.stderr == "", "no bar where there is no terminal"
    text = found.stdout
    for part in (
        "data: digits train: 1,437 samples from the packaged digits.npz",
        "data           digits test: 360 samples",
        "the best weights are chosen on the test set",
        "freed memory is kept and reused",
        "firing rate    0.",
        " conv_fc.12",
        f"saved in       {folder} (best.pt, last.pt, metrics.jsonl, energy.json)",
        "operations and energy of the best weights:",
        "data set digits test (128 of 360, evenly spread), 128 samples",
    ):
        assert part in text
    assert len(re.findall(r"^epoch [12]/2  lr \S+  train loss .* images/s train, .* test$", text, re.M)) == 2
    assert re.search(r"test accuracy  0\.\d{4} best \(epoch [12]\)\n +0\.\d{4} last \(epoch 2\)", text)
    assert re.search(r"images/s       [\d,]+ train, [\d,]+ test", text)


def test_the_log_file_holds_what_the_console_showed_and_the_settings(done):
    found, folder = done
    lines = (folder / "log.txt").read_text().splitlines()
    assert [line.split(" INFO ", 1)[1] for line in lines] == found.stdout.splitlines()
    written = {"config.yaml", "log.txt", "metrics.jsonl", "last.pt", "best.pt", "energy.json"}
    assert {path.name for path in folder.iterdir()} == written
    settings = train.resolve([("config.yaml", load_yaml(folder / "config.yaml"))])
    assert set(settings.sources.values()) == {"config.yaml"}, "every value is in the file"
    assert settings.config.train.epochs == 2 and settings.config.train.resume is None


def test_what_is_reported_is_what_the_saved_weights_do(done):
    _, folder = done
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    final = records.pop()
    assert [record["epoch"] for record in records] == [1, 2]
    assert final["best_test_accuracy"] == max(record["test_accuracy"] for record in records)
    assert final["last_test_accuracy"] == records[-1]["test_accuracy"]
    for name, expected in (("best.pt", "best_test_accuracy"), ("last.pt", "last_test_accuracy")):
        content = torch.load(folder / name, weights_only=True)
        config = train.resolve([("checkpoint", content["config"])]).config
        parts = load_parts(config.data, config.train.seed, torch.device("cpu"))
        net = build_net(config, parts.test.in_shape, parts.test.num_classes)
        net.load_state_dict(content["model"])
        net.eval()
        accuracy, spikes = Accuracy(), 0.0
        with torch.no_grad():
            output = forward(net, parts.test.images / 16, config)
        accuracy.add(output, parts.test.labels)
        spikes = output.double().mean().item()
        assert accuracy.compute() == final[expected]
        if name == "best.pt":
            assert final["firing_rate"]["conv_fc.12"] == pytest.approx(spikes, abs=1e-12)
    assert list(final["firing_rate"]) == ["conv_fc.2", "conv_fc.6", "conv_fc.10", "conv_fc.12"]


def test_a_second_run_gets_its_own_folder_and_is_the_same_bit_for_bit(done, capsys):
    _, folder = done
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert main([*SMALL, "--output-dir", str(folder.parent), "--name", "first"]) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    one, two = (torch.load(path / "last.pt", weights_only=True) for path in (folder, folder.parent / "first-2"))
    for key in one["model"]:
        assert torch.equal(one["model"][key], two["model"][key]), key
    assert main(["--config", str(folder / "config.yaml"), "--seed", "1", "--output-dir", str(folder.parent)]) == 0
    assert (folder.parent / "digits_csnn_if_T4").is_dir()


def test_with_a_validation_split_the_test_set_only_reports(tmp_path):
    found = command(*SMALL, "--val-split", "0.25", "--output-dir", str(tmp_path))
    assert found.returncode == 0, found.stderr
    assert "the best weights are chosen on 359 validation samples, the test set only reports" in found.stdout
    assert "on the test set, which flatters" not in found.stdout
    (folder,) = tmp_path.iterdir()
    *epochs, final = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert all("validation_accuracy" in record and "test_accuracy" not in record for record in epochs)
    best = max(epochs, key=lambda record: record["validation_accuracy"])
    assert final["best_epoch"] == best["epoch"]
    assert 0 < final["best_test_accuracy"] <= 1 and "last_test_accuracy" in final


def test_nothing_is_left_of_a_run_in_the_process(tmp_path):
    logger = logging.getLogger("snncore")
    before = (list(logger.handlers), logger.level)
    assert main([*SMALL, "--output-dir", str(tmp_path)]) == 0
    assert (list(logger.handlers), logger.level) == before


def test_the_default_run_learns_the_digits(tmp_path):
    """The first command of the README: at least 96 % (97 % here) in well under a minute."""
    assert main(["--output-dir", str(tmp_path), "--threads", "1"]) == 0
    (folder,) = tmp_path.iterdir()
    final = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert final["last_test_accuracy"] >= 0.97 and final["best_test_accuracy"] >= 0.97


def test_fashion_mnist_from_a_folder(tmp_path, data_root):
    root = data_root / "fashion_mnist"
    if not root.is_dir():
        pytest.skip(f"no Fashion-MNIST in {data_root}")
    arguments = ["--dataset", "fashion_mnist", "--data-root", str(root), "--show-config"]
    assert main(arguments) == 0
    config = train.resolve(
        [("x", {"data": {"name": "fashion_mnist", "root": str(root)}, "model": {"channels": 2}})]
    ).config
    parts = load_parts(config.data, 0, torch.device("cpu"))
    net = build_net(config, parts.train.in_shape, parts.train.num_classes)
    assert forward(net, parts.train.images[:3] / 255, config).shape == (4, 3, 10)
