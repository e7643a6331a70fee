"""Synaptic, Alpha, Lapicque, CUBALIFNode and RAFNode: closed forms that need no peer, and their arguments."""

from __future__ import annotations

import cmath
import math

import pytest
import torch

from neuron.cases import CHANNELS
from snncore import surrogate
from snncore.errors import ArgumentError
from snncore.neuron import Alpha, CUBALIFNode, Lapicque, Leaky, RAFNode, Synaptic

SILENT = 1e9  # a threshold no potential reaches
ENGINES = pytest.mark.parametrize("engine", ["native", "torch"])


def potentials(node, x_seq: torch.Tensor, state=None) -> torch.Tensor:
    node.step_mode, node.store_v_seq = "m", True
    return node._run(x_seq, state)[2]


def impulse(T: int) -> torch.Tensor:
    return torch.eye(T, dtype=torch.float64)[0].view(T, 1)


# ---- closed forms ----------------------------------------------------------------------------------------------------


@ENGINES
def test_impulse_responses(engine):
    """Sums of geometric series: v of CUBA-LIF and Synaptic, h of Alpha with snnTorch's gain."""
    a, b, t = 0.75, 0.5, torch.arange(10, dtype=torch.float64).view(-1, 1)
    for make in (CUBALIFNode, Synaptic):
        v_seq = potentials(make(a, b, v_threshold=SILENT, engine=engine), impulse(10))
        torch.testing.assert_close(v_seq, (a ** (t + 1) - b ** (t + 1)) / (a - b), rtol=1e-14, atol=0)
    gain = math.log(a) / (math.log(b) - math.log(a)) + 1
    v_seq = potentials(Alpha(a, b, v_threshold=SILENT, engine=engine), impulse(10))
    torch.testing.assert_close(v_seq, gain * (a**t - b**t), rtol=1e-14, atol=1e-15)


@ENGINES
def test_alpha_function(engine):
    """As the class says: late by a step, about 0.5 five steps later."""
    v_seq = potentials(Alpha(v_threshold=SILENT, engine=engine), impulse(12)).flatten()
    assert v_seq[0] == 0.0 and v_seq.argmax() in (5, 6) and 0.49 < v_seq.max() < 0.52


@ENGINES
def test_lapicque_solves_its_circuit(engine):
    """v(t) = R x (1 - exp(-t/RC)) for constant x: met by ``exact``, approached by Euler in first order of the step."""
    R, C, x, end = 2.5, 1.5, 0.8, 4.0
    want = R * x * (1 - math.exp(-end / (R * C)))
    errors = {}
    for steps in (8, 16, 32):
        x_seq = torch.full((steps, 1), x, dtype=torch.float64)
        circuit = {"R": R, "C": C, "time_step": end / steps, "v_threshold": SILENT, "engine": engine}
        exact = potentials(Lapicque(exact=True, **circuit), x_seq)[-1].item()
        assert exact == pytest.approx(want, rel=1e-14)
        errors[steps] = abs(potentials(Lapicque(**circuit), x_seq)[-1].item() - want)
    assert errors[8] > 1e-2 and 1.8 < errors[8] / errors[16] < 2.3 and 1.8 < errors[16] / errors[32] < 2.3


def test_lapicque_from_beta():
    """beta = exp(-time_step/RC): whichever two are given, it is the same circuit."""
    R, C, dt = 2.5, 1.5, 0.75
    beta = math.exp(-dt / (R * C))
    for exact in (False, True):
        want = Lapicque(R=R, C=C, time_step=dt, exact=exact).coefficients()
        for given in ({"beta": beta, "R": R}, {"beta": beta, "C": C}):
            found = Lapicque(**given, time_step=dt, exact=exact).coefficients()
            assert found == {k: pytest.approx(v, rel=1e-14) for k, v in want.items()}
        alone = Lapicque(beta, exact=exact).coefficients()
        assert alone["decay"] == pytest.approx(want["decay"], rel=1e-14)
        assert alone["gain"] == pytest.approx(want["gain"] / R, rel=1e-14)
    assert Lapicque().coefficients() == {"decay": 0.9, "gain": 0.1, "delayed_threshold": 1.0}
    assert Lapicque(time_step=0.001).coefficients()["decay"] == pytest.approx(0.9, rel=1e-14)


@ENGINES
def test_raf_turns_a_complex_number(engine):
    b, omega, dt = -0.15, 1.3, 0.5
    generator = torch.Generator().manual_seed(0)
    x_seq = torch.randn(12, 1, generator=generator, dtype=torch.float64)
    z, want = 0.5 - 0.25j, []
    for x in x_seq:
        z = cmath.exp((b + 1j * omega) * dt) * z + x.item()
        want.append(z.imag)
    state = (torch.tensor([-0.25]).double(), torch.tensor([0.5]).double())
    got = potentials(RAFNode(b, omega, dt, v_threshold=SILENT, engine=engine), x_seq, state)
    torch.testing.assert_close(got.flatten(), torch.tensor(want, dtype=torch.float64), rtol=1e-13, atol=1e-14)


