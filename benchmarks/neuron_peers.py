"""The competitors of neuron.py, each a function x_seq [T, N] -> spike_seq [T, N], and the check that they agree.

LIF with tau = 2, decay_input, ATan(2), threshold 1 and hard reset to 0:
h = v + (x - v) / 2; spike = h >= 1; v = h * (1 - spike).
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
from common import require
from torch import Tensor

Run = Callable[[Tensor], Tensor]

TAU, ALPHA = 2.0, 2.0
# of the largest gradient; the half types round each gradient once, at the end
GRAD_TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 1e-3}


def snncore_lif() -> Run:
    from snncore import neuron, surrogate

    return neuron.LIFNode(
        TAU, True, surrogate_function=surrogate.ATan(ALPHA), v_reset=0.0, step_mode="m", engine="native"
    )


def spikingjelly_lif() -> Run:
    from spikingjelly.activation_based import neuron, surrogate

    node = neuron.LIFNode(
        tau=TAU, decay_input=True, v_reset=0.0, surrogate_function=surrogate.ATan(ALPHA), step_mode="m"
    )

    def run(x_seq: Tensor) -> Tensor:
        spike_seq: Tensor = node(x_seq)
        node.reset()  # it keeps its state and must be reset before the next batch
        return spike_seq

    return run


def snntorch_leaky() -> Run:
    """Leaky with beta = 0.5 and reset to zero: as much memory traffic, its own dynamics (the input is not halved)."""
    import snntorch

    leaky = snntorch.Leaky(beta=1 - 1 / TAU, reset_mechanism="zero", spike_grad=snntorch.surrogate.atan(alpha=ALPHA))

    def run(x_seq: Tensor) -> Tensor:
        mem = leaky.reset_mem()
        spikes = []
        for x in x_seq:
            spike, mem = leaky(x, mem)
            spikes.append(spike)
        return torch.stack(spikes)

    return run


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward(u)
        return (u >= 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (u,) = ctx.saved_tensors
        return grad * (ALPHA / 2) / (1 + (math.pi / 2 * ALPHA * u) ** 2)


def plain_loop(x_seq: Tensor) -> Tensor:
    """The loop that torch.compile is given."""
    state = torch.float64 if x_seq.dtype == torch.float64 else torch.float32
    v = torch.zeros(x_seq.shape[1:], dtype=state)
    spikes = []
    for x in x_seq.unbind(0):
        h = v + (x.to(state) - v) / TAU
        spike = _Fire.apply(h - 1.0)
        v = h * (1.0 - spike)
        spikes.append(spike)
    return torch.stack(spikes).to(x_seq.dtype)


class _TimeIsUp(BaseException):
    """Not an Exception: the compiler catches those."""


def compiled_loop(x: Tensor, g: Tensor, limit: float) -> tuple[Run | None, str, float]:
    """Return torch.compile of the plain loop, ready for no-grad and grad calls on tensors like ``x``.

    Returns:
        The function or None, the reason where it is None, and the seconds its first calls took.
    """
    run: Run = torch.compile(plain_loop, fullgraph=True, dynamic=False)
    rung = False

    def ring(number: int, frame: FrameType | None) -> None:
        nonlocal rung
        rung = True
        raise _TimeIsUp

    start = time.perf_counter()
    previous = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        with torch.no_grad():
            run(x)
        forward_backward(run, x.detach().requires_grad_(), g)
        return run, "", time.perf_counter() - start
    except BaseException as error:
        if rung:  # whatever the compiler turned it into
            return None, f"compilation took longer than --compile-limit {limit:g} s", time.perf_counter() - start
        if not isinstance(error, Exception):
            raise
        return None, f"{type(error).__name__}: {str(error).splitlines()[0][:120]}", time.perf_counter() - start
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def forward_backward(run: Run, x: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Return the spikes and the gradient of ``x`` (which requires one)."""
    spike_seq = run(x)
    (g_x,) = torch.autograd.grad(spike_seq, x, g)
    return spike_seq.detach(), g_x


def make_input(T: int, lanes: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return x and the gradient of the spikes, both [T, lanes]; about a fifth of the steps fire."""
    maker = torch.Generator().manual_seed(T * 1_000_003 + lanes)
    x = torch.randn(T, lanes, generator=maker).add_(0.9)
    return x.to(dtype), torch.randn(T, lanes, generator=maker).to(dtype)


def check_exact(x: Tensor, g: Tensor, run: Run, peer: Run) -> None:
    """Compare in float64 on a slice: every spike equal, gradients to rounding."""
    lanes = min(x.shape[1], 10_000)
    x64, g64 = x[:, :lanes].double().requires_grad_(), g[:, :lanes].double()
    want, want_grad = forward_backward(peer, x64, g64)
    got, got_grad = forward_backward(run, x64, g64)
    wrong = int((got != want).sum())
    require(wrong == 0, f"float64: {wrong} spikes of {want.numel()} differ from SpikingJelly's")
    _check_grad("float64", got_grad, want_grad)


def check_close(name: str, x: Tensor, g: Tensor, run: Run, want: Tensor, want_grad: Tensor) -> dict[str, float]:
    """Compare ``run`` with the spikes and gradients wanted, on the benchmark's own input.

    Spikes may differ only in lanes whose potential comes within rounding of the threshold, up to the first difference;
    what follows in such a lane is another trajectory, and its gradients are left out.

    Returns:
        The number of such lanes and the largest difference of a gradient, relative to the largest gradient.
    """
    with torch.no_grad():
        inference = run(x)
    got, got_grad = forward_backward(run, x.detach().requires_grad_(), g)
    require(bool((inference == got).all()), f"{name}: spikes without grad differ from those with grad")
    differ = got != want
    bad = differ.any(0)
    lanes = int(bad.sum())
    if lanes:
        distance = _distance_to_threshold(x[:, bad])
        later = differ[:, bad].cumsum(0).sub(differ[:, bad].int()) > 0  # steps after the first difference
        nearest = distance.masked_fill(later, math.inf).min(0).values
        rounding = 16 * torch.finfo(torch.float64 if x.dtype == torch.float64 else torch.float32).eps
        far = int((nearest > rounding).sum())
        require(far == 0, f"{name}: the spikes of {far} lanes differ away from the threshold")
    same = ~bad
    error = _check_grad(name, got_grad, want_grad, same if lanes else None)
    return {"lanes_at_threshold": lanes, "grad_error": error, "firing_rate": float(got.mean(dtype=torch.float64))}


def _distance_to_threshold(x_seq: Tensor) -> Tensor:
    v = torch.zeros(x_seq.shape[1:], dtype=torch.float64)
    distances = []
    for x in x_seq.double():
        h = v + (x - v) / TAU
        distances.append((h - 1).abs())
        v = torch.where(h >= 1, 0.0, h)
    return torch.stack(distances)


def _check_grad(name: str, got: Tensor, want: Tensor, lanes: Tensor | None = None) -> float:
    difference = (got - want).abs_()
    if lanes is not None:
        difference.mul_(lanes)
    error = float(difference.max()) / float(want.abs().max())
    tolerance = GRAD_TOLERANCE[want.dtype]
    require(error <= tolerance, f"{name}: gradients differ by {error:.2g} of the largest, allowed {tolerance:g}")
    return error
