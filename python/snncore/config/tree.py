"""Configuration: a tree of frozen dataclasses, merged once from layers, each value remembering where it came from.

This is the mechanism only; the sections live beside their owners (``snncore.train.config``). A section is a frozen,
keyword-only dataclass whose fields are made by `option`, so that a value, its help, its flags and what it must fulfil
stand in one place. Precedence is the order of the layers given to `merge`: a later one wins.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from typing import Any, Generic, TypeVar

from ..errors import ConfigError
from ..registry import nearest
from .convert import Text, convert
from .text import dump_yaml_line, parse_yaml

__all__ = ["DEFAULTS", "Merged", "Option", "dump_yaml", "flatten", "merge", "option", "options", "to_dict"]

C = TypeVar("C")
Layer = tuple[str, Mapping[str, Any]]
DEFAULTS = "packaged defaults"
_FREE_FORM = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Option:
    """What is known of a field beside its type and default.

    Args:
        help: one line for ``--help``.
        flags: spellings on the command line; none: only through a file or ``--set``.
        metavar: what stands for the value in ``--help``; none: made from the type.
        choices: the values there are; may be a table, of which the keys count at the time of the merge.
        at_least: lowest value allowed.
        at_most: highest value allowed.
        above: value that must be exceeded.
        below: value that must not be reached.
        may_change: True if a run that is resumed may have another value than it began with.
    """

    help: str
    flags: tuple[str, ...] = ()
    metavar: str | None = None
    choices: Collection[str] | None = None
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None
    may_change: bool = False


def option(default: Any, help: str, *flags: str, **rest: Any) -> Any:
    """Return a dataclass field with ``default`` and an `Option` made of the other arguments."""
    metadata = {"option": Option(help=help, flags=flags, **rest)}
    if isinstance(default, Mapping):
        return field(default_factory=lambda: types.MappingProxyType(dict(default)), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Merged(Generic[C]):
    """A merged configuration and, for each dotted name such as ``"optim.lr"``, the layer its value came from."""

    config: C
    sources: Mapping[str, str]


def options(cls: type[Any], prefix: str = "") -> Iterator[tuple[str, Field[Any], Any]]:
    """Yield (dotted name, dataclass field, type) of every value in the tree of ``cls``, in order."""
    hints = typing.get_type_hints(cls)
    for item in fields(cls):
        kind = hints[item.name]
        if is_dataclass(kind):
            yield from options(typing.cast("type[Any]", kind), f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", item, kind


def merge(cls: type[C], layers: Iterable[Layer]) -> Merged[C]:
    """Return the configuration ``cls()`` with the values of ``layers`` put over its defaults, the last layer winning.

    Args:
        cls: the root dataclass; its fields are sections or values.
        layers: (name of the source, nested mapping). A free-form mapping such as ``neuron.args`` is merged key by key.

    Raises:
        ConfigError: a key that does not exist (with the nearest that does), or a value of the wrong type or range; the
            message names the key and the source.
    """
    known = {name: (item, kind) for name, item, kind in options(cls)}
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name, (item, kind) in known.items():
        default = item.default if item.default is not MISSING else typing.cast("Any", item.default_factory)()
        for key, value in _leaves(name, default, kind):
            values[key], sources[key] = value, DEFAULTS
    for source, layer in layers:
        for key, value in _spread(layer, known, source):
            owner = key if key in known else _owner(key, known)
            values[key], sources[key] = _checked(key, value, *known[owner], source), source
    return Merged(_build(cls, "", values), types.MappingProxyType(sources))


def _owner(key: str, known: Mapping[str, Any]) -> str:
    """Return the free-form field that the dotted ``key`` lies in."""
    return next(name for name in known if key.startswith(name + "."))


def _leaves(name: str, value: Any, kind: Any) -> Iterator[tuple[str, Any]]:
    if kind == _FREE_FORM:
        yield from ((f"{name}.{key}", entry) for key, entry in value.items())
    else:
        yield name, value


def _spread(layer: Mapping[str, Any], known: Mapping[str, tuple[Any, Any]], source: str) -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, value) of a nested mapping, after checking that each name exists."""
    sections = {name.rsplit(".", 1)[0] for name in known if "." in name}
    stack: list[tuple[str, Any]] = [(str(key), value) for key, value in reversed(list(layer.items()))]
    while stack:
        key, value = stack.pop()
        free = key in known and known[key][1] == _FREE_FORM
        if key in known and not free:
            yield key, value
        elif key in sections or free:
            if value is None:  # a heading in a file with nothing under it
                continue
            if not isinstance(value, Mapping):
                raise ConfigError(f"{key}: must hold names with values, got {value!r} (from {source}); indent them")
            inner = [(f"{key}.{name}", entry) for name, entry in value.items()]
            if free:
                yield from inner
            else:
                stack.extend(reversed(inner))
        else:
            raise _unknown(key, [*known, *sections], source)


