"""The same samples give the same counts, however they are batched, laid out, folded or computed."""

from __future__ import annotations

import copy

import pytest
import torch
from sop_reading import operations, total
from torch import nn

from snncore import functional, layer
from snncore.metric import SopCounter
from snncore.neuron import IFNode

T, SAMPLES = 3, 8
MODES = ("exact", "spikingjelly", "paper", "syops", "unrolled")


class Sew(nn.Module):
    """SEW-ADD: integers pass between the blocks, pooled to reals, then attention between spikes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(layer.Conv2d(2, 6, 3, padding=1, bias=False), IFNode())
        self.a = nn.Sequential(layer.Conv2d(6, 6, 3, padding=1, groups=2), IFNode(v_threshold=0.05))
        self.b = nn.Sequential(layer.Conv2d(6, 6, (3, 2), padding="same", dilation=2), IFNode(v_threshold=0.05))
        self.pool, self.last = layer.AvgPool2d(2), layer.Conv2d(6, 4, 2)
        self.head = nn.Linear(4 * 9, 5)
        functional.set_step_mode(self, "m")
        with torch.no_grad():
            self.a[0].weight[:, 1] = 0  # pruned

    def forward(self, x):
        x = self.stem(x)
        x = x + self.a(x)
        x = x + self.b(x)
        y = self.last(self.pool(x)).flatten(2)
        tokens = (x > 1).to(x.dtype).flatten(3)
        return self.head(y), tokens @ tokens.transpose(-2, -1)


def data():
    return (torch.rand(T, SAMPLES, 2, 8, 8, generator=torch.Generator().manual_seed(1)) < 0.4).float()


def counted(net, batches):
    with torch.no_grad(), SopCounter(net) as sop:
        for x in batches:
            net(x)
    return sop


@pytest.fixture(scope="module")
def whole():
    return counted(Sew(), [data()])


def equal(sop, want, order=slice(None)):
    for mode in MODES:
        for rule in ("once", "every_step"):
            one, other = (operations(s, mode, first_layer=rule) for s in (sop, want))
            for (*name, ac, mac), (*other_name, other_ac, other_mac) in zip(one, other, strict=True):
                assert name == other_name
                assert torch.equal(ac, other_ac[order]) and torch.equal(mac, other_mac[order]), (mode, name)


def test_the_net_has_every_class_of_values(whole):
    rows = whole.report().layers
    assert {row.values for row in rows} >= {("binary",), ("integer",), ("real",), ("binary", "binary")}
    assert all(bool((ac + mac > 0).all()) for *_, ac, mac in operations(whole))


@pytest.mark.parametrize("size", [1, 2, 3, 5, SAMPLES])
def test_batch_size_with_a_short_last_batch(whole, size):
    equal(counted(Sew(), data().split(size, dim=1)), whole)


def test_order_of_samples(whole):
    order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(2))
    equal(counted(Sew(), [data()[:, order]]), whole, order)
    equal(counted(Sew(), data()[:, order].split(3, dim=1)), whole, order)


def test_layout_of_input_and_weights(whole):
    net = Sew()
    turned = data().permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    equal(counted(net, [turned]), whole)
    equal(counted(net, [data().transpose(0, 1).contiguous().transpose(0, 1)]), whole)
    equal(counted(net.to(memory_format=torch.channels_last), [turned]), whole)


def test_threads(whole):
    torch.set_num_threads(2)
    equal(counted(Sew(), [data()]), whole)


def test_double_precision(whole):
    equal(counted(Sew().double(), [data().double()]), whole)


def test_with_gradients(whole):
    with SopCounter(Sew()) as sop:
        sop.net(data())
    equal(sop, whole)


def test_copies_of_the_net(whole):
    equal(counted(copy.deepcopy(Sew()), [data()]), whole)


class Folded(nn.Module):
    """Plain torch layers on [T * B, *]."""

    def __init__(self, net):
        super().__init__()
        self.conv, self.linear = net

    def forward(self, x):
        x = (self.conv(x.flatten(0, 1)) > 0).float()
        return self.linear(x.flatten(1)).unflatten(0, (T, -1))


def test_time_folded_into_the_batch_or_not():
    torch.manual_seed(0)
    conv, linear = nn.Conv2d(2, 3, 3, stride=2), nn.Linear(27, 4)

    class Unfolded(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.linear = conv, linear

        def forward(self, x):
            x = torch.stack([(self.conv(step) > 0).float() for step in x])
            return self.linear(x.flatten(2))

    with torch.no_grad(), SopCounter(Folded((conv, linear)), batch_dim=1) as folded:
        folded.net(data())
    with torch.no_grad(), SopCounter(Unfolded(), batch_dim=1) as unfolded:
        unfolded.net(data())
    equal(folded, unfolded)


# ---- sizes -----------------------------------------------------------------------------------------------------------


def test_all_spikes_are_the_dense_count_and_none_are_none():
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1))
    net.append(nn.Flatten()).append(nn.Linear(3 * 11 * 11, 5))

    class Filled(nn.Sequential):
        def forward(self, x):
            for module in self:
                x = torch.full_like(module(x), value)
            return x

    for value in (1.0, 0.0):
        sop = counted(Filled(*net), [torch.full((2, 2, 6, 6), value)])
        report = sop.report()
        dense = sum(part.geometry.dense for rec in sop.record.layers.values() for p in rec.runs.values() for part in p)
        assert total(sop).tolist() == [dense * value] * 2
        assert [row.rate for row in report.layers] == [value] * 3


def test_sums_beyond_the_whole_numbers_of_float32():
    spikes = 2**25 + 1

    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1, 1))

        def forward(self, x):
            return torch.nn.functional.linear(x.view(-1, 1), self.weight)

    for mode in ("exact", "spikingjelly", "unrolled"):
        assert total(counted(Wide(), [torch.ones(1, spikes)]), mode).tolist() == [spikes]


def test_sums_beyond_32_bits():
    tokens, n = 2**7 + 1, 2**12
    net = nn.Linear(n, n, bias=False)
    x = torch.ones(1, tokens, n)
    x[0, 0, 0] = 2  # the sum of |x| times the fan-out too
    sop = counted(net, [x])
    assert total(sop).tolist() == [tokens * n * n] and tokens * n * n > 2**31
    assert total(sop, "unrolled").tolist() == [tokens * n * n + n]
    wide = nn.ConvTranspose2d(1, 2**9, 8, stride=8, bias=False)
    sop = counted(wide, [torch.ones(2, 1, 32, 32) * 2**20])
    assert total(sop, "unrolled").tolist() == [float(2**20 * 32 * 32 * 2**9 * 64)] * 2


def test_a_net_that_never_spikes_says_so():
    net = nn.Sequential(nn.Linear(4, 4), IFNode(v_threshold=1e6), nn.Linear(4, 2))
    functional.set_step_mode(net, "m")
    report = counted(net, [torch.rand(T, 2, 4)]).report()
    assert [row.rate for row in report.layers] == [1.0, 0.0]
    assert "never" in str(report) or "zero" in str(report)
    assert report.totals()[0].tolist() == [0.0, 0.0] and report.totals()[1].tolist() == [16.0 * T] * 2
