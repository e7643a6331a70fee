"""Attention between spikes: sums and products of queries, keys and values that are spikes, without a softmax.

``T`` is folded into the batch inside the convolutions and norms and nowhere else: every neuron sees [T, B, *], so no
sample meets another, and heads are views of the channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

from ..errors import ArgumentError
from .base import StepModule
from .norm import BatchNorm1d, BatchNorm2d
from .synapse import Conv1d, Conv2d

__all__ = [
    "ChannelQKAttention",
    "SpikeDrivenSelfAttention",
    "SpikingAttention",
    "SpikingSelfAttention",
    "TokenQKAttention",
]

NeuronMaker = Callable[[], nn.Module]


class SpikingAttention(nn.Module):
    """Base of the attentions: convolutions 1x1 with batch norm and neuron, and heads.

    's': x [B, C, *] with the tokens in *. 'm': x_seq [T, B, C, *]. The result has the shape of ``x``. A subclass names
    its ``parts`` and gives `attend`.

    Args:
        dim: channels C.
        num_heads: must divide ``dim``.
        neuron: makes a neuron, e.g. ``neuron.LIFNode`` or a ``functools.partial`` of it.
        attn_neuron: makes the neuron that the attention itself goes through, with a lower threshold as a rule
            (0.5 in the papers, beside 1); None: as ``neuron``.

    Raises:
        ArgumentError: a size does not fit; on forward: ``x`` has other channels or no tokens.
    """

    parts: ClassVar[tuple[str, ...]] = ()  # what stands between x and attention: <part>_conv, <part>_bn, <part>_lif
    proj_conv: StepModule
    proj_bn: StepModule
    proj_lif: nn.Module
    attn_lif: nn.Module

    def __init__(
        self, dim: int, num_heads: int = 8, *, neuron: NeuronMaker, attn_neuron: NeuronMaker | None = None
    ) -> None:
        super().__init__()
        self.dim, self.num_heads = dim, num_heads
        self._check_sizes()
        for part in self.parts:
            self._add_part(part, neuron, bias=False)
        self.attn_lif = (attn_neuron or neuron)()
        self._add_part("proj", neuron, bias=True)

    def _check_sizes(self) -> None:
        who = type(self).__name__
        for name, value in (("dim", self.dim), ("num_heads", self.num_heads)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ArgumentError(f"{who}.{name}: must be a whole number >= 1, got {value!r}; give such a number")
        if self.dim % self.num_heads:
            raise ArgumentError(
                f"{who}.num_heads: must divide dim = {self.dim}, got {self.num_heads}; choose another number of heads"
            )

    def _add_part(self, part: str, neuron: NeuronMaker, *, bias: bool) -> None:
        self.add_module(f"{part}_conv", Conv1d(self.dim, self.dim, 1, bias=bias))
        self.add_module(f"{part}_bn", BatchNorm1d(self.dim))
        self.add_module(f"{part}_lif", neuron())

    def spikes(self, part: str, x: Tensor) -> Tensor:
        """Return ``x``: [..., C, N] behind the layers of ``part``, as [..., heads, C / heads, N], a view."""
        for kind in ("conv", "bn", "lif"):
            x = self.get_submodule(f"{part}_{kind}")(x)
        return self.split(x)

    def split(self, x: Tensor) -> Tensor:
        """Return ``x``: [..., C, N] as [..., heads, C / heads, N], a view."""
        return x.view(*x.shape[:-2], self.num_heads, -1, x.shape[-1])

    def attend(self, x: Tensor) -> Tensor:
        """Return what is projected, [..., C, N], for ``x``: [..., C, N]."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Attend over the tokens of ``x``, [B, C, *] in step mode 's' or [T, B, C, *] in 'm'."""
        lead = self.check_shape(x)
        y: Tensor = self.attend(x.flatten(lead + 1))
        y = self.proj_lif(self.proj_bn(self.proj_conv(y)))
        return y.view(x.shape)

    def check_shape(self, x: Tensor) -> int:
        """Return how many axes stand before the channels of ``x``.

        Raises:
            ArgumentError: ``x`` has other channels or no tokens.
        """
        mode = self.proj_conv.step_mode
        lead = 2 if mode == "m" else 1
        if x.ndim < lead + 2 or x.shape[lead] != self.dim:
            axes = "T, B, C, *" if lead == 2 else "B, C, *"
            raise ArgumentError(
                f"{type(self).__name__}.x: must be [{axes}] with C = {self.dim} and the tokens in *, in step_mode "
                f"{mode!r}, got {list(x.shape)}; check its axes and the step mode"
            )
        return lead


