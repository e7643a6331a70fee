"""snncore.explain: what it says is what then runs, and the net is as it was before."""

from __future__ import annotations

import copy
import logging
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import snncore
from snncore import encoding, functional, layer, neuron
from snncore.engine import Explanation, NeuronKernel
from snncore.errors import ArgumentError, EngineError
from snncore.metric import FiringRate


class Own(neuron.BaseNode):
    """A neuron of a user."""

    def charge(self, x, v):
        return 0.5 * v + x


class Noise(nn.Module):
    """Draws from every generator there is, and counts."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x + torch.rand_like(x) * random.random() * np.random.rand()


class Calls(TorchDispatchMode):
    """Notes the forward calls of snncore's ops: name, shape and dtype of x_seq."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "snncore":
            self.seen.append((func.__name__.split("_forward")[0], tuple(args[0].shape), args[0].dtype))
        return func(*args, **(kwargs or {}))


def make():
    torch.manual_seed(0)
    net = nn.Sequential(
        Noise(), layer.Conv2d(1, 4, 3), layer.BatchNorm2d(4), neuron.LIFNode(), layer.Dropout(0.5), layer.Flatten(),
        layer.LinearRecurrent(neuron.IFNode(), layer.Linear(64, 64)), neuron.PSN(3), Own(), layer.Linear(64, 3),
        neuron.Leaky(engine="torch"),
    )  # fmt: skip
    functional.set_step_mode(net, "m")
    return net


X_SEQ = torch.rand(3, 2, 1, 6, 6, generator=torch.Generator().manual_seed(1)) * 4
NATIVE = snncore.build_info()["cpu_capability"]


def test_what_it_says_is_what_runs():
    net = make()
    rows = snncore.explain(net, X_SEQ)
    with Calls() as calls, torch.no_grad():
        net(X_SEQ)
    said = []
    for row in rows:
        if row.engine == "native":
            shape = (1, 6, 64) if row.neuron == "PSN" else row.shape  # its steps are lanes to the kernel
            said += [(row.kernel, shape, row.dtype)] * row.calls
    assert said == calls.seen
    assert [(r.name, r.neuron, r.engine, r.kernel, r.calls) for r in rows] == [
        ("3", "LIFNode", "native", "lif", 1), ("6.neuron", "IFNode", "native", "if", 3),
        ("7", "PSN", "native", "if", 1),
        ("8", "Own", "torch", None, 1), ("10", "Leaky", "torch", None, 1),
    ]  # fmt: skip
    assert {r.runs_on for r in rows if r.engine == "native"} == {NATIVE}
    assert rows[3].reason == "Own has no native kernel" == net[8].why_not_native(X_SEQ)
    assert rows[4].reason == "asked for with engine='torch'"
    assert all(r.device == torch.device("cpu") and r.dtype == torch.float32 for r in rows)
    assert not rows.native and Explanation(rows[:3]).native


def test_the_table():
    rows = snncore.explain(make(), X_SEQ)
    assert repr(rows) == str(rows)
    assert [line.split() for line in str(rows).splitlines()] == [
        line.split()
        for line in f"""
        name      neuron   input                         kernel
        3         LIFNode  float32 cpu [3, 2, 4, 4, 4]   native: lif, {NATIVE}
        6.neuron  IFNode   float32 cpu [1, 2, 64] x 3    native: if, {NATIVE}
        7         PSN      float32 cpu [3, 2, 64]        native: if, {NATIVE}
        8         Own      float32 cpu [3, 2, 64]        torch: Own has no native kernel
        10        Leaky    float32 cpu [3, 2, 3]         torch: asked for with engine='torch'
        """.strip().splitlines()
    ]
    assert len({line.index(word) for line, word in zip(str(rows).splitlines()[1:3], ("LIF", "IFN"), strict=True)}) == 1
    assert str(snncore.explain(nn.Linear(2, 2))) == "no neurons of snncore in this net"
    assert str(snncore.explain(neuron.IFNode(step_mode="m"), X_SEQ)).splitlines()[1].startswith("(the net)  IFNode")


