"""Memory of large outputs is reused, and never while a tensor still sees it."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref

import pytest
import torch

from snncore import keep_freed_blocks, neuron
from snncore.ops.library import core

LARGE = (4, 1, 300_000)  # 4.6 MiB of spikes


@pytest.fixture(autouse=True)
def _from_empty():
    if torch.__version__ < "2.11":
        pytest.skip("torch_from_blob came with torch 2.11; before it, outputs are allocated by torch")
    core.release_output_blocks()
    yield
    core.release_output_blocks()


def spikes(value: float = 2.0) -> torch.Tensor:
    with torch.no_grad():
        return neuron.IFNode(step_mode="m", engine="native")(torch.full(LARGE, value))


def test_memory_of_a_freed_output_serves_the_next_one():
    first = spikes()
    where = first.data_ptr()
    del first
    assert core.output_blocks_bytes() > 0
    assert spikes().data_ptr() == where


@pytest.mark.parametrize("view", [lambda y: y[1:, :, 7:], lambda y: y.flatten(), lambda y: y.detach(), lambda y: y.mT])
def test_memory_is_not_reused_while_a_view_lives(view):
    kept = view(spikes(2.0))
    before = kept.clone()
    others = [spikes(0.0) for _ in range(4)]
    assert torch.equal(kept, before)
    assert all(o.untyped_storage().data_ptr() != kept.untyped_storage().data_ptr() for o in others)


def test_memory_is_not_reused_while_numpy_sees_it():
    array = spikes(2.0).numpy()
    spikes(0.0)
    assert (array == 1.0).all()


def test_memory_is_not_reused_while_the_graph_holds_it():
    x = torch.full(LARGE, 2.0, requires_grad=True)
    y = neuron.IFNode(step_mode="m", engine="native")(x)
    loss = (y * y).sum()  # saves y for backward
    del y
    spikes(0.0)
    loss.backward()
    again = torch.full(LARGE, 2.0, requires_grad=True)
    z = neuron.IFNode(step_mode="m", engine="native")(again)
    (z * z).sum().backward()
    assert torch.equal(x.grad, again.grad)
    assert x.grad.abs().sum() > 0


def test_kept_blocks_never_exceed_the_peak_of_outputs():
    together = [spikes() for _ in range(3)]
    peak = sum(y.untyped_storage().nbytes() for y in together)
    del together
    for _ in range(5):
        spikes()
        with torch.no_grad():
            neuron.IFNode(step_mode="m", engine="native")(torch.zeros(3, 1, 777_777))  # another size
    assert core.output_blocks_bytes() <= peak + 4 * 4096


def test_keep_freed_blocks_false_gives_them_back():
    del_me = spikes()
    del del_me
    assert core.output_blocks_bytes() > 0
    assert keep_freed_blocks(False) == keep_freed_blocks(True)
    keep_freed_blocks(False)
    assert core.output_blocks_bytes() == 0


def test_the_tensor_is_an_ordinary_one():
    y = spikes()
    ref = weakref.ref(y)
    assert y.is_contiguous() and y.data_ptr() % 64 == 0
    y.mul_(3.0).add_(1.0)
    assert float(y.max()) == 4.0
    assert torch.equal(torch.from_numpy(y.numpy().copy()), y)
    del y
    assert ref() is None


def test_the_environment_switches_it_off():
    code = (
        "import torch, snncore\n"
        "from snncore import neuron\n"
        "from snncore.ops.library import core\n"
        "with torch.no_grad(): y = neuron.IFNode(step_mode='m')(torch.zeros(4, 1, 300000))\n"
        "del y\n"
        "print(core.output_blocks_bytes())\n"
    )
    for value, kept in (("0", False), ("1", True)):
        env = {**os.environ, "SNNCORE_OUTPUT_BLOCKS": value}
        out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        assert (int(out.stdout) > 0) == kept
