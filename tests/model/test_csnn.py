"""The convolutional net of the tutorials: its parameters, its numbers, and its arguments."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from snncore import functional, layer, model
from snncore.encoding import direct
from snncore.errors import ArgumentError
from snncore.model import CSNN
from snncore.neuron import IFNode, Leaky, LIFNode, ParametricLIFNode
from snncore.surrogate import ATan, Sigmoid

# What torch.save wrote for the tutorial's net at channels=128: name -> shape.
TUTORIAL = {
    "conv_fc.0.weight": (128, 1, 3, 3),
    "conv_fc.1.weight": (128,),
    "conv_fc.1.bias": (128,),
    "conv_fc.1.running_mean": (128,),
    "conv_fc.1.running_var": (128,),
    "conv_fc.1.num_batches_tracked": (),
    "conv_fc.4.weight": (128, 128, 3, 3),
    "conv_fc.5.weight": (128,),
    "conv_fc.5.bias": (128,),
    "conv_fc.5.running_mean": (128,),
    "conv_fc.5.running_var": (128,),
    "conv_fc.5.num_batches_tracked": (),
    "conv_fc.9.weight": (2048, 6272),
    "conv_fc.11.weight": (10, 2048),
}
SMALL = {"channels": 4, "in_shape": (2, 9, 12), "num_classes": 3}


def small(**args):
    torch.manual_seed(0)
    net = CSNN(**{**SMALL, **args})
    for m in net.conv_fc:  # let every layer fire, neither never nor always
        if isinstance(m, layer.BatchNorm2d):
            m.bias.data.fill_(0.8)
            m.running_var.fill_(0.03)
        if isinstance(m, layer.Linear):
            m.weight.data.mul_(9).add_(0.05)
    return net


def images(batch=5, seed=1):
    return torch.rand(batch, 2, 9, 12, generator=torch.Generator().manual_seed(seed))


def test_parameters_are_those_of_the_tutorial():
    net = CSNN(channels=128)
    assert {k: tuple(v.shape) for k, v in net.state_dict().items()} == TUTORIAL
    assert sum(p.numel() for p in net.parameters()) == 13_014_656


def test_layers_are_those_of_the_tutorial():
    net = CSNN(channels=2)
    assert [type(m).__name__ for m in net.conv_fc] == [
        "Conv2d", "BatchNorm2d", "IFNode", "MaxPool2d", "Conv2d", "BatchNorm2d", "IFNode", "MaxPool2d",
        "Flatten", "Linear", "IFNode", "Linear", "IFNode",
    ]  # fmt: skip
    for conv in (net.conv_fc[0], net.conv_fc[4]):
        assert (conv.kernel_size, conv.padding, conv.stride, conv.bias) == ((3, 3), (1, 1), (1, 1), None)
    for pool in (net.conv_fc[3], net.conv_fc[7]):
        assert (pool.kernel_size, pool.stride) == (2, 2)
    assert net.conv_fc[9].bias is None and net.conv_fc[11].bias is None
    neurons = [m for m in net.modules() if isinstance(m, IFNode)]
    assert len({id(n) for n in neurons}) == 4
    assert all(n.surrogate_function == ATan() and n.v_reset == 0.0 and n.v_threshold == 1.0 for n in neurons)


@pytest.mark.parametrize("sizes", [(1, 28, 28), (3, 32, 32), (1, 4, 4), (2, 5, 7), (2, 9, 12)])
@pytest.mark.parametrize("T", [1, 3])
def test_shapes(sizes, T):
    net = CSNN(channels=2, in_shape=sizes, num_classes=7)
    assert net.conv_fc[9].in_features == 2 * (sizes[1] // 4) * (sizes[2] // 4)
    spike_seq = net(direct(torch.rand(5, *sizes), T))
    assert spike_seq.shape == (T, 5, 7)
    assert set(spike_seq.unique().tolist()) <= {0.0, 1.0}


def test_the_numbers_are_those_of_the_same_net_in_plain_torch():
    net = small().double()
    x_seq = torch.rand(3, 5, 2, 9, 12, dtype=torch.float64)
    conv1, bn1, _, _, conv2, bn2, _, _, _, fc1, _, fc2, _ = copy.deepcopy(net).conv_fc

    def spikes(x_seq):
        v, out = torch.zeros_like(x_seq[0]), []
        for x in x_seq:
            h = v + x
            out.append((h >= 1.0).to(h.dtype))
            v = h * (1 - out[-1])
        return torch.stack(out)

    def image(conv, norm, x_seq):
        y = nn.functional.conv2d(x_seq.flatten(0, 1), conv.weight, padding=1)
        mean, var = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), unbiased=False, keepdim=True)
        y = (y - mean) / (var + norm.eps).sqrt() * norm.weight.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1)
        return y.unflatten(0, x_seq.shape[:2])

    def pool(x_seq):
        return nn.functional.max_pool2d(x_seq.flatten(0, 1), 2).unflatten(0, x_seq.shape[:2])

    with torch.no_grad():
        y = pool(spikes(image(conv1, bn1, x_seq)))
        y = pool(spikes(image(conv2, bn2, y))).flatten(2)
        want = spikes(spikes(y @ fc1.weight.T) @ fc2.weight.T)
        got = net(x_seq)
    assert 0.05 < want.mean() < 0.95
    assert torch.equal(got, want)


@pytest.mark.parametrize("neuron", [IFNode, LIFNode, ParametricLIFNode, Leaky])
def test_gradients_reach_every_parameter(neuron):
    net = small(spiking_neuron=neuron)
    net(direct(images(), 4)).mean(0).square().sum().backward()
    for name, p in net.named_parameters():
        assert p.grad is not None and p.grad.abs().sum() > 0, name
        assert p.grad.isfinite().all(), name


@pytest.mark.parametrize("neuron", [IFNode, LIFNode, ParametricLIFNode, Leaky])
def test_steps_by_hand_are_the_multi_step_call(neuron):
    net = small(spiking_neuron=neuron).eval().double()
    x_seq = torch.stack([images(seed=seed) for seed in range(6)]).double()
    with torch.no_grad():
        want = net(x_seq)
        functional.set_step_mode(net, "s")
        for _ in range(2):
            assert torch.equal(torch.stack([net(x) for x in x_seq]), want)
            functional.reset_net(net)
    assert 0 < want.mean() < 1


def test_a_sample_does_not_depend_on_the_others():
    net = small().eval().double()
    x_seq = torch.rand(4, 5, 2, 9, 12, dtype=torch.float64)
    with torch.no_grad():
        want = net(x_seq)
        for i in range(5):
            assert torch.equal(net(x_seq[:, i : i + 1]), want[:, i : i + 1])
        assert torch.equal(net(x_seq.flip(1)), want.flip(1))
    assert 0 < want.mean() < 1


def grads_of(net, x_seq, forward=None):
    spike_seq = (net if forward is None else forward)(x_seq)
    spike_seq.mean(0).square().sum().backward()
    return spike_seq, {name: p.grad for name, p in net.named_parameters()}, dict(net.named_buffers())


def test_static_input_is_computed_once_and_gives_the_same_training_step():
    x = images().double()
    seen = []
    once, full = small().double(), small().double()
    torch_conv = once.conv_fc[0].forward_step
    once.conv_fc[0].forward_step = lambda x: seen.append(tuple(x.shape)) or torch_conv(x)
    got = grads_of(once, direct(x, 4))
    want = grads_of(full, direct(x, 4).contiguous())
    assert seen == [(5, 2, 9, 12)]
    assert torch.equal(got[0], want[0])
    for ours, theirs in zip(got[1:], want[1:], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("static", [False, True])
def test_compiled_whole_it_gives_the_same(static):
    torch._dynamo.reset()
    x_seq = direct(images(), 3) if static else torch.rand(3, 5, 2, 9, 12)
    eager, net = small(), small()
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    want, got = grads_of(eager, x_seq), grads_of(net, x_seq, compiled)
    assert torch.equal(got[0], want[0])
    for ours, theirs in zip(got[1:], want[1:], strict=True):
        torch.testing.assert_close(ours, theirs)


def test_encoding_inside_the_compiled_function_is_still_computed_once():
    torch._dynamo.reset()
    net = small()
    want = net(direct(images(), 3))
    seen = []
    torch_conv = net.conv_fc[0].forward_step
    net.conv_fc[0].forward_step = lambda x: seen.append(tuple(x.shape)) or torch_conv(x)
    got = torch.compile(lambda x: net(direct(x, 3)), fullgraph=True, backend="eager")(images())
    assert torch.equal(got, want)
    assert seen == [(5, 2, 9, 12)]


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types(dtype, static):
    net = small().to(dtype)
    x_seq = direct(images(), 4).to(dtype) if not static else direct(images().to(dtype), 4)
    spike_seq, grads, buffers = grads_of(net, x_seq)
    assert (x_seq.stride(0) == 0) is static
    assert spike_seq.dtype == dtype
    assert set(spike_seq.unique().tolist()) == {0.0, 1.0}
    for name, g in grads.items():
        assert g.dtype == dtype and g.isfinite().all() and g.any(), name
    assert all(b.isfinite().all() for b in buffers.values())


@pytest.mark.parametrize("static", [False, True])
def test_autocast_gives_low_spikes_and_full_gradients(static):
    x_seq = direct(images(), 4) if static else direct(images(), 4).contiguous()
    net = small()
    with torch.autocast("cpu", torch.bfloat16):
        spike_seq = net(x_seq)
    assert spike_seq.dtype == torch.bfloat16
    spike_seq.float().mean(0).square().sum().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.any() for p in net.parameters())


def test_neuron_arguments_reach_every_neuron():
    net = CSNN(2, spiking_neuron=LIFNode, tau=3.0, v_threshold=0.5, v_reset=None, surrogate_function=Sigmoid(2.0))
    neurons = [m for m in net.modules() if isinstance(m, LIFNode)]
    assert len(neurons) == 4
    for n in neurons:
        assert (n.tau, n.v_threshold, n.v_reset, n.surrogate_function) == (3.0, 0.5, None, Sigmoid(2.0))
    leaky = [m for m in CSNN(2, spiking_neuron=Leaky, spike_grad=Sigmoid()).modules() if isinstance(m, Leaky)]
    assert all(n.surrogate_function == Sigmoid() for n in leaky)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"channels": 0}, r"CSNN\.channels: must be a whole number >= 1, got 0"),
        ({"channels": 1.5}, r"CSNN\.channels"),
        ({"num_classes": -1}, r"CSNN\.num_classes"),
        ({"in_shape": (28, 28)}, r"CSNN\.in_shape: must be \(C, H, W\), got \(28, 28\)"),
        ({"in_shape": 28}, r"CSNN\.in_shape"),
        ({"in_shape": (0, 28, 28)}, r"CSNN\.in_shape \(C\): must be a whole number >= 1, got 0"),
        ({"in_shape": (1, 28, 28.0)}, r"CSNN\.in_shape \(W\)"),
        ({"in_shape": (1, 3, 28)}, r"CSNN\.in_shape: must have H and W of at least 4, got H=3, W=28"),
        ({"in_shape": (1, 28, 2)}, r"got H=28, W=2"),
        ({"spiking_neuron": IFNode()}, r"CSNN\.spiking_neuron: must be a neuron class .*got IFNode"),
        ({"spiking_neuron": "if"}, r"CSNN\.spiking_neuron"),
        ({"spiking_neuron": nn.ReLU}, r"CSNN\.spiking_neuron"),
        ({"step_mode": "s"}, r"CSNN\.step_mode: must be that of the whole net.*set_step_mode"),
        ({"tau": 2.0}, r"CSNN\.tau: must be one of "),
        ({"chanels": 2}, r"CSNN\.chanels: .*did you mean 'channels'\?"),
        ({"v_treshold": 2.0}, r"did you mean 'v_threshold'\?"),
        ({"v_threshold": "high"}, r"v_threshold"),
    ],
)
def test_bad_arguments(args, message):
    with pytest.raises(ArgumentError, match=message):
        CSNN(**args)


def test_bad_input():
    net = CSNN(2)
    with pytest.raises(ArgumentError, match=r"CSNN\.x: .*\(1, 28, 28\), got \[4, 5, 3, 32, 32\]; .*in_shape=\(3, 32"):
        net(torch.rand(4, 5, 3, 32, 32))
    with pytest.raises(ArgumentError, match=r"Conv2d\.x_seq: must be \[T, B, C, H, W\].*direct\(x, T\)"):
        net(torch.rand(5, 1, 28, 28))
    functional.set_step_mode(net, "s")
    with pytest.raises(ArgumentError, match=r"Conv2d\.x: must be \[B, C, H, W\].*set_step_mode\(net, 'm'\)"):
        net(torch.rand(4, 5, 1, 28, 28))


def test_table():
    assert model.MODELS["csnn"] is CSNN
    assert isinstance(model.build("csnn", channels=2), CSNN)
    assert all(m.step_mode == "m" for m in model.build("csnn", channels=2).modules() if hasattr(m, "step_mode"))
    assert isinstance(CSNN(2).conv_fc[0], layer.Conv2d)
