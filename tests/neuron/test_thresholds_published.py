"""RPLIF, inhibitory LIF, LTMD and gated LIF equal the published recursion, written out once more in float64."""

from __future__ import annotations

import copy

import pytest
import torch

from neuron.cases import CHANNELS, V_THRESHOLD, close, inputs, run, weights
from snncore import functional
from snncore.errors import ArgumentError, StateError
from snncore.neuron import NEURONS, GatedLIFNode, HalfThresholdIFNode, ILIFNode, LTMDNode, RPLIFNode
from snncore.surrogate import ATan

ALPHA = 1.5


class Fire(torch.autograd.Function):
    """The Heaviside step with the gradient of the arctangent, by hand."""

    @staticmethod
    def forward(ctx, u):
        ctx.save_for_backward(u)
        return (u >= 0).to(u)

    @staticmethod
    def backward(ctx, g):
        (u,) = ctx.saved_tensors
        return g * (ALPHA / 2) / (1 + (torch.pi / 2 * ALPHA * u) ** 2)


fire = Fire.apply


def rplif(x_seq, hard, detach, alpha=1.3, tau=1.6, v_reset=-0.25):
    """Threshold V_t = alpha * V_{t-1} after a spike, V_th else, a number to autograd."""
    v, th = torch.full_like(x_seq[0], v_reset if hard else 0.0), torch.full_like(x_seq[0], V_THRESHOLD)
    for x in x_seq:
        h = v + (x - (v - (v_reset if hard else 0.0))) / tau
        s = fire(h - th)
        cut = s.detach() if detach else s
        v = h - cut * ((h - v_reset) if hard else th)
        th = torch.where(s > 0, th * alpha, V_THRESHOLD).detach()
        yield s, v


def ilif(x_seq, hard, detach, tau=1.6, decay=0.4):
    """Five quantities, as in the authors' file, with x and s of the step before as they are."""
    v = m = i = x_before = s_before = torch.zeros_like(x_seq[0])
    for x in x_seq:
        i = decay * (i + x_before * s_before)
        h = (1 - 1 / tau) * v + (x - torch.clamp(i, min=0))
        s = fire(h - V_THRESHOLD)
        v = h - (s.detach() if detach else s) * V_THRESHOLD
        m = m + s * v
        v = v - s * torch.sigmoid(m)
        x_before, s_before = x, s
        yield s, v


def ltmd(x_seq, hard, detach):
    """The reset as the authors write it: in the decay of the next step."""
    h = s = torch.zeros_like(x_seq[0])
    w = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    for x in x_seq:
        h = 0.25 * h * (1 - (s.detach() if detach else s)) + x
        s = fire(h - torch.tanh(w))
        yield s, h * (1 - (s.detach() if detach else s)), w


SURROGATE = {"surrogate_function": ATan(ALPHA)}
MAKE = {
    "rplif-soft": (RPLIFNode, rplif, {"tau": 1.6, "alpha": 1.3, "v_reset": None, "v_threshold": V_THRESHOLD}),
    "rplif-hard": (RPLIFNode, rplif, {"tau": 1.6, "alpha": 1.3, "v_reset": -0.25, "v_threshold": V_THRESHOLD}),
    "ilif": (ILIFNode, ilif, {"tau": 1.6, "current_decay": 0.4, "v_threshold": V_THRESHOLD}),
    "ltmd": (LTMDNode, ltmd, {}),
}


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("engine", ["native", "torch"])
def test_published_step(name, detach, engine):
    cls, published, arguments = MAKE[name]
    node = cls(step_mode="m", store_v_seq=True, engine=engine, detach_reset=detach, **SURROGATE, **arguments).double()
    if name == "ltmd":  # both start from 0.5, unrounded
        torch.nn.init.constant_(node.w, 0.5)
    x = inputs(torch.float64, T=9).requires_grad_()
    y = x.detach().clone().requires_grad_()
    steps = list(published(y, name.endswith("hard"), detach))
    spikes, potentials = (torch.stack([step[k] for step in steps]) for k in (0, 1))
    got = node(x)
    w_spike, w_v, _ = weights(x)
    ((got * w_spike).sum() + (node.v_seq * w_v).sum()).backward()
    ((spikes * w_spike).sum() + (potentials * w_v).sum()).backward()
    assert 0.05 < spikes.mean() < 0.95 and torch.equal(got, spikes)
    close("v_seq", node.v_seq.detach(), potentials.detach(), 1e-12)
    close("grad.x", x.grad, y.grad, 1e-12)
    if name == "ltmd":
        close("grad.w", node.w.grad, steps[-1][2].grad, 1e-12)


