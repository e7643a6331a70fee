"""Synaptic, Alpha and Lapicque equal snnTorch 1.0.0, CUBALIFNode and RAFNode SpikingJelly 2.0.0, both in float64.

Where the peers are wrong, or do something else on purpose, a test says what they do and what is done here.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

import pytest
import torch
from torch import Tensor

from neuron.cases import V_THRESHOLD, close, evaluate, run, surrogates, weights
from snncore.neuron import Alpha, CUBALIFNode, Lapicque, RAFNode, Synaptic

T, SHAPE = 8, (6, 5)  # [B, C]: what is per neuron there is per channel here
SURROGATES = {name: surrogates()[name] for name in ("atan", "piecewise_quadratic", "rect", "sigmoid", "super_spike")}
WHY = "is not installed: pip install --no-deps -r tests/oracles.txt"


@pytest.fixture(scope="module")
def snn():
    return pytest.importorskip("snntorch", reason=f"snnTorch {WHY}")


@pytest.fixture(scope="module")
def sj():
    pytest.importorskip("spikingjelly", reason=f"SpikingJelly {WHY}")
    return {n: importlib.import_module(f"spikingjelly.activation_based.{n}") for n in ("neuron", "surrogate")}


def strict(ours):
    """Return a spike_grad for snnTorch: fires above threshold (its own are float32), with our surrogate's gradient."""

    class Fire(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, u: Tensor) -> Tensor:
            ctx.save_for_backward(u)
            return (u > 0).to(u)

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            u = ctx.saved_tensors[0].detach().requires_grad_()
            with torch.enable_grad():
                return g * torch.autograd.grad(ours.step(u).sum(), u)[0]

    return Fire.apply


