"""How much of the machine's memory bandwidth the LIF kernels use, forward and backward each by itself.

    python benchmarks/bandwidth.py --threads 2       10^6 lanes, T = 4, 16, 64; two minutes

Calls the ops themselves, without autograd. GB/s counts the fewest bytes the job can move: forward reads x and writes
the spikes; backward reads x and the spikes' gradient and writes x's. Two yardsticks, in the same rounds: torch's copy_
of as many bytes, which may run inside the caches, and its copy_ of 1 GiB, which cannot. Results are compared with the
plain definition in float64 first; if one is wrong nothing is reported.
"""

from __future__ import annotations

import argparse
from typing import Any

from common import interleave, load_average, machine_facts, paired_ratio, print_facts, print_table, require, say
from neuron import void

LANES = 1_000_000
COPY, LARGE = "(copy)", "(copy of 1 GiB)"
TENSORS = {"forward": 2, "backward": 3}  # that have to be read or written


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", default="4,16,64", help="comma-separated T (4,16,64)")
    parser.add_argument("--lanes", type=float, default=LANES, help="elements of one step (1e6)")
    parser.add_argument("--dtype", choices=("float32", "float64", "bfloat16", "float16"), default="float32")
    parser.add_argument("--surrogates", default="atan,sigmoid", help="comma-separated (atan,sigmoid)")
    parser.add_argument("--threads", type=int, default=1, help="threads (1)")
    parser.add_argument("--rounds", type=int, default=15, help="rounds at most (15)")
    args = parser.parse_args()
    if args.lanes < 1 or args.threads < 1 or args.rounds < 1:
        parser.error("--lanes, --threads and --rounds: must be at least 1")
    return args


def kernels(node: Any) -> tuple[Any, Any]:
    """Return the forward op x -> spikes and the backward op (g, x) -> grad of ``node``, nothing else kept."""
    import torch

    dynamics = node._dynamics((node.v_threshold, *node.coefficients().values()))
    forward = getattr(torch.ops.snncore, f"{dynamics.neuron}_forward").default
    backward = getattr(torch.ops.snncore, f"{dynamics.neuron}_backward").default
    return (
        lambda x: forward(x, None, None, 1, *dynamics.arguments, False, False, None)[0],
        lambda g, x: backward(g, None, None, x, None, None, 1, *dynamics.arguments, False, False)[0],
    )


def check(node: Any) -> None:
    """Compare the ops with the torch engine in float64."""
    import torch

    x = (torch.rand(16, 1, 500, dtype=torch.float64) * 2).requires_grad_()
    g = torch.randn(x.shape, dtype=torch.float64)
    forward, backward = kernels(node)
    node.engine = "torch"
    want = node(x)
    (want_grad,) = torch.autograd.grad(want, x, g)
    require(torch.equal(forward(x.detach()), want), "spikes differ from the definition's")
    error = float((backward(g, x.detach()) - want_grad).abs().max() / want_grad.abs().max())
    require(error < 1e-10, f"gradients differ from the definition's by {error:.1e}")


def rows_of(args: argparse.Namespace, T: int) -> list[list[str]]:
    import torch

    from snncore import neuron, surrogate
    from snncore.registry import lookup

    dtype, lanes = getattr(torch, args.dtype), int(args.lanes)
    x, g = (torch.rand(T, lanes) * 2).to(dtype), torch.randn(T, lanes).to(dtype)
    large = torch.ones(1 << 28), torch.zeros(1 << 28)
    calls = {LARGE: lambda: void(large[1].copy_(large[0]))}
    for job, tensors in TENSORS.items():
        pair = torch.ones(x.numel() * tensors // 2, dtype=dtype), torch.zeros(x.numel() * tensors // 2, dtype=dtype)
        calls[f"{COPY} {job}"] = lambda pair=pair: void(pair[1].copy_(pair[0]))  # type: ignore[misc]
    names = args.surrogates.split(",")
    for name in names:
        cls = lookup(surrogate.SURROGATES, name, "--surrogates")
        check(neuron.LIFNode(surrogate_function=cls(), step_mode="m").double())
        forward, backward = kernels(neuron.LIFNode(surrogate_function=cls(), step_mode="m"))
        calls[f"forward {name}"] = lambda forward=forward: void(forward(x))  # type: ignore[misc]
        calls[f"backward {name}"] = lambda backward=backward: void(backward(g, x))  # type: ignore[misc]
    with torch.no_grad():
        samples = interleave(calls, args.rounds, 60.0)
    rows = []
    for job, tensors in TENSORS.items():
        size = tensors * x.numel() * x.element_size()
        for name in names:
            times = samples[f"{job} {name}"]
            in_bytes = [t * size / 2**31 for t in samples[LARGE]]  # the large copy's time for as many bytes
            rows.append(
                [
                    f"T={T} {job} {name}", f"{size / sorted(times)[len(times) // 2] / 1e9:.1f}",
                    f"{paired_ratio(samples[f'{COPY} {job}'], times):.0%}", f"{paired_ratio(in_bytes, times):.0%}",
                ]
            )  # fmt: skip
    return rows


def main() -> None:
    args = parse()
    import torch

    import snncore

    torch.set_num_threads(args.threads)
    snncore.keep_freed_blocks()
    before, rows = load_average(), []
    for T in (int(text) for text in args.steps.split(",")):
        say(f"T={T}")
        rows += rows_of(args, T)
    print(f"LIF, hard reset, {int(args.lanes)} lanes, {args.dtype}, the ops alone, freed blocks kept")
    print_facts(machine_facts(args.threads), before, load_average())
    print("checks: spikes equal to the definition's in float64, gradients to 1e-10")
    print_table(("kernel", "GB/s", "of copy_, same bytes", "of copy_, 1 GiB"), rows)


if __name__ == "__main__":
    main()
