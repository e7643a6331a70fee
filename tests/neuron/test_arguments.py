"""Which engine runs and why, and what bad arguments are told."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from neuron.cases import CHANNELS, FEW, close, evaluate, inputs
from snncore import functional, layer, surrogate
from snncore.errors import ArgumentError, EngineError, SnncoreError
from snncore.neuron import NEURONS, BaseNode, IFNode, Leaky, LIFNode, ParametricLIFNode


@dataclass(frozen=True)
class Wide(surrogate.Surrogate):
    """A surrogate of a user: gradient 1 / (1 + u^2)."""

    def step(self, u):
        return torch.atan(u)


class Mine(surrogate.ATan):
    """A subclass may change step, so it is not native."""

    def step(self, u):
        return 2 * u


@dataclass(frozen=True)
class Sloped(surrogate.Surrogate):
    """A surrogate of a user that looks at its slope when it is used, and not before."""

    alpha: float | torch.Tensor

    def step(self, u):
        return self.alpha * u


class Halved(IFNode):
    """Another equation under the name of IFNode's kernel."""

    def charge(self, x, *state, **own):
        return 0.5 * state[0] + x


class SameCharge(LIFNode):
    """A subclass that changes nothing the kernel computes."""


class Own(BaseNode):
    """A neuron of a user, without kernel, with two states."""

    def charge(self, x, *state, **own):
        v, i = state
        i = 0.5 * i + x
        return v + i, i

    def rest(self):
        return (0.0, 0.0)


FALLS_BACK = {
    "custom surrogate": (
        lambda **k: IFNode(surrogate_function=Wide(), **k),
        "surrogate Wide is not in snncore.surrogate",
    ),
    "subclassed surrogate": (lambda **k: LIFNode(surrogate_function=Mine(), **k), "surrogate Mine is not in"),
    "overridden charge": (lambda **k: Halved(**k), "Halved overrides the charge of IFNode"),
    "own neuron": (lambda **k: Own(**k), "Own has no native kernel"),
}


@pytest.mark.parametrize("make", [m for m, _ in FALLS_BACK.values()], ids=FALLS_BACK)
@pytest.mark.parametrize("mode", ["m", "s"])
def test_native_raises_with_the_reason(make, mode):
    reason = next(r for m, r in FALLS_BACK.values() if m is make)
    node = make(engine="native", step_mode=mode)
    with pytest.raises(
        EngineError, match=rf"^{type(node).__name__}\.engine: 'native' cannot run here: .*; use engine='auto'"
    ) as e:
        node(torch.rand(4, 2, 3))
    assert reason in str(e.value)
    assert isinstance(e.value, RuntimeError) and isinstance(e.value, SnncoreError)


@pytest.mark.parametrize("make", [m for m, _ in FALLS_BACK.values()], ids=FALLS_BACK)
def test_auto_says_so_once_and_is_right(make, caplog):
    reason = next(r for m, r in FALLS_BACK.values() if m is make)
    node = make(step_mode="m")
    x_seq = inputs(torch.float64)
    with caplog.at_level(logging.INFO, logger="snncore"):
        for _ in range(3):
            got = node(x_seq)
        node.step_mode = "s"
        node(x_seq[0])
    (record,) = [r for r in caplog.records if r.name.startswith("snncore")]
    assert record.levelno == logging.WARNING
    assert reason in record.getMessage() and type(node).__name__ in record.getMessage()
    assert torch.equal(make(step_mode="m", engine="torch")(x_seq), got)


