"""The folder of a run: a new one for each run, or the one that is taken up again.

config.yaml    the merged settings, each with its source; ``snncore-train --config`` takes it
log.txt        what the console shows, with dates
metrics.jsonl  one line for each epoch
last.pt        the newest checkpoint
best.pt        the checkpoint with the best accuracy
best_ema.pt    the one whose averaged weights have the best accuracy, with these in the place of the net's own
epoch-N.pt     that of epoch N, where such are kept
energy.json    operations and energy of the best weights, once the run is done
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import flatten, load_yaml, merge, options
from ..errors import ConfigError, SnncoreError
from . import checkpoint
from .config import Config

__all__ = [
    "BEST",
    "CONFIG",
    "ENERGY",
    "LAST",
    "LOG",
    "METRICS",
    "best_name",
    "check_unchanged",
    "epoch_name",
    "find",
    "keep_newest",
    "make_folder",
    "new_folder",
    "saved_settings",
]

CONFIG, LOG, METRICS, ENERGY = "config.yaml", "log.txt", "metrics.jsonl", "energy.json"
LAST, BEST = "last.pt", "best.pt"


def new_folder(config: Config) -> Path:
    """Make and return a folder that did not exist before, in ``train.output_dir``."""
    c = config.train
    if c.name is not None and (Path(c.name).name != c.name or c.name in (".", "..")):
        raise ConfigError(
            f"train.name (--name): must be the name of one folder, got {c.name!r}; give its place by --output-dir"
        )
    base = c.name or f"{config.data.name}_{config.model.name}_{config.neuron.name}_T{config.model.T}"
    return make_folder(Path(c.output_dir).expanduser(), base)


def make_folder(parent: Path, base: str) -> Path:
    """Make and return the folder ``base`` in ``parent``, or ``base-2`` and so on if it is there already."""
    number = 1
    while True:
        path = parent / (base if number == 1 else f"{base}-{number}")
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            if not path.is_dir():  # then it is one of its parents that is in the way, or a file of this name
                blocked = path if path.exists() else path.parent
                raise ConfigError(
                    f"train.output_dir (--output-dir): must be a folder, got the file {blocked}; choose another"
                ) from None
            number += 1
        except OSError as error:
            raise ConfigError(
                f"train.output_dir (--output-dir): must be writable, got {str(path.parent)!r} ({error.strerror}); "
                "choose another"
            ) from None


def best_name(of: str) -> str:
    """Return the name of the best checkpoint of further weights called ``of``."""
    return f"best_{of}.pt"


def epoch_name(epoch: int) -> str:
    """Return the name of the checkpoint of ``epoch``, from 1."""
    return f"epoch-{epoch}.pt"


def keep_newest(path: Path, count: int) -> None:
    """Remove all checkpoints of single epochs in the folder ``path`` but the ``count`` newest; 0: none of them."""
    # what a person put there has another name
    numbered = [p for p in path.glob("epoch-*.pt") if p.stem.removeprefix("epoch-").isdigit()]
    numbered.sort(key=lambda p: int(p.stem.removeprefix("epoch-")))
    for old in numbered[:-count] if count else ():
        old.unlink(missing_ok=True)


def find(config: Config) -> Path | None:
    """Return the checkpoint to go on from, or None to begin a new run.

    ``train.resume`` names it, or its folder, or is ``auto``: then it is the newest run in ``train.output_dir`` that has
    these very settings (those that may change aside), if there is one.

    Raises:
        ConfigError: what is named is not there.
    """
    asked = config.train.resume
    if asked is None:
        return None
    if asked == "auto":
        root = Path(config.train.output_dir).expanduser()
        runs = [path for path in root.glob(f"*/{LAST}") if path.is_file()]
        runs.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
        return next((path for path in runs if _fits(path.parent, config)), None)
    path = Path(asked).expanduser()
    if path.is_dir():
        path = path / LAST
    if not path.is_file():
        raise ConfigError(
            f"train.resume (--resume): must be auto, the folder of a run or a checkpoint, got {asked!r} and {path} is "
            "not there; check the path"
        )
    return path


def _fits(folder: Path, config: Config) -> bool:
    try:
        return not _changes(load_yaml(folder / CONFIG), folder, config)
    except SnncoreError:
        return False


def saved_settings(path: Path) -> dict[str, Any]:
    """Return the settings of the run that the checkpoint ``path`` belongs to, as a layer for ``resolve``."""
    beside = path.parent / CONFIG
    settings: dict[str, Any] = load_yaml(beside) if beside.is_file() else checkpoint.load(path)["config"]
    return settings


def check_unchanged(path: Path, content: Mapping[str, Any], config: Config) -> None:
    """Raise ConfigError if ``config`` would train otherwise than the run of the checkpoint ``content`` did.

    What may change is marked so in the configuration: where and how it is computed, places and names. The number of
    epochs may change too, unless the cosine schedule or the decay of averaged weights depends on it.
    """
    changes = _changes(content["config"], path, config)
    if changes:
        listed = ", ".join(f"{key} ({old!r} -> {new!r})" for key, (old, new) in changes.items())
        why = ""
        if list(changes) == ["train.epochs"]:
            cosine = config.optim.scheduler == "cosine"
            why = f" ({'the cosine schedule spans' if cosine else 'the decay of --model-ema is made for'} all epochs)"
        raise ConfigError(
            f"train.resume (--resume): must keep the settings that {path} was trained with, got other {listed}{why}; "
            "leave them out, or start a new run without --resume"
        )


def _changes(saved: Mapping[str, Any], path: Path, config: Config) -> dict[str, tuple[Any, Any]]:
    """Return setting -> (saved, now) for all that differ and must not."""
    old, new = flatten(merge(Config, [(str(path), saved)]).config), flatten(config)
    free = {name for name, item, _ in options(Config) if item.metadata["option"].may_change}
    if new["optim.scheduler"] != "cosine" and not new["train.model_ema"]:
        free.add("train.epochs")
    return {
        key: (old.get(key), new.get(key))
        for key in [*old, *(key for key in new if key not in old)]
        if old.get(key) != new.get(key) and key not in free
    }
