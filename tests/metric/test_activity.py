"""Firing rate and sparsity per layer and step: exact whole numbers, rasters are the spikes, nothing is left behind."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from snncore import functional
from snncore.encoding import direct
from snncore.errors import ArgumentError, StateError
from snncore.layer import LinearRecurrent
from snncore.metric import Activity, FiringRate, MembraneUpdates
from snncore.neuron import IFNode, LIFNode, NonSpikingLIFNode

T = 5


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), IFNode(step_mode="m"), nn.Sequential(nn.Linear(6, 2), LIFNode(step_mode="m")))


def inputs(n=3):
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(1)) * 4


def numbers(report):
    return {name: (row.samples, row.spikes, row.elements) for name, row in report.layers.items()}


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_by_hand():
    # v rises by 0.5 a step and fires at 1: steps 1 and 3 of 4; 2 fires at every step; 0 and -1 never.
    x = torch.tensor([[0.5, 2.0, 0.0], [-1.0, 0.0, 2.0]])
    with Activity(nn.Sequential(IFNode(step_mode="m"))) as activity:
        activity._net(direct(x, 4))
    report = activity.compute()
    row = report.layers["0"]
    assert (row.kind, row.neurons, row.samples) == ("IFNode", (3,), 2)
    assert (row.spikes, row.elements) == ((2, 3, 2, 3), (6, 6, 6, 6))
    assert (row.firing_rate, row.sparsity) == (10 / 24, 14 / 24)
    assert (row.firing_rate_per_step, row.sparsity_per_step) == ([2 / 6, 0.5, 2 / 6, 0.5], [4 / 6, 0.5, 4 / 6, 0.5])
    assert (report.spikes, report.elements, report.firing_rate, report.sparsity) == (10, 24, 10 / 24, 14 / 24)
    assert json.loads(json.dumps(report.to_dict()))["layers"]["0"]["spikes"] == [2, 3, 2, 3]


def test_batches_add_up_and_both_step_modes_agree():
    model, x = net(), inputs(7)
    with Activity(model, raster_samples=5) as whole:
        hidden = model[1](model[0](direct(x, T)))  # a part of the net alone counts too
        model[2](hidden)
    with Activity(model, raster_samples=5) as parts:
        for part in x.split(2):
            model(direct(part, T))
    functional.set_step_mode(model, "s")
    with Activity(model, raster_samples=5) as single:
        for part in x.split(3):
            functional.reset_net(model)
            for _ in range(T):
                model(part)
    assert numbers(whole.compute()) == numbers(parts.compute()) == numbers(single.compute())
    assert whole.compute().layers["1"].spikes == tuple(hidden.count_nonzero(dim=(1, 2)).tolist())
    for activity in (whole, parts, single):
        rasters = activity.compute().layers["1"].rasters
        assert len(rasters) == 5
        for i, raster in enumerate(rasters):
            assert raster.dtype == torch.bool
            assert torch.equal(raster, hidden[:, i] != 0)


def test_sequences_of_different_length():
    model = nn.Sequential(IFNode(step_mode="m"))
    with Activity(model, raster_samples=9) as activity:
        for steps, batch in ((2, 3), (4, 1), (1, 2)):
            model(torch.full((steps, batch, 5), 2.0))
    row = activity.compute().layers["0"]
    assert row.elements == row.spikes == (30, 20, 5, 5)
    assert [tuple(raster.shape) for raster in row.rasters] == [(2, 5)] * 3 + [(4, 5)] + [(1, 5)] * 2


def test_a_raster_of_many_neurons_shows_some_of_them_evenly():
    model = IFNode(step_mode="m")
    x = torch.rand(T, 2, 2, 5, 3, generator=torch.Generator().manual_seed(0)) * 2
    with Activity(model, raster_samples=1, raster_neurons=7) as activity:
        spikes = model(x)
    row = activity.compute().layers[""]
    assert row.neurons == (2, 5, 3)
    assert row.raster_neurons.tolist() == [i * 30 // 7 for i in range(7)]
    assert len(row.rasters) == 1
    assert torch.equal(row.rasters[0], spikes[:, 0].flatten(1)[:, row.raster_neurons] != 0)


def test_neurons_inside_a_recurrent_container_count_and_readouts_do_not():
    torch.manual_seed(0)
    model = nn.Sequential(LinearRecurrent(LIFNode(), nn.Linear(3, 3), step_mode="m"), NonSpikingLIFNode(step_mode="m"))
    x = torch.rand(T, 2, 3) * 4
    with Activity(model, raster_samples=2) as activity:
        spikes = model[0](x)
        model(x)
    rows = activity.compute().layers
    assert list(rows) == ["0.neuron"]
    assert rows["0.neuron"].spikes == tuple(2 * n for n in spikes.count_nonzero(dim=(1, 2)).tolist())
    assert (rows["0.neuron"].samples, sum(rows["0.neuron"].spikes) > 0) == (4, True)
    assert torch.equal(torch.stack(rows["0.neuron"].rasters, 1), spikes != 0)


def test_equals_the_firing_rate_counter_and_nests_with_it():
    model = net()
    with FiringRate(model) as rate, Activity(model) as outer:
        model(direct(inputs(), T))
        with Activity(model) as inner:
            model(direct(inputs(2), T))
        model(direct(inputs(1), T))
    report = outer.compute()
    assert {n: (sum(r.spikes), sum(r.elements)) for n, r in report.layers.items()} == rate.counts()
    with Activity(model) as alone:
        model(direct(inputs(2), T))
    assert numbers(inner.compute()) == numbers(alone.compute())
    assert report.layers["1"].samples == 6
    assert hooks(model) == 0


def test_nothing_is_left_after_an_exception_and_the_counts_stay():
    model = net()
    with pytest.raises(RuntimeError), Activity(model) as activity:
        model(direct(inputs(), T))
        before = numbers(activity.compute())
        model(torch.zeros(T, 3, 5))  # does not fit
    assert hooks(model) == 0
    model(direct(inputs(), T))
    assert numbers(activity.compute()) == before


def test_entering_again():
    model = net()
    activity = Activity(model)
    with pytest.raises(StateError, match="must follow a forward pass"):
        activity.compute()
    with activity:
        model(direct(inputs(), T))
        with pytest.raises(StateError, match="twice"), activity:
            pass
    once = activity.compute()
    with activity:
        model(direct(inputs(), T))
    assert activity.compute().spikes == 2 * once.spikes > 0
    assert activity.compute().elements == 2 * once.elements


def test_graded_and_negative_outputs_count_as_one_and_counts_are_exact():
    class Graded(IFNode):
        def forward(self, x):
            return super().forward(x) * torch.tensor([1.0, -1.0, 3.0])

    with Activity(Graded(step_mode="m")) as activity:
        activity._net(torch.full((2, 4, 3), 2.0))
    assert activity.compute().layers[""].spikes == (12, 12)
    with Activity(IFNode(step_mode="m")) as activity:
        activity._net(torch.full((1, 1, 2**25 + 1), 2.0, dtype=torch.bfloat16))
    assert activity.compute().spikes == 2**25 + 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int32])
def test_any_dtype_and_any_strides(dtype):
    class Given(IFNode):
        def forward(self, x):
            return x

    values = torch.randint(-1, 3, (4, 3, 5, 2), generator=torch.Generator().manual_seed(0)).to(dtype)
    want = tuple(values.count_nonzero(dim=(1, 2, 3)).tolist())
    for x in (values, values.transpose(1, 2).contiguous().transpose(1, 2), values.unsqueeze(-1)[..., 0]):
        with Activity(Given(step_mode="m")) as activity:
            activity._net(x)
        assert activity.compute().layers[""].spikes == want
    for empty in (torch.zeros(0, 2, 3), torch.zeros(2, 0, 3)):
        with Activity(Given(step_mode="m"), raster_samples=1) as activity:
            activity._net(empty.to(dtype))
        report = activity.compute()
        assert (report.spikes, report.elements, report.firing_rate) == (0, 0, 0.0)


def test_other_activations_on_request():
    model = nn.Sequential(nn.ReLU(), nn.Sigmoid())
    with Activity(model, activations=(nn.ReLU, nn.Sigmoid)) as activity:
        model(torch.tensor([[1.0, -1.0], [0.0, 2.0], [3.0, -2.0]]))
    assert numbers(activity.compute()) == {"0": (3, (3,), (6,)), "1": (3, (6,), (6,))}


@pytest.mark.parametrize("counter", [Activity, MembraneUpdates])
def test_a_compiled_net_is_refused_and_does_not_count_later(counter):
    model, x = net(), direct(inputs(), T)
    torch.compiler.reset()
    compiled = torch.compile(model, backend="eager")
    with counter(model) as counts, torch.no_grad():
        compiled(x)
    with pytest.raises(StateError, match="a compiled net does not tell"):
        counts.compute()
    with counter(model) as counts, torch.no_grad():
        model(x)
    once = counts.compute()
    with torch.no_grad():
        compiled(x)
    assert counts.compute() == once
    torch.compiler.reset()


@pytest.mark.parametrize("arguments", [{"raster_samples": -1}, {"raster_neurons": 0}])
def test_bad_arguments(arguments):
    with pytest.raises(ArgumentError, match=f"Activity.{next(iter(arguments))}: must be >= "):
        Activity(net(), **arguments)


def test_it_does_not_wait_for_the_device_before_it_is_asked(monkeypatch):
    def refuse(*args):
        raise AssertionError("synchronised")

    model = net()
    with Activity(model, raster_samples=2) as activity:
        with monkeypatch.context() as patch:
            for name in ("item", "tolist", "cpu", "numpy", "__int__", "__bool__"):
                patch.setattr(torch.Tensor, name, refuse)
            model(direct(inputs(), T))
        assert activity.compute().elements == 3 * T * 8


def test_equals_neurobench():
    reason = "NeuroBench 2.3.0 and snnTorch are not installed"
    snntorch = pytest.importorskip("snntorch", reason=reason)
    workload = pytest.importorskip("neurobench.metrics.workload", reason=reason)
    models = pytest.importorskip("neurobench.models", reason=reason)
    del snntorch
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8), nn.Sigmoid(), nn.ReLU())
    theirs = models.TorchModel(model)
    theirs.register_hooks()
    x = inputs(9)
    with Activity(model, activations=(nn.ReLU, nn.Sigmoid)) as activity:
        theirs(x)
    report = activity.compute()
    assert workload.ActivationSparsity()(theirs, None, (x, None)) == report.sparsity
    by_layer = workload.ActivationSparsityByLayer()(theirs, None, (x, None))
    assert by_layer == {name: row.sparsity for name, row in report.layers.items()}
