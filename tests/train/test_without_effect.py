"""Settings that were typed and do nothing are told, and only these."""

from __future__ import annotations

from pathlib import Path

import pytest

from snncore.config import Text, flatten
from snncore.train import Config, fit, resolve
from snncore.train.without_effect import TYPED, without_effect


def told(typed, ranks=1, run=None, source=TYPED):
    nested = {}
    for name, value in typed.items():
        section, key = name.split(".")
        nested.setdefault(section, {})[key] = Text(value)
    merged = resolve([(source, nested)])
    return list(without_effect(merged.config, merged.sources, ranks, run))


CASES = {  # typed -> the flag that is told and why, or nothing
    "one rank": ({"train.parallel": "fsdp"}, "--parallel has no effect: there is one rank"),
    "one rank, norms": ({"train.sync_bn": "true"}, "--sync-bn has no effect: there is one rank"),
    "not compiled": ({"train.compile_backend": "eager"}, "--compile-backend has no effect: it needs --compile"),
    "compiled": ({"train.compile_backend": "eager", "train.compile": "true"}, None),
    "loss": ({"train.tet_lambda": "0.5"}, "--tet-lambda has no effect: the loss is mse_rate; it is for --loss tet"),
    "its loss": ({"train.tet_lambda": "0.5", "train.loss": "tet"}, None),
    "rates": ({"train.firing_rate_upper": "0.5"}, "--firing-rate-upper has no effect: it needs --firing-rate-strength"),
    "average": ({"train.model_ema_decay": "0.5"}, "--model-ema-decay has no effect: it needs --model-ema"),
    "schedule": ({"optim.gamma": "0.5"}, "--lr-gamma has no effect: the schedule is cosine; it is for step and exp"),
    "its schedule": ({"optim.gamma": "0.5", "optim.scheduler": "exp"}, None),
    "momentum": ({"optim.momentum": "0.5", "optim.name": "adam"}, "--momentum has no effect: adam has none"),
    "warm-up": ({"optim.warmup_decay": "0.5"}, "--lr-warmup-decay has no effect: it needs --lr-warmup-epochs"),
    "as it is anyway": ({"train.compile_backend": "inductor", "train.parallel": "ddp"}, None),
}


@pytest.mark.parametrize("case", CASES)
def test_what_was_typed_in_vain_is_told(case):
    typed, line = CASES[case]
    lines = told(typed)
    assert (len(lines) == 1 and lines[0].startswith(line)) if line else lines == []


def test_several_ranks_and_other_sources_are_told_nothing():
    assert told({"train.parallel": "fsdp", "train.sync_bn": "true"}, ranks=2) == []
    assert told({"train.tet_lambda": "0.5", "train.parallel": "fsdp"}, source="my.yaml") == []


@pytest.mark.parametrize(
    ("typed", "count"),
    [
        ({"train.name": "b"}, 1),
        ({"train.name": "a"}, 0),
        ({"train.output_dir": "elsewhere"}, 1),
        ({"train.output_dir": "runs"}, 0),
        ({"train.output_dir": "elsewhere", "train.resume": "auto"}, 0),
    ],
)
def test_a_run_that_goes_on_stays_in_its_folder_and_says_so(typed, count, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = told(typed, run=Path("runs/a"))
    assert len(lines) == count and all(line.endswith("has no effect: the run goes on in runs/a") for line in lines)


def test_every_setting_of_the_table_exists():
    from snncore.train.without_effect import _WHY

    assert {name for names in _WHY for name in names} <= flatten(Config()).keys()


def test_the_log_of_a_run_has_the_line(tmp_path):
    small = {"model": {"channels": 4}, "train": {"epochs": 1, "output_dir": str(tmp_path), "tet_phi": 0.5}}
    merged = resolve([(TYPED, {**small, "energy": {"samples": 0}})])
    log = (fit(merged.config, merged.sources).folder / "log.txt").read_text()
    assert "--tet-phi has no effect: the loss is mse_rate" in log