def data(states: int, scale: float, shift: float, seed: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x_seq = torch.randn(T, *SHAPE, generator=generator, dtype=torch.float64) * scale + shift
    return x_seq, torch.randn((states, *SHAPE), generator=generator, dtype=torch.float64) * 0.3


def step_through(step, x_seq: Tensor, state: Tensor, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    """As ``evaluate``, for step(x, states, potential first) -> (spike, states)."""
    x_seq, start = x_seq.clone().requires_grad_(), state.clone().requires_grad_()
    states, spikes, potentials = start.unbind(0), [], []
    for x in x_seq:
        spike, states = step(x, states)
        spikes.append(spike)
        potentials.append(states[0])
    spike_seq, v_seq, last = torch.stack(spikes), torch.stack(potentials), torch.stack(tuple(states))
    w_spike, w_v, w_last = weights(x_seq, len(state))
    ((spike_seq * w_spike).sum() + (v_seq * w_v).sum() + (last * w_last).sum()).backward()
    out = {"spike_seq": spike_seq, "v_seq": v_seq, "last": last, "grad.x": x_seq.grad, "grad.state": start.grad}
    return {k: v.detach() for k, v in out.items()} | {f"grad.{n}": p.grad for n, p in parameters.items()}


def compare(what, node, x_seq, state, step, parameters, tolerance=1e-10):
    got, want = evaluate(node, x_seq, state), step_through(step, x_seq, state, parameters)
    assert got.keys() == want.keys()
    rate = want["spike_seq"].mean()
    assert 0.05 < rate < 0.95, f"{what}: nothing to test, {rate:.2f} spikes per step"
    assert torch.equal(got["spike_seq"], want["spike_seq"]), what
    for key in got:
        close(f"{what}: {key}", got[key], want[key], tolerance)


# ---- snnTorch --------------------------------------------------------------------------------------------------------


def synaptic_step(peer):
    def step(x, states):
        spike, syn, mem = peer(x, states[1], states[0])
        return spike, (mem, syn)

    return step


def alpha_step(peer):
    def step(x, states):
        spike, exc, inh, mem = peer(x, states[1], states[2], states[0])
        return spike, (mem, exc, inh)

    return step


def lapicque_step(peer):
    def step(x, states):
        spike, mem = peer(x, states[0])
        return spike, (mem,)

    return step


DECAYS = {  # exact in float32, to which snnTorch rounds numbers; both cut to [0, 1]
    "scalar": (0.625, 0.8125),
    "beyond": (1.25, -0.5),
    "per_neuron": (torch.tensor([0.9, 0.35, 0.6, 1.25, 0.0]), torch.tensor([0.3, 0.8, 1.5, 0.7, -0.25])),
}


def synaptic_pair(snn, decays, mechanism, delay, learn, ours):
    alpha, beta = DECAYS[decays]
    learned = {"learn_alpha": learn, "learn_beta": learn, "learn_threshold": learn}
    resets = {"reset_mechanism": mechanism, "reset_delay": delay}
    node = Synaptic(alpha, beta, v_threshold=V_THRESHOLD, spike_grad=ours, step_mode="m", **resets, **learned).double()
    peer = snn.Synaptic(alpha, beta, threshold=V_THRESHOLD, spike_grad=strict(ours), **resets, **learned).double()
    parameters = {"alpha": peer.alpha, "beta": peer.beta, "v_threshold": peer.threshold} if learn else {}
    return node, synaptic_step(peer), parameters


@pytest.mark.parametrize("learn", [False, True], ids=["fixed", "learned"])
@pytest.mark.parametrize("decays", DECAYS)
@pytest.mark.parametrize("mechanism", ["subtract", "zero", "none"])
def test_synaptic_delayed(snn, mechanism, decays, learn):
    for name, ours in SURROGATES.items():
        node, step, parameters = synaptic_pair(snn, decays, mechanism, True, learn, ours)
        compare(f"{name}, {mechanism}", node, *data(2, 0.9, 0.2), step, parameters)


@pytest.mark.parametrize("learn", [False, True], ids=["fixed", "learned"])
@pytest.mark.parametrize("decays", ["scalar", "per_neuron"])
@pytest.mark.parametrize("mechanism", ["subtract", "zero"])
def test_synaptic_at_once(snn, mechanism, decays, learn):
    """Where snnTorch's own form is right: no potential is above threshold after its reset."""
    for name, ours in SURROGATES.items():
        node, step, parameters = synaptic_pair(snn, decays, mechanism, False, learn, ours)
        x_seq, state = data(2, 0.1, 0.06)
        state = state * 0.5
        if mechanism == "subtract":
            with torch.no_grad():
                assert run(node, x_seq, state)[2].max() < V_THRESHOLD, "this input leaves that regime"
        compare(f"{name}, {mechanism}", node, x_seq, state, step, parameters)


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("mechanism", ["subtract", "zero"])
def test_synaptic_at_once_with_any_input(mechanism, detach):
    """Beyond that regime: the published recursion, with the reset right after the spike."""
    for name, ours in SURROGATES.items():
        fire = strict(ours)

        def step(x, states, fire=fire):
            i = 0.625 * states[1] + x
            h = 0.8125 * states[0] + i
            spike = fire(h - V_THRESHOLD)
            kept = spike.detach() if detach else spike
            return spike, (h - kept * (h if mechanism == "zero" else V_THRESHOLD), i)

        node = Synaptic(
            0.625, 0.8125, v_threshold=V_THRESHOLD, spike_grad=ours, step_mode="m", reset_mechanism=mechanism,
            reset_delay=False, detach_reset=detach,
        )  # fmt: skip
        compare(f"{name}, {mechanism}, {detach}", node, *data(2, 0.9, 0.2), step, {})


def test_synaptic_at_once_loses_no_spike_where_snntorch_does(snn):
    x_seq = torch.tensor([3.5, 0, 0, 0, 0, 0], dtype=torch.float64).view(-1, 1)
    assert Synaptic(0.0, 1.0, reset_delay=False, step_mode="m")(x_seq).flatten().tolist() == [1, 1, 1, 0, 0, 0]
    peer = snn.Synaptic(0.0, 1.0, reset_delay=False).double()
    syn = mem = torch.zeros(1, dtype=torch.float64)
    spikes = []
    for x in x_seq:
        spike, syn, mem = peer(x, syn, mem)
        spikes.append(spike.item())
    assert spikes == [1, 1, 0, 0, 0, 0], "snnTorch has mended this: compare at once with any input"


@pytest.mark.parametrize("learn", [False, True], ids=["fixed", "learned"])
@pytest.mark.parametrize("beta", [0.25, torch.tensor([0.5, 0.25, 0.75, 0.3, 0.6])], ids=["scalar", "per_neuron"])
@pytest.mark.parametrize("mechanism", ["subtract", "zero", "none"])
def test_alpha(snn, mechanism, beta, learn):
    learned = {"learn_beta": learn, "learn_threshold": learn, "reset_mechanism": mechanism}
    for name, ours in SURROGATES.items():
        node = Alpha(0.875, beta, v_threshold=V_THRESHOLD, spike_grad=ours, step_mode="m", **learned).double()
        peer = snn.Alpha(0.875, beta, threshold=V_THRESHOLD, spike_grad=strict(ours), **learned).double()
        parameters = {"beta": peer.beta, "v_threshold": peer.threshold} if learn else {}
        compare(f"{name}, {mechanism}", node, *data(3, 1.5, 0.3), alpha_step(peer), parameters)


def test_alpha_learns_alpha_where_snntorch_cannot(snn):
    with pytest.raises(TypeError):
        snn.Alpha(0.875, 0.25, learn_alpha=True)
    x_seq, state = data(3, 1.5, 0.3)
    found = evaluate(
        Alpha(0.875, 0.25, learn_alpha=True, v_threshold=V_THRESHOLD, step_mode="m").double(), x_seq, state
    )
    assert found["grad.alpha"].abs() > 1e-3  # that it is right: test_gradcheck


CIRCUITS: dict[str, dict[str, float]] = {
    "R, C": {"R": 5.125, "C": 1.25},
    "R, C, time_step": {"R": 2.5, "C": 0.75, "time_step": 0.5},
    "beta": {"beta": 0.8125},
    "beta, R": {"beta": 0.625, "R": 2.5},
    "beta, C": {"beta": 0.5, "C": 0.75, "time_step": 0.25},
}


@pytest.mark.parametrize("circuit", CIRCUITS)
@pytest.mark.parametrize("learn", [False, True], ids=["fixed", "learn_threshold"])
@pytest.mark.parametrize("mechanism", ["subtract", "zero", "none"])
def test_lapicque(snn, mechanism, learn, circuit):
    given = CIRCUITS[circuit]
    common = {"reset_mechanism": mechanism, "learn_threshold": learn}
    wide = {k: torch.tensor(v, dtype=torch.float64) for k, v in given.items()}  # snnTorch computes in what it is given
    for name, ours in SURROGATES.items():
        node = Lapicque(v_threshold=V_THRESHOLD, spike_grad=ours, step_mode="m", **given, **common).double()
        peer = snn.Lapicque(threshold=V_THRESHOLD, spike_grad=strict(ours), **wide, **common).double()
        parameters = {"v_threshold": peer.threshold} if learn else {}
        gain = node.coefficients()["gain"]
        compare(f"{name}, {mechanism}", node, *data(1, 1.0 / gain, 0.6 / gain), lapicque_step(peer), parameters)


def test_lapicque_beta_is_no_decay_at_snntorch(snn):
    """It decays by 1 + ln(beta), and learning beta changes nothing."""
    peer = snn.Lapicque(0.5, threshold=9.0, learn_beta=True).double()
    assert peer(torch.zeros(1).double(), torch.ones(1).double())[1].item() == pytest.approx(0.30685, abs=1e-4)
    with torch.no_grad():
        peer.beta.fill_(0.9)
    assert peer(torch.zeros(1).double(), torch.ones(1).double())[1].item() == pytest.approx(0.30685, abs=1e-4)
    impulse = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    for exact, beta, decay in ((False, 0.5, 0.3068528194400547), (True, 0.5, 0.5), (True, 0.9, 0.9)):
        node = Lapicque(beta, exact=exact, v_threshold=9.0, step_mode="m", store_v_seq=True)
        node(impulse)
        assert (node.v_seq[1] / node.v_seq[0]).item() == pytest.approx(decay, abs=1e-15)


# ---- SpikingJelly ----------------------------------------------------------------------------------------------------

RESETS = {"hard": 0.0, "hard-0.25": -0.25, "soft": None}


@pytest.mark.parametrize("detach", [False, True], ids=["attached", "detach_reset"])
@pytest.mark.parametrize("v_reset", RESETS.values(), ids=RESETS)
@pytest.mark.parametrize(
    ("cls", "arguments"),
    [
        (CUBALIFNode, {}),
        (CUBALIFNode, {"c_decay": 0.3, "v_decay": 0.9}),
        (RAFNode, {}),
        (RAFNode, {"b": -0.05, "omega": 1.7, "dt": 0.5}),
    ],
    ids=lambda v: getattr(v, "__name__", "-".join(map(str, v.values())) if isinstance(v, dict) else v),
)
def test_spikingjelly(sj, cls, arguments, v_reset, detach):
    for name, ours in SURROGATES.items():
        theirs = getattr(sj["surrogate"], type(ours).__name__)(**dataclasses.asdict(ours))
        common = {"v_threshold": V_THRESHOLD, "v_reset": v_reset, **arguments}
        node = cls(surrogate_function=ours, detach_reset=detach, step_mode="m", **common)
        peer = getattr(sj["neuron"], cls.__name__)(surrogate_function=theirs, **common)
        peer.detach_reset, peer.step_mode = detach, "s"  # no arguments of its CUBALIFNode
        other = "c" if cls is CUBALIFNode else "u"

        def step(x, states, peer=peer, other=other):
            peer.v = states[0]
            setattr(peer, other, states[1])
            return peer(x), (peer.v, getattr(peer, other))

        compare(f"{name}, {detach}", node, *data(2, 0.9, 0.4), step, {})


def test_spikingjelly_defaults(sj):
    for cls in (CUBALIFNode, RAFNode):
        node, peer = cls(), getattr(sj["neuron"], cls.__name__)()
        names = ("v_threshold", "v_reset", "detach_reset", "step_mode", "c_decay", "v_decay", "b", "omega", "dt")
        mine = {name: getattr(node, name) for name in names if hasattr(node, name)}
        assert mine == {k: getattr(peer, k) for k in mine}
        assert type(node.surrogate_function).__name__ == type(peer.surrogate_function).__name__
        assert node.surrogate_function.alpha == peer.surrogate_function.alpha
