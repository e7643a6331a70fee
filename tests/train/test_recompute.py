"""Parts of a net that are computed once more in the backward pass: the same bits from less memory."""

from __future__ import annotations

import copy
import os
import subprocess
import sys

import pytest
import torch
from test_resume import metrics, the_run
from test_trainer import SMALL, Digits, launched, lines
from torch import nn

from snncore import functional, model, neuron
from snncore.cli.train import main
from snncore.encoding import direct
from snncore.errors import ArgumentError, StateError
from snncore.train import ActivationCheckpointing, FiringRatePenalty

SMALL_NET = {"channels": 4, "in_channels": 2, "num_classes": 4}
TRANSFORMER = {"dim": 16, "num_heads": 2, "in_channels": 2, "num_classes": 4, "depth": 2}
# name -> arguments, size of the images, some of the parts
NETS = {
    "spiking_resnet18": ({**SMALL_NET, "layers": (1, 2, 1, 1), "stem": "cifar"}, 8, ["layer2.0", "layer2.1"]),
    "sew_resnet50": ({**SMALL_NET, "layers": (1, 1, 1, 1), "stem": "cifar"}, 8, ["layer1.0", "layer4.0"]),
    "spiking_vgg11_bn": (
        {**SMALL_NET, "hidden": 12, "pool_size": 1}, 32,
        ["features.0-3", "features.4-7", "features.8-10", "classifier.0-2", "classifier.3-5"],
    ),
    "plif_fashion_mnist": ({"channels": 4, "hidden": 12, "in_shape": (2, 8, 8), "num_classes": 4}, 8, ["conv_fc.0-3"]),
    "spikformer_4_384": (TRANSFORMER, 8, ["patch_embed", "block.0", "block.1"]),
    "qkformer_4_384": ({**TRANSFORMER, "depth": 3}, 8, ["patch_embed1", "stage1.0", "stage3.0"]),
}  # fmt: skip


def built(name, **more):
    torch.manual_seed(0)
    args = {"spiking_neuron": neuron.ParametricLIFNode, "noise": 0.1, **NETS[name][0], **more}
    return model.build(name, **args)


def images(name, static=False):
    size = NETS[name][1]
    x = torch.rand(1 if static else 3, 5, 2, size, size, generator=torch.Generator().manual_seed(1)) * 3
    return direct(x[0], 3) if static else x


def step(net, x):
    """A forward and backward pass, from the same random numbers; returns its result."""
    torch.manual_seed(5)
    y = net(x)
    y.square().sum().backward()
    return y


def assert_same(net, twin, y, y_twin):
    assert torch.equal(y, y_twin)
    for (key, p), q in zip(net.named_parameters(), twin.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad), key
    assert net.state_dict().keys() == twin.state_dict().keys()
    for key, value in net.state_dict().items():  # running statistics among them
        assert torch.equal(value, twin.state_dict()[key]), key


@pytest.mark.parametrize("static", [False, True], ids=["dense", "static"])
@pytest.mark.parametrize("name", NETS)
def test_gradients_and_running_statistics_are_the_same_bits(name, static):
    net = built(name)
    twin = copy.deepcopy(net)
    with ActivationCheckpointing(net) as checkpointing:
        assert set(NETS[name][2]) <= set(checkpointing.parts), checkpointing.parts
        for _ in range(2):
            assert_same(net, twin, step(net, images(name, static)), step(twin, images(name, static)))
        after = torch.get_rng_state()
    step(twin, images(name, static))
    assert torch.equal(torch.get_rng_state(), after), "random numbers were drawn twice"
    assert all("forward" not in vars(m) for m in net.modules())


def test_every_part_is_computed_twice_and_only_with_gradients():
    net = built("spiking_vgg11_bn")
    calls = []
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda *_, name=name: calls.append(name))
    x = images("spiking_vgg11_bn")
    with ActivationCheckpointing(net):
        step(net, x)
        first = calls[:]
        calls.clear()
        with torch.no_grad():
            net(x)
    assert len(calls) == len(set(calls)) == 8
    assert sorted(first) == sorted(calls * 2)


def test_under_autocast():
    name = "spiking_resnet18"
    net = built(name)
    twin = copy.deepcopy(net)
    with torch.autocast("cpu", torch.bfloat16):
        torch.manual_seed(5)
        y_twin = twin(images(name))
        torch.manual_seed(5)
        with ActivationCheckpointing(net):
            y = net(images(name))
            y.float().square().sum().backward()
        y_twin.float().square().sum().backward()
    assert_same(net, twin, y, y_twin)


