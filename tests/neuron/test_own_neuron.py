"""The neurons of docs/neurons.md, taken from the document: two and three states, on the torch engine at once."""

from __future__ import annotations

import copy
import logging
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from neuron.cases import run
from snncore import functional
from snncore.errors import EngineError
from snncore.surrogate import ATan

DOCUMENT = Path(__file__).parents[2] / "docs" / "neurons.md"
BLOCKS = dict(re.findall(r"<!-- (.+?) -->\n```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL))


def defined(*names: str) -> dict:
    """Run blocks of the document, in order, and return what they define."""
    space: dict = {"__name__": "document"}
    for name in names:
        exec(compile(BLOCKS[name], f"{DOCUMENT.name}: {name}", "exec"), space)
    return space


SPACE = defined("two states", "three states")
C = 3
MAKE = {
    "two states": lambda **k: SPACE["AdaptiveLIF"](**k),
    "three states": lambda **k: SPACE["SlowSynapse"](C, **k),
}
each = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)


def data(T: int = 6, shape=(2, C, 4), dtype=torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return (torch.randn(T, *shape, generator=generator, dtype=torch.float64) * 1.5 + 0.9).to(dtype)


def by_hand(node, x_seq):
    """The document's equations once more, soft reset, without snncore."""
    atan = ATan(2.0)
    zero = torch.zeros_like(x_seq[0])
    states = [zero] * len(node.rest())
    spikes = []
    for x in x_seq:
        if len(states) == 2:
            v, w = states
            h = v + (x - v - w) * node.rate
        else:
            v, fast, slow = states
            fast, slow = 0.5 * fast + x, 0.875 * slow + x
            h = node.leak.view(-1, 1) * v + (slow - fast)
        s = atan(h - 1.0)
        states = [h - s, 0.9 * w + 0.25 * s] if len(states) == 2 else [h - s, fast, slow]
        spikes.append(s)
    return torch.stack(spikes)


def gradients(y, x_seq, node):
    weigh = torch.randn(y.shape, generator=torch.Generator().manual_seed(0), dtype=y.dtype)
    return torch.autograd.grad((y * weigh).sum(), [x_seq, *node.parameters()])


def test_the_document_names_its_blocks():
    assert list(BLOCKS) == ["two states", "three states", "at work", "gradients"]


@each
def test_it_is_what_the_equations_say(make):
    node = make(v_reset=None, surrogate_function=ATan(2.0), step_mode="m").double()
    x_seq = data().requires_grad_()
    got, want = node(x_seq), by_hand(node, x_seq)
    assert 0.1 < want.mean() < 0.9
    assert torch.equal(got, want)
    for a, b in zip(gradients(got, x_seq, node), gradients(want, x_seq, node), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


@each
@pytest.mark.parametrize("v_reset", [0.25, None, "none"])
def test_gradcheck(make, v_reset):
    node = make(v_reset=v_reset, step_mode="m").double()
    node.smooth = True
    x_seq = data(3, (1, C)).requires_grad_()
    state = torch.randn(len(node.rest()), 1, C, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, s, *_: run(node, x, s), (x_seq, state, *node.parameters()))


@each
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_steps_pieces_and_dtypes(make, dtype):
    node = make(step_mode="m")
    if dtype == torch.float64:
        node.double()
    x_seq = data(dtype=dtype)
    whole = node(x_seq)
    assert whole.dtype == dtype and node.state is None
    first, state = node.run(x_seq[:2])
    assert len(state) == len(node.rest())
    assert {s.dtype for s in state} == {torch.float64 if dtype == torch.float64 else torch.float32}
    assert torch.equal(torch.cat((first, node.run(x_seq[2:], state)[0])), whole)
    node.step_mode = "s"
    for _ in range(2):
        assert torch.equal(torch.stack([node(x) for x in x_seq]), whole)
        functional.reset_net(node)
    assert node(x_seq[0]).shape == x_seq[0].shape
    assert copy.deepcopy(node).state is None


@each
def test_compiles_whole(make):
    torch._dynamo.reset()
    node = make(step_mode="m", v_reset=None).double()
    x_seq = data().requires_grad_()
    want = node(x_seq)
    got = torch.compile(node, fullgraph=True, backend="aot_eager")(x_seq)
    assert torch.equal(got, want)
    for a, b in zip(gradients(got, x_seq, node), gradients(want, x_seq, node), strict=True):
        assert torch.equal(a, b)
    torch._dynamo.reset()


@each
def test_says_once_that_it_is_not_native(make, caplog):
    node = make(step_mode="m")
    with caplog.at_level(logging.INFO, logger="snncore"):
        for _ in range(3):
            node(data(dtype=torch.float32))
    (record,) = [r for r in caplog.records if r.name == "snncore"]
    name = type(node).__name__
    assert record.getMessage() == f"{name} runs on the torch engine (slower): {name} has no native kernel"
    caplog.clear()
    make(step_mode="m", engine="torch")(data(dtype=torch.float32))
    assert not caplog.records
    with pytest.raises(EngineError, match="has no native kernel"):
        make(step_mode="m", engine="native")(data(dtype=torch.float32))


def test_at_work(capsys):
    torch.manual_seed(0)
    space = defined("two states", "three states", "at work")
    printed = capsys.readouterr().out
    in_document = re.search(r"((?:^    .*\n)+)\nThe log", DOCUMENT.read_text(), re.MULTILINE)
    assert [line.split() for line in printed.splitlines()] == [
        line.split() for line in in_document[1].splitlines()
    ], printed  # fmt: skip
    assert all(p.grad is not None for p in space["net"].parameters())


def test_the_gradient_check_of_the_document():
    torch.manual_seed(0)
    defined("two states", "gradients")
