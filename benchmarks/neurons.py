"""Every native neuron beside LIF: time per element and step, forward and forward+backward, in one run.

    python benchmarks/neurons.py                     T=16, 10^6 lanes, about two minutes
    python benchmarks/neurons.py --T 4 --lanes 1e5 --threads 2 --json out.json

All read x and write spikes of the same size (backward: x, a gradient, another gradient), so a ratio of times is a ratio
of times per byte. Each neuron, as its class comes by default, is first compared with the torch engine in float64;
if one is wrong nothing is reported. "of copy" compares LIF with torch's copy_ of as many bytes.
"""

from __future__ import annotations

import argparse
import logging
import statistics
from collections.abc import Callable
from typing import Any

from common import (
    CheckFailed,
    interleave,
    load_average,
    machine_facts,
    paired_ratio,
    print_facts,
    print_table,
    require,
    say,
    write_json,
)
from neuron import MODES, caller, void

SLOWER = 1.5  # what the table marks, in units of LIF's time
_COPY = "(copy)"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--T", type=int, default=16, help="time steps (16)")
    parser.add_argument("--lanes", type=float, default=1e6, help="elements of one step (1e6)")
    parser.add_argument("--dtype", choices=("float32", "float64", "bfloat16", "float16"), default="float32")
    parser.add_argument("--only", help="comma-separated names; lif is always there")
    parser.add_argument("--threads", type=int, default=1, help="threads (1)")
    parser.add_argument("--rounds", type=int, default=9, help="rounds at most (9)")
    parser.add_argument("--seconds", type=float, default=60.0, help="aim of one measurement, 5 rounds at least (60)")
    parser.add_argument("--json", metavar="FILE", help="also write every sample")
    args = parser.parse_args()
    if args.T < 1 or args.lanes < 1 or args.threads < 1 or args.rounds < 1:
        parser.error("--T, --lanes, --threads and --rounds: must be at least 1")
    return args


def native_neurons(only: str | None) -> dict[str, Callable[..., Any]]:
    """Return name -> class of every neuron that runs on the native engine as its class comes."""
    import torch

    from snncore.neuron import NEURONS, BaseNode

    chosen = set(NEURONS) if only is None else {*only.split(","), "lif"}
    if chosen - set(NEURONS):
        raise SystemExit(f"--only: must be of {', '.join(NEURONS)}, got {only!r}")
    probe = torch.zeros(1, 1)
    found = {}
    for name, cls in NEURONS.items():
        node = cls(step_mode="m")
        why = node.why_not_native(probe) if isinstance(node, BaseNode) else "it is no recurrence over a step"
        if why is None and name in chosen:
            found[name] = cls
        elif why is not None:
            say(f"{name}: not in this table: {why}")
    return found


def check(name: str, cls: Callable[..., Any]) -> float:
    """Compare with the torch engine in float64; return the firing rate."""
    import torch

    torch.manual_seed(0)
    x, g = torch.rand(16, 2, 50, dtype=torch.float64) * 2, torch.randn(16, 2, 50, dtype=torch.float64)
    results = []
    node = cls(step_mode="m").double()  # one for both: some start from random parameters
    for engine in ("native", "torch"):
        node.engine, leaf = engine, x.clone().requires_grad_()
        spikes = node(leaf)
        (grad,) = torch.autograd.grad(spikes, leaf, g)
        results.append((spikes.detach(), grad))
    (spikes, grad), (want, want_grad) = results
    require(bool((spikes != want).sum() == 0), f"{name}: spikes differ from the torch engine's")
    error = float((grad - want_grad).abs().max() / want_grad.abs().max().clamp(min=1e-30))
    require(error < 1e-10, f"{name}: gradients differ from the torch engine's by {error:.1e}")
    return float((spikes != 0).double().mean())


def measure(args: argparse.Namespace, neurons: dict[str, Callable[..., Any]]) -> dict[str, dict[str, list[float]]]:
    import torch

    dtype, shape = getattr(torch, args.dtype), (args.T, 1, int(args.lanes))
    x = (torch.rand(shape) * 2).to(dtype)
    g, x_grad = torch.randn(shape).to(dtype), x.clone().requires_grad_()
    samples = {}
    for mode, tensors in MODES.items():
        backward = mode != "forward"
        calls = {
            name: caller(cls(step_mode="m"), x_grad if backward else x, g if backward else None)
            for name, cls in neurons.items()
        }
        source = torch.ones(x.numel() * tensors // 2, dtype=dtype)
        target = torch.zeros_like(source)
        calls[_COPY] = lambda source=source, target=target: void(target.copy_(source))  # type: ignore[misc]
        say(f"{mode}: {len(neurons)} neurons in turn")
        samples[mode] = interleave(calls, args.rounds, args.seconds)
    return samples


def main() -> None:
    args = parse()
    import torch

    import snncore

    torch.set_num_threads(args.threads)
    logging.getLogger("snncore").setLevel(logging.ERROR)
    snncore.keep_freed_blocks()
    neurons = native_neurons(args.only)
    before = load_average()
    try:
        rates = {name: check(name, cls) for name, cls in neurons.items()}
    except CheckFailed as error:
        raise SystemExit(f"no report, a check failed: {error}") from None
    samples = measure(args, neurons)
    facts, elements = machine_facts(args.threads), args.T * int(args.lanes)
    print(f"T={args.T}, {int(args.lanes)} lanes, {args.dtype}, freed blocks kept; x in [0, 2)")
    print_facts(facts, before, load_average())
    print("checks: spikes equal to the torch engine's in float64, gradients to 1e-10")
    rows = []
    for name in neurons:
        row = [name, str(snncore.ops.NEURON_TABLE[neurons[name].native][0]), f"{rates[name]:.2f}"]  # type: ignore[attr-defined]
        for mode in MODES:
            times = samples[mode][name]
            ratio = paired_ratio(times, samples[mode]["lif"])
            mark = " !" if ratio > SLOWER else ""
            row += [f"{statistics.median(times) * 1e9 / elements:.3f}", f"{ratio:.2f}{mark}"]
        rows.append(row)
    print_table(("neuron", "states", "rate", "forward ns", "of LIF", "fwd+bwd ns", "of LIF"), rows)
    for mode in MODES:
        print(f"LIF, {mode}: {paired_ratio(samples[mode][_COPY], samples[mode]['lif']):.0%} of the speed of copy_")
    if args.json:
        from pathlib import Path

        write_json(Path(args.json), {"facts": facts, "samples": samples, "T": args.T, "lanes": int(args.lanes)})


if __name__ == "__main__":
    main()
