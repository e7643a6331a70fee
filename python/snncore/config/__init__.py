"""Configuration, the mechanism: frozen dataclasses merged once from layers, each value remembering its source.

``tree`` merges; ``convert`` gives a value its type; ``text`` reads and writes YAML. The sections
themselves live beside their owners.
"""

from __future__ import annotations

from .convert import Text
from .text import load_yaml, parse_yaml
from .tree import DEFAULTS, Merged, Option, dump_yaml, flatten, merge, option, options, to_dict

__all__ = [
    "DEFAULTS",
    "Merged",
    "Option",
    "Text",
    "dump_yaml",
    "flatten",
    "load_yaml",
    "merge",
    "option",
    "options",
    "parse_yaml",
    "to_dict",
]
