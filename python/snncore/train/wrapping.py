"""What is put around a net for the length of its training."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from .compiling import compile_net
from .distributed import Ranks, unused_parameters, wrap
from .sharded import held, is_sharded
from .task import Plan, Task

__all__ = ["wrapped"]


def wrapped(task: Task, plan: Plan, ranks: Ranks, say: Callable[[str], object]) -> nn.Module:
    """Return the net of ``task`` as it is trained: compiled if asked for; on several ranks, with gradients averaged.

    Collective. ``say`` is told what was done.
    """
    if is_sharded(task.net):
        mine, of = held(task.net)
        say(f"the net is divided: rank 0 has {mine:,} of {of:,} parameters, with gradients and states")
        return task.net
    unused = _unused(task, plan, ranks, say) if ranks.size > 1 else []
    if plan.compile:
        compile_net(task.net, plan.compile_backend)
        say(f"the net is compiled by {plan.compile_backend}, which takes its time in the first steps")
    return wrap(task.net, ranks, unused)


def _unused(task: Task, plan: Plan, ranks: Ranks, say: Callable[[str], object]) -> list[str]:
    """Return the parameters that get no gradient on some rank; if not looked for, something or nothing as asked."""
    how = plan.unused_parameters
    unused = ["(not looked for)"] if how == "yes" else []
    if how == "auto":
        task.net.train()
        batch = next(b for b in task.batches("train", ranks) if b is not None)
        found = unused_parameters(task.net, lambda net: task.train_output(net, batch.x).float().sum())
        unused = sorted({name for names in ranks.gather(found) for name in names})
        if unused:
            shown = ", ".join(unused[:3]) + (f" and {len(unused) - 3} more" if len(unused) > 3 else "")
            say(f"parameters without a gradient are looked for at every step: {shown} (--unused-parameters)")
    return unused
