"""The native engine equals the plain-torch definition: every neuron x reset x detach x decay x surrogate x dtype."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from neuron.cases import ROWS, V_THRESHOLD, Row, close, evaluate, inputs, margins, start, surrogates
from snncore.surrogate import SURROGATES

BOTH = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


def test_rows_cover_the_tables():
    from snncore.neuron import NEURONS

    assert {row.node for row in ROWS.values()} == set(NEURONS.values())
    assert list(surrogates()) == list(SURROGATES)


def pairs(row, dtype):
    """Yield (what, native result, torch result, torch node, x_seq, state) over detach x surrogate, a state in half."""
    x_seq = inputs(dtype)
    for number, (name, surrogate) in enumerate(row.surrogates().items()):
        for detach in (False, True):
            state = start(row, dtype) if (number + detach) % 2 else None
            nodes = [
                row.make(dtype, surrogate_function=surrogate, detach_reset=detach, engine=engine)
                for engine in ("native", "torch")
            ]
            native, plain = (evaluate(node, x_seq, state) for node in nodes)
            yield f"{name}, detach_reset={detach}, state={state is not None}", native, plain, nodes[1], x_seq, state


@BOTH
def test_float64(row):
    for what, native, plain, *_ in pairs(row, torch.float64):
        rate = (plain["spike_seq"] != 0).double().mean()
        assert 0.05 < rate < 0.95, f"{what}: nothing to test, {rate:.2f} spikes per step"
        assert native.keys() == plain.keys()
        for key in native:
            if key == "spike_seq" or (row.exact and key in ("v_seq", "last")):
                assert torch.equal(native[key], plain[key]), f"{what}: {key}"
            else:
                close(f"{what}: {key}", native[key], plain[key], 1e-12)


def check_spikes(what: str, native: Tensor, plain: Tensor, u: Tensor, v_seq: Tensor, row: Row) -> Tensor:
    """Spikes may part only where a margin u [T, conditions, *] was within rounding of zero.

    Returns the lanes that never parted.
    """
    parted = native != plain
    before = parted.cumsum(0).cumsum(0) == 1  # True at the first step that differs, per lane
    scale = v_seq.abs().cummax(0).values.clamp(min=V_THRESHOLD)
    near = (u.abs() <= 4 * row.error * torch.finfo(u.dtype).eps * scale.unsqueeze(1)).any(1)
    assert not (before & ~near).any(), f"{what}: {int((before & ~near).sum())} spikes differ away from the threshold"
    return ~parted.any(0)


# h takes at most 5 roundings a step, and T = 6 steps may carry them all on; a gradient takes about 10 more a step.
# 2^-24 * 6 * 16 = 5.7e-6 bounds what two orders of the same operations can differ by.
FLOAT32 = 6e-6


@BOTH
def test_float32(row):
    for what, native, plain, node, x_seq, state in pairs(row, torch.float32):
        same = check_spikes(
            what, native["spike_seq"], plain["spike_seq"], margins(node, x_seq, state), plain["v_seq"], row
        )
        for key in ("v_seq", "last", "grad.x", "grad.state"):
            if key in native:
                assert native[key].dtype == torch.float32
                close(f"{what}: {key}", native[key][..., same], plain[key][..., same], FLOAT32 * row.error)
        if same.all():
            for key in native.keys() - {"spike_seq", "v_seq", "last", "grad.x", "grad.state"}:
                # a sum over lanes and steps may cancel: its terms are of size 1
                close(f"{what}: {key}", native[key], plain[key], FLOAT32 * row.error, least=1.0)


@BOTH
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_types(row, dtype):
    """x and spikes low, state and arithmetic float32: the float32 result on the same x, rounded once at the end."""
    half_ulp = torch.finfo(dtype).eps / 2
    x_seq = inputs(dtype)
    for number, (name, surrogate) in enumerate(row.surrogates().items()):
        for detach in (False, True):
            what = f"{name}, detach_reset={detach}"
            state = start(row, dtype) if (number + detach) % 2 else None
            make = {"surrogate_function": surrogate, "detach_reset": detach}
            low = evaluate(row.make(dtype, engine="native", **make), x_seq, state)
            full = evaluate(row.make(torch.float32, engine="native", **make), x_seq.float(), state)
            node = row.make(torch.float32, engine="torch", **make)
            plain = evaluate(node, x_seq.float(), state)

            assert low["spike_seq"].dtype == low["grad.x"].dtype == dtype, what
            assert low.keys() == full.keys()
            for key in low:  # against the float32 kernel: bit for bit, whatever is low is rounded once
                assert low[key].dtype == (dtype if key in ("spike_seq", "grad.x") else torch.float32), f"{what}: {key}"
                assert torch.equal(low[key], full[key].to(low[key].dtype)), f"{what}: {key}"
            # against the definition: no worse than that one rounding (and what float32 itself may differ by)
            u = margins(node, x_seq.float(), state)
            same = check_spikes(what, low["spike_seq"], plain["spike_seq"].to(dtype), u, plain["v_seq"], row)
            close(f"{what}: v_seq", low["v_seq"][..., same], plain["v_seq"][..., same], FLOAT32 * row.error)
            want = plain["grad.x"][:, same]
            bound = (
                half_ulp * want.abs()
                + FLOAT32 * row.error * want.abs().max()
                + torch.finfo(dtype).smallest_normal * half_ulp
            )
            assert ((low["grad.x"].float()[:, same] - want).abs() <= bound).all(), f"{what}: grad.x"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("engine", ["native", "torch"])
def test_half_types_of_both_engines_have_the_same_dtypes(dtype, engine):
    for row in ROWS.values():
        node = row.make(dtype, engine=engine)
        out = evaluate(node, inputs(dtype), start(node, dtype))
        kinds = {key: value.dtype for key, value in out.items()}
        low = {"spike_seq", "grad.x"}
        assert kinds == {key: dtype if key in low else torch.float32 for key in out}, row.name
