"""What the benchmarks share: interleaved timing, one process per allocator setting, machine facts, tables.

A time is the median over rounds, and a ratio the median of the ratios within each round: competitors take turns
(A B C A B C ...), so what else the machine does falls on all of them alike. Nothing here judges a timing.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import json
import logging
import math
import os
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import snncore

# "plain" also switches off the reuse of snncore's own large outputs: what a kernel costs when its outputs are fresh
ALLOCATORS = ("default", "kept", "plain")
_BLOCK_SECONDS = 0.02  # calls are timed in blocks of about this long, so that the clock's own cost vanishes
_LEAST_ROUNDS = 5
_ALLOCATOR_ENV = ("GLIBC_TUNABLES", "MALLOC_", "SNNCORE_OUTPUT_BLOCKS")  # not inherited: "default" sets nothing
_MARK = "@@result "  # precedes a child's result on its standard output


class CheckFailed(Exception):
    """A competitor computes something else than it should: nothing is reported."""


def require(ok: bool, message: str) -> None:
    if not ok:
        raise CheckFailed(message)


# ---- timing --------------------------------------------------------------------------------------------------------


def interleave(
    calls: Mapping[str, Callable[[], None]], rounds: int, seconds: float, finish: Callable[[], None] | None = None
) -> dict[str, list[float]]:
    """Time ``calls`` in turn, round after round.

    Args:
        calls: name -> one call; it returns nothing, so that its results are freed within its own time.
        rounds: how many rounds at most.
        seconds: stop at fewer rounds (not below 5) when they would take longer than this.
        finish: waits until what the calls have started on a device is done; within their time.

    Returns:
        name -> seconds per call, one number a round.
    """
    repeat: dict[str, int] = {}
    for name, call in calls.items():
        _block(call, 2, finish)  # warm-up: sizes the allocator's heap and fills the caches of the dispatcher
        repeat[name] = max(1, math.ceil(_BLOCK_SECONDS / max(_block(call, 1, finish), 1e-6)))
    samples: dict[str, list[float]] = {name: [] for name in calls}
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        for done in range(1, rounds + 1):
            for name, call in calls.items():
                samples[name].append(_block(call, repeat[name], finish))
            spent = time.perf_counter() - start
            if done >= _LEAST_ROUNDS and spent * (done + 1) / done > seconds:
                break
            gc.collect()  # between rounds only, and never inside a timed block
    finally:
        gc.enable()
    return samples


def _block(call: Callable[[], None], repeat: int, finish: Callable[[], None] | None) -> float:
    start = time.perf_counter()
    for _ in range(repeat):
        call()
    if finish is not None:
        finish()
    return (time.perf_counter() - start) / repeat


def paired_ratio(of: Sequence[float], to: Sequence[float]) -> float:
    """Return the median over rounds of ``of / to``."""
    return statistics.median(a / b for a, b in zip(of, to, strict=True))


# ---- processes -----------------------------------------------------------------------------------------------------


def add_common_arguments(parser: argparse.ArgumentParser, rounds: int) -> None:
    parser.add_argument("--threads", type=int, default=1, help="threads of every competitor (default 1)")
    parser.add_argument("--rounds", type=int, default=rounds, help=f"rounds at most (default {rounds})")
    parser.add_argument("--seconds", type=float, default=20.0, help="aim of one measurement, 5 rounds at least (20)")
    parser.add_argument("--allocators", default="default,kept", help="of default, kept, plain (default: the first two)")
    parser.add_argument("--quick", action="store_true", help="a small part in less than a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything, every sample included")
    parser.add_argument("--child", help=argparse.SUPPRESS)


def parse_common(parser: argparse.ArgumentParser) -> argparse.Namespace:
    args = parser.parse_args()
    if args.threads < 1 or args.rounds < 1:
        parser.error("--threads and --rounds: must be at least 1")
    if args.quick:
        args.rounds, args.seconds = min(args.rounds, 7), min(args.seconds, 2.0)
    return args


def allocators_of(args: argparse.Namespace, parser: argparse.ArgumentParser) -> list[str]:
    chosen = [name.strip() for name in args.allocators.split(",") if name.strip()]
    if not chosen or set(chosen) - set(ALLOCATORS):
        parser.error(f"--allocators: must be of {', '.join(ALLOCATORS)}, got {args.allocators!r}")
    return chosen


def run_child(script: str, args: argparse.Namespace, task: Mapping[str, Any]) -> dict[str, Any]:
    """Run ``task`` in a process of its own and return its result; a red check there ends this process too."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(_ALLOCATOR_ENV)}
    env["OMP_NUM_THREADS"] = env["MKL_NUM_THREADS"] = str(args.threads)
    env["SNNCORE_OUTPUT_BLOCKS"] = "0" if task["allocator"] == "plain" else "1"
    env.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # in this process, so that a time limit reaches it
    command = [sys.executable, script, *sys.argv[1:], "--child", json.dumps(task)]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=False)
    lines = done.stdout.splitlines()
    for line in lines:
        if not line.startswith(_MARK):
            print(line, file=sys.stderr)
    if done.returncode == 0 and lines and lines[-1].startswith(_MARK):
        result: dict[str, Any] = json.loads(lines[-1].removeprefix(_MARK))
        return result
    if done.returncode < 0:  # most likely the system, for want of memory; the other cases still count
        return {**task, "skipped": f"its process was ended by signal {-done.returncode}"}
    raise SystemExit("no report: a check or a process failed, see above")


