"""How large a net is: parameters, bytes, and the share of its connections that are zero.

Definitions: NeuroBench (Yik et al., "The NeuroBench framework for benchmarking neuromorphic computing algorithms and
systems", Nature Communications 2025, arXiv:2304.04640; ``neurobench`` 2.3.0: ParameterCount, Footprint,
ConnectionSparsity).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import ArgumentError

__all__ = ["ConnectionSparsity", "LayerConnections", "connection_sparsity", "footprint", "parameter_count"]


def _known(who: str, tensor: Tensor) -> Tensor:
    if nn.parameter.is_lazy(tensor):
        raise ArgumentError(f"{who}.net: must have its shapes, got an uninitialised parameter; run one batch first")
    if tensor.layout != torch.strided:
        raise ArgumentError(f"{who}.net: must hold dense tensors, got {tensor.layout}; convert it with to_dense()")
    return tensor


def _once(who: str, tensors: Iterable[Tensor]) -> Iterator[Tensor]:
    """Yield each tensor once; two that are the same elements of the same memory are one."""
    seen = set()
    for tensor in tensors:
        _known(who, tensor)
        if tensor.is_meta or tensor.numel() == 0:  # no memory to tell them apart by
            key: tuple[object, ...] = (id(tensor),)
        else:
            key = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if key not in seen:
            seen.add(key)
            yield tensor


def parameter_count(net: nn.Module, trainable: bool | None = None) -> int:
    """Return how many numbers the parameters of ``net`` hold; a parameter shared by several modules counts once.

    Args:
        net: any module.
        trainable: None: all; True: those with ``requires_grad``; False: the frozen ones.

    Raises:
        ArgumentError: a parameter has no shape yet (lazy modules) or is not dense.

    NeuroBench's ParameterCount is the count with ``trainable=None``. Buffers (running statistics, a threshold that is
    not learned) are no parameters.
    """
    chosen = (p for p in net.parameters() if trainable is None or p.requires_grad is trainable)
    return sum(p.numel() for p in _once("parameter_count", chosen))


def footprint(net: nn.Module) -> int:
    """Return the bytes that the parameters and buffers of ``net`` take, each in its own dtype, shared ones once.

    NeuroBench's Footprint. Zeros of a pruned weight are stored and so count, as does the mask beside it. Gradients, the
    optimizer, activations and the potentials of neurons (state of a run) do not.

    Raises:
        ArgumentError: a tensor has no shape yet (lazy modules) or is not dense.
    """
    tensors = [*net.parameters(), *net.buffers()]
    return sum(t.numel() * t.element_size() for t in _once("footprint", tensors))


@dataclass(frozen=True)
class LayerConnections:
    """Connections of one layer: ``zeros`` of ``weights`` are 0."""

    zeros: int
    weights: int

    @property
    def sparsity(self) -> float:
        """The share of zeros in [0, 1]; 0 for a layer without weights."""
        return self.zeros / self.weights if self.weights else 0.0


@dataclass(frozen=True)
class ConnectionSparsity:
    """What ``connection_sparsity`` found.

    Attributes:
        layers: module name -> its connections.
        not_counted: names of modules that hold matrices of their own (parameters of two or more dimensions) and are
            none of the layers that the definition knows.
    """

    layers: dict[str, LayerConnections]
    not_counted: tuple[str, ...]

    @property
    def zeros(self) -> int:
        """Weights that are 0, over all layers."""
        return sum(layer.zeros for layer in self.layers.values())

    @property
    def weights(self) -> int:
        """Weights of all layers."""
        return sum(layer.weights for layer in self.layers.values())

    @property
    def sparsity(self) -> float:
        """Zeros over weights of all layers together, in [0, 1], not rounded (NeuroBench rounds to 4 decimals)."""
        return self.zeros / self.weights


_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def _weights(module: nn.Module) -> list[Tensor] | None:
    """Return the tensors of ``module`` that count, None where the definition does not know it."""
    if isinstance(module, _WEIGHTED) and not isinstance(module, _TRANSPOSED):
        return [module.weight]
    if isinstance(module, nn.RNNBase):
        return [getattr(module, name) for names in module._all_weights for name in names]
    if isinstance(module, nn.RNNCellBase):
        biases = [module.bias_ih, module.bias_hh] if module.bias else []
        return [module.weight_ih, module.weight_hh, *(b for b in biases if isinstance(b, Tensor))]
    return None


def connection_sparsity(net: nn.Module) -> ConnectionSparsity:
    """Return which share of the connections of ``net`` is zero, per layer and in all.

    NeuroBench's ConnectionSparsity: the zeros of ``weight`` of ``nn.Linear``, ``nn.Conv1d``, ``nn.Conv2d`` and
    ``nn.Conv3d`` (their biases do not count) and of all weights and biases of ``nn.RNN``, ``nn.LSTM``, ``nn.GRU`` and
    their cells; subclasses too, so snncore's layers. A weight under ``torch.nn.utils.prune`` or ``parametrize`` counts
    as the layer sees it. Of a module used twice in the net, and of weights shared by two layers, the first counts
    (NeuroBench counts them at each place, and passes over parametrized layers).

    Raises:
        ArgumentError: the net has no such layer; a weight has no shape yet (lazy modules) or is not dense.
    """
    found: dict[str, list[Tensor]] = {}
    others = []
    inside: set[nn.Module] = set()
    seen: list[Tensor] = []
    for name, module in net.named_modules():
        weights = _weights(module)
        if weights is not None:
            before = len(seen)
            seen = list(_once("connection_sparsity", [*seen, *weights]))
            found[name] = seen[before:]
            inside.update(module.modules())
        elif module not in inside and any(p.dim() > 1 for p in module.parameters(recurse=False)):
            others.append(name)
    if not found:
        raise ArgumentError(
            "connection_sparsity.net: must have a linear, convolution or recurrent layer, got none; "
            "the definition counts no other weights"
        )
    zeros = {n: sum((t.numel() - int(torch.count_nonzero(t.detach())) for t in ts), 0) for n, ts in found.items()}
    layers = {n: LayerConnections(zeros[n], sum(t.numel() for t in ts)) for n, ts in found.items()}
    return ConnectionSparsity(layers, tuple(others))
