"""Ternary, integer, complementary and two-compartment neurons against SpikingJelly 2.0.0 and the published equations.

Inputs are free floats: no potential lies exactly at a threshold, about which peers differ.
"""

from __future__ import annotations

import importlib
import math

import pytest
import torch

from neuron.cases import close, evaluate, run, weights
from snncore import surrogate
from snncore.errors import ArgumentError
from snncore.neuron import (
    ComplementaryLIFNode,
    IELIFNode,
    IntegerLIFNode,
    STBIFNode,
    TernaryIFNode,
    TernaryLIFNode,
    TSLIFNode,
)

WHY = "SpikingJelly is not installed: pip install --no-deps -r tests/oracles.txt"
T, SHAPE = 8, (2, 3, 5)
each_detach = pytest.mark.parametrize("detach", [False, True])


@pytest.fixture
def sj():
    """SpikingJelly's neurons and surrogates."""
    pytest.importorskip("spikingjelly", reason=WHY)
    return tuple(importlib.import_module(f"spikingjelly.activation_based.{m}") for m in ("neuron", "surrogate"))


def floats(scale=1.0, shift=0.3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(T, *SHAPE, generator=generator, dtype=torch.float64) * scale + shift


def loss(spikes, potentials, states):
    w_spike, w_v, w_last = weights(spikes, len(states))
    return (spikes * w_spike).sum() + (potentials * w_v).sum() + (torch.stack(states) * w_last).sum()


def through(step, x_seq, state, parameters=()):
    """As ``evaluate``, with ``step(x, *state) -> spike, *state`` called once a step; the potential is state 0."""
    x_seq = x_seq.clone().requires_grad_()
    state = tuple(x_seq.new_full(SHAPE, s) for s in state)
    spikes, potentials = [], []
    for x in x_seq:
        spike, *state = step(x, *state)
        spikes.append(spike)
        potentials.append(state[0])
    spikes, potentials = torch.stack(spikes), torch.stack(potentials)
    loss(spikes, potentials, state).backward()
    out = {"spike_seq": spikes.detach(), "v_seq": potentials.detach(), "last": torch.stack(state).detach()}
    return out | {"grad.x": x_seq.grad} | {f"grad.{name}": p.grad for name, p in parameters}


def peer(node, *states):
    """Return a step of SpikingJelly's ``node``, whose states are the attributes ``states``."""

    def step(x, *_):
        spike = node(x)
        return spike, *(getattr(node, name) for name in states)

    return step


def compare(node, x_seq, want, what=""):
    """Assert that ``node``, on both engines, gives ``want``."""
    for engine in ("native", "torch"):
        node.engine = engine
        got = evaluate(node, x_seq)
        assert got.keys() == want.keys()
        for key in want:
            close(f"{what} {engine}: {key}", got[key], want[key], 1e-11)
    assert (want["spike_seq"] != 0).double().mean() > 0.05
    assert len(want["spike_seq"].unique()) > 1


class Fire(torch.autograd.Function):
    """1 where u >= 0; in backward a s(au) (1 - s(au)), s the logistic function, a = 3."""

    @staticmethod
    def forward(ctx, u):
        ctx.save_for_backward(u)
        return (u >= 0).to(u)

    @staticmethod
    def backward(ctx, g):
        (u,) = ctx.saved_tensors
        s = 1 / (1 + torch.exp(-3 * u))
        return g * 3 * s * (1 - s)


fire = Fire.apply
SIGMOID = surrogate.Sigmoid(3.0)


# ---- SpikingJelly ----------------------------------------------------------------------------------------------------

PAIRS = [("Sigmoid", surrogate.Sigmoid(2.5)), ("ATan", surrogate.ATan(1.5)), ("Rect", surrogate.Rect(0.6))]


@each_detach
@pytest.mark.parametrize("v_reset", [0.0, 0.2, None])
def test_ternary(sj, v_reset, detach):
    neuron, surrogates = sj
    kinds = [
        (TernaryIFNode, neuron.TernaryIFNode, {}),
        (TernaryLIFNode, neuron.TernaryLIFNode, {"tau": 1.7}),
        (TernaryLIFNode, neuron.TernaryLIFNode, {"tau": 2.5, "decay_input": False}),
    ]
    for ours, theirs, arguments in kinds:
        for name, s in PAIRS:
            common = {"v_threshold": 0.8, "v_reset": v_reset, "detach_reset": detach, **arguments}
            other = theirs(surrogate_function=getattr(surrogates, name)(alpha=s.alpha), **common).double()
            x_seq = floats(1.2, 0.0)
            want = through(peer(other, "v"), x_seq, (0.0,))
            assert want["spike_seq"].unique().tolist() == [-1.0, 0.0, 1.0]
            compare(ours(surrogate_function=s, step_mode="m", **common), x_seq, want, f"{name} {arguments}")


@each_detach
@pytest.mark.parametrize(("levels", "window"), [(4, None), (2, None), (3, (-0.5, 2.25))])
def test_integer(sj, levels, window, detach):
    neuron, surrogates = sj
    for arguments in ({}, {"tau": 2.5, "v_threshold": 0.7}):
        rounds = surrogates.MultiLevelSpikeCount(levels, grad_window=window)
        other = neuron.ILIFNode(**{"tau": 4 / 3, **arguments}, surrogate_function=rounds, detach_reset=detach).double()
        ours = {} if window is None else {"surrogate_function": surrogate.MultiLevel(*window)}
        x_seq = floats(1.5, 0.8)
        want = through(peer(other, "v"), x_seq, (0.0,))
        assert want["spike_seq"].unique().tolist() == [float(n) for n in range(levels + 1)]
        compare(IntegerLIFNode(levels, detach_reset=detach, step_mode="m", **arguments, **ours), x_seq, want)


def test_complementary(sj):
    neuron, surrogates = sj
    for tau in (2.0, 1.4):
        for name, s in PAIRS:
            other = neuron.ComplementaryLIFNode(
                tau=tau, v_threshold=0.6, surrogate_function=getattr(surrogates, name)(alpha=s.alpha)
            ).double()
            x_seq = floats(1.0, 0.6)
            want = through(peer(other, "v", "m"), x_seq, (0.0, 0.0))
            compare(ComplementaryLIFNode(tau, v_threshold=0.6, surrogate_function=s, step_mode="m"), x_seq, want, name)


@pytest.mark.parametrize("engine", ["native", "torch"])
@pytest.mark.parametrize("sym", [False, True])
@pytest.mark.parametrize(("scale", "level"), [(0.5, 8), (0.3, 5), (1.7, 2), (0.07, 32)])
def test_bipolar_is_exact(sj, scale, level, sym, engine):
    """Forward bit for bit; SpikingJelly has no gradient here."""
    neuron, _ = sj
    scale = float(torch.tensor(scale))  # which it keeps in float32
    other = neuron.STBIFNode(scale, level, sym=sym).double()
    x_seq = floats(2 * scale, 0.3 * scale)
    node = STBIFNode(level, sym, v_threshold=scale, step_mode="m", engine=engine)
    with torch.no_grad():
        want = torch.stack([other(x) for x in x_seq])
        spike_seq, last, _ = run(node, x_seq, None)
    assert torch.equal(spike_seq, want)
    assert torch.equal(last, torch.stack([other.q, other.acc_q]))
    assert len(spike_seq.unique()) == 3


# ---- no peer: the published equations --------------------------------------------------------------------------------


@each_detach
def test_two_compartments(detach):
    """Feng et al., ICLR 2025."""
    d = torch.tensor([0.8, 0.7, 0.35, 0.9], dtype=torch.float64, requires_grad=True)
    k, y = (torch.tensor(n, dtype=torch.float64, requires_grad=True) for n in (0.7, 0.15))
    a_s, a_l = (torch.tensor(n, dtype=torch.float64, requires_grad=True) for n in ([0.9, -0.5, 2.0], [0.6, 1.3, 0.4]))

    def step(x, v2, v1):
        h1 = d[0] * v1 + d[1] * x - y * v2
        h2 = d[2] * v2 + d[3] * x - k * h1
        soma, dendrite = fire(h2 - 0.6), fire(h1 - 0.6)
        out = a_s[:, None] * soma + a_l[:, None] * dendrite
        if detach:
            soma, dendrite = soma.detach(), dendrite.detach()
        return out, h2 - 0.6 * soma, h1 - 0.5 * dendrite

    x_seq = floats(1.5, 0.8)
    named = {"decay": d, "k": k, "y": y, "alpha_s": a_s, "alpha_l": a_l}
    want = through(step, x_seq, (0.0, 0.0), named.items())
    node = TSLIFNode(
        **{name: value.detach().clone() for name, value in named.items()},
        v_threshold=0.6, surrogate_function=SIGMOID, detach_reset=detach, step_mode="m",
    )  # fmt: skip
    assert {name for name, _ in node.named_parameters()} == set(named)
    compare(node, x_seq, want)
    assert len(want["spike_seq"].unique()) == 10  # 3 features of 3 kinds of spike, and none


def test_two_compartments_share_nothing():
    first, second = TSLIFNode(), TSLIFNode()
    with torch.no_grad():
        first.decay.fill_(0.0)
    assert second.decay.tolist() == pytest.approx([0.8, 0.2, 0.3, 0.7])
    assert not list(TSLIFNode(learn=False).parameters())
    assert (first.k.item(), first.y.item(), first.gamma) == (pytest.approx(0.8), pytest.approx(0.1), 0.5)


@each_detach
def test_complementary_with_decayed_input(detach):
    """Huang et al., ICML 2024, its h with x / tau; detach_reset detaches the gate and nothing else."""

    def step(x, v, m):
        h = v + (x - v) / 1.6
        spike = fire(h - 0.5)
        m = m / (1 + torch.exp(-h / 1.6)) + spike
        gate = spike.detach() if detach else spike
        return spike, h - gate * (0.5 + 1 / (1 + torch.exp(-m))), m

    x_seq = floats(1.5, 0.8)
    node = ComplementaryLIFNode(
        1.6, True, v_threshold=0.5, surrogate_function=SIGMOID, detach_reset=detach, step_mode="m"
    )
    compare(node, x_seq, through(step, x_seq, (0.0, 0.0)))


@each_detach
@pytest.mark.parametrize("sym", [False, True])
def test_bipolar_gradient(sym, detach):
    """You et al., ICML 2024, with the surrogate in the place of both comparisons."""
    most, least = (1, -2) if sym else (3, 0)

    def step(x, q, count):
        q = q + x / 0.4
        spike = fire(q - 1) * (count < most).to(x) - (1 - fire(q)) * (count > least).to(x)
        return spike * 0.4, q - (spike.detach() if detach else spike), count + spike

    x_seq = floats(0.8, 0.1)
    node = STBIFNode(4, sym, v_threshold=0.4, surrogate_function=SIGMOID, detach_reset=detach, step_mode="m")
    want = through(step, x_seq, (0.5, 0.0))
    assert (want["last"][1] == most).any() and (want["last"][1] == least).any()
    compare(node, x_seq, want)


@pytest.mark.parametrize("sym", [False, True])
def test_bipolar_sums_to_what_the_quantiser_gives(sym):
    node = STBIFNode(8, sym, v_threshold=0.25, step_mode="m")
    x_seq = torch.zeros(40, 300, dtype=torch.float64)
    x_seq[:6] = torch.randn(6, 300, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 0.5
    x_seq[:, 0] = torch.zeros(40)
    x_seq[0, 0] = -0.125  # q = 0, where no negative spike is due
    want = 0.25 * torch.floor(x_seq.sum(0) / 0.25 + 0.5).clamp(node.least, node.most)
    assert torch.equal(node(x_seq).sum(0), want)
    assert want.unique().numel() == 8


@pytest.mark.parametrize("engine", ["native", "torch"])
@pytest.mark.parametrize("scale", [None, 0.5])
def test_multi_bit_spike_is_the_published_quantiser(scale, engine):
    """Qiu et al., ICLR 2025: elementwise, ties up, gradient strictly within the clip; nothing goes over time."""
    x_seq = torch.cat(
        [floats(0.6, 0.4).view(T, -1), (torch.arange(-16, 80).double() / 64).view(1, -1).expand(T, -1)], 1
    )
    x_seq = x_seq.clone().requires_grad_()
    node = IELIFNode(scale=scale, step_mode="m", engine=engine)
    weight = torch.randn(x_seq.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    spikes = node(x_seq)
    (spikes * weight).sum().backward()
    step = 0.25 if scale is None else scale
    want = torch.tensor([min(math.floor(min(max(4 * v, 0.0), 4.0) + 0.5), 4) for v in x_seq.flatten().tolist()])
    assert torch.equal(spikes.flatten(), want.double() * step)
    inside = (4 * x_seq > 0) & (4 * x_seq < 4)
    assert torch.equal(x_seq.grad, inside * weight * (4 * step))
    assert torch.equal(node(x_seq.flip(0)).flip(0), spikes), "a step reached another"


def test_multi_bit_spike_over_time_is_the_integer_neuron_in_other_units():
    """The extension tau: I-LIF whose threshold is one level, but for ties."""
    x_seq = floats(0.6, 0.5)
    for detach in (False, True):
        ours = IELIFNode(4, scale=1.0, tau=1.8, v_threshold=2.0, detach_reset=detach, step_mode="m")
        other = IntegerLIFNode(4, 1.8, v_threshold=0.5, detach_reset=detach, step_mode="m", engine="torch")
        compare(ours, x_seq, evaluate(other, x_seq))


@pytest.mark.parametrize("engine", ["native", "torch"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_counts_are_exact_and_ties_go_where_they_should(dtype, engine):
    x = torch.tensor([[-0.5, -0.0, 0.0, 0.5, 1.5, 2.5, 3.5, 4.0, 4.5, 60.0]], dtype=dtype)
    even = IntegerLIFNode(5, step_mode="m", engine=engine)
    assert even(x).tolist() == [[0.0, 0.0, 0.0, 0.0, 2.0, 2.0, 4.0, 4.0, 4.0, 5.0]]
    up = IELIFNode(5, v_threshold=5.0, scale=1.0, step_mode="m", engine=engine)
    assert up(x).tolist() == [[0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 4.0, 5.0, 5.0]]
    third = IntegerLIFNode(3, normalize=True, step_mode="m", engine=engine)
    want = (torch.tensor([0, 0, 0, 0, 2, 2, 3, 3, 3, 3]).to(torch.promote_types(dtype, torch.float32)) * (1 / 3)).to(
        dtype
    )
    assert torch.equal(third(x)[0], want), "rounded more than once"
    assert third.run(x)[1][0].tolist() == [-0.5, 0.0, 0.0, 0.5, -0.5, 0.5, 0.5, 1.0, 1.5, 57.0], "not the whole count"
    many = IntegerLIFNode(256, step_mode="m", engine=engine)
    counts = torch.arange(257).to(dtype)
    assert torch.equal(many(counts[None])[0], counts)


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_the_ends_of_the_gradient_window(engine):
    """I-LIF passes the gradient at 0 and at D, the multi-bit spike at neither."""
    for node, want in (
        (IntegerLIFNode(2), [0, 0, 1, 1, 1, 0, 0]),
        (IELIFNode(2, v_threshold=2.0), [0, 0, 0, 1, 0, 0, 0]),
    ):
        node.engine, node.step_mode = engine, "m"
        x = torch.tensor([[-1.0, -1e-9, 0.0, 1.0, 2.0, 2.0 + 1e-9, 3.0]], dtype=torch.float64, requires_grad=True)
        (g,) = torch.autograd.grad(node(x).sum() / (1.0 if want[2] else 0.5), x)
        assert g.tolist() == [want]


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_an_amplitude_does_not_reach_the_reset(engine):
    x_seq = floats(1.2, 0.0)
    plain, loud = (TernaryLIFNode(amplitude=a, v_reset=None, step_mode="m", engine=engine) for a in (1.0, 2.5))
    assert torch.equal(loud(x_seq), 2.5 * plain(x_seq))
    assert torch.equal(loud.run(x_seq)[1][0], plain.run(x_seq)[1][0])


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_ternary_fires_at_equality_on_both_sides(engine):
    x = torch.tensor([[-1.0, -0.999, 0.0, 0.999, 1.0]])
    assert TernaryIFNode(step_mode="m", engine=engine)(x).tolist() == [[-1.0, 0.0, 0.0, 0.0, 1.0]]


# ---- arguments -------------------------------------------------------------------------------------------------------


def test_defaults():
    assert IntegerLIFNode(3).surrogate_function == surrogate.MultiLevel(0.0, 3.0) and IntegerLIFNode().detach_reset
    assert IELIFNode(3).surrogate_function == surrogate.OpenMultiLevel(0.0, 3.0) and not IELIFNode().detach_reset
    assert IntegerLIFNode().coefficients()["decay"] == pytest.approx(0.25)
    assert ComplementaryLIFNode().surrogate_function == surrogate.Rect(1.0)
    assert TSLIFNode().surrogate_function == surrogate.ATan(2.0)
    assert (STBIFNode(5).most, STBIFNode(5).least) == (4, 0)
    assert (STBIFNode(5, True).most, STBIFNode(5, True).least) == (1, -3)  # as SpikingJelly rounds
    assert TernaryLIFNode(v_reset=-0.25).v_rest == -0.25 and TernaryIFNode().v_reset == 0.0


SOFT = (IntegerLIFNode, IELIFNode, ComplementaryLIFNode, TSLIFNode, STBIFNode)
BAD = [
    *((cls, "v_reset", value) for cls in SOFT for value in (0.0, -1, "none", "soft", math.nan)),
    *((cls, "v_threshold", value) for cls in (TernaryIFNode, TernaryLIFNode, IntegerLIFNode, IELIFNode, STBIFNode)
      for value in (0.0, -1.0, math.nan, "1", torch.tensor([1.0, 0.0]))),
    *((cls, "tau", value) for cls in (TernaryLIFNode, IntegerLIFNode, IELIFNode, ComplementaryLIFNode)
      for value in (1.0, 0.5, math.inf, "2", True, torch.tensor([2.0, 1.0]))),
    *((cls, "amplitude", value) for cls in (TernaryIFNode, TernaryLIFNode)
      for value in (math.nan, "1", None, torch.zeros(2, 2))),
    *((cls, "tau", None) for cls in (TernaryLIFNode, IntegerLIFNode, ComplementaryLIFNode)),
    *((cls, "levels", value) for cls in (IntegerLIFNode, IELIFNode)
      for value in (0, -1, 2.0, "4", True, None, 1 << 21)),
    *((IELIFNode, "scale", value) for value in (math.nan, "1", True)),
    *((STBIFNode, "level", value) for value in (1, 0, -4, 8.0, "8", True, None)),
    *((TSLIFNode, "decay", value) for value in ((0.8, 0.2, 0.3), (1.0,) * 5, (0.8, 0.2, 0.3, math.nan),
                                                (0.8, 0.2, 0.3, "1"), torch.zeros(4, 1), torch.zeros(3))),
    *((TSLIFNode, name, value) for name in ("k", "y", "alpha_s", "alpha_l", "gamma")
      for value in (math.inf, "1", True, None)),
    (TernaryLIFNode, "v_rest", math.nan),
]  # fmt: skip


@pytest.mark.parametrize(("cls", "name", "value"), BAD, ids=lambda v: getattr(v, "__name__", str(v)))
def test_bad_arguments_are_named(cls, name, value):
    with pytest.raises(ArgumentError, match=rf"^{cls.__name__}\.{name}: must .*, got .*; "):
        cls(**{name: value})


@pytest.mark.parametrize("cls", SOFT)
def test_the_reset_stays_soft(cls):
    node = cls(v_reset=None)
    node.v_reset = None
    with pytest.raises(ArgumentError, match=rf"^{cls.__name__}\.v_reset: must be None"):
        node.v_reset = 0.0
    assert node.reset_kind == "soft"