@pytest.mark.parametrize("row", FEW, ids=lambda row: row.name)
def test_a_device_without_kernels(row, caplog):
    """Neither CPU nor CUDA: the definition in plain torch, as the log says, once."""
    reason = "there is no native kernel for device 'meta'"
    node = row.make(torch.float32, store_v_seq=True).to("meta")
    x_seq = torch.empty(4, 2, CHANNELS, 5, device="meta", requires_grad=True)
    assert node.why_not_native(x_seq) == reason
    with caplog.at_level(logging.INFO, logger="snncore"):
        for _ in range(2):
            spikes = node(x_seq)
        spike_seq, state = node.run(x_seq)
    (record,) = caplog.records
    assert reason in record.getMessage()
    for tensor in (spikes, spike_seq, node.v_seq):
        assert tensor.is_meta and tensor.shape == x_seq.shape
    assert len(state) == len(node.rest()) and all(s.is_meta and s.shape == x_seq.shape[1:] for s in state)
    (grad,) = torch.autograd.grad(spikes.sum(), x_seq)
    assert grad.is_meta and grad.shape == x_seq.shape
    node.engine = "native"
    with pytest.raises(EngineError, match="device 'meta'"):
        node(x_seq)


def test_torch_and_native_say_nothing(caplog):
    with caplog.at_level(logging.INFO, logger="snncore"):
        IFNode(step_mode="m", engine="torch", surrogate_function=Wide())(torch.rand(4, 2))
        for cls in NEURONS.values():
            cls(step_mode="m")(torch.rand(4, 2))
        SameCharge(step_mode="m", engine="native")(torch.rand(4, 2))
    assert not caplog.records


def test_every_neuron_of_the_table_is_native():
    for cls in NEURONS.values():
        for s in surrogate.SURROGATES.values():
            assert cls(surrogate_function=s()).why_not_native(torch.zeros(1)) is None


def test_custom_equations_are_computed():
    x_seq = torch.tensor([[0.6], [0.6], [0.6]])
    node = Halved(v_reset="none", step_mode="m", store_v_seq=True)
    assert node(x_seq).flatten().tolist() == [0, 0, 1]
    torch.testing.assert_close(node.v_seq.flatten(), torch.tensor([0.6, 0.9, 1.05]))
    own = Own(v_reset=None, step_mode="s")
    spikes = [own(x).item() for x in x_seq]
    assert spikes == [0, 1, 1]  # i = .6, .9, 1.05; h = .6, 1.5, 1.55
    assert len(own.state) == 2
    assert torch.equal(own.run(x_seq)[0].flatten(), torch.tensor(spikes))
    spikes, state = own.run(x_seq[:1])
    assert torch.equal(own.run(x_seq[1:], state)[0].flatten(), torch.tensor([1.0, 1.0]))


def test_the_gradient_of_a_custom_surrogate():
    node = IFNode(surrogate_function=Wide(), step_mode="m")
    x = torch.tensor([[0.25], [0.5]], dtype=torch.float64, requires_grad=True)
    node(x)[0].sum().backward()
    assert x.grad.flatten().tolist() == pytest.approx([1 / (1 + 0.75**2), 0.0])


def test_switching_engines_later():
    node = LIFNode(step_mode="m")
    x_seq = inputs(torch.float64)
    results = {}
    for engine in ("native", "torch", "auto"):
        node.engine = engine
        results[engine] = evaluate(node, x_seq)
    for key in results["native"]:
        close(key, results["torch"][key], results["native"][key], 1e-12)
        assert torch.equal(results["auto"][key], results["native"][key])


# ---- bad arguments ---------------------------------------------------------------------------------------------------

