"""What the spiking transformers share: rows of convolutions with norm and neuron, and their multilayer perceptron."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from .. import layer
from ..errors import ArgumentError
from ..neuron import BaseNode
from ._parts import check_choice, check_count, neuron_maker, with_atan

__all__ = [
    "POOLED",
    "Block",
    "ConvRow",
    "Makers",
    "PatchRow",
    "SpikingMLP",
    "check_sizes",
    "self_block",
    "start_head",
    "tokens_mean",
]

POOLED = {"imagenet": (True, True, True, True), "cifar": (False, False, True, True)}  # which convolutions pool


class Makers:
    """Makes the neurons of a transformer: ``neuron()``, and ``attn()`` with the threshold of the attention.

    Args:
        model: the class of the net, for messages.
        spiking_neuron: a neuron class.
        attn_threshold: ``v_threshold`` of the neurons in attention, where the neuron has one to be given.
        neuron_args: keyword arguments of every neuron.
    """

    def __init__(
        self, model: type[nn.Module], spiking_neuron: type[BaseNode], attn_threshold: float, neuron_args: dict[str, Any]
    ) -> None:
        self.neuron: Callable[..., BaseNode] = neuron_maker(model, spiking_neuron, with_atan(neuron_args))
        self._threshold = attn_threshold

    def attn(self) -> BaseNode:
        """Return one more neuron for attention."""
        return self.neuron(v_threshold=self._threshold)


def check_sizes(who: str, stem: str, heads_of: int, **sizes: int) -> None:
    """Raise ArgumentError unless all sizes are whole numbers >= 1 and dim divides by 8 and by the heads.

    Args:
        who: the model.
        stem: has to be "imagenet" or "cifar".
        heads_of: ``dim`` divided by this is the smallest number of channels that heads share.
        **sizes: dim and num_heads among them.
    """
    check_choice(f"{who}.stem", stem, ("imagenet", "cifar"))
    for name, value in sizes.items():
        check_count(f"{who}.{name}", value)
    dim, heads = sizes["dim"], sizes["num_heads"]
    if dim % 8 or dim % (heads * heads_of):
        raise ArgumentError(
            f"{who}.dim: must divide by 8 and by {heads_of} * num_heads = {heads_of * heads}, got {dim}; "
            "choose another dim or num_heads"
        )


class ConvRow(nn.Module):
    """Convolutions, norms and neurons under the names of the published weights."""

    def add(
        self,
        names: tuple[str, str, str],
        into: int,
        out: int,
        neuron: Callable[[], nn.Module],
        kernel: int = 3,
        stride: int = 1,
    ) -> None:
        """Add a convolution, padded to keep the size, with its norm and neuron, under three names."""
        conv, bn, lif = names
        self.add_module(conv, layer.Conv2d(into, out, kernel, stride, kernel // 2, bias=False))
        self.add_module(bn, layer.BatchNorm2d(out))
        self.add_module(lif, neuron())

    def through(self, x: Tensor, *names: str) -> Tensor:
        """Return ``x`` behind the named modules; an empty name is passed over."""
        for name in names:
            if name:
                x = self.get_submodule(name)(x)
        return x


class PatchRow(ConvRow):
    """The four convolutions, each with norm and neuron, of spiking patch splitting, and its pool."""

    def __init__(self, in_channels: int, dim: int, pooled: tuple[bool, ...], makers: Makers) -> None:
        super().__init__()
        self.pooled = pooled
        into = in_channels
        for i, out in enumerate((dim // 8, dim // 4, dim // 2, dim)):
            self.add(self.names(i), into, out, makers.neuron)
            into = out
        self.maxpool = layer.MaxPool2d(3, 2, 1)

    @staticmethod
    def names(i: int) -> tuple[str, str, str]:
        """Return the names of convolution ``i``, its norm and its neuron in the published weights."""
        place = str(i or "")
        return f"proj_conv{place}", f"proj_bn{place}", f"proj_lif{place}"


class Block(nn.Module):
    """Attention, then perceptron, each added to its input. ``name``: of the attention in the published weights."""

    def __init__(self, attention: nn.Module, mlp: nn.Module, name: str = "attn") -> None:
        super().__init__()
        self.name = name
        self.add_module(name, attention)
        self.mlp = mlp

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` with both added, of its shape."""
        x = x + self.get_submodule(self.name)(x)
        y: Tensor = x + self.mlp(x)
        return y


class SpikingMLP(nn.Module):
    """Two convolutions 1x1, each with norm and neuron: [..., C, H, W] -> [..., C, H, W]."""

    def __init__(self, dim: int, hidden: int, neuron: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.fc1_conv = layer.Conv2d(dim, hidden, 1)
        self.fc1_bn = layer.BatchNorm2d(hidden)
        self.fc1_lif = neuron()
        self.fc2_conv = layer.Conv2d(hidden, dim, 1)
        self.fc2_bn = layer.BatchNorm2d(dim)
        self.fc2_lif = neuron()

    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes of the second neuron."""
        x = self.fc1_lif(self.fc1_bn(self.fc1_conv(x)))
        y: Tensor = self.fc2_lif(self.fc2_bn(self.fc2_conv(x)))
        return y


def self_block(dim: int, num_heads: int, hidden: int, makers: Makers) -> Block:
    """Return a block with spiking self-attention."""
    attention = layer.SpikingSelfAttention(dim, num_heads, neuron=makers.neuron, attn_neuron=makers.attn)
    return Block(attention, SpikingMLP(dim, hidden, makers.neuron))


def tokens_mean(x: Tensor) -> Tensor:
    """Return the mean over the tokens, [..., C] for [..., C, H, W]."""
    return x.mean((-2, -1))


def start_head(head: nn.Linear) -> None:
    """Start a classifier as ViT does: normal with deviation 0.02, cut at 2, and no bias (arXiv:2010.11929)."""
    nn.init.trunc_normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