def snapshot(net):
    return {
        "tensors": {n: t.clone() for n, t in net.state_dict().items()},
        "training": [m.training for m in net.modules()],
        "modes": [getattr(m, "step_mode", None) for m in net.modules()],
        "kept": [(id(getattr(m, "state", None)), id(getattr(m, "v_seq", None)), id(getattr(m, "keep", None)),
                  id(getattr(m, "y", None))) for m in net.modules()],
        "random": (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()),
        "calls": net[0].calls,
        "hooks": [len(m._forward_hooks) for m in net.modules()],
        "grads": [p.grad for p in net.parameters()],
        "own": [sorted(vars(m)) for m in net.modules()],
    }  # fmt: skip


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("mode", ["m", "s"])
def test_the_net_is_as_it_was(training, mode, caplog):
    net = make()
    del net[7]  # PSN cannot step
    functional.set_step_mode(net, mode)
    net.train(training)
    x = X_SEQ if mode == "m" else X_SEQ[0]
    if mode == "s":
        net(x)  # there is a state, with a graph
    with FiringRate(net) as rate:
        before, inputs = snapshot(net), x.clone()
        with caplog.at_level(logging.DEBUG, logger="snncore"):
            caplog.clear()
            rows = snncore.explain(net, x)
        after = snapshot(net)
        assert not rate.counts()
    for key in before:
        assert same(before[key], after[key]), key
    assert not caplog.records, "explain itself is silent"
    assert torch.equal(x, inputs) and len(rows) == 4
    assert {r.shape[0] for r in rows} == ({3, 1} if mode == "m" else {1})
    with caplog.at_level(logging.WARNING, logger="snncore"):
        net(x)
    assert len([r for r in caplog.records if r.name == "snncore"]) == (mode == "m"), (
        "the net still says it itself, once"
    )


def test_an_inplace_layer_does_not_change_the_input():
    x = torch.randn(3, 2, 4)
    before = x.clone()
    snncore.explain(nn.Sequential(nn.ReLU(inplace=True), neuron.IFNode(step_mode="m")), x)
    assert torch.equal(x, before)


def test_hooks_of_a_user_do_not_see_it_and_one_sample_is_enough():
    net = nn.Sequential(layer.BatchNorm2d(2, step_mode="m"), neuron.IFNode(step_mode="m"))
    seen = []
    net[1].register_forward_hook(lambda *_: seen.append(1))
    x = torch.rand(1, 1, 2, 1, 1)  # which BatchNorm refuses in training
    assert snncore.explain(net, x)[0].calls == 1 and not seen
    net.eval()(x)
    assert seen


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
def test_dtypes_are_those_that_reach_the_neuron(low):
    net = make()
    x_seq = encoding.direct(X_SEQ[0], 3)
    with torch.autocast("cpu", low):
        assert snncore.explain(net, x_seq)[0].dtype == low
    assert snncore.explain(net, x_seq)[0].dtype == torch.float32
    assert snncore.explain(net.double(), x_seq.double())[0].dtype == torch.float64


def test_without_inputs():
    net = make()
    rows = snncore.explain(net)
    assert [(r.engine, r.calls, r.shape) for r in rows[:1]] == [("native", 0, None)]
    assert {(r.device.type, r.dtype) for r in rows} == {("cpu", torch.float32)}
    assert snncore.explain(net.bfloat16())[0].dtype == torch.bfloat16
    assert snncore.explain(neuron.IFNode())[0].dtype == torch.get_default_dtype()
    (row,) = snncore.explain(neuron.IFNode(), device="meta", dtype=torch.float16)
    assert (row.engine, row.dtype, row.device) == ("torch", torch.float16, torch.device("meta"))
    assert row.reason == "there is no native kernel for device 'meta'"
    (row,) = snncore.explain(neuron.IFNode(), device="cuda")
    why = snncore.ops.cuda_ready()
    assert (row.engine, row.reason) == (("native", None) if why is None else ("torch", why))
    assert str(row) == f"{row.engine}: {row.reason or f'if, {row.runs_on}'}"


