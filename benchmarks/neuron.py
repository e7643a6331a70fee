"""LIF over T steps, forward and forward+backward: snncore, SpikingJelly, snnTorch, torch.compile of the plain loop.

    python benchmarks/neuron.py              all of it, about a quarter of an hour
    python benchmarks/neuron.py --quick      less than a minute
    python benchmarks/neuron.py --cases 16x1000000 --threads 2 --json out.json

Each case (T x lanes) runs twice, in a process of its own each time: "default" sets nothing (snncore then reuses the
memory of its own large outputs), "kept" calls snncore.keep_freed_blocks(), which serves every competitor; "plain", on
request, keeps nothing, for anybody. First the results are compared; if one is wrong
nothing is reported. Forward is without grad. GB/s counts the fewest bytes the job can move: forward reads x and writes
the spikes, backward reads x and the gradient and writes another; "of copy" compares it with torch's copy_ between
existing tensors of the same total size (above 100 % is possible: a copy need not bypass the caches, a kernel can).
Needs spikingjelly==2.0.0 and snntorch==1.0.0.
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

CASES = [(T, lanes) for T in (4, 16, 64) for lanes in (10_000, 100_000, 1_000_000)]
QUICK = [(4, 10_000), (4, 100_000)]
SNNCORE, PEER, COMPILED = "snncore", "spikingjelly", "torch.compile"
MODES = {"forward": 2, "forward+backward": 5}  # tensors that have to be read or written
_PEAK = 28  # a process's peak in units of x; 24 to 25 were measured, checks included
_COPY = "(copy)"


def parse() -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_arguments(parser, rounds=15)
    parser.add_argument("--cases", help="comma-separated TxLANES, e.g. 16x1000000; default: 4, 16, 64 x 1e4, 1e5, 1e6")
    parser.add_argument("--dtype", choices=("float32", "float64", "bfloat16", "float16"), default="float32")
    parser.add_argument("--compile-limit", type=float, default=240.0, help="seconds for torch.compile per case (240)")
    return parse_common(parser), parser


def cases_of(args: argparse.Namespace, parser: argparse.ArgumentParser) -> list[tuple[int, int]]:
    if args.cases is None:
        return QUICK if args.quick else CASES
    try:
        cases = [(int(T), int(float(lanes))) for T, lanes in (part.split("x") for part in args.cases.split(","))]
    except ValueError:
        parser.error(f"--cases: must be TxLANES,TxLANES,..., got {args.cases!r}")
    if any(T < 1 or lanes < 1 for T, lanes in cases):
        parser.error(f"--cases: must be positive, got {args.cases!r}")
    return cases


# ---- in the child: one case, one allocator setting -----------------------------------------------------------------


def measure(args: argparse.Namespace, task: dict[str, Any]) -> dict[str, Any]:
    """Check, then time one case; return the samples."""
    import neuron_peers as peers
    import torch

    torch.set_num_threads(args.threads)
    quiet()
    dtype = getattr(torch, args.dtype)
    x, g = peers.make_input(task["T"], task["lanes"], dtype)
    x_grad = x.clone().requires_grad_()
    runs = {SNNCORE: peers.snncore_lif(), PEER: peers.spikingjelly_lif()}
    peers.check_exact(x, g, runs[SNNCORE], runs[PEER])
    result: dict[str, Any] = {"checks": {}, "skips": {}, "modes": {}}
    compiled, why, seconds = peers.compiled_loop(x, g, args.compile_limit)
    result["compile_seconds"] = seconds
    if compiled is None:
        result["skips"][COMPILED] = why
    oracle = runs[PEER]
    if x.element_size() == 2:  # SpikingJelly then keeps its state in the half type: another computation
        oracle = peers.plain_loop
        result["dtype"] = args.dtype
        result["spikes_of_half_state"] = float((runs[PEER](x) != oracle(x)).double().mean())
    want, want_grad = peers.forward_backward(oracle, x_grad, g)
    for name, run in {SNNCORE: runs[SNNCORE], COMPILED: compiled}.items():
        if run is not None:
            result["checks"][name] = peers.check_close(name, x, g, run, want, want_grad)
    del want, want_grad
    runs["snntorch"] = peers.snntorch_leaky()
    if compiled is not None:
        runs[COMPILED] = compiled

    for mode, tensors in MODES.items():
        backward = mode != "forward"
        calls = {name: caller(run, x_grad if backward else x, g if backward else None) for name, run in runs.items()}
        source = torch.ones(x.numel() * tensors // 2, dtype=dtype)
        target = torch.zeros_like(source)
        calls[_COPY] = lambda source=source, target=target: void(target.copy_(source))  # type: ignore[misc]
        result["modes"][mode] = interleave(calls, args.rounds, args.seconds)
        del source, target, calls
    return result


def caller(run: Callable[[Any], Any], x: Any, g: Any) -> Callable[[], None]:
    """Return one call whose results are freed before it returns: forward without grad, or both where ``g`` is given."""
    import torch

    def forward() -> None:
        with torch.no_grad():
            run(x)

    def forward_backward() -> None:
        torch.autograd.grad(run(x), x, g)

    return forward if g is None else forward_backward


def void(_: object) -> None:
    return None


# ---- in the parent -------------------------------------------------------------------------------------------------


def too_large(T: int, lanes: int, itemsize: int) -> str:
    """Return why a case does not fit into memory, or nothing."""
    need, free = _PEAK * T * lanes * itemsize, memory("MemAvailable")
    return f"needs about {need / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free" if 0 < free < need else ""


def rows_of(case: dict[str, Any], itemsize: int) -> list[dict[str, Any]]:
    """Turn the samples of one case and setting into the rows of the report."""
    rows = []
    elements = case["T"] * case["lanes"]
    for mode, samples in case["modes"].items():
        size = MODES[mode] * itemsize * elements
        copy = size / min(samples[_COPY]) / 1e9
        for name, times in samples.items():
            if name == _COPY:
                continue
            median = statistics.median(times)
            rows.append(
                {
                    "T": case["T"], "lanes": case["lanes"], "mode": mode, "allocator": case["allocator"], "name": name,
                    "rounds": len(times), "median_ms": median * 1e3, "min_ms": min(times) * 1e3,
                    "speed": paired_ratio(samples[PEER], times), "ns": median * 1e9 / elements,
                    "gb_s": size / median / 1e9, "of_copy": size / median / 1e9 / copy, "copy_gb_s": copy,
                    "over_compiled": paired_ratio(samples[COMPILED], times) if COMPILED in samples else None,
                }
            )  # fmt: skip
    return rows


def report(cases: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    print("\nchecks: float64 slice: every spike equal to SpikingJelly's, gradients to 1e-10; own input:")
    for case in cases:
        label = f"  T={case['T']} lanes={case['lanes']} {case['allocator']}"
        if "skipped" in case:
            print(f"{label}: not measured: {case['skipped']}")
            continue
        for name, seen in case["checks"].items():
            print(
                f"{label}: {name}: {seen['lanes_at_threshold']} lanes part at rounding distance from the threshold; "
                f"gradients differ by {seen['grad_error']:.1e} of the largest; firing rate {seen['firing_rate']:.3f}"
            )
        if "spikes_of_half_state" in case:
            print(
                f"{label}: compared with the plain loop, whose state is float32; SpikingJelly's is {case['dtype']} "
                f"and {case['spikes_of_half_state']:.2%} of its spikes differ"
            )
        for name, why in case["skips"].items():
            print(f"{label}: {name}: not measured: {why}")
    print(
        "\n'x SJ': SpikingJelly's time over this one's, median of the rounds; ns/el: per element and step;\n"
        "n: rounds; snntorch: Leaky, its own dynamics."
    )
    table = [
        [
            f"{row['T']:>2} x {row['lanes']:<8}{row['mode']:<17}{row['allocator']:<8}{row['name']}",
            f"{row['median_ms']:.3f}", f"{row['speed']:.2f}", f"{row['ns']:.3f}", f"{row['gb_s']:.2f}",
            f"{row['of_copy']:.0%}", f"{row['copy_gb_s']:.1f}", str(row["rounds"]),
        ]
        for row in rows
    ]  # fmt: skip
    print_table(("T x lanes, mode, allocator, name", "ms", "x SJ", "ns/el", "GB/s", "of copy", "copy GB/s", "n"), table)
    print()
    own = [row for row in rows if row["name"] == SNNCORE]
    for mode in MODES:
        for allocator in sorted({row["allocator"] for row in own}):
            speeds = [r["speed"] for r in own if r["mode"] == mode and r["allocator"] == allocator]
            print(f"snncore, {mode}, {allocator}: {min(speeds):.1f} to {max(speeds):.1f} x SpikingJelly")
    behind = [r for r in own if r["over_compiled"] is not None and r["over_compiled"] < 1]
    print(f"snncore behind torch.compile in {len(behind)} of {sum(r['over_compiled'] is not None for r in own)} rows")
    for r in behind:
        print(f"  {r['T']} x {r['lanes']} {r['mode']} {r['allocator']}: {r['over_compiled']:.2f} of its speed")


def main() -> None:
    args, parser = parse()
    if args.child:
        answer(lambda task: measure(args, task), args.child)
        return
    itemsize = {"float64": 8, "float32": 4}.get(args.dtype, 2)
    facts, before = machine_facts(args.threads), load_average()
    cases: list[dict[str, Any]] = []
    for T, lanes in cases_of(args, parser):
        for allocator in allocators_of(args, parser):
            task = {"T": T, "lanes": lanes, "allocator": allocator}
            why = too_large(T, lanes, itemsize)
            say(f"T={T} lanes={lanes} {allocator}: {why or 'checks, then rounds'}")
            cases.append({**task, "skipped": why} if why else run_child(__file__, args, task))
    rows = [row for case in cases if "skipped" not in case for row in rows_of(case, itemsize)]
    after = load_average()
    if not rows:
        raise SystemExit("nothing was measured")
    print(f"LIF, tau 2, decay_input, ATan(2), hard reset to 0, {args.dtype}")
    print_facts(facts, before, after)
    report(cases, rows)
    if args.json:
        write_json(
            args.json,
            {"facts": facts, "load_before": before, "load_after": after, "dtype": args.dtype, "rows": rows,
             "cases": cases},
        )  # fmt: skip


if __name__ == "__main__":
    main()
