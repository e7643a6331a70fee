"""Names, shapes and numbers of parameters: torchvision's for ResNet and VGG, the published ones for the others."""

from __future__ import annotations

import pytest
import torch

from snncore import model
from snncore.neuron import ParametricLIFNode

# name in torchvision -> number of parameters, as its documentation states
TORCHVISION = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
    "vgg11": 132_863_336,
    "vgg11_bn": 132_868_840,
    "vgg13": 133_047_848,
    "vgg13_bn": 133_053_736,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg19": 143_667_240,
    "vgg19_bn": 143_678_248,
}
BLOCKS = {
    "resnet18": "2222", "resnet34": "3463", "resnet50": "3463", "resnet101": [3, 4, 23, 3], "resnet152": [3, 8, 36, 3],
    "resnext50_32x4d": "3463", "resnext101_32x8d": [3, 4, 23, 3], "wide_resnet50_2": "3463",
    "wide_resnet101_2": [3, 4, 23, 3],
}  # fmt: skip
VGG = {
    "vgg11": "64 M 128 M 256 256 M 512 512 M 512 512 M",
    "vgg13": "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
    "vgg16": "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    "vgg19": "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
}


def norm(name, channels):
    shapes = {f"{name}.{key}": (channels,) for key in ("weight", "bias", "running_mean", "running_var")}
    return {**shapes, f"{name}.num_batches_tracked": ()}


def resnet_keys(name, classes=1000):
    """Return name -> shape of torchvision's ResNet ``name``, in order, from its paper's table."""
    keys = {"conv1.weight": (64, 3, 7, 7), **norm("bn1", 64)}
    deep = name not in ("resnet18", "resnet34")
    into = 64
    for stage, blocks in enumerate(int(b) for b in BLOCKS[name]):
        base = (64, 128, 256, 512)[stage]
        for block in range(blocks):
            at = f"layer{stage + 1}.{block}"
            if deep:
                out, mid, group_in = 4 * base, base, base
                if name.startswith("wide"):
                    mid = group_in = 2 * base
                if name == "resnext50_32x4d":
                    mid, group_in = 2 * base, base // 16
                if name == "resnext101_32x8d":
                    mid, group_in = 4 * base, base // 8
                convs = [(mid, into, 1), (mid, group_in, 3), (out, mid, 1)]
            else:
                out = base
                convs = [(out, into, 3), (out, out, 3)]
            for i, (to, of, kernel) in enumerate(convs, 1):
                keys[f"{at}.conv{i}.weight"] = (to, of, kernel, kernel)
                keys |= norm(f"{at}.bn{i}", to)
            if block == 0 and (stage > 0 or deep):
                keys[f"{at}.downsample.0.weight"] = (out, into, 1, 1)
                keys |= norm(f"{at}.downsample.1", out)
            into = out
    return {**keys, "fc.weight": (classes, into), "fc.bias": (classes,)}


def vgg_keys(name):
    """Return name -> shape of torchvision's VGG ``name``, in order: a ReLU and a pool count in the numbering."""
    keys, at, into = {}, 0, 3
    for entry in VGG[name.removesuffix("_bn")].split():
        if entry == "M":
            at += 1
            continue
        out = int(entry)
        keys |= {f"features.{at}.weight": (out, into, 3, 3), f"features.{at}.bias": (out,)}
        if name.endswith("_bn"):
            keys |= norm(f"features.{at + 1}", out)
            at += 1
        at += 2
        into = out
    for number, (out, of) in zip((0, 3, 6), ((4096, 25088), (4096, 4096), (1000, 4096)), strict=True):
        keys |= {f"classifier.{number}.weight": (out, of), f"classifier.{number}.bias": (out,)}
    return keys


def torchvision_keys(name):
    return vgg_keys(name) if name.startswith("vgg") else resnet_keys(name)


def shapes(net):
    return {key: tuple(value.shape) for key, value in net.state_dict().items()}


def on_meta(name, **args):
    with torch.device("meta"):
        return model.build(name, **args)


