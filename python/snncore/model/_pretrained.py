"""Weights from a file into a net: where they are looked for, and what has to fit."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ArgumentError, CheckpointError
from ..neuron import BaseNode

__all__ = ["Pretrained", "load_pretrained"]

Pretrained = bool | str | os.PathLike[str] | Mapping[str, Tensor] | None

_ENDINGS = (".pth", ".pt", ".bin")
_SHOWN = 12


def load_pretrained(net: nn.Module, pretrained: Pretrained, who: str, published: str | None = None) -> None:
    """Load weights into ``net``. What its neurons learn may be absent and then stays as it is; all else has to fit.

    Args:
        net: changed in place.
        pretrained: False or None: nothing to do. A path, or the name of a file in torch's cache of downloads
            (``torch.hub.get_dir()/checkpoints``): a ``state_dict``, or a checkpoint that has one under "model" or
            "state_dict"; the prefix "module." of a DDP net is dropped. A ``state_dict``: as it is. True: the file of
            ``published`` in that cache. Nothing is downloaded.
        who: name of the model, for messages.
        published: name under which torchvision has the same architecture, or None.

    Raises:
        ArgumentError: there is no such file; the message says where it was looked for and what is there.
        CheckpointError: the file cannot be read, or its keys or shapes are not those of ``net``.
    """
    if pretrained is False or pretrained is None:
        return
    if isinstance(pretrained, Mapping):
        weights, origin = pretrained, "the state_dict"
    else:
        path = _find(pretrained, who, published)
        weights, origin = _read(path, who), str(path)
    if weights and all(key.startswith("module.") for key in weights):
        weights = {key.removeprefix("module."): value for key, value in weights.items()}
    _check(net, weights, who, origin)
    net.load_state_dict(weights, strict=False)


def _cache() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _find(pretrained: Any, who: str, published: str | None) -> Path:
    if pretrained is True:
        return _cached(who, published)
    if not isinstance(pretrained, (str, os.PathLike)):
        raise ArgumentError(
            f"{who}.pretrained: must be False, True, a path or a state_dict, got {pretrained!r}; give one of these"
        )
    path = Path(pretrained).expanduser()
    places = [path] if path.is_absolute() else [path, _cache() / path]
    for place in places:
        if place.is_file():
            return place
    looked = " and ".join(str(place.absolute()) for place in places)
    there = "; ".join(_listed(place.parent) for place in places)
    raise ArgumentError(f"{who}.pretrained: must be a file, got {str(pretrained)!r}, looked at {looked}; {there}")


def _cached(who: str, published: str | None) -> Path:
    """Return torchvision's file of the architecture ``published`` in torch's cache."""
    if published is None:
        raise ArgumentError(
            f"{who}.pretrained: must be a path or a state_dict for this architecture, got True, and nobody "
            "publishes weights that are looked for; give pretrained=PATH"
        )
    found = sorted(_cache().glob(f"{published}-*.pth"))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(path.name for path in found)
        raise ArgumentError(f"{who}.pretrained: must name one of {names} in {_cache()}, got True; give its name")
    raise ArgumentError(
        f"{who}.pretrained: must find {published}-*.pth (torchvision's weights) in {_cache()}, got none; "
        f"{_listed(_cache())}; download it there, or give pretrained=PATH"
    )


def _listed(folder: Path) -> str:
    """Return in words which weight files are in ``folder``."""
    if not folder.is_dir():
        return f"the folder {folder.absolute()} does not exist"
    names = sorted(path.name for path in folder.iterdir() if path.suffix in _ENDINGS)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"in {folder.absolute()} there are {', '.join(names[:_SHOWN]) or 'no weight files'}{more}"


def _read(path: Path, who: str) -> Mapping[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"{who}.pretrained: must be a file that torch.load reads with weights_only=True, got {path} "
            f"({(str(error) or type(error).__name__).splitlines()[0]}); save net.state_dict() anew"
        ) from None
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(
            f"{who}.pretrained: must hold a state_dict (names and tensors), or one under 'model' or 'state_dict', "
            f"got {path} with a {type(content).__name__}; save net.state_dict()"
        )
    return content


def _check(net: nn.Module, weights: Mapping[str, Any], who: str, origin: str) -> None:
    """Raise CheckpointError unless keys and shapes of ``weights`` are those of ``net``."""
    own = net.state_dict()
    optional = tuple(f"{name}." for name, module in net.named_modules() if isinstance(module, BaseNode))
    # Files of torch before 0.4.1 have no counter of batches; torch sets it to 0.
    absent = [k for k in own if k not in weights and not k.startswith(optional) and not k.endswith("_tracked")]
    unused = getattr(net, "unused_keys", None)  # a pattern of names that published files hold and nothing reads
    foreign = [key for key in weights if key not in own and not (unused and re.fullmatch(unused, key))]
    other = [
        f"{key} {list(value.shape)} instead of {list(own[key].shape)}"
        for key, value in weights.items()
        if key in own and value.shape != own[key].shape
    ]
    wrong = [
        f"{len(keys)} {what} ({', '.join(keys[:4])}{', ...' if len(keys) > 4 else ''})"
        for what, keys in (("missing", absent), ("unknown", foreign), ("of another shape", other))
        if keys
    ]
    if wrong:
        raise CheckpointError(
            f"{who}.pretrained: must fit the net, got {origin} with {', '.join(wrong)}; build the net with the "
            "num_classes, in_channels and sizes of the file, or load what fits with net.load_state_dict(..., "
            "strict=False)"
        )
