"""A training step of whole nets, snncore against SpikingJelly: images per second and peak memory.

    python benchmarks/train_step.py                          about six minutes
    python benchmarks/train_step.py --quick                  less than a minute
    python benchmarks/train_step.py --nets csnn --channels 128 --batch 16 --threads 2
    python benchmarks/train_step.py --device cuda --size 224 --batch 64
    python benchmarks/train_step.py --channels-last --nets csnn
    python benchmarks/train_step.py --inference --nets csnn

The nets: the CSNN of SpikingJelly's tutorial (conv_fashion_mnist; images 1x28x28, squared error), and Spiking ResNet-18
and SEW ResNet-18 (ADD) with IF neurons, as each library has them (images 3 x size x size, cross-entropy). A step is
zero_grad, forward over T steps of direct encoding, loss of the mean over T, backward, SGD with momentum (at learning
rate 0, so that the spikes are the same in every round), and a reset where the library keeps state. With --inference it
is the forward pass in eval under no_grad. bfloat16 is autocast's, with float32 weights. Images are random; both nets
carry the same weights. First their results are compared (nets_check.py says how), and if they differ nothing is
reported. The two take turns, round after round.

Memory is what the first three steps take at their peak, beyond weights, momentum and images, each library in a process
of its own, in which nothing of that size ran before: on the CPU the growth of the resident set, memory that allocators
keep included, on a GPU torch's allocated memory. Allocator settings as in neuron.py; a GPU has its own.
Needs spikingjelly==2.0.0.
"""

from __future__ import annotations

import argparse
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
    run_child,
    say,
    write_json,
)
from nets import NETS, PEER, SNNCORE, Pair, pair, peer_kernel
from nets_check import BFLOAT16, FLOAT32, autocast, check, check_line

PRECISIONS = (FLOAT32, BFLOAT16)
FEW = 8  # images of the check in float64 and of the step that loads libraries
MEMORY_STEPS = 3  # what allocators keep of the first may not fit the second


def parse() -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_arguments(parser, rounds=21)
    parser.add_argument("--nets", default=",".join(NETS), help=f"of {', '.join(NETS)} (default: all)")
    parser.add_argument("--precisions", default=",".join(PRECISIONS), help="of float32, bfloat16 (default: both)")
    parser.add_argument("--inference", action="store_true", help="measure inference instead of a training step")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="where (default cpu)")
    parser.add_argument("--channels-last", action="store_true", help="weights and images in torch.channels_last")
    parser.add_argument("-T", type=int, default=4, help="time steps (default 4)")
    parser.add_argument("--batch", type=int, help="batch size (default 64 for the CSNN, 32 for the ResNets)")
    parser.add_argument("--channels", type=int, default=32, help="channels of the CSNN's convolutions (default 32)")
    parser.add_argument("--size", type=int, default=32, help="side of the ResNets' images (default 32)")
    args = parse_common(parser)
    for option, known in (("nets", tuple(NETS)), ("precisions", PRECISIONS)):
        chosen = tuple(name.strip() for name in getattr(args, option).split(",") if name.strip())
        if not chosen or set(chosen) - set(known):
            parser.error(f"--{option}: must be of {', '.join(known)}, got {getattr(args, option)!r}")
        setattr(args, option, chosen)
    if args.T < 1 or args.channels < 1 or args.size < 1 or (args.batch is not None and args.batch < 2):
        parser.error("-T, --channels and --size: must be at least 1; --batch: at least 2, for batch norm")
    if args.quick:
        args.precisions = args.precisions[:1]
    return args, parser


# ---- in the child --------------------------------------------------------------------------------------------------


def measure(args: argparse.Namespace, task: dict[str, Any]) -> dict[str, Any]:
    """Do one child's task: the times of both libraries, or the memory of one."""
    import torch

    torch.set_num_threads(args.threads)
    quiet()
    if "library" in task:
        return {"memory": memory_of(args, task)}
    both = pair_of(args, task, settled=True)
    checks = check(both, args.precisions, FEW)
    optimizers = {name: optimizer_of(args, net) for name, net in both.nets.items()}
    finish = torch.cuda.synchronize if args.device == "cuda" else None
    samples = {}
    for precision in args.precisions:
        calls = {name: step_of(both, name, precision, optimizers[name]) for name in both.nets}
        samples[precision] = interleave(calls, args.rounds, args.seconds, finish)
    return {"checks": checks, "samples": samples, "peer_kernel": peer_kernel(args.device)}


def pair_of(args: argparse.Namespace, task: dict[str, Any], settled: bool) -> Pair:
    return pair(
        task["net"], task["batch"], args.T, channels=args.channels, size=args.size, device=args.device,
        channels_last=args.channels_last, settled=settled,
    )  # fmt: skip


def memory_of(args: argparse.Namespace, task: dict[str, Any]) -> dict[str, Any]:
    """Return the peak of the first steps of one library, beyond weights, momentum and images."""
    from snncore.metric import peak_memory

    name, precision = task["library"], task["precision"]
    both = pair_of(args, task, settled=False)
    for other in set(both.nets) - {name}:
        del both.nets[other], both.runs[other]
    optimizer = optimizer_of(args, both.nets[name])
    step_of(both, name, precision, optimizer, few=2)()  # loads libraries and makes the momentum
    both.nets[name].zero_grad(set_to_none=True)
    step = step_of(both, name, precision, optimizer)

    def steps() -> None:
        for _ in range(MEMORY_STEPS):
            step()

    peak = peak_memory(steps, args.device)
    return {"growth": peak.growth, "how": peak.how}


