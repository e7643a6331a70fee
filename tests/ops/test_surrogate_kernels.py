"""The compiled surrogates: ``grad`` and the smooth ``step`` against the Python ``step`` and its autograd derivative.

``grad`` is observed through one backward step of IF with v_threshold 0 and no reset, where u = x and grad_x = grad(u).
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from snncore import ops
from snncore.neuron import ComplementaryLIFNode, IFNode
from snncore.surrogate import SURROGATES, Surrogate, native_name

# more numbers than the defaults; all exact in float32, so that both sides compute with the same ones
NUMBERS = {
    "fake_numerical_gradient": [{"alpha": 0.25}, {"alpha": 4.0}],
    "leaky_k_relu": [{"leak": 0.0, "k": 1.0}, {"leak": -0.5, "k": 2.0}],
    "log_tailed_relu": [{"alpha": 0.0}, {"alpha": 0.25}],
    "multi_level": [{"low": 0.0, "high": 4.0}, {"low": -0.5, "high": 1.25}],
    "open_multi_level": [{"low": 0.0, "high": 4.0}, {"low": -0.5, "high": 1.25}],
    "piecewise_leaky_relu": [{"w": 1.0, "c": 0.0078125}, {"w": 0.375, "c": 0.0}],
    "q_pseudo_spike": [{"alpha": 2.0}, {"alpha": 1.5}, {"alpha": 9.0}],
    "s2nn": [{"alpha": 4.0, "beta": 1.0}, {"alpha": 0.5, "beta": 3.0}],
    "squarewave_fourier_series": [{"n": 2, "T_period": 8.0}, {"n": 5, "T_period": 3.0}],
    "straight_through": [{}],
}
ALPHAS = [{"alpha": 1.0}, {"alpha": 0.3125}, {"alpha": 4.0}, {"alpha": 25.0}]
EVERY = [
    pytest.param(kind(**numbers), id="-".join([name, *(f"{v:g}" for v in numbers.values())]))
    for name, kind in SURROGATES.items()
    for numbers in NUMBERS.get(name, ALPHAS)
]
every_surrogate = pytest.mark.parametrize("surrogate", EVERY)


def points(surrogate: Surrogate) -> Tensor:
    """Return u [n] in float64, all exact in float32: 1e-6 to 1e3 on both sides, 0, and kinks with their neighbours."""
    sizes = torch.logspace(-6, 3, 400, dtype=torch.float64)
    first, second = surrogate.numbers
    kinks = [1.0, first, 0.5]
    kinks += [1 / first, 0.5 / first] if first > 0 else []
    kinks += [second, 1 / second] if second > 0 else []
    at = torch.tensor(kinks, dtype=torch.float32)
    near = torch.cat([at, torch.nextafter(at, at * 0), torch.nextafter(at, at * 2)]).double()
    positive = torch.cat([sizes, near, torch.linspace(0, 4, 257, dtype=torch.float64)]).float().double()
    return torch.cat([-positive, positive])


def kernel(surrogate: Surrogate, u: Tensor, smooth: bool = False) -> tuple[Tensor, Tensor]:
    """Return spikes and gradient [n] of the compiled surrogate at u [n]."""
    node = IFNode(v_threshold=0.0, v_reset="none", surrogate_function=surrogate, step_mode="m", engine="native")
    node.smooth = smooth
    x = u.detach().clone().unsqueeze(0).requires_grad_()
    spike = node(x)
    spike.sum().backward()
    return spike.detach()[0], x.grad[0]


def python_grad(surrogate: Surrogate, u: Tensor) -> Tensor:
    u = u.detach().double().clone().requires_grad_()
    surrogate.step(u).sum().backward()
    return u.grad


def conditioning(surrogate: Surrogate, u: Tensor) -> Tensor:
    """Return how much the derivative loses to cancellation at u, as a multiple of one rounding error of 1.

    Autograd's derivative of s(au) holds 1 - s(au), that of z / (1 + |z|) a difference of terms of size
    1 / (1 + |z|), the triangle is a difference itself, a cosine's error grows with its argument. 0: loses nothing.
    """
    largest = python_grad(surrogate, torch.tensor([0.0, 1e-6, -1e-6], dtype=torch.float64)).abs().max()
    name = native_name(surrogate)
    first, second = surrogate.numbers
    if name == "squarewave_fourier_series":
        return largest * (1 + 2 * math.pi * (2 * first - 3) * u.abs() / second)
    if name == "sigmoid":
        return first * (u > 0)
    if name in ("soft_sign", "fast_sigmoid", "super_spike"):
        return largest / (1 + (1.0 if name == "super_spike" else first) * u.abs())
    return largest * torch.ones_like(u) if name == "piecewise_quadratic" else torch.zeros_like(u)


def test_table_is_covered():
    assert {native_name(p.values[0]) for p in EVERY} == set(SURROGATES) == set(ops.SURROGATE_NAMES)


def assert_within(got: Tensor, want: Tensor, bound: Tensor, u: Tensor) -> None:
    over = (got.double() - want).abs() - bound
    worst = over.argmax()
    assert (over <= 0).all(), (
        f"{int((over > 0).sum())} of {len(u)}, worst at u = {float(u[worst])!r}: {float(got[worst])!r}, "
        f"must be {float(want[worst])!r} to {float(bound[worst]):.3g}"
    )


@every_surrogate
def test_grad_float64(surrogate):
    u = points(surrogate)
    want = python_grad(surrogate, u)
    _, got = kernel(surrogate, u)
    # below the smallest normal number the kernel's exp stays there, where the definition goes on to zero
    assert_within(got, want, 1e-12 * want.abs() + 4 * 2.0**-53 * conditioning(surrogate, u) + 1e-300, u)


@every_surrogate
def test_grad_float32(surrogate):
    """Against the derivative in float64, at points and with numbers that are exact in float32."""
    u = points(surrogate)
    name = native_name(surrogate)
    _, got = kernel(surrogate, u.float())
    want = python_grad(surrogate, u)
    if name in ("rect", "piecewise_leaky_relu"):  # the corner itself is rounded: either side of it is right
        for side in (-1e9, 1e9):
            beside = python_grad(surrogate, torch.nextafter(u.float(), torch.tensor(side)).double())
            want = torch.where((got - beside).abs() < (got - want).abs(), beside, want)
    # 8 roundings; an exponential multiplies the rounding of its argument by the argument's size
    largest = want.abs().max()
    exponent = (largest / want.abs().clamp(min=1e-38)).log().clamp(min=0)
    grows = 4 * exponent if name in ("sigmoid", "piecewise_exp", "erf", "s2nn", "q_pseudo_spike") else 0.0
    if name == "q_pseudo_spike":  # 1 + 2|u|/(a - 1) is rounded, then raised to the power a
        grows = grows + 2 * surrogate.numbers[0]
    lost = 4 * 2.0**-53 if name == "sigmoid" else 4 * 2.0**-24  # sigmoid: lost by the definition only
    assert_within(got, want, 2.0**-24 * (8 + grows) * want.abs() + lost * conditioning(surrogate, u) + 1e-35, u)


@every_surrogate
def test_smooth_step(surrogate):
    u = points(surrogate)
    got, _ = kernel(surrogate, u, smooth=True)
    want = surrogate.step(u)
    turns = conditioning(surrogate, u) if native_name(surrogate) == "squarewave_fourier_series" else 0.0
    assert_within(got, want, 4 * 2.0**-53 * (want.abs() + 1 + turns), u)


@every_surrogate
def test_smooth_does_not_change_the_gradient(surrogate):
    u = points(surrogate)
    assert torch.equal(kernel(surrogate, u)[1], kernel(surrogate, u, smooth=True)[1])


@every_surrogate
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_zero_has_one_gradient_whatever_its_sign(surrogate, dtype):
    """A neuron exactly at threshold fires and gets the gradient of u = 0, be it +0 or -0."""
    node = IFNode(v_threshold=0.0, v_reset="none", surrogate_function=surrogate, step_mode="m", engine="native")
    x = torch.tensor([[0.0, -0.0]], dtype=dtype, requires_grad=True)
    spike, _ = node.run(x, (torch.tensor([0.0, -0.0], dtype=dtype),))  # -0 + -0 is -0
    spike.sum().backward()
    assert spike.tolist() == [[1.0, 1.0]]
    want = python_grad(surrogate, torch.zeros(1))[0]
    torch.testing.assert_close(x.grad[0], want.expand(2).to(dtype))


@every_surrogate
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_types_round_the_float32_gradient(surrogate, dtype):
    u = points(surrogate).to(dtype)
    assert torch.equal(kernel(surrogate, u)[1], kernel(surrogate, u.float())[1].to(dtype))


@every_surrogate
def test_grad_is_finite_everywhere(surrogate):
    """No overflow on the way to a gradient that is itself finite."""
    for dtype in (torch.float64, torch.float32):
        big = torch.finfo(dtype).max
        u = torch.tensor([big, -big, big / 2, -big / 2, 1e20, -1e20], dtype=dtype)
        _, got = kernel(surrogate, u)
        assert torch.isfinite(got).all(), f"{dtype}: {got.tolist()} at {u.tolist()}"


# ---- exp, log and cos of csrc/core/math.h, seen through the surrogate that is nothing else -------------------------


def ulps(got: Tensor, want: Tensor) -> float:
    """Return the largest |got - want| in units in the last place of want. want: float64, got: float64 or float32."""
    eps = torch.finfo(got.dtype).eps
    size = 2.0 ** torch.floor(torch.log2(want.abs()))
    return float(((got.double() - want).abs() / (size * eps)).max())


@pytest.mark.parametrize(("dtype", "lowest"), [(torch.float64, -708.0), (torch.float32, -87.0)], ids=str)
def test_exp(dtype, lowest):
    """0.5 a exp(-a |u|) with a = 2."""
    x = torch.cat([torch.linspace(lowest, 0, 20001), -torch.logspace(-8, 0, 1001)]).to(dtype)
    _, got = kernel(SURROGATES["piecewise_exp"](alpha=2.0), x / 2)
    want = torch.tensor([math.exp(v) for v in x.tolist()], dtype=torch.float64)
    assert ulps(got, want) <= 2


def test_exp_ends_at_the_smallest_normal_number():
    for dtype, lowest in ((torch.float64, -708.0), (torch.float32, -87.0)):
        u = torch.tensor([lowest, 2 * lowest, -1e30, 1e30], dtype=dtype) / 2
        _, got = kernel(SURROGATES["piecewise_exp"](alpha=2.0), u)
        assert torch.equal(got, got[0].expand(4)), f"{dtype}: {got.tolist()}"
        assert torch.finfo(dtype).smallest_normal <= got[0] < 1e-37


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_logistic(dtype):
    """m' = m / (1 + e^-h/tau) of CLIF, without a spike, from m = 1."""
    z = torch.cat([torch.linspace(-80, 80, 20001), torch.logspace(-8, 0, 1001), torch.tensor([0.0, -0.0])]).to(dtype)
    node = ComplementaryLIFNode(2.0, v_threshold=1e9, step_mode="m", engine="native")
    _, (_, got) = node.run(2 * z.unsqueeze(0), (torch.zeros_like(z), torch.ones_like(z)))
    want = torch.tensor([1 / (1 + math.exp(-v)) for v in z.tolist()], dtype=torch.float64)
    assert ulps(got, want) <= 4
    big = torch.finfo(dtype).max / 4
    x = torch.tensor([[-big, -1e4, 1e4]], dtype=dtype)
    _, (_, ends) = node.run(x, (torch.zeros(3, dtype=dtype), torch.ones(3, dtype=dtype)))
    assert (ends[:2] < 1e-37).all() and (ends[:2] >= 0).all() and ends[2] == 1.0


