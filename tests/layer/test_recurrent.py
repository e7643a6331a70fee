"""Recurrent containers: their equations, SpikingJelly's and snnTorch's, and what they keep."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from snncore import functional, layer, neuron
from snncore.errors import ArgumentError, StateError
from snncore.metric import FiringRate
from snncore.surrogate import ATan, Sigmoid

T, B, C = 7, 2, 4
ALL = {
    "linear-lif": lambda **k: layer.LinearRecurrent(neuron.LIFNode(v_reset=None), layer.Linear(C, C), **k),
    "linear-leaky": lambda **k: layer.LinearRecurrent(neuron.Leaky(0.8), nn.Linear(C, C, bias=False), **k),
    "elementwise-plif": lambda **k: layer.ElementWiseRecurrent(neuron.ParametricLIFNode(), scale=-0.5, **k),
    "elementwise-channels": lambda **k: layer.ElementWiseRecurrent(
        neuron.IFNode(), scale=torch.linspace(-1, 1, C), **k
    ),
    "elementwise-function": lambda **k: layer.ElementWiseRecurrent(neuron.IFNode(), lambda y, x: x - 0.5 * y, **k),
    "elementwise-sliding_psn": lambda **k: layer.ElementWiseRecurrent(neuron.SlidingPSN(3), **k),
    "rleaky": lambda **k: layer.RLeaky(0.9, linear_features=C, **k),
    "rleaky-zero": lambda **k: layer.RLeaky(0.9, all_to_all=False, V=0.4, reset_mechanism="zero", **k),
    "rsynaptic": lambda **k: layer.RSynaptic(0.5, 0.8, linear_features=C, **k),
    "rsynaptic-zero": lambda **k: layer.RSynaptic(0.5, 0.8, all_to_all=False, V=0.4, reset_mechanism="zero", **k),
    "rsynaptic-at_once": lambda **k: layer.RSynaptic(0.5, 0.8, all_to_all=False, V=0.4, reset_delay=False, **k),
    "rleaky-at_once": lambda **k: layer.RLeaky(0.9, all_to_all=False, V=0.4, reset_delay=False, **k),
}
each = pytest.mark.parametrize("name", ALL)


def make(name: str, **k) -> layer.Recurrent:
    torch.manual_seed(0)
    return ALL[name](**{"step_mode": "m", **k}).double()


def data(shape=(B, C), dtype=torch.float64, scale=1.2) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return (torch.randn(T, *shape, generator=generator, dtype=torch.float64) * scale + 0.6).to(dtype)


def outcome(net, function, x_seq) -> dict[str, Tensor]:
    x_seq = x_seq.detach().clone().requires_grad_()
    net.zero_grad()
    y = function(x_seq)
    weigh = torch.randn(y.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(y.dtype)
    (y * weigh).sum().backward()
    grads = {f"grad.{n}": p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}
    return {"spikes": y.detach(), "grad.x": x_seq.grad, **grads}


def same(got: dict[str, Tensor], want: dict[str, Tensor], tolerance: float = 1e-12) -> None:
    assert torch.equal(got["spikes"], want["spikes"])
    assert 0.05 < want["spikes"].mean() < 0.95
    for key in want:
        torch.testing.assert_close(got[key], want[key], rtol=tolerance, atol=tolerance, msg=key)


def by_hand(x_seq, W, b, rate, surrogate, function=None):
    """LIF with soft reset behind x + W y + b, or behind function(y, x)."""
    v = y = torch.zeros_like(x_seq[0])
    spikes = []
    for x in x_seq:
        x = x + y @ W.T + b if function is None else function(y, x)
        h = v + (x - v) * rate
        y = surrogate(h - 1.0)
        v = h - y
        spikes.append(y)
    return torch.stack(spikes)


def test_the_equations():
    net = make("linear-lif")
    same(
        outcome(net, net, data()),
        outcome(net, lambda x: by_hand(x, net.recurrent.weight, net.recurrent.bias, 0.5, Sigmoid()), data()),
    )
    net = layer.ElementWiseRecurrent(neuron.LIFNode(v_reset=None), lambda y, x: x * (1 - 0.75 * y), step_mode="m")
    same(
        outcome(net, net, data()),
        outcome(net, lambda x: by_hand(x, None, None, 0.5, Sigmoid(), lambda y, x: x * (1 - 0.75 * y)), data()),
    )
    scale = torch.tensor([-1.0, 0.5, 0.25, 2.0]).double()
    net = layer.ElementWiseRecurrent(neuron.LIFNode(v_reset=None), scale=scale, step_mode="m").double()
    want = outcome(net, lambda x: by_hand(x, torch.diag(net.recurrent.scale), 0.0, 0.5, Sigmoid()), data())
    same(outcome(net, net, data()), want)
    assert want["grad.recurrent.scale"].abs().min() > 0


def test_the_reset_to_zero_of_rleaky_takes_the_input_along():
    net = make("rleaky-zero")

    def leaky(x_seq):
        v = y = torch.zeros_like(x_seq[0])
        spikes = []
        for x in x_seq:
            h = (0.9 * v + x + net.recurrent.scale * y) * (v.detach() < 1.0)
            v, y = h, ATan(2.0)(h - 1.0)
            spikes.append(y)
        return torch.stack(spikes)

    same(outcome(net, net, data()), outcome(net, leaky, data()))


@each
def test_gradcheck(name):
    net = make(name)
    net.neuron.smooth = True
    x_seq = data((1, C))[:3].requires_grad_()
    with torch.no_grad():  # a delayed reset jumps where the potential is at threshold
        net(x_seq)
    assert torch.autograd.gradcheck(lambda x, *_: net(x), (x_seq, *net.parameters()))


@each
@pytest.mark.parametrize("engine", ["native", "torch"])
def test_one_step_at_a_time(name, engine):
    net = make(name)
    net.neuron.engine = engine
    want = outcome(net, net, data())
    assert net.y is None and net.neuron.state is None
    functional.set_step_mode(net, "s")
    for _ in range(2):
        functional.reset_net(net)
        assert net.y is None and net.neuron.state is None
        same(outcome(net, lambda x: torch.stack([net(step) for step in x]), data()), want)
    functional.detach_net(net)
    assert not net.y.requires_grad and not any(s.requires_grad for s in net.neuron.state)
    twin = pickle.loads(pickle.dumps(net)) if "function" not in name else copy.deepcopy(net)
    assert twin.y is None and torch.equal(twin(data()[0]), want["spikes"][0])


@each
def test_in_pieces(name):
    net = make(name)
    whole = net(data())
    for cut in range(T + 1):
        first, state = net.run(data()[:cut])
        second, _ = net.run(data()[cut:], state)
        assert torch.equal(torch.cat((first, second)), whole), cut
    functional.set_step_mode(net, "s")
    net(data()[0])
    kept = net.y, net.neuron.state
    assert torch.equal(net.run(data())[0], whole)
    assert net.y is kept[0] and net.neuron.state is kept[1]


@each
def test_compile(name):
    torch._dynamo.reset()
    net = make(name)
    want = outcome(net, net, data())
    same(outcome(net, torch.compile(net, fullgraph=True, backend="aot_eager"), data()), want)
    assert net.neuron.state is None
    torch._dynamo.reset()


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_dtypes(name, dtype):
    x_seq = data(dtype=dtype).requires_grad_()
    net = make(name).to(dtype)
    y = net(x_seq)
    y.sum().backward()
    assert y.dtype == x_seq.grad.dtype == dtype
    net = make(name).float()
    with torch.autocast("cpu", torch.bfloat16 if dtype == torch.float32 else dtype):
        assert net(x_seq.detach()).dtype == dtype
    wide = layer.ElementWiseRecurrent(neuron.IFNode(), lambda y, x: x.double() + y, step_mode="m")
    assert wide(x_seq.detach()).dtype == dtype


def test_convolution_and_dropout_in_the_recurrence():
    torch.manual_seed(0)
    back = nn.Sequential(layer.Conv2d(C, C, 3, padding=1), layer.Dropout(0.5))
    net = nn.Sequential(layer.LinearRecurrent(neuron.LIFNode(), back))
    x_seq = data((B, C, 5, 5), torch.float32)
    functional.set_step_mode(net, "m")
    assert [m.step_mode for m in net.modules() if hasattr(m, "step_mode")] == ["m", "s", "s", "s"]
    first = net(x_seq)
    assert back[1].keep is None and not torch.equal(first, net(x_seq))  # a new mask every call
    net.eval()
    whole = net(x_seq)
    functional.set_step_mode(net, "s")
    assert torch.equal(torch.stack([net(x) for x in x_seq]), whole)


def test_what_the_neuron_shows():
    net = make("elementwise-plif")
    net.neuron.store_v_seq = True
    plain = data()
    with FiringRate(net) as rate:
        spikes = net(plain)
    assert rate.counts() == {"neuron": (int(spikes.sum()), spikes.numel())}
    assert net.neuron.v_seq.shape == plain.shape
    v_seq = net.neuron.v_seq
    net.run(plain[:2])
    assert net.neuron.v_seq is v_seq
    net(plain)
    assert torch.equal(net.neuron.v_seq, v_seq)


def test_empty():
    for name in ALL:
        net = make(name)
        assert net(torch.empty(0, B, C).double()).shape == (0, B, C)
        assert net(torch.empty(3, 0, C).double()).shape == (3, 0, C)


def test_an_error_inside_leaves_the_state_alone():
    net = layer.ElementWiseRecurrent(neuron.IFNode(), lambda y, x: x[:, :1])
    with pytest.raises(ArgumentError, match=r"^ElementWiseRecurrent\.x: must have the shape that the recurrence gives"):
        net(data()[0])
    assert net.y is None and net.neuron.state is None
    net.step_mode = "m"
    with pytest.raises(ArgumentError, match="the shape that the recurrence gives"):
        net(data())
    assert net.neuron.state is None


def test_misuse():
    net = make("linear-lif", step_mode="s")
    net(data()[0])
    with pytest.raises(StateError, match=r"^LinearRecurrent\.x: must fit the last output .*reset_net"):
        net(data()[0, :1])
    functional.reset_net(net)
    net(data()[0, :1])
    with pytest.raises(StateError, match="pass the state of the same net and batch"):
        net.run(data(), net.run(data()[:, :1])[1])
    with pytest.raises(StateError, match="must hold"):
        net.run(data(), net.run(data())[1][:1])
    with pytest.raises(ArgumentError, match=r"LinearRecurrent\.x: must be \[T, B, \*\]"):
        net.run(data()[0, 0])
    net.neuron.step_mode = "m"
    with pytest.raises(ArgumentError, match=r"LinearRecurrent\.neuron\.step_mode: must stay 's'"):
        net(data()[0, :1])
    for bad in (nn.ReLU(), neuron.IFNode, None):
        with pytest.raises(ArgumentError, match=r"^LinearRecurrent\.neuron: must be a neuron"):
            layer.LinearRecurrent(bad, nn.Linear(2, 2))
    with pytest.raises(ArgumentError, match=r"^LinearRecurrent\.recurrent: must be a module"):
        layer.LinearRecurrent(neuron.IFNode(), lambda y: y)
    with pytest.raises(ArgumentError, match=r"^ElementWiseRecurrent\.function: must be None or a function"):
        layer.ElementWiseRecurrent(neuron.IFNode(), 0.5)
    with pytest.raises(ArgumentError, match=r"^ElementWiseRecurrent\.step_mode: "):
        layer.ElementWiseRecurrent(neuron.IFNode(), step_mode="x")
    with pytest.raises(ArgumentError, match=r"^PSN\.step_mode: must be 'm'"):
        layer.ElementWiseRecurrent(neuron.PSN(3))
    for scale in (torch.zeros(2, 2), torch.tensor([1, 2]), float("nan"), torch.zeros(0)):
        with pytest.raises(ArgumentError, match=r"^Scale\.scale: must be a finite number or tensor"):
            layer.ElementWiseRecurrent(neuron.IFNode(), scale=scale)


RECURRENCES = [
    {"linear_features": None}, {"linear_features": 3, "conv2d_channels": 3, "kernel_size": 3}, {"conv2d_channels": 3},
    {"kernel_size": 3}, {"all_to_all": False, "linear_features": 3},
    {"all_to_all": False, "conv2d_channels": 3, "kernel_size": 3},
]  # fmt: skip


@pytest.mark.parametrize("arguments", RECURRENCES)
def test_one_recurrence_must_be_chosen(arguments):
    with pytest.raises(ArgumentError, match=r"^RLeaky\.linear_features: must be given, or else conv2d_channels"):
        layer.RLeaky(0.9, **arguments)


def test_rleaky_arguments():
    assert isinstance(layer.RLeaky(0.9, linear_features=3).recurrent, nn.Linear)
    conv = layer.RLeaky(0.9, conv2d_channels=2, kernel_size=(3, 5)).recurrent
    assert conv.padding == (1, 2) and conv.kernel_size == (3, 5)
    fixed = layer.RLeaky(0.9, linear_features=3, learn_recurrent=False)
    assert not any(p.requires_grad for p in fixed.recurrent.parameters())
    fixed = layer.RLeaky(0.9, all_to_all=False, V=0.5, learn_recurrent=False)
    assert not list(fixed.parameters()) and fixed.recurrent.scale == 0.5
    assert layer.RLeaky(0.7, all_to_all=False, learn_beta=True, v_threshold=0.5).neuron.v_threshold == 0.5


# ---- the peers -------------------------------------------------------------------------------------------------------


def spikingjelly():
    why = "SpikingJelly is not installed: tests/oracles.txt"
    sj = pytest.importorskip("spikingjelly.activation_based.layer", reason=why)
    return sj, pytest.importorskip("spikingjelly.activation_based.neuron", reason=why)


def test_linear_equals_spikingjelly():
    sj, sj_neuron = spikingjelly()
    torch.manual_seed(0)
    theirs = sj.LinearRecurrentContainer(sj_neuron.LIFNode(), C, C, bias=True, step_mode="m").double()
    ours = nn.Sequential(
        layer.Linear(C, C, bias=False), layer.LinearRecurrent(neuron.LIFNode(), layer.Linear(C, C))
    ).double()
    functional.set_step_mode(ours, "m")
    with torch.no_grad():
        theirs.rc.weight *= 4
        of_x, of_y = theirs.rc.weight.split(C, dim=1)
        ours[0].weight.copy_(of_x)
        ours[1].recurrent.weight.copy_(of_y)
        ours[1].recurrent.bias.copy_(theirs.rc.bias)
    x_seq = data(scale=3.0)
    got, want = outcome(ours, ours, x_seq), outcome(theirs, theirs, x_seq)
    want["grad.0.weight"], want["grad.1.recurrent.weight"] = want.pop("grad.rc.weight").split(C, dim=1)
    want["grad.1.recurrent.bias"] = want.pop("grad.rc.bias")
    assert got.keys() == want.keys()
    same(got, want)


def test_element_wise_equals_spikingjelly():
    sj, sj_neuron = spikingjelly()
    function = lambda y, x: x - 0.5 * y  # noqa: E731
    theirs = sj.ElementWiseRecurrentContainer(sj_neuron.IFNode(), function, step_mode="m")
    ours = layer.ElementWiseRecurrent(neuron.IFNode(), function, step_mode="m")
    got, want = outcome(ours, ours, data()), outcome(theirs, theirs, data())
    same(got, want)


class Double(torch.autograd.Function):
    """snnTorch's own surrogates give float32 spikes; this one has the gradient of ATan(2) and the dtype of u."""

    @staticmethod
    def forward(ctx, u):
        ctx.save_for_backward(u)
        return (u > 0).to(u.dtype)

    @staticmethod
    def backward(ctx, g):
        (u,) = ctx.saved_tensors
        return g / (1 + (torch.pi * u).square())


