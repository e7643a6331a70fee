"""``fit``: a configuration becomes a task, and a `Loop` trains it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..config import dump_yaml, to_dict
from ..layer import convert_sync_batchnorm
from ..metric import hits
from ..metric.sop import Report
from . import checkpoint, folder, report
from .augment import make_mix
from .build import Machine, Parts, absolute, build_net, check_sizes, load_parts, set_up_process
from .compiling import check_backend
from .config import Config
from .distributed import Ranks, connected
from .ema import make_average
from .energy import count_operations
from .evaluate import forward
from .loop import Loop
from .loss import make_loss
from .optim import make_optimizer, parameter_groups
from .position import Position
from .recompute import make_checkpointing
from .regularise import make_penalty
from .report import Result
from .schedule import learning_rate, set_learning_rate
from .sharded import check_fsdp, is_sharded, shard
from .shares import check_repeats, set_batches
from .task import Batch, Plan, Task, main_class, top, widened
from .without_effect import without_effect

__all__ = ["ConfigTask", "fit"]


def fit(config: Config, sources: Mapping[str, str] | None = None) -> Result:
    """Train as ``config`` says, in a folder of its own, and return what was reached.

    SIGINT (Ctrl-C) ends the run after the step at hand with a checkpoint from which it goes on bit for bit; the result
    then has ``interrupted`` set. Started by ``torchrun``, its processes train one net together: they share each batch
    of ``data.batch_size`` samples, and all of them return the same result, but for the energy, which rank 0 has.

    Args:
        config: a whole configuration, from `resolve`.
        sources: where its values came from, for the notes in config.yaml.

    Raises:
        ConfigError, ArgumentError, DataError: something in the configuration cannot be used; no folder is made then.
        CheckpointError: a checkpoint cannot be read or written.
        DistributedError: another rank failed, or did not answer in time.
    """
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, root=absolute(config.data.root)))
    with connected(config.train.device, config.train.rank_timeout) as ranks:
        ranks.share(config.data.batch_size)
        check_repeats(config.data.ra_reps, ranks)
        machine = set_up_process(config.train, ranks)
        resumed = ranks.from_first(lambda: _found(config))
        task = ConfigTask(config, sources, machine, ranks)
        path = resumed.parent if resumed else ranks.from_first(lambda: folder.new_folder(config))
        return Loop(task, _plan(config), ranks, path, resumed).go()


def _found(config: Config) -> Path | None:
    """Return the checkpoint to go on from, which is whole and of these settings."""
    path = folder.find(config)
    if path:
        folder.check_unchanged(path, checkpoint.load(path), config)
    return path


def _plan(c: Config) -> Plan:
    t = c.train
    return Plan(
        epochs=t.epochs,
        batch_size=c.data.batch_size,
        seed=t.seed,
        save_every_steps=t.save_every_steps,
        save_every_epochs=t.save_every_epochs,
        keep=t.keep,
        grad_accum=t.grad_accum,
        clip_grad_norm=t.clip_grad_norm,
        clip_grad_value=t.clip_grad_value,
        check_gradients=t.check_gradients,
        fp16=t.amp == "fp16",
        unused_parameters=t.unused_parameters,
        compile=t.compile,
        compile_backend=t.compile_backend,
        tensorboard=t.tensorboard,
    )


class ConfigTask(Task):
    """What a `Config` says: images of the tables with their transforms, a net of the tables, a loss on its spikes."""

    def __init__(
        self, config: Config, sources: Mapping[str, str] | None, machine: Machine, ranks: Ranks | None = None
    ) -> None:
        ranks = ranks or Ranks()
        self.config = config
        # what may be another thing next time is not part of what is kept
        self.kept = dataclasses.replace(config, train=dataclasses.replace(config.train, resume=None, name=None))
        self.sources = sources
        self.machine = machine
        if config.train.compile:
            check_backend(config.train.compile_backend, machine.device)
        self.parts: Parts = load_parts(config.data, config.train.seed, machine.device)
        check_sizes(config, self.parts)
        net = build_net(config, self.parts.train.in_shape, self.parts.train.num_classes)
        net = convert_sync_batchnorm(net) if config.train.sync_bn else net
        if config.train.parallel == "fsdp" and ranks.size > 1:
            check_fsdp(config.train.amp, config.train.compile)
            self.net = shard(net, ranks, machine.device)
        else:
            self.net = net.to(machine.device)
        self.optimizer = make_optimizer(parameter_groups(self.net, config.optim), config.optim)
        self.loss_of = make_loss(config.train)
        self.penalty = make_penalty(self.net, config.train)
        self.checkpointing = make_checkpointing(self.net, config.train.checkpoint_activations, config.train.compile)
        self.average = make_average(self.net, config.train, config.data.batch_size)
        self.test_name = "validation" if self.parts.val else "test"
        self.test_source = self.parts.test.source
        self.classes = self.parts.train.num_classes
        self.mix = make_mix(config.data, config.train.loss, self.loss_of, self.classes)

    def settings(self) -> dict[str, Any]:
        """Return the configuration, nested."""
        return to_dict(self.kept)

    def settings_file(self) -> str:
        """Return the configuration as YAML, each value with its source."""
        return dump_yaml(self.kept, self.sources)

    def _set(self, part: str) -> Any:
        return {"train": self.parts.train, "validation": self.parts.val, "test": self.parts.test}[part]

    def count(self, part: str) -> int:
        """Return the samples of a part."""
        data = self._set(part)
        return len(data) if data else 0

    def batches(self, part: str, ranks: Ranks, epoch: int = 0, start: int = 0) -> Iterator[Batch | None]:
        """Yield batches of images and labels, mixed and repeated as asked for while training."""
        c, train = self.config, part == "train"
        return set_batches(
            self._set(part),
            c.data.batch_size,
            ranks,
            train=train,
            seed=c.train.seed,
            epoch=epoch,
            start=start,
            mix=self.mix if train else None,
            repeats=c.data.ra_reps if train else 1,
            workers=c.data.workers,
            even=is_sharded(self.net),
        )

    def train_output(self, model: nn.Module, x: Tensor) -> Tensor:
        """Return the spikes of the output, [T, B, classes]."""
        return forward(model, x, self.config)

    @contextmanager
    def training(self) -> Iterator[None]:
        """Collect firing rates; around all epochs, since a compiled net has the hooks it had when it was compiled."""
        with self.checkpointing, self.penalty:
            yield

    def test_output(self, x: Tensor) -> Tensor:
        """Return likewise."""
        return forward(self.net, x, self.config)

    def train_loss(self, output: Tensor, label: Tensor) -> Tensor:
        """Return the loss that the configuration names, and what firing rates beyond their bounds add to it."""
        return self.loss_of(output, widened(label, output.shape[-1])) + self.penalty.penalty()

    def test_loss(self, output: Tensor, label: Tensor) -> Tensor:
        """Return the same."""
        return self.loss_of(output, label)

    def correct(self, output: Tensor, label: Tensor) -> Tensor:
        """Count by spikes; of a mixed sample the greater share is its class."""
        label = main_class(label)
        return torch.stack((hits(output, label), top(output.sum(0, dtype=torch.float32), label, 5)))

    def set_learning_rate(self, at: Position, steps: int) -> float:
        """Follow the schedule, a function of the position."""
        lr = learning_rate(self.config.optim, self.config.train.epochs, at.epoch, at.step, steps)
        set_learning_rate(self.optimizer, lr)
        return lr

    def opening(self, path: Path, resumed: Path | None, at: Position, ranks: Ranks) -> Iterator[str]:
        """Say what the run is made of."""
        yield from report.opening(self.config, self.machine, self.parts, self.net, path, resumed, at, ranks)
        yield from without_effect(self.config, self.sources or {}, ranks.size, resumed and resumed.parent)

    def after_step(self, at: Position) -> None:
        """Move the averaged weights."""
        if self.average:
            self.average.after_step(self.net, at.step - 1, at.epoch < self.config.optim.warmup_epochs)

    def others(self) -> dict[str, Callable[[], AbstractContextManager[None]]]:
        """Return the averaged weights."""
        average = self.average
        return {"ema": lambda: average.applied(self.net)} if average else {}

    def state(self) -> dict[str, Any]:
        """Return the averaged weights."""
        return {"ema": self.average.state_dict()} if self.average else {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take them back."""
        if self.average:
            self.average.load_state_dict(state.get("ema", {}))

    def energy(self, check: Callable[[], None]) -> Report | None:
        """Count on a part of the test set."""
        if not self.config.energy.samples:
            return None
        return count_operations(self.net, self.parts.test, self.config, each_batch=check)