class SpikingSelfAttention(SpikingAttention):
    """Spiking self-attention (SSA): ``scale`` times Q K^T V, through a neuron, and projected.

    K^T V comes first: that costs N * C^2 / heads products instead of N^2 * C, and makes no [N, N] matrix.
    Source: Zhou et al., "Spikformer: when spiking neural network meets transformer", ICLR 2023, arXiv:2209.15425.

    Args:
        dim: channels C.
        num_heads: must divide ``dim``.
        scale: keeps the sums small; 0.125 in the paper's code.
        neuron: as in `SpikingAttention`.
        attn_neuron: as in `SpikingAttention`.

    Raises:
        ArgumentError: as in `SpikingAttention`.
    """

    parts = ("q", "k", "v")

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        scale: float = 0.125,
        *,
        neuron: NeuronMaker,
        attn_neuron: NeuronMaker | None = None,
    ) -> None:
        super().__init__(dim, num_heads, neuron=neuron, attn_neuron=attn_neuron)
        self.scale = scale

    def attend(self, x: Tensor) -> Tensor:
        """Return the spikes of scale * Q K^T V, [..., C, N]."""
        q, k, v = (self.spikes(part, x) for part in self.parts)
        mixed = (v @ k.transpose(-1, -2)) @ q  # [..., d, N] = [..., d, d] @ [..., d, N]
        y: Tensor = self.attn_lif((mixed * self.scale).flatten(-3, -2))
        return y


class TokenQKAttention(SpikingAttention):
    """Q-K token attention (QKTA): a neuron over the sum of Q over a head's channels says which tokens of K pass.

    Source: Zhou et al., "QKFormer: hierarchical spiking transformer using Q-K attention", NeurIPS 2024,
    arXiv:2403.16552. Arguments and errors as in `SpikingAttention`.
    """

    parts = ("q", "k")
    summed: ClassVar[int] = -2  # over the channels of a head

    def attend(self, x: Tensor) -> Tensor:
        """Return K where the neuron of Q fires, [..., C, N]."""
        q, k = (self.spikes(part, x) for part in self.parts)
        mask: Tensor = self.attn_lif(q.sum(self.summed, keepdim=True))
        return (mask * k).flatten(-3, -2)


class ChannelQKAttention(TokenQKAttention):
    """Q-K channel attention (QKCA): as `TokenQKAttention`, with Q summed over the tokens to say which channels pass."""

    summed = -1


class SpikeDrivenSelfAttention(nn.Module):
    """Spike-driven self-attention (SDSA): a neuron over the sum of K * V over all tokens says which channels of Q pass.

    's': x [B, C, H, W] of potentials. 'm': x_seq [T, B, C, H, W]. Products of spikes are masks, so nothing is
    multiplied. A neuron stands before the convolutions, none behind the projection: the caller adds potentials.
    Source: Yao et al., "Spike-driven transformer", NeurIPS 2023, arXiv:2307.01694 (SDSA-1 of its code).

    Args:
        dim: channels C.
        num_heads: must divide ``dim``; it changes nothing, as each channel is summed by itself. Kept because the
            published models state it.
        neuron: as in `SpikingAttention`.
        attn_neuron: as in `SpikingAttention`.

    Raises:
        ArgumentError: a size does not fit.
    """

    def __init__(
        self, dim: int, num_heads: int = 8, *, neuron: NeuronMaker, attn_neuron: NeuronMaker | None = None
    ) -> None:
        super().__init__()
        if dim < 1 or num_heads < 1 or dim % num_heads:
            raise ArgumentError(
                f"SpikeDrivenSelfAttention.num_heads: must divide dim = {dim}, got {num_heads}; "
                "choose another number of heads"
            )
        self.dim, self.num_heads = dim, num_heads
        self.shortcut_lif = neuron()
        for part in ("q", "k", "v"):
            self.add_module(f"{part}_conv", Conv2d(dim, dim, 1, bias=False))
            self.add_module(f"{part}_bn", BatchNorm2d(dim))
            self.add_module(f"{part}_lif", neuron())
        self.talking_heads_lif = (attn_neuron or neuron)()
        self.proj_conv = Conv2d(dim, dim, 1)
        self.proj_bn = BatchNorm2d(dim)

    def spikes(self, part: str, x: Tensor) -> Tensor:
        """Return ``x`` behind convolution, norm and neuron of ``part``."""
        for kind in ("conv", "bn", "lif"):
            x = self.get_submodule(f"{part}_{kind}")(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Return the potentials of the projection, of the shape of ``x``."""
        x = self.shortcut_lif(x)
        q, k, v = (self.spikes(part, x) for part in ("q", "k", "v"))
        mask: Tensor = self.talking_heads_lif((k * v).sum((-2, -1), keepdim=True))
        y: Tensor = self.proj_bn(self.proj_conv(mask * q))
        return y