def test_rplif_grows_with_spikes_in_a_row_and_falls_back():
    node = RPLIFNode(tau=2.0, alpha=2.0, decay_input=False, v_reset=0.0)
    seen = []
    for x in (1.0, 2.0, 4.0, 7.5, 1.0):  # thresholds 1, 2, 4, 8, 1; at rest before each but the last
        spike = node(torch.tensor([x])).item()
        seen.append((spike, node.state[1].item()))
    assert seen == [(1, 2), (1, 4), (1, 8), (0, 1), (1, 2)]


# ---- gated LIF, one conduct per step ---------------------------------------------------------------------------------


def glif(node, x_seq):
    """GLIF with the spike of the step before as a state of its own, from the neuron's logits."""
    raw = {name[4:]: parameter for name, parameter in node.named_parameters()}
    p = {name: torch.sigmoid(value) for name, value in raw.items()}
    shape = (-1, *(1,) * (x_seq.dim() - 3)) if raw["a"].dim() else ()
    a, b, c, tau, th, leak, sub = (
        p[name].view(shape) for name in ("a", "b", "c", "tau", "v_threshold", "linear_decay", "v_subreset")
    )
    u = s = torch.zeros_like(x_seq[0])
    for t, x in enumerate(x_seq):
        g = (p["conduct"] if node.T is None else p["conduct"][t]).view(shape)
        x = x * (1 - b * (1 - g))
        u = (1 - a * (1 - tau)) * u * (1 - c * s) - (1 - a) * leak + x - (1 - c) * sub * s
        s = fire(u - th)
        yield s


def gated(T, channels, **arguments):
    torch.manual_seed(5)
    node = GatedLIFNode(T, channels=channels, step_mode="m", **SURROGATE, **arguments).double()
    with torch.no_grad():
        for parameter in node.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.7)
    return node


@pytest.mark.parametrize("T", [None, 7])
@pytest.mark.parametrize("channels", [None, CHANNELS])
@pytest.mark.parametrize("engine", ["native", "torch"])
def test_gated_published_step(T, channels, engine):
    node = gated(T, channels, engine=engine)
    peer = copy.deepcopy(node)
    x = inputs(torch.float64, T=7).requires_grad_()
    y = x.detach().clone().requires_grad_()
    weight = weights(x)[0]
    got, want = node(x), torch.stack(list(glif(peer, y)))
    assert 0.05 < want.mean() < 0.95 and torch.equal(got, want)
    (got * weight).sum().backward()
    (want * weight).sum().backward()
    close("grad.x", x.grad, y.grad, 1e-12)
    for (name, ours), theirs in zip(node.named_parameters(), peer.parameters(), strict=True):
        assert ours.grad.abs().max() > 0
        close(f"grad.{name}", ours.grad, theirs.grad, 1e-11)


