"""Latency: quantiles, the modes left as they were, inputs that differ; peak memory that is what was taken."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from snncore.encoding import direct
from snncore.errors import ArgumentError
from snncore.metric import latency, memory, peak_memory
from snncore.metric.timing import quantile
from snncore.neuron import LIFNode


class Recorder(nn.Module):
    """Keeps what it was called with."""

    def __init__(self, sleep=0.0):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 3), nn.Dropout(), nn.BatchNorm1d(3))
        self.sleep = sleep
        self.calls = []

    def forward(self, *x):
        self.calls.append((x, torch.is_grad_enabled(), self.training or self.inner[1].training))
        time.sleep(self.sleep)
        return x[0]


@pytest.mark.parametrize(
    ("values", "q", "expected"),
    [
        ([7.0], 0.99, 7.0),
        ([1.0, 2.0], 0.5, 1.5),
        ([1.0, 2.0, 4.0], 0.5, 2.0),
        ([1.0, 2.0, 4.0], 0.75, 3.0),
        ([float(i) for i in range(101)], 0.99, 99.0),
        ([0.0, 10.0, 20.0, 30.0], 0.9, 27.0),
        ([1.0, 2.0], 1.0, 2.0),
    ],
)
def test_quantiles_are_numpys(values, q, expected):
    numpy = pytest.importorskip("numpy")
    assert quantile(values, q) == pytest.approx(expected)
    assert quantile(values, q) == pytest.approx(numpy.quantile(values, q))


def test_rows_and_calls():
    net = Recorder(sleep=0.002)
    x = torch.arange(2 * 5 * 3).view(2, 5, 3).float()
    result = latency(net, x, batch_sizes=(1, 4), warmup=3, repeats=5, distinct=2)
    assert [row.batch_size for row in result.rows] == [1, 4]
    assert (result.device, result.warmup, result.repeats) == ("cpu", 3, 5)
    for row in result.rows:
        assert 2.0 <= row.min_ms <= row.p50_ms <= row.p90_ms <= row.p99_ms <= row.max_ms
        assert row.throughput == pytest.approx(row.batch_size / row.mean_ms * 1e3)
    # 3 to warm up, 1 for the memory, 5 timed; inputs 0 and 1 in turn, taken from the samples in a ring.
    assert len(net.calls) == 2 * 9
    first = [tuple(call[0][0].shape) for call in net.calls]
    assert first == [(2, 1, 3)] * 9 + [(2, 4, 3)] * 9
    samples = [(net.calls[i][0][0][0, :, 0] // 3).tolist() for i in (13, 14)]
    assert samples == [[0, 1, 2, 3], [4, 0, 1, 2]]
    assert all(call[1:] == (False, False) for call in net.calls)  # no gradients, eval
    assert json.loads(json.dumps(result.to_dict()))["rows"][1]["batch_size"] == 4
    assert "samples/s" in str(result)
    assert "5 calls after 3 to warm up" in str(result)


def test_the_net_is_left_as_it_was_even_if_it_raises():
    net = Recorder()
    net.inner[1].eval()  # a mixed state, as when a part is frozen
    flags = [m.training for m in net.modules()]
    latency(net, torch.zeros(1, 2, 3), batch_sizes=(2,), warmup=0, repeats=1)
    assert [m.training for m in net.modules()] == flags
    assert torch.is_grad_enabled()

    def broken(batch_size, i):
        raise RuntimeError("no data")

    with pytest.raises(RuntimeError, match="no data"):
        latency(net, broken)
    assert [m.training for m in net.modules()] == flags
    assert torch.is_grad_enabled()


def test_inputs_may_be_made_and_may_be_several():
    made = []

    def make(batch_size, i):
        made.append((batch_size, i))
        return torch.zeros(batch_size, 3), torch.ones(batch_size)

    net = Recorder()
    latency(net, make, batch_sizes=(3,), warmup=1, repeats=4, distinct=3)
    assert made == [(3, 0), (3, 1), (3, 2)]
    assert all(len(call[0]) == 2 for call in net.calls)
    with pytest.raises(ArgumentError, match=r"latency.x: must make a tensor or a tuple of tensors, got list"):
        latency(net, lambda batch_size, i: [torch.zeros(1)])


def test_static_sequences_stay_static():
    net = Recorder()
    latency(net, direct(torch.rand(4, 3), 6), batch_sizes=(3,), warmup=0, repeats=2, distinct=2)
    assert all(call[0][0].stride(0) == 0 and call[0][0].shape == (6, 3, 3) for call in net.calls)
    assert not torch.equal(net.calls[-2][0][0], net.calls[-1][0][0])


def test_nets_that_keep_state_are_reset():
    net = nn.Sequential(nn.Linear(3, 3), LIFNode(step_mode="s"))
    net(torch.rand(7, 3))
    result = latency(net, torch.rand(5, 3), batch_sizes=(1, 2), warmup=1, repeats=2, batch_dim=0)
    assert len(result.rows) == 2
    assert net[1].state is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": torch.zeros(3)}, r"latency.x: must hold samples along dimension batch_dim=1, got \[3\]"),
        ({"x": torch.zeros(3, 0)}, "latency.x: must hold samples"),
        ({"x": torch.zeros(3, 1), "batch_dim": -1}, "latency.x: must hold samples"),
        ({"x": "images"}, "latency.x: must be a tensor or make_input"),
        ({"batch_sizes": ()}, "latency.batch_sizes: must be whole numbers >= 1"),
        ({"batch_sizes": (1, 0)}, "latency.batch_sizes: must be whole numbers >= 1"),
        ({"warmup": -1}, "latency.warmup: must be a whole number >= 0"),
        ({"repeats": 0}, "latency.repeats: must be a whole number >= 1"),
        ({"distinct": 0}, "latency.distinct: must be a whole number >= 1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        latency(Recorder(), **{"x": torch.zeros(1, 1, 3), **arguments})


def told():
    return peak_memory(lambda: None)


@pytest.mark.skipif(told().total is None, reason=told().how)
def test_peak_memory_on_the_cpu_is_what_was_taken():
    """In a process of its own: what another test has set the C library to keep would count."""
    code = """
