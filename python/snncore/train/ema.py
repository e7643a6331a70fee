"""An exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..errors import ArgumentError, CheckpointError, StateError
from .sharded import like

if TYPE_CHECKING:
    from .config import TrainConfig

__all__ = ["WeightAverage", "adjusted_decay", "make_average"]


def adjusted_decay(decay: float, batch_size: int, steps: int, epochs: int) -> float:
    """Return ``decay`` such that the average reaches about as far back whatever batch, update interval and length.

    1 - (1 - decay) * batch_size * steps / epochs, at least 0: the rule of pycls that torchvision's and SpikingJelly's
    reference training follow. The size of the data set does not enter.

    Args:
        decay: before the adjustment, in [0, 1).
        batch_size: samples in a step of all processes together.
        steps: steps between two updates.
        epochs: epochs of the whole run.
    """
    return 1.0 - min(1.0, (1.0 - decay) * batch_size * steps / epochs)


class WeightAverage:
    """Averages all that a net's ``state_dict`` holds: average = decay * average + (1 - decay) * present.

    Parameters and floating buffers (running means and variances) are averaged, in float32 where the net has less, or
    small updates would be lost. Whole numbers (``num_batches_tracked``) are copied. Before its first update it is
    whatever the net was when it was made; the first update copies.

    Example::

        average = WeightAverage(net, decay=0.999)
        for step, (x, label) in enumerate(batches):
            ...
            optimizer.step()
            average.after_step(net, step)
        with average.applied(net):
            evaluate(net)

    Args:
        net: the bare module: not wrapped by DDP, nor the result of ``torch.compile``.
        decay: in [0, 1); see `adjusted_decay`.
        steps: steps between two updates.

    Attributes:
        updates: updates so far, since the last of the warm-up.

    Raises:
        ArgumentError: a number cannot be used.
    """

    def __init__(self, net: nn.Module, decay: float, steps: int = 1) -> None:
        if not 0.0 <= decay < 1.0:
            raise ArgumentError(f"WeightAverage.decay: must be in [0, 1), got {decay}; 0.999, say")
        if steps < 1:
            raise ArgumentError(f"WeightAverage.steps: must be at least 1, got {steps}; pass 1 for every step")
        self.decay, self.steps, self.updates = decay, steps, 0
        self._average = {name: _wide(tensor).clone() for name, tensor in _tensors(net).items()}
        self._applied = False

    def after_step(self, net: nn.Module, step: int, warming_up: bool = False) -> None:
        """Update the average if step number ``step`` of the epoch, from 0, is one of every ``steps``.

        While ``warming_up`` the average is a copy of the net, as is the first one after it.
        """
        if step % self.steps == 0:
            self.update(net)
            if warming_up:
                self.updates = 0

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Move the average towards the weights of ``net``.

        Raises:
            StateError: inside `applied`, where the net has the average itself.
        """
        if self._applied:
            raise StateError("WeightAverage.update: must not be called inside applied(); leave the block first")
        present = self._fitting(_tensors(net), "update.net", ArgumentError)
        floating = [name for name, tensor in self._average.items() if tensor.is_floating_point()]
        self._copy([name for name in self._average if name not in set(floating)], present)
        if self.updates == 0:
            self._copy(floating, present)
        else:
            for names in _alike(self._average, floating):
                towards = [_wide(present[name]) for name in names]
                torch._foreach_lerp_([self._average[name] for name in names], towards, 1.0 - self.decay)
        self.updates += 1

    @contextmanager
    def applied(self, net: nn.Module) -> Iterator[None]:
        """Give ``net`` the averaged weights within a ``with`` block, and its own back at the end, whatever happens.

        The tensors stay the same, so optimisers, DDP and compiled nets notice nothing. What the block changes in the
        net's parameters and buffers is lost. Not between a forward and its backward pass.

        Raises:
            StateError: it is applied already.
        """
        if self._applied:
            raise StateError("WeightAverage.applied: must not be entered twice at once; leave the first block")
        present = self._fitting(_tensors(net), "applied.net", ArgumentError)
        own = {name: tensor.clone() for name, tensor in present.items()}
        self._applied = True
        try:
            _put(present, self._average)
            yield
        finally:
            _put(present, own)
            self._applied = False

    def weights(self, net: nn.Module) -> dict[str, Any]:
        """Return the averaged weights as a ``state_dict`` for nets like ``net``, in its dtypes."""
        present = self._fitting(_tensors(net), "weights.net", ArgumentError)
        averaged = {name: self._average[name].to(tensor.dtype, copy=True) for name, tensor in present.items()}
        return {**net.state_dict(), **averaged}

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` takes: plain values and tensors, not copied."""
        return {"updates": self.updates, "average": dict(self._average)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``, made by `state_dict`. Tensors keep their device.

        Raises:
            CheckpointError: it is the average of another net; nothing is changed then.
        """
        if not {"updates", "average"} <= state.keys():
            raise CheckpointError(
                f"WeightAverage.state: must have updates and average, got {', '.join(map(str, state)) or 'nothing'}; "
                "use a checkpoint of a run with an average"
            )
        _put(self._average, like(self._fitting(state["average"], "state", CheckpointError), self._average))
        self.updates = int(state["updates"])

    def _copy(self, names: list[str], present: Mapping[str, Tensor]) -> None:
        for name in names:
            self._average[name].copy_(present[name])

    def _fitting(
        self, tensors: Mapping[str, Tensor], who: str, error: type[ArgumentError] | type[CheckpointError]
    ) -> Mapping[str, Tensor]:
        """Return ``tensors``, or raise if they are not those of the net that is averaged."""
        want = {name: list(tensor.shape) for name, tensor in self._average.items()}
        got = {name: list(tensor.shape) for name, tensor in tensors.items()}
        if want != got:
            first = next(name for name in [*want, *got] if want.get(name) != got.get(name))
            raise error(
                f"WeightAverage.{who}: must be of the net that is averaged, got {first} "
                f"{got.get(first, 'missing')} instead of {want.get(first, 'none')}; use the same net, not wrapped"
            )
        return tensors


def make_average(net: nn.Module, config: TrainConfig, batch_size: int) -> WeightAverage | None:
    """Return the average of ``net`` that ``config`` asks for, its decay adjusted; None without ``model_ema``.

    Args:
        net: the bare module.
        config: ``model_ema`` and its numbers, and the epochs of the run.
        batch_size: samples between two steps of the optimiser, of all processes together.
    """
    if not config.model_ema:
        return None
    decay = adjusted_decay(config.model_ema_decay, batch_size, config.model_ema_steps, config.epochs)
    return WeightAverage(net, decay, config.model_ema_steps)


def _tensors(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in net.state_dict().items() if isinstance(value, Tensor)}


def _wide(tensor: Tensor) -> Tensor:
    """Return ``tensor``, in float32 if it is of a shorter floating dtype."""
    return tensor.float() if tensor.is_floating_point() and tensor.dtype.itemsize < 4 else tensor


def _alike(tensors: Mapping[str, Tensor], names: list[str]) -> list[list[str]]:
    """Return ``names`` grouped for foreach functions: by class (a sharded net has DTensors), device and dtype."""
    groups: dict[tuple[type[Tensor], torch.device, torch.dtype], list[str]] = {}
    for name in names:
        tensor = tensors[name]
        groups.setdefault((type(tensor), tensor.device, tensor.dtype), []).append(name)
    return list(groups.values())


@torch.no_grad()
def _put(into: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, tensor in into.items():
        tensor.copy_(values[name])
