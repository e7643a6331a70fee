"""Counts equal those of SpikingJelly and NeuroBench, bit for bit, wherever those are right (tests/oracles.txt).

Where they are not, the test says what they give instead: NeuroBench adds up in float32, which is exact only up to 2^24;
SpikingJelly says zero for what is not {0, 1}, takes pruned weights for whole ones, and counts products on padding.
"""

from __future__ import annotations

import pytest
import torch
from sop_reading import operations
from torch import nn

from snncore import functional, layer
from snncore.metric import SopCounter
from snncore.neuron import IFNode

N = 16


def binary(*shape, seed=0):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.25).float()


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def half_pruned(built):
    with torch.no_grad():
        built.weight.view(-1)[::2] = 0
    return built


# name -> layer, input; the rows of the comparison of counters (and a few more)
CASES = {
    "linear, spikes": (nn.Linear(32, 32, bias=False), binary(N, 32)),
    "linear + bias": (nn.Linear(32, 32), binary(N, 32)),
    "linear, half the weights 0": (half_pruned(nn.Linear(32, 32)), binary(N, 32)),
    "linear, ternary": (nn.Linear(32, 32), random(N, 32).sign() * binary(N, 32)),
    "linear, integers 0..2": (nn.Linear(32, 32), binary(N, 32) + binary(N, 32, seed=1)),
    "linear, 0.5 x spikes": (nn.Linear(32, 32), 0.5 * binary(N, 32)),
    "linear, reals": (nn.Linear(32, 32), random(N, 32)),
    "linear, ReLU reals": (nn.Linear(32, 32), random(N, 32).relu()),
    "linear, no spikes": (nn.Linear(32, 32), torch.zeros(N, 32)),
    "linear, all spikes": (nn.Linear(32, 32), torch.ones(N, 32)),
    "linear, tokens": (nn.Linear(32, 32), binary(N, 5, 32)),
    "conv3x3 s1 p1": (nn.Conv2d(4, 8, 3, padding=1), binary(N, 4, 16, 16)),
    "conv3x3 s1 p0": (nn.Conv2d(4, 8, 3, bias=False), binary(N, 4, 16, 16)),
    "conv3x3 s2 p1": (nn.Conv2d(4, 8, 3, stride=2, padding=1), binary(N, 4, 16, 16)),
    "conv4x4 s4, patches": (nn.Conv2d(3, 8, 4, stride=4), binary(N, 3, 16, 16)),
    "depthwise 7x7": (nn.Conv2d(5, 5, 7, padding=3, groups=5), binary(N, 5, 16, 16)),
    "conv3x3 dilated, grouped, pruned": (half_pruned(nn.Conv2d(4, 8, 3, dilation=2, groups=2)), binary(N, 4, 16, 16)),
    "conv3x3 p1, reals": (nn.Conv2d(4, 8, 3, padding=1), random(N, 4, 16, 16)),
    "conv3x3 s2 p0, reals": (nn.Conv2d(4, 8, 3, stride=2), random(N, 4, 16, 16)),
    "conv even, same": (nn.Conv2d(4, 8, (2, 4), padding="same"), binary(N, 4, 9, 9)),
    "conv circular": (nn.Conv2d(4, 8, 3, padding=1, padding_mode="circular"), binary(N, 4, 9, 9)),
    "conv1d k3 s2": (nn.Conv1d(4, 8, 3, stride=2), binary(N, 4, 40)),
    "conv3d": (nn.Conv3d(2, 4, (3, 2, 3), padding=1, stride=(1, 2, 1)), binary(N, 2, 6, 6, 6)),
    "transposed conv": (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1), binary(N, 4, 8, 8)),
    "transposed conv, grouped": (nn.ConvTranspose1d(4, 6, 4, stride=3, groups=2), binary(N, 4, 8)),
}  # fmt: skip


def ours(built, x, mode):
    """Return (accumulates, multiply-accumulates) of all samples."""
    with torch.no_grad(), SopCounter(built) as sop:
        built(x)
    rows = operations(sop, mode)
    return sum(int(ac.sum()) for *_, ac, _ in rows), sum(int(mac.sum()) for *_, mac in rows)


