"""Every error that snncore raises on purpose.

    SnncoreError
    ├── ArgumentError (ValueError)      a value the caller passed cannot be used
    │   ├── UnknownNameError            a name that is not in a table; lists the names
    │   └── ConfigError                 a key or value of a configuration
    ├── StateError (RuntimeError)       kept neuron state does not fit this call
    ├── NumericError (ArithmeticError)  a number that training needs is not finite
    ├── EngineError (RuntimeError)      the kernel that was asked for cannot run this call
    ├── LibraryError (ImportError)      the compiled core or torch is absent, too old or broken
    ├── DataError (ValueError)          a data file is absent, damaged or not what it should be
    ├── CheckpointError (RuntimeError)  a checkpoint cannot be written, read or used here
    └── DistributedError (RuntimeError) another process of the run failed or did not answer

Messages have one form: ``who.argument: must be ..., got ...; do ...``.
"""

from __future__ import annotations

__all__ = [
    "ArgumentError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DistributedError",
    "EngineError",
    "LibraryError",
    "NumericError",
    "SnncoreError",
    "StateError",
    "UnknownNameError",
]


class SnncoreError(Exception):
    """Base of all errors raised by snncore on purpose."""


class ArgumentError(SnncoreError, ValueError):
    """A value passed by the caller cannot be used."""


class UnknownNameError(ArgumentError):
    """A name that is not in the table it was looked up in."""


class ConfigError(ArgumentError):
    """A key or a value of a configuration cannot be used."""


class StateError(SnncoreError, RuntimeError):
    """The state a neuron kept from an earlier step does not fit this call."""


class NumericError(SnncoreError, ArithmeticError):
    """A number that training needs, such as a gradient, is inf or nan."""


class EngineError(SnncoreError, RuntimeError):
    """The kernel that was asked for cannot run this call."""


class LibraryError(SnncoreError, ImportError):
    """torch or the compiled core is absent, too old, or does not load."""


class DataError(SnncoreError, ValueError):
    """A data file is absent, damaged, or not what it should be.

    Args:
        path: the file or folder the error is about.
        reason: what was expected and what was found.
        hint: what to do about it.
    """

    def __init__(self, path: object, reason: str, hint: str) -> None:
        super().__init__(f"{path}: {reason}; {hint}")
        self.path = path
        self.reason = reason
        self.hint = hint


class CheckpointError(SnncoreError, RuntimeError):
    """A checkpoint cannot be written, read, or used here."""


class DistributedError(SnncoreError, RuntimeError):
    """Another process of a distributed run failed, or did not answer in time."""
