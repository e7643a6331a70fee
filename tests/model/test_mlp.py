"""The fully connected net of the tutorials, and the table of models."""

from __future__ import annotations

import pytest
import torch

from snncore import functional, layer, model
from snncore.encoding import direct
from snncore.errors import ArgumentError, UnknownNameError
from snncore.model import MLP
from snncore.neuron import IFNode, Leaky
from snncore.surrogate import ATan, Sigmoid


def small(**args):
    torch.manual_seed(0)
    net = MLP((12, 9, 3), **args)
    for p in net.parameters():
        if p.ndim == 2:
            p.data.mul_(4)
    return net


def test_parameters_are_those_of_the_tutorial():
    net = MLP()
    shapes = {name: tuple(p.shape) for name, p in net.named_parameters()}
    assert shapes == {"fc1.weight": (1000, 784), "fc1.bias": (1000,), "fc2.weight": (10, 1000), "fc2.bias": (10,)}
    assert [name for name, _ in net.named_children() if name != "flatten"] == ["fc1", "lif1", "fc2", "lif2"]
    for lif in (net.lif1, net.lif2):
        assert type(lif) is Leaky
        assert float(lif.beta) == pytest.approx(0.9)
        assert lif.surrogate_function == ATan(2.0)
        assert lif.step_mode == "m"
    assert isinstance(net.fc1, layer.Linear)


@pytest.mark.parametrize("sizes", [(784, 10), (784, 50, 10), (784, 20, 30, 5)])
@pytest.mark.parametrize("shape", [(784,), (1, 28, 28), (4, 14, 14)])
def test_images_and_vectors(sizes, shape):
    net = MLP(sizes)
    x_seq = torch.rand(3, 2, *shape)
    spike_seq = net(x_seq)
    assert spike_seq.shape == (3, 2, sizes[-1])
    assert set(spike_seq.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(spike_seq, net(x_seq.flatten(2)))


def test_the_numbers_are_those_of_the_tutorials_loop():
    net = small().double()
    x_seq = torch.rand(8, 5, 12, dtype=torch.float64)
    beta = float(net.lif1.beta)

    def leaky(cur, mem):
        mem = beta * mem + cur - (mem >= 1.0).to(cur.dtype)  # the reset comes one step after the spike
        return (mem >= 1.0).to(cur.dtype), mem

    mem1, mem2, want = torch.zeros(5, 9).double(), torch.zeros(5, 3).double(), []
    with torch.no_grad():
        for x in x_seq:
            spike, mem1 = leaky(x @ net.fc1.weight.T + net.fc1.bias, mem1)
            spike, mem2 = leaky(spike @ net.fc2.weight.T + net.fc2.bias, mem2)
            want.append(spike)
        got = net(x_seq)
    assert 0.05 < got.mean() < 0.95
    assert torch.equal(got, torch.stack(want))


@pytest.mark.parametrize("neuron", [IFNode, Leaky])
def test_steps_by_hand_are_the_multi_step_call(neuron):
    net = small(spiking_neuron=neuron).double()
    x_seq = torch.rand(6, 5, 3, 2, 2, dtype=torch.float64)
    with torch.no_grad():
        want = net(x_seq)
        functional.set_step_mode(net, "s")
        assert torch.equal(torch.stack([net(x) for x in x_seq]), want)
        functional.reset_net(net)
        assert torch.equal(torch.stack([net(x.flatten(1)) for x in x_seq]), want)
    assert 0 < want.mean() < 1


def test_static_input_is_computed_once_and_gives_the_same_training_step():
    x = torch.rand(5, 3, 2, 2, dtype=torch.float64)
    seen, results = [], []
    for x_seq in (direct(x, 5), direct(x, 5).contiguous()):
        net = small().double()
        linear = net.fc1.forward_step
        net.fc1.forward_step = lambda x, linear=linear: seen.append(x.shape[0]) or linear(x)
        spike_seq = net(x_seq)
        spike_seq.mean(0).square().sum().backward()
        results.append([spike_seq, *(p.grad for p in net.parameters())])
    assert seen == [5, 25]
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-13)
    assert all(g.abs().sum() > 0 for g in results[0][1:])