def spikingjelly(net, *x):
    """Return SpikingJelly's (synaptic operations, multiply-accumulates)."""
    why = "SpikingJelly is not installed: tests/oracles.txt"
    counters = pytest.importorskip("spikingjelly.activation_based.op_counter", reason=why)
    synops, macs = counters.SynOpCounter(), counters.MACCounter(extra_ignore_modules=[nn.BatchNorm2d])
    with torch.no_grad(), counters.DispatchCounterMode([synops, macs]):
        for one in x:
            net(one)
    return synops.get_total(), macs.get_total()


def neurobench(net, *x):
    """Return NeuroBench's (AC, MAC, dense) of all samples."""
    why = "NeuroBench is not installed: tests/oracles.txt"
    models = pytest.importorskip("neurobench.models", reason=why)
    metric = pytest.importorskip("neurobench.metrics.workload.synaptic_operations", reason=why).SynapticOperations()
    model = models.TorchModel(nn.Sequential(net))  # it looks for layers below the root
    model.register_hooks()
    with torch.no_grad():
        for one in x:
            metric(model, model(one), (one,))
            model.reset_hooks()
    model.cleanup_hooks()
    return metric.AC, metric.MAC, metric.total_synops


@pytest.mark.parametrize("case", CASES)
def test_exact_equals_neurobench(case):
    built, x = CASES[case]
    if "transposed" in case:
        pytest.skip("NeuroBench does not know transposed convolutions")
    ac, mac, dense = neurobench(built, x)
    assert ours(built, x, "exact") == (ac, mac)
    with torch.no_grad(), SopCounter(built) as sop:
        built(x)
    (record,) = sop.record.layers.values()
    inside = {"conv circular": dense}.get(case, len(x) * record.runs[0][0].geometry.dense)
    assert inside == dense


@pytest.mark.parametrize("case", CASES)
def test_the_spikingjelly_view_equals_spikingjelly(case):
    built, x = CASES[case]
    synops, macs = spikingjelly(built, x)
    assert ours(built, x, "spikingjelly") == (synops, macs)
    if not set(x.unique().tolist()) <= {0, 1}:
        assert synops == 0 < ours(built, x, "exact")[0] + ours(built, x, "exact")[1]


class Attention(nn.Module):
    def forward(self, x):
        q, k, v = x.unbind(1)
        return (q @ k.transpose(-2, -1)) @ v


def test_attention_equals_spikingjelly():
    x = binary(N, 3, 2, 6, 8)
    assert ours(Attention(), x, "spikingjelly") == spikingjelly(Attention(), x)


def test_a_whole_spiking_net_equals_both():
    torch.manual_seed(0)
    T = 4
    net = nn.Sequential(
        layer.Conv2d(1, 8, 3, padding=1, bias=False), layer.BatchNorm2d(8), IFNode(v_threshold=0.5), layer.MaxPool2d(2),
        layer.Conv2d(8, 8, 3, padding=1, bias=False), layer.BatchNorm2d(8), IFNode(v_threshold=0.2), layer.AvgPool2d(2),
        layer.Flatten(), layer.Linear(8 * 9, 20, bias=False), IFNode(v_threshold=0.1), layer.Linear(20, 10),
    ).eval()  # fmt: skip
    functional.set_step_mode(net, "m")
    batches = [torch.rand(T, B, 1, 12, 12, generator=torch.Generator().manual_seed(B)) for B in (5, 5, 2)]
    with torch.no_grad(), SopCounter(net) as sop:
        for x in batches:
            net(x)
    for mode, peer in (("spikingjelly", spikingjelly), ("exact", neurobench)):
        rows = operations(sop, mode)
        got = sum(int(ac.sum()) for *_, ac, _ in rows), sum(int(mac.sum()) for *_, mac in rows)
        assert min(got) > 0 and got == peer(net, *batches)[:2]
