"""Parameters, bytes and zero weights: numbers by hand, and NeuroBench's own where it is installed."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune

from snncore import layer
from snncore.errors import ArgumentError
from snncore.metric import connection_sparsity, footprint, parameter_count
from snncore.neuron import LIFNode, ParametricLIFNode


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        layer.Conv2d(1, 2, 3, bias=False, step_mode="m"),  # 18
        layer.BatchNorm2d(2, step_mode="m"),  # 4; buffers 2 + 2 float32, 1 int64
        ParametricLIFNode(step_mode="m"),  # 1
        layer.Linear(5, 3, step_mode="m"),  # 18
    )


def test_parameters_and_bytes_by_hand():
    model = net()
    assert parameter_count(model) == 18 + 4 + 1 + 18
    model[0].weight.requires_grad_(False)
    assert parameter_count(model, trainable=True) == 23
    assert parameter_count(model, trainable=False) == 18
    assert footprint(model) == 4 * 41 + 4 * 4 + 8
    assert footprint(model.half()) == 2 * 41 + 2 * 4 + 8
    assert (parameter_count(nn.ReLU()), footprint(nn.ReLU())) == (0, 0)


def test_buffers_that_are_not_saved_take_memory_too():
    module = nn.Module()
    module.register_buffer("mask", torch.zeros(3, dtype=torch.bool), persistent=False)
    assert (parameter_count(module), footprint(module)) == (0, 3)


def shared():
    a, b = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
    b.weight = a.weight
    return nn.Sequential(a, b, a)


def same_memory():
    a, b = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
    b.weight = nn.Parameter(a.weight.detach())
    return nn.Sequential(a, b)


@pytest.mark.parametrize("make", [shared, same_memory])
def test_what_is_shared_counts_once(make):
    assert parameter_count(make()) == 16
    assert footprint(make()) == 64
    assert connection_sparsity(make()).weights == 16


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_empty_and_meta_tensors_are_told_apart():
    assert parameter_count(nn.Sequential(nn.Linear(2, 2, device="meta"), nn.Linear(2, 2, device="meta"))) == 12
    model = nn.Sequential(nn.Linear(0, 3), nn.Linear(0, 3))
    assert parameter_count(model) == 6


def test_lazy_and_sparse_parameters_are_refused():
    with pytest.raises(ArgumentError, match=r"parameter_count.net: .* run one batch first"):
        parameter_count(nn.LazyLinear(3))
    module = nn.Module()
    module.register_buffer("sparse", torch.eye(3).to_sparse())
    with pytest.raises(ArgumentError, match=r"footprint.net: .*sparse.* to_dense"):
        footprint(module)


def with_zeros():
    model = net()
    with torch.no_grad():
        model[0].weight[0] = 0  # 9 of 18
        model[3].weight[:, :2] = 0  # 6 of 15
        model[3].bias.zero_()  # does not count
    return model


def test_zero_weights_by_hand():
    found = connection_sparsity(with_zeros())
    assert {name: (one.zeros, one.weights, one.sparsity) for name, one in found.layers.items()} == {
        "0": (9, 18, 0.5),
        "3": (6, 15, 0.4),
    }
    assert (found.zeros, found.weights, found.sparsity, found.not_counted) == (15, 33, 15 / 33, ())


def recurrent():
    torch.manual_seed(1)
    model = nn.Sequential(nn.LSTM(2, 3, num_layers=2, bidirectional=True, proj_size=2), nn.GRUCell(3, 2, bias=False))
    with torch.no_grad():
        model[0].weight_hr_l0.zero_()  # 6
        model[0].bias_ih_l1_reverse.zero_()  # 12
        model[1].weight_ih[0] = 0  # 3
    return model


def test_recurrent_layers_count_with_their_biases():
    found = connection_sparsity(recurrent())
    # Each direction: (12 x 2 or 4) + (12 x 2) + 12 + 12 + (2 x 3).
    assert (found.layers["0"].zeros, found.layers["0"].weights) == (18, 2 * (24 + 24 + 24 + 6) + 2 * (48 + 24 + 24 + 6))
    assert (found.layers["1"].zeros, found.layers["1"].weights) == (3, 6 * 3 + 6 * 2)


class _Half(nn.Module):
    def forward(self, weight):
        return weight * (torch.arange(weight.shape[1]) % 2)


def test_pruned_and_parametrized_weights_count_as_the_layer_sees_them():
    pruned = nn.Linear(4, 4)
    prune.l1_unstructured(pruned, "weight", amount=5)
    assert connection_sparsity(pruned).zeros == 5
    mapped = nn.Linear(4, 4)
    parametrize.register_parametrization(mapped, "weight", _Half())
    found = connection_sparsity(nn.Sequential(mapped))
    assert ((found.zeros, found.weights), found.not_counted) == ((8, 16), ())


def test_layers_that_the_definition_does_not_know_are_named():
    model = nn.Sequential(nn.ConvTranspose2d(1, 1, 3), nn.Linear(2, 2), nn.Bilinear(2, 2, 2), nn.BatchNorm2d(3))
    found = connection_sparsity(model)
    assert (list(found.layers), found.not_counted) == (["1"], ("0", "2"))
    with pytest.raises(ArgumentError, match="must have a linear, convolution or recurrent layer"):
        connection_sparsity(nn.Sequential(LIFNode()))
    with pytest.raises(ArgumentError, match="uninitialised"):
        connection_sparsity(nn.LazyLinear(3))


@pytest.mark.parametrize("make", [net, with_zeros, recurrent])
def test_equals_neurobench(make):
    reason = "NeuroBench 2.3.0 and snnTorch are not installed"
    pytest.importorskip("snntorch", reason=reason)
    static = pytest.importorskip("neurobench.metrics.static", reason=reason)
    models = pytest.importorskip("neurobench.models", reason=reason)
    model = make()
    theirs = models.TorchModel(model)
    assert static.ParameterCount()(theirs) == parameter_count(model)
    assert static.Footprint()(theirs) == footprint(model)
    assert static.ConnectionSparsity()(theirs) == round(connection_sparsity(model).sparsity, 4)
