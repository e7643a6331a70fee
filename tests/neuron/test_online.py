"""OTTT and SLTT: no gradient from step to step, and weights that learn from the trace of their input."""

from __future__ import annotations

import copy
import itertools
import pickle

import pytest
import torch
from torch import Tensor, nn

from neuron import test_engines_agree as agree
from neuron.row import CHANNELS, Row, surrogates, with_resets
from snncore import functional, layer
from snncore.errors import ArgumentError, StateError
from snncore.neuron import NEURONS, ONLINE_NEURONS, IFNode, LIFNode, OTTTLIFNode, SLTTLIFNode
from snncore.surrogate import Sigmoid

T, B, C = 6, 3, 4


def data(shape=(B, C), dtype=torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return (torch.randn(T, *shape, generator=generator, dtype=torch.float64) * 1.5 + 0.8).to(dtype)


def weights(shape, seed=2) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- the neurons -----------------------------------------------------------------------------------------------------

LAWS = [
    dict(zip(("decay_input", "v_reset", "detach_reset"), values, strict=True))
    for values in itertools.product((True, False), (0.0, -0.25, None), (True, False))
]


def step_by_step(x_seq: Tensor, tau: float, surrogate, decay_input: bool, v_reset, detach_reset: bool) -> Tensor:
    """The published step in plain torch: everything of the step before is a constant."""
    v = torch.full_like(x_seq[0], v_reset or 0.0)
    spikes = []
    for x in x_seq:
        v = v.detach()
        rest = v_reset or 0.0
        h = v + (x - (v - rest)) / tau if decay_input else v - (v - rest) / tau + x
        s = surrogate(h - 1.0)
        spikes.append(s)
        s = s.detach() if detach_reset else s
        v = h - s if v_reset is None else h - s * (h - v_reset)
    return torch.stack(spikes)


def grad_x(function, x_seq: Tensor) -> tuple[Tensor, Tensor]:
    x_seq = x_seq.clone().requires_grad_()
    y = function(x_seq)
    (y * weights(y.shape)).sum().backward()
    return y.detach(), x_seq.grad


@pytest.mark.parametrize("engine", ["native", "torch"])
@pytest.mark.parametrize("cls", [OTTTLIFNode, SLTTLIFNode])
def test_the_published_step(cls, engine):
    for law, surrogate in itertools.product(LAWS, surrogates().values()):
        node = cls(tau=1.75, surrogate_function=surrogate, engine=engine, step_mode="m", **law)
        spikes, g = grad_x(node, data())
        want, want_g = grad_x(lambda x, law=law, s=surrogate: step_by_step(x, 1.75, s, **law), data())
        assert 0.1 < want.mean() < 0.9
        assert torch.equal(spikes, want)
        torch.testing.assert_close(g, want_g, rtol=1e-12, atol=1e-13)
        node.step_mode = "s"
        stepped, stepped_g = grad_x(lambda x, n=node: torch.stack([n(step) for step in x]), data())
        assert torch.equal(stepped, want)
        torch.testing.assert_close(stepped_g, want_g, rtol=1e-12, atol=1e-13)


ROWS = with_resets(
    [
        Row("sltt", SLTTLIFNode, {"tau": 2.5}),
        Row("sltt-no_decay_input", SLTTLIFNode, {"tau": 1.75, "decay_input": False}),
        Row("ottt-learned_tau", OTTTLIFNode, {"tau": nn.Parameter(torch.linspace(1.5, 3.0, CHANNELS))}),
    ]
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_both_engines(row):
    """As of every neuron. Not in the table of those: its tests are of gradients that go through time."""
    agree.test_float64(row)
    agree.test_float32(row)
    for dtype in (torch.bfloat16, torch.float16):
        agree.test_half_types(row, dtype)


def test_the_table():
    assert set(ONLINE_NEURONS.values()) == {row.node for row in ROWS} == {OTTTLIFNode, SLTTLIFNode}
    assert all(cls.detach_state for cls in ONLINE_NEURONS.values())
    assert not any(cls.detach_state for cls in NEURONS.values())
    assert not set(ONLINE_NEURONS) & set(NEURONS)


def test_the_gradient_of_one_step_is_the_surrogates():
    """g_x[t] = g[t] * surrogate'(u[t]) * (1/tau if decay_input): gradcheck of every step by itself, smooth."""
    for cls, decay_input in itertools.product((OTTTLIFNode, SLTTLIFNode), (True, False)):
        node = cls(decay_input=decay_input, step_mode="m").double()
        node.smooth = True
        x_seq = data((1, C))
        for t in range(T):

            def at(x, t=t, node=node, x_seq=x_seq):
                return node(torch.cat((x_seq[:t], x.unsqueeze(0), x_seq[t + 1 :])))[t]

            assert torch.autograd.gradcheck(at, x_seq[t].clone().requires_grad_())
            x = x_seq.clone().requires_grad_()
            (g,) = torch.autograd.grad(node(x)[t].sum(), x)
            assert g[t].ne(0).all() and g[:t].eq(0).all() and g[t + 1 :].eq(0).all()


def test_defaults():
    ottt, sltt = OTTTLIFNode(), SLTTLIFNode()
    assert (ottt.tau, ottt.decay_input, ottt.v_reset, ottt.detach_reset) == (2.0, False, None, True)
    assert (sltt.tau, sltt.decay_input, sltt.v_reset, sltt.detach_reset) == (2.0, True, 0.0, True)
    assert ottt.why_not_native(data()) is None and ottt.surrogate_function == Sigmoid(4.0)
    with pytest.raises(ArgumentError, match=r"^OTTTLIFNode\.tau: must be greater than 1"):
        OTTTLIFNode(tau=1.0)


@pytest.mark.parametrize("cls", [OTTTLIFNode, SLTTLIFNode])
def test_memory_of_steps_does_not_pile_up(cls):
    """Backward at every step, nothing detached by hand; an ordinary neuron refuses the second time."""
    node = cls(tau=2.0)
    for x in data():
        x.requires_grad_()
        node(x).sum().backward()
        assert x.grad is not None
    plain = LIFNode(tau=2.0)
    with pytest.raises((StateError, RuntimeError), match=r"second time|already freed"):
        for x in data():
            plain(x.requires_grad_()).sum().backward()


# ---- the trace -------------------------------------------------------------------------------------------------------


def traces(x_seq: Tensor, tau: float) -> Tensor:
    total, seen = torch.zeros_like(x_seq[0]), []
    for x in x_seq:
        total = (1 - 1 / tau) * total + x
        seen.append(total)
    return torch.stack(seen)


LAYERS = {
    "linear": (lambda **k: layer.TraceLinear(C, 5, **k), (B, C)),
    "linear-no_bias": (lambda **k: layer.TraceLinear(C, 5, False, **k), (B, C)),
    "conv": (lambda **k: layer.TraceConv2d(C, 2, 3, stride=2, padding=1, **k), (B, C, 6, 5)),
}
each_layer = pytest.mark.parametrize("name", LAYERS)


def formula(net, x_seq: Tensor) -> dict[str, Tensor]:
    """sum g[t] a[t]^T and W^T g[t], with the plain layer run on the trace and on x."""
    plain = copy.deepcopy(net).eval()
    y = plain(x_seq)
    g = weights(y.shape)
    out = {"y": y.detach()}
    with torch.no_grad():
        traced = traces(x_seq, net.tau)
    for t in range(T):
        grads = torch.autograd.grad(one(plain, traced[t]), list(plain.parameters()), g[t])
        for (n, _), p in zip(plain.named_parameters(), grads, strict=True):
            out[n] = out.get(n, 0) + p
    x = x_seq.clone().requires_grad_()
    (out["x"],) = torch.autograd.grad(plain(x), x, g)
    return out


def one(plain, x: Tensor) -> Tensor:
    return plain(x.unsqueeze(0))[0] if plain.step_mode == "m" else plain(x)


@each_layer
@pytest.mark.parametrize("tau", [2.0, 1.25])
def test_the_weights_gradient(name, tau):
    make, shape = LAYERS[name]
    torch.manual_seed(0)
    net = make(tau=tau, step_mode="m").double()
    x_seq = data(shape)
    want = formula(net, x_seq)
    if name.startswith("linear"):
        torch.testing.assert_close(
            want["weight"], torch.einsum("tbo,tbi->oi", weights((T, B, 5)), traces(x_seq, tau)), rtol=1e-12, atol=1e-13
        )
    x = x_seq.clone().requires_grad_()
    y = net(x)
    assert torch.equal(y, want["y"]) and net.trace is None
    y.backward(weights(y.shape))
    got = {"x": x.grad, **{n: p.grad.clone() for n, p in net.named_parameters()}}
    for key, value in got.items():
        torch.testing.assert_close(value, want[key], rtol=1e-12, atol=1e-13)

    # online: backward at every step
    functional.set_step_mode(net, "s")
    for _ in range(2):
        functional.reset_net(net)
        net.zero_grad()
        g = weights(y.shape)
        for t in range(T):
            x = x_seq[t].clone().requires_grad_()
            out = net(x)
            assert torch.equal(out, one(copy.deepcopy(net).eval(), x_seq[t]))
            out.backward(g[t])
            torch.testing.assert_close(x.grad, want["x"][t], rtol=1e-12, atol=1e-13)
        for n, p in net.named_parameters():
            torch.testing.assert_close(p.grad, want[n], rtol=1e-12, atol=1e-13)


@each_layer
def test_keeps_the_trace_between_steps_in_training_alone(name):
    make, shape = LAYERS[name]
    net, x_seq = make(tau=1.5).double(), data(shape)
    for x in x_seq[:3]:
        net(x)
    torch.testing.assert_close(net.trace, traces(x_seq[:3], 1.5)[-1])
    kept = net.trace
    net.eval()
    net(x_seq[3])
    assert net.trace is kept
    net.train()
    with torch.no_grad():
        net(x_seq[3])
    torch.testing.assert_close(net.trace, traces(x_seq[:4], 1.5)[-1])
    with pytest.raises(StateError, match=rf"^{type(net).__name__}\.x: must fit the trace kept.*reset_net"):
        net(x_seq[4][:1])
    assert pickle.loads(pickle.dumps(net)).trace is None and copy.deepcopy(net).trace is None
    functional.reset_net(net)
    assert net.trace is None
    assert "tau=1.5" in repr(net)
    plain = type(net).__mro__[2]
    assert net.state_dict().keys() == plain(*((C, 5) if plain is layer.Linear else (C, 2, 3))).state_dict().keys() or (
        name == "linear-no_bias"
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_dtypes(dtype):
    net = layer.TraceLinear(C, 5).to(dtype)
    for x in data(dtype=dtype):
        y = net(x)
        assert y.dtype == dtype and net.trace.dtype == torch.float32
    y.sum().backward()
    assert net.weight.grad.dtype == dtype
    net = layer.TraceLinear(C, 5, step_mode="m")
    with torch.autocast("cpu", torch.bfloat16):
        y = net(data(dtype=torch.float32))
    y.float().sum().backward()
    assert y.dtype == torch.bfloat16 and net.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("tau", [1, 1.0, 0.5, float("inf"), float("nan"), "2", None, True, torch.tensor(2.0)])
def test_bad_tau(tau):
    with pytest.raises(ArgumentError, match=r"^TraceLinear\.tau: must be a number greater than 1"):
        layer.TraceLinear(2, 2, tau=tau)


def test_bad_shape_and_empty():
    net = layer.TraceLinear(C, 5, step_mode="m")
    with pytest.raises(ArgumentError, match=r"^TraceLinear\.x_seq: must be \[T, B"):
        net(torch.zeros(B, C))
    assert net(torch.zeros(0, B, C)).shape == (0, B, 5)
    assert net(torch.zeros(3, 0, C)).shape == (3, 0, 5)


def test_compile():
    torch._dynamo.reset()
    net = net_of(OTTTLIFNode, layer.TraceLinear)
    functional.set_step_mode(net, "m")
    x_seq = data()
    grads = []
    for run in (net, torch.compile(net, fullgraph=True, backend="aot_eager")):
        net.zero_grad()
        y = run(x_seq)
        y.backward(weights(y.shape))
        grads.append([y.detach(), *(p.grad.clone() for p in net.parameters())])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)
    torch._dynamo.reset()


# ---- whole nets ------------------------------------------------------------------------------------------------------


def net_of(node, synapse):
    torch.manual_seed(0)
    net = nn.Sequential(
        layer.Linear(C, 8),
        node(tau=2.0),
        layer.Dropout(0.0),
        synapse(8, 6),
        node(tau=2.0),
        synapse(6, 3),
        node(tau=2.0),
    ).double()
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(2).add_(0.3)
    return net


@pytest.mark.parametrize("kind", ["ottt", "sltt"])
def test_online_is_the_sum_over_steps(kind):
    """One backward over a whole sequence gives what backward at every step adds up to."""
    node, synapse = {"ottt": (OTTTLIFNode, layer.TraceLinear), "sltt": (SLTTLIFNode, layer.Linear)}[kind]
    net, x_seq = net_of(node, synapse), data()
    functional.set_step_mode(net, "m")
    y_seq = net(x_seq)
    assert 0.05 < y_seq.mean() < 0.95
    (y_seq.square() * weights(y_seq.shape)).sum().backward()
    want = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    functional.set_step_mode(net, "s")
    for t in range(T):
        y = net(x_seq[t])
        assert torch.equal(y, y_seq[t])
        (y.square() * weights(y_seq.shape)[t]).sum().backward()
    for p, g in zip(net.parameters(), want, strict=True):
        assert g.ne(0).any()
        torch.testing.assert_close(p.grad, g, rtol=1e-12, atol=1e-13)


def test_the_trace_makes_a_difference():
    x_seq, grads = data(), []
    for synapse in (layer.TraceLinear, layer.Linear):
        net = net_of(OTTTLIFNode, synapse)
        functional.set_step_mode(net, "m")
        net(x_seq).sum().backward()
        grads.append([p.grad.clone() for p in net.parameters()])
    assert not torch.allclose(grads[0][2], grads[1][2])
    assert torch.equal(grads[0][-1], grads[1][-1])  # a bias


def test_a_leaky_readout_gets_its_exact_gradient():
    """v[t] = (1 - 1/tau) v[t-1] + W s[t] is linear in W, so the trace of s is all that BPTT would add up for W."""
    torch.manual_seed(0)
    tau, spikes = 3.0, (data() > 0.5).double()
    net = layer.TraceLinear(C, 2, tau=tau).double()
    v = torch.zeros(B, 2).double()
    for s in spikes:
        v = (1 - 1 / tau) * v.detach() + net(s)
    (v.square().sum()).backward()
    online = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    net.eval()
    v = torch.zeros(B, 2).double()
    for s in spikes:
        v = (1 - 1 / tau) * v + net(s)
    (v.square().sum()).backward()
    torch.testing.assert_close(online[0], net.weight.grad, rtol=1e-12, atol=1e-13)
    assert not torch.allclose(online[1], net.bias.grad)  # a bias has no input to trace


# ---- the peer --------------------------------------------------------------------------------------------------------


def spikingjelly():
    why = "SpikingJelly is not installed: tests/oracles.txt"
    sj = pytest.importorskip("spikingjelly.activation_based.neuron", reason=why)
    return sj, pytest.importorskip("spikingjelly.activation_based.layer", reason=why)


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("decay_input", [False, True])
def test_ottt_equals_spikingjelly(decay_input, detach):
    sj, _ = spikingjelly()
    theirs = sj.OTTTLIFNode(tau=1.75, decay_input=decay_input, detach_reset=detach).double()
    ours = OTTTLIFNode(tau=1.75, decay_input=decay_input, detach_reset=detach, step_mode="m")
    seen = []

    def run(x):
        out = [theirs(step) for step in x]
        seen.append(torch.stack([trace for _, trace in out]))
        return torch.stack([spike for spike, _ in out])

    want, want_g = grad_x(run, data())
    got, got_g = grad_x(ours, data())
    assert torch.equal(got, want)
    torch.testing.assert_close(got_g, want_g, rtol=1e-12, atol=1e-13)
    # the trace their neuron sends along is the one our layer keeps
    kept = layer.TraceLinear(C, 5, tau=1.75).double()
    for spike, trace in zip(got, seen[0], strict=True):
        kept(spike)
        torch.testing.assert_close(kept.trace, trace, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("v_reset", [0.0, -0.25, None])
@pytest.mark.parametrize("decay_input", [False, True])
def test_sltt_equals_spikingjelly(decay_input, v_reset, detach):
    sj, _ = spikingjelly()
    law = {"tau": 1.75, "decay_input": decay_input, "v_reset": v_reset, "detach_reset": detach}
    theirs = sj.SLTTLIFNode(**law).double()
    ours = SLTTLIFNode(**law, step_mode="m")
    want, want_g = grad_x(lambda x: torch.stack([theirs(step) for step in x]), data())
    got, got_g = grad_x(ours, data())
    assert torch.equal(got, want)
    torch.testing.assert_close(got_g, want_g, rtol=1e-12, atol=1e-13)


def test_a_whole_ottt_net_equals_spikingjelly():
    """Weights, biases and pooling between them, backward at every step."""
    sj, sj_layer = spikingjelly()
    torch.manual_seed(0)
    theirs = sj_layer.OTTTSequential(
        nn.Conv2d(1, 4, 3), sj.OTTTLIFNode(), nn.AvgPool2d(2), nn.Conv2d(4, 3, 2), sj.OTTTLIFNode(), nn.Flatten(),
        nn.Linear(3, 5),
    ).double()  # fmt: skip
    ours = nn.Sequential(
        layer.Conv2d(1, 4, 3), OTTTLIFNode(), layer.AvgPool2d(2), layer.TraceConv2d(4, 3, 2), OTTTLIFNode(),
        layer.Flatten(), layer.TraceLinear(3, 5),
    ).double()  # fmt: skip
    with torch.no_grad():
        for p in theirs.parameters():
            p.mul_(2).add_(0.1)
    ours.load_state_dict(theirs.state_dict())
    x_seq = data((B, 1, 6, 6))
    spikes = []
    ours[4].register_forward_hook(lambda module, args, out: spikes.append(out))
    for net in (ours, theirs):
        for x in x_seq:
            y = net(x)
            (y.square() * weights((B, 5))).sum().backward()
    assert 0.1 < torch.stack(spikes).mean() < 0.9
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert b.grad.abs().max() > 0
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-11, atol=1e-11, msg=name)


def test_a_plain_neuron_is_none_of_these():
    assert not IFNode.detach_state and not LIFNode.detach_state
    x_seq = data()
    assert not torch.equal(grad_x(LIFNode(step_mode="m"), x_seq)[1], grad_x(SLTTLIFNode(step_mode="m"), x_seq)[1])
