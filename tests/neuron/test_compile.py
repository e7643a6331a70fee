"""torch.compile(fullgraph=True) equals eager, and autocast and half modules keep the fused op and the dtype."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from neuron.cases import FEW, ROWS, close, inputs, start, weights
from snncore import functional, layer
from snncore.neuron import IFNode, LIFNode, ParametricLIFNode
from snncore.ops.neuron import state_dtype


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def results(function, node, x_seq, state):
    """Forward and backward through ``function``, which is node.run, compiled or not."""
    x_seq, state = x_seq.detach().requires_grad_(), state.detach().requires_grad_()
    node.zero_grad()
    spike_seq, last = function(x_seq, tuple(state.unbind(0)))
    last = torch.stack(tuple(last))
    w_spike, _, w_last = weights(x_seq, len(last))
    ((spike_seq * w_spike).sum(dtype=last.dtype) + (last * w_last).sum()).backward()
    out = {"spike_seq": spike_seq, "last": last, "grad.x": x_seq.grad, "grad.state": state.grad}
    return out | {f"grad.{n}": p.grad.clone() for n, p in node.named_parameters()}


def compare(row, dtype, backend):
    x_seq, state = inputs(dtype), start(row, dtype)
    node = row.make(dtype, engine="native")
    eager = results(node.run, node, x_seq, state)
    compiled = results(torch.compile(node.run, fullgraph=True, backend=backend), node, x_seq, state)
    assert eager.keys() == compiled.keys()
    for key in eager:
        if backend == "aot_eager" or key in ("spike_seq", "last", "grad.x", "grad.state"):
            assert torch.equal(eager[key], compiled[key]), key
        else:  # the compiler may write exp(-w) in its own way
            close(key, compiled[key], eager[key], 1e-12 if dtype == torch.float64 else 1e-5)


@pytest.mark.parametrize("row", FEW, ids=lambda row: row.name)
def test_equals_eager(row):
    compare(row, torch.float64, "aot_eager")


# one state and several, one number and one per channel, a delayed reset
KINDS = ["if-hard", "plif-channels-soft", "leaky-subtract-delayed-learn_betas", "lif-all_learned_channels", "clif"]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_equals_eager_in_other_dtypes(name, dtype):
    compare(ROWS[name], dtype, "aot_eager")


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("lif-hard-0.25", torch.float32), ("leaky-subtract-delayed-learn_betas", torch.float32)],
    ids=str,
)
def test_equals_eager_under_inductor(name, dtype):
    compare(ROWS[name], dtype, "inductor")


def test_forward_of_both_step_modes():
    """forward() itself: 'm' with store_v_seq, and 's' with its state kept across compiled calls."""
    node = ParametricLIFNode(step_mode="m", store_v_seq=True, engine="native")
    x_seq = inputs(torch.float32)
    want, v_seq = node(x_seq), node.v_seq
    compiled = torch.compile(node, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x_seq), want)
    assert torch.equal(node.v_seq, v_seq)

    single = LIFNode(step_mode="s", engine="native")
    compiled = torch.compile(single, fullgraph=True, backend="aot_eager")
    plain = LIFNode(step_mode="m")(x_seq)
    assert torch.equal(torch.stack([compiled(x) for x in x_seq]), plain)
    single.reset()
    assert torch.equal(torch.stack([compiled(x) for x in x_seq]), plain)


def test_dynamic_shapes():
    node = LIFNode(step_mode="m", engine="native")
    compiled = torch.compile(node.run, fullgraph=True, backend="aot_eager", dynamic=True)
    for T, batch in ((3, 4), (5, 7), (2, 9)):
        x_seq = inputs(torch.float32, T, (batch, 6))
        assert torch.equal(compiled(x_seq)[0], node.run(x_seq)[0])


def test_the_fallback_compiles_too():
    node = LIFNode(step_mode="m", engine="torch")
    x_seq = inputs(torch.float64)
    assert torch.equal(torch.compile(node, fullgraph=True, backend="aot_eager")(x_seq), node(x_seq))


def test_compiled_net_trains_like_the_eager_one():
    torch.manual_seed(0)
    net = torch.nn.Sequential(layer.Linear(5, 8), LIFNode(), layer.Linear(8, 3), IFNode())
    functional.set_step_mode(net, "m")
    other = copy.deepcopy(net)
    x_seq = torch.rand(4, 6, 5) * 3
    for model, run in ((net, net), (other, torch.compile(other, fullgraph=True, backend="aot_eager"))):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        for _ in range(3):
            optimizer.zero_grad()
            (run(x_seq).mean(0) - 0.5).square().sum().backward()
            optimizer.step()
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b)


# ---- autocast and half modules ---------------------------------------------------------------------------------------


class Calls(TorchDispatchMode):
    """Counts the calls of snncore's ops and keeps the dtype of x_seq."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "snncore":
            x_seq = args[0] if "_forward" in func.__name__ else args[3]
            self.seen.append((func.__name__.split(".")[0], x_seq.dtype))
        return func(*args, **(kwargs or {}))