@pytest.mark.parametrize("channels", [None, CHANNELS])
def test_gated_steps_one_by_one(channels):
    node = gated(5, channels, store_v_seq=True)
    x_seq = inputs(torch.float64, T=5)
    want, _, want_v = node(x_seq), None, node.v_seq
    node.reset()
    assert torch.equal(node.run(x_seq)[0], want)
    node.step_mode = "s"
    for _ in range(2):
        assert torch.equal(torch.stack([node(x) for x in x_seq]), want) and torch.equal(node.v_seq, want_v)
        with pytest.raises(StateError, match=r"^GatedLIFNode\.state: must .*T = 5.*reset_net"):
            node(x_seq[0])
        assert copy.deepcopy(node)(x_seq[0]).equal(want[0])
        functional.reset_net(node)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_gated_half_types(dtype):
    node = gated(6, CHANNELS).float()
    low = inputs(dtype).requires_grad_()
    full = low.detach().float().requires_grad_()
    got, want = node(low), node(full)
    assert got.dtype == dtype and torch.equal(got.float(), want)
    got.sum().backward()
    want.sum().backward()
    assert torch.equal(low.grad, full.grad.to(dtype))


@pytest.mark.parametrize("T", [None, 3])
def test_gated_gradcheck_of_every_logit(T):
    node = gated(T, 2)
    node.smooth = True
    x = torch.randn(3, 1, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: node(x), (x, *node.parameters()))


# ---- where learning starts -------------------------------------------------------------------------------------------


def test_starts():
    assert torch.tanh(torch.tensor(0.5)).allclose(LTMDNode().v_threshold)
    assert LTMDNode(v_threshold=-0.25, channels=4).v_threshold.tolist() == pytest.approx([-0.25] * 4)
    node = LTMDNode(channels=2)
    node.v_threshold = 0.75
    assert node.w.tolist() == pytest.approx([0.9729551] * 2) and [n for n, _ in node.named_parameters()] == ["w"]
    values = GatedLIFNode(4).values()
    want = {"tau": 0.25, "v_threshold": 0.5, "linear_decay": 0.0625, "v_subreset": 0.5, "conduct": 0.5}
    for name, value in want.items():
        torch.testing.assert_close(values.pop(name), torch.full((4,) if name == "conduct" else (), value))
    assert {name: 0.475 < gate.item() < 0.525 for name, gate in values.items()} == dict.fromkeys("abc", True)
    node = GatedLIFNode(gates=(0.1, 0.2, 0.3), v_threshold=0.75, channels=2)
    assert node.values()["b"].tolist() == pytest.approx([0.2] * 2)
    assert node.v_threshold.tolist() == pytest.approx([0.75] * 2)
    assert node.values()["conduct"].shape == (2,) and GatedLIFNode(3, channels=2).raw_conduct.shape == (3, 2)
    node.v_threshold = 0.5
    assert node.v_threshold.tolist() == [0.5, 0.5]
    assert "T=None, channels=2" in repr(node)


def test_half_of_each_threshold():
    assert HalfThresholdIFNode(v_threshold=1.5).v == 0.75
    threshold = torch.nn.Parameter(torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64))
    for engine in ("native", "torch"):
        node = HalfThresholdIFNode(v_threshold=threshold, step_mode="m", engine=engine)
        assert node.v.tolist() == [0.5, 1.0, 2.0]
        x = torch.tensor([[[0.5, 0.5, 0.5]], [[0.0, 0.5, 1.5]]], dtype=torch.float64)
        spike_seq, last, _ = run(node, x, None)
        assert spike_seq.tolist() == [[[1, 0, 0]], [[0, 1, 1]]] and last.tolist() == [[[0, 0, 0]]]
        threshold.grad = None
        last.sum().backward()  # through the start: 1/2; through the soft reset: -1, and the spike's own
        soft = HalfThresholdIFNode(v_threshold=threshold, step_mode="m", engine=engine, detach_reset=True)
        run(soft, x, None)[1].sum().backward()
        assert (threshold.grad != -1).all()
        threshold.grad = None
        run(soft, x, None)[1].sum().backward()
        assert threshold.grad.tolist() == [-0.5, -0.5, -0.5]


# ---- bad arguments ---------------------------------------------------------------------------------------------------

