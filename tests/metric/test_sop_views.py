"""The views against their formulas, written out by hand."""

from __future__ import annotations

import pytest
import torch
from sop_reading import operations, total
from torch import nn

from snncore import functional, layer
from snncore.encoding import direct
from snncore.metric import SopCounter
from snncore.neuron import IFNode

T, B = 4, 3


def counted(net, *x):
    with torch.no_grad(), SopCounter(net) as sop:
        for one in x:
            net(one)
    return sop


def images():
    return torch.rand(B, 1, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.1


def net():
    torch.manual_seed(0)
    built = nn.Sequential(
        layer.Conv2d(1, 4, 3, padding=1), IFNode(v_threshold=0.3),
        layer.Conv2d(4, 6, 3, stride=2, padding=1, bias=False), IFNode(v_threshold=0.1), layer.Flatten(),
        layer.Linear(96, 10),
    )  # fmt: skip
    functional.set_step_mode(built, "m")
    return built


def rates(built):
    """Return the firing rate of the inputs of the second and third layer: [B] each, over all steps."""
    with torch.no_grad():
        s1 = built[1](built[0](direct(images(), T)))
        s2 = built[3](built[2](s1))
    return [(s != 0).double().transpose(0, 1).flatten(1).mean(1) for s in (s1, s2)]


FLOPS = (4 * 64 * 9, 6 * 16 * 4 * 9, 96 * 10)  # of one step, with padding


@pytest.mark.parametrize(("rule", "times"), [("once", 1), ("every_step", T)])
def test_the_papers_formula(rule, times):
    """SOPs(l) = fr x T x FLOPs(l); the first layer is FLOPs as multiply-accumulates (Spikformer, ICLR 2023)."""
    built = net()
    first, second, third = operations(counted(built, direct(images(), T)), "paper", first_layer=rule)
    fr = rates(built)
    assert min(float(r.min()) for r in fr) > 0
    assert first[3].tolist() == [FLOPS[0] * times] * B and not first[2].any()
    torch.testing.assert_close(second[2], fr[0] * T * FLOPS[1], rtol=1e-14, atol=0)
    torch.testing.assert_close(third[2], fr[1] * T * FLOPS[2], rtol=1e-14, atol=0)
    assert not second[3].any() and not third[3].any()


def test_the_formula_of_syops_adds_one_addition_per_output_where_there_is_a_bias():
    built = net()
    sop = counted(built, direct(images(), T).contiguous())
    paper, syops = operations(sop, "paper"), operations(sop, "syops")
    outputs = (4 * 64, 0, 10)
    for (*_, ac, mac), (*_, more_ac, more_mac), extra in zip(paper, syops, outputs, strict=True):
        assert torch.equal(more_ac + more_mac, ac + mac + extra * T)
    assert torch.equal(syops[0][3], paper[0][3] + outputs[0] * T)  # beside multiply-accumulates


def test_padding_is_what_the_paper_counts_too_much():
    built = net()
    sop = counted(built, direct(images(), T))
    exact, paper = operations(sop)[1][2], operations(sop, "paper")[1][2]
    assert bool((paper > exact).all())
    assert torch.equal(operations(sop)[0][3], torch.full((B,), 4.0 * (3 * 8 - 2) ** 2, dtype=torch.float64))
    assert operations(sop, "spikingjelly")[0][3].tolist() == [FLOPS[0]] * B


@pytest.mark.parametrize(
    ("values", "exact", "spikingjelly", "unrolled"),
    [
        ([0, 1, 1, 0], (4, 0), (4, 0), (4, 0)),
        ([0, 1, -1, 0], (4, 0), (0, 8), (4, 0)),
        ([0, 3, 1, 0], (0, 4), (0, 8), (8, 0)),
        ([0, 3, -1, 0], (0, 4), (0, 8), (8, 0)),
        ([0, 0.5, 1, 0], (0, 4), (0, 8), (0, 4)),
        ([0, 0, 0, 0], (0, 0), (0, 0), (0, 0)),
    ],
)
def test_accumulates_or_multiply_accumulates(values, exact, spikingjelly, unrolled):
    x = torch.tensor([values], dtype=torch.float32)
    sop = counted(nn.Linear(4, 2), x)
    for mode, want in (("exact", exact), ("spikingjelly", spikingjelly), ("unrolled", unrolled)):
        ((*_, ac, mac),) = operations(sop, mode)
        assert (ac.tolist(), mac.tolist()) == ([want[0]], [want[1]]), mode


def test_the_class_is_that_of_all_samples_together():
    """Or the numbers would depend on how the samples are batched."""
    layer_, x = nn.Linear(4, 2), torch.tensor([[0.0, 1, 1, 0], [0, 2, 0, 0]])
    together, apart = counted(layer_, x), counted(layer_, x[:1], x[1:])
    for mode in ("exact", "unrolled", "spikingjelly"):
        assert torch.equal(total(together, mode), total(apart, mode))
        assert torch.equal(operations(together, mode)[0][3], operations(apart, mode)[0][3])


def test_pruned_weights_count_in_the_exact_view_alone():
    pruned = nn.Linear(4, 2)
    with torch.no_grad():
        pruned.weight[0] = 0
    sop = counted(pruned, torch.tensor([[0.0, 1, 1, 0]]))
    assert [total(sop, mode).tolist() for mode in ("exact", "spikingjelly", "paper")] == [[2.0], [4.0], [4.0]]


def test_two_operands():
    class Product(nn.Module):
        def forward(self, q, k):
            return q @ k

    q = torch.tensor([[[1.0, 0, 1], [0, 0, 1]]])  # [1, 2, 3]
    k = torch.tensor([[[1.0, 1], [0, 1], [1, 0]]])  # [1, 3, 2]
    with SopCounter(Product()) as sop:
        sop.net(q, k)
    assert total(sop).tolist() == [4.0]  # pairs: column 0: 1 * 2, column 2: 2 * 1
    assert total(sop, "spikingjelly").tolist() == [4.0]
    assert total(sop, "paper").tolist() == [3 / 6 * 12]
    with SopCounter(Product()) as sop:
        sop.net(q, k * 0.3)
    ((*_, ac, mac),) = operations(sop, "spikingjelly")
    assert ac.tolist() == [3 * 2.0] and not mac.any()
    ((*_, ac, mac),) = operations(sop)
    assert ac.tolist() == [4.0] and not mac.any()
    with SopCounter(Product()) as sop:
        sop.net(q * 0.3, k * 0.3)
    assert [operations(sop, mode)[0][3].tolist() for mode in ("exact", "spikingjelly")] == [[4.0], [12.0]]