def small_net(node):
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        layer.Conv2d(1, 4, 3), layer.BatchNorm2d(4), node, layer.Flatten(), layer.Linear(64, 3), IFNode()
    )
    functional.set_step_mode(net, "m")
    return net


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_keeps_the_fused_op(low):
    net = small_net(LIFNode())
    x_seq = torch.rand(4, 2, 1, 6, 6) * 4
    with Calls() as calls, torch.autocast("cpu", dtype=low):
        spikes = net(x_seq)
    assert calls.seen == [("lif_forward", low), ("if_forward", low)]
    assert spikes.dtype == low
    with Calls() as calls:
        spikes.sum(dtype=torch.float32).backward()
    assert calls.seen == [("if_backward", low), ("lif_backward", low)]
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in net.parameters())


def test_autocast_leaves_float32_alone():
    node = LIFNode(step_mode="m", engine="native", store_v_seq=True)
    x_seq = inputs(torch.float32)
    want = node(x_seq)
    with Calls() as calls, torch.autocast("cpu", dtype=torch.bfloat16):
        got = node(x_seq)
    assert calls.seen == [("lif_forward", torch.float32)]
    assert torch.equal(got, want)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("row", FEW, ids=lambda row: row.name)
def test_half_modules(row, dtype):
    """.half() and .bfloat16(): the fused op on low x, state in float32, parameters in the module's dtype."""
    node = row.make(torch.float32, engine="native", store_v_seq=True).to(dtype)
    x_seq = inputs(dtype).requires_grad_()
    with Calls() as calls:
        spikes = node(x_seq)
        (spikes.sum(dtype=torch.float32) + node.v_seq.sum()).backward()
    kind = row.node.native
    assert calls.seen == [(f"{kind}_forward", dtype), (f"{kind}_backward", dtype)]
    assert spikes.dtype == x_seq.grad.dtype == dtype
    assert node.v_seq.dtype == torch.float32
    plain = row.make(torch.float32, engine="torch", store_v_seq=True).to(dtype)
    assert torch.equal(plain(inputs(dtype)), spikes)
    if row.exact:
        assert torch.equal(plain.v_seq, node.v_seq)
    else:
        close("v_seq", node.v_seq, plain.v_seq, 1e-5)
    for parameter in node.parameters():
        assert parameter.dtype == parameter.grad.dtype == dtype
        assert torch.isfinite(parameter.grad).all()


def test_half_net():
    net = small_net(LIFNode()).bfloat16()
    x_seq = torch.rand(4, 2, 1, 6, 6).bfloat16() * 4
    with Calls() as calls:
        net(x_seq).sum().backward()
    assert [name for name, _ in calls.seen] == ["lif_forward", "if_forward", "if_backward", "lif_backward"]
    assert {dtype for _, dtype in calls.seen} == {torch.bfloat16}


@pytest.mark.parametrize("mode", ["m", "s"])
def test_eager_calls_one_op_a_layer(mode):
    node = IFNode(step_mode=mode, engine="native")
    x_seq = inputs(torch.float32)
    with Calls() as calls:
        _ = node(x_seq) if mode == "m" else [node(x) for x in x_seq]
    assert len(calls.seen) == (1 if mode == "m" else len(x_seq))
    with Calls() as calls, torch.inference_mode():
        IFNode(step_mode="m")(x_seq)
    assert len(calls.seen) == 1


def test_state_dtype():
    wanted = {torch.float64: torch.float64, torch.float32: torch.float32}
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        assert state_dtype(dtype) == wanted.get(dtype, torch.float32)
