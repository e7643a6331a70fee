"""A layer called again: counted the short way only if nothing that matters has changed since its last call."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snncore import layer
from snncore.metric import SopCounter
from snncore.metric.sop import modules
from snncore.metric.sop.ledger import Entry, Ledger
from snncore.metric.sop.ranks import joined, merged
from snncore.metric.sop.report import Report
from snncore.neuron import IFNode

T, B = 3, 2


class Net(nn.Module):
    """A convolution over steps, a neuron, layers that see steps and samples as one; and how they may be called."""

    def __init__(self) -> None:
        super().__init__()
        self.way = ""
        self.seq = nn.Sequential(
            layer.Conv2d(2, 3, 3, padding=1, bias=False, step_mode="m"),
            IFNode(v_threshold=0.2, step_mode="m"),
        )
        self.conv = nn.Sequential(nn.Conv2d(3, 3, 3, bias=False))
        self.last = nn.Sequential(nn.Linear(48, 4, bias=False))
        self.prompt = nn.Parameter(torch.rand(T * B, 48))

    def forward(self, x: Tensor) -> Tensor:
        y = self.seq(x).flatten(0, 1)
        z = self.conv(F.pad(y[..., 1:-1, 1:-1], (1, 1, 1, 1)) if self.way == "padded" else y)
        y = self.prompt[:] if self.way == "prompted" else y.flatten(1)
        return z.sum() + (torch.vmap(self.last)(y[None])[0] if self.way == "mapped" else self.last(y))


def images(*shape: int) -> Tensor:
    x = torch.rand(*(shape or (T, B)), 2, 4, 4)
    x[..., 0, 0] = 1e-9  # zero in float16
    return x


def static(leaf: bool = False) -> Tensor:
    x = images(1, B).expand(T, -1, -1, -1, -1)
    return x.detach().requires_grad_() if leaf else x


def prune(weight: Tensor) -> Tensor:
    weight = weight.detach().clone()
    weight[:, ::2] = 0
    return weight


def write(net):
    with torch.no_grad():
        net.seq[0].weight[0] = 0


def write_data(net):
    net.seq[0].weight.data[:, 0] = 0


def exchange_data(net):
    net.last[0].weight.data = prune(net.last[0].weight)


def exchange(net):
    net.seq[0].weight = nn.Parameter(prune(net.seq[0].weight))


def to_double(net):
    net.seq[0].weight.data[0] = 1e-320
    net.double()


def hook(net):
    half = torch.arange(48) % 2
    net.last[0].register_forward_pre_hook(lambda module, args: args[0] * half)


def write_from_another_thread(net):
    thread = threading.Thread(target=write, args=[net])
    thread.start()
    thread.join()


def set_way(way):
    return lambda net: setattr(net, "way", way)


# what is done to the net between two forwards, and what they are given
CHANGES = {
    "nothing": (None, images, images),
    "weight written": (write, images, images),
    "weight written by another thread": (write_from_another_thread, images, images),
    "weight.data written": (write_data, images, images),
    "weight exchanged": (exchange, images, images),
    "weight.data exchanged": (exchange_data, images, images),
    "double": (to_double, images, lambda: images().double()),
    "more samples": (None, images, lambda: images(T, 2 * B)),
    "steps for samples": (None, images, lambda: images(B, T)),
    "static, then not": (None, static, images),
    "not static, then": (None, images, static),
    "static, then a leaf": (None, static, lambda: static(leaf=True)),
    "padded": (set_way("padded"), images, images),
    "prompted": (set_way("prompted"), images, images),
    "mapped": (set_way("mapped"), images, images),
    "hooked": (hook, images, images),
}  # fmt: skip


def both(counted, *more):
    """Return the reports of one counter around two forwards, and of a counter around each."""
    records = [joined(sop.record, False) for sop in (counted, *more)]
    return [Report.of(r).to_dict(per_sample=True) for r in (records[0], merged(records[1:]))]


@pytest.mark.parametrize("name", CHANGES)
def test_change_between_two_calls(name):
    change, first, second = CHANGES[name]
    one, other = Net().eval(), Net().eval()
    other.load_state_dict(one.state_dict())
    xs = [first(), second()]
    with SopCounter(one) as counted:
        one(xs[0])
        if change:
            change(one)
        one(xs[1])
    with SopCounter(other) as alone:
        other(xs[0])
    if change:
        change(other)
    with SopCounter(other) as later:
        other(xs[1])
    got, want = both(counted, alone, later)
    assert got == want


def test_autocast_on_the_second_call():
    net, x = Net().eval(), images()
    counters = [SopCounter(net) for _ in range(3)]
    with torch.no_grad():
        for sop, casts in zip(counters[1:], (False, True), strict=True):
            with sop, torch.autocast("cpu", torch.float16, enabled=casts):
                net(x)
        with counters[0]:
            net(x)
            with torch.autocast("cpu", torch.float16):
                net(x)
    got, want = both(*counters)
    assert got == want


def test_the_short_way_is_taken(monkeypatch):
    net, taken = Net().eval(), []
    again = modules.count_again
    monkeypatch.setattr("snncore.metric.sop.counter.count_again", lambda *args: taken.append(again(*args)) or taken[-1])
    with torch.no_grad(), SopCounter(net):
        for _ in range(3):
            net(images())
    assert taken == [True] * 6  # three layers, twice


def test_a_weight_written_between_two_blocks():
    net, x = Net().eval(), images()
    sop, alone, later = (SopCounter(net) for _ in range(3))
    with alone:
        net(x)
    with sop:
        net(x)
    net.conv[0].weight.data[0] = 0
    with sop:
        net(x)
    with later:
        net(x)
    got, want = both(sop, alone, later)
    assert got == want


def test_a_layer_run_again_by_a_backward_inside_the_forward():
    class Penalised(Net):
        def forward(self, x):
            y = super().forward(x)
            x = x.detach().requires_grad_()
            seq = torch.utils.checkpoint.checkpoint(self.seq, x, use_reentrant=False)
            return y + torch.autograd.grad(seq.sum(), x)[0].sum()

    net, x = Penalised().eval(), images()
    with SopCounter(net) as sop:
        net(x)
        net(x)
    calls = {key: sum(len(parts) for parts in found.runs.values()) for key, found in sop.record.layers.items()}
    assert calls[("seq.0", "conv", 0)] == calls[("seq.0", "conv", 1)] == 2 and len(calls) == 4


def test_entries_lie_in_pages_and_keep_what_they_hold():
    ledger, entries = Ledger(), []
    for k in range(700):
        counts = torch.full((2, 3, 40), k)
        entries.append(ledger.keep(Entry.of(counts)) if k % 2 else ledger.blank((2, 3, 40), counts.device))
        entries[-1].flat.copy_(counts.view(-1))
    assert [int(e.counts.sum()) for e in entries] == [240 * k for k in range(700)]
    assert len({e.page.data_ptr() for e in entries}) == 2 and entries[0].page.numel() >= 2**17
    assert ledger.keep(entries[-1]) is entries[-1]
    large = ledger.blank((2**15, 6), torch.device("cpu"))
    assert large.counts.shape == (2**15, 6) and large.page.numel() > 2**20


def test_pages_taken_in_inference_mode_serve_outside_it():
    ledger = Ledger()
    with torch.inference_mode():
        ledger.blank((1, 1, 6), torch.device("cpu"))
    assert ledger.keep(Entry.of(torch.arange(6))).counts.tolist() == list(range(6))
    net, x = Net().eval(), images()
    with SopCounter(net) as sop:
        with torch.inference_mode():
            net(x)
        net(x)
    one, other = (sop.report().totals()[0][k * B : (k + 1) * B] for k in range(2))
    assert torch.equal(one, other)
