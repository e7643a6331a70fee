"""PSN, MaskedPSN, SlidingPSN: against their equations, SpikingJelly, finite differences, and themselves stepped."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from neuron.cases import close
from neuron.row import surrogates
from snncore import functional, layer, surrogate
from snncore.errors import ArgumentError, EngineError, StateError
from snncore.neuron import NEURONS, PARALLEL_NEURONS, PSN, BaseNode, MaskedPSN, SlidingPSN

T, SHAPE = 6, (2, 3, 4)  # [B, C, L]
MAKE = {
    "psn": lambda **k: PSN(T, **k),
    "masked_psn-0": lambda **k: MaskedPSN(3, T, **k),
    "masked_psn-0.375": lambda **k: MaskedPSN(3, T, lambda_init=0.375, **k),
    "masked_psn-1": lambda **k: MaskedPSN(2, T, lambda_init=1.0, **k),
    "sliding_psn": lambda **k: SlidingPSN(3, **k),
    "sliding_psn-1": lambda **k: SlidingPSN(1, **k),
    "sliding_psn-long": lambda **k: SlidingPSN(T + 3, exp_init=False, **k),
}
each = pytest.mark.parametrize("name", MAKE)
STEPPING = pytest.mark.parametrize("name", [n for n in MAKE if n.startswith(("masked_psn-1", "sliding"))])
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def make(name: str, seed: int = 0, **k) -> BaseNode:
    torch.manual_seed(seed)
    node = MAKE[name](**{"step_mode": "m", **k}).double()
    with torch.no_grad():
        for p in node.parameters():
            p += 0.25 * torch.randn(p.shape, dtype=torch.float64)  # biases unlike one another
    return node


def data(dtype=torch.float64, steps: int = T, shape=SHAPE) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return (torch.randn(steps, *shape, generator=generator, dtype=torch.float64) * 2 + 0.8).to(dtype)


def by_hand(node: BaseNode, x_seq: Tensor) -> Tensor:
    """h [T, *], sum by sum."""
    steps = len(x_seq)
    h = []
    for t in range(steps):
        if isinstance(node, SlidingPSN):
            k, total = node.k, node.bias
            for i in range(k):
                if t - k + 1 + i >= 0:
                    total = total + node.weight[i] * x_seq[t - k + 1 + i]
        else:
            total = node.bias[t, 0]
            for s in range(steps):
                inside = isinstance(node, PSN) or t - node.k < s <= t
                share = 1.0 if inside else 1.0 - node.lambda_
                total = total + share * node.weight[t, s] * x_seq[s]
        h.append(total)
    return torch.stack(h)


def outcome(node: BaseNode, function, x_seq: Tensor, autocast: bool = False) -> dict[str, Tensor]:
    x_seq = x_seq.detach().clone().requires_grad_()
    node.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y = function(x_seq)
    weigh = torch.randint(-8, 9, y.shape, generator=torch.Generator().manual_seed(2)).to(y.dtype) / 8
    (y * weigh).sum(dtype=torch.float64).backward()
    return {"spikes": y.detach(), "grad.x": x_seq.grad, **{n: p.grad.clone() for n, p in node.named_parameters()}}


def test_the_table():
    assert set(PARALLEL_NEURONS) == {name.split("-")[0] for name in MAKE}
    assert {type(m(step_mode="m")) for m in MAKE.values()} == set(PARALLEL_NEURONS.values())
    assert not set(PARALLEL_NEURONS) & set(NEURONS)


@each
@pytest.mark.parametrize("engine", ["native", "torch"])
def test_the_equations_with_every_surrogate(name, engine):
    for kind, ours in surrogates().items():
        node = make(name, surrogate_function=ours, engine=engine, store_v_seq=True)
        x_seq = data()
        got = outcome(node, node, x_seq)
        v_seq = node.v_seq.detach()
        want = outcome(node, lambda x, n=node, s=ours: s(by_hand(n, x)), x_seq)
        assert 0.1 < want["spikes"].mean() < 0.9
        close(f"{kind}: v_seq", v_seq, by_hand(node, x_seq).detach(), 1e-13)
        assert torch.equal(got["spikes"], want["spikes"]), kind
        for key in want:
            close(f"{kind}: {key}", got[key], want[key], 1e-12, least=1.0)


@each
def test_gradcheck(name):
    node = make(name)
    node.smooth = True
    x_seq = data(shape=(1, 2)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: node(x), (x_seq, *node.parameters()))
    assert torch.autograd.gradgradcheck(lambda x, *_: node(x), (x_seq, *node.parameters()))


@each
def test_it_fires_at_zero(name):
    node = make(name)
    with torch.no_grad():
        for p in node.parameters():
            p.zero_()
    assert node(data()).eq(1).all()


def test_starts_as_published():
    node = PSN(5)
    assert node.weight.shape == (5, 5) and node.weight.abs().max() <= 1 / math.sqrt(5)
    assert torch.equal(node.bias, torch.full((5, 1), -1.0))
    assert SlidingPSN(4).weight.tolist() == [0.125, 0.25, 0.5, 1.0] and SlidingPSN(4).bias.item() == -1.0
    assert SlidingPSN(4, exp_init=False).weight.abs().max() <= 0.5
    assert PSN(2).surrogate_function == surrogate.ATan(2.0)
    assert (PSN(2).step_mode, MaskedPSN(1, 2).step_mode, SlidingPSN(1).step_mode) == ("m", "s", "s")
    assert "T=2" in repr(PSN(2)) and "k=1, lambda_=0, T=2" in repr(MaskedPSN(1, 2)) and "k=3" in repr(SlidingPSN(3))


# ---- dtypes ----------------------------------------------------------------------------------------------------------


class Ops(TorchDispatchMode):
    """Notes snncore's ops and the dtype of their x_seq, and the dtypes of matrix products."""

    def __init__(self):
        super().__init__()
        self.fused, self.products = [], set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "snncore":
            self.fused.append((func.__name__.split(".")[0], args[0].dtype))
        if func.__name__.startswith(("addmm", "mm", "bmm")):
            self.products |= {a.dtype for a in args if isinstance(a, Tensor)}
        return func(*args, **(kwargs or {}))


