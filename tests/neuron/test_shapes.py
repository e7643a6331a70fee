"""Any T, any number of lanes, any strides: the same numbers as the plain loop on contiguous input."""

from __future__ import annotations

import itertools
import mmap

import pytest
import torch

from neuron.cases import (
    CHANNELS,
    FEW,
    ROWS,
    close,
    evaluate,
    identical,
    inputs,
    per_channel,
    run,
    start,
    summed,
    weights,
)
from snncore.neuron import IFNode, LIFNode
from snncore.ops.library import core
from snncore.ops.neuron import state_dtype

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
FULL = [torch.float64, torch.float32]
RESULTS = {"spike_seq", "v_seq", "last"}
few_rows = pytest.mark.parametrize("row", FEW, ids=lambda row: row.name)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def agree(what, row, dtype, T, shape):
    """Native and torch engine on the same x; half types against float32 arithmetic on the same x."""
    x_seq, state = inputs(dtype, T, shape), start(row, dtype, shape)
    native = evaluate(row.make(dtype, engine="native"), x_seq, state)
    plain = evaluate(row.make(dtype, engine="torch"), x_seq.to(state_dtype(dtype)), state)
    tolerance = 1e-11 if dtype == torch.float64 else 2.0**-24 * 8 * (T + 8) * row.error
    spikes, wanted = native["spike_seq"], plain["spike_seq"].to(dtype)  # a graded spike is rounded, once
    apart = (spikes != wanted).any(0)
    if row.exact or dtype == torch.float64:
        assert not apart.any(), f"{what}: spike_seq"
    for key in native.keys() - {"spike_seq"}:
        got, want = native[key].to(plain[key].dtype), plain[key]
        if key in RESULTS and row.exact:
            assert identical(got, want), f"{what}: {key}"
            continue
        lanes = got.shape[1:] == apart.shape
        if lanes:
            got, want = got[:, ~apart], want[:, ~apart]
        elif apart.any():
            continue  # a parameter's gradient, with lanes in it that parted within rounding of the threshold
        low = torch.finfo(dtype).eps / 2 if dtype.itemsize == 2 and key == "grad.x" else 0.0
        close(f"{what}: {key}", got, want, tolerance + low, least=1.0 if lanes else summed(x_seq))
    assert apart.sum() <= 1 + apart.numel() // 50, f"{what}: {int(apart.sum())} of {apart.numel()} lanes part"


