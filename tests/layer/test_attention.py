"""Attention of spikes against its formula written out token by token, and no sample meets another."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch

from snncore import functional, layer
from snncore.errors import ArgumentError
from snncore.neuron import IFNode, LIFNode

T, B, C, HEADS, N = 3, 4, 8, 2, 6
KINDS = ["SpikingSelfAttention", "TokenQKAttention", "ChannelQKAttention", "SpikeDrivenSelfAttention"]


def attention(kind, step_mode="m", **args):
    torch.manual_seed(0)
    made = getattr(layer, kind)(C, HEADS, **{"neuron": IFNode, "attn_neuron": partial(IFNode, v_threshold=0.5), **args})
    for module in made.modules():
        if isinstance(module, (layer.BatchNorm1d, layer.BatchNorm2d)):  # let neurons fire now and then
            torch.nn.init.uniform_(module.bias, 0.0, 0.6)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    functional.set_step_mode(made, step_mode)
    return made.double()


def images(seed=0, steps=T, batch=B):
    return torch.randn(steps, batch, C, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_hand(made, x_seq):
    """Return the attention of ``x_seq`` in evaluation, sample by sample, head by head and token by token."""

    def spikes(h_seq, threshold):
        v, out = torch.zeros_like(h_seq[0]), []
        for h in h_seq:
            v = v + h
            out.append((v >= threshold).to(v.dtype))
            v = v * (1 - out[-1])
        return torch.stack(out)

    def affine(part, x):  # x [T, C, N]
        conv, norm = getattr(made, f"{part}_conv"), getattr(made, f"{part}_bn")
        y = torch.einsum("oc,tcn->ton", conv.weight.flatten(1), x)
        y = y if conv.bias is None else y + conv.bias.view(1, -1, 1)
        factor = norm.weight / (norm.running_var + norm.eps).sqrt()
        return (y - norm.running_mean.view(1, -1, 1)) * factor.view(1, -1, 1) + norm.bias.view(1, -1, 1)

    def one(x):
        kind = type(made).__name__
        if kind == "SpikeDrivenSelfAttention":
            x = spikes(x, 1.0)
        part = {p: spikes(affine(p, x), 1.0) for p in "qkv" if hasattr(made, f"{p}_conv")}
        out, d = torch.zeros_like(x), C // HEADS
        for head in range(HEADS):
            at = slice(head * d, head * d + d)
            q, k = part["q"][:, at], part["k"][:, at]
            if kind == "SpikingSelfAttention":
                v = part["v"][:, at]
                for t in range(len(x)):
                    for i in range(N):
                        weights = [(q[t, :, i] * k[t, :, j]).sum() for j in range(N)]
                        out[t, at, i] = 0.125 * sum(w * v[t, :, j] for j, w in enumerate(weights))
            elif kind == "TokenQKAttention":
                out[:, at] = spikes(q.sum(1, keepdim=True), 0.5) * k
            elif kind == "ChannelQKAttention":
                out[:, at] = spikes(q.sum(2, keepdim=True), 0.5) * k
            else:
                v = part["v"][:, at]
                out[:, at] = spikes((k * v).sum(2, keepdim=True), 0.5) * q
        if kind == "SpikingSelfAttention":
            out = spikes(out, 0.5)
        y = affine("proj", out)
        return y if kind == "SpikeDrivenSelfAttention" else spikes(y, 1.0)

    tokens = x_seq.flatten(3)
    return torch.stack([one(tokens[:, b]) for b in range(tokens.shape[1])], 1).view(x_seq.shape)


@pytest.mark.parametrize("kind", KINDS)
def test_is_its_formula(kind):
    made = attention(kind)
    made(images())  # statistics
    made.eval()
    with torch.no_grad():
        got, want = made(images(1)), by_hand(made, images(1))
    assert (want != 0).double().mean() > 0.02
    assert want.std() > 0.05
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_does_not_feel_the_others_in_evaluation(kind):
    made = attention(kind)
    made(images())
    made.eval()
    x = images(1)
    other = x.clone()
    other[:, 1:] = images(2)[:, 1:] * 5
    assert torch.equal(made(x)[:, 0], made(other)[:, 0])
    assert not torch.equal(made(x)[:, 1], made(other)[:, 1])


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_the_sequence(kind):
    made = attention(kind)
    made(images())
    single = copy.deepcopy(made.eval())
    functional.set_step_mode(single, "s")
    x = images(1)
    torch.testing.assert_close(torch.stack([single(step) for step in x]), made(x))


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_learns(kind):
    made = attention(kind)
    made(images().requires_grad_()).square().sum().backward()
    for name, p in made.named_parameters():
        assert p.grad is not None and p.grad.abs().sum() > 0, name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["s", "m"])
def test_compiles_whole(kind, mode):
    torch._dynamo.reset()
    made = attention(kind, mode, neuron=LIFNode).eval()
    x = images() if mode == "m" else images()[0]
    want = made(x)
    functional.reset_net(made)
    torch.testing.assert_close(torch.compile(made, fullgraph=True, backend="aot_eager")(x), want)


@pytest.mark.parametrize("kind", KINDS[:3])
def test_tokens_in_a_row_are_those_of_an_image(kind):
    made = attention(kind).eval()
    x = images()
    assert torch.equal(made(x).flatten(3), made(x.flatten(3)))


@pytest.mark.parametrize("kind", KINDS)
def test_neurons_are_its_own(kind):
    made = attention(kind)
    neurons = [m for m in made.modules() if isinstance(m, IFNode)]
    assert len(neurons) == len({id(n) for n in neurons}) == {"S": 5, "T": 4, "C": 4}[kind[0]]
    assert [n.v_threshold for n in neurons].count(0.5) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_heads_must_divide_the_channels(kind):
    with pytest.raises(ArgumentError, match=rf"{kind}\.num_heads: must divide dim = 8, got 3"):
        getattr(layer, kind)(8, 3, neuron=IFNode)
    if kind != KINDS[3]:
        with pytest.raises(ArgumentError, match=rf"{kind}\.dim: must be a whole number"):
            getattr(layer, kind)(0, 1, neuron=IFNode)


@pytest.mark.parametrize("kind", KINDS[:3])
def test_a_wrong_shape_is_named(kind):
    made = attention(kind)
    with pytest.raises(ArgumentError, match=rf"{kind}\.x: must be \[T, B, C, \*\] with C = 8.*got \[4, 8, 2, 3\]"):
        made(images()[0])
    functional.set_step_mode(made, "s")
    with pytest.raises(ArgumentError, match=rf"{kind}\.x: must be \[B, C, \*\] with C = 8.*got \[3, 4, 8, 2, 3\]"):
        made(images())
