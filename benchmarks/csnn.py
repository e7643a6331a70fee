"""The CSNN for Fashion-MNIST: a training step and inference, snncore against the same net of SpikingJelly's layers.

    python benchmarks/csnn.py                          about two minutes
    python benchmarks/csnn.py --quick                  less than a minute
    python benchmarks/csnn.py --channels 128 --batch 16 --threads 2

The net of SpikingJelly's tutorial (conv_fashion_mnist): twice conv 3x3, batch norm, IF, max-pool; two linear layers,
each with IF; direct encoding over T steps. A training step is zero_grad, forward, mean over T, MSE against one-hot
labels, backward, SGD with momentum (at learning rate 0, so that the spikes are the same in every round), and a reset
where the library keeps state. Images are random, 1x28x28. Both nets carry the same weights; first their results are
compared, and if they differ nothing is reported. Allocator settings as in neuron.py. Needs spikingjelly==2.0.0.
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
    require,
    run_child,
    say,
    write_json,
)

SNNCORE, PEER = "snncore", "spikingjelly"
JOBS = ("training step", "inference")
CLASSES = 10


def parse() -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_arguments(parser, rounds=21)
    parser.add_argument("-T", type=int, default=4, help="time steps (default 4)")
    parser.add_argument("--channels", type=int, default=32, help="channels of both convolutions (default 32)")
    parser.add_argument("--batch", default="64,128", help="comma-separated batch sizes (default 64,128)")
    return parse_common(parser), parser


def batches_of(args: argparse.Namespace, parser: argparse.ArgumentParser) -> list[int]:
    try:
        batches = [int(part) for part in args.batch.split(",")]
    except ValueError:
        batches = [0]
    if min(batches) < 1:
        parser.error(f"--batch: must be whole numbers >= 1, got {args.batch!r}")
    return batches[:1] if args.quick else batches


# ---- in the child --------------------------------------------------------------------------------------------------


def spikingjelly_csnn(channels: int) -> Any:
    """Return the tutorial's net, whose parameters have the names of snncore's."""
    from spikingjelly.activation_based import functional, layer, neuron, surrogate
    from torch import nn

    def fire() -> nn.Module:
        return neuron.IFNode(surrogate_function=surrogate.ATan())

    net = nn.Module()
    net.conv_fc = nn.Sequential(
        layer.Conv2d(1, channels, kernel_size=3, padding=1, bias=False),
        layer.BatchNorm2d(channels),
        fire(),
        layer.MaxPool2d(2, 2),
        layer.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False),
        layer.BatchNorm2d(channels),
        fire(),
        layer.MaxPool2d(2, 2),
        layer.Flatten(),
        layer.Linear(channels * 7 * 7, channels * 4 * 4, bias=False),
        fire(),
        layer.Linear(channels * 4 * 4, CLASSES, bias=False),
        fire(),
    )
    functional.set_step_mode(net, step_mode="m")
    return net


def forwards(net: Any, peer: Any, T: int) -> dict[str, Callable[[Any], Any]]:
    """Return images [B, 1, 28, 28] -> firing rates [B, classes], as each library's users write it."""
    from spikingjelly.activation_based import functional

    from snncore import encoding

    def run(images: Any) -> Any:
        return net(encoding.direct(images, T)).mean(0)

    def run_peer(images: Any) -> Any:
        rates = peer.conv_fc(images.unsqueeze(0).expand(T, -1, -1, -1, -1)).mean(0)
        functional.reset_net(peer)
        return rates

    return {SNNCORE: run, PEER: run_peer}


def measure(args: argparse.Namespace, task: dict[str, Any]) -> dict[str, Any]:
    import torch

    from snncore import model

    torch.set_num_threads(args.threads)
    quiet()
    torch.manual_seed(0)
    nets = {SNNCORE: model.CSNN(channels=args.channels), PEER: spikingjelly_csnn(args.channels)}
    images = torch.rand(task["batch"], 1, 28, 28)
    target = torch.nn.functional.one_hot(torch.randint(CLASSES, (task["batch"],)), CLASSES).float()
    with torch.no_grad():  # statistics and weights under which every layer fires
        for name, weight in nets[SNNCORE].named_parameters():
            if weight.dim() == 2:
                weight.mul_(2.0)
            elif name.endswith("bias"):
                weight.add_(0.3)
        for _ in range(20):
            nets[SNNCORE](images.unsqueeze(0).expand(args.T, *images.shape))
    nets[PEER].load_state_dict(nets[SNNCORE].state_dict())
    runs = forwards(nets[SNNCORE], nets[PEER], args.T)
    checks = check(nets, runs, images, target)

    samples = {}
    for job in JOBS:
        calls = {}
        for name, run in runs.items():
            calls[name] = trainer(nets[name], run, images, target) if job == JOBS[0] else predictor(run, images)
        for net in nets.values():
            net.train(job == JOBS[0])
        samples[job] = interleave(calls, args.rounds, args.seconds)
    return {"checks": checks, "jobs": samples}