def test_a_neuron_that_must_be_native_and_cannot():
    net = nn.Sequential(Own(engine="native", step_mode="m"))
    x_seq = torch.rand(3, 2)
    (row,) = snncore.explain(net, x_seq)
    assert row.engine == "error" and not snncore.explain(net).native
    with pytest.raises(EngineError) as caught:
        net(x_seq)
    assert row.reason.removeprefix("engine='native' ") in str(caught.value)


def test_shared_unreached_and_changing():
    shared = neuron.IFNode(step_mode="m")

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.unused = shared, shared, neuron.LIFNode()

        def forward(self, x):
            return self.a(x), self.b(x.double()), self.a(x)

    rows = snncore.explain(Net(), torch.rand(3, 2))
    assert [(r.name, r.dtype, r.calls) for r in rows] == [
        ("a", torch.float32, 2), ("a", torch.float64, 1), ("unused", None, 0),
    ]  # fmt: skip
    assert (rows[2].engine, str(rows[2])) == ("not run", "not run: this input does not reach it")
    assert rows.native


def test_compiled_nets():
    torch._dynamo.reset()
    inner = torch.compile(neuron.LIFNode(step_mode="m"), backend="aot_eager")
    net = torch.compile(nn.Sequential(inner, neuron.IFNode(step_mode="m")), backend="aot_eager")
    rows = snncore.explain(net, torch.rand(3, 2))
    assert [(r.name, r.engine, r.calls) for r in rows] == [("0._orig_mod", "native", 1), ("1", "native", 1)]
    single = neuron.LIFNode(step_mode="m")
    single.compile(backend="aot_eager")
    assert copy.deepcopy(single)._compiled_call_impl is None  # a copy is its own module
    assert snncore.explain(single, torch.rand(3, 2))[0].calls == 1
    torch._dynamo.reset()


def test_misuse():
    with pytest.raises(ArgumentError, match=r"^explain\.model: must be a torch module, got type; "):
        snncore.explain(neuron.IFNode)
    with pytest.raises(ArgumentError, match=r"^explain\.device: must be left out with example inputs"):
        snncore.explain(neuron.IFNode(), torch.rand(2), device="cpu")
    with pytest.raises(ArgumentError, match=r"^explain\.dtype: must be float64"):
        snncore.explain(neuron.IFNode(), dtype=torch.int32)
    for device in ("gpu", 1.5):
        with pytest.raises(ArgumentError, match=r"^explain\.device: must be a device"):
            snncore.explain(neuron.IFNode(), device=device)
    stuck = nn.Sequential(neuron.IFNode(step_mode="m"))
    stuck.scale = torch.rand(2, requires_grad=True) * 2
    with pytest.raises(ArgumentError, match=r"^explain\.model: must be a net that can be copied"):
        snncore.explain(stuck, torch.rand(3, 2))
    assert snncore.explain(stuck).native
    with pytest.raises(ArgumentError, match=r"IFNode\.x: must be"):  # the net's own complaint about its input
        snncore.explain(neuron.IFNode(step_mode="m"), torch.rand(3))


def test_rows_are_plain_data():
    (row,) = snncore.explain(neuron.IFNode(step_mode="m"), torch.rand(3, 2))
    assert isinstance(row, NeuronKernel) and row == copy.deepcopy(row)
    assert vars(row) == {
        "name": "", "neuron": "IFNode", "engine": "native", "kernel": "if", "runs_on": NATIVE, "reason": None,
        "dtype": torch.float32, "device": torch.device("cpu"), "shape": (3, 2), "calls": 1,
    }  # fmt: skip


@pytest.mark.gpu
def test_on_a_gpu():
    net = make().cuda()
    rows = snncore.explain(net, X_SEQ.cuda())
    why = snncore.ops.cuda_ready()
    state = torch.cuda.get_rng_state()
    assert {(r.device.type, r.engine) for r in rows[:3]} == {("cuda", "native" if why is None else "torch")}
    snncore.explain(net, X_SEQ.cuda())
    assert torch.equal(torch.cuda.get_rng_state(), state)
    if why is None:
        major, minor = torch.cuda.get_device_capability()
        assert rows[0].runs_on == f"sm_{major}{minor}"