@few_rows
@each_dtype
def test_lanes_around_the_edges_of_strips_and_tiles(row, dtype):
    for n in (1, 2, 15, 63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025, 2047, 2049, 3073):
        shape = (2, CHANNELS, (n + 5) // 6) if per_channel(row) else (n,)
        agree(f"lanes {shape}", row, dtype, 3, shape)


@few_rows
@each_dtype
def test_steps(row, dtype):
    """Few and many steps; the tile of backward narrows with T."""
    for T in (1, 2, 3, 4, 5, 8, 17, 64, 129, 300):
        agree(f"T={T}", row, dtype, T, (3, CHANNELS, 11))


def test_any_number_of_dimensions():
    node = ROWS["lif-hard-0.25"].make()
    flat = inputs(torch.float64, 4, (24,))
    want = node(flat)
    for shape in ((24,), (2, 12), (2, 3, 4), (2, 3, 2, 2), (1, 2, 3, 1, 4), (1, 2, 1, 3, 1, 4, 1)):
        assert torch.equal(node(flat.view(4, *shape)), want.view(4, *shape)), shape


# ---- empty ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("engine", ["native", "torch"])
def test_empty(row, engine):
    for dtype in DTYPES:
        full = state_dtype(dtype)
        for T, shape in ((0, (2, CHANNELS, 5)), (4, (0, CHANNELS, 5)), (4, (2, CHANNELS, 0)), (0, (0, CHANNELS))):
            what = f"{dtype}, T={T}, step {shape}"
            node = row.make(dtype, engine=engine)
            x_seq = torch.empty(T, *shape, dtype=dtype, requires_grad=True)
            state = torch.full((len(node.rest()), *shape), 0.25, dtype=full, requires_grad=True)
            spike_seq, last, v_seq = run(node, x_seq, state)
            assert spike_seq.shape == x_seq.shape and spike_seq.dtype == dtype, what
            assert v_seq.shape == x_seq.shape and v_seq.dtype == full, what
            assert torch.equal(last, state), what
            (spike_seq.sum() + 2 * v_seq.sum() + 3 * last.sum()).backward()
            assert torch.equal(state.grad, torch.full_like(state, 3.0)), what
            if engine == "native":  # autograd leaves None where a loop never touched x
                assert x_seq.grad.shape == x_seq.shape, what
                for name, parameter in node.named_parameters():
                    assert torch.equal(parameter.grad, torch.zeros_like(parameter)), f"{what}: {name}"


def test_empty_through_forward():
    for cls in (IFNode, LIFNode):
        assert cls(step_mode="m")(torch.empty(0, 2, 3)).shape == (0, 2, 3)
        node = cls(step_mode="s")
        assert node(torch.empty(0, 3)).shape == (0, 3)
        assert node.v.shape == (0, 3)


# ---- strides -------------------------------------------------------------------------------------------------------


def layouts(dtype):
    """Yield (what, x_seq): views [T, B, C, L] (or more) that are not plain contiguous memory."""
    x = inputs(dtype, 5, (4, CHANNELS, 6, 2))
    yield "time innermost", x.permute(1, 2, 3, 4, 0).contiguous().permute(4, 0, 1, 2, 3)
    yield "batch first", x.transpose(0, 1).contiguous().transpose(0, 1)
    yield "channels last", x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    yield "channels last over T and B", x.flatten(0, 1).contiguous(memory_format=torch.channels_last).view(x.shape)
    yield "every other step", inputs(dtype, 10, (4, CHANNELS, 6, 2))[1::2]
    yield "steps from the middle", inputs(dtype, 9, (4, CHANNELS, 6, 2))[3:8]
    yield "part of the batch", inputs(dtype, 5, (9, CHANNELS, 6, 2))[:, 2:6]
    yield "every other lane", inputs(dtype, 5, (4, CHANNELS, 6, 4))[..., ::2]
    yield "one lane off alignment", inputs(dtype, 1, (5 * 4 * CHANNELS * 12 + 1,))[0, 1:].view(5, 4, CHANNELS, 6, 2)
    yield "expanded over T", x[0].expand(5, *x.shape[1:])
    yield "expanded over T, channels last", x[0].contiguous(memory_format=torch.channels_last).expand(5, *x.shape[1:])
    yield "expanded over lanes", x[:, :1].expand(x.shape)
    yield "one number for all", x[:1, :1, :1, :1, :1].expand(x.shape)
    yield (
        "sliding window",
        inputs(dtype, 1, (4 * CHANNELS * 12 + 4,))[0].unfold(0, 4 * CHANNELS * 12, 1).view(5, 4, CHANNELS, 6, 2),
    )
    yield "one step", x[2:3].transpose(1, 2).contiguous().transpose(1, 2)
    if dtype in FULL:
        pair = torch.complex(x, -x).conj()
        assert pair.imag.is_neg()
        yield "negated lazily", pair.imag


@each_dtype
def test_strides_of_x(dtype):
    for row in FEW:
        for what, x_seq in layouts(dtype):
            plain = evaluate(row.make(dtype), x_seq.contiguous().clone())
            got = evaluate(row.make(dtype), x_seq)
            for key in plain:
                kept = "channels last" in what  # the order of x stays
                if kept and key.startswith("grad.") and got[key].dim() < 2:  # a sum over lanes, in that order
                    rtol = 1e-13 if dtype == torch.float64 else 1e-6
                    torch.testing.assert_close(
                        got[key], plain[key], rtol=rtol, atol=0, msg=f"{row.name}, {what}: {key}"
                    )
                    continue
                assert torch.equal(got[key], plain[key]), f"{row.name}, {what}: {key}"
                in_order = got[key].movedim(-3, -1) if kept and got[key].dim() > 3 else got[key]
                assert key.startswith("grad.") or in_order.is_contiguous(), f"{row.name}, {what}: {key}"


def backwards(g):
    """The same tensor, its first dimension innermost in memory."""
    order = tuple(range(g.dim() - 1, -1, -1))
    return g.permute(order).contiguous().permute(order)


@each_dtype
def test_strides_of_gradients(dtype):
    for row in FEW:
        node = row.make(dtype)
        x_seq = inputs(dtype, 5, (4, CHANNELS, 6)).requires_grad_()
        state = start(row, dtype, (4, CHANNELS, 6)).requires_grad_()
        spike_seq, last, v_seq = run(node, x_seq, state)
        leaves = [x_seq, state, *node.parameters()]
        grads = dict(zip(("spikes", "v_seq", "last"), weights(x_seq, len(state)), strict=True))
        outputs = {"spikes": spike_seq, "v_seq": v_seq, "last": last}
        changes = {
            "transposed": lambda g: g.transpose(0, 1).contiguous().transpose(0, 1),
            "reversed": backwards,
            "every other": lambda g: torch.stack((g, g + 1), -1)[..., 0],
            "expanded": lambda g: g[:1].expand(g.shape),
            "one number": lambda g: g.flatten()[0].expand(g.shape),
            "sliced": lambda g: torch.cat((g + 1, g, g + 2))[g.shape[0] : 2 * g.shape[0]],
        }
        for name, out in outputs.items():
            for what, change in changes.items():
                g = change(grads[name])
                some = {"retain_graph": True, "allow_unused": True}  # a threshold may have no part in the last state
                got = torch.autograd.grad(out, leaves, g, **some)
                want = torch.autograd.grad(out, leaves, g.contiguous().clone(), **some)
                for a, b in zip(got, want, strict=True):
                    assert torch.equal(a, b), f"{row.name}: gradient of {name}, {what}"


@each_dtype
def test_gradients_are_the_same_whoever_asks(dtype):
    """x_seq, the initial state and parameters require gradients alone, in pairs and all together."""
    for row in FEW:
        x_seq, state = inputs(dtype), start(row, dtype)
        want = evaluate(row.make(dtype), x_seq, state)
        names = ["x", "state", *(n for n, _ in row.make(dtype).named_parameters())]
        for wanted in [*itertools.combinations(names, 1), *itertools.combinations(names, 2), tuple(names)]:
            node = row.make(dtype)
            leaves = {"x": x_seq.clone(), "state": state.clone(), **dict(node.named_parameters())}
            for name, leaf in leaves.items():
                leaf.requires_grad_(name in wanted)
            spike_seq, last, v_seq = run(node, leaves["x"], leaves["state"])
            w_spike, w_v, w_last = weights(x_seq, len(last))
            loss = (spike_seq * w_spike).sum(dtype=v_seq.dtype) + (v_seq * w_v).sum() + (last * w_last).sum()
            loss.backward()
            for name, leaf in leaves.items():
                what = f"{row.name}: {name} when {wanted} are wanted"
                if name in wanted:
                    assert torch.equal(leaf.grad, want[f"grad.{name}"]), what
                else:
                    assert leaf.grad is None, what


# ---- large ---------------------------------------------------------------------------------------------------------


@each_dtype
def test_outputs_past_the_caches(dtype):
    """From 16 MiB on rows are streamed: the same bits as in pieces too small for that, whatever the alignment."""
    lanes = (16 << 20) // (4 * dtype.itemsize) + 7
    for row in (ROWS["lif-soft"], ROWS["leaky-subtract-delayed-learn_beta"]):
        for T, n in ((4, lanes), (3, lanes * 4 // 3 + 1)):
            x_seq = torch.randn(T, n, generator=torch.Generator().manual_seed(3)).to(dtype)
            state = torch.zeros(1, n, dtype=state_dtype(dtype))
            weigh = torch.cat([w.reshape(-1, n) for w in weights(x_seq)])
            whole = _with_given_weights(row.make(dtype), x_seq, state, weigh)
            at, pieces = 0, []
            for piece in (1, 64, 100_003, 99_999, 250_000):
                pieces.append(slice(at, at + piece))
                at += piece
            for piece in (*pieces, slice(n - 12_345, n)):
                part = _with_given_weights(row.make(dtype), x_seq[:, piece], state[:, piece], weigh[:, piece])
                for key, value in part.items():
                    if value.dim():
                        assert torch.equal(whole[key][..., piece], value), f"{row.name}, {piece}: {key}"


def _with_given_weights(node, x_seq, state, weigh):
    x_seq, state = x_seq.detach().requires_grad_(), state.detach().requires_grad_()
    T = x_seq.shape[0]
    spike_seq, last, v_seq = run(node, x_seq, state)
    grads = [weigh[:T].to(x_seq.dtype), weigh[T : 2 * T].to(v_seq.dtype), weigh[2 * T :].to(v_seq.dtype)]
    leaves = [x_seq, state, *node.parameters()]
    found = torch.autograd.grad([spike_seq, v_seq, last], leaves, grads)
    names = ["grad.x", "grad.state", *(f"grad.{n}" for n, _ in node.named_parameters())]
    return {"spike_seq": spike_seq.detach(), "v_seq": v_seq.detach(), **dict(zip(names, found, strict=True))}


def test_streamed_output_equals_the_definition():
    T, n = 4, (16 << 20) // 16 + 3
    row = ROWS["plif-hard-0.25"]
    x_seq = torch.randn(T, n, generator=torch.Generator().manual_seed(4))
    native, plain = (evaluate(row.make(torch.float32, engine=e), x_seq) for e in ("native", "torch"))
    for key in RESULTS:
        assert torch.equal(native[key], plain[key]), key
    close("grad.x", native["grad.x"], plain["grad.x"], 1e-6)
    exact = evaluate(row.make(torch.float64, engine="torch"), x_seq.double())
    close("grad.w", native["grad.w"].double(), exact["grad.w"], 1e-6)


@pytest.mark.large
def test_more_than_2_to_the_31_elements():
    """Spot checks before, at and behind 2^31, forward and backward. x is zero pages but for the spots."""
    T, n, dtype = 2051, (1 << 20) + 3, torch.bfloat16
    assert T * n > 2**31
    memory = mmap.mmap(-1, T * n * dtype.itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    x_seq = torch.frombuffer(memory, dtype=dtype).view(T, n)
    spots = [slice(0, 4), slice(n // 2 - 2, n // 2 + 2), slice(2**31 % n, 2**31 % n + 4), slice(n - 4, n)]
    node = LIFNode(tau=1.6, v_threshold=0.75, step_mode="m", engine="native")
    want = []
    for number, spot in enumerate(spots):
        x = inputs(dtype, T, (4,), seed=number)
        x_seq[:, spot] = x
        x.requires_grad_()
        spike_seq, (last,) = node.run(x)
        assert spike_seq[-3:].any()
        loss = spike_seq.sum(dtype=torch.float32) + (last * torch.arange(1.0, 5.0)).sum()
        loss.backward()
        want.append((spike_seq.detach(), last.detach(), x.grad))

    with torch.no_grad():
        spike_seq, (last,) = node.run(x_seq)
    for spot, (spikes, state, _) in zip(spots, want, strict=True):
        assert torch.equal(spike_seq[:, spot], spikes), f"spikes of lanes {spot}"
        assert torch.equal(last[spot], state), f"last state of lanes {spot}"
    last_grad = torch.zeros_like(last).unsqueeze(0)
    for spot in spots:
        last_grad[0, spot] = torch.arange(1.0, 5.0)
    del spike_seq  # backward does not want it; its memory serves grad_x

    backward = torch.ops.snncore.lif_backward
    ones = torch.ones((), dtype=dtype).expand(n).contiguous().expand(T, n)
    grad_x, _, _ = backward(
        ones, last_grad, None, x_seq, None, None, 1, *node._dynamics((0.75, 1 / 1.6)).arguments, False, False
    )
    for spot, (_, _, grad) in zip(spots, want, strict=True):
        assert torch.equal(grad_x[:, spot], grad), f"grad.x of lanes {spot}"
    del grad_x
    core.release_output_blocks()