def trainer(net: Any, run: Callable[[Any], Any], images: Any, target: Any) -> Callable[[], None]:
    import torch

    optimizer = torch.optim.SGD(net.parameters(), lr=0.0, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.mse_loss(run(images), target).backward()
        optimizer.step()

    return step


def predictor(run: Callable[[Any], Any], images: Any) -> Callable[[], None]:
    import torch

    def predict() -> None:
        with torch.no_grad():
            run(images)

    return predict


def check(nets: dict[str, Any], runs: dict[str, Any], images: Any, target: Any) -> dict[str, dict[str, float]]:
    """Compare logits in eval and gradients in training: float64 to the last spike, float32 up to rounding.

    In float32 the two round differently (snncore computes what does not change over T once), so a potential within
    rounding of the threshold may fire in one and not in the other; a few spikes and their gradients then differ.
    """
    import torch

    allowed = {torch.float64: (0.0, 1e-9), torch.float32: (0.01, 0.05)}
    few = min(len(images), 32)
    seen = {}
    for dtype, (spikes_allowed, grads_allowed) in allowed.items():
        size = few if dtype == torch.float64 else len(images)
        x, y = images[:size].to(dtype), target[:size].to(dtype)
        rates, grads = {}, {}
        for name, net in nets.items():
            saved = {key: value.clone() for key, value in net.state_dict().items()}
            net.to(dtype).eval()
            with torch.no_grad():
                rates[name] = runs[name](x)
            net.train()
            loss = torch.nn.functional.mse_loss(runs[name](x), y)
            grads[name] = torch.autograd.grad(loss, list(net.parameters()))
            net.float().load_state_dict(saved)  # batch norm has counted this batch
        wrong = float((rates[SNNCORE] != rates[PEER]).double().mean())
        errors = [float((a - b).norm() / b.norm()) for a, b in zip(grads[SNNCORE], grads[PEER], strict=True)]
        require(float(rates[PEER].max()) > 0, "no output neuron fires: the comparison would be empty")
        require(wrong <= spikes_allowed, f"{dtype}: {wrong:.2%} of the logits differ from SpikingJelly's")
        require(
            max(errors) <= grads_allowed,
            f"{dtype}: gradients differ by {max(errors):.2g} of their norm, allowed {grads_allowed:g}",
        )
        label = str(dtype).removeprefix("torch.")
        seen[label] = {"logits_differ": wrong, "grad_error": max(errors), "rate": float(rates[PEER].mean())}
    return seen


# ---- in the parent -------------------------------------------------------------------------------------------------


def rows_of(args: argparse.Namespace, case: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for job, samples in case["jobs"].items():
        for name, times in samples.items():
            median = statistics.median(times)
            rows.append(
                {
                    "T": args.T, "channels": args.channels, "batch": case["batch"], "job": job,
                    "allocator": case["allocator"], "name": name, "rounds": len(times), "median_ms": median * 1e3,
                    "min_ms": min(times) * 1e3, "images_s": case["batch"] / median,
                    "speed": paired_ratio(samples[PEER], times),
                }
            )  # fmt: skip
    return rows


def report(cases: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    print("\nchecks against SpikingJelly (logits in eval, gradients in training):")
    for case in cases:
        label = f"  B={case['batch']} {case['allocator']}"
        if "skipped" in case:
            print(f"{label}: not measured: {case['skipped']}")
            continue
        for dtype, seen in case["checks"].items():
            print(
                f"{label}: {dtype}: {seen['logits_differ']:.2%} of the logits differ, gradients by at most "
                f"{seen['grad_error']:.1e} of their norm; output rate {seen['rate']:.3f}"
            )
    print("\n'x SJ': SpikingJelly's time over this one's, median of the rounds; n: rounds.")
    table = [
        [
            f"B={row['batch']:<5}{row['job']:<15}{row['allocator']:<8}{row['name']}", f"{row['median_ms']:.2f}",
            f"{row['min_ms']:.2f}", f"{row['images_s']:.0f}", f"{row['speed']:.2f}", str(row["rounds"]),
        ]
        for row in rows
    ]  # fmt: skip
    print_table(("batch, job, allocator, name", "ms", "least ms", "images/s", "x SJ", "n"), table)


def main() -> None:
    args, parser = parse()
    if args.child:
        answer(lambda task: measure(args, task), args.child)
        return
    facts, before = machine_facts(args.threads), load_average()
    cases = []
    for batch in batches_of(args, parser):
        for allocator in allocators_of(args, parser):
            say(f"B={batch} {allocator}: checks, then rounds")
            cases.append(run_child(__file__, args, {"batch": batch, "allocator": allocator}))
    rows = [row for case in cases if "skipped" not in case for row in rows_of(args, case)]
    after = load_average()
    if not rows:
        raise SystemExit("nothing was measured")
    print(f"CSNN, T={args.T}, {args.channels} channels, float32")
    print_facts(facts, before, after)
    report(cases, rows)
    if args.json:
        write_json(
            args.json, {"facts": facts, "load_before": before, "load_after": after, "rows": rows, "cases": cases}
        )


if __name__ == "__main__":
    main()
