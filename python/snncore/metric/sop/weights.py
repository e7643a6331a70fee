"""Which tensors of a running net are weights, and what is known of their zeros."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_leaves

__all__ = ["Weights"]


def _storage(t: Tensor) -> torch.UntypedStorage | None:
    """Return the storage of ``t``; None for a tensor that has none (sparse, batched by vmap)."""
    try:
        return t.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return None


class _Storages:
    """A set of storages by identity, which does not keep them alive.

    A storage's own address names it, not that of its data: an address cannot be taken again while a weak reference to
    the storage exists, whereas memory is reused as soon as it is freed (and empty tensors all lie at 0).
    """

    def __init__(self) -> None:
        self._refs: dict[int, StorageWeakRef] = {}

    def add(self, storage: torch.UntypedStorage) -> None:
        self._refs[storage._cdata] = StorageWeakRef(storage)  # type: ignore[no-untyped-call]

    def __contains__(self, storage: torch.UntypedStorage) -> bool:
        return storage._cdata in self._refs

    def forget_freed(self) -> None:
        if self._refs:
            self._refs = {k: ref for k, ref in self._refs.items() if not ref.expired()}  # type: ignore[no-untyped-call]


class _Facts:
    """What was found out about the tensors of one storage, valid while its content stays."""

    def __init__(self, storage: torch.UntypedStorage, version: int | None) -> None:
        self.ref = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
        self.version = version
        self.known: dict[Hashable, Any] = {}


class Weights:
    """The parameters and buffers of a net, views of them, and what is computed from them and nothing else.

    The last takes in autocast's copies, masked weights (``torch.nn.utils.prune``) and parametrizations. It needs a
    parameter among its sources: a buffer may also hold a state, say the spikes of the step before.

    Attributes:
        writes: how often something was found to be written to of which a fact was known.
    """

    def __init__(self, net: nn.Module) -> None:
        self._net = net
        self.writes = 0
        self.read()

    def read(self) -> None:
        """Take the parameters and buffers that the net has now, and forget all else."""
        self._parameters, self._buffers, self._derived = _Storages(), _Storages(), _Storages()
        self._facts: dict[int, _Facts] = {}
        self.read_again()

    def read_again(self) -> None:
        """Add the parameters and buffers that the net has now."""
        for tensors, to in ((self._net.parameters(), self._parameters), (self._net.buffers(), self._buffers)):
            for t in tensors:
                storage = _storage(t)
                if storage is not None:
                    to.add(storage)

    def __contains__(self, t: object) -> bool:
        storage = _storage(t) if isinstance(t, Tensor) else None
        if storage is None:
            return False
        return storage in self._parameters or storage in self._derived or storage in self._buffers

    def learned(self, t: Tensor) -> bool:
        """Return whether ``t`` is a parameter or computed from one, not a mere buffer."""
        storage = _storage(t)
        return storage is not None and (storage in self._parameters or storage in self._derived)

    def derive(self, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        """Make ``out`` a weight if all tensors among the arguments are, and one of them is more than a buffer."""
        first = args[0] if args else None
        if (first[0] if isinstance(first, (list, tuple)) and first else first) not in self:
            return  # most operators, after one look
        sources = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        if all(t in self for t in sources) and any(self.learned(t) for t in sources):
            for t in tree_leaves(out):
                storage = _storage(t) if isinstance(t, Tensor) else None
                if storage is not None and storage not in self._parameters:
                    self._derived.add(storage)

    def forget_freed(self) -> None:
        """Drop what is known of storages that no longer exist."""
        self._derived.forget_freed()
        if any(f.ref.expired() for f in self._facts.values()):  # type: ignore[no-untyped-call]
            self._facts = {k: f for k, f in self._facts.items() if not f.ref.expired()}  # type: ignore[no-untyped-call]

    def written(self, args: Any) -> None:
        """Forget the facts about every tensor of ``args``: an operator has just written to one of them."""
        if not self._facts:
            return
        for t in tree_leaves(args):
            storage = _storage(t) if isinstance(t, Tensor) else None
            if storage is not None:
                self.writes += self._facts.pop(storage._cdata, None) is not None

    def fact(self, weight: Tensor, key: Hashable, find: Callable[[], Any]) -> Any:
        """Return ``find()``, or what it returned before for this ``key`` and content of ``weight``.

        A new content shows in three ways: a new storage, a new version (in-place operators of any thread), and
        ``written`` (in-place operators on ``weight.data``, which count no versions).
        """
        storage = weight.untyped_storage()
        version = None if weight.is_inference() else weight._version
        facts = self._facts.get(storage._cdata)
        if facts is None or facts.ref.expired() or facts.version != version:  # type: ignore[no-untyped-call]
            facts = self._facts[storage._cdata] = _Facts(storage, version)
        key = (key, weight.storage_offset(), tuple(weight.shape), weight.stride())
        if key not in facts.known:
            facts.known[key] = find()
        return facts.known[key]