@each
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("autocast", [False, True])
def test_dtypes(name, dtype, autocast):
    """Spikes and the gradient of x in x's dtype; the potentials, and so the firing, as in float32 (or float64)."""
    full = torch.float64 if dtype == torch.float64 else torch.float32
    node = make(name, store_v_seq=True, engine="native").to(full)
    x_seq = data(dtype)
    with Ops() as ops:
        got = outcome(node, node, x_seq, autocast)
    assert ops.fused == [("if_forward", full), ("if_backward", full)]
    assert ops.products == {full}
    assert got["spikes"].dtype == got["grad.x"].dtype == dtype
    assert node.v_seq.dtype == full
    want = outcome(node, lambda x: node(x.to(full)), x_seq)
    for key in got:
        assert torch.equal(got[key].to(want[key].dtype), want[key]), key


@each
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_modules(name, dtype):
    node = make(name, store_v_seq=True).to(dtype)
    got = outcome(node, node, data(dtype))
    assert {v.dtype for v in got.values()} == {dtype}
    exact = copy.deepcopy(node).double()
    want = outcome(exact, exact, data(dtype).double())
    sure = exact.v_seq.abs() > 1e-5
    assert sure.float().mean() > 0.9
    assert torch.equal(got["spikes"][sure].double(), want["spikes"][sure])
    for p in node.parameters():
        assert p.grad.isfinite().all()


# ---- time ------------------------------------------------------------------------------------------------------------


