"""Checkpoints: everything a run needs to go on as if it had never stopped, in one file that is whole or not there.

A checkpoint is a dict of plain values and tensors, so ``torch.load(path, weights_only=True)`` reads it. Its keys:

    format     version of this layout
    config     the merged configuration, nested
    model      state_dict of the net
    optimizer  state_dict of the optimiser (the learning rate is a function of the position and has no state)
    position   epoch (from 0), step (steps done in it), sums of the running epoch, best score, lines of metrics.jsonl
    ranks      for each rank: states of Python's, NumPy's and torch's generators, and its own sums of the running epoch
    scaler     state_dict of the loss scaler; empty without one
    extra      what else the task keeps: a scheduler, averaged weights
    weights    only where ``model`` is not what is trained: what it is, as "ema"; such a one is to be used, not resumed

Format 1, which knew one rank only, is read too: it has ``rng`` instead of the last three.
"""

from __future__ import annotations

import pickle
import random
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from ..errors import CheckpointError
from .files import replace_file
from .sharded import like, optimizer_like

__all__ = ["load", "load_weights", "restore", "restore_rng", "rng_state", "save"]

FORMAT = 2
_KEYS = {"format", "config", "model", "optimizer", "position"}
_SUMS = ("loss_sum", "correct", "correct5")


def save(
    path: Path,
    model: Mapping[str, Any],
    optimizer: Mapping[str, Any],
    position: Mapping[str, Any],
    config: dict[str, Any],
    *,
    ranks: Sequence[Mapping[str, Any]] = (),
    scaler: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
    weights: str | None = None,
) -> None:
    """Write a checkpoint to ``path``, replacing an older one only once the new one is safe on the disk.

    Args:
        path: the file.
        model: the state_dict of the net, whole.
        optimizer: that of the optimiser.
        position: plain values and tensors only.
        config: ``to_dict`` of the configuration.
        ranks: what each rank alone knows; by default there is one, and ``rng`` is all it knows.
        scaler: state of the loss scaler.
        extra: further plain values and tensors.
        weights: what ``model`` is, if it is not what is trained.

    Raises:
        CheckpointError: it cannot be written; what ``path`` held before is still there.
    """
    content = {
        "format": FORMAT,
        "config": config,
        "model": dict(model),
        "optimizer": dict(optimizer),
        "position": dict(position),
        "ranks": [dict(own) for own in ranks] or [{"rng": rng_state()}],
        "scaler": dict(scaler or {}),
        "extra": dict(extra or {}),
        **({"weights": weights} if weights else {}),
    }
    try:
        replace_file(path, lambda file: torch.save(content, file))
    except (OSError, RuntimeError) as error:  # torch's zip writer turns some write errors into RuntimeError
        kept = "the checkpoint written before it is unharmed" if path.exists() else "no earlier one is there"
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise CheckpointError(
            f"{path}: must be writable, got: {reason} ({kept}); make room or give another folder, then go on with "
            f"--resume {path.parent}"
        ) from error


def load(path: Path) -> dict[str, Any]:
    """Return the content of the checkpoint ``path``, tensors on the CPU. Runs no code from the file.

    Raises:
        CheckpointError: it is not there, torn, damaged, or not a checkpoint of this library; says what to do.
    """
    do = "use another checkpoint of the run (best.pt, last.pt), or train anew"
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch itself does not look at the check sums
        if damaged is not None:
            raise CheckpointError(f"{path}: must be a whole checkpoint, got damaged content ({damaged}); {do}")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: must be a checkpoint, and there is no such file; check the path") from None
    except (
        zipfile.BadZipFile,
        EOFError,
        RuntimeError,
        pickle.UnpicklingError,
        ValueError,
        NotImplementedError,
    ) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise CheckpointError(
            f"{path}: must be a whole checkpoint, got a torn or foreign file ({reason}); {do}"
        ) from None
    except OSError as error:
        raise CheckpointError(
            f"{path}: must be readable, got: {error.strerror}; check the path and its rights"
        ) from None
    if not isinstance(content, dict) or not content.keys() >= _KEYS:
        raise CheckpointError(f"{path}: must be a checkpoint of snncore-train, got another kind of file; {do}")
    if content["format"] not in (1, FORMAT):
        raise CheckpointError(
            f"{path}: must have format 1 or {FORMAT}, got {content['format']!r}; read it with the snncore that wrote it"
        )
    if not content.keys() >= ({"rng"} if content["format"] == 1 else {"ranks", "scaler", "extra"}):
        raise CheckpointError(f"{path}: must be a checkpoint of snncore-train, got another kind of file; {do}")
    if content["format"] == 1:
        content |= {"ranks": [{"rng": content.pop("rng")}], "scaler": {}, "extra": {}}
    return content


def load_weights(path: Path, net: nn.Module, content: Mapping[str, Any]) -> None:
    """Put the weights of the checkpoint ``content`` (read from ``path``) into ``net``.

    Raises:
        CheckpointError: names or shapes are not those of ``net``.
    """
    try:
        net.load_state_dict(like(content["model"], net.state_dict()))
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise CheckpointError(
            f"{path}: must hold the weights of this net, got others ({first}); build the net with the settings in "
            f"{path.parent / 'config.yaml'}"
        ) from None


def restore(
    path: Path, net: nn.Module, optimizer: Optimizer, content: Mapping[str, Any], rank: int = 0, size: int = 1
) -> dict[str, Any]:
    """Put ``content`` back into ``net``, ``optimizer`` and the random generators, and return the position of a rank.

    If the run had as many ranks, each gets its random numbers and its sums back, so that it goes on bit for bit.
    Otherwise rank 0 gets the sums of all, and the generators stay as they are.

    Raises:
        CheckpointError: it is another net's or optimiser's, or the weights in it are not those that were trained.
    """
    if "weights" in content:
        raise CheckpointError(
            f"{path}: must hold the weights that were trained, got others ({content['weights']}) for use alone; go on "
            f"with --resume {path.parent} or one of its other checkpoints"
        )
    load_weights(path, net, content)
    try:
        optimizer.load_state_dict(optimizer_like(content["optimizer"], optimizer))
    except (ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path}: must hold the state of this optimiser, got another's ({error}); use the settings of that run"
        ) from None
    position, ranks = dict(content["position"]), content["ranks"]
    if len(ranks) == size:
        restore_rng(ranks[rank]["rng"])
        return position | {key: ranks[rank][key] for key in _SUMS if key in ranks[rank]}
    for key in _SUMS:
        position[key] = sum(own.get(key, 0) for own in ranks) if rank == 0 else 0
    return position


def rng_state() -> dict[str, Any]:
    """Return the states of all random generators as plain values and tensors."""
    name, keys, place, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": [
            str(name),
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(place),
            int(has_gauss),
            float(gauss),
        ],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_rng(state: Mapping[str, Any]) -> None:
    """Put the random generators into ``state``, made by `rng_state`."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
