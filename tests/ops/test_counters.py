"""``ops.spike_count`` and ``ops.overlap_count`` against their plain-torch definitions and counts by hand."""

from __future__ import annotations

import pytest
import torch

import snncore
from snncore import ops
from snncore.errors import ArgumentError
from snncore.ops import counters
from snncore.ops.counters import ABOVE_ONE, COLUMNS, FRACTION, NEGATIVE, _overlap_count, _spike_count

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
OTHERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
CAPABILITIES = snncore.build_info()["cpu_capabilities"]


@pytest.fixture(params=CAPABILITIES)
def capability(request):
    """Every instruction set this machine and build have."""
    try:
        snncore.set_cpu_capability(request.param)
        yield request.param
    finally:
        snncore.set_cpu_capability(CAPABILITIES[-1])


def kinds(generator, *shape):
    """One tensor for every kind of values, float64."""
    spikes = (torch.rand(shape, generator=generator) < 0.3).double()
    signs = torch.randint(0, 2, shape, generator=generator) * 2 - 1
    return {
        "zeros": spikes * 0,
        "minus zeros": -spikes * 0,
        "binary": spikes,
        "ternary": spikes * signs,
        "integer": spikes * torch.randint(1, 9, shape, generator=generator),
        "signed integer": spikes * signs * torch.randint(1, 9, shape, generator=generator),
        "real": torch.randn(shape, generator=generator).double() * spikes,
        "dense": torch.ones(shape).double(),
    }


def maps(generator, period, largest=5000):
    fan = torch.randint(0, largest, (period,), generator=generator, dtype=torch.int32)
    return fan, fan // 2


@pytest.mark.parametrize("dtype", [*FLOATS, *OTHERS], ids=str)
@pytest.mark.parametrize(("rows", "lanes"), [(1, 1), (3, 7), (5, 64), (4, 1000), (2, 5000), (9, 2049), (1, 70001)])
def test_every_dtype(rows, lanes, dtype, capability):
    generator = torch.Generator().manual_seed(rows * lanes)
    for kind, values in kinds(generator, rows, lanes).items():
        x = values.to(dtype) if dtype.is_signed or dtype == torch.bool else values.abs().to(dtype)
        for fan, eff in ((None, None), (maps(generator, lanes)[0], None), maps(generator, lanes)):
            got, want = ops.spike_count(x, rows, fan, eff), _spike_count(x, rows, fan, eff)
            assert got.dtype == want.dtype == torch.int64 and got.shape == (rows, len(COLUMNS))
            assert torch.equal(got, want), (kind, dict(zip(COLUMNS, (got - want).abs().sum(0).tolist(), strict=True)))


def test_by_hand():
    x = torch.tensor([[0.0, 1, -2, 0, 3, 1], [1, 0, 0, 1, 1, 0], [0.5, 0, 0, 0, 2, 0], [0, 0, -1, 0, 0, 1]])
    fan, eff = torch.tensor([1, 10, 100], dtype=torch.int32), torch.tensor([1, 0, 50], dtype=torch.int32)
    want = [
        [4, 7, 1 * 0 + 10 * 2 + 100 * 2, 10 * (1 + 3) + 100 * (2 + 1), 0 + 50 * 2, NEGATIVE | ABOVE_ONE],
        [3, 3, 1 + 1 + 10, 1 + 1 + 10, 1 + 1, 0],
        [2, 0, 1 + 10, 0, 1, ABOVE_ONE | FRACTION],
        [2, 2, 200, 200, 100, NEGATIVE],
    ]
    for count in (ops.spike_count, _spike_count):
        assert count(x, 4, fan, eff).tolist() == want