def test_log():
    """The smooth step u > 0: ln(1 + u); in float64, the only dtype with a smooth step."""
    u = torch.cat(
        [torch.logspace(-3, 300, 20001, dtype=torch.float64), torch.linspace(0, 3, 3001, dtype=torch.float64)[1:]]
    )
    got, _ = kernel(SURROGATES["nonzero_sign_log_abs"](), u, smooth=True)
    want = torch.tensor([math.log(1 + v) for v in u.tolist()], dtype=torch.float64)
    assert ulps(got, want) <= 3


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_cos(dtype):
    """(4 / T) cos(2 pi u / T) with T = 4: exact quarter turns, and no error that grows with u."""
    u = torch.cat([torch.linspace(-8, 8, 10001), torch.arange(-64, 65) * 0.125, torch.linspace(1000, 1008, 5001)]).to(
        dtype
    )
    _, got = kernel(SURROGATES["squarewave_fourier_series"](n=2, T_period=4.0), u)
    want = torch.tensor([math.cos(math.pi / 2 * math.fmod(v, 4.0)) for v in u.tolist()], dtype=torch.float64)
    assert float((got.double() - want).abs().max()) <= 6 * torch.finfo(dtype).eps
    turns = torch.tensor([0.0, 2.0, 4.0, -2.0, 1e6, 4.0 * 2**40], dtype=dtype)
    _, got = kernel(SURROGATES["squarewave_fourier_series"](n=2, T_period=4.0), turns)
    assert torch.allclose(got, torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, 1.0], dtype=dtype), atol=torch.finfo(dtype).eps)
