"""Every layer against the torch layer of the same name, in both step modes."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest
import torch
from torch import nn

from snncore import layer
from snncore.errors import ArgumentError
from snncore.layer.time import repeat

T, B = 3, 4
LINE = (2, 8)
IMAGE = (2, 6, 8)
VOLUME = (2, 4, 6, 5)
# name, arguments, shape of one sample
ROWS = [
    ("Conv2d", (2, 5, 3), {"padding": 1, "bias": False}, IMAGE),
    ("Conv2d", (2, 4), {"kernel_size": 3, "stride": 2, "groups": 2}, IMAGE),
    ("Linear", (7, 5), {}, (7,)),
    ("Linear", (7, 5, False), {}, (3, 7)),
    ("BatchNorm2d", (2,), {}, IMAGE),
    ("BatchNorm2d", (2,), {"track_running_stats": False, "affine": False}, IMAGE),
    ("BatchNorm2d", (2,), {"momentum": None}, IMAGE),
    ("MaxPool2d", (2, 2), {}, IMAGE),
    ("MaxPool2d", (3,), {"stride": 2, "padding": 1, "return_indices": True}, IMAGE),
    ("AvgPool2d", (2,), {"ceil_mode": True}, IMAGE),
    ("AdaptiveAvgPool2d", ((1, 2),), {}, IMAGE),
    ("Flatten", (), {}, IMAGE),
    ("Flatten", (2,), {"end_dim": -1}, IMAGE),
    ("Flatten", (), {}, (7,)),
    ("Dropout", (0.0,), {}, IMAGE),
    ("Conv1d", (2, 5, 3), {"padding": 1, "padding_mode": "circular"}, LINE),
    ("Conv3d", (2, 3, 3), {"stride": 2, "bias": False}, VOLUME),
    ("ConvTranspose1d", (2, 5, 3), {"stride": 2, "output_padding": 1}, LINE),
    ("ConvTranspose2d", (2, 4), {"kernel_size": 3, "groups": 2}, IMAGE),
    ("ConvTranspose3d", (2, 3, 2), {"stride": 2, "bias": False}, VOLUME),
    ("BatchNorm1d", (2,), {}, LINE),
    ("BatchNorm1d", (7,), {"affine": False}, (7,)),
    ("BatchNorm3d", (2,), {"eps": 1e-3, "momentum": 0.3}, VOLUME),
    ("SyncBatchNorm", (2,), {"momentum": 0.3}, IMAGE),
    ("SyncBatchNorm", (7,), {"affine": False}, (7,)),
    ("GroupNorm", (2, 2), {}, IMAGE),
    ("LayerNorm", (8,), {}, IMAGE),
    ("LayerNorm", (IMAGE,), {"elementwise_affine": False}, IMAGE),
    ("MaxPool1d", (2,), {"ceil_mode": True}, LINE),
    ("MaxPool3d", (2,), {"stride": 1}, VOLUME),
    ("AvgPool1d", (3,), {"padding": 1}, LINE),
    ("AvgPool3d", (2,), {}, VOLUME),
    ("AdaptiveAvgPool1d", (3,), {}, LINE),
    ("AdaptiveAvgPool3d", (2,), {}, VOLUME),
    ("AdaptiveMaxPool1d", (3,), {}, LINE),
    ("AdaptiveMaxPool2d", ((3, 2),), {"return_indices": True}, IMAGE),
    ("AdaptiveMaxPool3d", (2,), {}, VOLUME),
    ("Dropout1d", (0.0,), {}, LINE),
    ("Dropout2d", (0.0,), {}, IMAGE),
    ("Dropout3d", (0.0,), {}, VOLUME),
    ("ReLU", (), {}, IMAGE),
    ("Upsample", (), {"scale_factor": 2.0, "mode": "bilinear"}, IMAGE),
    ("Upsample", ((3, 4, 5),), {}, VOLUME),
]
IDS = [f"{name}{i}" for i, (name, *_) in enumerate(ROWS)]
table = pytest.mark.parametrize(("name", "args", "kwargs", "sample"), ROWS, ids=IDS)


def pair(name, args, kwargs, step_mode):
    """Return the layer and the torch layer with the same weights."""
    torch.manual_seed(0)
    ours = getattr(layer, name)(*args, **kwargs, step_mode=step_mode)
    theirs = getattr(nn, name)(*args, **kwargs)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def listed(result):
    return list(result) if isinstance(result, tuple) else [result]


def test_every_layer_has_a_row():
    layers = {n for n in layer.__all__ if hasattr(nn, n)}
    assert {row[0] for row in ROWS} == layers
    assert len(layers) == 32


@table
def test_state_dict_is_that_of_torch(name, args, kwargs, sample):
    ours, theirs = pair(name, args, kwargs, "m")
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    assert isinstance(ours, getattr(nn, name))


@table
def test_constructor_takes_what_torch_takes(name, args, kwargs, sample):
    torch_names = [p for p in inspect.signature(getattr(nn, name).__init__).parameters if p != "self"]
    for key, value in zip(torch_names, args, strict=False):
        kwargs = {**kwargs, key: value}
    assert getattr(layer, name)(**kwargs).step_mode == "s"
    with pytest.raises(TypeError):
        getattr(layer, name)(*args, **kwargs, nonsense=1)


@table
def test_single_step_is_torch(name, args, kwargs, sample):
    ours, theirs = pair(name, args, kwargs, "s")
    x = torch.randn(B, *sample)
    for got, want in zip(listed(ours(x)), listed(theirs(x)), strict=True):
        assert torch.equal(got, want)
    assert {k: v.tolist() for k, v in ours.state_dict().items()} == {
        k: v.tolist() for k, v in theirs.state_dict().items()
    }


@table
def test_multi_step_is_torch_on_all_samples_at_once(name, args, kwargs, sample):
    ours, theirs = pair(name, args, kwargs, "m")
    x_seq = torch.randn(T, B, *sample, dtype=torch.float64)
    ours, theirs = ours.double(), theirs.double()
    x_ours, x_theirs = (x_seq.clone().requires_grad_() for _ in range(2))
    for got, want in zip(listed(ours(x_ours)), listed(theirs(x_theirs.flatten(0, 1))), strict=True):
        assert got.shape == (T, B, *want.shape[1:])
        assert torch.equal(got.flatten(0, 1), want)
        if got.requires_grad:
            weight = torch.randn_like(want)
            (got.flatten(0, 1) * weight).sum().backward()
            (want * weight).sum().backward()
    assert torch.equal(x_ours.grad, x_theirs.grad)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad)
    for p, q in zip(ours.buffers(), theirs.buffers(), strict=True):
        assert torch.equal(p, q)


# Without running statistics the samples of all steps meet in 'm', so that row is not here.
@pytest.mark.parametrize(
    ("name", "args", "kwargs", "sample"), [row for row in ROWS if row[2].get("track_running_stats", True)]
)
def test_multi_step_in_eval_is_single_step_repeated(name, args, kwargs, sample):
    ours, _ = pair(name, args, kwargs, "m")
    single = copy.deepcopy(ours.eval())
    single.step_mode = "s"
    x_seq = torch.randn(T, B, *sample)
    for i, got in enumerate(listed(ours(x_seq))):
        want = torch.stack([listed(single(x))[i] for x in x_seq])
        torch.testing.assert_close(got, want)


@table
@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_wrong_rank_names_mode_shape_and_fix(name, args, kwargs, sample, step_mode):
    ours, _ = pair(name, args, kwargs, step_mode)
    axes = ours.step_shape.axes
    if step_mode == "m":
        bad, shape, fixes = torch.randn(*sample[-1:]), f"[T, {axes}]", ["x.unsqueeze(0)", "set_step_mode(net, 's')"]
        if ours.step_shape.most == ours.step_shape.least:
            bad = torch.randn(B, *sample)
    else:
        bad, shape, fixes = torch.randn(*sample[-1:]), f"[{axes}]", ["unsqueeze(0)", "set_step_mode(net, 'm')"]
        if ours.step_shape.most == ours.step_shape.least:
            bad, fixes = torch.randn(T, B, *sample), ["one step at a time", "set_step_mode(net, 'm')"]
    with pytest.raises(ArgumentError) as error:
        ours(bad)
    message = str(error.value)
    for part in (name, f"step_mode {step_mode!r}", shape, str(list(bad.shape)), *fixes):
        assert part in message, f"{part!r} is not in {message!r}"


@table
def test_step_mode_is_shown_checked_copied_and_pickled(name, args, kwargs, sample):
    ours, theirs = pair(name, args, kwargs, "m")
    assert repr(ours).rstrip(")").endswith("step_mode=m")
    assert theirs.extra_repr() in ours.extra_repr()
    with pytest.raises(ArgumentError, match=f"{name}.step_mode: must be 's'.*got 'x'"):
        ours.step_mode = "x"
    with pytest.raises(ArgumentError, match="step_mode"):
        getattr(layer, name)(*args, **kwargs, step_mode="multi")
    assert copy.deepcopy(ours).step_mode == "m"
    assert pickle.loads(pickle.dumps(ours)).step_mode == "m"


@pytest.mark.parametrize("steps", [1, 2])
@table
def test_empty_batch(name, args, kwargs, sample, steps):
    ours, _ = pair(name, args, kwargs, "m")
    for y in listed(ours.eval()(torch.randn(steps, 0, *sample))):
        assert y.shape[:2] == (steps, 0)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_dense_sequences_are_folded_without_a_copy(memory_format):
    seen = []
    conv = layer.Conv2d(2, 3, 3, step_mode="m")
    conv.forward_step = lambda x: seen.append(x) or nn.functional.conv2d(x, conv.weight)
    x_seq = torch.randn(T * B, *IMAGE).to(memory_format=memory_format).view(T, B, *IMAGE)
    conv(x_seq)
    assert seen[0].data_ptr() == x_seq.data_ptr()
    assert seen[0].is_contiguous(memory_format=memory_format)


def test_batch_norm_takes_its_statistics_over_time_and_batch():
    norm = layer.BatchNorm2d(2, step_mode="m", momentum=1.0)
    x_seq = torch.randn(T, B, *IMAGE) * torch.arange(1, T + 1).view(T, 1, 1, 1, 1)
    norm(x_seq)
    torch.testing.assert_close(norm.running_mean, x_seq.mean((0, 1, 3, 4)))
    torch.testing.assert_close(norm.running_var, x_seq.transpose(0, 2).flatten(1).var(1))


def test_flatten_counts_the_axes_of_one_step():
    x_seq = torch.randn(T, B, *IMAGE)
    assert layer.Flatten(step_mode="m")(x_seq).shape == (T, B, 96)
    assert layer.Flatten(2, step_mode="m")(x_seq).shape == (T, B, 2, 48)
    assert layer.Flatten(-2, step_mode="m")(x_seq).shape == (T, B, 2, 48)
    for start in (0, -4):
        with pytest.raises(ArgumentError, match=r"Flatten.start_dim: .* use start_dim=1"):
            layer.Flatten(start, step_mode="m")(x_seq)
    assert layer.Flatten(0)(x_seq[0]).shape == (B * 96,)


def test_own_layer_in_two_lines():
    class Softsign(layer.StepModule, nn.Softsign):
        step_shape = layer.StepShape("B, *", 1, None)

    x_seq = torch.randn(T, B, 5)
    assert torch.equal(Softsign(step_mode="m")(x_seq), nn.Softsign()(x_seq))
    assert repr(Softsign()) == "Softsign(step_mode=s)"


def test_layers_chain_in_a_sequential():
    net = nn.Sequential(
        layer.Conv2d(2, 3, 3, step_mode="m"),
        layer.BatchNorm2d(3, step_mode="m"),
        layer.MaxPool2d(2, step_mode="m"),
        layer.AdaptiveAvgPool2d(1, step_mode="m"),
        layer.Flatten(step_mode="m"),
        layer.Dropout(step_mode="m"),
        layer.Linear(3, 2, step_mode="m"),
    )
    for T_ in (1, 3):
        assert net(torch.randn(T_, B, *IMAGE)).shape == (T_, B, 2)


def test_transposed_convolution_takes_the_size_of_a_step():
    conv = layer.ConvTranspose2d(2, 3, 3, stride=2, padding=1, step_mode="m")
    x_seq = torch.randn(T, B, *IMAGE)
    y_seq = conv(x_seq, output_size=(12, 16))
    assert y_seq.shape == (T, B, 3, 12, 16)
    want = nn.functional.conv_transpose2d(x_seq[1], conv.weight, conv.bias, 2, 1, 1)
    torch.testing.assert_close(y_seq[1], want)
    conv.step_mode = "s"
    torch.testing.assert_close(conv(x_seq[1], (12, 16)), want)


def test_voting_is_the_mean_of_a_group():
    x_seq = torch.randn(T, B, 6)
    want = torch.stack([x_seq[..., :3].mean(-1), x_seq[..., 3:].mean(-1)], -1)
    torch.testing.assert_close(layer.Voting(3, step_mode="m")(x_seq), want)
    torch.testing.assert_close(layer.Voting(3)(x_seq[0]), want[0])
    with pytest.raises(ArgumentError, match=r"Voting\.x: must have a last axis that divides by size = 4, got 6"):
        layer.Voting(4)(x_seq[0])
    with pytest.raises(ArgumentError, match=r"Voting\.size: must be a whole number"):
        layer.Voting(0)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_gradient_of_a_static_sequence_lies_as_its_step_does(memory_format):
    x = torch.randn(2, *IMAGE).to(memory_format=memory_format).requires_grad_()
    g = torch.randn(3, 2, *IMAGE)
    seen = []
    y = x * 1.0
    y.register_hook(seen.append)
    x_seq = repeat(y, 3)
    assert x_seq.stride(0) == 0 and x_seq[0].is_contiguous(memory_format=memory_format)
    x_seq.backward(g.flatten(0, 1).to(memory_format=memory_format).view_as(g))
    assert torch.equal(seen[0], g[0] + g[1] + g[2])
    assert seen[0].is_contiguous(memory_format=memory_format)