def count(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("name", TORCHVISION)
def test_the_facts_agree_with_each_other(name):
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    total = sum(torch.Size(s).numel() for k, s in torchvision_keys(name).items() if not k.endswith(buffers))
    assert total == TORCHVISION[name]


PAIRS = [(f"spiking_{name}", name) for name in TORCHVISION]
PAIRS += [(f"sew_{name}", name) for name in TORCHVISION if not name.startswith("vgg")]


@pytest.mark.parametrize(("name", "published"), PAIRS)
def test_keys_order_shapes_and_number_are_those_of_torchvision(name, published):
    net = on_meta(name)
    assert list(shapes(net).items()) == list(torchvision_keys(published).items())
    assert count(net) == TORCHVISION[published]


@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
def test_ms_resnet_on_small_images_has_them_too(name):
    want = resnet_keys(name, classes=10) | {"conv1.weight": (64, 3, 3, 3)}
    assert shapes(on_meta(f"ms_{name}", stem="cifar", num_classes=10)) == want
    first = {"layer1.0.downsample.0.weight": (64, 64, 1, 1), **norm("layer1.0.downsample.1", 64)}
    assert shapes(on_meta(f"ms_{name}")) == resnet_keys(name) | first


def test_neurons_that_learn_add_keys_of_their_own():
    net = on_meta("spiking_resnet18", spiking_neuron=ParametricLIFNode)
    more = shapes(net).keys() - resnet_keys("resnet18").keys()
    assert len(more) == 17 and all(key.split(".")[-2] in ("sn1", "sn2") for key in more)


# in millions, to the digits of the tables in the papers; arguments where they differ from ours
PUBLISHED = {
    "ms_resnet18": (11.69, {}),
    "ms_resnet34": (21.80, {}),
    "spikformer_4_384": (9.32, {}),
    "spikformer_8_384": (16.81, {}),
    "spikformer_8_512": (29.68, {}),
    "spikformer_8_768": (66.34, {}),
    "sdt_2_512": (10.28, {"num_classes": 100}),
    "sdt_8_384": (16.81, {}),
    "sdt_8_512": (29.68, {}),
    "sdt_8_768": (66.34, {}),
    "qkformer_4_384": (6.74, {"num_classes": 100}),
    "qkformer_10_384": (16.47, {}),
    "qkformer_10_512": (29.08, {}),
    "qkformer_10_768": (64.96, {}),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_number_of_parameters_is_the_published_one(name):
    want, args = PUBLISHED[name]
    assert count(on_meta(name, **args)) / 1e6 == pytest.approx(want, abs=0.0101)  # some tables cut, others round


# Counted by hand: convolutions without bias, norms (2 C), linear layers with bias.
COUNTED = {
    "spiking_lenet": ({"batch_norm": False}, 61_706),  # LeNet-5 with every map connected
    "plif_fashion_mnist": (
        {"spiking_neuron": None},
        128 * 9 + 256 + 128 * 128 * 9 + 256 + (128 * 49 + 1) * 2048 + 2049 * 100,
    ),
    "plif_cifar10": (
        {"spiking_neuron": None},
        3 * 256 * 9 + 5 * 256 * 256 * 9 + 6 * 512 + (256 * 64 + 1) * 2048 + 2049 * 100,
    ),
    "plif_dvs_gesture": (
        {"spiking_neuron": None},
        2 * 128 * 9 + 4 * 128 * 128 * 9 + 5 * 256 + (128 * 16 + 1) * 512 + 513 * 110,
    ),
}


@pytest.mark.parametrize("name", COUNTED)
def test_the_number_of_parameters_is_that_of_the_table(name):
    args, want = COUNTED[name]
    neurons = 0
    if "spiking_neuron" in args:
        neurons = {"plif_fashion_mnist": 4, "plif_cifar10": 8, "plif_dvs_gesture": 7}[name]  # one tau each
        args = {}
    if name == "plif_dvs_gesture":
        args = {"num_classes": 11}
    assert count(on_meta(name, **args)) == want + neurons


def test_names_of_the_transformers_are_those_of_the_published_weights():
    spikformer, sdt, qkformer = (shapes(on_meta(n)) for n in ("spikformer_8_512", "sdt_8_512", "qkformer_10_512"))
    for keys in (spikformer, sdt):
        assert keys["patch_embed.proj_conv.weight"] == (64, 3, 3, 3)
        assert keys["patch_embed.proj_conv3.weight"] == (512, 256, 3, 3)
        assert keys["patch_embed.rpe_bn.running_mean"] == keys["head.weight"][1:] == (512,)
        assert keys["block.7.mlp.fc1_conv.weight"] == (2048, 512, 1, 1)
    assert spikformer["block.7.attn.q_conv.weight"] == (512, 512, 1)
    assert sdt["block.7.attn.q_conv.weight"] == (512, 512, 1, 1)
    assert "block.0.attn.q_conv.bias" not in spikformer and "block.0.attn.proj_conv.bias" in spikformer
    assert qkformer["patch_embed1.proj2_conv.weight"] == (128, 128, 3, 3)
    assert qkformer["patch_embed1.proj_res_conv.weight"] == (128, 64, 1, 1)
    assert qkformer["patch_embed3.proj4_bn.weight"] == (512,)
    assert qkformer["stage2.1.tssa.k_conv.weight"] == (256, 256, 1)
    assert qkformer["stage3.6.attn.v_conv.weight"] == (512, 512, 1)