@ENGINES
def test_raf_answers_its_own_frequency(engine):
    """What the neuron is for: of cosines of equal size, that of frequency omega drives it furthest."""
    t = torch.arange(200, dtype=torch.float64).view(-1, 1)
    drive = torch.tensor([0.4, 0.8, 1.2], dtype=torch.float64)
    for k, omega in enumerate(drive.tolist()):
        v_seq = potentials(RAFNode(-0.05, omega, v_threshold=SILENT, engine=engine), torch.cos(t * drive))
        assert v_seq[100:].amax(0).argmax() == k


@ENGINES
def test_what_is_reset_and_when(engine):
    """One unit of input, threshold 0.5, by hand; the current goes on except in Alpha."""
    x_seq = impulse(3)
    by_hand = {
        ("subtract", True): [1.0, 0.5 * 1.0 + 0.5 - 0.5, 0.5 * 0.5 + 0.25 - 0.5],
        ("subtract", False): [0.5, 0.5 * 0.5 + 0.5 - 0.5, 0.5 * 0.25 + 0.25],
        ("zero", True): [1.0, 0.0, 0.25],
        ("zero", False): [0.0, 0.0, 0.25],
        ("none", True): [1.0, 1.0, 0.75],
        ("none", False): [1.0, 1.0, 0.75],
    }
    for (mechanism, delay), want in by_hand.items():
        resets = {"reset_mechanism": mechanism, "reset_delay": delay}
        node = Synaptic(0.5, 0.5, v_threshold=0.5, engine=engine, **resets)
        assert potentials(node, x_seq).flatten().tolist() == want, resets
    # Leaky keeps the input of the step that resets, Lapicque loses it
    x_seq = torch.ones(2, 1, dtype=torch.float64)
    assert potentials(Leaky(0.5, reset_mechanism="zero", engine=engine), x_seq).flatten().tolist() == [1.0, 1.0]
    node = Lapicque(R=2.0, C=1.0, reset_mechanism="zero", engine=engine)
    assert potentials(node, x_seq).flatten().tolist() == [1.0, 0.0]
    # Alpha's currents after the reset: v at threshold, e = 3, n = -1 before it
    state = tuple(torch.tensor([value], dtype=torch.float64) for value in (1.0, 3.0, -1.0))
    for mechanism, want in {"zero": [0.0, 0.0], "subtract": [0.5 * 3.0 + 1.0 - 1.0, 0.0], "none": [2.5, -1.25]}.items():
        node = Alpha(0.5, 0.25, reset_mechanism=mechanism, step_mode="m", engine=engine)
        _, last = node.run(torch.ones(1, 1, dtype=torch.float64), state)
        assert [s.item() for s in last[1:]] == want, mechanism


@ENGINES
def test_states_of_infinite_potentials_stay_numbers(engine):
    """Zero times infinity is no number; a reset to zero is."""
    state = tuple(torch.tensor([value], dtype=torch.float64) for value in (math.inf, 0.0))
    _, last = Synaptic(reset_mechanism="zero", step_mode="m", engine=engine).run(torch.ones(1, 1).double(), state)
    assert last[0].item() == 0.0


# ---- arguments -------------------------------------------------------------------------------------------------------

BAD_DECAYS = (math.nan, math.inf, "0.9", None, [0.5], torch.zeros(2, 2), torch.tensor([1, 2]))
BAD = [
    *((Synaptic, name, value) for name in ("alpha", "beta") for value in BAD_DECAYS),
    *((Alpha, "alpha", value) for value in (*BAD_DECAYS, 0.0, 1.5, -0.5, torch.tensor([0.9, 1.25]))),
    *((Alpha, "beta", value) for value in (*BAD_DECAYS, 0.0, 1.0, 0.9, 0.95, torch.tensor([0.8, 0.9]))),
    *((CUBALIFNode, name, value) for name in ("c_decay", "v_decay") for value in (*BAD_DECAYS, -0.1, 1.5)),
    *((RAFNode, "b", value) for value in (*BAD_DECAYS, 0.0, 0.1, torch.tensor([-0.1, 0.1]))),
    *((RAFNode, "omega", value) for value in (*BAD_DECAYS, 0.0, -1.0)),
    *((cls, name, value) for cls, name in ((RAFNode, "dt"), (Lapicque, "time_step"))
      for value in (0.0, -1.0, math.nan, "1", None, True, torch.tensor(1.0))),
    *((Lapicque, "beta", value) for value in (math.nan, "0.9", [0.5], torch.zeros(2, 2), 0.0, 1.0, 1.5, -0.5, 0.3)),
    *((Lapicque, name, 1.0) for name in ("R", "C")),  # one without the other
    *((cls, "reset_mechanism", value) for cls in (Synaptic, Alpha, Lapicque) for value in ("hard", None, ["zero"])),
    *((cls, "v_reset", value) for cls in (Synaptic, Alpha, Lapicque) for value in (0.0, None)),
    *((Alpha, "reset_delay", value) for value in (True, False)),
]  # fmt: skip


