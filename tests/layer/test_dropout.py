"""Dropout keeps one mask over a sequence, in 'm' for the call and in 's' until reset."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from snncore import layer
from snncore.encoding import direct
from snncore.errors import StateError

T, B, N = 5, 8, 400


def test_multi_step_uses_one_mask_and_leaves_nothing_behind():
    drop = layer.Dropout(0.3, step_mode="m")
    y_seq = drop(torch.ones(T, B, N))
    assert torch.equal(y_seq, y_seq[0].expand_as(y_seq))
    assert y_seq.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert 0.66 < (y_seq[0] != 0).float().mean() < 0.74
    assert not torch.equal(y_seq, drop(torch.ones(T, B, N)))
    assert drop.keep is None
    drop(torch.ones(2, B + 1, 3, dtype=torch.float64))  # another shape and dtype: nothing to disagree with


def test_single_step_keeps_the_mask_until_reset():
    drop = layer.Dropout(0.3)
    first = drop(torch.ones(B, N))
    assert torch.equal(first, drop(torch.ones(B, N)))
    drop.detach()
    assert torch.equal(first, drop(torch.ones(B, N)))
    drop.reset()
    assert not torch.equal(first, drop(torch.ones(B, N)))


def test_single_steps_are_the_multi_step_call():
    x_seq = torch.randn(T, B, N)
    single, multi = layer.Dropout(), layer.Dropout(step_mode="m")
    torch.manual_seed(3)
    want = torch.stack([single(x) for x in x_seq])
    torch.manual_seed(3)
    assert torch.equal(multi(x_seq), want)


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 1.0])
def test_the_draw_is_that_of_torch(p):
    x = torch.randn(B, N)
    torch.manual_seed(1)
    want = nn.Dropout(p)(x)
    torch.manual_seed(1)
    torch.testing.assert_close(layer.Dropout(p)(x), want)


@pytest.mark.parametrize("static", [False, True])
def test_gradient_is_the_scaled_mask(static):
    drop = layer.Dropout(0.5, step_mode="m")
    x = torch.randn(B, N, requires_grad=True)
    y_seq = drop(direct(x, T) if static else x.repeat(T, 1, 1))
    assert (y_seq.stride(0) == 0) is static
    y_seq.sum().backward()
    assert torch.equal(x.grad, T * 2.0 * (y_seq[0] != 0))


def test_half_types_are_not_biased_by_a_rounded_scale():
    drop = layer.Dropout(0.1, step_mode="m")
    x_seq = torch.full((1, 1, 4096), 0.9, dtype=torch.bfloat16)
    y_seq = drop(x_seq)
    assert y_seq.dtype == torch.bfloat16
    want = torch.tensor(float(x_seq[0, 0, 0]) / 0.9, dtype=torch.bfloat16)
    assert y_seq.max() == want


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_evaluation_passes_everything(step_mode):
    drop = layer.Dropout(0.9, step_mode=step_mode).eval()
    x = torch.randn(T, B, N)
    assert drop(x) is x
    assert drop.keep is None


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (torch.ones(B + 1, N), "shape"),
        (torch.ones(B, N, dtype=torch.float64), "dtype"),
        (torch.ones(B, N, device="meta"), "device"),
    ],
)
def test_a_change_during_a_sequence_raises_with_the_fix(other, what):
    drop = layer.Dropout()
    first = drop(torch.ones(B, N))
    with pytest.raises(StateError, match=rf"Dropout\.x: must have the {what} .*got .*reset_net\(net\)"):
        drop(other)
    assert torch.equal(first, drop(torch.ones(B, N)))  # the sequence can go on
    drop.reset()
    drop(other)


def test_the_mask_is_no_part_of_the_net():
    drop = layer.Dropout()
    drop(torch.ones(B, N))
    assert not drop.state_dict()
    assert not list(drop.buffers())
    assert copy.deepcopy(drop).keep is None
    assert drop.keep is not None


def test_inplace():
    drop = layer.Dropout(0.5, inplace=True, step_mode="m")
    x_seq = torch.ones(T, B, N)
    assert drop(x_seq) is x_seq
    assert x_seq.unique().tolist() == [0.0, 2.0]
    x = torch.ones(B, N)
    drop(direct(x, T))  # torch refuses to write through a view of T copies: nothing is written
    assert torch.equal(x, torch.ones(B, N))


def test_probability_is_checked_by_torch():
    with pytest.raises(ValueError, match="dropout probability"):
        layer.Dropout(1.5)


def test_no_time_steps():
    assert layer.Dropout(step_mode="m")(torch.ones(0, B, N)).shape == (0, B, N)


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_compiled_whole_it_keeps_its_mask(step_mode):
    torch._dynamo.reset()
    drop = layer.Dropout(0.5, step_mode=step_mode)
    compiled = torch.compile(drop, fullgraph=True, backend="eager")
    x_seq = torch.ones(T, B, N)
    y_seq = compiled(x_seq) if step_mode == "m" else torch.stack([compiled(x) for x in x_seq])
    assert y_seq.unique().tolist() == [0.0, 2.0]
    assert torch.equal(y_seq, y_seq[0].expand_as(y_seq))
    drop.reset()
    assert not torch.equal(y_seq[0], compiled(x_seq)[0] if step_mode == "m" else compiled(x_seq[0]))


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_channels_are_silenced_whole_for_all_steps(d, step_mode):
    drop = getattr(layer, f"Dropout{d}d")(0.5, step_mode=step_mode)
    x_seq = torch.ones(T, B, 40, *[3] * d)
    y_seq = drop(x_seq) if step_mode == "m" else torch.stack([drop(x) for x in x_seq])
    assert torch.equal(y_seq, y_seq.flatten(3)[:1, :, :, :1].view(1, B, 40, *[1] * d).expand_as(y_seq))
    assert y_seq.unique().tolist() == [0.0, 2.0]
    assert 0.35 < y_seq.mean() / 2 < 0.65
    assert not torch.equal(y_seq[:, :1].expand_as(y_seq), y_seq)  # each sample its own


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_draw_of_channels_is_that_of_torch(d):
    x = torch.randn(B, 5, *[3] * d)
    torch.manual_seed(1)
    want = getattr(nn, f"Dropout{d}d")(0.3)(x)
    torch.manual_seed(1)
    torch.testing.assert_close(getattr(layer, f"Dropout{d}d")(0.3)(x), want)


def test_channels_with_other_pixels_are_another_sequence():
    drop = layer.Dropout2d()
    drop(torch.ones(B, 5, 3, 3))
    with pytest.raises(StateError, match=r"Dropout2d\.x: must have the shape .*got .*reset_net\(net\)"):
        drop(torch.ones(B, 5, 4, 4))
