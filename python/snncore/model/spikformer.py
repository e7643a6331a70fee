"""Spikformer: a vision transformer of spikes, without softmax.

Zhou et al., "Spikformer: when spiking neural network meets transformer", ICLR 2023, arXiv:2209.15425.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from .. import functional, layer
from ..neuron import BaseNode, LIFNode
from ._transformer import POOLED, Makers, PatchRow, check_sizes, self_block, start_head, tokens_mean
from ._variant import variant

__all__ = ["Spikformer", "spikformer_4_384", "spikformer_8_384", "spikformer_8_512", "spikformer_8_768"]


class PatchSplitting(PatchRow):
    """Spiking patch splitting (SPS): four convolutions with neurons and pools, and a relative position embedding."""

    def __init__(self, in_channels: int, dim: int, pooled: tuple[bool, ...], makers: Makers) -> None:
        super().__init__(in_channels, dim, pooled, makers)
        self.add(("rpe_conv", "rpe_bn", "rpe_lif"), dim, dim, makers.neuron)

    def forward(self, x: Tensor) -> Tensor:
        """Return the patches, [..., dim, H / 16, W / 16] with stem "imagenet" and a quarter with "cifar"."""
        for i, pooled in enumerate(self.pooled):
            x = self.through(x, *self.names(i), "maxpool" if pooled else "")
        return self.through(x, "rpe_conv", "rpe_bn", "rpe_lif") + x


class Spikformer(nn.Module):
    """Spikformer (Zhou et al., ICLR 2023, arXiv:2209.15425).

    Built in step mode 'm': x_seq [T, B, in_channels, H, W] -> potentials [T, B, num_classes], in the dtype of the
    parameters; ``.mean(0)`` are the scores. Names and shapes in ``state_dict`` are those of the authors' ImageNet
    model; its layer norms ``norm1`` and ``norm2``, which it never uses, are passed over when such a file is loaded.

    Args:
        depth: blocks.
        dim: channels D of a token; divides by 8 and by ``num_heads``.
        num_heads: heads of the attention. Its scale 0.125 is meant for 64 channels a head.
        stem: "imagenet": patches of 16x16; "cifar": of 4x4.
        mlp_ratio: hidden channels of the perceptron, in ``dim``.
        spiking_neuron: the class of all neurons.
        num_classes: size of the output.
        in_channels: channels of the images.
        attn_threshold: threshold of the neuron in attention, where the neuron class takes one.
        **neuron_args: arguments of every neuron; ``surrogate_function`` is ``ATan()`` unless given. The authors have
            ``tau=2.0, detach_reset=True``.

    Raises:
        ArgumentError: an argument does not fit.
    """

    unused_keys: ClassVar[str] = r"block\.\d+\.norm[12]\.(weight|bias)"

    def __init__(
        self,
        depth: int = 4,
        dim: int = 384,
        num_heads: int = 12,
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
            "Spikformer", stem, 1, dim=dim, num_heads=num_heads, depth=depth, mlp_ratio=mlp_ratio,
            num_classes=num_classes, in_channels=in_channels,
        )  # fmt: skip
        makers = Makers(Spikformer, spiking_neuron, attn_threshold, neuron_args)
        self.patch_embed = PatchSplitting(in_channels, dim, POOLED[stem], makers)
        self.block = nn.Sequential(*(self_block(dim, num_heads, dim * mlp_ratio, makers) for _ in range(depth)))
        self.head = layer.Linear(dim, num_classes)
        start_head(self.head)
        functional.set_step_mode(self, "m")

    def forward(self, x: Tensor) -> Tensor:
        """Return the potentials of the classes, [T, B, num_classes] for ``x`` [T, B, C, H, W]; one step likewise."""
        y: Tensor = self.head(tokens_mean(self.block(self.patch_embed(x))))
        return y


IMAGENET: dict[str, Any] = {"depth": 8, "stem": "imagenet", "num_classes": 1000}
spikformer_4_384 = variant("spikformer_4_384", Spikformer, "Spikformer-4-384 for CIFAR.", depth=4, dim=384)
spikformer_8_384 = variant("spikformer_8_384", Spikformer, "Spikformer-8-384.", dim=384, num_heads=6, **IMAGENET)
spikformer_8_512 = variant("spikformer_8_512", Spikformer, "Spikformer-8-512.", dim=512, num_heads=8, **IMAGENET)
spikformer_8_768 = variant("spikformer_8_768", Spikformer, "Spikformer-8-768.", dim=768, num_heads=12, **IMAGENET)
