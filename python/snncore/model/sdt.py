"""Spike-driven transformer, first version: masks and additions, potentials on the ways past.

Yao et al., "Spike-driven transformer", NeurIPS 2023, arXiv:2307.01694.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from .. import functional, layer
from ..neuron import BaseNode, LIFNode
from ._transformer import POOLED, Block, Makers, PatchRow, check_sizes, tokens_mean
from ._variant import variant

__all__ = ["SpikeDrivenTransformer", "sdt_2_512", "sdt_8_384", "sdt_8_512", "sdt_8_768"]


class PatchSplitting(PatchRow):
    """Spiking patch splitting of potentials: as Spikformer's, with the last neuron on one branch only."""

    def __init__(self, in_channels: int, dim: int, pooled: tuple[bool, ...], makers: Makers) -> None:
        super().__init__(in_channels, dim, pooled, makers)
        self.rpe_conv = layer.Conv2d(dim, dim, 3, padding=1, bias=False)
        self.rpe_bn = layer.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return the patches, [..., dim, H / 16, W / 16] with stem "imagenet" and a quarter with "cifar"."""
        for i, pooled in enumerate(self.pooled[:-1]):
            x = self.through(x, *self.names(i), "maxpool" if pooled else "")
        x = self.through(x, "proj_conv3", "proj_bn3", "maxpool" if self.pooled[-1] else "")
        return self.through(x, "proj_lif3", "rpe_conv", "rpe_bn") + x


class MembraneMLP(nn.Module):
    """Two convolutions 1x1, each with a neuron in front and a norm behind."""

    def __init__(self, dim: int, hidden: int, makers: Makers) -> None:
        super().__init__()
        self.fc1_lif = makers.neuron()
        self.fc1_conv = layer.Conv2d(dim, hidden, 1)
        self.fc1_bn = layer.BatchNorm2d(hidden)
        self.fc2_lif = makers.neuron()
        self.fc2_conv = layer.Conv2d(hidden, dim, 1)
        self.fc2_bn = layer.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return potentials, of the shape of ``x``."""
        x = self.fc1_bn(self.fc1_conv(self.fc1_lif(x)))
        y: Tensor = self.fc2_bn(self.fc2_conv(self.fc2_lif(x)))
        return y


def _block(dim: int, num_heads: int, hidden: int, makers: Makers) -> Block:
    attention = layer.SpikeDrivenSelfAttention(dim, num_heads, neuron=makers.neuron, attn_neuron=makers.attn)
    return Block(attention, MembraneMLP(dim, hidden, makers))


class SpikeDrivenTransformer(nn.Module):
    """Spike-driven transformer, version 1 (Yao et al., NeurIPS 2023, arXiv:2307.01694).

    Built in step mode 'm': x_seq [T, B, in_channels, H, W] -> potentials [T, B, num_classes], in the dtype of the
    parameters; ``.mean(0)`` are the scores. Names and shapes in ``state_dict`` are the authors'; the
    convolution ``talking_heads``, which their code never uses, is passed over when such a file is loaded.

    Args:
        depth: blocks.
        dim: channels D of a token; divides by 8 and by ``num_heads``.
        num_heads: as published; it changes nothing, see `layer.SpikeDrivenSelfAttention`.
        stem: "imagenet": patches of 16x16; "cifar": of 4x4.
        mlp_ratio: hidden channels of the perceptron, in ``dim``.
        spiking_neuron: the class of all neurons.
        num_classes: size of the output.
        in_channels: channels of the images.
        attn_threshold: threshold of the neuron in attention, where the neuron class takes one.
        **neuron_args: arguments of every neuron; ``surrogate_function`` is ``ATan()`` unless given. The authors have
            ``tau=2.0, detach_reset=True``.

    Convolutions start normal with deviation 0.02, cut at 2, without bias, as in the authors' code.

    Raises:
        ArgumentError: an argument does not fit.
    """

    unused_keys: ClassVar[str] = r"block\.\d+\.attn\.talking_heads\.weight"

    def __init__(
        self,
        depth: int = 2,
        dim: int = 512,
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
            "SpikeDrivenTransformer", stem, 1, dim=dim, num_heads=num_heads, depth=depth, mlp_ratio=mlp_ratio,
            num_classes=num_classes, in_channels=in_channels,
        )  # fmt: skip
        makers = Makers(SpikeDrivenTransformer, spiking_neuron, attn_threshold, neuron_args)
        self.patch_embed = PatchSplitting(in_channels, dim, POOLED[stem], makers)
        self.block = nn.Sequential(*(_block(dim, num_heads, dim * mlp_ratio, makers) for _ in range(depth)))
        self.head_lif = makers.neuron()
        self.head = layer.Linear(dim, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        functional.set_step_mode(self, "m")

    def forward(self, x: Tensor) -> Tensor:
        """Return the potentials of the classes, [T, B, num_classes] for ``x`` [T, B, C, H, W]; one step likewise."""
        y: Tensor = self.head(self.head_lif(tokens_mean(self.block(self.patch_embed(x)))))
        return y


IMAGENET: dict[str, Any] = {"depth": 8, "stem": "imagenet", "num_classes": 1000}
sdt_2_512 = variant("sdt_2_512", SpikeDrivenTransformer, "Spike-driven transformer 2-512 for CIFAR.", depth=2, dim=512)
sdt_8_384 = variant("sdt_8_384", SpikeDrivenTransformer, "Spike-driven transformer 8-384.", dim=384, **IMAGENET)
sdt_8_512 = variant("sdt_8_512", SpikeDrivenTransformer, "Spike-driven transformer 8-512.", dim=512, **IMAGENET)
sdt_8_768 = variant("sdt_8_768", SpikeDrivenTransformer, "Spike-driven transformer 8-768.", dim=768, **IMAGENET)
