"""A sequence that shows one step T times is computed once, and nothing else changes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from snncore import layer
from snncore.encoding import direct

B = 4
IMAGE = (2, 6, 8)
ROWS = {
    "Conv2d": (layer.Conv2d(2, 5, 3, padding=1), IMAGE),
    "Linear": (layer.Linear(7, 5), (7,)),
    "BatchNorm2d": (layer.BatchNorm2d(2), IMAGE),
    "BatchNorm2d, plain": (layer.BatchNorm2d(2, affine=False, track_running_stats=False), IMAGE),
    "BatchNorm2d, slow": (layer.BatchNorm2d(2, momentum=0.01, eps=1e-2), IMAGE),
    "MaxPool2d": (layer.MaxPool2d(2), IMAGE),
    "AvgPool2d": (layer.AvgPool2d(2), IMAGE),
    "AdaptiveAvgPool2d": (layer.AdaptiveAvgPool2d(2), IMAGE),
    "Flatten": (layer.Flatten(), IMAGE),
    "Conv1d": (layer.Conv1d(2, 5, 3), (2, 8)),
    "ConvTranspose2d": (layer.ConvTranspose2d(2, 5, 3), IMAGE),
    "BatchNorm1d": (layer.BatchNorm1d(7, momentum=0.3), (7,)),
    "BatchNorm3d": (layer.BatchNorm3d(2), (2, 4, 3, 5)),
    "tdBN": (layer.ThresholdDependentBatchNorm2d(2, 0.5, 0.7), IMAGE),
    "SyncBatchNorm": (layer.SyncBatchNorm(2), IMAGE),
    "GroupNorm": (layer.GroupNorm(2, 2), IMAGE),
    "LayerNorm": (layer.LayerNorm(IMAGE), IMAGE),
    "AdaptiveMaxPool2d": (layer.AdaptiveMaxPool2d(2), IMAGE),
    "ReLU": (layer.ReLU(), IMAGE),
}
table = pytest.mark.parametrize("row", ROWS)
STEPS = [2, 3, 5]


class Work(TorchFunctionMode):
    """Notes how many samples each operation of a layer is given."""

    NAMES = (
        "conv1d", "conv2d", "conv_transpose2d", "linear", "batch_norm", "group_norm", "layer_norm", "max_pool2d",
        "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "adaptive_max_pool2d_with_indices", "relu",
    )  # fmt: skip

    def __init__(self):
        super().__init__()
        self.samples = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func.__name__ in self.NAMES:
            self.samples.append(args[0].shape[0])
        return func(*args, **(kwargs or {}))


def run(module, x, weight, *, hoisted, T):
    """Return the result, the gradients and the buffers of one training step in double precision."""
    module = copy.deepcopy(module).double()
    module.step_mode = "m"
    x = x.clone().requires_grad_()
    x_seq = direct(x, T) if hoisted else x.repeat(T, *[1] * x.ndim)
    y_seq = module(x_seq)
    (y_seq * weight(y_seq)).sum().backward()
    grads = [x.grad, *(p.grad for p in module.parameters())]
    return y_seq, grads, list(module.buffers())


def ramp(y_seq):
    """Weights that differ in every element, so that a gradient at the wrong step shows."""
    return torch.linspace(-1, 2, y_seq.numel(), dtype=y_seq.dtype).view(y_seq.shape)


@pytest.mark.parametrize("T", STEPS)
@table
def test_equals_the_same_steps_in_full(row, T):
    module, sample = ROWS[row]
    x = torch.randn(B, *sample, dtype=torch.float64)
    got, got_grads, got_buffers = run(module, x, ramp, hoisted=True, T=T)
    want, want_grads, want_buffers = run(module, x, ramp, hoisted=False, T=T)
    assert got.stride(0) == 0
    assert want.stride(0) != 0
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(got_grads, want_grads, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(got_buffers, want_buffers, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("row", [row for row in ROWS if row != "Flatten"])  # a view, whatever it is given
def test_is_computed_for_one_step_only(row):
    module, sample = ROWS[row]
    module = copy.deepcopy(module)
    module.step_mode = "m"
    x = torch.randn(B, *sample)
    with Work() as static:
        module(direct(x, 3))
    with Work() as dense:
        module(x.repeat(3, *[1] * x.ndim))
    assert set(static.samples) == {B}
    assert set(dense.samples) == {3 * B}


def stack():
    torch.manual_seed(0)
    return nn.Sequential(
        layer.Conv2d(2, 5, 3, padding=1, bias=False, step_mode="m"),
        layer.BatchNorm2d(5, step_mode="m"),
        layer.MaxPool2d(2, step_mode="m"),
        layer.Flatten(step_mode="m"),
        layer.Linear(60, 4, step_mode="m"),
    )


@pytest.mark.parametrize("T", STEPS)
def test_a_chain_stays_static_and_its_gradient_is_the_sum_over_time(T):
    nets = stack().double(), stack().double()
    x = torch.randn(B, *IMAGE, dtype=torch.float64)
    results = []
    for net, x_seq in zip(nets, (direct(x, T), x.repeat(T, 1, 1, 1, 1)), strict=True):
        y_seq = net(x_seq)
        results.append(y_seq)
        (y_seq * ramp(y_seq)).sum().backward()
    assert results[0].stride(0) == 0
    torch.testing.assert_close(*results, rtol=1e-11, atol=1e-11)
    for (name, p), q in zip(nets[0].named_parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-9, atol=1e-11, msg=name)
    for p, q in zip(nets[0].buffers(), nets[1].buffers(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)


def test_backward_through_a_chain_makes_no_block_of_T_steps():
    net = stack()
    shapes = []
    x = torch.randn(B, *IMAGE)
    y = x.new_zeros(())
    for i, module in enumerate(net):
        x = module(direct(x, 3) if i == 0 else x)
        if x.requires_grad and x.grad_fn is not None:
            x.register_hook(lambda g: shapes.append(g.stride(0)))
        y = x
    y[0].sum().backward()
    assert len(shapes) == 5
    assert shapes[1:] == [0] * 4  # all but the gradient that select() makes of y[0]


def test_a_leaf_that_wants_its_own_gradient_gets_it_step_by_step():
    linear = layer.Linear(3, 1, bias=False, step_mode="m")
    x_seq = direct(torch.randn(B, 3), 4).detach().requires_grad_()
    assert x_seq.is_leaf and x_seq.stride(0) == 0
    weight = torch.arange(4.0).view(4, 1, 1)
    (linear(x_seq) * weight).sum().backward()
    torch.testing.assert_close(x_seq.grad, (weight * linear.weight).expand(4, B, 3))


def test_gradient_of_the_gradient():
    linear = layer.Linear(3, 2, step_mode="m").double()
    torch.autograd.gradcheck(lambda x: torch.tanh(linear(direct(x, 3))), torch.randn(B, 3).double().requires_grad_())
    torch.autograd.gradgradcheck(
        lambda x: torch.tanh(linear(linear_back(linear, direct(x, 3)))), torch.randn(B, 3).double().requires_grad_()
    )


def linear_back(linear, x_seq):
    """Return a static sequence that has a gradient, as a chain of layers makes it."""
    back = layer.Linear(3, 3, bias=False, step_mode="m").double()
    back.weight.data.fill_(0.3)
    return back(x_seq)


@pytest.mark.parametrize(
    ("module", "image", "why"),
    [
        (layer.BatchNorm2d(2, step_mode="m"), (2, 1, 1), "one value per channel has no variance of its own"),
        (layer.BatchNorm2d(2, momentum=None, step_mode="m"), IMAGE, "the average over all batches"),
    ],
)
def test_batch_norm_counts_copies_where_one_step_does_not_tell(module, image, why):
    batch = 1 if image == (2, 1, 1) else B
    x = torch.randn(batch, *image, dtype=torch.float64)
    twins = copy.deepcopy(module).double(), copy.deepcopy(module).double()
    for _ in range(2):
        got, want = twins[0](direct(x, 3)), twins[1](x.repeat(3, 1, 1, 1, 1))
    torch.testing.assert_close(got, want)
    for p, q in zip(twins[0].buffers(), twins[1].buffers(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-13, atol=1e-15, msg=why)


def test_batch_norm_in_evaluation_is_computed_once_and_changes_nothing():
    norm = layer.BatchNorm2d(2, step_mode="m").eval()
    before = copy.deepcopy(norm.state_dict())
    x = torch.randn(B, *IMAGE)
    y_seq = norm(direct(x, 3))
    assert y_seq.stride(0) == 0
    torch.testing.assert_close(y_seq, norm(x.repeat(3, 1, 1, 1, 1)))
    assert all(torch.equal(before[k], v) for k, v in norm.state_dict().items())


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("train", [False, True])
def test_compiled_whole_it_is_the_same_for_static_and_other_input(backend, dynamic, train):
    torch._dynamo.reset()
    eager, compiled_from = stack().train(train), stack().train(train)
    compiled = torch.compile(compiled_from, fullgraph=True, backend=backend, dynamic=dynamic)
    for T in (2, 3):
        x = torch.randn(B, *IMAGE)
        for x_seq in (direct(x, T), torch.randn(T, B, *IMAGE)):
            got, want = compiled(x_seq), eager(x_seq)
            torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
            for y_seq in (got, want):
                (y_seq * ramp(y_seq)).sum().backward()
    for p, q in zip(compiled_from.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-5)
    for p, q in zip(compiled_from.buffers(), eager.buffers(), strict=True):
        torch.testing.assert_close(p, q)


def test_an_exported_graph_takes_other_input():
    net = stack().eval()
    static, other = direct(torch.randn(B, *IMAGE), 3), torch.randn(3, B, *IMAGE)
    exported = torch.export.export(net, (static,)).module()
    torch.testing.assert_close(exported(other), net(other))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_traced_graph_takes_other_input():
    net = stack().eval()
    static, other = direct(torch.randn(B, *IMAGE), 3), torch.randn(3, B, *IMAGE)
    traced = torch.jit.trace(net, (static,))
    torch.testing.assert_close(traced(other), net(other))


def test_autocast_keeps_it():
    net = stack()
    x = torch.randn(B, *IMAGE)
    with torch.autocast("cpu", torch.bfloat16):
        y_seq = net(direct(x, 3))
    assert y_seq.stride(0) == 0
    y_seq.float().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in net.parameters())


def test_per_sample_gradients():
    linear, head = layer.Linear(3, 4, step_mode="m"), layer.Linear(4, 2, step_mode="m")
    net = nn.Sequential(linear, head)
    params = dict(net.named_parameters())

    def loss(params, x):
        y_seq = torch.func.functional_call(net, params, (direct(x.unsqueeze(0), 3),))
        return (y_seq * ramp(y_seq)).sum()

    x = torch.randn(B, 3)
    grads = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(params, x)
    for i in range(B):
        net.zero_grad()
        loss(params, x[i]).backward()
        for name, p in net.named_parameters():
            torch.testing.assert_close(grads[name][i], p.grad, msg=name)
