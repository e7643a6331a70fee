"""torch.func over the native engine: vmap, grad, jacrev, one of the other, and again, against Python loops."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from neuron.cases import CHANNELS, FEW, ROWS, close, inputs, start, weights
from snncore import ops
from snncore.errors import EngineError
from snncore.neuron import LIFNode
from snncore.ops.neuron import NEURON_TABLE

few_rows = pytest.mark.parametrize("row", FEW, ids=lambda row: row.name)
BATCH, T, STEP = 4, 3, (2, CHANNELS, 5)
f64 = torch.float64
_spike, _v_seq, _last = weights(torch.zeros(T, *STEP, dtype=f64), 8)
WEIGHTS = (_spike, _last, _v_seq)  # of what ``Whole`` gives, for as many states as there may be


class Whole(nn.Module):
    """x_seq and state to everything a neuron gives, as ``functional_call`` wants it."""

    def __init__(self, node):
        super().__init__()
        self.node = node

    def forward(self, x_seq, state):
        self.node.store_v_seq = True
        spike_seq, last, v_seq = self.node._run(x_seq, None if state is None else tuple(state.unbind(0)))
        return spike_seq, torch.stack(tuple(last)), v_seq


def call(whole, parameters, x_seq, state):
    return torch.func.functional_call(whole, parameters, (x_seq, state))


def loss(whole, parameters, x_seq, state):
    outputs = call(whole, parameters, x_seq, state)
    pieces = (w[tuple(slice(n) for n in o.shape)] for w, o in zip(WEIGHTS, outputs, strict=True))
    return sum((o * w).sum() for o, w in zip(outputs, pieces, strict=True))


def batch(row, engine="native"):
    """Return a module and its parameters, x_seq and states of BATCH different calls, batch first."""
    whole = Whole(row.make(engine=engine))
    x = torch.stack([inputs(f64, T, STEP, seed=10 + b) for b in range(BATCH)])
    state = torch.stack([start(row, f64, STEP, seed=20 + b) for b in range(BATCH)])
    parameters = {
        name: torch.stack([p.detach() * (1 + 0.05 * b) for b in range(BATCH)]) for name, p in whole.named_parameters()
    }
    return whole, parameters, x, state


def pick(parameters, b):
    return {name: p[b] for name, p in parameters.items()}


def same(what, got, want, tolerance=0.0):
    if isinstance(want, dict):
        assert got.keys() == want.keys()
        got, want = got.values(), want.values()
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype, what
        if tolerance:
            close(what, a, b, tolerance, least=1.0)
        else:
            assert torch.equal(a, b), what


# which of parameters, x_seq and state carry the batch
WHO = {
    "x": (False, True, False),
    "state": (False, False, True),
    "x and state": (False, True, True),
    "parameters": (True, False, False),
    "all": (True, True, True),
}


def cases(row, engine="native"):
    whole, parameters, x, state = batch(row, engine)
    for who, dims in WHO.items():
        if dims[0] and not parameters:
            continue
        given = [value if many else (pick(value, 0) if isinstance(value, dict) else value[0])
                 for value, many in zip((parameters, x, state), dims, strict=True)]  # fmt: skip

        def one(b, given=given, dims=dims):
            return [(pick(v, b) if isinstance(v, dict) else v[b]) if m else v for v, m in zip(given, dims, strict=True)]

        yield who, whole, given, tuple(0 if m else None for m in dims), one


@few_rows
def test_vmap(row):
    for who, whole, given, dims, one in cases(row):
        got = torch.func.vmap(lambda *a, whole=whole: call(whole, *a), dims)(*given)
        want = [torch.stack(o) for o in zip(*(call(whole, *one(b)) for b in range(BATCH)), strict=True)]
        same(who, got, want)


@few_rows
def test_vmap_at_any_dimension(row):
    whole, _, x, state = batch(row)
    want = torch.stack([whole(x[b], state[b])[0] for b in range(BATCH)])
    for at in range(x.dim()):
        for out in range(x.dim()):
            got = torch.func.vmap(lambda x, s: whole(x, s)[0], (at, at), out)(x.movedim(0, at), state.movedim(0, at))
            assert torch.equal(got.movedim(out, 0), want), (at, out)
    got = torch.func.vmap(lambda x: whole(x, None)[2])(x)
    assert torch.equal(got, torch.stack([whole(one, None)[2] for one in x]))


@few_rows
def test_grad(row):
    """Every gradient equals that of autograd in eager mode, bit for bit: the same kernels are called."""
    whole, parameters, x, state = batch(row)
    parameters, x, state = pick(parameters, 1), x[1], state[1]
    got = torch.func.grad(lambda *a: loss(whole, *a), (0, 1, 2))(parameters, x, state)
    leaves = [p.requires_grad_() for p in (*parameters.values(), x, state)]
    want = torch.autograd.grad(loss(whole, parameters, x, state), leaves)
    same("grad", [*got[0].values(), *got[1:]], want)


@few_rows
def test_vmap_of_grad(row):
    """Gradients of every element of a batch, of shared parameters too."""
    for who, whole, given, dims, one in cases(row):
        function = torch.func.grad(lambda *a, whole=whole: loss(whole, *a), (0, 1, 2))
        got = torch.func.vmap(function, dims)(*given)
        want = [function(*one(b)) for b in range(BATCH)]
        same(who, got[0], {n: torch.stack([w[0][n] for w in want]) for n in got[0]}, 1e-12)
        same(who, got[1:], [torch.stack([w[i] for w in want]) for i in (1, 2)], 1e-12)


@few_rows
def test_grad_of_vmap(row):
    """A loss over a batch; gradients of what all share are summed."""
    for who, whole, given, dims, _ in cases(row):

        def total(*a, whole=whole, dims=dims):
            return torch.func.vmap(lambda *b: loss(whole, *b), dims)(*a).sum()

        def loop(*a, whole=whole, dims=dims):
            pieces = zip(
                *([v] * BATCH if d is None else _unstack(v) for v, d in zip(a, dims, strict=True)), strict=True
            )
            return sum(loss(whole, *piece) for piece in pieces)

        got, want = (torch.func.grad(f, (0, 1, 2))(*given) for f in (total, loop))
        same(who, got[0], want[0], 1e-12)
        same(who, got[1:], want[1:], 1e-12)


def _unstack(value):
    if isinstance(value, dict):
        return [{n: p[b] for n, p in value.items()} for b in range(BATCH)]
    return value.unbind(0)


def test_vmap_of_vmap():
    for name in ("lif-soft", "plif-channels-hard-0.25", "leaky-subtract-at_once-learn_betas"):
        whole, parameters, x, state = batch(ROWS[name])
        function = torch.func.grad(lambda *a, whole=whole: loss(whole, *a), (0, 1, 2))
        inner = torch.func.vmap(function, (None, 0, None))
        got = torch.func.vmap(inner, (0, None, 0))(parameters, x, state)
        for a in range(BATCH):
            for b in range(BATCH):
                want = function(pick(parameters, a), x[b], state[a])
                same(name, [g[a, b] for g in (*got[0].values(), *got[1:])], [*want[0].values(), *want[1:]], 1e-12)


@few_rows
def test_jacrev(row):
    whole, parameters, x, state = batch(row)
    parameters, x, state = pick(parameters, 0), x[0, :2, :1, :, :2], state[0, :, :1, :, :2]
    function = lambda p, x, s: call(whole, p, x, s)[2]  # noqa: E731
    got = torch.func.jacrev(function, (0, 1, 2))(parameters, x, state)
    leaves = [t.clone().requires_grad_() for t in (*parameters.values(), x, state)]
    v_seq = function(dict(zip(parameters, leaves, strict=False)), *leaves[-2:])
    rows = [torch.autograd.grad(v, leaves, retain_graph=True) for v in v_seq.flatten()]
    want = [
        torch.stack(r).view(*v_seq.shape, *leaf.shape) for r, leaf in zip(zip(*rows, strict=True), leaves, strict=True)
    ]
    same("jacrev", [*got[0].values(), *got[1:]], want, 1e-12)
    jacobian = torch.autograd.functional.jacobian(lambda x: function(parameters, x, state), x, vectorize=True)
    same("jacobian", [jacobian], [want[-2]], 1e-12)


@few_rows
def test_grad_of_grad(row):
    """Through the transforms too a derivative of a derivative is that of the definition."""
    found = []
    for engine in ("native", "torch"):
        whole, parameters, x, state = batch(row, engine)
        parameters, x, state = pick(parameters, 0), x[0], state[0]

        def penalty(*a, whole=whole):
            first = torch.func.grad(lambda *b: loss(whole, *b), (0, 1, 2))(*a)
            return sum(g.square().sum() for g in (*first[0].values(), *first[1:]))

        second = torch.func.grad(penalty, (0, 1, 2))(parameters, x, state)
        each = torch.func.vmap(torch.func.grad(penalty, 1), (None, 0, None))(
            parameters, torch.stack((x, x + 0.25)), state
        )
        found.append([*second[0].values(), *second[1:], each])
    same("second derivatives", found[0], found[1], 1e-11)


def test_many_gradients_at_once():
    """is_grads_batched: the backward op under vmap, from eager autograd."""
    for row in FEW:
        node = row.make(engine="native")
        x = inputs(f64, T, STEP).requires_grad_()
        spikes = node(x)
        leaves = [x, *node.parameters()]
        grads = torch.randn(5, *spikes.shape, generator=torch.Generator().manual_seed(0), dtype=f64)
        got = torch.autograd.grad(spikes, leaves, grads, is_grads_batched=True, retain_graph=True)
        want = [torch.autograd.grad(spikes, leaves, g, retain_graph=True) for g in grads]
        same(row.name, got, [torch.stack(w) for w in zip(*want, strict=True)], 1e-12)


@pytest.mark.parametrize("shape", [(0, 2, CHANNELS, 5), (T, 0, CHANNELS, 5), (T, 2, CHANNELS, 0)], ids=str)
def test_empty(shape):
    for row in FEW:
        whole, parameters, _, _ = batch(row)
        x = torch.zeros(BATCH, *shape, dtype=f64)
        function = torch.func.grad(lambda *a, whole=whole: loss(whole, *a), (0, 1))
        for dims in ((0, 0), (None, 0)):
            given = parameters if dims[0] == 0 else pick(parameters, 0)
            g_parameters, g_x = torch.func.vmap(lambda p, x, f=function: f(p, x, None), dims)(given, x)
            assert g_x.shape == x.shape
            assert all(g.shape == parameters[n].shape and not g.any() for n, g in g_parameters.items())


# ---- the op alone ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("neuron", NEURON_TABLE)
def test_multi_step_with_a_batch_of_params(neuron):
    """Of one channel and of several, beside lanes in any arrangement, x with a batch or without."""
    row = next(row for row in FEW if row.node.native == neuron)
    node = row.make()
    own = tuple(float(torch.as_tensor(c).detach().mean()) for c in node.coefficients().values())
    dynamics = node._dynamics((0.75, *own))
    generator = torch.Generator().manual_seed(0)
    for step, channels, inner in (((2, 3, 5), 3, 5), ((2, 3, 5), 1, 1), ((7,), 1, 7), ((4, 6), 6, 1), ((12,), 2, 3)):
        x = torch.rand(BATCH, T, *step, generator=generator, dtype=f64) * 2
        params = torch.tensor([0.75, *own], dtype=f64).view(-1, 1)
        params = params * (1 + 0.1 * torch.rand(BATCH, len(params), channels, generator=generator, dtype=f64))

        def run(x, p, dynamics=dynamics, inner=inner):
            spike_seq, last, v_seq, _ = ops.multi_step(dynamics, x, None, p, inner, keep_v_seq=True)
            return (spike_seq * 2).sum() + last.square().sum() + v_seq.square().sum(), (spike_seq, last, v_seq)

        function = torch.func.grad(run, (0, 1), has_aux=True)
        for dims in ((0, 0), (None, 0), (0, None)):
            given = [t if d == 0 else t[0] for t, d in zip((x, params), dims, strict=True)]
            got = torch.func.vmap(function, dims)(*given)
            want = [function(*(g[b] if d == 0 else g for g, d in zip(given, dims, strict=True))) for b in range(BATCH)]
            what = f"{neuron}, {step}, {channels} channels, {dims}"
            same(what, got[1], [torch.stack(w) for w in zip(*(w[1] for w in want), strict=True)])
            same(what, got[0], [torch.stack(w) for w in zip(*(w[0] for w in want), strict=True)], 1e-12)


def test_multi_step_without_a_definition_differentiates_once():
    dynamics = LIFNode()._dynamics((1.0, 0.5))
    x = torch.rand(T, 5)
    first = torch.func.grad(lambda x: ops.multi_step(dynamics, x)[0].sum())
    assert first(x).abs().sum() > 0
    with pytest.raises(RuntimeError, match="the op alone gives first derivatives"):
        torch.func.grad(lambda x: first(x).square().sum())(x)


# ---- forward mode, and under the compiler ----------------------------------------------------------------------------


def dual(function, x, tangent):
    with torch.autograd.forward_ad.dual_level():
        out = function(torch.autograd.forward_ad.make_dual(x, tangent))
        return torch.autograd.forward_ad.unpack_dual(out).tangent


FORWARD = {
    "jvp": lambda function, x, tangent: torch.func.jvp(function, (x,), (tangent,))[1],
    "dual": dual,
    "jacfwd": lambda function, x, tangent: torch.tensordot(torch.func.jacfwd(function)(x), tangent, x.dim()),
}


@pytest.mark.parametrize("how", FORWARD.values(), ids=FORWARD)
def test_forward_mode_is_refused_or_right(how, caplog):
    node = LIFNode(step_mode="m", engine="native", store_v_seq=True)
    x = inputs(f64, T, (2, 3))
    tangent = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=f64)
    with pytest.raises(EngineError, match=r"^LIFNode\.engine: .*reverse mode.*engine='auto'"):
        how(node, x, tangent)
    with pytest.raises(EngineError, match=r"^multi_step\.x_seq: must carry no tangent.*reverse mode"):
        how(lambda x: ops.multi_step(node._dynamics((1.0, 0.5)), x)[0], x, tangent)
    want = torch.tensordot(torch.func.jacrev(node)(x), tangent, x.dim())
    node.engine = "auto"
    with caplog.at_level(logging.WARNING, logger="snncore"):
        close("tangent", how(node, x, tangent), want, 1e-12)
    assert "reverse mode" in caplog.text


def test_hessian():
    x = inputs(f64, T, (2, 3))
    node = LIFNode(step_mode="m")
    want = torch.func.jacrev(torch.func.jacrev(lambda x: node(x).square().sum()))(x)
    close("hessian", torch.func.hessian(lambda x: node(x).square().sum())(x), want, 1e-12)
    assert want.abs().sum() > 0


@pytest.mark.parametrize("engine", ["auto", "native"])
def test_compiled_transforms(engine):
    """torch.compile traces no transform into a native kernel: the definition, or an error."""
    torch._dynamo.reset()
    node = LIFNode(step_mode="m", engine=engine)
    x = inputs(f64, T, (2, 3))
    transforms = {
        "vmap": torch.func.vmap(lambda x: node(x), 1),  # of a module torch itself wants the repr
        "grad": torch.func.grad(lambda x: node(x).sum()),
        "vmap of grad": torch.func.vmap(torch.func.grad(lambda x: node(x).sum()), 1),
        "jvp": lambda x: torch.func.jvp(node, (x,), (torch.ones_like(x),))[1],
    }
    for what, function in transforms.items():
        compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
        if engine == "native":
            with pytest.raises(Exception, match="exception"):
                compiled(x)
        else:
            close(what, compiled(x), function(x), 1e-12)
    torch._dynamo.reset()
