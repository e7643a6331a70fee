"""The integrators that never fire: both engines, step modes, readouts, dtypes, errors."""

from __future__ import annotations

import pytest
import torch

from neuron.cases import CHANNELS, close, inputs
from snncore import functional, layer
from snncore.errors import ArgumentError, StateError, UnknownNameError
from snncore.metric import FiringRate
from snncore.neuron import NEURONS, READOUTS, IFNode, LIFNode, NonSpikingIFNode, NonSpikingLIFNode

MAKES = {
    "if": lambda **k: NonSpikingIFNode(**k),
    "lif": lambda **k: NonSpikingLIFNode(1.6, v_rest=-0.25, **k),
    "lif-no_decay_input": lambda **k: NonSpikingLIFNode(torch.nn.Parameter(torch.tensor(2.5)), False, **k),
    "lif-channels": lambda **k: NonSpikingLIFNode(torch.nn.Parameter(torch.tensor([1.25, 2.0, 3.5])), **k),
}
EVERY = pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)


def integral(node, x_seq):
    """Return v_seq by the equation alone."""
    v, v_seq = torch.zeros_like(x_seq[0]), []
    for x in x_seq:
        if isinstance(node, LIFNode):
            tau = node.tau.view(-1, 1) if isinstance(node.tau, torch.Tensor) and node.tau.dim() else node.tau
            v = v - (v - node.v_rest) / tau + (x / tau if node.decay_input else x)
        else:
            v = v + x
        v_seq.append(v)
    return torch.stack(v_seq)


@EVERY
@pytest.mark.parametrize("engine", ["native", "torch"])
@pytest.mark.parametrize("readout", [None, *READOUTS])
def test_potentials_and_gradients(make, engine, readout):
    node = make(engine=engine, step_mode="m", readout=readout).double()
    x = (inputs(torch.float64) * 4 - 2).requires_grad_()  # far above every usual threshold
    y = x.detach().clone().requires_grad_()
    got, want = node(x), node.decode(integral(node, y))
    close("v", got.detach(), want.detach(), 1e-14)
    weight = torch.randn(got.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ours = torch.autograd.grad((got * weight).sum(), [x, *node.parameters()])
    theirs = torch.autograd.grad((want * weight).sum(), [y, *node.parameters()])
    for a, b in zip(ours, theirs, strict=True):
        close("gradient", a, b, 1e-13)


def test_readouts():
    v_seq = torch.tensor([[1.0, -3.0, 2.0], [-4.0, 2.0, -2.0], [0.5, 1.0, 1.0]])
    want = {"last": [0.5, 1, 1], "max": [1, 2, 2], "max_abs": [-4, -3, -2], "mean": [-2.5 / 3, 0.0, 1 / 3]}
    assert want.keys() == READOUTS.keys()
    for readout, values in want.items():
        torch.testing.assert_close(
            NonSpikingIFNode(readout=readout).decode(v_seq), torch.tensor(values, dtype=torch.float32)
        )
    assert NonSpikingIFNode().decode(v_seq) is v_seq


@EVERY
def test_step_by_step_and_from_a_state(make):
    node = make(step_mode="m").double()
    x_seq = inputs(torch.float64)
    want = node(x_seq)
    assert node.state is None
    got, state = node.run(x_seq[:2])
    rest, last = node.run(x_seq[2:], state)
    assert torch.equal(torch.cat((got, rest)), want) and torch.equal(last[0], want[-1])
    node.step_mode = "s"
    node.readout = "max"
    for _ in range(2):
        steps = torch.stack([node(x) for x in x_seq])
        assert torch.equal(steps, want) and torch.equal(node.v, want[-1])
        functional.reset_net(node)
    node(x_seq[0])
    with pytest.raises(StateError, match="must fit x"):
        node(x_seq[0, :, :, :2])


@EVERY
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("engine", ["native", "torch"])
def test_potentials_are_never_half(make, dtype, engine):
    node = make(step_mode="m", engine=engine)
    x = inputs(dtype).requires_grad_()
    v_seq = node(x)
    assert v_seq.dtype == torch.float32
    assert torch.equal(v_seq, node(x.detach().float()))
    v_seq.sum().backward()
    assert x.grad.dtype == dtype and (x.grad > 0).all()


def test_huge_potentials_do_not_fire():
    for engine in ("native", "torch"):
        node = NonSpikingIFNode(step_mode="m", engine=engine)
        x = torch.tensor([[1e38], [1e38], [-3e38]]).requires_grad_()
        torch.testing.assert_close(node(x), torch.tensor([[1e38], [2e38], [-1e38]]))
        node(x).sum().backward()
        assert x.grad.flatten().tolist() == [3, 2, 1]


def test_a_readout_is_no_spiking_layer():
    net = torch.nn.Sequential(layer.Linear(5, 4), IFNode(), layer.Linear(4, 2), NonSpikingLIFNode(readout="mean"))
    functional.set_step_mode(net, "m")
    with FiringRate(net) as rate:
        assert net(torch.rand(4, 3, 5)).shape == (3, 2)
    assert list(rate.compute()) == ["1"]
    assert not {NonSpikingIFNode, NonSpikingLIFNode} & set(NEURONS.values())


def test_bad_arguments_are_named():
    for cls in (NonSpikingIFNode, NonSpikingLIFNode):
        for name, value in (
            ("v_threshold", 1.0), ("v_reset", 0.0), ("surrogate_function", None), ("detach_reset", True),
            ("store_v_seq", True), ("noise", -1.0), ("engine", "gpu"), ("step_mode", "x"),
        ):  # fmt: skip
            with pytest.raises(ArgumentError, match=rf"^{cls.__name__}\.{name}: must .*, got .*; "):
                cls(**{name: value})
        with pytest.raises(UnknownNameError, match=rf"^{cls.__name__}\.readout: must .*did you mean 'max_abs'"):
            cls(readout="max-abs")
        with pytest.raises(UnknownNameError, match=rf"^{cls.__name__}\.readout: "):
            cls(readout=["last"])
        assert cls(step_mode="m")(torch.zeros(0, 2, CHANNELS)).shape == (0, 2, CHANNELS)
        for readout in READOUTS:
            with pytest.raises(ArgumentError, match=rf"^{cls.__name__}\.x: must have at least one step"):
                cls(step_mode="m", readout=readout)(torch.zeros(0, 2, CHANNELS))
        assert "readout='last'" in repr(cls(readout="last"))
    with pytest.raises(ArgumentError, match=r"^NonSpikingLIFNode\.tau: must "):
        NonSpikingLIFNode(1.0)
