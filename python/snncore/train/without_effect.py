"""Settings that were typed and do nothing in the run at hand: each is said, since its silence would look like its work.

What presets, a file or an earlier run bring along is not told: they have settings for more than one run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ..config import flatten, options
from .config import Config

__all__ = ["TYPED", "without_effect"]

TYPED = "command line"  # the source of a setting that was typed

# names -> (configuration, ranks, folder of the run that goes on) -> why they do nothing, or an empty text
_WHY: dict[tuple[str, ...], Callable[[Config, int, Path | None], str]] = {
    ("train.parallel", "train.sync_bn", "train.unused_parameters"): lambda c, ranks, run: (
        "there is one rank; start several with torchrun --nproc-per-node" if ranks == 1 else ""
    ),
    ("train.name",): lambda c, ranks, run: _unless_in(run, not run or run.name == c.train.name),
    ("train.output_dir",): lambda c, ranks, run: _unless_in(
        run,
        not run or c.train.resume == "auto" or run.resolve().parent == Path(c.train.output_dir).expanduser().resolve(),
    ),
    ("train.compile_backend",): lambda c, ranks, run: _unless(c.train.compile, "--compile"),
    ("train.tet_lambda", "train.tet_phi"): lambda c, ranks, run: _loss(c, "tet"),
    ("train.correct_rate", "train.incorrect_rate"): lambda c, ranks, run: _loss(c, "mse_count"),
    ("train.on_target", "train.off_target"): lambda c, ranks, run: _loss(c, "mse_membrane"),
    tuple(f"train.firing_rate_{name}" for name in ("lower", "upper", "power", "per")): lambda c, ranks, run: _unless(
        c.train.firing_rate_strength > 0, "--firing-rate-strength"
    ),
    ("train.model_ema_steps", "train.model_ema_decay"): lambda c, ranks, run: _unless(c.train.model_ema, "--model-ema"),
    ("train.keep",): lambda c, ranks, run: _unless(c.train.save_every_epochs > 0, "--save-every-epochs"),
    ("optim.momentum",): lambda c, ranks, run: (
        "" if c.optim.name in ("sgd", "nesterov", "rmsprop") else f"{c.optim.name} has none"
    ),
    ("optim.step_size",): lambda c, ranks, run: _schedule(c, "step"),
    ("optim.gamma",): lambda c, ranks, run: _schedule(c, "step", "exp"),
    ("optim.restart_epochs", "optim.restart_mult"): lambda c, ranks, run: _schedule(c, "warm_restarts"),
    tuple(f"optim.warmup_{name}" for name in ("method", "decay", "by")): lambda c, ranks, run: _unless(
        c.optim.warmup_epochs > 0, "--lr-warmup-epochs"
    ),
}


def _unless(given: bool, flag: str) -> str:
    return "" if given else f"it needs {flag}"


def _unless_in(run: Path | None, there: bool) -> str:
    return "" if there else f"the run goes on in {run}"


def _loss(c: Config, name: str) -> str:
    return "" if c.train.loss == name else f"the loss is {c.train.loss}; it is for --loss {name}"


def _schedule(c: Config, *names: str) -> str:
    return "" if c.optim.scheduler in names else f"the schedule is {c.optim.scheduler}; it is for {' and '.join(names)}"


def without_effect(config: Config, sources: Mapping[str, str], ranks: int, run: Path | None) -> Iterator[str]:
    """Yield a line for each setting that was typed, is not what it is anyway, and does nothing.

    Args:
        config: a whole configuration.
        sources: dotted name -> where its value came from.
        ranks: how many train.
        run: the folder of the run that goes on; None: a new one.
    """
    now, packaged = flatten(config), flatten(Config())
    flags = {
        name: item.metadata["option"].flags[-1] for name, item, _ in options(Config) if item.metadata["option"].flags
    }
    for names, why in _WHY.items():
        for name in names:
            if sources.get(name) == TYPED and now[name] != packaged[name] and (reason := why(config, ranks, run)):
                yield f"{flags[name]} has no effect: {reason}"
