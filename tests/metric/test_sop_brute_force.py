"""Counts equal a brute-force count: what a convolution (linear layer, matmul) of masks gives."""

from __future__ import annotations

import random

import pytest
import torch
from sop_reading import operations
from torch import Tensor, nn

from snncore.metric.sop import SopCounter

SPIKES = {
    "binary": lambda shape: (torch.rand(shape) < 0.3).double(),
    "ternary": lambda shape: torch.randint(-1, 2, shape).double(),
    "integer": lambda shape: torch.randint(-3, 4, shape).double(),
    "real": lambda shape: torch.randn(shape).double() * (torch.rand(shape) < 0.5),
    "none": lambda shape: torch.zeros(shape).double(),
    "all": lambda shape: torch.ones(shape).double(),
}
CONV = {1: (nn.Conv1d, nn.ConvTranspose1d), 2: (nn.Conv2d, nn.ConvTranspose2d), 3: (nn.Conv3d, nn.ConvTranspose3d)}


def mask(t: Tensor) -> Tensor:
    return (t != 0).double()


def random_layer(rng: random.Random) -> tuple[nn.Module, tuple[int, ...]] | None:
    """Return a layer and the shape of its input [N, *], or None if the sizes do not fit."""
    if rng.random() < 0.2:
        n_in, n_out = rng.randint(1, 9), rng.randint(1, 9)
        return nn.Linear(n_in, n_out, bias=rng.random() < 0.5), (rng.randint(1, 4), n_in)
    dims, groups = rng.choice([1, 2, 2, 3]), rng.choice([1, 1, 2, 3])
    sizes = [rng.randint(2, 7) for _ in range(dims)]
    transposed = rng.random() < 0.3
    stride = [rng.randint(1, 3) for _ in range(dims)]
    dilation = [rng.randint(1, 2) for _ in range(dims)]
    options = {"stride": stride, "padding": [rng.randint(0, 2) for _ in range(dims)], "dilation": dilation}
    if transposed:
        options["output_padding"] = [rng.randint(0, max(s, d) - 1) for s, d in zip(stride, dilation, strict=True)]
    elif rng.random() < 0.2:
        options |= {"stride": 1, "padding": "same"}
    kernel = [rng.randint(1, 3) for _ in range(dims)]
    channels = groups * rng.randint(1, 3), groups * rng.randint(1, 3)
    layer = CONV[dims][transposed](*channels, kernel, groups=groups, bias=rng.random() < 0.5, **options)
    return layer, (rng.randint(1, 3), channels[0], *sizes)


def brute_force(layer: nn.Module, x: Tensor, weight: Tensor, what: Tensor) -> Tensor:
    """Return per sample the sum over all outputs of ``layer`` run on ``what`` with ``weight`` and no bias."""
    twin = layer.__class__.__new__(layer.__class__)
    twin.__dict__.update(layer.__dict__)
    twin._parameters = {"weight": nn.Parameter(weight), "bias": None}
    with torch.no_grad():
        return twin(what).flatten(1).sum(1)


@pytest.mark.filterwarnings("ignore:Using padding")
@pytest.mark.parametrize("seed", range(10))
def test_random_layers(seed):
    rng = random.Random(seed)
    torch.manual_seed(seed)
    tried = 0
    while tried < 200:
        made = random_layer(rng)
        layer, shape = made
        layer = layer.double()
        if rng.random() < 0.5:
            with torch.no_grad():
                layer.weight *= torch.rand_like(layer.weight) < 0.6
        kind = rng.choice(list(SPIKES))
        x = SPIKES[kind](shape)
        if x.dim() == 4 and rng.random() < 0.3:
            x = x.contiguous(memory_format=torch.channels_last)
        try:
            with torch.no_grad():
                layer(x)
        except RuntimeError:  # an output without elements
            continue
        tried += 1
        with torch.no_grad(), SopCounter(layer) as sop:
            layer(x)
        what = f"{layer}, {kind}, input {shape}"
        ones, nonzero = torch.ones_like(layer.weight), mask(layer.weight)
        eff, fan = brute_force(layer, x, nonzero, mask(x)), brute_force(layer, x, ones, mask(x))
        (row,), ((*_, ac, mac),) = sop.report().layers, operations(sop)
        assert torch.equal(ac + mac, eff), what
        values = value_class_of(x)
        assert row.values == (values,), what
        assert bool((mac == 0).all()) == (values in ("binary", "ternary") or not eff.any()), what
        assert dense_of(sop) * len(x) == float(brute_force(layer, x, ones, torch.ones_like(x)).sum()), what
        if values == "binary":
            assert torch.equal(operations(sop, "spikingjelly")[0][2], fan), what
        if values == "integer":
            assert torch.equal(operations(sop, "unrolled")[0][2], brute_force(layer, x, ones, x.abs())), what


def dense_of(sop: SopCounter) -> int:
    """Return the multiplications of one sample, in bounds, of the only layer."""
    (record,) = sop.record.layers.values()
    return record.runs[0][0].geometry.dense


def value_class_of(x: Tensor) -> str:
    if not torch.equal(x, x.round()):
        return "real"
    if x.abs().max() > 1:
        return "integer"
    return "ternary" if x.min() < 0 else "binary"


def test_random_matmuls():
    rng = random.Random(0)
    torch.manual_seed(0)

    class Product(nn.Module):
        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            return left @ right

    for _ in range(100):
        B, M, K, N = (rng.randint(1, 5) for _ in range(4))
        kinds = rng.choice(list(SPIKES)), rng.choice(list(SPIKES))
        left, right = SPIKES[kinds[0]]((B, M, K)), SPIKES[kinds[1]]((B, K, N))
        with SopCounter(Product()) as sop:
            sop.net(left, right)
        ((*_, ac, mac),) = operations(sop)
        want = (mask(left) @ mask(right)).sum((1, 2))
        assert torch.equal(ac + mac, want), kinds
        signs = {"binary", "ternary"} & {value_class_of(left), value_class_of(right)}
        assert torch.equal(ac if signs else mac, want), kinds
        assert dense_of(sop) == M * N * K