def _unknown(key: str, names: Collection[str], source: str) -> ConfigError:
    # the right name in the wrong section is the commonest slip
    guess = next((name for name in names if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]), nearest(key, names))
    section = key.rsplit(".", 1)[0] + "." if "." in key else ""
    listed = sorted(name for name in names if name.startswith(section)) or sorted(n for n in names if "." not in n)
    hint = f"did you mean {guess!r}?" if guess else f"use one of {', '.join(listed)}"
    return ConfigError(f"{key}: must be the name of a setting, and there is none of this name (from {source}); {hint}")


def _checked(key: str, value: Any, item: Field[Any], kind: Any, source: str) -> Any:
    """Return ``value`` as the field's type, or raise."""
    what: Option = item.metadata["option"]

    def refuse(must: str) -> ConfigError:
        shown = str(value) if isinstance(value, Text) else value
        example = item.default if item.default not in (MISSING, None) else None
        if what.choices:
            close = nearest(str(value), what.choices)
            do = f"did you mean {close!r}?" if close else "use a listed name"
        else:
            do = f"the default is {_plain(example)!r}" if example is not None else "see --help"
        flag = f" ({what.flags[0]})" if what.flags else ""
        return ConfigError(f"{key}{flag}: must be {must}, got {shown!r} (from {source}); {do}")

    if kind == _FREE_FORM:
        return parse_yaml(value, f"{key} (from {source})") if isinstance(value, Text) else value
    listed = f"one of {', '.join(sorted(what.choices))}" if what.choices else None
    try:
        value_is = convert(value, kind)
    except ValueError as error:
        raise refuse(listed or str(error)) from None
    if value_is is None:
        return None
    if what.choices is not None and value_is not in what.choices:
        raise refuse(listed or "")
    for entry in value_is if isinstance(value_is, tuple) else (value_is,):
        if what.at_least is not None and not entry >= what.at_least:
            raise refuse(f"at least {what.at_least}")
        if what.at_most is not None and not entry <= what.at_most:
            raise refuse(f"at most {what.at_most}")
        if what.above is not None and not entry > what.above:
            raise refuse(f"greater than {what.above}")
        if what.below is not None and not entry < what.below:
            raise refuse(f"less than {what.below}")
    return value_is


def _build(cls: type[C], prefix: str, values: Mapping[str, Any]) -> C:
    hints = typing.get_type_hints(cls)
    made: dict[str, Any] = {}
    for item in fields(cls):  # type: ignore[arg-type]
        kind, name = hints[item.name], f"{prefix}{item.name}"
        if is_dataclass(kind):
            made[item.name] = _build(typing.cast("type[Any]", kind), f"{name}.", values)
        elif kind == _FREE_FORM:
            inner = {key[len(name) + 1 :]: value for key, value in values.items() if key.startswith(f"{name}.")}
            made[item.name] = types.MappingProxyType(inner)
        else:
            made[item.name] = values[name]
    return cls(**made)


def _plain(value: Any) -> Any:
    """Return ``value`` made of dicts, lists and scalars only."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def to_dict(config: Any) -> dict[str, Any]:
    """Return ``config`` as nested dicts, lists and scalars: what `merge`, YAML, JSON and a checkpoint take."""
    return typing.cast("dict[str, Any]", _plain(config))


def flatten(config: Any) -> dict[str, Any]:
    """Return dotted name -> value of ``config``; a free-form mapping gives one entry for each of its keys."""
    flat: dict[str, Any] = {}
    for name, _, kind in options(type(config)):
        value = config
        for part in name.split("."):
            value = getattr(value, part)
        flat.update(_leaves(name, _plain(value), kind))
    return flat


def dump_yaml(config: Any, sources: Mapping[str, str] | None = None) -> str:
    """Return ``config`` as YAML that gives the same configuration when it is read back.

    Args:
        config: the dataclass tree.
        sources: from `Merged`; if given, each value is followed by its source as a comment.
    """
    flat = flatten(config)
    lines: list[str] = []

    def put(node: Mapping[str, Any], prefix: str, indent: str) -> None:
        for key, value in node.items():
            name = f"{prefix}{key}"
            if name in flat or not value:
                line = indent + dump_yaml_line(key, value)
                source = sources.get(name) if sources else None
                lines.append(f"{line:<36}  # {source}" if source else line)
            else:
                lines.append(f"{indent}{key}:")
                put(value, name + ".", indent + "  ")

    put(to_dict(config), "", "")
    return "\n".join(lines) + "\n"