def answer(task: Callable[[dict[str, Any]], dict[str, Any]], child: str) -> None:
    """In the child: set the allocator, do the task, hand the result to the parent."""
    what = json.loads(child)
    try:
        result = task(what) if set_allocator(what["allocator"]) else {"skipped": "this C library has no such setting"}
    except CheckFailed as error:
        print(f"CHECK FAILED {what}: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux
    print(_MARK + json.dumps({**what, **result, "peak_gib": round(peak, 2)}), flush=True)


def set_allocator(name: str) -> bool:
    """Set the allocator of this process, for all competitors alike; False where there is no such setting."""
    return name != "kept" or snncore.keep_freed_blocks()


def quiet() -> None:
    """Drop torch's line, once a process, on the absence of Triton."""
    logging.getLogger("torch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*[Tt]riton.*")


def say(text: str) -> None:
    """Print progress where it does not mix with the report."""
    print(text, file=sys.stderr, flush=True)


# ---- facts and tables ----------------------------------------------------------------------------------------------


def machine_facts(threads: int) -> dict[str, Any]:
    cpu = "unknown"
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    versions = {}
    for package in ("torch", "spikingjelly", "snntorch"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "absent"
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": threads,
        "memory_gib": round(memory("MemTotal") / 2**30, 1),
        "versions": versions,
        "build_info": snncore.build_info(),
        "preloaded": os.environ.get("LD_PRELOAD", ""),
    }


def load_average() -> list[float]:
    return [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else []


def memory(field: str) -> int:
    """Return a field of /proc/meminfo in bytes; 0 where there is none."""
    for line in _lines("/proc/meminfo"):
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def print_facts(facts: Mapping[str, Any], before: Sequence[float], after: Sequence[float]) -> None:
    built = facts["build_info"]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    print(f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB; {versions}")
    print(
        f"snncore {built['version']} {built['build_type']} ({built['compiler']}), kernels {built['cpu_capability']}; "
        f"threads {facts['threads']}; load average before {before}, after {after}"
    )
    if facts["preloaded"]:
        print(f"LD_PRELOAD={facts['preloaded']}: the allocator may not be the C library's")


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(str(row[i])) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, ["-" * width for width in widths], *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        print("  ".join(cells).rstrip())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(temporary, path)
