"""YAML as a person expects it: 1e-3 is a number, ``off`` is a word, a name given twice is an error.

PyYAML's safe loader with the scalar rules of YAML 1.2 (core schema) in place of those of 1.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError

__all__ = ["dump_yaml_line", "load_yaml", "parse_yaml"]

_SCALARS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own attribute

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = str(self.construct_scalar(node))
        return int(text, 0 if text[:2] in ("0x", "0o") else 10)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the name {key.value!r} is given twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes what either YAML 1.1 or 1.2 would take for something else than text."""

    yaml_implicit_resolvers: dict[str, Any] = {  # noqa: RUF012 - PyYAML's own attribute
        first: list(rules) for first, rules in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }


for _name, _pattern, _first in _SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(rf"^(?:{_pattern})$"), _first)

_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def parse_yaml(text: str, who: str) -> Any:
    """Return what the YAML ``text`` says. ``who`` names it in the ConfigError for text that is no YAML."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{who}: must be YAML; {where}{problem}; correct it there") from None


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Return the nested mapping in the YAML file ``path``; an empty file gives an empty one.

    Raises:
        ConfigError: the file cannot be read, is no YAML, or does not hold names with values.
    """
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"{path}: must be a readable YAML file, got: {reason}; check the path") from None
    found = parse_yaml(text, str(path))
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise ConfigError(f"{path}: must hold names with values, got {type(found).__name__}; write 'section:' lines")
    return dict(found)


def dump_yaml_line(key: str, value: Any) -> str:
    """Return ``key: value`` as a single line of YAML that `parse_yaml` reads back, whatever ``value`` nests."""
    parts = [
        yaml.dump(part, Dumper=_Dumper, default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True)
        for part in (key, value)
    ]
    return ": ".join(str(part).removesuffix("...\n").strip() for part in parts)
