"""The training loop, on one page."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from torch import nn
from torch.optim import Optimizer

from ..config import dump_yaml, to_dict
from ..data import Batches, Dataset
from ..errors import CheckpointError, SnncoreError
from ..metric import FiringRate, hits
from ..metric.sop import Report
from ..registry import lookup
from . import checkpoint, folder, report
from .build import Parts, absolute, build_net, load_parts, set_up_process
from .config import Config
from .energy import count_operations
from .evaluate import Score, evaluate, forward
from .files import remove_leftovers, replace_file, sole_user
from .log import RunLog, progress_bar
from .loss import LOSSES
from .optim import learning_rate, make_optimizer, set_learning_rate
from .position import Position
from .report import Result, Speed
from .stop import Stopped, StopSignal

__all__ = ["fit"]


def fit(config: Config, sources: Mapping[str, str] | None = None) -> Result:
    """Train as ``config`` says, in a folder of its own, and return what was reached.

    SIGINT (Ctrl-C) ends the run after the step at hand with a checkpoint from which it goes on bit for bit; the result
    then has ``interrupted`` set.

    Args:
        config: a whole configuration, from `resolve`.
        sources: where its values came from, for the notes in config.yaml.

    Raises:
        ConfigError, ArgumentError, DataError: something in the configuration cannot be used; no folder is made then.
        CheckpointError: a checkpoint cannot be read or written.
    """
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, root=absolute(config.data.root)))
    machine = set_up_process(config.train)
    resumed = folder.find(config)
    content = checkpoint.load(resumed) if resumed else None
    if resumed and content:
        folder.check_unchanged(resumed, content, config)
    parts = load_parts(config.data, config.train.seed, machine.device)
    net = build_net(config, parts.train.in_shape, parts.train.num_classes).to(machine.device)
    optimizer = make_optimizer(net.parameters(), config.optim)
    position = Position()
    if resumed and content:
        position = Position(**checkpoint.restore(resumed, net, optimizer, content))
        content = None  # its copy of all weights is not needed while training
    path = resumed.parent if resumed else folder.new_folder(config)
    run = _Run(config, parts, net, optimizer, position, path)
    return run.go(lambda: report.opening(config, machine, parts, net, path, resumed, position), sources)


class _Run:
    """What one run consists of; its methods are the loop."""

    def __init__(
        self, config: Config, parts: Parts, net: nn.Module, optimizer: Optimizer, position: Position, path: Path
    ) -> None:
        self.config = config
        self.parts = parts
        self.net = net
        self.optimizer = optimizer
        self.position = position
        self.path = path
        # what may be another thing next time is not part of what is kept
        kept = dataclasses.replace(config, train=dataclasses.replace(config.train, resume=None, name=None))
        self.kept_config = kept
        self.log = RunLog(path, tensorboard=config.train.tensorboard, lines=position.lines, epoch=position.epoch)
        self.stop = StopSignal()
        self.epoch_speed, self.train_speed, self.test_speed = Speed(), Speed(), Speed()

    def go(self, opening: Callable[[], Iterable[str]], sources: Mapping[str, str] | None) -> Result:
        """Train until the last epoch is done, or until asked to stop, in a folder that no other process is using."""
        try:
            with sole_user(self.path) as free:
                if not free:
                    raise CheckpointError(
                        f"{self.path}: must be used by one process at a time, and another one is training in it; wait "
                        "for it, or start a new run without --resume"
                    )
                return self.go_alone(opening, sources)
        except OSError as error:  # a log, say; a checkpoint has its own message
            raise CheckpointError(
                f"{self.path}: must be writable, got: {error.strerror}; make room, then go on with --resume {self.path}"
            ) from error

    def go_alone(self, opening: Callable[[], Iterable[str]], sources: Mapping[str, str] | None) -> Result:
        """Train until the last epoch is done, or until asked to stop."""
        p, epochs = self.position, self.config.train.epochs
        remove_leftovers(self.path)
        with self.log, self.stop:
            text = dump_yaml(self.kept_config, sources)
            replace_file(self.path / folder.CONFIG, lambda file: file.write(text.encode()))
            for line in opening():
                self.log.say(line)
            self.save(folder.LAST)  # from here on there is always one to go on from
            try:
                while p.epoch < epochs:
                    self.train_epoch()
                    self.end_epoch()
                result = self.measure()
            except Stopped:
                if p.epoch < epochs:
                    self.save(folder.LAST)
                result = Result(self.path, interrupted=True, epochs=p.epoch, best_epoch=p.best_epoch)
            for line in report.closing(result, self.parts):
                self.log.say(line)
        return result

    def train_epoch(self) -> None:
        """Train from the position to the end of its epoch."""
        c, p, data = self.config, self.position, self.parts.train
        loss_of = lookup(LOSSES, c.train.loss, "train.loss")
        batches = Batches(data, c.data.batch_size, shuffle=True, seed=c.train.seed, epoch=p.epoch, start=p.step)
        steps = len(batches)
        self.net.train()
        began, seen = time.perf_counter(), p.seen
        with progress_bar(len(data), p.seen, f"epoch {p.epoch + 1}/{c.train.epochs}") as bar:
            for x, label in batches:
                p.lr = learning_rate(c.optim, c.train.epochs, p.epoch, p.step, steps)
                set_learning_rate(self.optimizer, p.lr)
                spike_seq = forward(self.net, x, c)
                loss = loss_of(spike_seq, label)
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                self.optimizer.step()
                p.add(loss.detach(), hits(spike_seq, label), len(label))  # stays on the device: no waiting
                bar.update(len(label))
                if c.train.save_every_steps and (p.epoch * steps + p.step) % c.train.save_every_steps == 0:
                    self.save(folder.LAST)
                self.stop.check()
        p.to_dict()  # waits for the device, so that the time is that of the work
        self.epoch_speed = self.train_speed.add(p.seen - seen, time.perf_counter() - began)

    def end_epoch(self) -> None:
        """Evaluate, write the epoch's line, move on to the next epoch, and save."""
        p = self.position
        score = self.evaluate(self.parts.val or self.parts.test)
        split = (self.parts.val or self.parts.test).split
        record = report.epoch_record(p, score, split, self.epoch_speed)
        is_best = p.next_epoch(score.accuracy)
        self.log.metrics(record)
        p.lines = self.log.lines
        self.log.say(report.epoch_line(record, self.config.train.epochs, split, p))
        if not math.isfinite(record["train_loss"]):
            self.log.say(f"the train loss is {record['train_loss']}: a lower --lr may help")
        if is_best:  # before last.pt, which must never tell of a best.pt that is not there
            self.save(folder.BEST)
        self.save(folder.LAST)

    def measure(self) -> Result:
        """Measure the last weights and the best ones on the test set, and how often the neurons of the best fire."""
        p = self.position
        last = p.latest if self.parts.val is None else self.evaluate(self.parts.test).accuracy
        best_path = self.path / folder.BEST
        checkpoint.load_weights(best_path, self.net, checkpoint.load(best_path))
        with FiringRate(self.net) as rate:
            best = self.evaluate(self.parts.test).accuracy
        result = Result(
            folder=self.path,
            interrupted=False,
            epochs=p.epoch,
            best_epoch=p.best_epoch,
            test_accuracy=best,
            last_test_accuracy=last,
            firing_rate=rate.compute(),
            train_images_per_s=self.train_speed.images_per_s,
            test_images_per_s=self.test_speed.images_per_s,
            energy=self.energy(),
        )
        self.log.metrics(report.final_record(result))
        return result

    def energy(self) -> Report | None:
        """Count the operations of the present weights on some of the test set, and write energy.json."""
        path = self.path / folder.ENERGY
        path.unlink(missing_ok=True)  # of a run that went on since
        if not self.config.energy.samples:
            return None
        try:
            found = count_operations(self.net, self.parts.test, self.config, each_batch=self.stop.check)
        except SnncoreError as error:  # a figure that cannot be had is no reason to lose a trained net
            self.log.say(f"operations and energy were not counted: {error}")
            return None
        replace_file(path, lambda file: file.write(found.to_json().encode()))
        return found

    def evaluate(self, data: Dataset) -> Score:
        """Return the score of the present weights on ``data``."""
        score = evaluate(self.net, data, self.config, self.stop, data.split)
        self.test_speed.add(score.count, score.seconds)
        return score

    def save(self, name: str) -> None:
        """Write the checkpoint ``name`` of the present position."""
        checkpoint.save(self.path / name, self.net, self.optimizer, self.position.to_dict(), to_dict(self.kept_config))
