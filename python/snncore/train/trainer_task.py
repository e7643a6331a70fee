"""What a `Trainer` and its arguments say, as the `Task` that the loop trains."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..config.text import dump_yaml_line
from ..data import Dataset, ImageSet, SampleSet, split
from ..data.transform import mixing
from ..errors import ArgumentError
from ..functional import reset_net
from ..layer import convert_sync_batchnorm
from ..neuron import BaseNode
from .arguments import without_effect
from .compiling import check_backend
from .config import OptimConfig
from .distributed import Ranks
from .ema import WeightAverage, adjusted_decay
from .evaluate import mixed_precision
from .optim import parameter_groups
from .position import Position
from .recompute import make_checkpointing
from .report import in_words
from .sharded import check_fsdp, is_sharded, shard
from .shares import check_repeats, set_batches
from .task import Batch, Task, main_class, top, widened
from .trainer_check import checked_input, checked_loss, checked_optimizer, checked_scheduler, checked_scores

if TYPE_CHECKING:
    from .trainer import Trainer

__all__ = ["TrainerTask"]


class TrainerTask(Task):
    """The hooks of ``trainer``, each called with ``args``."""

    def __init__(
        self,
        trainer: Trainer,
        args: Namespace,
        sets: tuple[Dataset, Dataset],
        device: torch.device,
        ranks: Ranks,
        settings: dict[str, Any],
    ) -> None:
        self.trainer, self.args, self.device, self.saved = trainer, args, device, settings
        if args.compile:
            check_backend(args.compile_backend, device)
        check_repeats(args.ra_reps if args.ra_sampler else 1, ranks)
        train, test = _checked(sets, type(trainer).__name__)
        self.sets = {name: part.to(device) for name, part in _parts(train, test, args.val_split, args.seed).items()}
        self.test_name = "validation" if args.val_split else "test"
        self.test_source = test.source
        self.classes = train.num_classes
        self.batch_size = args.batch_size * ranks.size
        self.mix = mixing(self.classes, args.mixup_alpha, args.cutmix_alpha)
        self.net = self._net(ranks)
        self.checkpointing = make_checkpointing(self.net, args.checkpoint_activations, args.compile)
        groups = parameter_groups(
            self.net, OptimConfig(weight_decay=args.weight_decay, norm_weight_decay=args.norm_weight_decay)
        )
        self.who = type(trainer).__name__
        self.optimizer = checked_optimizer(self.who, trainer.set_optimizer(args, groups))
        self.scheduler = checked_scheduler(self.who, trainer.set_lr_scheduler(args, self.optimizer))
        self.average = self._average()

    def _net(self, ranks: Ranks) -> nn.Module:
        args = self.args
        net = self.trainer.load_model(args, self.classes)
        if not isinstance(net, nn.Module):
            raise ArgumentError(
                f"{type(self.trainer).__name__}.load_model: must return a module, got {net!r}; end it with "
                "'return model'"
            )
        half = [name for name, parameter in net.named_parameters() if parameter.dtype == torch.float16]
        if args.amp == "fp16" and half:
            raise ArgumentError(
                f"--amp: must be off or bf16 for a net with parameters in float16, got fp16 and {half[0]}; leave out "
                "the net's half(), for autocast computes in float16 with parameters in float32"
            )
        if args.sync_bn:
            net = convert_sync_batchnorm(net)
        if args.engine != "auto":
            for module in net.modules():
                if isinstance(module, BaseNode):
                    module.engine = args.engine
        if args.parallel == "fsdp" and ranks.size > 1:
            check_fsdp(args.amp, args.compile)
            return shard(net, ranks, self.device)
        return net.to(self.device)

    def _average(self) -> WeightAverage | None:
        a = self.args
        if not a.model_ema:
            return None
        decay = adjusted_decay(a.model_ema_decay, self.batch_size, a.model_ema_steps, a.epochs)
        return WeightAverage(self.net, decay, a.model_ema_steps)

    def training(self) -> AbstractContextManager[Any]:
        """Compute blocks once more in the backward pass, if asked for."""
        return self.checkpointing

    def settings(self) -> dict[str, Any]:
        """Return the arguments."""
        return self.saved

    def settings_file(self) -> str:
        """Return the arguments as YAML."""
        return "".join(dump_yaml_line(key, value) + "\n" for key, value in self.saved.items())

    def count(self, part: str) -> int:
        """Return the samples of a part."""
        return len(self.sets[part]) if part in self.sets else 0

    def batches(self, part: str, ranks: Ranks, epoch: int = 0, start: int = 0) -> Iterator[Batch | None]:
        """Yield batches, mixed and repeated as asked for while training."""
        a, train = self.args, part == "train"
        return set_batches(
            self.sets[part],
            self.batch_size,
            ranks,
            train=train,
            seed=a.seed,
            epoch=epoch,
            start=start,
            mix=self.mix if train else None,
            repeats=a.ra_reps if train and a.ra_sampler else 1,
            workers=a.workers,
            shuffle=a.shuffle,
            even=is_sharded(self.net),
        )

    def _output(self, model: nn.Module, x: Tensor, hook: str) -> Tensor:
        with mixed_precision(self.args.amp, x.device):
            given = checked_input(self.who, hook, getattr(self.trainer, hook)(self.args, x))
            y = self.trainer.process_model_output(self.args, model(given))
        reset_net(self.net)
        return checked_scores(self.who, y, len(x), self.classes)

    def train_output(self, model: nn.Module, x: Tensor) -> Tensor:
        """Return the scores, [B, classes]."""
        return self._output(model, x, "preprocess_train_sample")

    def test_output(self, x: Tensor) -> Tensor:
        """Return likewise."""
        return self._output(self.net, x, "preprocess_test_sample")

    def train_loss(self, output: Tensor, label: Tensor) -> Tensor:
        """Return the trainer's loss, in float32 at least."""
        output = output if output.dtype == torch.float64 else output.float()
        label = widened(label, output.shape[1])
        return checked_loss(self.who, lambda: self.trainer.loss(self.args, output, label), label)

    def test_loss(self, output: Tensor, label: Tensor) -> Tensor:
        """Return the same."""
        return self.train_loss(output, label)

    def correct(self, output: Tensor, label: Tensor) -> Tensor:
        """Count by scores; of a mixed sample the greater share is its class."""
        label = main_class(label)
        return torch.stack((top(output, label, 1), top(output, label, 5)))

    def set_learning_rate(self, at: Position, steps: int) -> float:
        """Return the rate; the scheduler sets it once an epoch."""
        return float(self.optimizer.param_groups[0]["lr"])

    def opening(self, path: Path, resumed: Path | None, at: Position, ranks: Ranks) -> Iterator[str]:
        """Say what the run is made of."""
        if resumed:
            yield f"going on from {resumed}: epoch {at.epoch + 1}, step {at.step + 1}"
        yield f"run folder: {path}"
        yield f"torch {torch.__version__}, {self.device}, {torch.get_num_threads()} threads, seed {self.args.seed}"
        if ranks.size > 1:
            yield in_words(ranks, self.batch_size)
        yield from (f"data: {part.source}" for part in self.sets.values())
        neurons = [m for m in self.net.modules() if isinstance(m, BaseNode)]
        size = sum(parameter.numel() for parameter in self.net.parameters())
        yield (
            f"net: {self.args.model}, {size:,} parameters, {len(neurons)} layers of neurons, "
            f"mixed precision {self.args.amp}"
        )
        yield from without_effect(self.args)
        if self.test_name == "test":
            yield "the best weights are chosen on the test set, which flatters them (--val-split 0.1 avoids it)"

    def after_step(self, at: Position) -> None:
        """Move the averaged weights."""
        if self.average:
            self.average.after_step(self.net, at.step - 1, at.epoch < self.args.lr_warmup_epochs)

    def after_epoch(self) -> None:
        """Move the scheduler on."""
        self.scheduler.step()

    def others(self) -> dict[str, Callable[[], AbstractContextManager[None]]]:
        """Return the averaged weights."""
        average = self.average
        return {"ema": lambda: average.applied(self.net)} if average else {}

    def state(self) -> dict[str, Any]:
        """Return the scheduler and the averaged weights."""
        averaged = {"ema": self.average.state_dict()} if self.average else {}
        return {"scheduler": self.scheduler.state_dict(), **averaged}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take them back."""
        self.scheduler.load_state_dict(state["scheduler"])
        if self.average:
            self.average.load_state_dict(state.get("ema", {}))


def _parts(train: Dataset, test: Dataset, val_split: float, seed: int) -> dict[str, Dataset]:
    """Return the parts by name; the validation part has the transform of ``test``, not the random one of ``train``."""
    if not val_split:
        return {"train": train, "test": test}
    rest, validation = split(train, val_split, seed)
    transforms = [part.transform if isinstance(part, SampleSet) else None for part in (train, test)]
    if any(transform is not None for transform in transforms):
        validation = validation.with_transform(transforms[1])
    return {"train": rest, "validation": validation, "test": test}


def _checked(sets: Any, who: str) -> tuple[Dataset, Dataset]:
    if (
        not isinstance(sets, (tuple, list))
        or len(sets) != 2
        or not all(isinstance(s, (ImageSet, SampleSet)) for s in sets)
    ):
        got = [type(s).__name__ for s in sets] if isinstance(sets, (tuple, list)) else type(sets).__name__
        raise ArgumentError(
            f"{who}.load_data: must return (train, test), each an ImageSet or a SampleSet of snncore.data, got {got}; "
            "make them with snncore.data.load or image_folder: the loop makes order and batches"
        )
    return sets[0], sets[1]
