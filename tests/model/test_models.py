"""Every architecture with every neuron: it learns, in any step mode, and no sample meets another."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest
import torch
from torch import nn

from snncore import functional, layer, model
from snncore.encoding import direct
from snncore.errors import ArgumentError, UnknownNameError
from snncore.neuron import BaseNode, IFNode, LIFNode
from snncore.surrogate import ATan, Sigmoid

from .small import ALL_NEURONS, CLASSES, FAMILIES, ONE_STEP, SMALL, B, T, build, images

A_FEW = ["if", "lif", "plif", "glif", "sliding_psn"]
# Every family with every neuron, and the other models with a few.
PAIRS = [(name, neuron) for name in SMALL for neuron in (ALL_NEURONS if name in FAMILIES else A_FEW)]
pairs = pytest.mark.parametrize(("name", "neuron"), PAIRS, ids=[f"{a}-{b}" for a, b in PAIRS])
families = pytest.mark.parametrize("name", FAMILIES)


@pairs
def test_learns_and_keeps_samples_and_steps_apart(name, neuron):
    net = build(name, neuron)
    y_seq = net(images(name))
    assert y_seq.shape == (T, B, CLASSES)
    y_seq.mean(0).square().sum().backward()
    for key, p in net.named_parameters():
        assert p.grad is not None, f"{key} has no gradient"
        assert p.grad.isfinite().all(), key
    net.eval()
    x = images(name, seed=1)
    other = x.clone()
    other[:, 1:] = images(name, seed=2)[:, 1:] * 3
    with torch.no_grad():
        y, y_other = net(x), net(other)
        assert torch.equal(y[:, 0], y_other[:, 0]), "a sample feels the others"
        if neuron in ONE_STEP:
            functional.set_step_mode(net, "s")
            functional.reset_net(net)
            torch.testing.assert_close(torch.stack([net(step) for step in x]), y)


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_moves_and_every_neuron_fires_at_times(name):
    net = build(name, "lif", tau=1.5)
    rates = {}
    for key, module in net.named_modules():
        if isinstance(module, BaseNode):
            module.register_forward_hook(lambda m, x, y, key=key: rates.__setitem__(key, y.detach().mean().item()))
    net(images(name)).square().sum().backward()
    for key, p in net.named_parameters():
        assert p.grad.abs().sum() > 0, key
    assert len(rates) == sum(isinstance(m, BaseNode) for m in net.modules()), "a neuron is never used"
    assert all(0 < rate < 1 for rate in rates.values()), rates


@pytest.mark.parametrize("neuron", ["plif", "psn", "sliding_psn"])
@pytest.mark.parametrize("name", SMALL)
def test_the_order_in_memory_changes_nothing(name, neuron):
    found = []
    for form in (torch.contiguous_format, torch.channels_last):
        net = build(name, neuron).to(memory_format=form)
        x_seq = images(name).flatten(0, 1).to(memory_format=form).view_as(images(name))
        y_seq = net(x_seq)
        y_seq.square().sum().backward()
        found.append((y_seq.detach(), *(p.grad for p in net.parameters())))
    for want, got in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-7, atol=1e-9)


@families
def test_neurons_are_one_each_with_arguments_of_their_own(name):
    threshold = nn.Parameter(torch.tensor(0.8))
    net = build(name, v_threshold=threshold, spiking_neuron=LIFNode, detach_reset=True)
    neurons = [m for m in net.modules() if isinstance(m, BaseNode)]
    learned = [n.v_threshold for n in neurons if isinstance(n.v_threshold, nn.Parameter)]
    assert len({id(n) for n in neurons}) == len(neurons)
    assert len({id(p) for p in learned} | {id(threshold)}) == len(learned) + 1
    assert all(n.detach_reset and n.surrogate_function == ATan() for n in neurons)
    attention = [n.v_threshold for n in neurons if not isinstance(n.v_threshold, nn.Parameter)]
    assert attention == [0.1] * {"spikformer_4_384": 2, "sdt_2_512": 2, "qkformer_4_384": 3}.get(name, 0)
    assert all(
        n.surrogate_function == Sigmoid()
        for n in build(name, surrogate_function=Sigmoid()).modules()
        if isinstance(n, BaseNode)
    )


@families
@pytest.mark.parametrize("mode", ["s", "m"])
def test_compiles_whole(name, mode):
    torch._dynamo.reset()
    net = build(name, "lif")
    net(images(name))
    net.eval()
    functional.set_step_mode(net, mode)
    x = images(name) if mode == "m" else images(name)[0]
    want = net(x)
    functional.reset_net(net)
    got = torch.compile(net, fullgraph=True, backend="eager")(x)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("name", ["sew_resnet18", "qkformer_4_384"])
def test_trains_compiled_as_it_does_without(name):
    torch._dynamo.reset()
    net = build(name, "plif")
    twin = copy.deepcopy(net)
    torch.compile(net, fullgraph=True, backend="aot_eager")(images(name)).square().sum().backward()
    twin(images(name)).square().sum().backward()
    for (key, p), q in zip(net.named_parameters(), twin.named_parameters(), strict=True):
        torch.testing.assert_close(p.grad, q[1].grad, msg=key)


@families
def test_a_static_input_is_the_same_in_full(name):
    net = build(name, "lif")
    x = images(name)[0]
    twin = copy.deepcopy(net)
    torch.testing.assert_close(net(direct(x, T)), twin(x.repeat(T, 1, 1, 1, 1)))
    for (key, got), want in zip(net.state_dict().items(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(got, want, msg=key)


@pytest.mark.parametrize("name", SMALL)
def test_the_relu_twin_has_the_same_keys_and_no_time(name):
    net = build(name, "plif")
    twin = model.relu_twin(net)
    own = {f"{n}." for n, m in net.named_modules() if isinstance(m, BaseNode)}
    assert list(twin.state_dict()) == [k for k in net.state_dict() if not k.startswith(tuple(own))]
    assert all(
        torch.equal(v, net.state_dict()[k]) and v is not net.state_dict()[k] for k, v in twin.state_dict().items()
    )
    assert not any(isinstance(m, BaseNode) for m in twin.modules())
    assert sum(isinstance(m, nn.ReLU) for m in twin.modules()) == len(own)
    y_seq = twin(direct(images(name)[0], T))
    assert y_seq.shape == (T, B, CLASSES) and torch.equal(y_seq[0], y_seq[-1]) and y_seq[0].std() > 0
    y_seq.sum().backward()
    assert all(p.grad is not None for p in twin.parameters())
    functional.set_step_mode(twin, "s")
    functional.set_step_mode(net, "s")  # the net itself is still whole
    twin.eval(), net.eval()
    assert twin(images(name)[0]).shape == net(images(name)[0]).shape == (B, CLASSES)


def test_the_relu_twin_of_a_neuron():
    twin = model.relu_twin(IFNode(step_mode="m").eval())
    assert isinstance(twin, layer.ReLU) and twin.step_mode == "m" and not twin.training


@families
def test_copies_and_pickles(name):
    net = build(name, "lif").eval()
    want = net(images(name))
    assert torch.equal(copy.deepcopy(net)(images(name)), want)
    assert torch.equal(pickle.loads(pickle.dumps(net))(images(name)), want)


@families
def test_half_types_and_autocast(name):
    net = build(name, "lif").float()
    with torch.autocast("cpu", torch.bfloat16):
        y_seq = net(images(name).float())
    y_seq.float().square().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in net.parameters())
    assert net.bfloat16()(images(name).bfloat16()).dtype == torch.bfloat16


# ---- arguments ------------------------------------------------------------------------------------------------------


def test_models_are_found_by_name_and_say_what_they_take():
    assert set(SMALL) <= set(model.MODELS)
    for name, make in model.MODELS.items():
        takes = inspect.signature(make).parameters
        assert "spiking_neuron" in takes and ("sizes" in takes or "num_classes" in takes), name
        assert make.__doc__ and make.__name__
    with pytest.raises(UnknownNameError, match=r"did you mean 'spiking_resnet18'"):
        model.build("spiking_resnet8")


def test_the_constructor_is_that_of_the_tutorials():
    from snncore.model import spiking_resnet

    assert "spiking_resnet18" in spiking_resnet.__all__
    net = spiking_resnet.__dict__["spiking_resnet18"](
        pretrained=False, spiking_neuron=IFNode, surrogate_function=ATan(), detach_reset=True, channels=4
    )
    assert net.sn1.detach_reset
    assert pickle.loads(pickle.dumps(spiking_resnet.spiking_resnet18)) is spiking_resnet.spiking_resnet18


WRONG = [
    ("spiking_resnet18", {"num_classes": 0}, r"SpikingResNet\.num_classes: must be a whole number"),
    ("spiking_resnet18", {"stem": "small"}, r"SpikingResNet\.stem: must be one of imagenet, cifar, got 'small'"),
    ("spiking_resnext50_32x4d", {"channels": 4}, r"SpikingResNet\.channels: must leave a bottleneck at least one"),
    ("sew_resnet18", {"connect": "OR"}, r"SEWResNet\.connect: must be one of ADD, AND, IAND, got 'OR'"),
    ("sew_resnet18", {"connect": "AND", "zero_init_residual": True}, r"SEWResNet\.zero_init_residual: must be False"),
    ("ms_resnet18", {"detach_rest": True}, r"MSResNet\.detach_rest: .*did you mean 'detach_reset'"),
    ("spiking_vgg11", {"dropout": 2}, r"SpikingVGG\.dropout: must be a number from 0 to 1, got 2"),
    ("spiking_vgg11", {"hidden": 1.5}, r"SpikingVGG\.hidden: must be a whole number"),
    ("spiking_vgg11", {"spiking_neuron": IFNode()}, r"SpikingVGG\.spiking_neuron: must be a neuron class"),
    ("spiking_vgg11", {"step_mode": "s"}, r"SpikingVGG\.step_mode: must be that of the whole net"),
    ("plif_cifar10", {"in_shape": (3, 3, 8)}, r"PLIFNet\.in_shape: must have H and W of at least 4"),
    ("plif_cifar10", {"votes": 0}, r"PLIFNet\.votes: must be a whole number"),
    ("spiking_lenet", {"in_shape": (1, 11, 28)}, r"SpikingLeNet\.in_shape: must have H and W of at least 12"),
    ("spikformer_4_384", {"dim": 100}, r"Spikformer\.dim: must divide by 8 and by 1 \* num_heads = 12, got 100"),
    ("sdt_2_512", {"stem": "dvs"}, r"SpikeDrivenTransformer\.stem: must be one of"),
    ("qkformer_4_384", {"num_heads": 5}, r"QKFormer\.dim: must divide by 8 and by 4 \* num_heads = 20, got 384"),
    ("qkformer_4_384", {"depth": 2}, r"QKFormer\.depth: must be at least 3, got 2"),
]


@pytest.mark.parametrize(("name", "args", "message"), WRONG)
def test_a_wrong_argument_is_named(name, args, message):
    with torch.device("meta"), pytest.raises(ArgumentError, match=message):
        model.build(name, **args)


@pytest.mark.parametrize("name", ["plif_fashion_mnist", "spiking_lenet"])
def test_images_of_another_size_are_named(name):
    with pytest.raises(ArgumentError, match=r"\.x: must end in the axes \(C, H, W\) = .*in_shape=\(2, 9, 9\)"):
        build(name)(torch.rand(T, B, 2, 9, 9))


@families
def test_a_missing_time_axis_is_named(name):
    with pytest.raises(ArgumentError, match=r"step_mode 'm'.*direct\(x, T\)"):
        build(name)(images(name)[0])


def test_images_too_small_for_a_vgg_are_told():
    net = build("spiking_vgg11_bn", channels=2, hidden=4, num_classes=3)
    with pytest.raises(
        ArgumentError, match=r"SpikingVGG\.x: must have H and W of at least 32, got \[2, 1, 3, 31, 40\]"
    ):
        net(torch.zeros(2, 1, 3, 31, 40))