@pytest.mark.parametrize("period", [1, 2, 3, 4, 6, 8, 12, 24, 3000])
def test_periods(period, capability):
    generator = torch.Generator().manual_seed(period)
    x = kinds(generator, 3, 24 if period < 3000 else 9000)["signed integer"].float()
    fan, eff = maps(generator, period)
    got = ops.spike_count(x, 3, fan, eff)
    assert torch.equal(got, _spike_count(x, 3, fan, eff))
    whole = torch.cat([fan] * (x.shape[1] // period))
    assert torch.equal(got, ops.spike_count(x, 3, whole, torch.cat([eff] * (x.shape[1] // period))))


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_empty(shape, dtype):
    x = torch.empty(shape, dtype=dtype)
    for count in (ops.spike_count, _spike_count):
        assert torch.equal(count(x, shape[0]), torch.zeros(shape[0], len(COLUMNS), dtype=torch.int64))


def test_strided():
    generator = torch.Generator().manual_seed(0)
    fan, eff = maps(generator, 15)
    base = kinds(generator, 4, 6, 3, 5)["signed integer"].float()
    for x in (base, base.transpose(0, 1), base.permute(1, 0, 3, 2), base[:, ::2], base[1:2].expand(4, 6, 3, 5)):
        rows = x.shape[0] * x.shape[1]
        assert torch.equal(ops.spike_count(x, rows, fan, eff), ops.spike_count(x.contiguous(), rows, fan, eff))
        assert torch.equal(ops.spike_count(x, rows, fan, eff), _spike_count(x, rows, fan, eff))
    for skip in range(1, 8):  # addresses that no vector is aligned to
        x = base.flatten()[skip : skip + 300]
        assert torch.equal(ops.spike_count(x, 20, fan, eff), _spike_count(x, 20, fan, eff))


# value: the flags it sets
ODD = {
    float("nan"): FRACTION, float("inf"): ABOVE_ONE | FRACTION, -float("inf"): NEGATIVE | ABOVE_ONE | FRACTION,
    0.5: FRACTION, -0.5: FRACTION | NEGATIVE, 1.5: FRACTION | ABOVE_ONE, 2.0**-30: FRACTION, 1e-45: FRACTION,
    2.0**22: ABOVE_ONE, 2.0**22 - 1: ABOVE_ONE, -(2.0**22): ABOVE_ONE | NEGATIVE, 2.0**22 - 0.5: ABOVE_ONE | FRACTION,
    2.0**22 + 1: ABOVE_ONE | FRACTION, 2.0**22 + 2: ABOVE_ONE | FRACTION, 2.0**23: ABOVE_ONE | FRACTION,
    2.0**24: ABOVE_ONE | FRACTION, 2.0**40: ABOVE_ONE | FRACTION, 2.0**51 + 1: ABOVE_ONE | FRACTION,
    2.0**53: ABOVE_ONE | FRACTION, 2.0**63: ABOVE_ONE | FRACTION, 1e30: ABOVE_ONE | FRACTION, -0.0: 0, 1.0: 0,
    -1.0: NEGATIVE, 2.0: ABOVE_ONE, 3.0: ABOVE_ONE,
}  # fmt: skip


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_what_is_an_integer(dtype, capability):
    """Up to 2^22 in size, in every dtype: one odd value among spikes decides for its row alone."""
    fan = torch.arange(1, 41, dtype=torch.int32)
    for value, flags in ODD.items():
        stored = torch.tensor(value, dtype=dtype)
        if float(stored) != value and value == value:  # the dtype rounds it to another value
            continue
        x = torch.ones(3, 40, dtype=dtype)
        x[1, 17] = stored
        got = ops.spike_count(x, 3, fan)
        assert torch.equal(got, _spike_count(x, 3, fan, None)), value
        assert got[:, 5].tolist() == [0, flags, 0], value
        assert got[1, 0] == 40 - (value == 0)
        if flags & FRACTION:
            assert got[1, 1] == got[1, 3] == 0, "sums of what is no integer say nothing"
        else:
            assert got[1, 1] == 39 + abs(int(value)) and got[1, 3] == 820 - 18 + 18 * abs(int(value))


def test_integers_beyond_float():
    x = torch.tensor([[2**53 + 1, 1], [2**22, 1]])
    assert ops.spike_count(x, 2).tolist() == [[2, 0, 0, 0, 0, 6], [2, 2**22 + 1, 0, 0, 0, 2]]


@pytest.mark.parametrize("value", [1.0, -3.0])
def test_sums_beyond_32_bits(value, capability):
    x = torch.full((2, 70_000), value)
    fan = torch.full((70_000,), 2**31 - 1, dtype=torch.int32)
    fan[::2] = 1_000_003
    each = 35_000 * (2**31 - 1 + 1_000_003)
    got = ops.spike_count(x, 2, fan, fan)
    size = int(abs(value))
    assert got.tolist() == [[70_000, size * 70_000, each, size * each, each, got[0, 5].item()]] * 2
    assert torch.equal(got, _spike_count(x, 2, fan, fan))


def test_many_rows():
    """More rows than a block of kept memory was once sized for."""
    x = (torch.arange(300_000) % 3 == 0).float()
    got = ops.spike_count(x, 300_000)
    assert torch.equal(got[:, 0], x.long()) and torch.equal(got[:, 1], x.long()) and not got[:, 2:].any()


def test_threads():
    generator = torch.Generator().manual_seed(0)
    x = kinds(generator, 40, 5000)["real"].float()
    fan, eff = maps(generator, 5000)
    left, right = x.reshape(8, 25, 1000), x.reshape(8, 25, 1000)[:, :7]
    want, both = ops.spike_count(x, 40, fan, eff), ops.overlap_count(left, right)
    before = torch.get_num_threads()
    try:
        for threads in (2, 3):
            torch.set_num_threads(threads)
            assert torch.equal(ops.spike_count(x, 40, fan, eff), want)
            assert torch.equal(ops.overlap_count(left, right), both)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtypes", [(a, a) for a in (*FLOATS, *OTHERS)] + [(torch.float64, torch.bool)], ids=str)
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (3, 5, 7, 11), (2, 0, 3, 4), (2, 3, 0, 4), (2, 3, 4, 0), (0, 2, 2, 2),
                                   (2, 9, 4, 5000)], ids=str)  # fmt: skip
def test_overlap(sizes, dtypes, capability):
    batch, M, N, K = sizes
    generator = torch.Generator().manual_seed(sum(sizes))
    left = kinds(generator, batch, M, K)["signed integer"]
    right = kinds(generator, batch, N, K)["binary"]
    a, b = (t.abs().to(d) for t, d in zip((left, right), dtypes, strict=True))
    got = ops.overlap_count(a, b)
    assert got.dtype == torch.int64 and torch.equal(got, _overlap_count(a, b))
    products = (a != 0).double() @ (b != 0).double().transpose(1, 2)
    assert torch.equal(got[:, 0], products.sum((1, 2)).long())
    assert torch.equal(got, ops.overlap_count(a.transpose(0, 1).contiguous().transpose(0, 1), b))  # strided


def test_overlap_of_odd_values():
    x = torch.tensor([[[float("nan"), float("inf"), -0.0, 0.5]]])
    assert ops.overlap_count(x, x).tolist() == [[3, 3, 3]]


def test_overlap_beyond_32_bits():
    ones = torch.ones(1, 50_000, 2)
    assert ops.overlap_count(ones, ones).tolist() == [[2 * 50_000**2, 100_000, 100_000]]


def test_no_gradient():
    x = torch.rand(2, 3, requires_grad=True)
    assert not ops.spike_count(x, 2).requires_grad and not ops.overlap_count(x[None], x[None]).requires_grad


@pytest.mark.parametrize("x", [torch.rand(4, 6).round(), torch.randint(-2, 3, (4, 6)), torch.zeros(0, 6)], ids=str)
@pytest.mark.parametrize("engine", ["native", "torch"])
def test_counted_into_a_part_of_another_tensor(x, engine, monkeypatch):
    if engine == "torch":
        monkeypatch.setattr(counters, "_has_kernel", lambda x: False)
    rows, fan = len(x), torch.arange(1, 4, dtype=torch.int32)
    out = torch.full((7 + rows * len(COLUMNS),), -9)
    ops.spike_count_into(out, 3, x, rows, fan, fan)
    assert out[:3].tolist() == [-9] * 3 and out[-4:].tolist() == [-9] * 4
    assert torch.equal(out[3:-4].view(rows, len(COLUMNS)), ops.spike_count(x, rows, fan, fan))
    ops.spike_count_into(out, 4, x, rows, fan, fan, counted=torch.arange(rows) + 5)
    assert out[4:-3].view(rows, len(COLUMNS)).tolist() == [[5 + row, 5 + row, 0, 0, 0, 0] for row in range(rows)]
    assert out[-3:].tolist() == [-9] * 3


INTO = torch.zeros(30, dtype=torch.int64)
WRONG_INTO = [
    ((INTO, 7), {}, "start: must leave room for 6 columns of each row in the 30 elements of out, got 7"),
    ((INTO, -1), {}, "start: must leave room"),
    ((INTO.int(), 0), {}, "out: must be contiguous int64"),
    ((torch.zeros(5, 12, dtype=torch.int64)[:, ::2], 0), {}, "out: must be contiguous int64"),
    ((INTO.to("meta"), 0), {}, "out: must be on the device of x"),
    ((INTO, 0), {"counted": INTO}, "counted: must be contiguous int64 of one element for each row"),
    ((INTO, 0), {"counted": torch.zeros(4)}, "counted: must be contiguous int64"),
]


@pytest.mark.parametrize(("given", "more", "message"), WRONG_INTO, ids=[m for _, _, m in WRONG_INTO])
def test_wrong_place(given, more, message):
    with pytest.raises(RuntimeError) as caught:
        ops.spike_count_into(*given, torch.ones(4, 6), 4, **more)
    assert f"snncore::spike_count.{message}" in str(caught.value)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_opcheck(dtype):
    x = (torch.rand(4, 6) < 0.5).to(dtype)
    fan = torch.arange(3, dtype=torch.int32)
    maps_of = {4: (fan, None), 2: (fan, fan)}
    plain = [(x, 4, None, None), (x.t(), 6, None, None), (x[:0], 0, None, None)]
    for given in (*plain, *((x, rows, *given) for rows, given in maps_of.items())):
        done = torch.library.opcheck(torch.ops.snncore.spike_count.default, given)
        assert set(done.values()) == {"SUCCESS"}, done
        out = torch.empty(given[1] * len(COLUMNS) + 5, dtype=torch.int64)
        done = torch.library.opcheck(torch.ops.snncore.spike_count_out.default, (*given, None, out, 3))
        assert set(done.values()) == {"SUCCESS"}, done
    done = torch.library.opcheck(torch.ops.snncore.overlap_count.default, (x[None], x[None, :2]))
    assert set(done.values()) == {"SUCCESS"}, done


def test_compiled():
    x, fan = (torch.rand(4, 6) < 0.5).float(), torch.arange(3, dtype=torch.int32)

    def both(x):
        return ops.spike_count(x, 4, fan), ops.overlap_count(x[None], x[None])

    for got, want in zip(torch.compile(both, fullgraph=True, backend="aot_eager")(x), both(x), strict=True):
        assert torch.equal(got, want)


X = torch.ones(4, 6)
FAN = torch.ones(3, dtype=torch.int32)
WRONG = [
    ((X, 5), "spike_count.rows: must divide the 24 elements of x, got 5"),
    ((X, 0), "spike_count.rows"),
    ((X, -1), "spike_count.rows"),
    ((X, 2**40), "spike_count.rows"),
    ((X[:0], -1), "spike_count.rows"),
    ((X[:0], 2**60), "spike_count.rows"),
    ((X, 4, FAN.long()), "spike_count.fan_out: must be int32"),
    ((X, 4, FAN.float()), "spike_count.fan_out: must be int32"),
    ((X, 4, FAN[:0]), "spike_count.fan_out: must hold a divisor of the 6 elements of a row, got 0"),
    ((X, 4, torch.ones(4, dtype=torch.int32)), "spike_count.fan_out: must hold a divisor"),
    ((X, 4, torch.ones(12, dtype=torch.int32)), "spike_count.fan_out: must hold a divisor"),
    ((X, 4, FAN.to("meta")), "spike_count.fan_out: must be on the device of x"),
    ((X, 4, FAN, FAN.to("meta")), "spike_count.fan_eff: must be on the device of x"),
    ((X, 4, FAN, torch.ones(6, dtype=torch.int32)), "spike_count.fan_eff: must be as long as fan_out"),
    ((X, 4, FAN, FAN.long()), "spike_count.fan_eff: must be int32"),
    ((X, 4, None, FAN), "spike_count.fan_eff: needs fan_out too"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "message"), WRONG, ids=[m for _, m in WRONG])
def test_wrong_argument(given, message):
    with pytest.raises(RuntimeError) as caught:
        ops.spike_count(*given)
    assert f"snncore::{message}" in str(caught.value)


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        (X, X, "must get left"), (X[None], X, "must get left"), (X[None], X[None, :, :5], "must get left"),
        (X[None], X[None].expand(2, 4, 6), "must get left"), (X[None], X[None].to("meta"), "right: must be on the"),
        (X[None].to("meta"), X[None], "right: must be on the"),
    ],
)  # fmt: skip
def test_wrong_operands(left, right, message):
    with pytest.raises(RuntimeError) as caught:
        ops.overlap_count(left, right)
    assert "snncore::overlap_count" in str(caught.value) and message in str(caught.value)


def test_what_has_no_order():
    z = torch.ones(1, 2, 3, dtype=torch.complex64)
    with pytest.raises(ArgumentError, match=r"^spike_count\.x: must be real, got torch.complex64; "):
        ops.spike_count(z, 1)
    with pytest.raises(ArgumentError, match=r"^overlap_count\.right: must be real"):
        ops.overlap_count(z.real, z)


def test_the_op_alone_refuses_other_dtypes():
    for dtype in (torch.int64, torch.bool, torch.complex64):
        with pytest.raises(RuntimeError, match=r"spike_count\.x: must be float64"):
            torch.ops.snncore.spike_count(X.to(dtype), 4, None, None)
        with pytest.raises(RuntimeError, match=r"overlap_count\.(left|right): must be float64"):
            torch.ops.snncore.overlap_count(X[None], X[None].to(dtype))


def test_meta():
    assert ops.spike_count(X.to("meta"), 4).shape == (4, len(COLUMNS))
    assert ops.overlap_count(X[None].to("meta"), X[None].to("meta")).shape == (1, 3)
