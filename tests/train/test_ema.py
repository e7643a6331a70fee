"""The moving average of the weights against torch's own, and what it leaves behind."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from snncore import layer, neuron
from snncore.errors import ArgumentError, CheckpointError, StateError
from snncore.train import TrainConfig, WeightAverage, adjusted_decay
from snncore.train.ema import make_average


def make(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        layer.Linear(3, 4, step_mode="m"),
        layer.BatchNorm1d(4, step_mode="m"),
        neuron.ParametricLIFNode(step_mode="m"),
        layer.Linear(4, 2, step_mode="m"),
    )


def train_step(net, i):
    generator = torch.Generator().manual_seed(i)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    optimizer.zero_grad()
    net(torch.rand(2, 5, 3, generator=generator) * 3).square().mean().backward()
    optimizer.step()


def same(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a), [name for name in a if not torch.equal(a[name], b[name])]


def test_the_average_is_torchs_but_for_whole_numbers_which_are_copied():
    net = make()
    ours = WeightAverage(net, 0.9)
    theirs = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    for i in range(6):
        train_step(net, i)
        ours.update(net)
        theirs.update_parameters(net)
    expected = theirs.module.state_dict()
    expected["1.num_batches_tracked"] = net.state_dict()["1.num_batches_tracked"]
    same(ours.weights(net), expected)
    assert ours.weights(net)["1.num_batches_tracked"] == 6
    assert not torch.equal(ours.weights(net)["0.weight"], net[0].weight)


def test_by_definition():
    net = nn.Linear(1, 1, bias=False)
    average = WeightAverage(net, 0.75)
    expected = None
    for value in (4.0, 8.0, -2.0):
        nn.init.constant_(net.weight, value)
        average.update(net)
        expected = value if expected is None else 0.75 * expected + 0.25 * value
    assert average.weights(net)["weight"].item() == expected == 3.25


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_small_updates_of_short_numbers_are_not_lost(dtype):
    net = nn.Linear(1, 1, bias=False).to(dtype)
    nn.init.constant_(net.weight, 1.0)
    average = WeightAverage(net, 0.999)
    average.update(net)
    nn.init.constant_(net.weight, 2.0)
    for _ in range(1000):
        average.update(net)
    found = average.weights(net)["weight"]
    assert found.dtype == dtype and found.item() == pytest.approx(2 - 0.999**1000, rel=1e-2)
    with average.applied(net):
        assert torch.equal(net.weight, found)


def test_updates_come_every_so_many_steps_and_a_warm_up_copies():
    net = nn.Linear(1, 1, bias=False)
    average = WeightAverage(net, 0.5, steps=3)
    seen = []
    for epoch in range(3):
        for step in range(4):
            nn.init.constant_(net.weight, 10.0 * epoch + step)
            average.after_step(net, step, warming_up=epoch == 0)
            seen.append(average.weights(net)["weight"].item())
    warm_up = [0.0, 0.0, 0.0, 3.0]
    after = [10.0, 10.0, 10.0, 11.5]  # the first one still copies
    assert seen == [*warm_up, *after, 15.75, 15.75, 15.75, 19.375]


def test_the_net_gets_the_average_in_the_block_and_its_own_back():
    net = make()
    average = WeightAverage(net, 0.5)
    for i in range(3):
        train_step(net, i)
        average.update(net)
    own, places = copy.deepcopy(net.state_dict()), [p.data_ptr() for p in net.parameters()]
    with pytest.raises(KeyError), average.applied(net):
        same(net.state_dict(), average.weights(net))
        assert net.state_dict()["0.weight"].ne(own["0.weight"]).any()
        net.train()
        net(torch.rand(2, 5, 3))  # moves the running statistics
        with pytest.raises(StateError, match="entered twice"), average.applied(net):
            pass
        with pytest.raises(StateError, match=r"inside applied\(\)"):
            average.update(net)
        raise KeyError
    same(net.state_dict(), own)
    assert [p.data_ptr() for p in net.parameters()] == places
    average.update(net)  # open again


def test_it_does_not_change_with_the_net_and_no_gradient_goes_through():
    net = make()
    average = WeightAverage(net, 0.5)
    before = average.weights(net)
    train_step(net, 0)
    same(average.weights(net), before)
    average.update(net)
    held = average.weights(net)
    train_step(net, 1)
    same(average.weights(net), held)
    assert not any(tensor.requires_grad for tensor in held.values())


def test_a_run_that_goes_on_from_a_file_has_the_same_bits(tmp_path):
    def run(stop=None):
        net, start = make(), 0
        average = WeightAverage(net, 0.9, steps=2)
        for step in range(start, 8):
            if step == stop:
                torch.save({"net": net.state_dict(), "ema": average.state_dict()}, tmp_path / "x.pt")
                content = torch.load(tmp_path / "x.pt", weights_only=True)
                net, average = make(1), WeightAverage(make(2), 0.9, steps=2)
                net.load_state_dict(content["net"])
                average.load_state_dict(content["ema"])
            train_step(net, step)
            average.after_step(net, step)
        return average

    whole = run()
    for stop in (1, 4, 7):
        other = run(stop)
        assert other.updates == whole.updates == 4
        same(other.state_dict()["average"], whole.state_dict()["average"])


def test_the_average_of_another_net_is_refused_and_changes_nothing():
    net = make()
    average = WeightAverage(net, 0.9)
    before = average.weights(net)
    with pytest.raises(CheckpointError, match=r"got 0.weight \[1, 3\] instead of \[4, 3\]"):
        state = average.state_dict()
        average.load_state_dict({"updates": 3, "average": {**state["average"], "0.weight": torch.zeros(1, 3)}})
    with pytest.raises(CheckpointError, match="must have updates and average"):
        average.load_state_dict({})
    with pytest.raises(ArgumentError, match=r"update.net: .* got 0.weight missing"):
        average.update(nn.Sequential(nn.Flatten(), nn.Linear(3, 4)))
    with pytest.raises(ArgumentError, match="not wrapped"):
        average.update(nn.ModuleDict({"module": net}))
    same(average.weights(net), before)
    assert average.updates == 0


@pytest.mark.parametrize(("decay", "steps"), [(1.0, 1), (-0.1, 1), (float("nan"), 1), (0.5, 0)])
def test_numbers_that_cannot_be_used(decay, steps):
    with pytest.raises(ArgumentError, match=r"WeightAverage\.(decay|steps): must be"):
        WeightAverage(make(), decay, steps)


def test_the_adjusted_decay():
    assert adjusted_decay(0.99998, 128 * 8, 32, 600) == pytest.approx(1 - 2e-5 * 128 * 8 * 32 / 600)
    assert adjusted_decay(0.9, 1000, 32, 1) == 0.0  # every update copies
    assert adjusted_decay(0.5, 1, 1, 1) == 0.5


def test_the_configuration_makes_one_or_none():
    net = make()
    assert make_average(net, TrainConfig(), 128) is None
    config = TrainConfig(model_ema=True, model_ema_steps=4, model_ema_decay=0.999, epochs=50)
    found = make_average(net, config, 128)
    assert (found.steps, found.decay) == (4, adjusted_decay(0.999, 128, 4, 50))


def test_shared_weights_stay_shared():
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    net[1].weight = net[0].weight
    average = WeightAverage(net, 0.5)
    for value in (1.0, 3.0):
        nn.init.constant_(net[0].weight, value)
        average.update(net)
    with average.applied(net):
        assert net[0].weight.tolist() == [[2.0, 2.0], [2.0, 2.0]] and net[1].weight is net[0].weight
    assert net[0].weight[0, 0] == 3.0
