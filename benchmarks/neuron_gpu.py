"""LIF on a CUDA device, forward and forward+backward: snncore beside SpikingJelly's fused kernels and a plain copy.

    python benchmarks/neuron_gpu.py                          T = 4, 16, 64; 10^6 and 10^7 lanes; float32 and bfloat16
    python benchmarks/neuron_gpu.py --cases 16x10000000 --dtypes bfloat16 --json out.json

Times are taken between CUDA events around a block of calls, competitors in turn, round after round; host time shows
only where it exceeds the device's. First the spikes and gradients are compared (float32: equal but for potentials at
rounding distance from the threshold; bfloat16 against snncore's own float32 result rounded once); if one is wrong
nothing is reported. "of copy" compares with torch's copy_ of as many bytes as the job must move at least: forward reads
x and writes spikes, backward reads x and a gradient and writes another. Needs spikingjelly==2.0.0 and Triton.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from common import CheckFailed, machine_facts, paired_ratio, print_table, require, say, write_json
from neuron import MODES, caller, void
from neuron_peers import ALPHA, GRAD_TOLERANCE, TAU, forward_backward, snncore_lif
from torch import Tensor

CASES = "4x1000000,16x1000000,64x1000000,4x10000000,16x10000000"
SNNCORE, PEER, _COPY = "snncore", "spikingjelly", "(copy)"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=CASES, help=f"comma-separated TxLANES ({CASES})")
    parser.add_argument("--dtypes", default="float32,bfloat16", help="of float32, bfloat16, float16 (first two)")
    parser.add_argument("--rounds", type=int, default=20, help="rounds (20)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every sample")
    return parser.parse_args()


def spikingjelly_lif(dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """SpikingJelly's op with its state kept in ``dtype``, the only way to its fused kernel in low precision."""
    from spikingjelly.activation_based import functional, surrogate

    fire = surrogate.ATan(alpha=ALPHA)
    storage = None if dtype == torch.float32 else dtype

    def run(x_seq: Tensor) -> Tensor:
        v = torch.zeros_like(x_seq[0])
        spike_seq: Tensor = functional.lif_multi_step(
            x_seq, v, TAU, True, 1.0, 0.0, fire, False, False, neuron_storage=storage
        )[0]
        return spike_seq

    return run


def implementation() -> str:
    from spikingjelly.activation_based import functional

    return str(functional.neuron_implementation("lif", torch.device("cuda"))["implementation"])


def check(x: Tensor, g: Tensor, run: Callable[[Tensor], Tensor], what: str, own: Callable[[Tensor], Tensor]) -> None:
    """Compare ``run`` with snncore in float32 on the same input."""
    got, got_grad = forward_backward(run, x.detach().requires_grad_(), g)
    want, want_grad = forward_backward(own, x.float().detach().requires_grad_(), g.float())
    parted = (got.float() != want).any(0)
    share = float(parted.double().mean())
    allowed = 1e-3 if x.dtype == torch.float32 or what == SNNCORE else 1.0  # SpikingJelly's half state is another job
    require(share <= allowed, f"{what}: {share:.2%} of the lanes fire otherwise")
    if allowed < 1.0:
        error = float((got_grad.float() - want_grad)[:, ~parted].abs().max() / want_grad.abs().max())
        require(error < GRAD_TOLERANCE[x.dtype], f"{what}: gradients differ by {error:.1e} of the largest")


def timed(call: Callable[[], None], repeat: int) -> float:
    """Return seconds per call between two events of the current stream."""
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(repeat):
        call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3 / repeat


def rounds_of(calls: Mapping[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    repeat = {}
    for name, call in calls.items():
        timed(call, 3)
        repeat[name] = max(3, int(0.02 / max(timed(call, 3), 1e-6)))
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            samples[name].append(timed(call, repeat[name]))
    return samples


def measure(T: int, lanes: int, dtype: torch.dtype, rounds: int) -> dict[str, dict[str, list[float]]]:
    torch.manual_seed(0)
    x = (torch.rand(T, lanes, device="cuda") * 3 - 0.5).to(dtype)
    g = torch.randn(T, lanes, device="cuda").to(dtype)
    own, peer = snncore_lif(), spikingjelly_lif(dtype)
    check(x, g, own, SNNCORE, own)
    check(x, g, peer, PEER, own)
    leaf, samples = x.clone().requires_grad_(), {}
    for mode, tensors in MODES.items():
        backward = mode != "forward"
        args = (leaf, g) if backward else (x, None)
        calls = {name: caller(run, *args) for name, run in ((SNNCORE, own), (PEER, peer))}
        source = torch.ones(x.numel() * tensors // 2, dtype=dtype, device="cuda")
        target = torch.zeros_like(source)
        calls[_COPY] = lambda source=source, target=target: void(target.copy_(source))  # type: ignore[misc]
        samples[mode] = rounds_of(calls, rounds)
        del source, target, calls
    return samples


def main() -> None:
    args = parse()
    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device here; benchmarks/neuron.py measures the CPU")
    rows, everything = [], []
    for dtype_name in args.dtypes.split(","):
        for case in args.cases.split(","):
            T, lanes = (int(float(part)) for part in case.split("x"))
            say(f"{dtype_name} {T} x {lanes}")
            try:
                samples = measure(T, lanes, getattr(torch, dtype_name), args.rounds)
            except CheckFailed as error:
                raise SystemExit(f"no report, a check failed: {error}") from None
            everything.append({"T": T, "lanes": lanes, "dtype": dtype_name, "samples": samples})
            for mode, times in samples.items():
                own, elements = times[SNNCORE], T * lanes
                size = MODES[mode] * elements * getattr(torch, dtype_name).itemsize
                rows.append(
                    [
                        f"{dtype_name} {T} x {lanes} {mode}", f"{statistics.median(own) * 1e6:.1f}",
                        f"{size / statistics.median(own) / 1e9:.0f}", f"{paired_ratio(times[_COPY], own):.0%}",
                        f"{paired_ratio(times[PEER], own):.2f}",
                    ]
                )  # fmt: skip
    facts = machine_facts(1)
    print(f"{torch.cuda.get_device_name()}; torch {torch.__version__}; SpikingJelly's kernel: {implementation()}")
    print_table(("LIF, tau 2, ATan(2), hard reset", "us", "GB/s", "of copy", "x SpikingJelly"), rows)
    if args.json:
        write_json(args.json, {"facts": facts, "device": torch.cuda.get_device_name(), "cases": everything})


if __name__ == "__main__":
    main()
