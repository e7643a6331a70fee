"""Several processes (ranks) that train one net: who they are, and the few things they say to each other.

``torchrun`` starts them and puts RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT into their environment;
without these there is one rank and nothing here does anything. Gradients go through torch's DistributedDataParallel,
over NCCL between GPUs and over gloo between CPUs. All else, which is little, goes over gloo, so that nobody has to wait
for a GPU, and sums are exact: whole numbers, or `math.fsum` of one float64 a rank.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import math
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from ..errors import ConfigError, DistributedError, SnncoreError

__all__ = ["Ranks", "connected", "seed_rank", "unused_parameters", "wrap"]

T = TypeVar("T")
_NEEDED = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Ranks:
    """The ranks of a run, seen from one of them. The methods are collective: every rank has to call them.

    Args:
        rank: this one, from 0. Rank 0 alone writes files and talks.
        size: how many there are.
        local_rank: this one among those of its machine; it uses the GPU of this number.
        device: where tensors for them must be; not a GPU unless the program made a group of NCCL alone.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes and talks."""
        return self.rank == 0

    def gather(self, mine: T) -> list[T]:
        """Return what every rank gives, in their order; plain values and tensors on the CPU."""
        if self.size == 1:
            return [mine]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, mine)
        return found

    def from_first(self, make: Callable[[], T]) -> T:
        """Return what ``make`` gives on rank 0, where alone it is called.

        Raises:
            DistributedError: it raised an error of this library, which rank 0 itself raises as it is.
        """
        if self.size == 1:
            return make()
        box: list[Any] = [None, None]
        if self.first:
            try:
                box[0] = make()
            except SnncoreError as error:
                dist.broadcast_object_list([None, str(error)], src=0)
                raise
        dist.broadcast_object_list(box, src=0)
        if box[1] is not None:
            raise DistributedError(f"rank 0 stopped, and so do the others; it says: {box[1]}")
        return box[0]  # type: ignore[no-any-return]

    def total(self, count: int) -> int:
        """Return the sum over all ranks."""
        return sum(self.gather(count))

    def total_float(self, value: float) -> float:
        """Return the sum over all ranks, rounded once, so the order of the ranks does not matter."""
        return math.fsum(self.gather(value)) if self.size > 1 else value

    def any(self, flag: bool) -> bool:
        """Return whether any rank says yes."""
        if self.size == 1:
            return flag
        said = torch.tensor(int(flag), device=self.device)
        dist.all_reduce(said, dist.ReduceOp.MAX)
        return bool(said)

    def merge_counts(self, counts: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
        """Return the sums of pairs of counts under the same name."""
        whole: dict[str, tuple[int, int]] = {}
        for part in self.gather(dict(counts)):
            for name, (a, b) in part.items():
                before = whole.get(name, (0, 0))
                whole[name] = (before[0] + a, before[1] + b)
        return whole

    def part(self, n: int) -> slice:
        """Return this rank's part of ``n`` things in a row; the first ranks get one more where it does not divide."""
        low, more = divmod(n, self.size)
        start = self.rank * low + min(self.rank, more)
        return slice(start, start + low + (self.rank < more))

    def share(self, batch_size: int, who: str = "data.batch_size (--batch-size)") -> int:
        """Return the samples of a full batch that each rank gets.

        Raises:
            ConfigError: the batch does not divide.
        """
        if batch_size % self.size:
            near = max(round(batch_size / self.size), 1) * self.size
            raise ConfigError(
                f"{who}: must be a multiple of the {self.size} ranks that share each batch, got {batch_size}; use "
                f"{near}, or another --nproc-per-node"
            )
        return batch_size // self.size


def _environment() -> tuple[int, int, int]:
    """Return rank, size and local rank as the environment says."""
    size = os.environ.get("WORLD_SIZE", "1")
    if size in ("", "1"):
        return 0, 1, 0
    absent = [name for name in _NEEDED if not os.environ.get(name)]
    try:
        if absent:
            raise ValueError
        return int(os.environ["RANK"]), int(size), int(os.environ["LOCAL_RANK"])
    except ValueError:
        got = f"without {', '.join(absent)}" if absent else "with a RANK or LOCAL_RANK that is no number"
        raise ConfigError(
            f"environment: must be as torchrun sets it, got WORLD_SIZE={size} {got}; start with torchrun "
            "--nproc-per-node N -m snncore.cli.train ..., or unset WORLD_SIZE"
        ) from None


