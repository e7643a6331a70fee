"""The competitors of open_neuromorphic.py, what each is given, and the checks that they compute the same.

All run one equation: LIF with tau = 2, decay_input, threshold 1, hard reset to 0 through a detached spike, and the
slope of Sigmoid(4), which each of them has or takes (Norse 1.1.0's default ignores its alpha, so it could not serve):
h = v + (x - v) / 2; spike = h >= 1; v = h * (1 - spike); d spike / d h = 4 s (1 - s) with s = sigmoid(4 (h - 1)).
snnTorch and Norse fire at h > 1 instead: another answer only where a potential hits the threshold to the last bit.
"""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from common import require
from neuron_peers import GRAD_TOLERANCE, TAU, Run, check_close
from torch import Tensor
from torch.nn.functional import linear

ALPHA = 4.0
JOBS = ("Linear+LIF", "LIF alone")
MODES = ("forward", "forward+backward")
# Linear+LIF in the benchmark's own type: share of the spikes, and norm of the gradients. Each may sum a product of
# matrices in another order, so a potential within rounding of the threshold may fire in one and not in another.
_LINEAR = {torch.float32: (1e-4, 1e-2), torch.bfloat16: (1e-4, 2e-2), torch.float16: (1e-4, 2e-2)}


@dataclass(frozen=True)
class Competitor:
    """One way to run the layer."""

    dynamics: str  # what it is, for the report
    make: Callable[[torch.device], Run]  # device -> the neuron: [T, B, n] -> spikes of that shape
    package: str = ""  # what has to be installed for it besides torch and snncore
    # what its input is multiplied by to run the common equation, exact since a power of two; in Linear+LIF the weight
    # carries it, before anything is timed
    scale: float = 1.0
    batch_first: bool = False  # its neuron reads and writes [B, T, n]
    plain: bool = False  # no neuron at all


def _snncore(engine: str, device: torch.device) -> Run:
    from snncore import neuron, surrogate

    node: Run = neuron.LIFNode(
        TAU, True, v_threshold=1.0, v_reset=0.0, surrogate_function=surrogate.Sigmoid(ALPHA), detach_reset=True,
        step_mode="m", engine=engine,
    )  # fmt: skip
    return node


def _spikingjelly(device: torch.device) -> Run:
    from spikingjelly.activation_based import neuron, surrogate

    node = neuron.LIFNode(
        tau=TAU, decay_input=True, v_threshold=1.0, v_reset=0.0, surrogate_function=surrogate.Sigmoid(alpha=ALPHA),
        detach_reset=True, step_mode="m",
    ).to(device)  # fmt: skip

    def run(x_seq: Tensor) -> Tensor:
        spike_seq: Tensor = node(x_seq)
        node.reset()  # it keeps its state, and the state the graph
        return spike_seq

    return run


def _snntorch(device: torch.device) -> Run:
    import snntorch

    leaky = snntorch.Leaky(
        beta=1 - 1 / TAU, threshold=1.0, reset_mechanism="zero", spike_grad=snntorch.surrogate.sigmoid(slope=ALPHA)
    ).to(device)

    def run(x_seq: Tensor) -> Tensor:
        mem, spikes = leaky.reset_mem(), []
        for x in x_seq.unbind(0):
            spike, mem = leaky(x, mem)
            spikes.append(spike)
        leaky.reset_mem()  # the state would keep the graph
        return torch.stack(spikes)

    return run


def _norse(device: torch.device) -> Run:
    from norse.torch.functional.lif_box import LIFBoxParameters
    from norse.torch.functional.reset import reset_value
    from norse.torch.module.lif_box import LIFBoxCell

    def number(value: float) -> Tensor:
        return torch.as_tensor(value, device=device)

    def reset(z: Tensor, v: Tensor, v_reset: Tensor, v_th: Tensor) -> Tensor:
        out: Tensor = reset_value(z.detach(), v, v_reset, v_th)
        return out

    cell = LIFBoxCell(
        LIFBoxParameters(
            tau_mem_inv=number(1 / TAU), v_leak=number(0.0), v_th=number(1.0), v_reset=number(0.0),
            method="tanh", alpha=number(ALPHA / 2), reset_method=reset,
        ),
        dt=1.0,
    )  # fmt: skip

    def run(x_seq: Tensor) -> Tensor:
        state, spikes = None, []
        for x in x_seq.unbind(0):
            spike, state = cell(x, state)
            spikes.append(spike)
        return torch.stack(spikes)

    return run