@STEPPING
@pytest.mark.parametrize("engine", ["native", "torch"])
def test_one_step_at_a_time(name, engine):
    node = make(name, engine=engine, store_v_seq=True)
    x_seq = data()
    want = outcome(node, node, x_seq)
    v_seq = node.v_seq.detach()
    assert node.state is None
    functional.set_step_mode(node, "s")
    for _ in range(2):
        functional.reset_net(node)
        got = outcome(node, lambda x: torch.stack([node(step) for step in x]), x_seq)
        close("v_seq", node.v_seq.detach(), v_seq, 1e-13)
        assert torch.equal(got["spikes"], want["spikes"])
        for key in want:
            close(key, got[key], want[key], 1e-12, least=1.0)
    assert len(node.state) == node.k - 1
    functional.detach_net(node)
    assert not any(s.requires_grad for s in node.state)
    assert node.v == 0.0
    twin = pickle.loads(pickle.dumps(node))
    assert twin.state is None and torch.equal(twin(x_seq[0]), want["spikes"][0])


def test_sliding_in_pieces():
    for name in ("sliding_psn", "sliding_psn-1", "sliding_psn-long"):
        node = make(name)
        x_seq = data()
        whole, last = node.run(x_seq)
        assert len(last) == node.k - 1
        for cut in range(T + 1):
            first, state = node.run(x_seq[:cut])
            assert len(state) == node.k - 1
            second, end = node.run(x_seq[cut:], state)
            assert torch.equal(torch.cat((first, second)), whole), (name, cut)
            for a, b in zip(end, last, strict=True):
                assert torch.equal(a, b)
        if last:
            with pytest.raises(StateError, match="must hold"):
                node.run(x_seq, last[1:])


def test_sliding_past_a_block():
    """Long sequences go in blocks of steps; k reaches across several."""
    for k, steps in ((3, 64), (3, 65), (70, 150), (200, 150), (1, 129)):
        torch.manual_seed(0)
        node = SlidingPSN(k, exp_init=False, step_mode="m", store_v_seq=True).double()
        x_seq = data(steps=steps, shape=(2,))
        got = outcome(node, node, x_seq)
        close("h", node.v_seq.detach(), by_hand(node, x_seq).detach(), 1e-13)
        want = outcome(node, lambda x, n=node: n.surrogate_function(by_hand(n, x)), x_seq)
        for key in want:
            close(f"{k}, {steps}: {key}", got[key], want[key], 1e-12)


def test_causality():
    x_seq = data()
    later = x_seq.clone()
    later[3:] = -5
    for name in MAKE:
        node = make(name, store_v_seq=True)
        node(x_seq)
        before = node.v_seq[:3].detach().clone()
        node(later)
        causal = name.startswith(("sliding", "masked_psn-1"))
        assert torch.allclose(before, node.v_seq[:3], rtol=1e-14) == causal, name


def test_masked_needs_lambda_1_and_ends_after_T():
    node = MaskedPSN(3, T, lambda_init=0.5)
    with pytest.raises(ArgumentError, match=r"^MaskedPSN\.lambda_: must be 1 in step_mode 's'.*got 0\.5; "):
        node(data(torch.float32)[0])
    assert node.state is None and node.time_step == 0
    node.lambda_ = 1
    for _ in range(2):
        for x in data(torch.float32):
            node(x)
        with pytest.raises(StateError, match=rf"^MaskedPSN\.x: must be one of T = {T} time steps.*reset_net"):
            node(x)
        functional.reset_net(node)
    node(data(torch.float32)[0])
    with pytest.raises(StateError, match="must fit x"):
        node(data(torch.float32)[0, :1])
    assert node.run(data(torch.float32))[0].shape == (T, *SHAPE)
    assert node.time_step == 1
    with pytest.raises(StateError, match="all T steps"):
        node.run(data(torch.float32), (torch.zeros(SHAPE),))


def test_lambda_is_saved_and_moved():
    node = MaskedPSN(2, 4)
    node.lambda_ = 0.75
    other = MaskedPSN(2, 4)
    other.load_state_dict(node.state_dict())
    assert other.lambda_ == 0.75
    assert {n for n, _ in node.named_parameters()} == {"weight", "bias"}
    mask = node.time_weight() / node.weight
    assert torch.allclose(mask, torch.where(node.band, 1.0, 0.25))
    assert node.band.tolist() == [[t - 2 < s <= t for s in range(4)] for t in range(4)]


