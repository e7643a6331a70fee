"""``node.count_spikes`` and ``node.spike_count``: what the kernels count while they write equals a count afterwards."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

import snncore
from neuron.cases import CHANNELS, FEW, ROWS, inputs
from snncore import functional, layer, ops
from snncore.neuron import NEURONS, PSN, LIFNode, NonSpikingLIFNode, SlidingPSN
from snncore.ops import reference

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
each_engine = pytest.mark.parametrize("engine", ["native", "torch"])
few_rows = pytest.mark.parametrize("row", FEW, ids=lambda row: row.name)


def counted(spike_seq):
    """The definition: int64 [T, B]."""
    return (spike_seq != 0).flatten(2).sum(2) if spike_seq.dim() > 2 else (spike_seq != 0).long()


def same(node, spike_seq):
    want = counted(spike_seq)
    got = node.spike_count
    assert got.dtype == torch.int64 and got.shape == want.shape and not got.requires_grad
    assert torch.equal(got, want)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.name)
def test_every_neuron(row, dtype):
    x_seq = inputs(dtype)
    counts = []
    for engine in ("native", "torch"):
        node = row.make(dtype, engine=engine)
        node.count_spikes = 1
        for grad in (True, False):
            with torch.set_grad_enabled(grad):
                same(node, node(x_seq))
        counts.append(node.spike_count)
    assert torch.equal(*counts)
    assert counts[0].sum() > 0, "nothing fired"


def test_the_table_is_covered():
    assert {cls for cls in NEURONS.values() if cls.spiking and cls.native} <= {
        c for row in ROWS.values() for c in row.node.__mro__
    }


@each_engine
@few_rows
def test_single_step(row, engine):
    node = row.make(torch.float32, engine=engine, step_mode="s")
    node.count_spikes = 2
    for x in inputs(torch.float32):
        spike = node(x)
        same(node, spike.unsqueeze(0))
    functional.reset_net(node)
    assert node.spike_count is None


# steps beyond one tile of 2048 (float) or 1024 (double) lanes; samples that end inside vectors, strips, tiles
SHAPES = [
    (3, 1, 5000), (3, 7, 293), (2, 5, 1639), (2, 4999, 1), (2, 2500, 3), (3, 3, 13, 61), (2, 1023, 9), (4, 2, 2048),
    (1, 4, 512), (2, 300), (5, 1), (0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0), (3, 0),
]  # fmt: skip


@each_engine
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_samples_anywhere(shape, dtype, engine):
    node = LIFNode(step_mode="m", engine=engine)
    node.count_spikes = 1
    generator = torch.Generator().manual_seed(0)
    same(node, node((torch.rand(shape, generator=generator) * 3).to(dtype)))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("batch", [1, 5, 33, 1000])
def test_past_the_caches(batch, dtype):
    """Outputs large enough to be written around the caches, in samples that no vector divides."""
    node = LIFNode(step_mode="m", engine="native")
    node.count_spikes = 1
    lanes = {1: 1_100_007, 5: 220_003, 33: 33_337, 1000: 1101}[batch]
    x_seq = (torch.rand(4, batch, lanes) * 3).to(dtype)
    assert x_seq.numel() * x_seq.element_size() >= 8 << 20
    spike_seq = node(x_seq)
    same(node, spike_seq)
    node.count_spikes = 0
    assert torch.equal(node(x_seq), spike_seq), "counting must not change what is written"


@pytest.mark.parametrize("capability", snncore.build_info()["cpu_capabilities"])
def test_threads_and_instruction_sets(capability):
    before, best = torch.get_num_threads(), snncore.build_info()["cpu_capability"]
    node = LIFNode(step_mode="m", engine="native")
    node.count_spikes = 1
    x_seq = torch.rand(5, 7, 40_003) * 3
    try:
        snncore.set_cpu_capability(capability)
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            for _ in range(3):
                same(node, node(x_seq))
    finally:
        torch.set_num_threads(before)
        snncore.set_cpu_capability(best)


def test_not_asked():
    node = LIFNode(step_mode="m")
    x_seq = inputs(torch.float32)
    node(x_seq)
    assert node.spike_count is None and node.count_spikes == 0
    node.count_spikes += 1
    node(x_seq)
    assert node.spike_count is not None
    node.count_spikes -= 1
    node(x_seq)
    assert node.spike_count is None, "a count of an earlier call must not stay"


def test_run_counts_too():
    node = LIFNode(step_mode="s")
    node.count_spikes = 1
    same(node, node.run(inputs(torch.float32))[0])


def test_gradients_are_the_same():
    x_seq = inputs(torch.float64)
    grads = []
    for count in (0, 1):
        node = LIFNode(step_mode="m", engine="native", store_v_seq=True)
        node.count_spikes = count
        x = x_seq.clone().requires_grad_()
        ((node(x) * x_seq).sum() + node.v_seq.sum()).backward()
        grads.append(x.grad)
        x = x_seq.clone().requires_grad_()
        (first,) = torch.autograd.grad((node(x) * x_seq).sum(), x, create_graph=True)
        first.square().sum().backward()
        grads.append(x.grad)
    assert torch.equal(grads[0], grads[2]) and torch.equal(grads[1], grads[3])


@pytest.mark.parametrize("make", [lambda: PSN(T=6), lambda: SlidingPSN(k=3)], ids=["PSN", "SlidingPSN"])
def test_time_in_the_batch(make):
    """Parallel neurons fire all steps in one: the count is per step all the same."""
    node = make()
    node.step_mode = "m"
    node.count_spikes = 1
    same(node, node(inputs(torch.float32) * 2))


def test_integrators_do_not_spike():
    node = NonSpikingLIFNode(step_mode="m")
    node.count_spikes = 1
    node(inputs(torch.float32))
    assert node.spike_count is None


def test_what_a_half_type_rounds_to_zero_is_no_spike():
    """Graded spikes below the smallest half: counted as they are stored."""
    row = next(row for row in ROWS.values() if row.node.native == "stbif")
    x_seq = inputs(torch.float16)
    for engine in ("native", "torch"):
        node = row.make(torch.float16, engine=engine, v_threshold=1e-9)
        node.count_spikes = 1
        same(node, node(x_seq))


def test_copies_and_state_dict():
    node = LIFNode(step_mode="m")
    before = set(node.state_dict())
    node.count_spikes = 1
    node(inputs(torch.float32))
    assert set(node.state_dict()) == before
    for other in (copy.deepcopy(node), pickle.loads(pickle.dumps(node)), copy.copy(node)):
        assert other.count_spikes == 0 and other.spike_count is None
        other(inputs(torch.float32))
    assert node.count_spikes == 1 and node.spike_count is not None


def test_in_a_net_and_in_a_recurrent_container():
    net = nn.Sequential(layer.Linear(5, 8), LIFNode(step_mode="m"))
    net[1].count_spikes = 1
    same(net[1], net(torch.rand(4, 3, 5) * 4))
    inside = LIFNode()
    inside.count_spikes = 1
    seen = []
    inside.register_forward_hook(lambda module, args, output: seen.append((module.spike_count, output)))
    layer.LinearRecurrent(inside, nn.Linear(5, 5), step_mode="m")(torch.rand(4, 3, 5) * 4)
    assert len(seen) == 4 and all(torch.equal(c, counted(s.unsqueeze(0))) for c, s in seen)
    assert inside.spike_count is None, "the steps of a container are no count of the container"


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_compiled(step_mode):
    node = LIFNode(step_mode=step_mode, engine="native")
    node.count_spikes = 1
    x = inputs(torch.float32) if step_mode == "m" else inputs(torch.float32)[0]
    spikes = torch.compile(node, fullgraph=True, backend="aot_eager")(x)
    same(node, spikes if step_mode == "m" else spikes.unsqueeze(0))


def test_export_and_transforms_count_nothing():
    node = LIFNode(step_mode="m", engine="native")
    node.count_spikes = 1
    x_seq = inputs(torch.float32)
    program = torch.export.export(node, (x_seq,)).module()
    assert torch.equal(program(x_seq), node(x_seq))
    node.spike_count = None
    torch.func.vmap(node)(torch.stack((x_seq, x_seq)))
    assert node.spike_count is None


# ---- the op --------------------------------------------------------------------------------------------------------


def dynamics(node):
    return node._dynamics((node.v_threshold, *node.coefficients().values()))


def test_op_takes_any_samples_that_divide():
    node, x_seq = LIFNode(), torch.rand(3, 4, 6) * 3
    for samples in (1, 2, 3, 4, 6, 8, 12, 24):
        spike_seq, _, _, count = ops.multi_step(dynamics(node), x_seq, samples=samples)
        assert torch.equal(count, (spike_seq != 0).reshape(3, samples, -1).sum(2))
        assert torch.equal(count, reference.spike_count(spike_seq, samples))
    assert ops.multi_step(dynamics(node), x_seq)[3] is None


@pytest.mark.parametrize("samples", [0, -1, 5, 7, 25, 48, 2**31, 2**62, -(2**63)])
def test_wrong_samples(samples):
    node, x_seq = LIFNode(), torch.rand(3, 4, 6)
    for grad in (True, False):
        with torch.set_grad_enabled(grad), pytest.raises(RuntimeError, match=r"lif_forward\.samples: must divide the"):
            ops.multi_step(dynamics(node), x_seq, samples=samples)
    if samples not in (0, 5, 7, 25, 48):
        with pytest.raises(RuntimeError, match=r"lif_forward\.samples"):
            ops.multi_step(dynamics(node), x_seq[:, :0], samples=samples)


@pytest.mark.parametrize("whose", ["x", "x and params"])
@pytest.mark.parametrize("grad", [False, True])
def test_vmap(whose, grad):
    """The lanes of a sample lie apart where every element of the batch has parameters of its own."""
    node, batch, samples = LIFNode(), 4, 6
    x = torch.rand(batch, 3, 2, CHANNELS, 5, dtype=torch.float64) * 3
    params = torch.rand(batch, 2, CHANNELS, dtype=torch.float64) + 0.2
    both = whose != "x"

    def one(x, p):
        spikes, _, _, count = ops.multi_step(dynamics(node), x, None, p, 5, samples=samples)
        return (spikes.sum(), (spikes, count)) if grad else (spikes, count)

    how = torch.func.grad(one, has_aux=True) if grad else one
    got = torch.func.vmap(how, in_dims=(0, 0 if both else None))(x, params if both else params[0])
    spikes, count = got[1] if grad else got
    assert count.shape == (batch, 3, samples)
    for b in range(batch):
        want = ops.multi_step(dynamics(node), x[b], None, params[b if both else 0], 5, samples=samples)
        assert torch.equal(spikes[b], want[0]) and torch.equal(count[b], want[3])
