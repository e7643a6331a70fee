"""Neurons take steps in ``torch.channels_last`` as they lie: the same bits, no copies, and spikes that lie likewise."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from neuron.cases import CHANNELS, FEW, ROWS, close, evaluate, identical, inputs, start, summed
from snncore import encoding, functional, layer
from snncore.neuron import IFNode, LIFNode
from snncore.neuron.memory_format import channels_lie_last
from snncore.surrogate import ATan

STEP = (2, CHANNELS, 3, 5)
VOLUME = (2, CHANNELS, 2, 3, 2)


def turned(y):
    """Return [*, B, C, spatial axes] with the same values, C last in memory."""
    return y.movedim(2, -1).contiguous().movedim(-1, 2)


def lies_last(y):
    return y.movedim(2, -1).is_contiguous() and not y.is_contiguous()


def test_what_counts_as_channels_last():
    x_seq = torch.randn(4, *STEP)
    assert channels_lie_last(turned(x_seq)) and channels_lie_last(turned(torch.randn(4, *VOLUME)))
    assert channels_lie_last(encoding.direct(turned(x_seq)[0], 4))
    assert channels_lie_last(turned(x_seq)[::2])
    assert channels_lie_last(x_seq.flatten(0, 1).to(memory_format=torch.channels_last).view(4, *STEP))
    assert not channels_lie_last(x_seq)
    assert not channels_lie_last(turned(x_seq)[..., ::2])
    assert not channels_lie_last(turned(x_seq)[:, :, ::2])
    assert not channels_lie_last(x_seq.transpose(2, 4))
    assert not channels_lie_last(turned(torch.randn(4, 2, 3, 1, 1)))  # both orders are the same
    assert not channels_lie_last(turned(torch.randn(4, 2, 1, 3, 5)))
    assert not channels_lie_last(turned(torch.randn(4, 0, 3, 3, 5)))
    assert not channels_lie_last(torch.randn(4, 2, 3).transpose(1, 2))


@pytest.mark.parametrize("shape", [STEP, VOLUME], ids=["image", "volume"])
@pytest.mark.parametrize("row", FEW, ids=lambda row: row.name)
def test_same_bits_in_either_order(row, shape):
    node = row.make(torch.float32, engine="native")
    x_seq, first = inputs(torch.float32, shape=shape), start(row, torch.float32, shape)
    want = evaluate(node, x_seq, first)
    got = evaluate(node, turned(x_seq), turned(first))
    assert got.keys() == want.keys()
    for key in want:
        if key in ("spike_seq", "v_seq", "last", "grad.x", "grad.state"):
            assert identical(got[key], want[key]), key
        else:  # a sum over lanes, in another order
            close(key, got[key], want[key], 1e-5, least=summed(x_seq))
    assert all(lies_last(got[key]) for key in ("spike_seq", "v_seq"))


def test_one_step_at_a_time_may_change_the_order():
    x_seq = inputs(torch.float32, T=4, shape=STEP)
    node = LIFNode(step_mode="s", store_v_seq=True, engine="native")
    want = evaluate(LIFNode(engine="native"), x_seq)
    spike_seq = torch.stack([node(turned(x_seq)[t] if t % 2 else x_seq[t]) for t in range(4)])
    assert identical(spike_seq, want["spike_seq"])
    assert identical(node.v_seq, want["v_seq"])


def test_counts_are_those_of_the_samples():
    x_seq = inputs(torch.float32, shape=STEP)
    node = IFNode(step_mode="m", engine="native")
    node.count_spikes = 1
    node(x_seq)
    want = node.spike_count.clone()
    node(turned(x_seq))
    assert torch.equal(node.spike_count, want)


@pytest.mark.parametrize("name", ["lif-all_learned_channels", "if-hard"])
def test_gradients_of_gradients(name):
    found = []
    for arrange in (torch.clone, turned):
        node = ROWS[name].make(torch.float64, engine="native")
        node.smooth = True
        x_seq = arrange(inputs(torch.float64, shape=STEP)).requires_grad_()
        spike_seq, _ = node.run(x_seq)
        (g,) = torch.autograd.grad(spike_seq.square().sum(), x_seq, create_graph=True)
        found.append(torch.autograd.grad(g.square().sum(), [x_seq, *node.parameters()]))
    for want, got in zip(*found, strict=True):
        close("second derivative", got, want, 1e-12)


@pytest.mark.parametrize("name", ["lif-all_learned_channels", "if-hard"])
def test_compiled(name):
    torch._dynamo.reset()
    node = ROWS[name].make(torch.float32, engine="native", step_mode="m")
    x_seq = turned(inputs(torch.float32, shape=STEP))
    results = []
    for run in (node, torch.compile(node, fullgraph=True, backend="aot_eager")):
        x = x_seq.detach().requires_grad_()
        y = run(x)
        y.sum().backward()
        results.append((y, x.grad))
    (want, want_grad), (got, grad) = results
    assert torch.equal(got, want) and torch.equal(grad, want_grad)
    assert got.stride() == want.stride()
    torch._dynamo.reset()


class Watch(TorchDispatchMode):
    """Notes whether every tensor that reaches a neuron's kernel is contiguous, which spares it a copy."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "snncore":
            dense = all(a.is_contiguous() or a.stride(0) == 0 for a in args if isinstance(a, torch.Tensor) and a.dim())
            self.seen.append((func._schema.name.removeprefix("snncore::"), dense))
        return func(*args, **(kwargs or {}))


def test_a_net_in_channels_last_copies_nothing_around_its_neurons():
    torch.manual_seed(0)
    net = nn.Sequential(
        layer.Conv2d(3, 8, 3, padding=1, bias=False),
        layer.BatchNorm2d(8),
        IFNode(surrogate_function=ATan(), engine="native"),
        layer.MaxPool2d(2),
        layer.Conv2d(8, 8, 3, padding=1, bias=False),
        layer.BatchNorm2d(8),
        IFNode(surrogate_function=ATan(), engine="native"),
        layer.MaxPool2d(2),
    )
    functional.set_step_mode(net, "m")
    x = torch.rand(2, 3, 8, 8) * 2
    grads = []
    for form in (torch.contiguous_format, torch.channels_last):
        net.to(memory_format=form).zero_grad()
        y_seq = net(encoding.direct(x.to(memory_format=form), 4))
        assert y_seq.sum() > 0
        with Watch() as watch:
            y_seq.square().sum().backward()
        with Watch() as forward:
            net(encoding.direct(x.to(memory_format=form), 4))
        assert watch.seen == [("if_backward", True)] * 2
        assert forward.seen == [("if_forward", True)] * 2
        assert lies_last(y_seq) is (form == torch.channels_last)
        grads.append([p.grad.clone() for p in net.parameters()])
    for want, got in zip(*grads, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
