"""The counting ops and SopCounter on a GPU: the numbers of the CPU, bit for bit."""

from __future__ import annotations

import pytest
import torch

from snncore import layer, ops
from snncore.metric import SopCounter
from snncore.neuron import IFNode
from snncore.ops.counters import COLUMNS

pytestmark = pytest.mark.gpu
DEVICE = "cuda"
FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
VALUES = {"binary": (0, 2), "ternary": (-1, 2), "integer": (-3, 4)}


def given(shape: tuple[int, ...], values: str, dtype: torch.dtype) -> torch.Tensor:
    if values == "real":
        return torch.randn(shape).to(dtype)
    return torch.randint(*VALUES[values], shape).to(dtype)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("values", [*VALUES, "real"])
@pytest.mark.parametrize(
    ("rows", "lanes", "period"), [(1, 1, 1), (7, 33, 11), (5, 4096, 4096), (300, 64, 16), (0, 3, 3)]
)
def test_spike_count(rows, lanes, period, values, dtype):
    x = given((rows, lanes), values, dtype)
    fan, eff = (torch.randint(0, 1000, (period,), dtype=torch.int32) for _ in range(2))
    for maps in ((), (fan,), (fan, eff)):
        want = ops.spike_count(x, rows, *maps)
        there = [m.to(DEVICE) for m in maps]
        assert torch.equal(ops.spike_count(x.to(DEVICE), rows, *there).cpu(), want)
        out = torch.full((rows * len(COLUMNS) + 5,), -1, device=DEVICE)
        ops.spike_count_into(out, 2, x.to(DEVICE), rows, *there)
        assert (
            torch.equal(out[2:-3].cpu(), want.view(-1))
            and out[:2].tolist() == [-1] * 2
            and out[-3:].tolist() == [-1] * 3
        )


@pytest.mark.parametrize("rows", [0, 1, 70_000])
def test_ones_that_are_known(rows):
    ones = torch.randint(0, 9, (rows,))
    out = torch.full((rows * len(COLUMNS) + 1,), -1, device=DEVICE)
    ops.spike_count_into(out, 1, torch.zeros(rows, 2, device=DEVICE), rows, counted=ones.to(DEVICE))
    want = torch.nn.functional.pad(ones.view(-1, 1).expand(-1, 2), (0, len(COLUMNS) - 2))
    assert torch.equal(out[1:].view(-1, len(COLUMNS)).cpu(), want) and int(out[0]) == -1


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 5, 7, 33), (2, 64, 64, 300), (0, 2, 2, 2)])
def test_overlap_count(shape, dtype):
    batch, M, N, K = shape
    left, right = given((batch, M, K), "ternary", dtype), given((batch, N, K), "binary", dtype)
    assert torch.equal(ops.overlap_count(left.to(DEVICE), right.to(DEVICE)).cpu(), ops.overlap_count(left, right))


def test_a_counted_net():
    """Its weights and inputs are small integers, so that every device computes the same spikes."""
    net = torch.nn.Sequential(
        layer.Conv2d(2, 4, 3, padding=1),
        IFNode(v_threshold=2.5),
        layer.MaxPool2d(2),
        layer.Flatten(),
        layer.Linear(4 * 3 * 3, 8),
        IFNode(v_threshold=2.5),
        layer.Linear(8, 3),
    ).eval()
    for module in net:
        if hasattr(module, "step_mode"):
            module.step_mode = "m"
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randint(-2, 3, p.shape))
    found = []
    for device in ("cpu", DEVICE):
        net.to(device)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad(), SopCounter(net) as sop:
            for samples in (5, 5, 2):
                net(torch.randint(0, 2, (4, samples, 2, 6, 6), generator=generator).float().to(device))
        found.append([sop.report(mode).to_dict(per_sample=True) for mode in ("exact", "spikingjelly", "unrolled")])
    assert found[0] == found[1] and all(row["ac"] for row in found[0][0]["layers"])
