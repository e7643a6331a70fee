"""What meets what inside the architectures: joins, ways past, pools, strides and stems."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from snncore import model

from .small import SMALL, B, T, build, images


@pytest.mark.parametrize("connect", ["ADD", "AND", "IAND"])
@pytest.mark.parametrize("name", ["sew_resnet18", "sew_resnet50"])
def test_sew_joins_spikes_with_spikes(name, connect):
    net = build(name, "if", connect=connect)
    block, seen = net.layer2[0], {}
    last = f"sn{block.depth}"
    for key in (last, "downsample_sn"):
        getattr(block, key).register_forward_hook(lambda m, x, y, key=key: seen.__setitem__(key, y))
    block.register_forward_hook(lambda m, x, y: seen.__setitem__("joined", y))
    net(images(name))
    a, s = seen[last], seen["downsample_sn"]
    want = {"ADD": a + s, "AND": ((a == 1) & (s == 1)).double(), "IAND": ((a == 0) & (s == 1)).double()}[connect]
    assert torch.equal(seen["joined"], want)
    assert 0 < want.mean() < 1 and 0 < a.mean() < 1 and 0 < s.mean() < 1
    assert set(want.unique().tolist()) == ({0.0, 1.0, 2.0} if connect == "ADD" else {0.0, 1.0})


@pytest.mark.parametrize("name", ["sew_resnet18", "ms_resnet18", "spiking_resnet18"])
def test_with_last_norms_at_zero_a_block_passes_its_input_on(name):
    net = build(name, "if", awake=False, zero_init_residual=True, layers=(2, 1, 1, 1), in_channels=2)
    for key in ("layer1.0", "layer1.1", "layer4.0"):
        block = net.get_submodule(key)
        assert not block.bn2.weight.any() and block.bn1.weight.all()
    x = (torch.rand(T, B, 4, 8, 8, dtype=torch.float64) > 0.5).double()
    assert torch.equal(net.layer1[1](x), x)


def inputs_of(net, x_seq, kinds):
    """Return name -> what reached each module of ``kinds`` in a forward pass; the last where it ran several times."""
    seen = {}
    for key, module in net.named_modules():
        if isinstance(module, kinds):
            module.register_forward_pre_hook(lambda m, x, key=key: seen.__setitem__(key, x[0]))
    net(x_seq)
    return seen


def values(x):
    """Return "spikes", "counts" (sums of spikes) or "potentials"."""
    kinds = set(x.unique().tolist())
    return "spikes" if kinds <= {0.0, 1.0} else "counts" if kinds <= set(range(99)) else "potentials"


def test_what_reaches_the_convolutions_of_residual_nets():
    # way past and first convolution of a block, the others
    wants = {
        "spiking_resnet18": ("spikes", "spikes"),
        "sew_resnet18": ("counts", "spikes"),
        "ms_resnet18": ("potentials", "spikes"),
    }
    for name, (block, inner) in wants.items():
        net = build(name, "if", layers=(2, 1, 1, 1))
        seen = inputs_of(net, images(name), (nn.Conv2d, nn.Sequential, nn.Linear))
        assert values(seen["layer1"]) == (block if name[:2] == "ms" else "spikes"), name
        for stage in ("layer2", "layer3", "layer4"):
            assert values(seen[stage]) == values(seen[f"{stage}.0.downsample"]) == block, name
            assert values(seen[f"{stage}.0.conv1"]) == (inner if name[:2] == "ms" else block), name
            assert values(seen[f"{stage}.0.conv2"]) == inner, name


def test_a_bottleneck_has_its_stride_in_the_middle():
    for name in ("spiking_resnet50", "sew_resnet50"):
        block = build(name, awake=False).layer2[0]
        strides = [conv.stride for conv in (block.conv1, block.conv2, block.conv3, block.downsample[0])]
        assert strides == [(1, 1), (2, 2), (1, 1), (2, 2)]


def test_what_is_pooled_and_what_reaches_the_blocks_of_transformers():
    # the last pool of the patches, the blocks, the attention's projection, the head
    wants = {
        "spikformer_4_384": ("spikes", "counts", "spikes"),
        "sdt_2_512": ("potentials", "potentials", "spikes"),
        "qkformer_4_384": ("potentials", "counts", "spikes"),
    }
    for name, (pooled, block, projected) in wants.items():
        net = build(name, "if")
        seen = inputs_of(net, images(name), nn.Module)
        at = "patch_embed3" if name[0] == "q" else "patch_embed"
        assert values(seen[f"{at}.maxpool"]) == pooled, name
        for key, x in seen.items():
            if key.endswith((".mlp", ".attn", ".tssa")):
                assert values(x) == block, key
            if key.endswith(("attn.proj_conv", "tssa.proj_conv", "mlp.fc2_conv")):
                assert values(x) == projected, key
        assert any(key.endswith("attn.proj_conv") for key in seen)
        assert seen["head"].shape == (T, B, 16)


@pytest.mark.parametrize("name", ["spikformer_4_384", "sdt_2_512", "qkformer_4_384"])
def test_transformers_add_attention_and_perceptron_to_their_input(name):
    net = build(name, "if")
    ins, outs = {}, {}
    for key, module in net.named_modules():
        module.register_forward_pre_hook(lambda m, x, key=key: ins.__setitem__(key, x[0]))
        module.register_forward_hook(lambda m, x, y, key=key: outs.__setitem__(key, y))
    net(images(name))
    blocks = [key.removesuffix(".mlp") for key in ins if key.endswith(".mlp")]
    assert len(blocks) == SMALL[name][0]["depth"]
    for key in blocks:
        attention = "tssa" if f"{key}.tssa" in ins else "attn"
        assert torch.equal(ins[f"{key}.mlp"], ins[key] + outs[f"{key}.{attention}"])
        assert torch.equal(outs[key], ins[f"{key}.mlp"] + outs[f"{key}.mlp"])
        assert all(outs[f"{key}.{part}"].any() for part in (attention, "mlp"))
    if "patch_embed" in ins:
        last = {"spikformer_4_384": "rpe_lif", "sdt_2_512": "rpe_bn"}[name]
        assert torch.equal(outs["patch_embed"], outs[f"patch_embed.{last}"] + outs["patch_embed.maxpool"])
    for i in (1, 2, 3) if "patch_embed1" in ins else ():
        last = f"patch_embed{i}.proj{1 if i == 1 else 4}_lif"
        assert torch.equal(outs[f"patch_embed{i}"], outs[last] + outs[f"patch_embed{i}.proj_res_lif"])


def test_stems():
    x = torch.rand(1, 2, 3, 32, 32)
    maps = {}
    for name, stem in [(n, s) for n in ("spiking_resnet18", "ms_resnet18") for s in ("imagenet", "cifar")]:
        net = model.build(name, stem=stem, channels=4, num_classes=2)
        net.layer1.register_forward_hook(lambda m, x, y, at=(name, stem): maps.__setitem__(at, (x[0].shape, y.shape)))
        net(x)
    assert [tuple(v[-1] for v in m) for m in maps.values()] == [(8, 8), (32, 32), (16, 8), (32, 32)]


def test_a_batch_of_one_step_of_transformers_has_the_sizes_of_the_papers():
    x = torch.rand(1, 1, 2, 32, 32)
    for name, depth in (("spikformer_8_384", 1), ("sdt_8_384", 1), ("qkformer_10_384", 4)):
        for stem, side in (("imagenet", 2), ("cifar", 8)):
            net = model.build(name, dim=16, num_heads=2, in_channels=2, stem=stem, depth=depth)
            shapes = []
            last = net.stage3 if hasattr(net, "stage3") else net.block
            last.register_forward_hook(lambda m, x, y, shapes=shapes: shapes.append(tuple(y.shape)))
            net(x)
            assert shapes == [(1, 1, 16, side, side)], (name, stem)
