"""What training says of the energy of what it trained."""

from __future__ import annotations

import json

import torch

from snncore import train
from snncore.data import load
from snncore.errors import StateError
from snncore.train import energy, fit, resolve

TINY = {
    "model": {"channels": 2, "T": 2},
    "data": {"batch_size": 400},
    "train": {"epochs": 1, "threads": 1, "tensorboard": False, "keep_freed_blocks": False},
}


def trained(tmp_path, **settings):
    return fit(resolve([("tiny", TINY), ("here", {"train": {"output_dir": str(tmp_path)}, "energy": settings})]).config)


def test_it_is_in_the_result_the_log_and_the_folder(tmp_path):
    result = trained(tmp_path, samples=20, mode="paper", cost="int8", first_layer="every_step", memory="dram")
    found = result.energy.to_dict()
    assert (found["samples"], found["mode"], found["cost"]["name"]) == (20, "paper", "int8")
    assert (found["first_layer"], found["memory"]["cost"]["name"]) == ("every_step", "dram")
    assert found["dataset"] == "digits test (20 of 360, evenly spread)"
    assert json.loads((result.folder / "energy.json").read_text()) == found
    log = (result.folder / "log.txt").read_text()
    assert all(line in log for line in str(result.energy).splitlines())


def test_none_is_counted_where_none_is_asked_for(tmp_path):
    result = trained(tmp_path, samples=0)
    assert result.energy is None and not (result.folder / "energy.json").exists()
    assert "energy" not in (result.folder / "log.txt").read_text()


def test_a_net_that_cannot_be_counted_costs_the_figure_and_not_the_run(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise StateError("nothing that ran could be counted (because)")

    monkeypatch.setattr(train.run, "count_operations", broken)
    result = trained(tmp_path)
    assert result.test_accuracy is not None and result.energy is None
    assert not (result.folder / "energy.json").exists()
    assert "operations and energy were not counted: nothing that ran" in (result.folder / "log.txt").read_text()


def test_counting_changes_nothing_else(tmp_path):
    results = [trained(tmp_path / str(n), samples=n) for n in (0, 50)]
    weights = [torch.load(r.folder / "last.pt", weights_only=True)["model"] for r in results]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    finals = [(r.folder / "metrics.jsonl").read_text().splitlines()[-1] for r in results]
    assert finals[0] == finals[1]


def test_an_older_checkpoint_can_still_be_resumed(tmp_path):
    """One whose configuration has no energy section yet."""
    result = trained(tmp_path, samples=0)
    for name in ("last.pt", "best.pt"):
        content = torch.load(result.folder / name, weights_only=True)
        del content["config"]["energy"]
        torch.save(content, result.folder / name)
    again = fit(resolve([("resume", {"train": {"resume": str(result.folder / "last.pt")}})]).config)
    assert again.epochs == 1 and again.test_accuracy == result.test_accuracy


def test_samples_are_spread_over_the_set():
    _, test = load("digits")
    assert energy.spread(4, test).tolist() == [0, 90, 180, 270]
    assert energy.spread(1000, test).tolist() == list(range(360))
    assert energy.in_words(test, 360) == "digits test (all)"
