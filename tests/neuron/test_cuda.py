"""The CUDA kernels equal the CPU's, which the other tests hold to their definition.

Without a device tests/ops/test_cuda_on_host.py checks their logic. To look for wrong accesses and races on one:
    compute-sanitizer --tool memcheck python -m pytest tests/neuron/test_cuda.py -k "few or sums"
    compute-sanitizer --tool racecheck python -m pytest tests/neuron/test_cuda.py -k "few or sums"
"""

from __future__ import annotations

import copy

import pytest
import torch

from neuron.cases import CHANNELS, FEW, ROWS, V_THRESHOLD, close, evaluate, inputs, margins, per_channel, start
from neuron.test_engines_agree import FLOAT32, check_spikes
from snncore import functional, layer, ops, surrogate
from snncore.neuron import IFNode, LIFNode, ParametricLIFNode

pytestmark = pytest.mark.gpu
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
few_rows = pytest.mark.parametrize("row", FEW, ids=lambda row: row.name)


@pytest.fixture(autouse=True)
def kernels():
    reason = ops.cuda_ready()
    if reason is not None:
        pytest.skip(reason)


def agree(what, row, node, x_seq, state=None):
    """Compare ``node``, a native one on the CPU, with itself on the device.

    The arithmetic of the kernels is the same. Sums over lanes, and what torch computes on the way from a parameter to a
    kernel's coefficient, may be rounded otherwise; so a spike may part where its margin was within rounding of zero.
    """
    dtype = x_seq.dtype
    want = evaluate(node, x_seq, state)
    got = evaluate(copy.deepcopy(node).cuda(), x_seq.cuda(), None if state is None else state.cuda())
    assert got.keys() == want.keys() and all(value.is_cuda for value in got.values()), what
    got = {key: value.cpu() for key, value in got.items()}
    same = torch.ones(x_seq.shape[1:], dtype=torch.bool)
    if not torch.equal(got["spike_seq"], want["spike_seq"]):
        u = margins(node, x_seq, state)
        same = check_spikes(what, got["spike_seq"], want["spike_seq"], u, want["v_seq"], row)
        assert (~same).sum() <= 1 + same.numel() // 50, f"{what}: {int((~same).sum())} of {same.numel()} lanes part"
    tolerance = (1e-12 if dtype == torch.float64 else FLOAT32 * max(1, len(x_seq) // 6)) * row.error
    for key in want.keys() - {"spike_seq"}:
        assert got[key].dtype == want[key].dtype, f"{what}: {key}"
        low = torch.finfo(dtype).eps if dtype.itemsize == 2 and got[key].dtype == dtype else 0.0
        if key in ("v_seq", "last", "grad.x", "grad.state"):
            pair = got[key][..., same], want[key][..., same]
        elif same.all():
            pair = got[key], want[key]
        else:
            continue  # a parameter's gradient with a lane in it that parted
        close(f"{what}: {key}", pair[0].double(), pair[1].double(), tolerance + low, least=1.0)


# ---- every neuron --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
@each_dtype
def test_every_row(row, dtype):
    for number, (name, chosen) in enumerate(row.surrogates().items()):
        for detach in (False, True):
            state = start(row, dtype) if (number + detach) % 2 else None
            node = row.make(dtype, surrogate_function=chosen, detach_reset=detach, engine="native")
            agree(f"{name}, detach_reset={detach}", row, node, inputs(dtype), state)


@few_rows
@each_dtype
def test_few_steps_and_many(row, dtype):
    """Backward keeps few steps in shared memory at once and many in chunks of steps."""
    for T in (1, 2, 3, 7, 8, 9, 31, 64, 65, 129, 400):
        shape = (2, CHANNELS, 11)
        agree(f"T={T}", row, row.make(dtype, engine="native"), inputs(dtype, T, shape), start(row, dtype, shape))


@few_rows
@each_dtype
def test_few_lanes_and_many(row, dtype):
    for n in (1, 2, 3, 4, 5, 127, 128, 512, 513, 1027, 4096, 150_001):
        shape = (2, CHANNELS, (n + 5) // 6) if per_channel(row) else (n,)
        agree(
            f"lanes {shape}", row, row.make(dtype, engine="native"), inputs(dtype, 4, shape), start(row, dtype, shape)
        )


@few_rows
@each_dtype
def test_few_or_no_elements(row, dtype):
    for T, shape in ((0, (2, CHANNELS, 5)), (4, (0, CHANNELS, 5)), (4, (2, CHANNELS, 0)), (0, (0, CHANNELS))):
        node = row.make(dtype, engine="native").cuda()
        x_seq = torch.empty(T, *shape, dtype=dtype, device="cuda")
        state = start(row, dtype, shape).cuda() if 0 not in shape else None
        got = evaluate(node, x_seq, state)
        assert got["spike_seq"].shape == got["grad.x"].shape == x_seq.shape
        for name, _ in node.named_parameters():
            if T == 0 or state is None:
                continue
            assert torch.isfinite(got[f"grad.{name}"]).all()
        if state is not None and T == 0:
            assert torch.equal(got["last"], state)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("shape", [(5000,), (3, 4097), (64, 1000), (700, 30, 7), (2, 6, 9000)], ids=str)
def test_sums_over_channels(shape, dtype):
    """Gradients of one parameter per channel: many channels, few of many lanes, odd sizes; and of the slope."""
    channels = shape[1] if len(shape) > 1 else shape[0]
    node = ParametricLIFNode(channels=channels, step_mode="m", engine="native").to(dtype)
    with torch.no_grad():
        node.w.copy_(torch.linspace(-1, 1, channels))
    x_seq = inputs(dtype, 5, (1, *shape) if len(shape) == 1 else shape)
    agree(f"{channels} channels", ROWS["lif-hard"], node, x_seq)


# ---- where the elements lie ----------------------------------------------------------------------------------------


@each_dtype
def test_strides(dtype):
    x = inputs(dtype, 6, (4, CHANNELS, 6)).cuda()
    for what, view in {
        "transposed": x.transpose(0, 1).contiguous().transpose(0, 1),
        "expanded": x[:1].expand(x.shape),
        "sliced": x[::2, :, :, ::2],
        "every other step": x[::2],
        "window": x[0].flatten().unfold(0, 24, 3),
        "channels last": x.contiguous().movedim(2, -1).contiguous().movedim(-1, 2),
    }.items():
        node = LIFNode(step_mode="m", engine="native")
        got, want = evaluate(node, view), evaluate(node, view.contiguous().clone())
        for key in want:
            assert torch.equal(got[key], want[key]), f"{what}: {key}"


@each_dtype
def test_misaligned_storage(dtype):
    """The same bits whether elements move 16 bytes at a time or one by one."""
    for n in (64, 1000, 4096):
        aligned = inputs(dtype, 9, (n,)).cuda()
        state = start(ROWS["lif-hard"], dtype, (n,)).cuda()
        node = LIFNode(step_mode="m", engine="native")
        want = evaluate(node, aligned, state)
        for skip in (1, 2, 3, 5):
            storage = torch.empty(aligned.numel() + skip, dtype=dtype, device="cuda")
            moved = storage[skip:].view(aligned.shape)
            moved.copy_(aligned)
            shifted = torch.empty(state.numel() + skip, dtype=state.dtype, device="cuda")[skip:].view(state.shape)
            shifted.copy_(state)
            for what, x_seq, first in (("x", moved, state), ("state", aligned, shifted), ("both", moved, shifted)):
                got = evaluate(node, x_seq, first)
                for key in want:
                    assert torch.equal(got[key], want[key]), f"n={n}, {what} off by {skip}: {key}"


@pytest.mark.parametrize(("T", "N"), [(2, 2**30 + 8), (2, 2**30 + 3), (1, 2**31 + 5)], ids=str)
def test_more_than_2_to_the_31_elements(T, N):
    needed = 7 * T * N * 2
    if torch.cuda.mem_get_info()[0] < needed:
        pytest.skip(f"needs {needed >> 30} GiB of device memory")
    node = LIFNode(step_mode="m", engine="native", v_reset=None)
    x_seq = torch.empty(T, N, dtype=torch.bfloat16, device="cuda").uniform_(0, 4).requires_grad_()
    spike_seq = node(x_seq)
    weight = torch.empty_like(spike_seq).uniform_(-1, 1)
    (grad,) = torch.autograd.grad(spike_seq, x_seq, weight)
    for begin in (0, 2**30 - 512, N - 1000):
        part = x_seq.detach()[:, begin : begin + 1000].clone().requires_grad_()
        want = node(part)
        (want_grad,) = torch.autograd.grad(want, part, weight[:, begin : begin + 1000])
        assert torch.equal(spike_seq[:, begin : begin + 1000], want), f"spikes from lane {begin}"
        assert torch.equal(grad[:, begin : begin + 1000], want_grad), f"gradients from lane {begin}"


# ---- the same bits -------------------------------------------------------------------------------------------------


@few_rows
@each_dtype
def test_few_from_run_to_run_and_step_to_step(row, dtype):
    x_seq = inputs(dtype, 5, (64, CHANNELS, 33)).cuda()
    node = row.make(dtype, engine="native").cuda()
    want = evaluate(node, x_seq)
    for _ in range(3):
        again = evaluate(node, x_seq)
        for key in want:
            assert torch.equal(again[key], want[key]), key
    single = row.make(dtype, engine="native", step_mode="s").cuda()
    assert torch.equal(torch.stack([single(step) for step in x_seq]), want["spike_seq"])


# ---- streams, devices, graphs --------------------------------------------------------------------------------------


def test_a_stream_of_its_own():
    stream = torch.cuda.Stream()
    x = inputs(torch.float32, 8, (1000,)).cuda()
    node = IFNode(v_threshold=V_THRESHOLD, step_mode="m", engine="native")
    want = evaluate(node, x)
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        late = x * 0
        torch.cuda._sleep(20_000_000)  # a kernel on another stream would read the zeros
        late += x
        got = evaluate(node, late)
    stream.synchronize()
    for key in want:
        assert torch.equal(got[key], want[key]), key


def test_a_second_device():
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    for row in FEW:
        x_seq = inputs(torch.float32, 40)
        here = evaluate(row.make(torch.float32, engine="native").to("cuda:0"), x_seq.to("cuda:0"))
        there = evaluate(row.make(torch.float32, engine="native").to("cuda:1"), x_seq.to("cuda:1"))
        assert torch.cuda.current_device() == 0
        for key in here:
            assert there[key].device.index == 1
            close(f"{row.name}: {key}", there[key].cpu().double(), here[key].cpu().double(), FLOAT32, least=1.0)


def test_devices_do_not_mix():
    node = LIFNode(step_mode="m", engine="native")
    with pytest.raises(RuntimeError, match="state"):
        node.run(torch.zeros(2, 3, device="cuda"), (torch.zeros(3),))
    with pytest.raises(RuntimeError):
        ops.multi_step(node.dynamics(), torch.zeros(2, 3, device="cuda"), torch.zeros(1, 3))


@pytest.mark.parametrize("T", [4, 300])
@few_rows
def test_few_in_a_cuda_graph(row, T):
    """Forward and backward captured once, replayed on other numbers; T = 300 takes memory for chunks of steps."""
    node = row.make(torch.float32, engine="native").cuda()
    x_seq = inputs(torch.float32, T, (8, CHANNELS, 40)).cuda().requires_grad_()
    leaves = [x_seq, *node.parameters()]

    def step():
        spike_seq = node(x_seq)
        found = torch.autograd.grad((spike_seq * spike_seq).sum(), leaves, allow_unused=True)
        return spike_seq, *(grad for grad in found if grad is not None)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    for seed in (5, 6):
        with torch.no_grad():
            x_seq.copy_(inputs(torch.float32, T, (8, CHANNELS, 40), seed))
        graph.replay()
        got = [value.clone() for value in captured]
        for have, want in zip(got, step(), strict=True):
            assert torch.equal(have, want)


# ---- within torch --------------------------------------------------------------------------------------------------


def test_autocast_and_half_modules():
    for dtype in (torch.bfloat16, torch.float16):
        net = torch.nn.Sequential(layer.Linear(20, 30, step_mode="m"), LIFNode(step_mode="m", engine="native")).cuda()
        x_seq = torch.randn(4, 8, 20, device="cuda")
        with torch.autocast("cuda", dtype):
            out = net(x_seq)
        assert out.dtype == dtype
        out.sum().backward()
        assert net[0].weight.grad.isfinite().all() and net[0].weight.grad.any()
        half = net.to(dtype)
        functional.reset_net(half)
        assert half(x_seq.to(dtype)).dtype == dtype


@few_rows
def test_few_second_derivatives(row):
    """create_graph=True goes through the definition, on the device as well."""
    found = []
    for device in ("cpu", "cuda"):
        node = row.make(engine="native").to(device)
        x_seq = inputs(torch.float64).to(device).requires_grad_()
        spike_seq = node(x_seq)
        (first,) = torch.autograd.grad((spike_seq * spike_seq).sum(), x_seq, create_graph=True)
        (second,) = torch.autograd.grad((first * first).sum(), x_seq, allow_unused=True)
        found.append([first.detach().cpu(), torch.zeros_like(x_seq).cpu() if second is None else second.cpu()])
    for what, want, got in zip(("first", "second"), *found, strict=True):
        close(what, got, want, 1e-10, least=1.0)


def test_gradients_of_the_smooth_step():
    for name, kind in surrogate.SURROGATES.items():
        node = LIFNode(tau=1.7, step_mode="m", engine="native", surrogate_function=kind())
        node.smooth = True
        agree(f"smooth {name}", ROWS["lif-hard"], node, inputs(torch.float64), start(node, torch.float64))
