"""Gradients of gradients through the native engine are those of the definition."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from neuron.cases import CHANNELS, FEW, ROWS, close, inputs, run, start, weights
from neuron.test_gradcheck import hold, smooth_inputs, smooth_node
from snncore import functional, layer, ops
from snncore.neuron import LIFNode

few_rows = pytest.mark.parametrize("row", FEW, ids=lambda row: row.name)
f64 = torch.float64


def first(node, x_seq, state, keep=(True, True, True)):
    """Return the loss, weighed by tensors that require gradients too, its leaves, and their gradients with a graph."""
    leaves = {"x": x_seq.clone().requires_grad_(), "state": state.clone().requires_grad_()}
    outputs = run(node, *leaves.values())
    leaves |= dict(node.named_parameters())
    w_spike, w_v, w_last = (w.requires_grad_() for w in weights(x_seq, len(state)))
    loss = sum((o * w).sum() for o, w, k in zip(outputs, (w_spike, w_last, w_v), keep, strict=True) if k)
    found = torch.autograd.grad(loss, list(leaves.values()), create_graph=True, allow_unused=True)
    return leaves | {"w_spike": w_spike, "w_last": w_last, "w_v": w_v}, found


def second(node, x_seq, state, **how):
    leaves, grads = first(node, x_seq, state, **how)
    penalty = sum((g * g).sum() + g.sin().sum() for g in grads if g is not None and g.requires_grad)
    found = torch.autograd.grad(penalty, list(leaves.values()), allow_unused=True)
    return dict(zip(leaves, grads, strict=False)), dict(zip(leaves, found, strict=True))


def agree(what, got, want, tolerance, least):
    """None is zero: one engine may find no way where the other finds one of weight zero."""
    assert got.keys() == want.keys()
    for key in want:
        if got[key] is None or want[key] is None:
            assert all(g is None or not g.any() for g in (got[key], want[key])), f"{what}: {key}"
        else:
            assert got[key].dtype == want[key].dtype, f"{what}: {key}"
            close(f"{what}: {key}", got[key].detach().double(), want[key].detach().double(), tolerance, least=least)


@few_rows
@pytest.mark.parametrize("keep", [(True, True, True), (True, False, False), (False, True, True)], ids=str)
def test_second_derivatives(row, keep):
    for name, surrogate in row.surrogates().items():
        for detach in (False, True):
            make = {"surrogate_function": surrogate, "detach_reset": detach}
            native, plain = (
                second(row.make(engine=engine, **make), inputs(f64), start(row, f64), keep=keep)
                for engine in ("native", "torch")
            )
            what = f"{name}, detach_reset={detach}"
            agree(f"{what}: first", native[0], plain[0], 1e-12, 1e-6)
            agree(f"{what}: second", native[1], plain[1], 1e-11, 1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_dtypes(dtype):
    row = ROWS["lif-all_learned_channels"]
    native, plain = (
        second(row.make(dtype, engine=engine), inputs(dtype), start(row, dtype)) for engine in ("native", "torch")
    )
    rounded = 1e-5 if dtype == torch.float32 else 2 * torch.finfo(dtype).eps
    agree(str(dtype), native[1], plain[1], rounded, 1.0)


@pytest.mark.parametrize("name", ["sigmoid", "atan", "piecewise_exp", "erf", "super_spike", "s2nn"])
@pytest.mark.parametrize(
    "row", [row for row in FEW if row.only is None or "atan" in row.only], ids=lambda row: row.name
)
def test_gradgradcheck(row, name):
    """With the smooth step the second derivative too is a true one."""
    surrogate = row.surrogates().get(name)
    if surrogate is None or (row.only is not None and name != "atan"):
        pytest.skip("not a surrogate of this row")
    node = smooth_node(row, surrogate)
    x_seq, state = (t.requires_grad_() for t in smooth_inputs(node, name, surrogate))
    fixed = hold(row, state)
    torch.autograd.gradgradcheck(lambda x, s, *_: run(node, x, fixed(s)), (x_seq, state, *node.parameters()))


def penalised(engine):
    torch.manual_seed(0)
    net = nn.Sequential(
        layer.Linear(5, CHANNELS),
        LIFNode(v_threshold=nn.Parameter(torch.full((CHANNELS,), 0.8)), detach_reset=True),
        layer.Linear(CHANNELS, 2),
        LIFNode(),
    ).double()
    functional.set_step_mode(net, "m")
    for module in net.modules():
        if isinstance(module, LIFNode):
            module.engine = engine
    return net


def test_a_gradient_penalty_trains():
    """Every step of both engines is the same, and the penalty goes down."""
    x = inputs(f64, 4, (6, 5)) * 2
    nets = {engine: penalised(engine) for engine in ("native", "torch")}
    history = {engine: [] for engine in nets}
    for engine, net in nets.items():
        optimizer = torch.optim.SGD(net.parameters(), lr=0.02)
        for _ in range(12):
            given = x.clone().requires_grad_()
            loss = (net(given).mean(0) - 0.5).square().sum()
            (grad,) = torch.autograd.grad(loss, given, create_graph=True)
            penalty = grad.square().sum()
            optimizer.zero_grad()
            (loss + 1e4 * penalty).backward()
            optimizer.step()
            history[engine].append(float(penalty.detach()))
    assert history["native"] == pytest.approx(history["torch"], rel=1e-9)
    assert history["native"][-1] < 0.9 * history["native"][0]
    for a, b in zip(nets["native"].parameters(), nets["torch"].parameters(), strict=True):
        close("a parameter", a, b, 1e-9)


def test_three_times():
    found = []
    for engine in ("native", "torch"):
        x = inputs(f64, 3, (2, 3)).requires_grad_()
        value = LIFNode(step_mode="m", engine=engine)(x).square().sum()
        for _ in range(3):
            (value,) = torch.autograd.grad(value.square().sum(), x, create_graph=True)
        found.append(value.detach())
    close("third derivative", *found, 1e-11)
    assert found[1].abs().sum() > 0


def test_in_steps_and_through_kept_state():
    found = []
    for engine in ("native", "torch"):
        node = LIFNode(engine=engine, v_reset=None)
        x = inputs(f64, 4, (2, 3)).requires_grad_()
        spikes = torch.stack([node(step) for step in x])
        (grad,) = torch.autograd.grad(spikes.sum() + node.v.square().sum(), x, create_graph=True)
        grad.square().sum().backward()
        found.append(x.grad)
    close("'s'", *found, 1e-12)


def test_once_is_still_the_kernel():
    """create_graph=True alone gives the kernel's gradient but for rounding."""
    node = LIFNode(step_mode="m", engine="native")
    x = inputs(f64).requires_grad_()
    (want,) = torch.autograd.grad(node(x).sum(), x)
    (got,) = torch.autograd.grad(node(x).sum(), x, create_graph=True)
    close("grad", got, want, 1e-13)
    assert got.requires_grad and not want.requires_grad


