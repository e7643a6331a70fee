"""torch.compile without graph breaks: every builder with one neuron, and every neuron in two nets.

The backend "eager" runs what was traced as it stands: where there is a graph break it finds it, in a tenth of the time
that a compiler takes. The families go through the compiler's own passes in test_models.py.
"""

from __future__ import annotations

import copy
import re

import pytest
import torch

from snncore import functional, model

from .small import ALL_NEURONS, ATTENTION, BOTTLENECK, CLASSES, NEURON_ARGS, SMALL, TINY, B, T, wake

VGG = {"channels": 2, "pool_size": 1, "hidden": 8, "in_channels": 2, "dropout": 0.0}
# beginning of the name -> arguments, size of the images; the first that fits
REST = {
    "csnn": ({"channels": 3, "in_shape": (2, 8, 8)}, 8),
    "mlp": ({"sizes": (128, 12, CLASSES)}, 8),
    "sew_resnext": (BOTTLENECK, 8),
    "spiking_resnext": (BOTTLENECK, 8),
    "sew_": (TINY, 8),
    "spiking_resnet": (TINY, 8),
    "spiking_wide": (TINY, 8),
    "spiking_vgg": (VGG, 32),
    "spikformer": ({**ATTENTION, "depth": 1}, 32),
    "sdt": ({**ATTENTION, "depth": 1}, 32),
    "qkformer": ({**ATTENTION, "depth": 4}, 33),
}


def small(name):
    return SMALL[name] if name in SMALL else next(found for key, found in REST.items() if name.startswith(key))


def build(name, neuron="lif"):
    torch.manual_seed(0)
    args = {**small(name)[0], "spiking_neuron": ALL_NEURONS[neuron], **NEURON_ARGS.get(neuron, {})}
    if "sizes" not in args:
        args["num_classes"] = CLASSES
    return wake(model.build(name, **args).double())


def images(name):
    size = small(name)[1]
    shape = (size, size) if isinstance(size, int) else size
    return torch.rand(T, B, 2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2


def check(name, neuron="lif"):
    """Compare forward, gradients and buffers of a training step."""
    torch._dynamo.reset()
    net = build(name, neuron)
    twin, x = copy.deepcopy(net), images(name)
    got = torch.compile(net, fullgraph=True, backend="eager")(x)
    got.square().sum().backward()
    want = twin(x)
    want.square().sum().backward()
    torch.testing.assert_close(got, want)
    for (key, p), q in zip(net.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, msg=key)
    for (key, p), q in zip(net.named_buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(p, q, msg=key)


def distinct():
    """The builders, but of those whose small nets are made of the same layers except for sizes and repetitions, the
    first only: one ResNet of 50 layers and more, one VGG with norms and one without."""
    nets = {}
    for name in model.MODELS:
        layers = re.sub(r"(groups=)?\d+,?", "#", str(build(name))).splitlines()
        nets.setdefault(frozenset(layers), name)
    return list(nets.values())


@pytest.mark.parametrize("name", distinct())
def test_every_builder(name):
    check(name)


@pytest.mark.parametrize("neuron", ALL_NEURONS)
def test_every_neuron(neuron):
    check("mlp", neuron)


@pytest.mark.parametrize("neuron", ["psn", "glif", "izhikevich", "stbif"])
def test_some_neurons_in_a_residual_net(neuron):
    if neuron not in ALL_NEURONS:
        pytest.fail(f"no neuron {neuron}; there are {', '.join(ALL_NEURONS)}")
    check("sew_resnet18", neuron)


def test_a_graph_break_would_be_found(monkeypatch):
    from snncore.model import CSNN

    forward = CSNN.forward

    def breaks(self, x):
        torch._dynamo.graph_break()
        return forward(self, x)

    monkeypatch.setattr(CSNN, "forward", breaks)
    with pytest.raises(torch._dynamo.exc.Unsupported):
        check("csnn")


def test_step_by_step():
    """'s' keeps a state from call to call, which the compiled net has to find again."""
    torch._dynamo.reset()
    net = build("csnn").eval()
    functional.set_step_mode(net, "s")
    twin, x = copy.deepcopy(net), images("csnn")
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    for step in x:
        torch.testing.assert_close(compiled(step), twin(step))