def optimizer_of(args: argparse.Namespace, net: Any) -> Any:
    """Return the optimiser, or None for inference."""
    import torch

    return None if args.inference else torch.optim.SGD(net.parameters(), lr=0.0, momentum=0.9)


def step_of(both: Pair, name: str, precision: str, optimizer: Any, few: int | None = None) -> Callable[[], None]:
    """Return one step of the net ``name``, or its inference without optimiser, on all images or the first ``few``."""
    import torch

    run, images, labels = both.runs[name], both.images[:few], both.labels[:few]
    both.nets[name].train(optimizer is not None)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(images, precision):
            scores = run(images)
        both.loss(scores.float(), labels).backward()
        optimizer.step()

    def predict() -> None:
        with torch.no_grad(), autocast(images, precision):
            run(images)

    return predict if optimizer is None else step


# ---- in the parent -------------------------------------------------------------------------------------------------


def case_of(args: argparse.Namespace, net: str, allocator: str) -> dict[str, Any]:
    """Measure one net under one allocator setting: the times, then the memory of each library and precision."""
    task = {"net": net, "batch": args.batch or NETS[net].batch, "allocator": allocator}
    say(f"{net} {allocator}: checks, rounds, memory")
    case = run_child(__file__, args, task)
    if "skipped" in case:
        return case
    case["memory"] = {
        precision: {
            name: run_child(__file__, args, {**task, "library": name, "precision": precision})
            for name in (SNNCORE, PEER)
        }
        for precision in args.precisions
    }
    return case


def rows_of(case: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for precision, samples in case["samples"].items():
        for name, times in samples.items():
            median = statistics.median(times)
            memory = case["memory"][precision][name].get("memory", {"growth": None})
            rows.append(
                {
                    "net": case["net"], "batch": case["batch"], "allocator": case["allocator"], "precision": precision,
                    "name": name, "rounds": len(times), "median_ms": median * 1e3, "min_ms": min(times) * 1e3,
                    "images_s": case["batch"] / median, "speed": paired_ratio(samples[PEER], times),
                    "memory_bytes": memory["growth"],
                }
            )  # fmt: skip
    return rows


def report(cases: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    print("\nchecks against SpikingJelly (scores in eval, gradients in training):")
    for case in cases:
        label = f"  {case['net']} {case['allocator']}"
        if "skipped" in case:
            print(f"{label}: not measured: {case['skipped']}")
            continue
        for precision, seen in case["checks"].items():
            print(f"{label}: {precision}: {check_line(seen)}")
    measured = [case for case in cases if "skipped" not in case]
    for line in sorted({f"SpikingJelly's IF kernel: {case['peer_kernel']}" for case in measured}):
        print(line)
    children = [child for case in measured for kind in case["memory"].values() for child in kind.values()]
    for how in sorted({child["memory"]["how"] if "memory" in child else child["skipped"] for child in children}):
        print(f"MiB: {how}, of {MEMORY_STEPS} steps, beyond weights, momentum and images")
    print("'x SJ': SpikingJelly's time over this one's, median of the rounds; n: rounds.\n")
    table = [
        [
            f"{row['net']:<17}B={row['batch']:<4}{row['precision']:<9}{row['allocator']:<8}{row['name']}",
            f"{row['median_ms']:.1f}", f"{row['min_ms']:.1f}", f"{row['images_s']:.1f}", f"{row['speed']:.2f}",
            "?" if row["memory_bytes"] is None else f"{row['memory_bytes'] / 2**20:.0f}", str(row["rounds"]),
        ]
        for row in rows
    ]  # fmt: skip
    print_table(("net, batch, precision, allocator, name", "ms", "least ms", "images/s", "x SJ", "MiB", "n"), table)


def main() -> None:
    args, parser = parse()
    if args.child:
        answer(lambda task: measure(args, task), args.child)
        return
    facts, before = machine_facts(args.threads), load_average()
    allocators = allocators_of(args, parser)
    if args.quick or args.device == "cuda":  # a GPU's memory has an allocator of its own
        allocators = allocators[:1]
    cases = [case_of(args, net, allocator) for net in args.nets for allocator in allocators]
    rows = [row for case in cases if "skipped" not in case for row in rows_of(case)]
    after = load_average()
    if not rows:
        raise SystemExit("nothing was measured")
    job = "inference" if args.inference else "training step"
    job += " in channels_last" if args.channels_last else ""
    print(f"{job} on {args.device}, T={args.T}; CSNN with {args.channels} channels; ResNets on {args.size}x{args.size}")
    print_facts(facts, before, after)
    report(cases, rows)
    if args.json:
        write_json(
            args.json, {"facts": facts, "load_before": before, "load_after": after, "rows": rows, "cases": cases}
        )


if __name__ == "__main__":
    main()
