"""Norms that know of thresholds, of time steps, and of other processes."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch
from torch import multiprocessing, nn

from snncore import functional, layer
from snncore.errors import ArgumentError, StateError
from snncore.neuron import IFNode

T, B, C = 3, 4, 2
SAMPLES = {1: (C, 5), 2: (C, 4, 3), 3: (C, 2, 3, 2)}


def sequence(d, seed=0, steps=T, batch=B):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(steps, batch, *SAMPLES[d], dtype=torch.float64, generator=generator) * 2 + 0.5


def columns(values, x):
    return values.view(1, 1, -1, *[1] * (x.ndim - 3))


def standardised(x):
    dims = [0, 1, *range(3, x.ndim)]
    mean, var = x.mean(dims), x.var(dims, unbiased=False)
    return (x - columns(mean, x)) / (columns(var, x) + 1e-5).sqrt()


# ---- threshold-dependent --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 3])
def test_tdbn_is_the_formula_of_the_paper(d):
    norm = getattr(layer, f"ThresholdDependentBatchNorm{d}d")(C, 0.5, 0.8, step_mode="m").double()
    assert isinstance(norm, getattr(nn, f"BatchNorm{d}d"))
    x = sequence(d)
    torch.testing.assert_close(norm(x), 0.4 * standardised(x))
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([2.0, -1.0]))
        norm.bias.copy_(torch.tensor([0.1, 0.2]))
    want = 0.4 * standardised(x) * columns(norm.weight, x) + columns(norm.bias, x)
    torch.testing.assert_close(norm(x), want)
    assert norm(x).std() < 1


@pytest.mark.parametrize("d", [1, 2, 3])
def test_tdbn_keeps_the_statistics_and_keys_of_batch_norm(d):
    norm = getattr(layer, f"ThresholdDependentBatchNorm{d}d")(C, v_threshold=0.5, step_mode="m").double()
    plain = getattr(layer, f"BatchNorm{d}d")(C, step_mode="m").double()
    x = sequence(d)
    norm(x), plain(x)
    assert norm.state_dict().keys() == plain.state_dict().keys()
    for key, value in norm.state_dict().items():
        assert torch.equal(value, plain.state_dict()[key]), key
    torch.testing.assert_close(norm.eval()(x), 0.5 * plain.eval()(x))


def test_tdbn_without_weights_still_scales():
    norm = layer.ThresholdDependentBatchNorm2d(C, 1.0, 0.25, affine=False, step_mode="m").double()
    torch.testing.assert_close(norm(sequence(2)), 0.25 * standardised(sequence(2)))
    assert "alpha=1, v_threshold=0.25" in repr(norm)


@pytest.mark.parametrize("args", [{"alpha": 0}, {"v_threshold": -1.0}, {"alpha": True}, {"v_threshold": "1"}])
def test_tdbn_refuses_factors_that_are_no_positive_numbers(args):
    with pytest.raises(ArgumentError, match=rf"ThresholdDependentBatchNorm2d\.{next(iter(args))}: must be a positive"):
        layer.ThresholdDependentBatchNorm2d(C, **args)


# ---- temporal -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 3])
def test_tebn_is_batch_norm_times_a_weight_of_the_step(d):
    norm = getattr(layer, f"TemporalEffectiveBatchNorm{d}d")(T, C, eps=1e-5, step_mode="m").double()
    x = sequence(d)
    torch.testing.assert_close(norm(x), standardised(x))
    with torch.no_grad():
        norm.p.copy_(torch.tensor([1.0, -2.0, 0.5]))
    y = norm(x)
    torch.testing.assert_close(y, standardised(x) * norm.p.view(-1, *[1] * (x.ndim - 1)))
    y.square().sum().backward()
    assert norm.p.grad.abs().min() > 0


def test_tebn_step_by_step_is_the_sequence_in_evaluation():
    norm = layer.TemporalEffectiveBatchNorm2d(T, C, step_mode="m").double()
    with torch.no_grad():
        norm.p.copy_(torch.tensor([1.0, -2.0, 0.5]))
    norm(sequence(2))
    single = copy.deepcopy(norm).eval()
    functional.set_step_mode(single, "s")
    assert single.step_mode == single.norm.step_mode == "s"
    x = sequence(2, seed=1)
    want = norm.eval()(x)
    for _ in range(2):
        torch.testing.assert_close(torch.stack([single(step) for step in x]), want)
        with pytest.raises(StateError, match=r"TemporalEffectiveBatchNorm2d\.x: must be one of T = 3 .*reset_net"):
            single(x[0])
        assert pickle.loads(pickle.dumps(single)).time_step == 0
        functional.reset_net(single)


@pytest.mark.parametrize("T_", [0, True, 2.0])
def test_tebn_refuses_what_is_no_number_of_steps(T_):
    with pytest.raises(ArgumentError, match=r"TemporalEffectiveBatchNorm1d\.T: must be a whole number"):
        layer.TemporalEffectiveBatchNorm1d(T_, C)


def test_tebn_refuses_another_number_of_steps():
    norm = layer.TemporalEffectiveBatchNorm2d(T, C, step_mode="m").double()
    with pytest.raises(ArgumentError, match=r"must have T = 3 time steps, got \[2, 4, 2, 4, 3\]"):
        norm(sequence(2, steps=2))


# ---- batch norm -----------------------------------------------------------------------------------------------------


def test_batch_norm_says_which_axis_should_hold_the_channels():
    norm = layer.BatchNorm1d(7)
    with pytest.raises(ArgumentError, match=r"BatchNorm1d\.x: must be .* with C = 7 in step_mode 's', got \[3, 4, 7\]"):
        norm(torch.randn(3, 4, 7))  # a sequence [T, B, C] in step mode 's'
    norm.step_mode = "m"
    assert norm(torch.randn(3, 4, 7)).shape == (3, 4, 7)


# ---- synchronised ---------------------------------------------------------------------------------------------------


def net():
    torch.manual_seed(0)
    shared = layer.BatchNorm2d(3)
    made = nn.Sequential(
        layer.Conv2d(C, 3, 3, padding=1),
        layer.ThresholdDependentBatchNorm2d(3, 0.5, 0.9),
        nn.Sequential(shared, IFNode(), shared),
        layer.TemporalEffectiveBatchNorm2d(T, 3),
        layer.Flatten(),
        layer.Linear(36, 5),
        layer.BatchNorm1d(5, eps=1e-3, momentum=0.2),
    )
    functional.set_step_mode(made, "m")
    return made.double()


def test_conversion_keeps_everything():
    plain = net()
    plain[6].eval()
    twin = copy.deepcopy(plain)
    parameters, modes = list(plain.parameters()), [m.step_mode for m in plain.modules() if hasattr(m, "step_mode")]
    assert layer.convert_sync_batchnorm(plain) is plain
    norms = [m for m in plain.modules() if isinstance(m, layer.SyncBatchNorm)]
    assert len(norms) == 4 and not any(type(m).__name__.startswith("BatchNorm") for m in plain.modules())
    assert plain[2][0] is plain[2][2]
    assert all(a is b for a, b in zip(plain.parameters(), parameters, strict=True))
    assert [m.step_mode for m in plain.modules() if hasattr(m, "step_mode")] == modes
    assert (plain[6].training, plain[6].eps, plain[6].momentum) == (False, 1e-3, 0.2)
    assert plain.state_dict().keys() == twin.state_dict().keys()
    x = sequence(2)
    torch.testing.assert_close(plain(x), twin(x), rtol=0, atol=0)
    for (key, got), want in zip(plain.state_dict().items(), twin.state_dict().values(), strict=True):
        assert torch.equal(got, want), key
    layer.convert_sync_batchnorm(plain)  # a second time changes nothing
    assert [m for m in plain.modules() if isinstance(m, layer.SyncBatchNorm)] == norms
    alone = layer.convert_sync_batchnorm(layer.BatchNorm2d(C, step_mode="m", affine=False))
    assert isinstance(alone, layer.SyncBatchNorm) and alone.step_mode == "m" and alone.weight is None


def test_a_batch_norm_of_torch_becomes_that_of_torch():
    converted = layer.convert_sync_batchnorm(nn.Sequential(nn.BatchNorm2d(3)))
    assert type(converted[0]) is nn.SyncBatchNorm


SHARES = (1, 3)  # how many samples each process has


def train(rank: int, folder: str) -> None:
    """One process of two, or both of them in one for rank -1: a training step; the results go to a file."""
    torch.set_num_threads(1)
    module = net()
    x_seq = sequence(2, batch=sum(SHARES))
    if rank >= 0:
        torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
        layer.convert_sync_batchnorm(module)
        x_seq = x_seq.split(SHARES, dim=1)[rank]
    x_seq = x_seq.clone().requires_grad_()
    y_seq = module(x_seq)
    y_seq.square().mul(torch.linspace(0, 1, 5)).sum().backward()
    grads = [p.grad for p in module.parameters()]
    if rank >= 0:
        for grad in grads:
            torch.distributed.all_reduce(grad)
        torch.distributed.destroy_process_group()
    torch.save(
        {"y": y_seq.detach(), "x": x_seq.grad, "grads": grads, "buffers": list(module.buffers())},
        Path(folder) / f"{rank}.pt",
    )


def test_two_processes_are_one_with_all_samples(tmp_path):
    train(-1, str(tmp_path))
    multiprocessing.spawn(train, (str(tmp_path),), nprocs=2)
    one, a, b = (torch.load(tmp_path / f"{rank}.pt") for rank in (-1, 0, 1))
    for key in ("y", "x"):
        torch.testing.assert_close(torch.cat((a[key], b[key]), dim=1), one[key])
    for rank in (a, b):
        torch.testing.assert_close(rank["grads"], one["grads"])
        torch.testing.assert_close(rank["buffers"], one["buffers"])


@pytest.mark.gpu
def test_on_a_gpu_it_is_the_batch_norm_of_a_single_process():
    plain = net().cuda()
    twin = layer.convert_sync_batchnorm(copy.deepcopy(plain))
    x = sequence(2).cuda()
    torch.testing.assert_close(twin(x), plain(x))
