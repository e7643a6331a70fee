"""Encoders: shapes, values, and the refusal of what they cannot encode."""

from __future__ import annotations

import pytest
import torch

from snncore import encoding
from snncore.encoding import direct, rate
from snncore.errors import ArgumentError


@pytest.mark.parametrize("name", encoding.ENCODINGS)
@pytest.mark.parametrize("steps", [0, -1, 2.0, "4", None, True])
def test_time_steps_must_be_a_positive_whole_number(name, steps):
    with pytest.raises(ArgumentError, match=rf"{name}\.T: must be a whole number of time steps >= 1, got "):
        encoding.ENCODINGS[name](torch.rand(2, 3), steps)


@pytest.mark.parametrize("name", encoding.ENCODINGS)
@pytest.mark.parametrize("shape", [(), (2,), (2, 3, 4, 5), (0, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_time_comes_first_and_the_dtype_stays(name, shape, dtype):
    x = torch.rand(shape).to(dtype)
    x_seq = encoding.ENCODINGS[name](x, 3)
    assert x_seq.shape == (3, *shape)
    assert x_seq.dtype == dtype


def test_direct_shows_the_same_without_a_copy():
    x = torch.randn(2, 3, requires_grad=True)
    x_seq = direct(x, 4)
    assert x_seq.data_ptr() == x.data_ptr()
    assert x_seq.stride() == (0, 3, 1)
    assert all(torch.equal(step, x) for step in x_seq)
    (x_seq * torch.arange(4.0).view(4, 1, 1)).sum().backward()
    assert torch.equal(x.grad, torch.full((2, 3), 6.0))
    assert direct(torch.arange(3), 2).tolist() == [[0, 1, 2]] * 2


def test_rate_fires_with_the_given_probability():
    x = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0]).repeat_interleave(1000)
    spike_seq = rate(x, 200, torch.Generator().manual_seed(0))
    assert spike_seq.unique().tolist() == [0.0, 1.0]
    # five standard deviations of a mean of 200000 draws are below 0.006
    torch.testing.assert_close(spike_seq.mean(0).view(5, 1000).mean(1), x[::1000], atol=0.006, rtol=0)
    assert not spike_seq[:, :1000].any()
    assert spike_seq[:, 4000:].all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rate_of_a_small_probability_in_a_half_type(dtype):
    x = torch.full((1000,), 2.0**-10, dtype=dtype)
    mean = rate(x, 1000, torch.Generator().manual_seed(0)).float().mean().item()
    assert mean == pytest.approx(2.0**-10, rel=0.17)  # five standard deviations


def test_rate_is_steered_by_its_generator():
    x = torch.rand(50)
    first, again, other = (rate(x, 9, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    before = torch.get_rng_state()
    rate(x, 9, torch.Generator())
    assert torch.equal(before, torch.get_rng_state())
    rate(x, 9)
    assert not torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("bad", [-0.01, 1.01, float("nan"), float("inf")])
def test_rate_refuses_what_is_no_probability(bad):
    x = torch.rand(4, 5)
    x[2, 3] = bad
    with pytest.raises(ArgumentError, match=r"rate\.x: must be within \[0, 1\], got values from .*; scale it"):
        rate(x, 2)


def test_rate_refuses_whole_numbers():
    with pytest.raises(ArgumentError, match=r"rate\.x: must be floating point, got torch.uint8"):
        rate(torch.ones(3, dtype=torch.uint8), 2)


def test_rate_sends_no_gradient_back():
    assert not rate(torch.rand(3, requires_grad=True), 2).requires_grad


@pytest.mark.parametrize("name", encoding.ENCODINGS)
def test_compiles_whole(name):
    x = torch.rand(3, 4)
    torch.manual_seed(0)
    want = encoding.ENCODINGS[name](x, 3)
    torch.manual_seed(0)
    got = torch.compile(encoding.ENCODINGS[name], fullgraph=True, backend="eager")(x, 3)
    assert torch.equal(got, want)