# ---- engines, compile, shapes ----------------------------------------------------------------------------------------


@each
def test_compile(name):
    torch._dynamo.reset()
    node = make(name, engine="native")
    x_seq = data()
    want = outcome(node, node, x_seq)
    got = outcome(node, torch.compile(node, fullgraph=True, backend="aot_eager"), x_seq)
    assert torch.equal(got["spikes"], want["spikes"])
    for key in want:
        close(key, got[key], want[key], 1e-13)
    torch._dynamo.reset()


def test_annealing_does_not_compile_anew():
    torch._dynamo.reset()
    node = make("masked_psn-0")
    compiled = torch.compile(node, fullgraph=True, backend="aot_eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        for share in (0.0, 0.25, 1.0):
            node.lambda_ = share
            assert torch.equal(compiled(data()), node(data()))
    torch._dynamo.reset()


def test_engines():
    @dataclasses.dataclass(frozen=True)
    class Own(surrogate.Surrogate):
        def step(self, u):
            return torch.atan(u)

    node = make("psn", surrogate_function=Own(), engine="native")
    with pytest.raises(EngineError, match="surrogate Own is not in"):
        node(data())
    assert make("sliding_psn").why_not_native(data()) is None


def test_learned_slope_per_channel():
    alpha = torch.nn.Parameter(torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64))
    results = []
    for engine in ("native", "torch"):
        node = make("psn", surrogate_function=surrogate.ATan(alpha), engine=engine)
        with torch.no_grad():
            alpha.copy_(torch.tensor([1.0, 2.0, 4.0]))  # make() has moved it
        node(data()).sum().backward()
        results.append((node.weight.grad.clone(), node.surrogate_alpha.grad.clone()))
        node.zero_grad()
    for a, b in zip(*results, strict=True):
        close("gradient", a, b, 1e-12)
    assert results[0][1].shape == (3,) and (results[0][1] != 0).all()
    with pytest.raises(ArgumentError, match=r"PSN\.surrogate_alpha: must have as many"):
        make("psn", surrogate_function=surrogate.ATan(alpha))(data(shape=(2, 4)))


@each
def test_shapes(name):
    node = make(name)
    x = data(shape=(4, 5, 6))
    want = node(x)
    assert want.is_contiguous() and want.shape == x.shape
    for what in (
        x.permute(3, 1, 2, 0).contiguous().permute(3, 1, 2, 0), x.transpose(0, 1).contiguous().transpose(0, 1)
    ):  # fmt: skip
        assert torch.equal(node(what), want)
    static = x[:1].expand(x.shape)
    assert torch.equal(node(static), node(static.contiguous()))
    assert node(data(shape=(5,))).shape == (T, 5)
    for empty in ((0, 3), (2, 0)):
        x = torch.empty(T, *empty, dtype=torch.float64, requires_grad=True)
        y = node(x)
        y.sum().backward()
        assert y.shape == x.shape == x.grad.shape
        assert all(p.grad.eq(0).all() for p in node.parameters())
    if "sliding" in name:
        assert node(torch.empty(0, 2, 3, dtype=torch.float64)).shape == (0, 2, 3)
        assert node(data(steps=11)).shape == (11, *SHAPE)
    else:
        for steps in (T - 1, T + 1, 0):
            with pytest.raises(ArgumentError, match=rf"PSN\.x: must have T = {T} time steps.*got '{steps} \(shape"):
                node(data(steps=steps))


# ---- arguments -------------------------------------------------------------------------------------------------------