def test_the_op_alone_raises():
    dynamics = LIFNode()._dynamics((1.0, 0.5))
    x = inputs(f64).requires_grad_()
    state = torch.zeros(1, *x.shape[1:], dtype=f64, requires_grad=True)
    params = torch.tensor([[1.0], [0.5]], dtype=f64, requires_grad=True)

    def op():
        return ops.multi_step(dynamics, x, state, params)[0]

    for leaf in (x, state, params):
        (grad,) = torch.autograd.grad(op().sum(), leaf, create_graph=True)
        with pytest.raises(RuntimeError, match="the op alone gives first derivatives"):
            grad.square().sum().backward()
        with pytest.raises(RuntimeError, match="the op alone gives first derivatives"):  # beside what is differentiable
            (op().sum() + grad.square().sum()).backward()
    w = torch.ones((), dtype=f64, requires_grad=True)  # where the gradient that comes in requires a gradient itself
    (grad,) = torch.autograd.grad((op() * w).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="the op alone gives first derivatives"):
        grad.sum().backward()


def test_a_copy_differentiates_through_its_own_parameters():
    """The definition belongs to the node that was called."""
    row = ROWS["lif-all_learned_channels"]
    node = row.make(engine="native")
    other = copy.deepcopy(node)
    with torch.no_grad():
        other.tau.mul_(1.5)
    assert not torch.equal(second(node, inputs(f64), start(row, f64))[1]["tau"],
                           second(other, inputs(f64), start(row, f64))[1]["tau"])  # fmt: skip