def test_a_sample_does_not_depend_on_the_others():
    net = small().double()
    x_seq = torch.rand(6, 5, 12, dtype=torch.float64)
    with torch.no_grad():
        want = net(x_seq)
        for i in range(5):
            assert torch.equal(net(x_seq[:, i : i + 1]), want[:, i : i + 1])


@pytest.mark.parametrize("static", [False, True])
def test_compiled_whole_it_gives_the_same(static):
    torch._dynamo.reset()
    net = small()
    x_seq = direct(torch.rand(5, 3, 2, 2), 4) if static else torch.rand(4, 5, 3, 2, 2)
    want = net(x_seq)
    got = torch.compile(net, fullgraph=True, backend="eager")(x_seq)
    assert torch.equal(got, want)
    grads = [torch.autograd.grad(y.mean(0).square().sum(), list(net.parameters())) for y in (want, got)]
    torch.testing.assert_close(*grads)


def test_neuron_arguments_reach_every_neuron():
    net = MLP((4, 3, 2), beta=0.5, spike_grad=Sigmoid(), reset_mechanism="zero")
    for lif in (net.lif1, net.lif2):
        assert float(lif.beta) == 0.5
        assert lif.surrogate_function == Sigmoid()
        assert lif.reset_mechanism == "zero"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"sizes": (784,)}, r"MLP\.sizes: must be two or more sizes, got \(784,\)"),
        ({"sizes": 784}, r"MLP\.sizes"),
        ({"sizes": (784, 0, 10)}, r"MLP\.sizes\[1\]: must be a whole number >= 1, got 0"),
        ({"betta": 0.5}, r"MLP\.betta: .*did you mean 'beta'\?"),
        ({"step_mode": "s"}, r"MLP\.step_mode"),
        ({"spiking_neuron": None}, r"MLP\.spiking_neuron"),
    ],
)
def test_bad_arguments(args, message):
    with pytest.raises(ArgumentError, match=message):
        MLP(**args)


@pytest.mark.parametrize(
    ("mode", "shape", "axes"),
    [
        ("m", (5, 784), "T, B, 784"),
        ("m", (5, 1, 28, 28), "T, B, 784"),
        ("m", (2, 5, 100), "T, B, 784"),
        ("s", (784,), "B, 784"),
        ("s", (5, 28, 28), "B, 784"),
        ("s", (2, 5, 1, 28, 28), "B, 784"),
    ],
)
def test_bad_input(mode, shape, axes):
    net = MLP()
    functional.set_step_mode(net, mode)
    with pytest.raises(ArgumentError) as error:
        net(torch.rand(shape))
    assert f"MLP.x: must be [{axes}]" in str(error.value)
    assert f"step_mode {mode!r}" in str(error.value)
    assert str(list(shape)) in str(error.value)


def test_models_are_built_by_name():
    assert type(model.build("mlp", sizes=[5, 4])) is MLP
    assert {"csnn", "mlp"} < set(model.MODELS)
    with pytest.raises(UnknownNameError, match=r"model\.build\.name: must be one of csnn, mlp, .*got 'cnn'.*'csnn'"):
        model.build("cnn")


@pytest.mark.parametrize("name", model.MODELS)
def test_every_model_is_built_by_default_in_multi_step(name):
    with torch.device("meta"):
        net = model.build(name)
    modes = [m.step_mode for m in net.modules() if hasattr(m, "step_mode")]
    assert modes and set(modes) == {"m"}


@pytest.mark.parametrize("name", ["csnn", "mlp", "spiking_lenet", "plif_fashion_mnist"])
def test_nets_for_digits_take_them_by_default(name):
    assert model.build(name)(torch.zeros(1, 1, 1, 28, 28)).shape == (1, 1, 10)