@contextlib.contextmanager
def connected(device: str, timeout_s: float) -> Iterator[Ranks]:
    """Connect the ranks that the environment names, for the length of a ``with`` block.

    Args:
        device: ``train.device``: ``cpu`` means gloo, anything else NCCL if there is a GPU.
        timeout_s: how long a rank waits for another before it gives up.

    Raises:
        ConfigError: the environment is not one of torchrun.
        DistributedError: another rank failed, or did not answer in time.
    """
    rank, size, local_rank = _environment()
    if size == 1:
        yield Ranks()
        return
    limit = timedelta(seconds=timeout_s)
    on_gpu = device != "cpu" and torch.cuda.is_available()
    mine = not dist.is_initialized()  # otherwise the program set it up, and will take it down
    with _readable(rank, timeout_s):
        if mine:
            if on_gpu:
                torch.cuda.set_device(_gpu(local_rank))
            backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
            dist.init_process_group(backend, store=_store(limit), rank=rank, world_size=size, timeout=limit)
        try:
            yield Ranks(rank, size, local_rank, "cuda" if dist.get_backend() == "nccl" else "cpu")
        except BaseException:
            if mine and not on_gpu:  # NCCL might wait for a rank that is no more
                _take_down(mine)
            raise
        dist.barrier()  # nobody hangs up while another one still listens
        _take_down(mine)


def _store(limit: timedelta) -> Any:
    """Return the store over which the ranks find each other.

    torchrun's own outlives a restart of the ranks, with the addresses of their last lives in it; so each life has a
    corner of its own.
    """
    store, _, _ = next(iter(rendezvous("env://", timeout=limit)))
    return PrefixStore(f"snncore/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def _take_down(mine: bool) -> None:
    """End the process group, if it is ``mine``, after the last wrapper that holds on to it.

    A wrapper that is left to the end of the process may end it with an abort, or never.
    """
    gc.collect()
    if mine and dist.is_initialized():
        with contextlib.suppress(RuntimeError):
            dist.destroy_process_group()


def _gpu(local_rank: int) -> int:
    there = torch.cuda.device_count()
    if local_rank >= there:
        raise ConfigError(
            f"torchrun --nproc-per-node: must be at most the {there} GPUs of this machine, got local rank "
            f"{local_rank}; use --nproc-per-node {there}, or --device cpu"
        )
    return local_rank


@contextlib.contextmanager
def _readable(rank: int, timeout_s: float) -> Iterator[None]:
    """Turn what torch says when another rank is gone into one line."""
    try:
        yield
    except SnncoreError:
        raise
    except RuntimeError as error:  # torch's DistError, and gloo's own
        text = str(error)
        signs = ("gloo", "nccl", "connection", "timed out", "timeout", "peer", "store")
        if not isinstance(error, dist.DistError) and not any(sign in text.lower() for sign in signs):
            raise
        reason = text.strip().splitlines()[0][:200] if text.strip() else type(error).__name__
        raise DistributedError(
            f"rank {rank}: must hear from all other ranks within {timeout_s:g} s, and one of them failed or did not "
            f"answer ({reason}); its own message says why. Then go on with --resume"
        ) from error


def seed_rank(seed: int, ranks: Ranks) -> None:
    """Give every rank but the first random numbers of its own (dropout, noise), made of the seed and its number.

    Call it when the net is built: its weights are drawn from the same numbers everywhere.
    """
    if ranks.first:
        return
    words = np.random.SeedSequence(seed, spawn_key=(2, ranks.rank)).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    torch.manual_seed(int(words[2]))


def unused_parameters(net: nn.Module, loss_of: Callable[[nn.Module], torch.Tensor]) -> list[str]:
    """Return the names of the parameters that get no gradient, tried on a copy of ``net``; nothing else changes.

    Args:
        net: in the mode it will be trained in.
        loss_of: returns the loss of the net it is given, on some samples.
    """
    devices = [p.device for p in net.parameters() if p.device.type == "cuda"][:1]
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices):
        trial = copy.deepcopy(net)
        loss_of(trial).backward()  # type: ignore[no-untyped-call]
    random.setstate(states[0])
    np.random.set_state(states[1])
    return [name for name, p in trial.named_parameters() if p.requires_grad and p.grad is None]


def wrap(net: nn.Module, ranks: Ranks, unused: Sequence[str]) -> nn.Module:
    """Return ``net`` so that its gradients are averaged over all ranks; ``net`` itself if there is only one.

    The weights of rank 0 are given to all. Buffers (of batch norms, say) are those of rank 0 before every step.
    """
    if ranks.size == 1 or not any(p.requires_grad for p in net.parameters()):
        return net
    device = next(net.parameters()).device
    if device.type == "cuda":
        return nn.parallel.DistributedDataParallel(net, [device.index], find_unused_parameters=bool(unused))
    return _OnCpu(net, find_unused_parameters=bool(unused))


class _OnCpu(nn.parallel.DistributedDataParallel):
    def _passing_sync_batchnorm_handle(self, module: nn.Module) -> None:
        """Let every batch norm pass: torch's own synchronised one cannot run on a CPU, `snncore.layer`'s can."""
