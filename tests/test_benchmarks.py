"""The benchmark of whole nets runs, and refuses to report where the two libraries compute different things."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("spikingjelly", reason="SpikingJelly is not installed: pip install --no-deps -r tests/oracles.txt")
BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def benchmark_module(monkeypatch):
    """Return a function that imports a file of ``benchmarks``; the names are free again after the test."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    before = dict(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - set(before):
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == BENCHMARKS:
            del sys.modules[name]


def test_a_small_run_reports_both_libraries(benchmark_module, monkeypatch, tmp_path, capsys):
    sizes = ["--nets", "csnn", "--channels", "8", "--batch", "16", "-T", "2", "--rounds", "1", "--quick", "--json"]
    monkeypatch.setattr(sys, "argv", ["train_step.py", *sizes, str(tmp_path / "rows.json")])
    benchmark_module("train_step").main()  # the measurements themselves run in children
    printed = capsys.readouterr().out
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["snncore", "spikingjelly"]
    for row in rows:
        assert row["images_s"] > 0 and row["speed"] > 0
        assert row["memory_bytes"] is None or row["memory_bytes"] > 2 * 16 * 8 * 28 * 28 * 4  # one layer's spikes
        assert f"{row['images_s']:.1f}" in printed
    assert "float64: 0.00% of the scores differ" in printed


@pytest.mark.parametrize("inference", [False, True])
def test_a_step_trains_and_inference_leaves_no_gradient(benchmark_module, inference):
    train_step, nets = benchmark_module("train_step"), benchmark_module("nets")
    both = nets.pair("csnn", 2, 2, channels=4)
    args = argparse.Namespace(inference=inference)
    for name, net in both.nets.items():
        train_step.step_of(both, name, "bfloat16", train_step.optimizer_of(args, net))()
        assert net.training is not inference
        assert all((p.grad is None) is inference for p in net.parameters())


def weight(net):
    net.conv_fc[4].weight.data[0, 0, 0, 0] += 1e-6


def threshold(net):
    net.conv_fc[2].v_threshold = 1.0 + 1e-3


def surrogate(net):
    net.conv_fc[6].surrogate_function.alpha = 2.01


def reset_in_the_gradient(net):
    net.conv_fc[6].detach_reset = True


@pytest.mark.parametrize("plant", [weight, threshold, surrogate, reset_in_the_gradient])
def test_the_check_is_red_where_a_net_differs(benchmark_module, plant):
    nets, check = benchmark_module("nets"), benchmark_module("nets_check").check
    both = nets.pair("csnn", 8, 4, channels=4)
    seen = check(both, ("float32", "bfloat16"))
    assert set(seen) == {"float64", "float32", "bfloat16"}
    plant(both.nets["spikingjelly"])
    with pytest.raises(benchmark_module("common").CheckFailed, match="float64: "):
        check(both)


def test_the_check_is_red_where_bfloat16_strays(benchmark_module):
    check = benchmark_module("nets_check")
    wanted = torch.ones(4)
    grads = {"snncore": [wanted]}
    near = {"snncore": wanted * 1.1, "spikingjelly": wanted * 1.1}
    assert check._beside_float32(near, grads, wanted)["off_float32"] == pytest.approx(0.1)
    failed = benchmark_module("common").CheckFailed
    with pytest.raises(failed, match="from float32's"):
        check._beside_float32({**near, "snncore": wanted * 1.2}, grads, wanted)
    for bad in (wanted * float("nan"), wanted * 0):
        with pytest.raises(failed, match="not finite"):
            check._beside_float32(near, {"snncore": [bad]}, wanted)


def test_a_red_check_ends_the_child_and_the_report(benchmark_module, tmp_path, capsys):
    common = benchmark_module("common")

    def red(_):
        raise common.CheckFailed("spikes differ")

    with pytest.raises(SystemExit) as stopped:
        common.answer(red, json.dumps({"allocator": "default"}))
    assert stopped.value.code == 1 and "spikes differ" in capsys.readouterr().err
    script = tmp_path / "red.py"
    script.write_text("raise SystemExit(1)\n")
    with pytest.raises(SystemExit, match="no report"):
        common.run_child(str(script), argparse.Namespace(threads=1), {"allocator": "default"})
