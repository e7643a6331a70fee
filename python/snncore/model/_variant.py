"""Published sizes of an architecture: one line each."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

from ._pretrained import Pretrained, load_pretrained

__all__ = ["variant"]

M = TypeVar("M", bound=nn.Module)


def variant(name: str, cls: type[M], about: str, *, published: str | None = None, **sizes: Any) -> Callable[..., M]:
    """Return the function ``name(pretrained=False, **args)`` that makes a ``cls`` of these sizes.

    Args:
        name: name of the function and of the variant in messages.
        cls: the architecture.
        about: first line of the docstring.
        published: name of the architecture in torchvision, for ``pretrained=True``.
        **sizes: arguments of ``cls``; the caller may still give others.
    """

    def build(pretrained: Pretrained = False, **args: Any) -> M:
        net = cls(**{**sizes, **args})
        load_pretrained(net, pretrained, name, published)
        return net

    first = inspect.Parameter("pretrained", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=False)
    own = [
        p.replace(default=sizes.get(p.name, p.default), kind=p.kind if p.kind is p.VAR_KEYWORD else p.KEYWORD_ONLY)
        for p in inspect.signature(cls).parameters.values()
    ]
    given = ", ".join(f"{key}={value!r}" for key, value in sizes.items())
    build.__name__ = build.__qualname__ = name
    build.__module__ = cls.__module__
    build.__doc__ = (
        f"{about}\n\nArgs:\n    pretrained: False, or weights: a path, a state_dict, or True for torchvision's file in "
        f"torch's cache.\n    **args: arguments of `{cls.__name__}`; here {given}.\n\nRaises:\n    ArgumentError: an "
        "argument does not fit, or there is no such file.\n    CheckpointError: the weights do not fit."
    )
    build.__signature__ = inspect.Signature([first, *own])  # type: ignore[attr-defined]
    return build
