"""Residual nets and PLIF nets equal SpikingJelly 2.0.0's with the same weights, in values and gradients.

Its ``sew_resnet`` joins the two ways of a bottleneck the other way round for IAND, so that pair is not here. Its
transformers have other names of parameters; SDT and QKFormer are compared module by module, at its threshold of 1 in
attention, and biases that only ours have are cancelled by the norm behind them (so: in training).
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from snncore import model
from snncore.neuron import IFNode, LIFNode
from snncore.surrogate import ATan

WHY = "SpikingJelly is not installed: pip install --no-deps -r tests/oracles.txt"
pytest.importorskip("spikingjelly", reason=WHY)
sj_neuron = importlib.import_module("spikingjelly.activation_based.neuron")
sj_surrogate = importlib.import_module("spikingjelly.activation_based.surrogate")
sj_functional = importlib.import_module("spikingjelly.activation_based.functional")

SMALL = {"num_classes": 5}
# file and name there, name here, arguments there, arguments here, shape of x_seq
ROWS = [
    ("spiking_resnet", "spiking_resnet18", SMALL, SMALL, (3, 2, 3, 40, 40)),
    ("spiking_resnet", "spiking_resnext50_32x4d", SMALL, SMALL, (2, 2, 3, 40, 40)),
    ("sew_resnet", "sew_resnet18", {**SMALL, "cnf": "ADD"}, {**SMALL, "connect": "ADD"}, (3, 2, 3, 40, 40)),
    ("sew_resnet", "sew_resnet18", {**SMALL, "cnf": "IAND"}, {**SMALL, "connect": "IAND"}, (3, 2, 3, 40, 40)),
    ("sew_resnet", "sew_resnet50", {**SMALL, "cnf": "AND"}, {**SMALL, "connect": "AND"}, (2, 2, 3, 40, 40)),
    ("parametric_lif_net", "FashionMNISTNet plif_fashion_mnist", {"channels": 8}, {"channels": 8}, (3, 2, 1, 28, 28)),
    ("parametric_lif_net", "DVSGestureNet plif_dvs_gesture", {"channels": 8}, {"channels": 8}, (3, 1, 2, 128, 128)),
]


@pytest.fixture
def peers(monkeypatch):
    """Return a function that imports a file of SpikingJelly's models, without torchvision's download helper."""
    for name in ("", ".models", ".models.utils", "._internally_replaced_utils"):
        stand_in = ModuleType(f"torchvision{name}")
        stand_in.__path__ = []
        stand_in.load_state_dict_from_url = None
        monkeypatch.setitem(sys.modules, f"torchvision{name}", stand_in)
    if importlib.util.find_spec("h5py") is None:  # which it imports beside its models, for something else
        monkeypatch.setitem(sys.modules, "h5py", ModuleType("h5py"))
    return lambda file: importlib.import_module(f"spikingjelly.activation_based.model.{file}")


def prepare(net):
    """Let neurons fire, silence dropout and turn to double precision."""
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 0.6, 1.4)
            nn.init.uniform_(module.bias, 0.0, 1.0)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.05, 2.0 / module.in_features**0.5)
        elif "Dropout" in type(module).__name__:
            module.p = 0.0
    return net.double()


@pytest.mark.parametrize(("file", "names", "sj_args", "args", "shape"), ROWS, ids=[f"{r[1]}-{r[3]}" for r in ROWS])
def test_equal_with_the_same_weights(peers, file, names, sj_args, args, shape):
    torch.manual_seed(0)
    sj_name, name = names.split()[0], names.split()[-1]
    common = {"surrogate_function": sj_surrogate.ATan(), "detach_reset": True}
    theirs = prepare(getattr(peers(file), sj_name)(spiking_neuron=sj_neuron.IFNode, **common, **sj_args))
    ours = model.build(name, spiking_neuron=IFNode, surrogate_function=ATan(), detach_reset=True, **args).double()
    for module in ours.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    ours.load_state_dict(theirs.state_dict())
    sj_functional.set_step_mode(theirs, "m")
    x_seq = torch.rand(shape, dtype=torch.float64) * 2
    for training in (True, False):
        want, got = (net.train(training)(x_seq) for net in (theirs, ours))
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
        assert want.abs().sum() > 0
        sj_functional.reset_net(theirs)
        if training:
            for y in (want, got):
                y.square().sum().backward()
            for p, q in zip(theirs.parameters(), ours.parameters(), strict=True):
                torch.testing.assert_close(q.grad, p.grad, rtol=1e-6, atol=1e-9)


def weighted(net):
    """Return the modules with weights, patch embedding first, blocks and stages next, head last."""
    kinds = (nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, nn.Linear)
    rank = {"patch_embed": 0, "patch_embed1": 0, "patch_embed2": 0, "patch_embed3": 0, "head": 2}
    named = sorted(net.named_modules(), key=lambda pair: rank.get(pair[0].split(".")[0], 1))
    return [module for _, module in named if isinstance(module, kinds)]


@torch.no_grad()
def give(theirs, ours, start, stop):
    """Give ``ours`` the rows from start to stop of the weights of ``theirs``."""
    ours.weight.copy_(theirs.weight[start:stop].view_as(ours.weight))
    if ours.bias is not None:
        ours.bias.zero_() if theirs.bias is None else ours.bias.copy_(theirs.bias[start:stop])
    elif theirs.bias is not None:
        theirs.bias.zero_()


@pytest.mark.parametrize(
    ("file", "name", "side"), [("spike_driven_transformer", "sdt_8_384", 64), ("qkformer", "qkformer_10_384", 64)]
)
def test_transformers_are_equal_in_training(peers, file, name, side):
    torch.manual_seed(0)
    there = getattr(peers(file), name)(
        T=2, num_classes=5, spiking_neuron=sj_neuron.LIFNode, surrogate_function=sj_surrogate.ATan(), detach_reset=True
    )
    theirs = prepare(there)
    for module in theirs.modules():
        if name.startswith("sdt") and isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.bias, -0.6, 0.5)  # its ways past add potentials
    ours = model.build(name, spiking_neuron=LIFNode, detach_reset=True, attn_threshold=1.0, num_classes=5).double()
    mine = iter(weighted(ours))
    rows = iter(weighted(theirs))
    for conv in rows:
        first = next(mine)
        parts = len(conv.weight) // len(first.weight)  # its q, k and v are one convolution
        norm = next(rows) if parts > 1 else None
        for i in range(parts):
            part = first if i == 0 else next(mine)
            at = (i * len(part.weight), (i + 1) * len(part.weight))
            give(conv, part, *at)
            if norm is not None:
                give(norm, next(mine), *at)
    assert next(mine, None) is None
    x_seq = torch.rand(2, 2, 3, side, side, dtype=torch.float64) * 2
    want, got = theirs(x_seq), ours(x_seq).mean(0)
    assert want.std() > 0
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
