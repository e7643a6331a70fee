"""The training loop: epochs, evaluations, checkpoints, one rank or many. What is trained is a `Task`."""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import CheckpointError, SnncoreError
from ..layer.sync_norm import without_statistics
from ..metric import FiringRate
from ..metric.sop import Report
from . import checkpoint, folder, report
from .compiling import readable, uncompile
from .distributed import Ranks, seed_rank
from .evaluate import Score, evaluate
from .files import remove_leftovers, replace_file, sole_user
from .log import RunLog, progress_bar
from .position import Position
from .report import Result, Speed
from .sharded import is_sharded, whole
from .shares import parts_of_batch
from .stepper import Stepper
from .stop import Stopped, StopSignal
from .task import Batch, Plan, Task
from .wrapping import wrapped

__all__ = ["Loop"]


class Loop:
    """One run of ``task`` in the folder ``path``; all ranks make one each, with the same arguments.

    Args:
        task: what is trained.
        plan: for how long, and how.
        ranks: who trains.
        path: the folder of the run; rank 0 writes there.
        resumed: the checkpoint to go on from; None: begin.
    """

    def __init__(self, task: Task, plan: Plan, ranks: Ranks, path: Path, resumed: Path | None) -> None:
        self.task, self.plan, self.ranks, self.path, self.resumed = task, plan, ranks, path, resumed
        seed_rank(plan.seed, ranks)
        self.model: nn.Module = task.net
        self.notes: list[str] = []
        self.stepper = Stepper(
            task.net,
            task.optimizer,
            fp16=plan.fp16,
            clip={"max_norm": plan.clip_grad_norm, "max_value": plan.clip_grad_value, "check": plan.check_gradients},
            ranks=ranks.size,
        )
        self.position = Position(epoch=0 if resumed else plan.start_epoch)
        for _ in range(self.position.epoch):
            task.after_epoch()
        if resumed:
            content = checkpoint.load(resumed)
            at = checkpoint.restore(resumed, task.net, task.optimizer, content, ranks.rank, ranks.size)
            self.position = Position(**at)
            self.stepper.load_state_dict(content["scaler"])
            task.load_state(content["extra"])
            saved = len(content["ranks"])
            if saved != ranks.size:
                self.notes.append(
                    f"{resumed.name} is of {saved} ranks and this run has {ranks.size}: it goes on with the same "
                    "batches, but sums in another order, and the random numbers of dropout and the like are others"
                )
        p = self.position
        self.log = RunLog(path, tensorboard=plan.tensorboard, lines=p.lines, epoch=p.epoch)
        self.stop = StopSignal(ranks.any, terminate=ranks.size > 1)
        self.epoch_speed, self.train_speed, self.test_speed = Speed(), Speed(), Speed()

    def go(self) -> Result:
        """Train until the last epoch is done, or until asked to stop, in a folder that no other run is using."""
        try:
            with sole_user(self.path) if self.ranks.first else nullcontext(True) as free:
                self.ranks.from_first(lambda: self._refuse_second(free))
                with self.log if self.ranks.first else nullcontext(), self.stop:
                    try:
                        return self.go_alone()
                    finally:
                        self.unwrap()
        except OSError as error:  # a log, say; a checkpoint has its own message
            raise CheckpointError(
                f"{self.path}: must be writable, got: {error.strerror}; make room, then go on with --resume {self.path}"
            ) from error

    def _refuse_second(self, free: bool) -> None:
        if not free:
            raise CheckpointError(
                f"{self.path}: must be used by one process at a time, and another one is training in it; wait "
                "for it, or start a new run without --resume"
            )

    def go_alone(self) -> Result:
        """Train until the last epoch is done, or until asked to stop."""
        p, epochs = self.position, self.plan.epochs
        if self.ranks.first:
            remove_leftovers(self.path)
            replace_file(self.path / folder.CONFIG, lambda file: file.write(self.task.settings_file().encode()))
        for line in [*self.task.opening(self.path, self.resumed, p, self.ranks), *self.notes]:
            self.say(line)
        self.save(folder.LAST)  # from here on there is always one to go on from
        self.model = wrapped(self.task, self.plan, self.ranks, self.say) if p.epoch < epochs else self.task.net
        self.stepper.model = self.model
        try:
            with readable() if self.plan.compile else nullcontext(), self.task.training():
                while p.epoch < epochs:
                    self.train_epoch()
                    self.end_epoch()
            self.unwrap()  # what measures looks at the parts of the net, which a compiled one does not show
            result = self.measure()
        except Stopped:
            if p.epoch < epochs:
                self.save(folder.LAST)
            result = Result(self.path, interrupted=True, epochs=p.epoch, best_epoch=p.best_epoch)
        for line in report.closing(result, self.task.test_source):
            self.say(line)
        return result

    def unwrap(self) -> None:
        """Let nothing of what was put around the net for the training outlive it."""
        uncompile(self.task.net)
        self.model = self.stepper.model = self.task.net

    def train_epoch(self) -> None:
        """Train from the position to the end of its epoch."""
        p, plan, task = self.position, self.plan, self.task
        samples = task.count("train")
        steps = -(-samples // plan.batch_size)
        self.model.train()
        began, seen = time.perf_counter(), p.seen
        self.task.optimizer.zero_grad(set_to_none=True)
        with self.bar(samples, p.seen, f"epoch {p.epoch + 1}/{plan.epochs}") as bar:
            for batch in task.batches("train", self.ranks, p.epoch, p.step):
                assert batch is not None
                p.lr = task.set_learning_rate(p, steps)
                self.train_step(batch)
                p.next_step(batch.total)
                task.after_step(p)
                bar.update(batch.total)
                if plan.save_every_steps and (p.epoch * steps + p.step) % plan.save_every_steps == 0:
                    self.save(folder.LAST)
                self.stop.check()
        p.sums()  # waits for the device, so that the time is that of the work
        self.epoch_speed = self.train_speed.add(p.seen - seen, time.perf_counter() - began)

    def train_step(self, batch: Batch) -> None:
        """Take one step of the optimiser: the gradient is that of the mean loss over the whole batch of all ranks."""
        task = self.task
        number = parts_of_batch(batch.total, self.plan.grad_accum, self.ranks.size)
        parts = zip(batch.x.tensor_split(number), batch.label.tensor_split(number), strict=True)
        for i, (x, label) in enumerate(parts):
            count = min(len(label), batch.count)
            with self.stepper.part(is_last=i == number - 1), nullcontext() if count else without_statistics(task.net):
                output = task.train_output(self.model, x)
                loss = task.train_loss(output, label)
                # ranks are averaged, but may have different numbers of samples
                self.stepper.backward(loss * (count * self.ranks.size / batch.total))
            if count:
                self.position.add(loss.detach(), task.correct(output.detach(), label), count)  # no waiting
        self.stepper.step()

    def end_epoch(self) -> None:
        """Evaluate, write the epoch's line, move on to the next epoch, and save."""
        p, name = self.position, self.task.test_name
        self.same_buffers()
        score = self.evaluate(name)
        others = {key: self.evaluate_other(key, name) for key in self.task.others()}
        record = report.epoch_record(p, self.totals(), score, others, name, self.epoch_speed, self.task.classes)
        skipped, self.stepper.skipped = self.stepper.skipped, 0
        if self.plan.fp16:
            record["skipped_steps"] = skipped
        is_best = p.next_epoch(score.accuracy)
        best_others = [key for key, other in others.items() if p.best_other(key, other.accuracy)]
        self.task.after_epoch()
        if self.ranks.first:
            self.log.metrics(record)
            p.lines = self.log.lines
        self.say(report.epoch_line(record, self.plan.epochs, name, p))
        if skipped:
            self.say(f"passed over: {skipped} of {record['steps']} steps, whose gradients overflowed float16")
        if not math.isfinite(record["train_loss"]):
            self.say(f"the train loss is {record['train_loss']}: a lower --lr may help")
        if is_best:  # before last.pt, which must never tell of a best.pt that is not there
            self.save(folder.BEST)
        for key in best_others:
            self.save(folder.best_name(key), key)
        if self.plan.save_every_epochs and p.epoch % self.plan.save_every_epochs == 0:
            self.save(folder.epoch_name(p.epoch))
            if self.ranks.first:
                folder.keep_newest(self.path, self.plan.keep)
        self.save(folder.LAST)

    def measure(self) -> Result:
        """Measure the last weights and the best ones on the test set, and how often the neurons of the best fire."""
        p, task = self.position, self.task
        last = p.latest if task.test_name == "test" else self.evaluate("test").accuracy
        others = {key: self.measure_best(folder.best_name(key)) for key in p.best_others}
        self.load_best(folder.BEST)
        with FiringRate(task.net) as rate:
            best = self.evaluate("test").accuracy
        counts = self.ranks.merge_counts(rate.counts())
        result = Result(
            folder=self.path,
            interrupted=False,
            epochs=p.epoch,
            best_epoch=p.best_epoch,
            test_accuracy=best,
            last_test_accuracy=last,
            firing_rate={name: fired / chances if chances else 0.0 for name, (fired, chances) in counts.items()},
            train_images_per_s=self.train_speed.images_per_s,
            test_images_per_s=self.test_speed.images_per_s,
            energy=self.energy(),
            others={key: (accuracy, int(p.best_others[key][1])) for key, accuracy in others.items()},
        )
        self.stop.check()
        if self.ranks.first:
            self.log.metrics(report.final_record(result))
        return result

    def load_best(self, name: str) -> None:
        """Put the weights of the checkpoint ``name`` of this run into the net."""
        checkpoint.load_weights(self.path / name, self.task.net, checkpoint.load(self.path / name))

    def measure_best(self, name: str) -> float:
        """Return the accuracy on the test set of the weights in the checkpoint ``name``."""
        self.load_best(name)
        return self.evaluate("test").accuracy

    def evaluate_other(self, key: str, part: str) -> Score:
        """Return the score of the further weights ``key``, which are those of rank 0."""
        with self.task.others()[key]():
            self.same_buffers()
            return self.evaluate(part, f"{key} {part}")

    def energy(self) -> Report | None:
        """Count the operations of the present weights on some of the test set, and write energy.json."""
        path = self.path / folder.ENERGY
        if not self.ranks.first:
            return None
        path.unlink(missing_ok=True)  # of a run that went on since
        if is_sharded(self.task.net):
            self.say(
                "operations and energy were not counted: one rank alone cannot run a sharded net; snncore-profile "
                f"{self.path} counts them"
            )
            return None
        try:
            found = self.task.energy(self.stop.check_here)
        except SnncoreError as error:  # a figure that cannot be had is no reason to lose a trained net
            self.say(f"operations and energy were not counted: {error}")
            return None
        except Stopped:  # the others hear of it at their next check
            return None
        if found is not None:
            text = found.to_json()
            replace_file(path, lambda file: file.write(text.encode()))
        return found

    def evaluate(self, part: str, title: str = "") -> Score:
        """Return the score of the present weights on ``part``."""
        with self.bar(self.task.count(part), 0, title or part) as bar:
            score = evaluate(self.task, part, self.ranks, self.stop, bar)
        self.test_speed.add(score.count, score.seconds)
        return score

    def totals(self) -> dict[str, float]:
        """Return the sums of the running epoch over all ranks."""
        mine = self.position.sums()
        loss = self.ranks.total_float(mine["loss_sum"])
        return {"loss_sum": loss, **{key: self.ranks.total(mine[key]) for key in ("correct", "correct5")}}

    def same_buffers(self) -> None:
        """Give every rank the buffers of rank 0, whose net is the one that is saved."""
        if self.ranks.size > 1:
            for buffer in self.task.net.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def save(self, name: str, of: str | None = None) -> None:
        """Write the checkpoint ``name`` of the present position, with the random numbers and sums of every rank.

        Its weights are the net's, or the further weights that the task calls ``of``.
        """
        own = {"rng": checkpoint.rng_state(), **self.position.sums()}
        everyone = self.ranks.gather(own)
        with self.task.others()[of]() if of else nullcontext():
            model = whole(_copied(self.task.net.state_dict()) if of else self.task.net.state_dict())
        optimizer = whole(self.task.optimizer.state_dict())
        extra = whole(self.task.state())
        if self.ranks.first:
            checkpoint.save(
                self.path / name,
                model,
                optimizer,
                self.position.to_dict(),
                self.task.settings(),
                ranks=everyone,
                scaler=self.stepper.state_dict(),
                extra=extra,
                weights=of,
            )

    def say(self, line: str) -> None:
        """Write one line to console and log.txt, on rank 0."""
        if self.ranks.first:
            self.log.say(line)

    def bar(self, total: int, initial: int, title: str) -> AbstractContextManager[Any]:
        """Return a progress bar, on rank 0."""
        return progress_bar(total, initial, title, hide=not self.ranks.first)


def _copied(state: dict[str, Any]) -> dict[str, Any]:
    """Return ``state`` with copies of its tensors, which outlive what is done to the net."""
    return {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in state.items()}
