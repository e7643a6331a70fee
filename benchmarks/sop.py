"""What counting synaptic operations adds to inference: SopCounter, and the counters of SpikingJelly and NeuroBench.

    python benchmarks/sop.py                     about six minutes
    python benchmarks/sop.py --quick             less than a minute
    python benchmarks/sop.py --channels 128 --threads 2

The net is the CSNN for Fashion-MNIST (see nets.py), in eval mode under no_grad, T steps of direct encoding, on random
images 1x28x28. All counters count the same net of snncore in the same rounds; ``none`` is the net alone. First their
numbers are compared, and if they differ nothing is reported. Each call is one batch, and a counter stays entered over
all batches of a round as it would over a data set; SpikingJelly's and NeuroBench's are used as their documentation
shows. NeuroBench keeps every input of the batch and counts after it. The static first layer counts once for SopCounter
and SpikingJelly, which see one convolution, while NeuroBench is given what its hook sees, T times the same.

Needs spikingjelly==2.0.0; neurobench==2.3.0 is measured where it is installed (tests/oracles.txt).
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
from collections.abc import Callable
from typing import Any

from common import (
    add_common_arguments,
    allocators_of,
    answer,
    interleave,
    load_average,
    machine_facts,
    paired_ratio,
    parse_common,
    print_facts,
    print_table,
    quiet,
    require,
    run_child,
    say,
    write_json,
)
from nets import settle

NONE, OURS, PEER, BENCH = "none", "snncore SopCounter", "SpikingJelly SynOpCounter", "NeuroBench SynapticOperations"

IMAGES = 5120  # for which a counter is entered once; the test set has 10,000


def parse() -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_arguments(parser, rounds=9)
    parser.add_argument("-T", type=int, default=4, help="time steps (default 4)")
    parser.add_argument("--channels", type=int, default=32, help="channels of both convolutions (default 32)")
    parser.add_argument("--batch", type=int, default=128, help="batch size (default 128)")
    return parse_common(parser), parser


# ---- in the child --------------------------------------------------------------------------------------------------


def neurobench_parts() -> tuple[Any, Any] | None:
    """Return NeuroBench's model wrapper and metric, or None where it is not installed."""
    if importlib.util.find_spec("neurobench") is None:
        return None
    from neurobench.metrics.workload.synaptic_operations import SynapticOperations
    from neurobench.models import TorchModel

    return TorchModel, SynapticOperations


def counts(net: Any, x: Any) -> dict[str, tuple[int, int]]:
    """Return (accumulates, multiply-accumulates) of one batch by each counter; NeuroBench's without its first layer."""
    from spikingjelly.activation_based.op_counter import DispatchCounterMode, MACCounter, SynOpCounter
    from torch import nn

    from snncore.metric import SopCounter

    with SopCounter(net) as sop:
        net(x)
    found = {OURS: tuple(int(v.sum()) for v in sop.report("exact").totals())}
    synops, macs = SynOpCounter(), MACCounter(extra_ignore_modules=[nn.BatchNorm2d])
    with DispatchCounterMode([synops, macs]):
        net(x)
    require(synops.get_total() == found[OURS][0], f"SpikingJelly counts {synops.get_total()}, not {found[OURS][0]}")
    jelly = tuple(int(v.sum()) for v in sop.report("spikingjelly").totals())
    require((synops.get_total(), macs.get_total()) == jelly, "the view 'spikingjelly' is not what SpikingJelly counts")
    found[PEER] = (synops.get_total(), macs.get_total())
    parts = neurobench_parts()
    if parts is not None:
        model, metric = parts[0](net), parts[1]()
        model.register_hooks()
        metric(model, model(x), (x,))
        model.cleanup_hooks()
        found[BENCH] = (metric.AC, metric.MAC)
        every_step = tuple(int(v.sum()) for v in sop.report("exact", first_layer="every_step").totals())
        off = abs(metric.AC - every_step[0]) / every_step[0]
        require(off < 2**-20, f"NeuroBench counts {metric.AC} accumulates, not {every_step[0]}")  # it sums in float32
    return found


def batches_of(x: Any) -> int:
    """Return how many batches x [T, B, *] make up IMAGES."""
    return max(1, IMAGES // x.shape[1])


def calls_of(net: Any, x: Any) -> dict[str, Callable[[], None]]:
    """Return what is timed; a counter is entered for each block of calls, not for each call."""
    from spikingjelly.activation_based.op_counter import DispatchCounterMode, SynOpCounter

    from snncore.metric import SopCounter

    counter, batches = SopCounter(net), batches_of(x)

    def ours() -> None:
        with counter:
            for _ in range(batches):
                net(x)

    def none() -> None:
        for _ in range(batches):
            net(x)

    def peer() -> None:
        with DispatchCounterMode([SynOpCounter()]):
            for _ in range(batches):
                net(x)

    calls: dict[str, Callable[[], None]] = {NONE: none, OURS: ours, PEER: peer}
    parts = neurobench_parts()
    if parts is not None:
        wrapper, metric = parts[0](net), parts[1]()

        def bench() -> None:
            wrapper.register_hooks()
            for _ in range(batches):
                metric(wrapper, wrapper(x), (x,))
                wrapper.reset_hooks()
            wrapper.cleanup_hooks()

        calls[BENCH] = bench
    return calls


def measure(args: argparse.Namespace, task: dict[str, Any]) -> dict[str, Any]:
    import torch

    from snncore import encoding, model

    torch.set_num_threads(args.threads)
    quiet()
    torch.manual_seed(0)
    net = model.CSNN(channels=args.channels)
    x = encoding.direct(torch.rand(args.batch, 1, 28, 28), args.T)
    settle(net, lambda: net(x))
    net.eval()
    with torch.no_grad():
        found = counts(net, x)
        samples = interleave(calls_of(net, x), args.rounds, args.seconds)
    return {"checks": found, "samples": samples, "batches": batches_of(x)}


# ---- in the parent -------------------------------------------------------------------------------------------------


def main() -> None:
    args, parser = parse()
    if args.child:
        answer(lambda task: measure(args, task), args.child)
        return
    facts, before, cases = machine_facts(args.threads), load_average(), []
    for allocator in allocators_of(args, parser):
        say(f"{allocator}: checks, then rounds")
        cases.append(run_child(__file__, args, {"allocator": allocator}))
    print(f"CSNN, T={args.T}, {args.channels} channels, B={args.batch}, float32, inference")
    print_facts(facts, before, load_average())
    print("\n'added': time over that of the net alone, median of the rounds and ratio of the least times; n: rounds.")
    rows = []
    for case in cases:
        if "skipped" in case:
            print(f"{case['allocator']}: not measured: {case['skipped']}")
            continue
        alone, each = case["samples"][NONE], case["batches"]
        for name, times in case["samples"].items():
            ac, mac = case["checks"].get(name, ("", ""))
            rows.append(
                [
                    f"{case['allocator']:<9}{name}", f"{statistics.median(times) / each * 1e3:.2f}",
                    f"{min(times) / each * 1e3:.2f}", f"{paired_ratio(times, alone) - 1:+.1%}",
                    f"{min(times) / min(alone) - 1:+.1%}", str(ac), str(mac), str(len(times)),
                ]
            )  # fmt: skip
    print_table(("allocator, counter", "ms", "least ms", "added", "least", "AC", "MAC", "n"), rows)
    if args.json:
        write_json(args.json, {"facts": facts, "load_before": before, "load_after": load_average(), "cases": cases})


if __name__ == "__main__":
    main()
