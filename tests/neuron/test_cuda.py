"""The CUDA kernels equal the CPU's, which the other tests hold to their definition."""

from __future__ import annotations

import pytest
import torch

from neuron.cases import CHANNELS, FEW, ROWS, V_THRESHOLD, close, evaluate, inputs, start
from neuron.test_engines_agree import FLOAT32
from snncore import ops
from snncore.neuron import IFNode, LIFNode

pytestmark = pytest.mark.gpu
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


@pytest.fixture(autouse=True)
def kernels():
    reason = ops.cuda_ready()
    if reason is not None:
        pytest.skip(reason)


def on_both(make, x_seq, state=None):
    want = evaluate(make(), x_seq, state)
    got = evaluate(make().cuda(), x_seq.cuda(), None if state is None else state.cuda())
    assert all(value.is_cuda for value in got.values())
    return {key: value.cpu() for key, value in got.items()}, want


def compare(what, got, want, dtype, error=1.0):
    """Arithmetic is the same; tau = 1 + exp(-w) and sums over lanes may be rounded otherwise."""
    assert got.keys() == want.keys()
    tolerance = 1e-12 if dtype == torch.float64 else FLOAT32 * error
    low = torch.finfo(dtype).eps if dtype.itemsize == 2 else 0.0
    assert torch.equal(got["spike_seq"], want["spike_seq"]), f"{what}: spikes"
    for key in want.keys() - {"spike_seq"}:
        assert got[key].dtype == want[key].dtype, f"{what}: {key}"
        wide = tolerance + (low if got[key].dtype == dtype else 0.0)
        close(f"{what}: {key}", got[key].double(), want[key].double(), wide, least=1.0)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
@each_dtype
def test_equals_the_cpu(row, dtype):
    for number, (name, surrogate) in enumerate(row.surrogates().items()):
        for detach in (False, True):
            state = start(row, dtype) if (number + detach) % 2 else None
            given = {"surrogate_function": surrogate, "detach_reset": detach, "engine": "native"}
            got, want = on_both(lambda given=given: row.make(dtype, **given), inputs(dtype), state)
            compare(f"{name}, detach_reset={detach}", got, want, dtype, row.error)


@pytest.mark.parametrize("row", FEW, ids=lambda row: row.name)
@each_dtype
def test_shapes(row, dtype):
    for T, shape in ((1, (1, CHANNELS)), (300, (2, CHANNELS, 5)), (3, (1, CHANNELS, 85)), (5, (7, CHANNELS, 1001))):
        got, want = on_both(lambda: row.make(dtype, engine="native"), inputs(dtype, T, shape), start(row, dtype, shape))
        compare(f"T={T}, step {shape}", got, want, dtype, row.error)
    for shape in ((0, 2, CHANNELS, 5), (4, 0, CHANNELS, 5), (4, 2, CHANNELS, 0)):
        node = row.make(dtype, engine="native").cuda()
        assert node(torch.empty(shape, dtype=dtype, device="cuda")).shape == shape


@each_dtype
def test_strides(dtype):
    x = inputs(dtype, 6, (4, CHANNELS, 6)).cuda()
    for what, view in {
        "transposed": x.transpose(0, 1).contiguous().transpose(0, 1),
        "expanded": x[:1].expand(x.shape),
        "sliced": x[::2, :, :, ::2],
        "window": x[0].flatten().unfold(0, 24, 3),
    }.items():
        node = LIFNode(step_mode="m", engine="native")
        got, want = evaluate(node, view), evaluate(node, view.contiguous().clone())
        for key in want:
            assert torch.equal(got[key], want[key]), f"{what}: {key}"


@each_dtype
def test_from_run_to_run_and_step_to_step(dtype):
    for row in FEW:
        x = inputs(dtype, 5, (64, CHANNELS, 33)).cuda()
        node = row.make(dtype, engine="native").cuda()
        want = evaluate(node, x)
        again = evaluate(node, x)
        for key in want:
            assert torch.equal(again[key], want[key]), f"{row.name}: {key}"
        single = row.make(dtype, engine="native", step_mode="s").cuda()
        assert torch.equal(torch.stack([single(step) for step in x]), want["spike_seq"]), row.name


def test_a_stream_of_its_own():
    stream = torch.cuda.Stream()
    x = inputs(torch.float32, 8, (1000,)).cuda()
    node = IFNode(v_threshold=V_THRESHOLD, step_mode="m", engine="native")
    want = node(x)
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        got = node(x * 1)
    stream.synchronize()
    assert torch.equal(got, want)


def test_devices_do_not_mix():
    node = LIFNode(step_mode="m", engine="native")
    with pytest.raises(RuntimeError, match="state"):
        node.run(torch.zeros(2, 3, device="cuda"), (torch.zeros(3),))
    with pytest.raises(RuntimeError):
        ops.multi_step(node._dynamics((1.0, 0.5)), torch.zeros(2, 3, device="cuda"), torch.zeros(1, 3))
