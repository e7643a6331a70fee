"""Nets of snncore, each beside the same net of SpikingJelly 2.0.0 with the same weights.

Both are written as each library's users write them: multi-step, direct encoding over T steps, surrogate ATan, the mean
over T as scores. SpikingJelly's user resets the net after each call; snncore's has nothing to reset.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

SNNCORE, PEER = "snncore", "spikingjelly"
CLASSES = 10


@dataclass(frozen=True)
class Recipe:
    """How to build one net in both libraries.

    Attributes:
        image: (C, H, W) of its images for a side of ``--size``.
        batch: the batch size unless another is asked for.
        loss: scores [B, classes] and labels [B] -> loss.
        ours: channels -> the net of snncore.
        peer: channels -> the net of SpikingJelly.
    """

    image: Callable[[int], tuple[int, int, int]]
    batch: int
    loss: Callable[[Any, Any], Any]
    ours: Callable[[int], Any]
    peer: Callable[[int], Any]


@dataclass
class Pair:
    """Both nets by the library's name, what runs them (images -> scores), one batch, and how they lie in memory."""

    nets: dict[str, Any]
    runs: dict[str, Callable[[Any], Any]]
    images: Any
    labels: Any
    loss: Callable[[Any, Any], Any]
    channels_last: bool


# ---- the nets of both libraries ------------------------------------------------------------------------------------


def _csnn(channels: int) -> Any:
    from snncore import model

    return model.CSNN(channels=channels)


def _peer_csnn(channels: int) -> Any:
    """Return the tutorial's net, whose parameters have the names of snncore's."""
    from spikingjelly.activation_based import layer, neuron, surrogate
    from torch import nn

    def fire() -> nn.Module:
        return neuron.IFNode(surrogate_function=surrogate.ATan())

    class CSNN(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv_fc = nn.Sequential(
                layer.Conv2d(1, channels, kernel_size=3, padding=1, bias=False),
                layer.BatchNorm2d(channels),
                fire(),
                layer.MaxPool2d(2, 2),
                layer.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False),
                layer.BatchNorm2d(channels),
                fire(),
                layer.MaxPool2d(2, 2),
                layer.Flatten(),
                layer.Linear(channels * 7 * 7, channels * 4 * 4, bias=False),
                fire(),
                layer.Linear(channels * 4 * 4, CLASSES, bias=False),
                fire(),
            )

        def forward(self, x_seq: Any) -> Any:
            return self.conv_fc(x_seq)

    return CSNN()


def _resnet(name: str) -> Callable[[int], Any]:
    def build(_: int) -> Any:
        from snncore import model

        return model.build(name, num_classes=CLASSES, detach_reset=True)

    return build


def _peer_resnet(file: str, name: str, **args: Any) -> Callable[[int], Any]:
    def build(_: int) -> Any:
        from spikingjelly.activation_based import neuron, surrogate

        return getattr(_peer_models(file), name)(
            num_classes=CLASSES, spiking_neuron=neuron.IFNode, surrogate_function=surrogate.ATan(),
            detach_reset=True, **args,
        )  # fmt: skip

    return build


def _peer_models(file: str) -> Any:
    """Import a file of SpikingJelly's models; what they import for downloads and event files alone may be absent."""
    absent = [name for name in ("torchvision", "h5py") if importlib.util.find_spec(name) is None]
    for name in absent:
        sys.modules[name] = ModuleType(name)
    if "torchvision" in absent:
        for part in ("models", "models.utils"):
            sys.modules[f"torchvision.{part}"] = ModuleType(f"torchvision.{part}")
        sys.modules["torchvision.models.utils"].load_state_dict_from_url = None  # type: ignore[attr-defined]
    return importlib.import_module(f"spikingjelly.activation_based.model.{file}")


def _squared_error(scores: Any, labels: Any) -> Any:
    from torch.nn import functional as F

    return F.mse_loss(scores, F.one_hot(labels, CLASSES).to(scores.dtype))


def _cross_entropy(scores: Any, labels: Any) -> Any:
    from torch.nn import functional as F

    return F.cross_entropy(scores, labels)


NETS = {
    "csnn": Recipe(lambda _: (1, 28, 28), 64, _squared_error, _csnn, _peer_csnn),
    "spiking_resnet18": Recipe(
        lambda size: (3, size, size), 32, _cross_entropy,
        _resnet("spiking_resnet18"), _peer_resnet("spiking_resnet", "spiking_resnet18"),
    ),
    "sew_resnet18": Recipe(
        lambda size: (3, size, size), 32, _cross_entropy,
        _resnet("sew_resnet18"), _peer_resnet("sew_resnet", "sew_resnet18", cnf="ADD"),
    ),
}  # fmt: skip


def pair(
    name: str,
    batch: int,
    T: int,
    *,
    channels: int = 32,
    size: int = 32,
    device: str = "cpu",
    channels_last: bool = False,
    settled: bool = True,
) -> Pair:
    """Return both nets ``name`` with the same weights, and a random batch, the same in every process.

    Args:
        name: of `NETS`.
        batch: images.
        T: time steps.
        channels: of the CSNN; the ResNets have their own.
        size: side of the ResNets' images.
        device: of nets and images.
        channels_last: lay out weights and images as torch.channels_last.
        settled: give them statistics and weights under which every layer fires. That takes runs of the whole batch.
    """
    import torch

    torch.manual_seed(0)
    recipe = NETS[name]
    form = torch.channels_last if channels_last else torch.contiguous_format
    nets = {SNNCORE: recipe.ours(channels), PEER: recipe.peer(channels)}
    nets = {library: net.to(device, memory_format=form) for library, net in nets.items()}
    images = torch.rand(batch, *recipe.image(size)).to(device, memory_format=form)
    labels = torch.randint(CLASSES, (batch,)).to(device)
    runs = {SNNCORE: _run(nets[SNNCORE], T), PEER: _peer_run(nets[PEER], T)}
    if settled:
        settle(nets[SNNCORE], lambda: runs[SNNCORE](images))
    nets[PEER].load_state_dict(nets[SNNCORE].state_dict())
    return Pair(nets, runs, images, labels, recipe.loss, channels_last)


def settle(net: Any, run: Callable[[], Any]) -> None:
    """Give ``net`` weights and, by 20 runs, statistics under which every layer fires."""
    import torch

    with torch.no_grad():
        for name, weight in net.named_parameters():
            if weight.dim() == 2:
                weight.mul_(2.0)
            elif name.endswith("bias"):
                weight.add_(0.3)
        for _ in range(20):
            run()


def _run(net: Any, T: int) -> Callable[[Any], Any]:
    from snncore import encoding

    return lambda images: net(encoding.direct(images, T)).mean(0)


def _peer_run(net: Any, T: int) -> Callable[[Any], Any]:
    from spikingjelly.activation_based import functional

    functional.set_step_mode(net, step_mode="m")

    def run(images: Any) -> Any:
        scores = net(images.unsqueeze(0).expand(T, -1, -1, -1, -1)).mean(0)
        functional.reset_net(net)
        return scores

    return run


def peer_kernel(device: str) -> str:
    """Return what SpikingJelly runs its IF neuron with on ``device``."""
    import torch
    from spikingjelly.activation_based import functional

    return str(functional.neuron_implementation("if", torch.device(device))["implementation"])