@pytest.mark.parametrize("kind", [neuron.LIFNode, neuron.TernaryIFNode])
def test_the_penalty_on_firing_rates_counts_once(kind):
    nets = [built("spiking_resnet18", spiking_neuron=kind, v_reset=None) for _ in range(2)]
    found = []
    for net, checkpointing in zip(nets, (ActivationCheckpointing(nets[0]), FiringRatePenalty(nets[1], 0)), strict=True):
        with checkpointing, FiringRatePenalty(net, upper=0.01) as rates:
            torch.manual_seed(5)
            y = net(images("spiking_resnet18"))
            penalty = rates.penalty()
            (y.square().sum() + 1e3 * penalty).backward()
            found.append((y, penalty))
    assert found[0][1] == found[1][1] > 0
    assert_same(*nets, found[0][0], found[1][0])


MEASURED = """
import contextlib, torch
from snncore import metric, model
from snncore.train import ActivationCheckpointing
torch.set_num_threads(1)
net = model.build("spiking_resnet18", channels=32, stem="cifar", num_classes=10)
x = torch.rand(4, 8, 3, 32, 32)
step = lambda: net(x).square().sum().backward()
for block in (contextlib.nullcontext(), ActivationCheckpointing(net)):
    with block:
        step()
        print(metric.peak_memory(step).growth)
"""


def test_a_step_takes_less_memory():
    """The peak of a training step: what is left is the inputs of the parts, and one part at a time.

    In a process whose C library returns every freed block at once: otherwise the heap's gaps hide what is saved.
    """
    if sys.platform != "linux":
        pytest.skip("the peak of the resident set can be reset on Linux only")
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True, timeout=60, env=env)
    assert done.returncode == 0, done.stderr
    if "None" in done.stdout:
        pytest.skip("this machine does not tell the peak")
    without, lessened = map(int, done.stdout.split())
    assert lessened < 0.65 * without, (lessened, without)


def test_state_is_refused_and_nothing_else_changes():
    net = built("spiking_resnet18")
    functional.set_step_mode(net, "s")
    with ActivationCheckpointing(net), pytest.raises(StateError, match=r"layer1\.0 in step mode 'm'.*ParametricLIF"):
        net(images("spiking_resnet18")[0])
    functional.reset_net(net)
    assert net(images("spiking_resnet18")[0]).shape == (5, 4)


def test_what_cannot_be_done_is_told():
    with pytest.raises(ArgumentError, match="must have blocks with neurons"):
        ActivationCheckpointing(nn.Sequential(nn.Linear(3, 3), nn.ReLU()))
    net = built("spiking_resnet18")
    with ActivationCheckpointing(net), pytest.raises(StateError, match="another one"), ActivationCheckpointing(net):
        pass
    assert all("forward" not in vars(m) for m in net.modules())


COMMON = [
    *("--epochs", "2", "-b", "256", "-T", "3", "--threads", "1", "--device", "cpu", "--no-tensorboard"),
    *("--no-keep-freed-blocks", "--energy-samples", "2", "--channels", "4", "--neuron", "plif"),
    *("--set", "neuron.args.v_threshold=0.3", "--opt", "adam", "--lr", "0.02", "--loss", "ce_count"),
    *("--firing-rate-strength", "0.5", "--firing-rate-upper", "0.05", "--grad-accum", "2", "--amp", "bf16"),
]


def test_a_run_is_the_same_bits(tmp_path, capsys):
    for name, more in (("without", []), ("with", ["--checkpoint-activations"])):
        assert main([*COMMON, *more, "--output-dir", str(tmp_path / name)]) == 0
    one, other = (the_run(tmp_path / name) for name in ("without", "with"))
    assert metrics(one) == metrics(other) and metrics(one)[1]["train_accuracy"] > 0.15
    contents = [torch.load(path / "last.pt", weights_only=True) for path in (one, other)]
    assert all(torch.equal(contents[0]["model"][key], contents[1]["model"][key]) for key in contents[1]["model"])
    assert (one / "energy.json").read_text() == (other / "energy.json").read_text()
    assert main([*COMMON, "--checkpoint-activations", "--compile", "--compile-backend", "eager"]) == 2
    assert "--checkpoint-activations: must be left out with --compile" in capsys.readouterr().err
    assert main([*COMMON[:14], "--model", "mlp", "--checkpoint-activations"]) == 2
    assert "--checkpoint-activations: ActivationCheckpointing.net: must have blocks" in capsys.readouterr().err


def test_trainer(tmp_path):
    runs = [launched(Digits(), *SMALL, "--epochs", "2", *more, path=tmp_path / "x") for more in
            ([], ["--checkpoint-activations"])]  # fmt: skip
    assert lines(runs[0].folder) == lines(runs[1].folder)