@pytest.mark.parametrize(("cls", "name", "value"), BAD, ids=lambda v: getattr(v, "__name__", str(v)))
def test_bad_arguments_are_named(cls, name, value):
    with pytest.raises(ArgumentError, match=rf"^{cls.__name__}\.{name}: must .*, got .*; "):
        cls(**{name: value})


def test_bad_arguments_that_come_together():
    def refused(name, **arguments):
        with pytest.raises(ArgumentError, match=rf"^Lapicque\.{name}: must .*, got .*; "):
            Lapicque(**arguments)

    refused("C", beta=0.9, R=1.0, C=1.0)
    refused("R", R=0.0, C=1.0)
    refused("C", R=1.0, C=-1.0)
    refused("R", R=math.nan, C=1.0)
    refused("C", R=1.0, C=0.5)
    refused("C", R=1.0, C=torch.tensor([2.0, 0.5]))
    refused("learn_beta", R=1.0, C=2.0, learn_beta=True)
    assert Lapicque(R=1.0, C=0.5, exact=True).coefficients()["decay"] == pytest.approx(math.exp(-2))
    assert Lapicque(0.3, exact=True).coefficients()["decay"] == 0.3
    with pytest.raises(ArgumentError, match=r"^Alpha\.beta: must have as many elements as alpha"):
        Alpha(torch.full((3,), 0.9), torch.full((2,), 0.5))
    for learn in ("learn_alpha", "learn_beta", "learn_threshold"):
        with pytest.raises(ArgumentError, match=r"^Synaptic\.(alpha|beta|v_threshold): must "):
            Synaptic(**{learn.replace("learn_", "").replace("threshold", "v_threshold"): "high", learn: True})


def test_arguments_arrive():
    node = Synaptic(0.25, 0.5, learn_alpha=True, learn_threshold=True, v_threshold=torch.full((CHANNELS,), 2.0))
    assert {name: p.tolist() for name, p in node.named_parameters()} == {"alpha": 0.25, "v_threshold": [2.0] * CHANNELS}
    assert Synaptic(1.5, -0.5).coefficients() == {"alpha": 1.0, "beta": 0.0, "delayed_threshold": 1.0}
    assert dict(Alpha(learn_alpha=True, learn_beta=True).named_parameters()).keys() == {"alpha", "beta"}
    assert Alpha().reset_mechanism == "zero" and Synaptic().reset_mechanism == Lapicque().reset_mechanism == "subtract"
    assert dict(Lapicque(0.5, learn_beta=True).named_parameters()).keys() == {"beta"}
    assert (Lapicque(0.5, None, 2.0, 0.25).C, Lapicque(0.5, None, 2.0, 0.25).time_step) == (2.0, 0.25)
    assert CUBALIFNode().v_threshold == 0.5 and CUBALIFNode().surrogate_function == surrogate.Rect(1.0)
    assert CUBALIFNode(v_reset=-0.5).rest() == (-0.5, 0.0) and RAFNode(v_reset=-0.5).rest() == (-0.5, 0.0)
    assert Synaptic().surrogate_function == surrogate.ATan(2.0)
    assert Synaptic(spike_grad=surrogate.Rect()).surrogate_function == surrogate.Rect()
    assert Synaptic(surrogate_function=surrogate.Rect()).surrogate_function == surrogate.Rect()
    texts = {
        repr(Synaptic(0.25)): "alpha=0.25, beta=0.8", repr(Alpha()): "alpha=0.9, beta=0.8, reset_mechanism=zero",
        repr(Lapicque(0.5, C=2.0)): "beta=0.5, C=2, time_step=1.0", repr(RAFNode()): "b=-0.2, omega=1, dt=1",
        repr(CUBALIFNode(torch.full((CHANNELS,), 0.5))): f"c_decay=[{CHANNELS}], v_decay=0.75",
    }  # fmt: skip
    for text, part in texts.items():
        assert part in text


def test_learned_lapicque_follows_beta():
    """snnTorch computes R and C once; here the dynamics move with what is learned."""
    node = Lapicque(0.5, learn_beta=True, v_threshold=SILENT).double()
    with torch.no_grad():
        node.beta.fill_(0.9)
    v_seq = potentials(node, impulse(2)).flatten()
    assert (v_seq[1] / v_seq[0]).item() == pytest.approx(1 + math.log(0.9), rel=1e-14)
    v_seq.sum().backward()
    assert node.beta.grad.abs() > 1e-3