BAD = [
    *((PSN, {"T": v}, "T") for v in (0, -1, 2.0, "4", None, True)),
    *((MaskedPSN, {"k": v, "T": 4}, "k") for v in (0, 5, 1.0, None)),
    *((MaskedPSN, {"k": 1, "T": 4, "lambda_init": v}, "lambda_") for v in (-0.1, 1.5, math.nan, None, "0", True)),
    *((SlidingPSN, {"k": v}, "k") for v in (0, 1.5, "3", None, False)),
    *((cls, {"k": 2, "T": 4, name: 1.0}, name)
      for cls in (PSN, MaskedPSN, SlidingPSN) for name in ("v_threshold", "v_reset", "detach_reset")),
    *((SlidingPSN, {"k": 2, "step_mode": v}, "step_mode") for v in ("x", None)),
    *((PSN, {"T": 2, "step_mode": v}, "step_mode") for v in ("s", "x", None)),
    (SlidingPSN, {"k": 2, "surrogate_function": None}, "surrogate_function"),
    (PSN, {"T": 2, "engine": "gpu"}, "engine"),
]  # fmt: skip


@pytest.mark.parametrize(("cls", "arguments", "name"), BAD)
def test_bad_arguments(cls, arguments, name):
    takes = {PSN: {"k"}, SlidingPSN: {"T"}}.get(cls, set())
    arguments = {k: v for k, v in arguments.items() if k not in takes or k == name}
    with pytest.raises(ArgumentError, match=rf"^{cls.__name__}\.{name}: must .*, got .*; "):
        cls(**arguments)


def test_psn_does_not_step():
    node = PSN(4)
    message = r"^PSN\.step_mode: must be 'm', because .*got 's'; .*SlidingPSN"
    with pytest.raises(ArgumentError, match=message):
        node.step_mode = "s"
    net = torch.nn.Sequential(layer.Linear(3, 3), node, SlidingPSN(2))
    functional.set_step_mode(net, "m")
    with pytest.raises(ArgumentError, match=message):
        functional.set_step_mode(net, "s")
    assert [m.step_mode for m in net] == ["m", "m", "m"]


# ---- the peer --------------------------------------------------------------------------------------------------------


def peer(node: BaseNode):
    sj = pytest.importorskip(
        "spikingjelly.activation_based.neuron", reason="SpikingJelly is not installed: tests/oracles.txt"
    )
    if isinstance(node, PSN):
        theirs = sj.PSN(T)
    elif isinstance(node, MaskedPSN):
        theirs = sj.MaskedPSN(node.k, T, lambda_init=node.lambda_, step_mode="m")
    else:
        theirs = sj.SlidingPSN(node.k, step_mode="m")
    theirs = theirs.double()
    with torch.no_grad():
        theirs.weight.copy_(node.weight)
        theirs.bias.copy_(node.bias)
    return theirs


@each
def test_equals_spikingjelly(name):
    node = make(name)
    theirs = peer(node)
    got, want = (outcome(n, n, data()) for n in (node, theirs))
    assert torch.equal(got["spikes"], want["spikes"])
    for key in want:
        close(key, got[key], want[key], 1e-12, least=1.0)


@STEPPING
def test_steps_like_spikingjelly(name):
    node = make(name)
    theirs = peer(node)
    theirs.step_mode = node.step_mode = "s"
    got, want = (outcome(n, lambda x, n=n: torch.stack([n(step) for step in x]), data()) for n in (node, theirs))
    assert torch.equal(got["spikes"], want["spikes"])
    for key in want:
        close(key, got[key], want[key], 1e-12, least=1.0)


def test_starts_like_spikingjelly():
    sj = pytest.importorskip(
        "spikingjelly.activation_based.neuron", reason="SpikingJelly is not installed: tests/oracles.txt"
    )
    for ours, theirs in (
        (lambda: PSN(4), lambda: sj.PSN(4)), (lambda: MaskedPSN(2, 4), lambda: sj.MaskedPSN(2, 4)),
        (lambda: SlidingPSN(3), lambda: sj.SlidingPSN(3)),
    ):  # fmt: skip
        torch.manual_seed(5)
        a = ours()
        torch.manual_seed(5)
        b = theirs()
        assert torch.equal(a.weight, b.weight) and torch.equal(a.bias, b.bias)