import torch
from snncore.metric import peak_memory
size = 96 * 2**20
kept = [torch.ones(size, dtype=torch.uint8) for _ in range(2)]
kept.pop()  # what was held and freed before is not counted, whether or not the C library kept it
def run():
    torch.ones(size, dtype=torch.uint8)
    torch.ones(size // 2, dtype=torch.uint8)
peak, after = peak_memory(run), peak_memory(lambda: None)
print(size, peak.growth, peak.total, after.growth)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    size, growth, total, after = (int(word) for word in done.stdout.split())
    assert size * 0.99 <= growth <= size * 1.25  # the kernel's count lags behind by some pages
    assert total >= (growth + size) * 0.99
    assert after < size // 8  # the peak begins anew


@pytest.mark.skipif(told().total is None, reason=told().how)
def test_memory_that_the_c_library_keeps_does_not_hide_what_is_taken():
    small, many = 2**14, 2000
    kept = [torch.ones(small) for _ in range(many)]
    del kept[:-1]  # freed below what is in use: the C library does not give these pages back by itself
    kept += [torch.ones(1000) for _ in range(3)]
    peak = peak_memory(lambda: [torch.ones(small) for _ in range(many // 2)])
    assert peak.growth >= 4 * small * many // 2 * 0.9


def test_where_the_peak_cannot_be_told_the_reason_is(monkeypatch, tmp_path):
    ran = []
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "absent")
    peak = peak_memory(lambda: ran.append(1))
    assert (peak.total, peak.growth, ran) == (None, None, [1])
    assert "cannot be reset here" in peak.how
    row = latency(Recorder(), torch.zeros(1, 1, 3), batch_sizes=(1,), warmup=0, repeats=1)
    assert (row.rows[0].peak_bytes, row.rows[0].peak_growth_bytes) == (None, None)
    assert "cannot be reset here" in str(row)
    (tmp_path / "status").write_text("VmRSS: 1 kB\n")
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "status")
    assert "has no VmHWM" in peak_memory(lambda: None).how
    with pytest.raises(ArgumentError, match=r"peak_memory.device: must be 'cpu' or 'cuda', got 'meta'"):
        peak_memory(lambda: None, "meta")
    with pytest.raises(ArgumentError, match=r"latency.net: must be on 'cpu' or 'cuda', got 'meta'"):
        latency(nn.Linear(3, 3, device="meta"), torch.zeros(1, 1, 3))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu():
    size = 64 * 2**20
    peak = peak_memory(lambda: torch.ones(size, dtype=torch.uint8, device="cuda"), "cuda")
    assert peak.growth == size
    net = nn.Sequential(nn.Linear(256, 256), LIFNode(step_mode="m")).cuda()
    result = latency(net, direct(torch.rand(64, 256), 4), batch_sizes=(1, 64), warmup=3, repeats=20)
    assert result.device.startswith("cuda")
    for row in result.rows:
        assert 0 < row.min_ms <= row.p50_ms <= row.p99_ms <= row.max_ms
        assert row.peak_growth_bytes > 0
        assert row.throughput > row.batch_size / row.max_ms * 1e3 * 0.5
