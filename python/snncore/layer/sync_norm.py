"""Batch normalisation over the samples of all processes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, distributed, nn

from .base import StepShape
from .norm import TimeBatchNorm

__all__ = ["SyncBatchNorm", "convert_sync_batchnorm", "without_statistics"]


class SyncBatchNorm(TimeBatchNorm, nn.SyncBatchNorm):
    """`torch.nn.SyncBatchNorm` with a step mode, on any device. 's': x [B, C, *]. 'm': x_seq [T, B, C, *].

    The statistics of a training step are those of all samples (and in 'm' all time steps) of all processes of the
    group; processes may hold different numbers of them. On CUDA torch's own kernels run; elsewhere the same formula in
    torch, with two sums over the group in forward (torch's layer refuses a CPU). Without a process group, and in
    ``eval()``, it is the plain batch norm.
    """

    _counts = True  # x enters the statistics
    step_shape = StepShape("B, C, *", 2, None)

    def forward(self, x: Tensor) -> Any:
        """Normalise ``x``, [B, C, *] in step mode 's' or [T, B, C, *] in 'm'."""
        if self.training and self._group() is not None and self.step_mode == "m" and x.ndim > 2:
            # The update of running_var needs the number of values of all processes, copies counted.
            self.check_shape(x)
            y: Tensor = self.forward_step(x.flatten(0, 1))
            return y.view(x.shape)
        return super().forward(x)

    def normalise(self, x: Tensor, mean: Tensor | None, var: Tensor | None, own: bool, momentum: float) -> Tensor:
        """Normalise ``x`` by the statistics of the group, which update ``mean`` and ``var``, or by the given."""
        group = self._group()
        if not own or not self.training or group is None:
            return super().normalise(x, mean, var, own, momentum)
        if not self._counts:
            # The others wait for this process in forward and in backward, for x and for the weights.
            return x * 0 + self._over(x[:0], mean, var, momentum, group).sum()
        return self._over(x, mean, var, momentum, group)

    def _over(self, x: Tensor, mean: Tensor | None, var: Tensor | None, momentum: float, group: Any) -> Tensor:
        weight, bias = self.gain(x), self.bias
        if x.device.type == "cuda":
            from torch.nn.modules._functions import SyncBatchNorm as Kernels

            y: Tensor = Kernels.apply(  # type: ignore[no-untyped-call]
                x, weight, bias, mean, var, self.eps, momentum, group, distributed.get_world_size(group)
            )
            return y
        return _over_group(x, weight, bias, mean, var, self.eps, momentum, group)

    def _group(self) -> Any:
        """Return the process group, or None where there is nobody to share with."""
        if not distributed.is_available() or not distributed.is_initialized():
            return None
        group = self.process_group or distributed.group.WORLD
        return group if distributed.get_world_size(group) > 1 else None


@contextlib.contextmanager
def without_statistics(net: nn.Module) -> Iterator[None]:
    """Let a process without samples compute something with ``net`` all the same, forward and backward.

    Within the block its input enters the statistics of no `SyncBatchNorm` of ``net``, whose outputs are zeros.
    """
    norms = [module for module in net.modules() if isinstance(module, SyncBatchNorm)]
    for norm in norms:
        norm._counts = False
    try:
        yield
    finally:
        for norm in norms:
            norm._counts = True


def _over_group(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    eps: float,
    momentum: float,
    group: Any,
) -> Tensor:
    """Batch norm of ``x``: [B, C, *] by the statistics of the group, differentiable through both sums."""
    wide = x if x.dtype == torch.float64 else x.float()
    dims = [0, *range(2, x.ndim)]
    count = wide.new_full((1,), x.numel() // x.shape[1])
    both = _sum_over(torch.cat((wide.sum(dims), count)), group)
    values = both[-1].detach()
    mean = both[:-1] / values
    centred = wide - _column(mean, x)
    var = _sum_over(centred.square().sum(dims), group) / values
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            unbiased = var * (values / (values - 1).clamp(min=1))
            running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    factor = (var + eps).rsqrt()
    if weight is not None:
        factor = factor * weight
    y = centred * _column(factor, x)
    return (y if bias is None else y + _column(bias, x)).to(x.dtype)


def _column(values: Tensor, x: Tensor) -> Tensor:
    """Return ``values``: [C] as it broadcasts against ``x``: [B, C, *]."""
    return values.view(-1, *[1] * (x.ndim - 2))


class _Sum(torch.autograd.Function):
    """The sum of a tensor over a process group; so is its gradient, for every process uses the sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        ctx.group = group
        total = x.clone()
        distributed.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        total = g.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total, group=ctx.group)
        return total, None


def _sum_over(x: Tensor, group: Any) -> Tensor:
    return _Sum.apply(x, group)  # type: ignore[no-any-return, no-untyped-call]


def convert_sync_batchnorm(net: nn.Module, process_group: Any = None) -> nn.Module:
    """Exchange every batch norm of ``net`` for a synchronised one with the same parameters, buffers and step mode.

    Threshold-dependent norms keep their scale, and a norm used in two places stays one. Batch norms that are torch's
    own, without a step mode, become torch's own `torch.nn.SyncBatchNorm`.

    Args:
        net: changed in place.
        process_group: as in `torch.nn.SyncBatchNorm`; None: all processes.

    Returns:
        ``net``, or what replaces it where it is a batch norm itself.
    """
    return _converted(net, process_group, {})


def _converted(module: nn.Module, group: Any, done: dict[nn.Module, nn.Module]) -> nn.Module:
    if module in done:
        return done[module]
    if isinstance(module, nn.SyncBatchNorm) or not isinstance(module, nn.modules.batchnorm._BatchNorm):
        done[module] = module
        for name, child in list(module._modules.items()):
            if child is not None:
                module._modules[name] = _converted(child, group, done)
        return module
    if not isinstance(module, TimeBatchNorm):
        done[module] = nn.SyncBatchNorm.convert_sync_batchnorm(module, group)  # type: ignore[no-untyped-call]
        return done[module]
    new = SyncBatchNorm(
        module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats, group,
        step_mode=module.step_mode,
    )  # fmt: skip
    new.scale = module.scale
    new.training = module.training
    for name in ("weight", "bias"):
        new._parameters[name] = module._parameters[name]
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        new._buffers[name] = module._buffers[name]
    done[module] = new
    return new
