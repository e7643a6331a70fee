"""Same bits for 's' and 'm', in pieces and whole, for any threads, any instruction set, and from run to run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import snncore
from neuron.cases import (
    CHANNELS,
    FEW,
    ROWS,
    V_THRESHOLD,
    Row,
    close,
    evaluate,
    identical,
    inputs,
    start,
    summed,
    tensors,
    weights,
)
from snncore.neuron import IFNode, Leaky, ParametricLIFNode
from snncore.ops.neuron import state_dtype

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
# every row in one dtype, and every dtype for one row of every equation
PAIRS = [
    *((row, torch.float32) for row in ROWS.values()),
    *((row, d) for row in FEW for d in DTYPES if d != torch.float32),
]
every_row = pytest.mark.parametrize(("row", "dtype"), PAIRS, ids=lambda v: v.name if isinstance(v, Row) else str(v))


@pytest.fixture
def restore_capability():
    yield
    snncore.set_cpu_capability(snncore.build_info()["cpu_capabilities"][-1])


def same(what, got, want):
    assert got.keys() == want.keys()
    for key in want:
        assert identical(got[key], want[key]), f"{what}: {key}"


@every_row
@pytest.mark.parametrize("engine", ["native", "torch"])
def test_one_step_at_a_time(row, dtype, engine):
    x_seq = inputs(dtype)
    want = evaluate(row.make(dtype, engine=engine), x_seq)
    node = row.make(dtype, engine=engine, step_mode="s", store_v_seq=True)
    x_seq.requires_grad_()
    spike_seq = torch.stack([node(x) for x in x_seq])
    assert identical(spike_seq, want["spike_seq"])
    assert identical(node.v_seq, want["v_seq"])
    last = torch.stack(node.state)
    assert identical(last, want["last"])
    w_spike, w_v, w_last = weights(x_seq, len(last))
    loss = (spike_seq * w_spike).sum(dtype=w_v.dtype) + (node.v_seq * w_v).sum() + (last * w_last).sum()
    loss.backward()
    tolerance = 1e-13 if dtype == torch.float64 else 1e-6
    low = torch.finfo(dtype).eps / 2 if dtype.itemsize == 2 else 0.0
    close("grad.x", x_seq.grad.to(state_dtype(dtype)), want["grad.x"].to(state_dtype(dtype)), tolerance + low)
    for name, parameter in node.named_parameters():
        close(name, parameter.grad, want[f"grad.{name}"], tolerance, least=summed(x_seq))


@every_row
def test_run_in_pieces(row, dtype):
    node = row.make(dtype, engine="native")
    x_seq, first = inputs(dtype, T=12), start(row, dtype)
    want = evaluate(node, x_seq, first)
    x_seq.requires_grad_()
    first.requires_grad_()
    node.zero_grad()
    node.store_v_seq = False
    state, spikes = first.unbind(0), []
    for piece in x_seq.split([1, 4, 0, 5, 2]):
        spike_seq, state = node.run(piece, state)
        spikes.append(spike_seq)
    assert identical(torch.cat(spikes), want["spike_seq"])
    assert identical(torch.stack(state), want["last"])
    assert node.state is None and node.v_seq is None, "run() left something behind"
    w_spike, _, w_last = weights(x_seq, len(first))
    whole_spikes, whole_last = node.run(x_seq, first.unbind(0))
    leaves = [x_seq, first, *node.parameters()]

    def grads(spike_seq, last):
        loss = (spike_seq * w_spike).sum(dtype=w_last.dtype) + (torch.stack(last) * w_last).sum()
        return torch.autograd.grad(loss, leaves)

    tolerance = 1e-13 if dtype == torch.float64 else 1e-6
    for got, expected in zip(grads(torch.cat(spikes), state), grads(whole_spikes, whole_last), strict=True):
        low = torch.finfo(got.dtype).eps / 2 if got.dtype.itemsize == 2 else 0.0
        least = 1.0 if got.dim() > 1 else summed(x_seq)
        close("a gradient", got.to(w_last.dtype), expected.to(w_last.dtype), tolerance + low, least)


@every_row
def test_forward_and_run_have_the_same_gradients(row, dtype):
    """forward() keeps no last state, and v_seq only on request: what is not kept changes nothing else."""
    x_seq = inputs(dtype).requires_grad_()
    w_spike, w_v, _ = weights(x_seq)
    node = row.make(dtype, engine="native")
    leaves = [x_seq, *node.parameters()]
    want = torch.autograd.grad(node.run(x_seq)[0], leaves, w_spike)
    for store in (False, True):
        node.store_v_seq = store
        got = torch.autograd.grad(node(x_seq), leaves, w_spike)
        assert all(identical(a, b) for a, b in zip(got, want, strict=True)), store
    node(x_seq)
    got = torch.autograd.grad(node.v_seq, leaves, w_v)
    _, _, v_seq = node._run(x_seq, None)
    want = torch.autograd.grad(v_seq, leaves, w_v)
    assert all(identical(a, b) for a, b in zip(got, want, strict=True)), "v_seq"


def big(dtype):
    """Yield (what, node, x_seq) with work for several threads, in lanes and in channels."""
    lanes = 100_003  # times 6 steps: 18 pieces of what is worth a thread
    channels = torch.linspace(0.2, 0.95, 130)
    yield "if", IFNode(v_threshold=V_THRESHOLD, step_mode="m"), inputs(dtype, 6, (lanes,))
    yield "plif", ParametricLIFNode(v_reset=None, step_mode="m").to(state_dtype(dtype)), inputs(dtype, 6, (lanes,))
    node = Leaky(channels, learn_beta=True, step_mode="m").to(state_dtype(dtype))
    yield "leaky, 130 channels", node, inputs(dtype, 6, (11, 130, 71))
    yield "leaky, 130 channels last", node, inputs(dtype, 6, (801, 130))
    for row in FEW:
        node = row.make(dtype, engine="native")
        if len(node.rest()) > 1 or tensors(node):
            yield row.name, node, inputs(dtype, 6, (2, CHANNELS, 3_341))  # 4 pieces


@each_dtype
def test_threads(dtype):
    for what, node, x_seq in big(dtype):
        torch.set_num_threads(1)
        want = evaluate(node, x_seq)
        for threads in (2, 3, 2):
            torch.set_num_threads(threads)
            assert torch.get_num_threads() == threads
            same(f"{what}, {threads} threads", evaluate(node, x_seq), want)


def test_python_threads_beside_each_other():
    """Ops release the interpreter lock: scratch memory and kept blocks belong to one call at a time."""
    jobs = []
    for number, row in enumerate(FEW):
        dtype = DTYPES[number % 4]
        shape = (11, CHANNELS, 997 * (number % 3 + 1))
        x_seq = inputs(dtype, 4 + 13 * (number % 4), shape, seed=number)
        jobs.append((row, dtype, x_seq, evaluate(row.make(dtype), x_seq)))
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            running = [pool.submit(evaluate, row.make(dtype), x_seq) for row, dtype, x_seq, _ in jobs]
            for (row, _, _, want), future in zip(jobs, running, strict=True):
                same(row.name, future.result(), want)


@each_dtype
def test_from_run_to_run(dtype):
    for what, node, x_seq in big(dtype):
        want = evaluate(node, x_seq)
        for again in range(2):
            same(f"{what}, run {again}", evaluate(node, x_seq.clone()), want)


@each_dtype
def test_instruction_sets(dtype, restore_capability):
    capabilities = snncore.build_info()["cpu_capabilities"]
    assert capabilities[0] == "default"
    shape = (2, CHANNELS, 45)  # 270 lanes: whole vectors and a rest of every width
    for row in FEW:
        for name, surrogate in row.surrogates().items():
            results = []
            for capability in capabilities:
                snncore.set_cpu_capability(capability)
                assert snncore.build_info()["cpu_capability"] == capability
                node = row.make(dtype, engine="native", surrogate_function=surrogate)
                results.append(evaluate(node, inputs(dtype, 6, shape), start(row, dtype, shape)))
            for capability, result in zip(capabilities[1:], results[1:], strict=True):
                same(f"{row.name}, {name}, {capability}", result, results[0])


def test_instruction_sets_past_the_caches(restore_capability):
    """Streaming is written once per instruction set."""
    for dtype in DTYPES:
        lanes = (17 << 20) // (3 * dtype.itemsize) + 5
        x_seq = torch.randn(3, lanes, generator=torch.Generator().manual_seed(0)).to(dtype)
        node = IFNode(step_mode="m", engine="native")
        results = []
        for capability in snncore.build_info()["cpu_capabilities"]:
            snncore.set_cpu_capability(capability)
            results.append(evaluate(node, x_seq))
            same(f"{dtype}, {capability}", results[-1], results[0])


# ---- half types to float32 and back: x is decoded into v_seq, a gradient of v_seq encoded into grad_x ----------------


def capabilities():
    return pytest.mark.parametrize("capability", snncore.build_info()["cpu_capabilities"])


@capabilities()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_every_half_number_is_decoded(dtype, capability, restore_capability):
    snncore.set_cpu_capability(capability)
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    x = bits.view(dtype)
    node = IFNode(v_reset="none", step_mode="m", store_v_seq=True, engine="native")
    node(x.unsqueeze(0))
    want = x.float()
    got = node.v_seq[0]
    assert torch.equal(got.isnan(), want.isnan())
    assert torch.equal(got[~got.isnan()], want[~want.isnan()])  # -0 comes out as 0 + -0 = 0, which is equal


@capabilities()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_numbers_are_encoded_to_the_nearest_half(dtype, capability, restore_capability):
    snncore.set_cpu_capability(capability)
    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(-(2**31), 2**31, (400_003,), generator=generator, dtype=torch.int64).to(torch.int32)
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32)
    exact = every.to(torch.int16).view(dtype).float()
    middle = (exact.view(torch.int32).to(torch.int64) + 2 ** (15 if dtype == torch.bfloat16 else 12)).to(torch.int32)
    ties = [middle + d for d in (-1, 0, 1)]  # half-way between two bfloat16 or two normal float16 numbers
    subnormal = (torch.arange(0, 4096).float() + 0.5) * 2.0**-24  # half-way between subnormal float16 numbers
    edges = torch.tensor(
        [65503.9, 65504.0, 65519.9, 65520.0, 65536.0, 2.0**-14, 2.0**-24, 2.0**-25, 2.0**-26, 3e38, 1e-45]
    )
    g = torch.cat(
        [bits.view(torch.float32), *(t.view(torch.float32) for t in ties), subnormal, -subnormal, edges, -edges]
    )
    x = torch.zeros(1, g.numel(), dtype=dtype, requires_grad=True)
    node = IFNode(v_reset="none", step_mode="m", store_v_seq=True, engine="native")
    node(x)
    node.v_seq.backward(g.unsqueeze(0))
    got, want = x.grad[0], g.to(dtype)
    assert torch.equal(got.isnan(), want.isnan())
    number = ~want.isnan()
    wrong = got[number].view(torch.int16) != want[number].view(torch.int16)
    zero = (got[number] == 0) & (want[number] == 0)  # g + 0 * ... may lose the sign of a zero
    assert not (wrong & ~zero).any(), f"{g[number][wrong][:5].tolist()} became {got[number][wrong][:5].tolist()}"
