"""QKFormer: a hierarchy of stages with Q-K attention, then spiking self-attention.

Zhou et al., "QKFormer: hierarchical spiking transformer using Q-K attention", NeurIPS 2024, arXiv:2403.16552.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from .. import functional, layer
from ..errors import ArgumentError
from ..neuron import BaseNode, LIFNode
from ._transformer import Block, ConvRow, Makers, SpikingMLP, check_sizes, self_block, start_head, tokens_mean
from ._variant import variant

__all__ = ["QKFormer", "qkformer_4_384", "qkformer_10_384", "qkformer_10_512", "qkformer_10_768"]


class Embedding(ConvRow):
    """Convolutions with neurons, and a 1x1 convolution with its neuron past all but the first (SPEDS).

    Args:
        names: one for each convolution, the name of the published weights.
        widths: channels in front of the first and behind each.
        pooled: which of them pool, between norm and neuron.
        past: at which convolution the way past leaves.
        makers: of the neurons.
    """

    def __init__(
        self, names: tuple[str, ...], widths: tuple[int, ...], pooled: tuple[bool, ...], past: int, makers: Makers
    ) -> None:
        super().__init__()
        self.rows, self.leaves = tuple(zip(names, pooled, strict=True)), past
        for i, name in enumerate(names):
            self.add((f"{name}_conv", f"{name}_bn", f"{name}_lif"), widths[i], widths[i + 1], makers.neuron)
        stride = 2 if any(pooled[past:]) else 1
        self.add(("proj_res_conv", "proj_res_bn", "proj_res_lif"), widths[past], widths[-1], makers.neuron, 1, stride)
        self.maxpool = layer.MaxPool2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of the spikes of both ways."""
        past = x
        for i, (name, pooled) in enumerate(self.rows):
            past = x if i == self.leaves else past
            x = self.through(x, f"{name}_conv", f"{name}_bn", "maxpool" if pooled else "", f"{name}_lif")
        return x + self.through(past, "proj_res_conv", "proj_res_bn", "proj_res_lif")


def _token_block(dim: int, num_heads: int, hidden: int, makers: Makers) -> Block:
    """Return a block with Q-K token attention."""
    attention = layer.TokenQKAttention(dim, num_heads, neuron=makers.neuron, attn_neuron=makers.attn)
    return Block(attention, SpikingMLP(dim, hidden, makers.neuron), name="tssa")


class QKFormer(nn.Module):
    """QKFormer (Zhou et al., NeurIPS 2024, arXiv:2403.16552).

    Built in step mode 'm': x_seq [T, B, in_channels, H, W] -> potentials [T, B, num_classes], in the dtype of the
    parameters; ``.mean(0)`` are the scores. Names and shapes in ``state_dict`` are those of the authors' ImageNet
    model. In their code the last neuron of the self-attention integrates over the samples of the batch one after the
    other, T with them; here every sample has its own potentials, so results differ from theirs.

    Args:
        depth: blocks; all but those of the first two stages are in the third.
        dim: channels of the third stage, half and a quarter of them before; divides by 8 and 4 * ``num_heads``.
        num_heads: heads of every attention.
        stem: "imagenet": patches of 4x4, 8x8, 16x16 and blocks (1, 2, depth - 3); "cifar": of 1x1, 2x2, 4x4 and
            blocks (1, 1, depth - 2).
        mlp_ratio: hidden channels of a perceptron, in channels.
        spiking_neuron: the class of all neurons.
        num_classes: size of the output.
        in_channels: channels of the images.
        attn_threshold: threshold of the neuron in attention, where the neuron class takes one.
        **neuron_args: arguments of every neuron; ``surrogate_function`` is ``ATan()`` unless given. The authors have
            ``tau=2.0, detach_reset=True``.

    Raises:
        ArgumentError: an argument does not fit.
    """

    def __init__(
        self,
        depth: int = 4,
        dim: int = 384,
        num_heads: int = 8,
        stem: str = "cifar",
        mlp_ratio: int = 4,
        spiking_neuron: type[BaseNode] = LIFNode,
        *,
        num_classes: int = 10,
        in_channels: int = 3,
        attn_threshold: float = 0.5,
        **neuron_args: Any,
    ) -> None:
        super().__init__()
        check_sizes(
            "QKFormer", stem, 4, dim=dim, num_heads=num_heads, depth=depth, mlp_ratio=mlp_ratio,
            num_classes=num_classes, in_channels=in_channels,
        )  # fmt: skip
        large = stem == "imagenet"
        blocks = (1, 2, depth - 3) if large else (1, 1, depth - 2)
        if blocks[2] < 1:
            raise ArgumentError(f"QKFormer.depth: must be at least {sum(blocks[:2]) + 1}, got {depth}; use more blocks")
        makers = Makers(QKFormer, spiking_neuron, attn_threshold, neuron_args)
        D = (dim // 4, dim // 2, dim)
        half = D[0] // 2
        if large:
            first = Embedding(
                ("proj", "proj1", "proj2"), (in_channels, half, D[0], D[0]), (True, True, False), 1, makers
            )
        else:
            first = Embedding(("proj", "proj1"), (in_channels, half, D[0]), (False, False), 1, makers)
        self.patch_embed1 = first
        self.stage1 = _stage(_token_block, blocks[0], D[0], num_heads, mlp_ratio, makers)
        halves = (True, False) if large else (False, True)
        self.patch_embed2 = Embedding(("proj3", "proj4"), (D[0], D[1], D[1]), halves, 0, makers)
        self.stage2 = _stage(_token_block, blocks[1], D[1], num_heads, mlp_ratio, makers)
        self.patch_embed3 = Embedding(("proj3", "proj4"), (D[1], D[2], D[2]), halves, 0, makers)
        self.stage3 = _stage(self_block, blocks[2], D[2], num_heads, mlp_ratio, makers)
        self.head = layer.Linear(dim, num_classes)
        start_head(self.head)
        functional.set_step_mode(self, "m")

    def forward(self, x: Tensor) -> Tensor:
        """Return the potentials of the classes, [T, B, num_classes] for ``x`` [T, B, C, H, W]; one step likewise."""
        for i in range(1, 4):
            x = self.get_submodule(f"stage{i}")(self.get_submodule(f"patch_embed{i}")(x))
        y: Tensor = self.head(tokens_mean(x))
        return y


def _stage(
    block: Callable[[int, int, int, Makers], Block],
    blocks: int,
    dim: int,
    num_heads: int,
    mlp_ratio: int,
    makers: Makers,
) -> nn.Sequential:
    return nn.Sequential(*(block(dim, num_heads, dim * mlp_ratio, makers) for _ in range(blocks)))


IMAGENET: dict[str, Any] = {"depth": 10, "stem": "imagenet", "num_classes": 1000}
qkformer_4_384 = variant("qkformer_4_384", QKFormer, "HST-4-384 for CIFAR.", depth=4, dim=384)
qkformer_10_384 = variant("qkformer_10_384", QKFormer, "HST-10-384.", dim=384, num_heads=6, **IMAGENET)
qkformer_10_512 = variant("qkformer_10_512", QKFormer, "HST-10-512.", dim=512, num_heads=8, **IMAGENET)
qkformer_10_768 = variant("qkformer_10_768", QKFormer, "HST-10-768.", dim=768, num_heads=12, **IMAGENET)