BACK = {
    "linear": ({"linear_features": C}, (B, C)),
    "conv": ({"conv2d_channels": C, "kernel_size": 3}, (B, C, 5, 4)),
    "one": ({"all_to_all": False, "V": 0.4}, (B, C)),
    "each": ({"all_to_all": False, "V": torch.tensor([0.5, -1.0, 0.25, 2.0])}, (B, C)),
}


def against_snntorch(make_ours, make_theirs, shape, x_scale, states):
    torch.manual_seed(0)
    ours = make_ours().double()
    theirs = make_theirs().double()
    with torch.no_grad():
        for (_, a), (_, b) in zip(ours.recurrent.named_parameters(), theirs.recurrent.named_parameters(), strict=True):
            b.copy_(a)
    x_seq = data(shape, scale=x_scale)
    got = outcome(ours, ours, x_seq)
    want = outcome(theirs, lambda x: torch.stack([theirs(step)[0] for step in x]), x_seq)
    renamed = {
        key.replace("recurrent.V", "V").replace("grad.V", "grad.recurrent.scale"): value for key, value in want.items()
    }
    renamed = {key: value for key, value in renamed.items() if key in got}
    assert renamed.keys() == got.keys()
    same(got, renamed)
    state = ours.run(x_seq)[1]
    for kept, name in zip(state, states, strict=True):
        torch.testing.assert_close(kept, getattr(theirs, name), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mechanism", ["subtract", "zero", "none"])
@pytest.mark.parametrize("delay", [True, False])
@pytest.mark.parametrize("back", BACK)
def test_rleaky_equals_snntorch(back, mechanism, delay):
    """Without delay and with subtraction the peer loses spikes above twice the threshold: small inputs there."""
    snntorch = pytest.importorskip("snntorch", reason="snnTorch is not installed: tests/oracles.txt")
    arguments, shape = BACK[back]
    small = not delay and mechanism == "subtract"
    if small and back in ("linear", "conv", "each"):
        arguments = {"all_to_all": False, "V": torch.tensor([0.1, -0.2, 0.15, 0.05])}
        shape = (B, C)
    against_snntorch(
        lambda: layer.RLeaky(
            0.875, **arguments, reset_mechanism=mechanism, reset_delay=delay, spike_grad=ATan(2.0), step_mode="m"
        ),
        lambda: snntorch.RLeaky(
            0.875, **arguments, reset_mechanism=mechanism, reset_delay=delay, spike_grad=Double.apply
        ),
        shape, 0.25 if small else 1.2, ("spk", "mem"),
    )  # fmt: skip


@pytest.mark.parametrize("mechanism", ["subtract", "zero", "none"])
@pytest.mark.parametrize("back", BACK)
def test_rsynaptic_equals_snntorch(back, mechanism):
    snntorch = pytest.importorskip("snntorch", reason="snnTorch is not installed: tests/oracles.txt")
    arguments, shape = BACK[back]
    against_snntorch(
        lambda: layer.RSynaptic(
            0.75, 0.875, **arguments, reset_mechanism=mechanism, spike_grad=ATan(2.0), step_mode="m"
        ),
        lambda: snntorch.RSynaptic(0.75, 0.875, **arguments, reset_mechanism=mechanism, spike_grad=Double.apply),
        shape, 0.6, ("spk", "mem", "syn"),
    )  # fmt: skip