def _sinabs(device: torch.device) -> Run:
    from sinabs.activation import MembraneReset, SingleSpike
    from sinabs.layers import LIF

    def slope(v_mem: Tensor, threshold: Tensor) -> Tensor:
        s = torch.sigmoid(ALPHA * (v_mem - threshold))
        return ALPHA * s * (1 - s)

    lif = LIF(
        tau_mem=1.0, train_alphas=True, norm_input=True, spike_threshold=torch.tensor(1.0), spike_fn=SingleSpike,
        reset_fn=MembraneReset(0.0), surrogate_grad_fn=slope,
    ).to(device)  # fmt: skip
    lif.requires_grad_(False)
    lif.alpha_mem.fill_(1 - 1 / TAU)  # set as such: exp(-1 / tau_mem) would miss 1/2 by a rounding

    def run(x_seq: Tensor) -> Tensor:
        spike_seq: Tensor = lif(x_seq)
        lif.reset_states()
        lif.firing_rate = None  # the state and this would keep the graph
        return spike_seq

    return run


def _nothing(device: torch.device) -> Run:
    return lambda current: current


SNNCORE = "snncore"
LINEAR = "linear"
COMPETITORS: Mapping[str, Competitor] = {
    SNNCORE: Competitor("LIFNode, engine native", partial(_snncore, "native")),
    "snncore-torch": Competitor("LIFNode, engine torch: a loop over T", partial(_snncore, "torch")),
    "spikingjelly": Competitor(
        "LIFNode, step_mode m: fused on CUDA with Triton, else a loop over T", _spikingjelly, "spikingjelly"
    ),
    "snntorch": Competitor(
        "Leaky(beta=1/2, reset zero) in a loop over x.unbind(0); it does not decay its input: x, or the weight, halved",
        _snntorch, "snntorch", scale=1 / TAU,
    ),
    "norse": Competitor(
        "LIFBoxCell(dt=1, tau_mem_inv=1/2, method tanh(2): the same slope) in a loop over x.unbind(0); "
        "its reset_method given a detached spike",
        _norse, "norse",
    ),
    "sinabs": Competitor(
        "LIF(alpha 1/2, fixed; norm_input, SingleSpike, MembraneReset, the slope passed in), its own loop, [B, T, n]",
        _sinabs, "sinabs", batch_first=True,
    ),
    LINEAR: Competitor("the product of matrices alone, nothing after it", _nothing, plain=True),
}  # fmt: skip


def available(names: Sequence[str]) -> dict[str, str]:
    """Return name -> version of what can be imported ("" for snncore), or a reason that begins with "not "."""
    found = {}
    for name in names:
        package = COMPETITORS[name].package
        try:
            found[name] = importlib.metadata.version(package) if package else ""
            COMPETITORS[name].make(torch.device("cpu"))
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
        except ImportError as error:  # something that it needs is missing
            found[name] = f"not usable: {error}"
    return found


# ---- what a competitor is given, and what it gives back ------------------------------------------------------------


class Task:
    """One competitor, its neuron, and the inputs in its own layout and scale; nothing is copied without need.

    Args:
        x: [T, B, n]; ``w``: [n, n] or None for the neuron alone; ``g``: the gradient of the spikes, [T, B, n].
        own: the tensors are in the competitor's layout and scale already.
    """

    def __init__(self, name: str, x: Tensor, w: Tensor | None, g: Tensor, own: bool = False) -> None:
        self.how = COMPETITORS[name]
        self.run = self.how.make(x.device)
        scale = 1.0 if own else self.how.scale
        if self.how.batch_first and not own:
            x, g = x.transpose(0, 1).contiguous(), g.transpose(0, 1).contiguous()
        if scale != 1.0:
            x, w = (x * scale, None) if w is None else (x, w * scale)
        self.g = g
        self.x = x.detach().requires_grad_()
        self.w = None if w is None else w.detach().requires_grad_()

    def forward(self) -> Tensor:
        """Return the spikes, without a graph."""
        with torch.no_grad():
            return self.run(self._current())

    def forward_backward(self) -> tuple[Tensor, ...]:
        """Return the spikes and the gradients of the input and of the weight."""
        spikes = self.run(self._current())
        inputs = (self.x,) if self.w is None else (self.x, self.w)
        return (spikes.detach(), *torch.autograd.grad(spikes, inputs, self.g))

    def common(self) -> tuple[Tensor, ...]:
        """Return forward_backward's results in the common layout and scale."""
        spikes, g_x, *g_w = self.forward_backward()
        if self.how.batch_first:
            spikes, g_x = spikes.transpose(0, 1), g_x.transpose(0, 1)
        if self.w is None:
            g_x = g_x * self.how.scale
        return (spikes, g_x, *(g * self.how.scale for g in g_w))

    def _current(self) -> Tensor:
        return self.x if self.w is None else linear(self.x, self.w)


