"""The tables of presets: literal settings by name, in families that are chosen by ``--preset``.

- ``published``: what the authors of a net trained it with, as far as they say. Where a setting of theirs does not exist
  here, a comment says so; where there is no such source, it is SOUL's base.
- ``soul``: the configuration of SOUL (github.com/yudi-mars/Soul), whose scripts train nets of many kinds alike.

`snncore.train.resolve` puts them below everything a user says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import soul as _soul
from .data import DATA as _DATA
from .neuron import IN_MODEL as _IN_MODEL
from .neuron import NEURON as _NEURON
from .on_data import ON_DATA as _ON_DATA
from .published import MODEL as _MODEL

__all__ = ["PRESETS", "Preset"]

_Settings = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A family of presets; each entry has the form of a file of settings. A later field wins over an earlier one.

    Args:
        base: of every run.
        data: data set -> settings.
        model: model -> settings.
        on_data: (model, data set) -> settings.
        neuron: neuron -> settings.
        in_model: (model, neuron) -> settings: what a net's neurons have beyond, or other than, their own.
    """

    base: _Settings = field(default_factory=dict)
    data: Mapping[str, _Settings] = field(default_factory=dict)
    model: Mapping[str, _Settings] = field(default_factory=dict)
    on_data: Mapping[tuple[str, str], _Settings] = field(default_factory=dict)
    neuron: Mapping[str, _Settings] = field(default_factory=dict)
    in_model: Mapping[tuple[str, str], _Settings] = field(default_factory=dict)


PRESETS: dict[str, Preset] = {
    "published": Preset(data=_DATA, model=_MODEL, on_data=_ON_DATA, neuron=_NEURON, in_model=_IN_MODEL),
    # a neuron that SOUL does not have is as it was published
    "soul": Preset(base=_soul.BASE, data=_soul.DATA, model=_soul.MODEL, neuron={**_NEURON, **_soul.NEURON}),
}
