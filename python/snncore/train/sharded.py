"""FSDP2: a net whose parameters, gradients and optimiser states are divided over the ranks (``fully_shard``).

Rajbhandari et al., "ZeRO: memory optimizations toward training trillion parameter models", SC 2020, arXiv:1910.02054
(stage 3); Zhao et al., "PyTorch FSDP", VLDB 2023, arXiv:2304.11277.

A divided tensor is a ``DTensor``: every rank has its rows of it. What is saved is whole (`whole`), under the names of
the plain net, so one rank reads what several wrote and the other way round (`like`, `optimizer_like`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from ..errors import ConfigError
from .distributed import Ranks
from .recompute import parts_of

__all__ = [
    "average_replicated",
    "check_fsdp",
    "held",
    "is_divided",
    "is_sharded",
    "like",
    "optimizer_like",
    "shard",
    "whole",
]


def check_fsdp(amp: str, compiles: bool) -> None:
    """Raise ConfigError if a sharded net cannot be trained so."""
    for flag, there, instead in (
        ("--amp fp16", amp == "fp16", "take --amp bf16, which needs no scaling of the loss"),
        ("--compile", compiles, "use one of them"),
    ):
        if there:
            raise ConfigError(f"--parallel fsdp: must be without {flag}, got both; {instead}, or --parallel ddp")


def shard(net: nn.Module, ranks: Ranks, device: torch.device) -> nn.Module:
    """Divide ``net`` over all ranks, in place, and put each rank's part on ``device``; returns ``net``.

    Its blocks (those of `ActivationCheckpointing`) are gathered one at a time when they compute, the rest of the net
    all at once. All ranks begin with the weights of rank 0. Parameters without axes (a learned time constant) cannot
    be divided: every rank keeps them, and `average_replicated` averages their gradients. Buffers are not divided.

    Call it before an optimiser is made of the parameters, which are other objects then.

    Args:
        net: on the CPU, so that the GPU never has to hold all of it.
        ranks: two or more.
        device: of this rank.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    for tensor in [*net.parameters(), *net.buffers()]:
        _broadcast(tensor, ranks)
    mesh = init_device_mesh(device.type, (ranks.size,))
    kept = {parameter for parameter in net.parameters() if parameter.dim() == 0}
    for _, modules in parts_of(net):
        divisible = [module for module in modules if any(p not in kept for p in module.parameters())]
        if divisible:
            fully_shard(divisible, mesh=mesh, ignored_params=kept)
    fully_shard(net, mesh=mesh, ignored_params=kept)
    for tensor in [*kept, *net.buffers()]:
        tensor.data = tensor.data.to(device)
    return net


@torch.no_grad()
def _broadcast(tensor: Tensor, ranks: Ranks) -> None:
    there = tensor.to(ranks.device)
    dist.broadcast(there, src=0)
    tensor.copy_(there)


def is_sharded(net: nn.Module) -> bool:
    """Return whether ``net`` came out of `shard`."""
    return hasattr(net, "set_requires_gradient_sync")  # FSDPModule, which takes a second to import


def held(net: nn.Module) -> tuple[int, int]:
    """Return how many parameters this rank holds of a sharded ``net`` between two steps, and how many there are."""
    parameters = list(net.parameters())
    mine: list[Any] = [p.to_local() if is_divided(p) else p for p in parameters]  # type: ignore[attr-defined]
    return sum(int(p.numel()) for p in mine), sum(p.numel() for p in parameters)


def is_divided(value: object) -> bool:
    """Return whether ``value`` is a tensor of which each rank has a part."""
    return hasattr(value, "full_tensor")  # DTensor, which takes a second to import


@torch.no_grad()
def average_replicated(net: nn.Module, ranks: int) -> None:
    """Average the gradients of the parameters of a sharded ``net`` that every rank keeps; collective.

    One without a gradient on every rank stays without; one without on some counts as 0 there.
    """
    own = [p for p in net.parameters() if p.requires_grad and not is_divided(p)]
    if not own:
        return
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in own]
    values = torch.stack([gradient.double() for gradient in gradients])  # scalars all of them
    having = torch.tensor([p.grad is not None for p in own], dtype=torch.float64, device=values.device)
    both = torch.stack((values / ranks, having))
    dist.all_reduce(both)
    for parameter, mean, count in zip(own, both[0], both[1].tolist(), strict=True):
        if count:
            parameter.grad = mean.to(parameter.dtype)


@torch.no_grad()
def whole(tree: Any) -> Any:
    """Return ``tree`` of dicts and lists with every divided tensor gathered, on the CPU; collective if there are any.

    What is not divided is returned as it is.
    """
    if isinstance(tree, Mapping):
        return {key: whole(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(whole(value) for value in tree)
    return tree.full_tensor().cpu() if is_divided(tree) else tree


def like(values: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values``, each divided as the tensor of the same name in ``own``, if that is and shapes agree.

    Args:
        values: whole tensors, the same on every rank.
        own: the ``state_dict`` they are to be loaded into.
    """
    return {key: _like(value, own.get(key)) for key, value in values.items()}


def _like(value: Any, own: Any) -> Any:
    if not is_divided(own) or is_divided(value) or not isinstance(value, Tensor) or value.shape != own.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    value = value.to(device=own.device, dtype=value.dtype)
    return distribute_tensor(value, own.device_mesh, own.placements, src_data_rank=None)  # nothing to be sent


def optimizer_like(state: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """Return ``state``, a whole ``state_dict`` of an optimiser, divided as the parameters of ``optimizer`` are."""
    own: dict[Any, Tensor] = {}
    for saved, group in zip(state["param_groups"], optimizer.param_groups, strict=False):
        own.update(zip(saved["params"], group["params"], strict=False))
    of_parameter = {
        key: {name: _like(value, own.get(key)) for name, value in values.items()}
        for key, values in state["state"].items()
    }
    return {**state, "state": of_parameter}
