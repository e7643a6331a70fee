"""Command-line flags made from a configuration's own fields.

A field's flags, help and choices stand where the field is; nothing is said twice, and no default of a parser can come
between the user and the configuration: only what was typed is returned.
"""

from __future__ import annotations

import argparse
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, NoReturn

from ..config import Option as Setting
from ..config import Text, options
from ..errors import ConfigError
from ..registry import nearest

__all__ = ["Parser", "add_flags", "typed"]


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are `ConfigError`, with the nearest flag for one that does not exist."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **settings)

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError instead of printing the usage and leaving."""
        raise ConfigError(f"command line: must be as --help says, got: {message}; see {self.prog} --help")

    def parse(self, argv: Sequence[str] | None) -> argparse.Namespace:
        """Return what was typed.

        Raises:
            ConfigError: a flag does not exist, lacks its value, or a word stands alone.
        """
        found, rest = self.parse_known_args(argv)
        if rest:
            flag = rest[0].split("=")[0]
            if not flag.startswith("-"):
                raise ConfigError(
                    f"command line: must be flags with values, got the word {flag!r} alone; see {self.prog} --help"
                )
            guess = nearest(flag, self._option_string_actions)
            hint = f"did you mean {guess}?" if guess else f"see {self.prog} --help"
            raise ConfigError(f"{flag}: must be a flag of {self.prog}, and there is none of this name; {hint}")
        return found


def add_flags(parser: argparse.ArgumentParser, cls: type[Any], shown: Mapping[str, Any]) -> None:
    """Add a group for every section of the dataclass ``cls`` and a flag for every field in it that has one.

    Values come back as `Text` under the dotted name of the field, for ``merge`` to check and convert.

    Args:
        parser: takes the flags.
        cls: the root dataclass.
        shown: dotted name -> value that the help shows as the default.
    """
    hints = typing.get_type_hints(cls)
    groups = {item.name: parser.add_argument_group(f"{item.name} ({hints[item.name].__doc__})") for item in fields(cls)}
    for name, item, kind in options(cls):
        what: Setting = item.metadata["option"]
        if not what.flags:
            continue
        group = groups[name.split(".")[0]]
        text = _help(what, shown[name]).replace("%", "%%")  # argparse fills in %-signs of a help text
        shared: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS}
        if kind is bool:
            group.add_argument(*what.flags, action=argparse.BooleanOptionalAction, help=text, **shared)
        else:
            metavar = what.metavar or _metavar(kind)
            group.add_argument(*what.flags, type=Text, metavar=metavar, help=text, **shared)


def _metavar(kind: Any) -> str:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        kind = next(arg for arg in typing.get_args(kind) if arg is not types.NoneType)
    if typing.get_origin(kind) is tuple:
        return "N,N"
    return {int: "N", float: "X", str: "NAME"}.get(kind, "VALUE")


def _help(what: Setting, value: Any) -> str:
    names = f"; one of {', '.join(what.choices)}" if what.choices else ""
    default = "none" if value is None else {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
    return f"{what.help}{names} (default: {default})"


def typed(found: argparse.Namespace, assignments: Sequence[str] = ()) -> dict[str, Any]:
    """Return what was typed as a nested mapping.

    Args:
        found: from a parser with `add_flags`.
        assignments: ``section.key=value`` texts, which win over flags.

    Raises:
        ConfigError: an assignment has another form.
    """
    pairs = {key: value for key, value in vars(found).items() if "." in key}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or "." not in key:
            raise ConfigError(f"--set: must be section.key=value, got {text!r}; write e.g. --set neuron.args.tau=3.0")
        pairs[key.strip()] = Text(value.strip())
    nested: dict[str, Any] = {}
    for key, value in pairs.items():
        *path, last = key.split(".")
        inner = nested
        for part in path:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                raise ConfigError(
                    f"--set: must name a setting once, got {key!r} inside another setting; drop one of them"
                )
        inner[last] = value
    return nested
