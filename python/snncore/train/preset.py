"""Presets: what a family of settings, a data set, a model or a neuron brings along, and the order of the merge.

packaged defaults < --preset < data set < model < model on data set < neuron < neuron in the model
< the run that is resumed < user's file < command line
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..config import Merged, merge
from .config import Config
from .folder import find, saved_settings
from .presets import PRESETS

__all__ = ["PRESETS", "resolve"]

Layer = tuple[str, Mapping[str, Any]]


def resolve(layers: Sequence[Layer] = ()) -> Merged[Config]:
    """Return the configuration of a run: the defaults and presets under ``layers``, the last layer winning.

    Args:
        layers: (name of the source, nested mapping of settings), e.g. ``[("here", {"model": {"T": 8}})]``. The names
            of preset, data set, model and neuron in them decide which presets apply. If they name a run to resume, its
            settings lie under them in the place of all presets, for they are whole.

    Raises:
        ConfigError: a setting does not exist or cannot have its value.
    """
    chosen = merge(Config, layers).config
    if chosen.train.resume not in (None, "auto") and (path := find(chosen)):
        return merge(Config, [(f"the run {path.parent}", saved_settings(path)), *layers])
    return merge(Config, [*_presets(chosen.train.preset, layers), *layers])


def _presets(name: str, layers: Sequence[Layer]) -> list[Layer]:
    """Return the presets of the family ``name`` that lie under ``layers``, in their order.

    What is below decides together with ``layers`` which is next: the base may name the model, and the model the neuron.
    """
    family = PRESETS[name]
    of = "preset of" if name == "published" else f"preset {name} of"
    found: list[Layer] = [(f"preset {name}", family.base)]

    def chosen() -> Config:
        return merge(Config, [*found, *layers]).config

    data = chosen().data.name
    found.append((f"{of} {data}", family.data.get(data, {})))
    model = chosen().model.name
    found.append((f"{of} model {model}", family.model.get(model, {})))
    found.append((f"{of} {model} on {data}", family.on_data.get((model, data), {})))
    neuron = chosen().neuron.name
    found.append((f"{of} neuron {neuron}", family.neuron.get(neuron, {})))
    found.append((f"{of} {neuron} in {model}", family.in_model.get((model, neuron), {})))
    return found
