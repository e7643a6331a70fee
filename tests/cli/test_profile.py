"""``snncore-profile`` as a user meets it: what it prints and writes, and what it says to a slip of the finger."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from snncore.cli.profile import main
from snncore.cli.train import main as train
from snncore.metric.sop import SopCounter
from snncore.profile import load
from snncore.train.evaluate import forward

SMALL = ["--channels", "2", "-T", "2", "-b", "400", "--epochs", "1", "--threads", "1", "--no-tensorboard"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a small run."""
    folder = tmp_path_factory.mktemp("profile")
    assert train([*SMALL, "--no-keep-freed-blocks", "--output-dir", str(folder), "--name", "run"]) == 0
    return folder / "run"


def test_a_run_in_a_process_of_its_own(run, tmp_path):
    line = [
        sys.executable,
        "-m",
        "snncore.cli.profile",
        str(run),
        "--samples",
        "50",
        "--json",
        "p.json",
        "--html",
        "p.html",
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    found = subprocess.run(line, capture_output=True, text=True, timeout=120, env=env, cwd=tmp_path)
    assert (found.returncode, found.stderr) == (0, "")
    text = " ".join(found.stdout.split())
    for part in (
        f"{run / 'best.pt'}: csnn, if neurons, T = 2, trained on digits",
        "mode exact, T = 2, data set digits test (50 of 360, evenly spread), 50 samples, first layer counted once",
        "operations only, no memory",
        "written: p.json written: p.html",
    ):
        assert part in text
    assert max(len(line) for line in found.stdout.splitlines() if "best.pt" not in line) <= 100
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.html", "p.json"]
    saved = json.loads((tmp_path / "p.json").read_text())
    assert saved["format"] == "snncore.profile/1" and saved["sop"]["samples"] == saved["samples"] == 50


def test_the_numbers_are_those_of_the_net(run, tmp_path):
    assert main([str(run / "last.pt"), "--samples", "360", "--json", str(tmp_path / "p.json"), "--latency", "1,4"]) == 0
    found = json.loads((tmp_path / "p.json").read_text())
    saved = load(run / "last.pt")
    x = saved.test.images.float() / saved.test.scale
    with torch.no_grad(), SopCounter(saved.net) as sop:
        spike_seq = forward(saved.net, x, saved.config)
    said = spike_seq.sum(0).argmax(1)
    assert found["accuracy"] == pytest.approx(float((said == saved.test.labels).float().mean()))
    assert found["sop"] == sop.report(dataset="digits test (all)").to_dict()
    assert found["activity"]["layers"]["conv_fc.12"]["spikes"] == spike_seq.sum((1, 2)).tolist()
    assert found["parameters"] == sum(p.numel() for p in saved.net.parameters())
    assert [row["batch_size"] for row in found["speed"]["rows"]] == [1, 4]
    assert sum(sum(row) for row in found["classification"]["confusion"]) == 360


def test_the_batch_size_changes_no_number(run, tmp_path):
    for size in ("7", "64"):
        assert main([str(run), "--samples", "100", "-b", size, "--json", str(tmp_path / size)]) == 0
    assert (tmp_path / "7").read_text() == (tmp_path / "64").read_text()


def test_every_flag_reaches_the_report(run, tmp_path):
    flags = [
        "--mode",
        "paper",
        "--first-layer",
        "every_step",
        "--cost",
        "0.5,2",
        "--memory",
        "dram",
        "--dataset",
        "digits",
    ]
    assert main([str(run), *flags, "--samples", "9", "--json", str(tmp_path / "p")]) == 0
    found = json.loads((tmp_path / "p").read_text())["sop"]
    assert (found["mode"], found["first_layer"], found["samples"]) == ("paper", "every_step", 9)
    assert (found["cost"]["ac_pJ"], found["cost"]["mac_pJ"]) == (0.5, 2.0)
    assert found["memory"]["cost"]["name"] == "dram"


def test_without_flags_it_is_as_the_run_was_set(tmp_path):
    arguments = ["--output-dir", str(tmp_path), "--name", "a", "--energy-mode", "syops", "--energy-samples", "11"]
    assert train([*SMALL, "--no-keep-freed-blocks", *arguments, "--energy-cost", "int8"]) == 0
    assert main([str(tmp_path / "a"), "--json", str(tmp_path / "p")]) == 0
    found = json.loads((tmp_path / "p").read_text())["sop"]
    assert (found["mode"], found["samples"], found["cost"]["name"]) == ("syops", 11, "int8")
    assert found == json.loads((tmp_path / "a" / "energy.json").read_text()), "and the same as after training"


SLIPS = [
    ([], ["CHECKPOINT"]),
    (["{run}/nothing.pt"], ["nothing.pt", "no such file"]),
    (["{run}/config.yaml"], ["config.yaml", "a torn or foreign file"]),
    (["{run}", "more"], ["the word 'more' alone"]),
    (["{run}", "--mode", "exakt"], ["--mode", "one of exact, paper", "did you mean 'exact'"]),
    (["{run}", "--cost", "fp23"], ["--cost", "one of", "did you mean 'fp32'"]),
    (["{run}", "--cost", "1,2,3"], ["--cost", "two numbers AC,MAC in pJ", "'1,2,3'"]),
    (["{run}", "--cost", "1,much"], ["--cost", "two numbers"]),
    (["{run}", "--cost=-1,1"], ["EnergyCost.ac", "picojoules >= 0", "-1.0"]),
    (["{run}", "--memory", "tape"], ["--memory", "one of dram, on_chip, small_cache"]),
    (["{run}", "--first-layer", "twice"], ["--first-layer", "one of every_step, once"]),
    (["{run}", "--samples", "0"], ["--samples", "whole number of at least 1", "'0'"]),
    (["{run}", "--samples", "some"], ["--samples", "'some'"]),
    (["{run}", "--batch-size", "1.5"], ["--batch-size", "'1.5'"]),
    (["{run}", "--rasters", "-1"], ["--rasters"]),
    (["{run}", "--latency", "1,x"], ["--latency", "'x'"]),
    (["{run}", "--dataset", "digit"], ["--dataset", "one of cifar10, cifar100, digits", "did you mean 'digits'"]),
    (["{run}", "--dataset", "mnist"], ["data.root (--data-root)", "mnist"]),
    (["{run}", "--dataset", "mnist", "--data-dir", "/nowhere/at/all"], ["/nowhere/at/all", "found nothing"]),
    (["{run}", "--device", "abacus"], ["train.device", "'abacus'"]),
    (["{run}", "--jsn", "x"], ["--jsn", "did you mean --json?"]),
    (["{run}", "--json", "/nowhere/at/all/p.json"], ["--json", "a folder that is there"]),
    (["{run}", "--html", "{run}"], ["--html", "must be a file"]),
    (["{run}", "--json", "p", "--html", "./p"], ["--json, --html", "must be two files", "'p'"]),
]


@pytest.mark.parametrize(("arguments", "parts"), SLIPS, ids=[" ".join(a) or "nothing" for a, _ in SLIPS])
def test_a_slip_is_one_line_and_code_2(run, tmp_path, monkeypatch, capsys, arguments, parts):
    monkeypatch.chdir(tmp_path)
    arguments = [argument.replace("{run}", str(run)) for argument in arguments]
    extra = [] if "--json" in arguments or "--html" in arguments else ["--json", "p.json", "--html", "p.html"]
    assert main([*arguments, *extra]) == 2
    told = capsys.readouterr()
    assert told.err.startswith("snncore-profile: ") and told.err.count("\n") == 1
    for part in parts:
        assert part in told.err
    assert told.out == "" and not list(tmp_path.iterdir()), "nothing was measured or written"


def test_a_data_set_of_another_shape_is_told(run, data_root, capsys):
    assert main([str(run), "--dataset", "mnist", "--data-root", str(data_root / "mnist")]) == 2
    told = capsys.readouterr().err
    assert "--dataset: must have images and classes like digits" in told and "got mnist (1x28x28, 10 classes)" in told


def test_a_damaged_checkpoint_is_told(run, tmp_path, capsys):
    whole = (run / "best.pt").read_bytes()
    (tmp_path / "torn.pt").write_bytes(whole[: len(whole) // 2])
    assert main([str(tmp_path / "torn.pt")]) == 2
    torch.save({"weights": torch.zeros(3)}, tmp_path / "foreign.pt")
    assert main([str(tmp_path / "foreign.pt")]) == 2
    assert "must be a checkpoint of snncore-train" in capsys.readouterr().err


def test_what_was_there_survives_a_write_that_fails(run, tmp_path, monkeypatch, capsys):
    (tmp_path / "p.json").write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert main([str(run), "--samples", "4", "--json", str(tmp_path / "p.json")]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("p.json", "old")]


def test_help_tells_every_flag_and_name(capsys):
    with pytest.raises(SystemExit) as leaving:
        main(["--help"])
    assert leaving.value.code == 0
    text = capsys.readouterr().out
    flags = (
        "--dataset --data-root --data-dir --samples --batch-size --mode --first-layer --cost --memory --json --html "
        "--rasters --latency --device --threads unrolled small_cache truenorth"
    )
    for flag in flags.split():
        assert flag in text