def make_input(
    job: str, n: int, T: int, batch: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return x ~ N(0, 1) [T, B, n], the weight or None, and the gradient of the spikes; about a tenth of them fire."""
    maker = torch.Generator(device).manual_seed(n * 1_000_003 + T)
    x = torch.randn(T, batch, n, generator=maker, dtype=dtype, device=device)
    g = torch.randn(T, batch, n, generator=maker, dtype=dtype, device=device)
    if job == "LIF alone":
        return x.mul_(1.5), None, g
    w = torch.randn(n, n, generator=maker, dtype=dtype, device=device)
    return x, w.mul_(1.5 * n**-0.5), g


# ---- checks --------------------------------------------------------------------------------------------------------


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward(u)
        return (u >= 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        s = torch.sigmoid(ALPHA * ctx.saved_tensors[0])
        return grad * (ALPHA * s * (1 - s))


def plain_loop(x_seq: Tensor) -> Tensor:
    """Return the spikes of the common equation as written above; the state of half types is float32."""
    state = torch.float64 if x_seq.dtype == torch.float64 else torch.float32
    v, spikes = torch.zeros(x_seq.shape[1:], dtype=state, device=x_seq.device), []
    for x in x_seq.unbind(0):
        h = v + (x.to(state) - v) / TAU
        spike = _Fire.apply(h - 1.0)  # type: ignore[no-untyped-call]
        v = h * (1.0 - spike.detach())
        spikes.append(spike)
    return torch.stack(spikes).to(x_seq.dtype)


def _oracle(x: Tensor, w: Tensor | None, g: Tensor) -> tuple[Tensor, ...]:
    inputs = [one.detach().requires_grad_() for one in (x, w) if one is not None]
    spikes = plain_loop(linear(*inputs) if w is not None else inputs[0])
    return (spikes.detach(), *torch.autograd.grad(spikes, inputs, g))


def check(names: Sequence[str], n: int, T: int, dtype: torch.dtype, device: torch.device) -> dict[str, dict[str, Any]]:
    """Compare every competitor with the plain loop: float64 to the last spike, then the benchmark's own type.

    In half types the peers keep states of their own kind; how far they are off is then returned, not judged.

    Returns:
        name -> share of spikes and norm of gradients that differ, for both jobs; lanes_at_threshold where judged.

    Raises:
        CheckFailed: a spike, or the gradient of the input or of the weight, is not what it should be.
    """
    seen: dict[str, dict[str, Any]] = {name: {} for name in names if not COMPETITORS[name].plain}
    for job in JOBS:
        x, w, g = make_input(job, min(n, 96), min(T, 60), 3, torch.float32, device)
        exact = (x.double(), None if w is None else w.double(), g.double())
        want = _oracle(*exact)
        require(0.01 < float(want[0].mean()) < 0.5, f"{job}: the comparison would be empty: hardly any spike")
        for name in seen:
            spikes, grads = _differences(Task(name, *exact).common(), want)
            allowed = GRAD_TOLERANCE[torch.float64]
            require(spikes == 0, f"{name}: {job}: float64: {spikes:.2%} of the spikes differ from the plain loop's")
            require(grads <= allowed, f"{name}: {job}: float64: gradients differ by {grads:.2g}, allowed {allowed:g}")
    sizes = {"LIF alone": (min(n, 4096), T, 1), "Linear+LIF": (n, min(T, 50), 2)}  # Linear: the n that is timed
    for job, size in sizes.items():
        x, w, g = make_input(job, *size, dtype, device)
        want = _oracle(x, w, g)
        for name, result in seen.items():
            got = Task(name, x, w, g).common()
            spikes, grads = _differences(got, want)
            result.update({f"{job}: spikes": spikes, f"{job}: grads": grads, "rate": float(got[0].double().mean())})
            result["spike_dtype"] = str(got[0].dtype).removeprefix("torch.")
            judged = dtype == torch.float32 or not COMPETITORS[name].package
            equal = spikes == 0 and grads <= GRAD_TOLERANCE[dtype]
            result["same"] = judged or (equal and result.get("same", True))
            if judged and w is not None:
                allowed_spikes, allowed = _LINEAR[dtype]
                require(spikes <= allowed_spikes, f"{name}: {job}: {spikes:.2%} of the spikes differ")
                require(grads <= allowed, f"{name}: {job}: gradients differ by {grads:.2g}, allowed {allowed:g}")
            elif judged:
                close = check_close(name, x.cpu(), g.cpu(), _common_run(name, device), want[0].cpu(), want[1].cpu())
                result["lanes_at_threshold"] = close["lanes_at_threshold"]
    return seen


def _differences(got: tuple[Tensor, ...], want: tuple[Tensor, ...]) -> tuple[float, float]:
    """Return the share of spikes that differ, and the largest difference of a gradient relative to its norm."""
    pairs = list(zip(got[1:], want[1:], strict=True))
    grads = [float((a.double() - b.double()).norm() / b.double().norm()) for a, b in pairs]
    finite = all(bool(a.isfinite().all()) for a in got)
    return float((got[0] != want[0]).double().mean()), max(grads) if finite else math.inf


def _common_run(name: str, device: torch.device) -> Run:
    """Return the neuron for the common layout and scale, from and to the CPU, where check_close computes."""
    how = COMPETITORS[name]
    neuron = how.make(device)

    def run(x_seq: Tensor) -> Tensor:
        y = x_seq.to(device) * how.scale
        return (neuron(y.transpose(0, 1)).transpose(0, 1) if how.batch_first else neuron(y)).cpu()

    return run
