"""The example on real data reaches what the run that it repeats reached."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from torch import nn

HERE = Path(__file__).resolve()


@pytest.fixture(scope="module")
def example():
    path = HERE.parents[2] / "examples" / "fashion_mnist_mlp.py"
    spec = importlib.util.spec_from_file_location("fashion_mnist_mlp", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Accuracy on the 10,000 test images and mean loss after the first epoch, as torch-tpu's manual prints them. Mixed
# precision, slow on a CPU through torch's float16 kernels, is in docs/reproductions.md.
@pytest.mark.parametrize(
    ("typed", "percent", "loss"), [([], 49.5, 2.162513), (["--half"], 18.5, 2.276759)], ids=["float32", "half"]
)
def test_the_first_epoch(example, data_root, tmp_path, typed, percent, loss):
    root = data_root / "fashion_mnist"
    if not root.is_dir():
        pytest.skip(f"no Fashion-MNIST in {data_root}")
    trainer = example.FashionMLP()
    words = ["--data-path", str(root), "--output-dir", str(tmp_path), "--epochs", "1", *typed]
    try:
        result = trainer.main(trainer.get_args_parser().parse_args(words))
    finally:
        torch.use_deterministic_algorithms(False)
    epoch = json.loads((result.folder / "metrics.jsonl").read_text().splitlines()[0])
    assert abs(round(epoch["test_accuracy"] * 10_000) - percent * 100) <= 20  # 0.2 points
    assert epoch["test_loss"] == pytest.approx(loss, abs=2e-4)  # theirs is the mean of batches, the last of 16 images


def test_a_layer_of_halves_rounds_once(example):
    """It gives what the same sums in float64 give, rounded to float16, but where they lie between two halves."""
    torch.manual_seed(0)
    low = example.HalfLinear(784, 32).half()
    wide = nn.Linear(784, 32).double()
    wide.load_state_dict(low.state_dict())
    x = torch.rand(8, 784).half().requires_grad_()
    other = x.detach().double().requires_grad_()
    y, want = low(x), wide(other)
    y.sum().backward()
    want.sum().backward()
    pairs = [(y, want), (x.grad, other.grad), (low.weight.grad, wide.weight.grad), (low.bias.grad, wide.bias.grad)]
    for a, b in pairs:
        assert a.dtype == torch.float16
        torch.testing.assert_close(a, b.half(), rtol=2**-10, atol=1e-6)
        assert (a == b.half()).float().mean() > 0.99
