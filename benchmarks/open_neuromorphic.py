"""Linear(n, n) -> LIF, batch 16, T = 500: the public Open Neuromorphic benchmark, made comparable, and its memory.

    python benchmarks/open_neuromorphic.py                        n = 1024, 2048: about half an hour on one core
    python benchmarks/open_neuromorphic.py --quick                n = 256, T = 100, without memory, about a minute
    python benchmarks/open_neuromorphic.py --device cuda --dtype bf16
    python benchmarks/open_neuromorphic.py --n 4096 8192 16384 --only snncore,spikingjelly,norse --allocators default

What differs from the public one: every library computes the same equation (written in open_neuromorphic_peers.py) on
the same input and weight, without bias; spikes and gradients are compared first, and if one is wrong nothing is
reported; Linear is one product of matrices over all T steps for everybody; backward gives the gradients of the input
and of the weight; on CUDA, times are those of CUDA events from an idle device on; the graph of a call is released
before the next. Times are medians of interleaved rounds; forward is without grad. "LIF alone" is the neuron on
[T, batch, n] without Linear. Allocator settings (CPU only) as in neuron.py. Memory is what one call adds to its inputs
and weight: on CUDA torch.cuda.max_memory_allocated, on the CPU the peak resident size of a process of its own, less
what was resident before the call, for three processes: the C library's heap does not always fall out alike. A size
that does not fit into the free memory is halved until it does.

spikingjelly 2.0.0, snntorch 1.0.0, norse 1.1.0, sinabs 3.1.3 (AGPL: only ever installed beside) are each optional;
norse and sinabs install with pip --no-deps and need no more than nir, nirtorch and, for sinabs, pbr.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import math
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import open_neuromorphic_peers as peers
import torch
from common import (
    add_common_arguments,
    allocators_of,
    answer,
    interleave,
    load_average,
    machine_facts,
    memory,
    paired_ratio,
    parse_common,
    print_facts,
    print_table,
    quiet,
    run_child,
    say,
    write_json,
)
from open_neuromorphic_peers import COMPETITORS, JOBS, MODES, SNNCORE

SIZES = {"cpu": (1024, 2048), "cuda": (4096, 8192, 16384)}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# a process's peak in units of x, beside 4 weights and torch itself; 15 and, in half types, 20 were measured
_PEAK = {"fp32": 18, "bf16": 28, "fp16": 28}
_TORCH = 2**29
_PROCESSES = 3  # that measure the memory of one competitor on the CPU
_BLOCK_SECONDS = 0.02


def parse() -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_arguments(parser, rounds=7)
    parser.add_argument("--n", type=int, nargs="+", help="neurons; default: 1024 2048, on CUDA 4096 8192 16384")
    parser.add_argument("--T", type=int, help="time steps (default 500)")
    parser.add_argument("--batch", type=int, default=16, help="batch (default 16)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--dtype", choices=tuple(DTYPES), default="fp32", help="of input and weight (default fp32)")
    parser.add_argument("--only", help=f"comma-separated, of {', '.join(COMPETITORS)}; snncore always runs")
    parser.add_argument("--limit", type=float, default=20.0, help="longer calls are timed once, the first (20 s)")
    args = parse_common(parser)
    args.n = args.n or ([256] if args.quick else list(SIZES[args.device]))
    args.T = args.T or (100 if args.quick else 500)
    if min(args.n) < 16 or args.T < 20 or args.batch < 1:
        parser.error("--n must be at least 16, --T at least 20, --batch at least 1")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device: torch sees no CUDA device")
    if args.device == "cuda" and args.allocators == parser.get_default("allocators"):
        args.allocators = "default"
    names = list(COMPETITORS) if args.only is None else [name.strip() for name in args.only.split(",")]
    if set(names) - set(COMPETITORS):
        parser.error(f"--only: must be of {', '.join(COMPETITORS)}, got {args.only!r}")
    args.names = [name for name in COMPETITORS if name in names or name == SNNCORE]
    return args, parser


# ---- in the child --------------------------------------------------------------------------------------------------


def work(args: argparse.Namespace, task: dict[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(args.threads)
    quiet()
    return measure_memory(args, task) if task["what"] == "memory" else measure_time(args, task)


def measure_time(args: argparse.Namespace, task: dict[str, Any]) -> dict[str, Any]:
    """Check all, then time all; return the samples in seconds."""
    device, dtype = torch.device(args.device), DTYPES[args.dtype]
    result: dict[str, Any] = {"checks": peers.check(task["names"], task["n"], args.T, dtype, device), "jobs": {}}
    for job in JOBS:
        x, w, g = peers.make_input(job, task["n"], args.T, args.batch, dtype, device)
        tasks = {name: peers.Task(name, x, w, g) for name in task["names"] if fits(name, job)}
        result["jobs"][job] = {}
        for mode in MODES:
            calls = {name: caller(one, mode) for name, one in tasks.items()}
            first = {name: single(call, device) for name, call in calls.items()}
            slow = [name for name in first if first[name] > args.limit and name != SNNCORE]
            quick = {name: call for name, call in calls.items() if name not in slow}
            samples = (interleave if device.type == "cpu" else interleave_events)(quick, args.rounds, args.seconds)
            result["jobs"][job][mode] = {**samples, **{name: [first[name]] for name in slow}}
        del x, w, g, tasks, calls, quick
    return result


def fits(name: str, job: str) -> bool:
    return job == "Linear+LIF" or not COMPETITORS[name].plain


def caller(task: peers.Task, mode: str) -> Callable[[], None]:
    """Return one call, whose results and graph are freed before it returns."""

    def call() -> None:
        if mode == "forward":
            task.forward()
        else:
            task.forward_backward()

    return call


def single(call: Callable[[], None], device: torch.device) -> float:
    """Return the seconds of one call: the first, on CUDA the second, since the first may compile."""
    if device.type == "cuda":
        call()
        torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def interleave_events(calls: Mapping[str, Callable[[], None]], rounds: int, seconds: float) -> dict[str, list[float]]:
    """common.interleave, by CUDA events: a block starts on an idle device and ends when its last kernel has ended."""

    def block(call: Callable[[], None], repeat: int) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        start.record()
        for _ in range(repeat):
            call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3 / repeat

    repeat = {}
    for name, call in calls.items():
        block(call, 2)
        repeat[name] = max(1, math.ceil(_BLOCK_SECONDS / max(block(call, 1), 1e-6)))
    samples: dict[str, list[float]] = {name: [] for name in calls}
    begin = time.perf_counter()
    gc.disable()
    for done in range(1, rounds + 1):
        gc.collect()
        for name, call in calls.items():
            samples[name].append(block(call, repeat[name]))
        if done >= 5 and (time.perf_counter() - begin) * (done + 1) / done > seconds:
            break
    gc.enable()
    return samples


def measure_memory(args: argparse.Namespace, task: dict[str, Any]) -> dict[str, Any]:
    """Return name -> mode -> bytes that a call adds at its peak; None where the peak was in the set-up."""
    device, dtype = torch.device(args.device), DTYPES[args.dtype]
    found: dict[str, dict[str, int | None]] = {}
    for name in task["names"]:
        x, w, g = peers.make_input(task["job"], task["n"], args.T, args.batch, dtype, device)
        if COMPETITORS[name].batch_first:  # the values do not matter here, the layout does
            x, g = x.view(args.batch, args.T, -1), g.view(args.batch, args.T, -1)
        few = (slice(None), slice(2)) if COMPETITORS[name].batch_first else (slice(2),)
        peers.Task(name, x[few], w, g[few], own=True).forward_backward()  # loads what the first call loads
        one = peers.Task(name, x, w, g, own=True)
        del x, w, g
        gc.collect()
        base = resident(device)
        found[name] = {}
        for mode in MODES:
            before = peak(device, reset=True)
            caller(one, mode)()
            after = peak(device)
            found[name][mode] = after - base if after > max(before, base) else None
        del one
    return {"memory": found}


def resident(device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.synchronize()
        return int(torch.cuda.memory_allocated())
    return _status("VmRSS") or peak(device)


def peak(device: torch.device, reset: bool = False) -> int:
    """Return the most bytes held since the last reset; without /proc there is none, and '-' is what may come of it.

    VmHWM rather than getrusage's ru_maxrss, which begins at the peak of the process that started this one.
    """
    if device.type == "cpu":
        with contextlib.suppress(OSError):
            if reset:
                Path("/proc/self/clear_refs").write_text("5")
        return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    torch.cuda.synchronize()
    if reset:
        torch.cuda.reset_peak_memory_stats()
    return int(torch.cuda.max_memory_allocated())


def _status(field: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), 0)


# ---- in the parent -------------------------------------------------------------------------------------------------


def sizes(args: argparse.Namespace) -> tuple[list[int], list[str]]:
    """Return the sizes that fit into the free memory, and what was made smaller."""
    free = torch.cuda.mem_get_info()[0] if args.device == "cuda" else memory("MemAvailable")
    chosen, notes = [], []
    for asked in args.n:
        n = asked
        while 0 < free < need(args, n) and n > 16:
            n //= 2
        if n != asked:
            again = ", which is measured already" if n in chosen else ""
            notes.append(
                f"n={asked} needs about {need(args, asked) / 2**30:.1f} GiB, {free / 2**30:.1f} are free: "
                f"n={n} instead{again}"
            )
        if n not in chosen:
            chosen.append(n)
    return chosen, notes


def need(args: argparse.Namespace, n: int) -> int:
    return _TORCH + int((_PEAK[args.dtype] * args.T * args.batch * n + 4 * n * n) * DTYPES[args.dtype].itemsize)


def estimate(args: argparse.Namespace, chosen: list[int], names: list[str], settings: int) -> str:
    """Say how much work lies ahead; on the CPU also how long its products of matrices take."""
    flops = sum(8 * args.T * args.batch * n * n for n in chosen)  # forward 2, forward+backward 6
    calls = len(names) * settings * (min(args.rounds, 5) + 4)
    text = f"work ahead: n = {chosen}, T = {args.T}, batch {args.batch}: Linear alone {flops * calls / 1e12:.2f} TFLOP"
    if args.device == "cpu":
        torch.set_num_threads(args.threads)
        a = torch.ones(512, 512, dtype=DTYPES[args.dtype])
        a @ a
        start = time.perf_counter()
        a @ a
        speed = 2 * 512**3 / (time.perf_counter() - start)
        text += f", about {flops * calls / speed / 60:.1f} minutes at {speed / 1e9:.0f} GFLOP/s; loops over T on top"
        text += "; sinabs's backward grows with T squared" if "sinabs" in names else ""
    return text


def rows_of(case: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for job, modes in case["jobs"].items():
        for mode, samples in modes.items():
            own = samples[SNNCORE]
            for name, times in samples.items():
                ratio = paired_ratio(times, own) if len(times) == len(own) else times[0] / statistics.median(own)
                rows.append(
                    {
                        "n": case["n"], "job": job, "mode": mode, "allocator": case["allocator"], "name": name,
                        "rounds": len(times), "median_ms": statistics.median(times) * 1e3,
                        "min_ms": min(times) * 1e3, "ratio": ratio,
                    }
                )  # fmt: skip
    return rows


def report(cases: list[dict[str, Any]], rows: list[dict[str, Any]], usage: list[dict[str, Any]]) -> None:
    for case in (*cases, *usage):
        if "skipped" in case:
            print(f"n={case['n']} {case['what']} {case['allocator']}: not measured: {case['skipped']}")
    print(
        "\nchecks against the plain loop: on each line every spike is equal in float64, and the gradients of the\n"
        "input and the weight to 1e-10 of their norm; in the type that is timed, this much differs:"
    )
    firsts = {case["n"]: case for case in reversed(cases) if "checks" in case}  # the allocator changes no number
    table = [
        [f"{n:>5} {name}", f"{seen['LIF alone: spikes']:.4%}", f"{seen['LIF alone: grads']:.1e}",
         f"{seen['Linear+LIF: spikes']:.4%}", f"{seen['Linear+LIF: grads']:.1e}", f"{seen['rate']:.3f}",
         seen["spike_dtype"], "same" if seen["same"] else "DIFFER: it rounds its state otherwise"]
        for n, case in sorted(firsts.items()) for name, seen in case["checks"].items()
    ]  # fmt: skip
    print_table(
        ("n, name", "LIF: spikes", "grads", "Linear+LIF: spikes", "grads", "rate", "spikes are", "dynamics"), table
    )
    print("\n'x snncore': this one's time over snncore's, median of the rounds; n: rounds (1: over --limit).")
    table = [
        [f"{row['n']:>5} {row['job']:<11}{row['mode']:<17}{row['allocator']:<8}{row['name']}",
         f"{row['median_ms']:.2f}", f"{row['min_ms']:.2f}", f"{row['ratio']:.2f}", str(row["rounds"])]
        for row in rows
    ]  # fmt: skip
    print_table(("n, job, mode, allocator, name", "ms", "least ms", "x snncore", "n"), table)
    runs: dict[tuple[Any, ...], list[dict[str, int | None]]] = {}
    for one in usage:
        for name, modes in one.get("memory", {}).items():
            runs.setdefault((one["n"], one["job"], name, one["x_bytes"]), []).append(modes)
    if not runs:
        return
    print("\npeak memory that a call adds: median of the processes; 'of x': least to most, in inputs [T, batch, n];")
    print("'-': hidden below the set-up's own peak.")
    table = [
        [f"{n:>5} {job:<11}{name}", *(t for mode in MODES for t in memory_text([one[mode] for one in all_of], x_bytes))]
        for (n, job, name, x_bytes), all_of in runs.items()
    ]
    print_table(("n, job, name", "forward MiB", "of x", "forward+backward MiB", "of x"), table)


def memory_text(sizes: list[int | None], x_bytes: int) -> tuple[str, str]:
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        return "-", "-"
    least, most = (f"{size / x_bytes:.2f}" for size in (min(known), max(known)))
    return f"{statistics.median(known) / 2**20:.1f}", least if least == most else f"{least} to {most}"


def main() -> None:
    args, parser = parse()
    if args.child:
        answer(lambda task: work(args, task), args.child)
        return
    quiet()
    allocators = allocators_of(args, parser)
    versions = peers.available(args.names)
    names = [name for name in args.names if not versions[name].startswith("not ")]
    chosen, notes = sizes(args)
    facts, before = machine_facts(args.threads), load_average()
    facts["versions"].update({COMPETITORS[k].package: v for k, v in versions.items() if COMPETITORS[k].package})
    say("\n".join([estimate(args, chosen, names, len(allocators)), *notes]))
    cases: list[dict[str, Any]] = []
    usage: list[dict[str, Any]] = []
    for n in chosen:
        for allocator in allocators:
            say(f"n={n} {allocator}: checks, then rounds")
            task = {"what": "time", "n": n, "allocator": allocator, "names": names}
            cases.append(run_child(__file__, args, task))
        for job in () if args.quick else JOBS:
            say(f"n={n} {job}: memory")
            todo = [name for name in names if fits(name, job)]
            x_bytes = args.T * args.batch * n * DTYPES[args.dtype].itemsize
            for part in [todo] if args.device == "cuda" else [[name] for name in todo * _PROCESSES]:
                task = {"what": "memory", "n": n, "allocator": "default", "names": part, "job": job, "x_bytes": x_bytes}
                usage.append(run_child(__file__, args, task))
    rows = [row for case in cases if "skipped" not in case for row in rows_of(case)]
    after = load_average()
    if not rows:
        raise SystemExit("nothing was measured")
    print(f"Linear(n, n) -> LIF, T={args.T}, batch {args.batch}, {args.dtype}, {args.device}")
    print_facts(facts, before, after)
    if args.device == "cuda":
        print(
            f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}, TF32 {torch.backends.cuda.matmul.allow_tf32}"
        )
    for line in (*notes, *(f"  {name} {versions[name]}: {COMPETITORS[name].dynamics}" for name in versions)):
        print(line.replace(" :", ":"))
    report(cases, rows, usage)
    if args.json:
        write_json(
            args.json,
            {"facts": facts, "load_before": before, "load_after": after, "dtype": args.dtype, "device": args.device,
             "T": args.T, "batch": args.batch, "notes": notes, "rows": rows, "cases": cases, "memory": usage},
        )  # fmt: skip


if __name__ == "__main__":
    main()
