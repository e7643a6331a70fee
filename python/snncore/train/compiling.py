"""``torch.compile`` of the net that is trained: in place, so that names, hooks' places and saved weights stay."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from ..errors import ConfigError
from ..registry import lookup

__all__ = ["check_backend", "compile_net", "readable", "uncompile"]


def check_backend(name: str, device: torch.device) -> None:
    """Raise unless the compiler ``name`` of torch is there, with what it needs to compile for ``device``.

    Raises:
        ConfigError: torch knows no such compiler, or inductor has no C++ compiler for a CPU.
    """
    known = torch.compiler.list_backends(exclude_tags=())
    lookup(dict.fromkeys(known), name, "--compile-backend")
    if name == "inductor" and device.type == "cpu":
        from torch._inductor.cpp_builder import get_cpp_compiler

        try:
            get_cpp_compiler()
        except RuntimeError as error:
            raise ConfigError(_told(error)) from None


def compile_net(net: nn.Module, backend: str = "inductor") -> None:
    """Let the calls of ``net`` itself go through ``torch.compile`` from now on, until `uncompile`.

    The module stays the same object with the same names in its ``state_dict``. Hooks on its parts are compiled too:
    those that come later are not seen.
    """
    net.compile(backend=backend)


def uncompile(net: nn.Module) -> None:
    """Let the calls of ``net`` run as they are written again."""
    net._compiled_call_impl = None


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """Turn what torch says when it cannot compile into one line.

    Raises:
        ConfigError: in place of any error of torch's compiler.
    """
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        raise ConfigError(_told(error)) from error


def _told(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = " ".join(lines[:2])[:300] if lines else type(error).__name__
    return (
        f"--compile: must have a net and a machine that torch.compile can work with, got: {reason}; for a CPU it needs "
        "a C++ compiler (g++, or what CXX names), for a GPU Triton: install it, or leave --compile out"
    )