BAD = [
    *((RPLIFNode, "alpha", value) for value in (0.99, -1, "2", float("nan"), None)),
    *((cls, "tau", value) for cls in (RPLIFNode, ILIFNode, LTMDNode) for value in (1.0, "2", torch.tensor([2.0, 1]))),
    *((ILIFNode, n, value) for n in ("current_decay", "membrane_decay") for value in (-0.1, 1.1, "1", float("inf"))),
    *((cls, "v_reset", value) for cls in (ILIFNode, HalfThresholdIFNode) for value in (0.0, "none", torch.zeros(1))),
    *((LTMDNode, "v_reset", value) for value in (None, 0.5, "none", False)),
    *((GatedLIFNode, "v_reset", value) for value in (None, 0.0, "soft", False)),
    *((LTMDNode, "v_threshold", value) for value in (1.0, -1, 2.0, "1", torch.tensor(0.5), None)),
    *((GatedLIFNode, n, v) for n in ("v_threshold", "tau", "conduct") for v in (0.0, 1, -1, "1", torch.tensor(0.5))),
    *((GatedLIFNode, n, v) for n in ("linear_decay", "v_subreset") for v in (0.0, 1.0, "1", float("nan"))),
    *((cls, "channels", v) for cls in (LTMDNode, GatedLIFNode) for v in (0, -1, 2.0, "3", True)),
    *((GatedLIFNode, "T", v) for v in (0, -1, 2.0, "3", True)),
    *((GatedLIFNode, "gates", v) for v in ((0.5, 0.5), 0.5, "abc?")),
    *((HalfThresholdIFNode, "v_threshold", v) for v in (0.0, -1.0, torch.tensor([1.0, 0.0]))),
    *((cls, "noise", v) for cls in NEURONS.values() for v in (-0.1, "1", float("nan"), True, None)),
]  # fmt: skip


@pytest.mark.parametrize(("cls", "name", "value"), BAD, ids=lambda v: getattr(v, "__name__", str(v)))
def test_bad_arguments_are_named(cls, name, value):
    with pytest.raises(ArgumentError, match=rf"^{cls.__name__}\.{name}: must .*, got .*; "):
        cls(**{name: value})


def test_bad_arguments_are_refused_later_too():
    for node, name, value in (
        (ILIFNode(), "v_reset", 0.0), (LTMDNode(), "v_threshold", 1.0), (GatedLIFNode(), "v_threshold", 0.0),
        (GatedLIFNode(), "v_reset", None), (RPLIFNode(), "noise", -1.0),
    ):  # fmt: skip
        before = getattr(node, name)
        with pytest.raises(ArgumentError, match=rf"^{type(node).__name__}\.{name}: must "):
            setattr(node, name, value)
        assert getattr(node, name) == before


def test_the_reset_of_the_paper_may_be_given():
    assert ILIFNode(v_reset=None).v_reset is None and HalfThresholdIFNode(v_reset=None).v_reset is None
    assert LTMDNode(v_reset=0).v_reset == 0.0 and GatedLIFNode(v_reset="none").v_reset == "none"


def test_gated_lengths_and_channels_are_named():
    for steps in (3, 5):
        node = GatedLIFNode(4, step_mode="m")
        for call in (node, node.run):
            with pytest.raises(ArgumentError, match=r"^GatedLIFNode\.x: must have T = 4 time steps.*T=None"):
                call(torch.zeros(steps, 2, 3))
    for T in (None, 4):
        node = GatedLIFNode(T, channels=3, step_mode="m")
        for shape in ((4, 2, 4), (4, 3), (4, 2, 1)):
            with pytest.raises(ArgumentError, match=r"^GatedLIFNode\.\w+: must have as many elements"):
                node(torch.zeros(shape))
    half = HalfThresholdIFNode(v_threshold=torch.ones(3), step_mode="m")
    with pytest.raises(ArgumentError, match=r"^HalfThresholdIFNode\.v_threshold: must have as many elements"):
        half(torch.zeros(4, 2, 4))
