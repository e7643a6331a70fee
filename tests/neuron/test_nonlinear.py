"""What the peers cannot say of QIF, EIF, Izhikevich, KLIF and ALIF: published recursions, edges, arguments."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from neuron.cases import V_THRESHOLD, close, inputs, run, weights
from snncore.errors import ArgumentError
from snncore.neuron import ALIFNode, EIFNode, IzhikevichNode, KLIFNode, QIFNode
from snncore.surrogate import ATan

# ---- ALIF: the recursions of the papers, from the potential before the reset -----------------------------------------


class Fire(torch.autograd.Function):
    """[u >= 0] with the gradient of ATan(2)."""

    @staticmethod
    def forward(ctx, u):
        ctx.save_for_backward(u)
        return (u >= 0).to(u)

    @staticmethod
    def backward(ctx, g):
        (u,) = ctx.saved_tensors
        return g / (1 + (math.pi * u) ** 2)


def published(x_seq, tau, tau_a, beta, threshold, order, by, normalize, detach) -> Tensor:
    """Return the spikes of Bellec et al. 2020 and 2018: z and h of the step before act on this one."""
    alpha, rho = torch.exp(-1 / tau), torch.exp(-1 / tau_a)
    gain, gain_a = (1 - alpha, 1 - rho) if normalize else (1, 1)
    h = a = z = drop = torch.zeros_like(x_seq[0])
    spikes = []
    for x in x_seq:
        fell = (z.detach() if detach else z) * drop
        h = alpha * h - fell + gain * x if order == "after_decay" else alpha * (h - fell) + gain * x
        a = rho * a + gain_a * z
        crossed = threshold + beta * a
        z = Fire.apply(h - crossed)
        drop = crossed if by == "threshold" else threshold
        spikes.append(z)
    return torch.stack(spikes)


@pytest.mark.parametrize(
    ("order", "by", "normalize", "detach"),
    list(itertools.product(("after_decay", "before_decay"), ("base", "threshold"), (False, True), (False, True))),
)
@pytest.mark.parametrize("engine", ["native", "torch"])
def test_alif_is_the_published_recursion(order, by, normalize, detach, engine):
    numbers = {"tau": 3.0, "tau_a": 7.0, "beta": 1.1 if normalize else 0.3, "v_threshold": V_THRESHOLD}
    own = {k: nn.Parameter(torch.tensor(v, dtype=torch.float64)) for k, v in numbers.items()}
    theirs = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in numbers.values()]
    node = ALIFNode(
        **own, reset_order=order, reset_by=by, normalize=normalize, detach_reset=detach,
        surrogate_function=ATan(2.0), step_mode="m", engine=engine,
    )  # fmt: skip
    x_seq = (inputs(torch.float64, T=12) * (2.0 if normalize else 1.0)).requires_grad_()
    w, _, _ = weights(x_seq)
    spike_seq, want = node(x_seq), published(x_seq, *theirs, order, by, normalize, detach)
    assert torch.equal(spike_seq, want)
    assert 0.05 < want.mean() < 0.95
    got = torch.autograd.grad((spike_seq * w).sum(), [x_seq, *own.values()])
    expected = torch.autograd.grad((want * w).sum(), [x_seq, *theirs])
    for name, a, b in zip(("x", *numbers), got, expected, strict=True):
        close(name, a, b, 1e-11)


def test_alif_defaults_are_those_of_2020():
    node = ALIFNode(step_mode="m", store_v_seq=True)
    assert (node.v_reset, node.reset_order, node.reset_by, node.normalize) == (None, "after_decay", "base", False)
    x_seq = torch.tensor([[1.5], [0.5], [0.25]], dtype=torch.float64)
    alpha = math.exp(-1 / 20)
    spike_seq, (v, a) = node.run(x_seq)
    assert spike_seq.flatten().tolist() == [1, 0, 0]  # 1.5; then .927 and 1.13 below 1.184 and 1.183
    second = alpha * 1.5 - 1 + 0.5
    assert v.item() == pytest.approx(alpha * (alpha * second + 0.25), abs=1e-15)
    assert a.item() == pytest.approx(math.exp(-2 / 200), abs=1e-15)


# ---- Izhikevich in the form of 2003 ----------------------------------------------------------------------------------


def test_izhikevich_is_the_form_of_2003():
    a, b, c, d, dt = 0.02, 0.2, -65.0, 8.0, 0.5  # a regular spiking neuron
    v_c, v_rest = (-(5 - s * math.sqrt(25 - 4 * 0.04 * 140)) / 0.08 for s in (1, -1))
    assert (round(v_rest, 4), round(v_c, 4)) == (-82.6556, -42.3444)
    node = IzhikevichNode(
        1 / dt, v_c, 0.04, v_rest=v_rest, tau_w=1 / (a * dt), a=b, b=d, v_threshold=30.0, v_reset=c, step_mode="m",
        store_v_seq=True, engine="native",
    )  # fmt: skip
    v, u, current, T = c, b * c, 10.0, 400
    potentials, spikes = [], []
    for _ in range(T):
        h = v + dt * (0.04 * v * v + 5 * v + 140 - u + current)
        fired = h >= 30.0
        u += dt * a * (b * h - u) + (d if fired else 0.0)
        v = c if fired else h
        potentials.append(v)
        spikes.append(float(fired))
    x_seq = torch.full((T, 1), current - b * v_rest, dtype=torch.float64)
    state = (torch.full((1,), c, dtype=torch.float64), torch.full((1,), b * c - b * v_rest, dtype=torch.float64))
    spike_seq, _, v_seq = node._run(x_seq, state)
    assert spike_seq.flatten().tolist() == spikes and 3 <= sum(spikes) <= 30
    torch.testing.assert_close(v_seq.flatten(), torch.tensor(potentials, dtype=torch.float64), rtol=1e-8, atol=1e-8)


# ---- the exponential of csrc/core/math.h, seen through EIF -----------------------------------------------------------


def rise(z: Tensor) -> Tensor:
    """Return exp(z) [n] as the kernel computes it: from v = 0 without input, h = exp(-theta_rh) / 2."""
    node = EIFNode(2.0, 1.0, -z, v_threshold=0.0, v_reset="none", step_mode="m", engine="native", store_v_seq=True)
    return 2 * run(node, torch.zeros(1, 1, z.numel(), dtype=z.dtype), None)[2].flatten()


@pytest.mark.parametrize(
    ("dtype", "lowest", "highest"), [(torch.float64, -707.9, 709.7), (torch.float32, -86.8, 88.7)], ids=str
)
def test_exponential(dtype, lowest, highest):
    small = torch.logspace(-8, 0, 1001)
    z = torch.cat([torch.linspace(lowest, highest, 40001, dtype=torch.float64), small, -small, torch.zeros(1)])
    z = z.to(dtype)
    want = torch.tensor([math.exp(v) for v in z.tolist()], dtype=torch.float64)
    got = rise(z)
    assert got.dtype == dtype and got[-1] == 1
    ulp = 2.0 ** torch.floor(torch.log2(want)) * torch.finfo(dtype).eps
    assert float(((got.double() - want).abs() / ulp).max()) <= 2


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_exponential_at_its_ends(dtype):
    largest = math.log(torch.finfo(dtype).max)
    beyond = torch.tensor([largest * (1 + 1e-6), largest + 1, 2 * largest, 1e30], dtype=dtype)
    assert torch.equal(rise(beyond), torch.full_like(beyond, math.inf))
    assert torch.equal(rise(-beyond), torch.zeros_like(beyond))
    assert rise(torch.tensor([largest * (1 - 1e-6), 0.0], dtype=dtype)).isfinite().all()


@pytest.mark.parametrize("v_reset", [0.0, None, "none"], ids=str)
def test_eif_overflows_like_its_definition(v_reset):
    x_seq = torch.linspace(-900, 6000, 4 * 3 * 5, dtype=torch.float64).view(4, 3, 5)
    results = []
    for engine in ("native", "torch"):
        x = x_seq.clone().requires_grad_()
        spike_seq, _, v_seq = run(EIFNode(v_reset=v_reset, step_mode="m", engine=engine), x, None)
        spike_seq.sum().backward()
        results.append((spike_seq, v_seq, x.grad))
    for native, plain in zip(*results, strict=True):
        torch.testing.assert_close(native, plain, rtol=1e-9, atol=1e-12, equal_nan=True)
    assert not results[0][1].isfinite().all() or v_reset == 0.0


# ---- KLIF ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_klif_at_the_corner_and_below(engine):
    """relu has gradient 0 at 0, and a k that is not positive silences the neuron."""
    node = KLIFNode(step_mode="m", engine=engine)
    x_seq = torch.tensor([[0.0, -1.0, 1e-3]], requires_grad=True)
    node(x_seq).sum().backward()
    assert (x_seq.grad != 0).tolist() == [[False, False, True]]
    for k in (0.0, -2.0):
        with torch.no_grad():
            node.k.fill_(k)
        assert not node(torch.full((3, 2), 5.0)).any()


# ---- arguments -------------------------------------------------------------------------------------------------------

NUMBER = (math.nan, math.inf, "1", None, True, [1.0])
NOT_POSITIVE = (0.0, -1.0, torch.tensor([1.0, 0.0]))
BAD = [
    *((cls, "tau", v) for cls in (QIFNode, EIFNode, IzhikevichNode, KLIFNode) for v in (*NUMBER, 1.0, 0.5)),
    *((cls, "v_rest", v) for cls in (QIFNode, EIFNode, IzhikevichNode) for v in (*NUMBER, torch.zeros(()))),
    *((QIFNode, "a0", v) for v in (*NUMBER, *NOT_POSITIVE)),
    *((QIFNode, "v_c", v) for v in (*NUMBER, torch.zeros(2, 2))),
    *((EIFNode, "delta_T", v) for v in (*NUMBER, *NOT_POSITIVE)),
    *((EIFNode, "theta_rh", v) for v in (*NUMBER, torch.tensor([1]))),
    *((IzhikevichNode, "tau_w", v) for v in (*NUMBER, *NOT_POSITIVE)),
    *((IzhikevichNode, "a0", v) for v in (*NUMBER, 0.0, -1.0, torch.ones(()))),
    *((IzhikevichNode, name, v) for name in ("a", "b", "v_c", "w_rest") for v in NUMBER),
    *((KLIFNode, "init_k", v) for v in (*NUMBER, 0.0, -1.0)),
    *((KLIFNode, "channels", v) for v in (0, -1, 2.0, "3", True)),
    *((KLIFNode, "v_rest", v) for v in (math.nan, "0")),
    *((ALIFNode, name, v) for name in ("tau", "tau_a") for v in (*NUMBER, *NOT_POSITIVE)),
    *((ALIFNode, "beta", v) for v in (*NUMBER, -0.1, torch.tensor([0.1, -0.1]))),
    *((ALIFNode, "reset_order", v) for v in ("before", None, ["after_decay"])),
    *((ALIFNode, "reset_by", v) for v in ("A", None, 1.0)),
    *((cls, "v_reset", v) for cls in (QIFNode, EIFNode, IzhikevichNode, KLIFNode, ALIFNode) for v in (math.nan, "x")),
]


@pytest.mark.parametrize(("cls", "name", "value"), BAD, ids=lambda v: getattr(v, "__name__", str(v)))
def test_bad_arguments_are_named(cls, name, value):
    with pytest.raises(ArgumentError, match=rf"^{cls.__name__}\.{name}: must .*, got .*; "):
        cls(**{name: value})


def test_arguments_reach_the_attributes():
    assert QIFNode().v_reset == -0.1 and EIFNode().v_reset == -0.1 and QIFNode().v_rest == 0.0
    assert IzhikevichNode(w_rest=0.25, v_reset=-0.5).rest() == (-0.5, 0.25)
    assert KLIFNode(v_reset=-0.5).v_rest == -0.5 and KLIFNode(v_reset=None).v_rest == 0.0
    assert KLIFNode().k.shape == () and KLIFNode(channels=3, init_k=1.5).k.tolist() == [1.5] * 3
    assert ALIFNode(2.0, 5.0, 0.0).beta == 0.0
    assert [name for name, _ in EIFNode(delta_T=nn.Parameter(torch.ones(2))).named_parameters()] == ["delta_T"]