# what neither a number nor a tensor [] or [C] is
NO_COEFFICIENT = [
    torch.ones(2, 2), torch.ones(1, 1), torch.ones(0), torch.tensor(1), torch.tensor([True]), torch.ones(2).to(1j),
    torch.tensor(math.nan), torch.tensor([0.5, math.inf]), torch.nn.Parameter(torch.tensor([math.nan])),
]  # fmt: skip
COMMON = [
    *(("surrogate_function", Sloped(tensor)) for tensor in NO_COEFFICIENT),
    ("v_threshold", math.nan), ("v_threshold", math.inf), ("v_threshold", "1"), ("v_threshold", None),
    ("v_threshold", True), ("v_threshold", [1.0]), ("v_threshold", np.ones(2)),
    *(("v_threshold", tensor) for tensor in NO_COEFFICIENT),
    ("step_mode", "x"), ("step_mode", None), ("step_mode", ["m"]),
    ("engine", "gpu"), ("engine", None), ("engine", {"native"}),
    ("surrogate_function", "atan"), ("surrogate_function", None), ("surrogate_function", torch.sigmoid),
    ("surrogate_function", surrogate.ATan),
]  # fmt: skip
V_RESET = [
    ("v_reset", math.nan), ("v_reset", -math.inf), ("v_reset", "soft"), ("v_reset", True), ("v_reset", [0.0]),
    ("v_reset", torch.zeros(2)), ("v_reset", np.zeros(2)),
]  # fmt: skip
BAD = [
    *((cls, name, value) for cls in NEURONS.values() for name, value in COMMON),
    *((cls, name, value) for cls in (IFNode, LIFNode, ParametricLIFNode) for name, value in V_RESET),
    *((LIFNode, "tau", value) for value in (1, 1.0, 0.5, -2.0, "2", math.nan, math.inf, None, True)),
    *((LIFNode, "tau", value) for value in (*NO_COEFFICIENT, torch.tensor(1.0), torch.tensor([2.0, 0.5]))),
    *((ParametricLIFNode, "init_tau", value) for value in (1, 0.0, "2", math.nan, math.inf, None)),
    *((ParametricLIFNode, "channels", value) for value in (0, -1, 2.0, "3", True)),
    *((cls, "v_rest", value) for cls in (LIFNode, ParametricLIFNode) for value in (math.nan, math.inf, "0")),
    *((Leaky, "beta", value) for value in (math.nan, math.inf, "0.9", None, [0.5], *NO_COEFFICIENT)),
    *((Leaky, "reset_mechanism", value) for value in ("hard", None, "Subtract", ["zero"])),
    (Leaky, "v_reset", 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("cls", "name", "value"), BAD, ids=lambda v: getattr(v, "__name__", str(v)))
def test_bad_arguments_are_named(cls, name, value):
    named = "surrogate_alpha" if isinstance(value, Sloped) else name
    with pytest.raises(ArgumentError, match=rf"(?s)^{cls.__name__}\.{named}: must .*, got .*; ") as caught:
        cls(**{name: value})
    assert isinstance(caught.value, ValueError)


LATER = [b for b in BAD if b[1] in ("step_mode", "engine", "v_reset") and b[:2] != (Leaky, "v_reset")]


@pytest.mark.parametrize(("cls", "name", "value"), LATER, ids=lambda v: getattr(v, "__name__", str(v)))
def test_bad_arguments_are_refused_later_too(cls, name, value):
    node = cls()
    before = getattr(node, name)
    with pytest.raises(ArgumentError, match=rf"^{cls.__name__}\.{name}: must "):
        setattr(node, name, value)
    assert getattr(node, name) is before


def test_bad_arguments_of_the_base_are_named_after_the_subclass():
    with pytest.raises(ArgumentError, match=r"^Halved\.v_threshold: must "):
        Halved(v_threshold="high")


INPUTS = [
    ("m", torch.zeros(3, 2, dtype=torch.int64), "float"),
    ("m", torch.zeros(3, 2, dtype=torch.bool), "float"),
    ("m", torch.zeros(3, 2, dtype=torch.complex64), "float"),
    ("m", [[0.0, 1.0]], "list"),
    ("m", None, "NoneType"),
    ("m", np.zeros((3, 2)), "ndarray"),
    ("m", torch.zeros(3), "[T, B, ...]"),
    ("m", torch.tensor(1.0), "[T, B, ...]"),
    ("s", torch.tensor(1.0), "[B, ...]"),
    ("s", torch.zeros(3, dtype=torch.uint8), "float"),
]


@pytest.mark.parametrize("name", NEURONS)
@pytest.mark.parametrize("engine", ["native", "torch"])
def test_bad_inputs_are_named(name, engine):
    for mode, x, text in INPUTS:
        node = NEURONS[name](step_mode=mode, engine=engine)
        with pytest.raises(ArgumentError, match=rf"^{type(node).__name__}\.x: must .*, got .*; ") as caught:
            node(x)
        assert text in str(caught.value)
        assert node.state is None


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_wrong_channels_are_named(engine):
    three = torch.full((CHANNELS,), 2.0)
    makes = {
        "w": lambda: ParametricLIFNode(channels=CHANNELS, engine=engine),
        "beta": lambda: Leaky(three / 4, engine=engine),
        "tau": lambda: LIFNode(three, engine=engine),
        "v_threshold": lambda: IFNode(v_threshold=torch.nn.Parameter(three), engine=engine),
        "surrogate_alpha": lambda: IFNode(surrogate_function=surrogate.ATan(three), engine=engine),
    }
    for argument, make in makes.items():
        for shape in ((4, 2, CHANNELS + 1), (4, 2, 1, 5), (4, CHANNELS), (4, 2, 2 * CHANNELS, 5), (4, CHANNELS, 2)):
            node = make()
            node.step_mode = "m"
            with pytest.raises(ArgumentError, match=rf"^{type(node).__name__}\.{argument}: must "):
                node(torch.zeros(shape))
            with pytest.raises(ArgumentError, match=rf"^{type(node).__name__}\.{argument}: must "):
                node.run(torch.zeros(shape))
            node.step_mode = "s"
            with pytest.raises(ArgumentError, match=rf"^{type(node).__name__}\.{argument}: must "):
                node(torch.zeros(shape[1:]))
        node.step_mode = "m"
        assert node(torch.zeros(4, 2, CHANNELS)).shape == (4, 2, CHANNELS)
        assert node(torch.zeros(4, 2, CHANNELS, 3, 5)).shape == (4, 2, CHANNELS, 3, 5)


def test_positional_and_common_arguments():
    assert LIFNode(3.0, False).tau == 3.0 and not LIFNode(3.0, False).decay_input
    assert ParametricLIFNode(3.0).tau.item() == pytest.approx(3.0)
    assert Leaky(0.5).beta == 0.5
    assert LIFNode(v_reset=-0.5).v_rest == -0.5 and LIFNode(v_reset=None).v_rest == 0.0
    assert LIFNode(v_reset="none").v_rest == 0.0 and LIFNode(v_reset=-0.5, v_rest=0.0).v_rest == 0.0
    assert isinstance(IFNode(v_threshold=2, v_reset=1).v_threshold, float)
    assert IFNode().v_threshold == 1.0 and IFNode().v_reset == 0.0 and IFNode().step_mode == "s"
    assert IFNode().surrogate_function == surrogate.Sigmoid(4.0) and Leaky().surrogate_function == surrogate.ATan(2.0)
    with pytest.raises(TypeError, match="positional"):
        IFNode(1.0)
    with pytest.raises(TypeError, match="threshhold"):
        LIFNode(threshhold=1.0)
    for cls in NEURONS.values():
        assert "v_threshold=" in repr(cls()) and cls.__name__ in repr(cls())


# ---- what else torch can do to a function ----------------------------------------------------------------------------


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing(reentrant):
    from torch.utils.checkpoint import checkpoint

    torch.manual_seed(0)
    net = torch.nn.Sequential(layer.Linear(5, 4), LIFNode(), layer.Linear(4, 3), ParametricLIFNode())
    functional.set_step_mode(net, "m")
    x = torch.rand(4, 2, 5, requires_grad=True)
    leaves = [x, *net.parameters()]
    want = torch.autograd.grad(net(x).sum(), leaves)
    for leaf in leaves:
        leaf.grad = None
    checkpoint(net, x, use_reentrant=reentrant).sum().backward()
    for leaf, g in zip(leaves, want, strict=True):
        assert torch.equal(leaf.grad, g)


def test_saved_tensor_hooks_see_x():
    """Offloading to disk or packing goes through autograd's hooks, and what is kept is x and no more of its size."""
    kept = []
    for row in FEW:
        node = row.make(torch.float32, engine="native")
        x = inputs(torch.float32).requires_grad_()
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
            node(x)
        assert [n for n in kept if n >= x.numel()] == [x.numel()], row.name
