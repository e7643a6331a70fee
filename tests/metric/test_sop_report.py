"""The report of a counter: numbers worked out by hand, its table, its JSON, and what it cannot count."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

from snncore import functional, layer, neuron
from snncore.encoding import direct
from snncore.errors import ArgumentError, StateError
from snncore.metric.sop import ENERGY, EnergyCost, MemoryCost, SopCounter

# [T, B, 3]
SPIKES = torch.tensor([[[1.0, 0, 1], [0, 0, 0]], [[1, 1, 0], [0, 1, 0]]])


def two_layers(step_mode: str = "m") -> nn.Sequential:
    """3 inputs, 4 neurons, 2 neurons. Neuron j < 3 copies input j, neuron 3 input 0; so 8 of 12 first weights are 0."""
    net = nn.Sequential(layer.Linear(3, 4), neuron.IFNode(), layer.Linear(4, 2, bias=False), neuron.IFNode())
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]))
        net[0].bias.zero_()
        net[2].weight.fill_(0.25)
    functional.set_step_mode(net, step_mode)
    return net


def counted(net: nn.Module, *inputs: torch.Tensor, **options) -> SopCounter:
    with torch.no_grad(), SopCounter(net, **options) as sop:
        for x in inputs:
            net(x)
    return sop


@pytest.fixture(scope="module")
def report():
    return counted(two_layers(), SPIKES).report(dataset="two samples")


# By hand. Input 0 reaches 2 neurons by weights that are not zero, inputs 1 and 2 one each:
#   fc1: step 1: sample 0: 2 + 1, sample 1: 0;  step 2: 2 + 1, 1
# Neurons 0, 2, 3 spike; none; 0, 1, 3; 1; each reaches both outputs:
#   fc2: step 1: 6, 0; step 2: 6, 2
def test_per_layer_step_and_sample(report):
    first, second = report.layers
    assert (first.name, first.kind, first.values, first.static) == ("0", "linear", ("binary",), False)
    assert first.ac_steps.tolist() == [[3, 0], [3, 1]] and not first.mac.any()
    assert second.ac_steps.tolist() == [[6, 0], [6, 2]] and not second.mac.any()
    assert first.rate_per_step.tolist() == [2 / 6, 3 / 6] and first.rate == 5 / 12
    assert second.rate_per_step.tolist() == [3 / 8, 4 / 8] and second.rate == 7 / 16
    assert [row.dense for row in report.layers] == [24, 16]
    assert (first.ac.tolist(), second.ac.tolist(), first.per_step.tolist()) == ([6, 1], [12, 2], [1.5, 2])
    ac, mac = report.totals()
    assert ac.tolist() == [18, 3] and mac.tolist() == [0, 0]
    assert (report.samples, report.steps, report.dense) == (2, 2, 40)


def test_mean_median_and_interval_of_two_samples(report):
    of = report.statistics["ac"]
    half = 12.706204736 * math.sqrt(112.5) / math.sqrt(2)  # t of one degree of freedom; variance of 18 and 3
    assert (of.mean, of.median) == (10.5, 10.5)
    assert of.low == pytest.approx(10.5 - half) and of.high == pytest.approx(10.5 + half)


def test_energy(report):
    assert report.energy().tolist() == pytest.approx([18 * 0.9e-9, 3 * 0.9e-9])
    assert report.energy("int8").tolist() == pytest.approx([18 * 0.03e-9, 3 * 0.03e-9])
    assert report.energy(EnergyCost(2.0, 5.0, "mine")).tolist() == pytest.approx([36e-9, 6e-9])
    assert report.relu_mac == 20 and report.relu_energy == pytest.approx(20 * 4.6e-9)
    assert sum(report.layer_energy(row) for row in report.layers) == pytest.approx(report.statistics["energy_mJ"].mean)


def test_memory_traffic(report):
    # 12 weights and 4 biases, and 8 weights, at each of 2 steps; 10.5 operations; 6 neurons at 2 steps
    assert report.traffic.to_dict() == {
        "weights_streamed": 24 * 2 * 4,
        "weights_fetched": 10.5 * 4,
        "spikes_written": 12 / 8,
        "spikes_read": (3 + 4) * 2 / 8,
        "potentials": 12 * 2 * 4,
    }
    assert report.relu_traffic.to_dict() == {
        "weights_streamed": 24 * 4,
        "weights_fetched": 20 * 4,
        "activations_written": 6 * 4,
        "activations_read": 7 * 4,
    }
    mine = MemoryCost(weights=1.0, spikes=10.0, potentials=100.0, source="mine")
    assert report.traffic.millijoules(mine) == pytest.approx((192 + 32.5 + 9600) * 1e-9)
    assert report.traffic.millijoules(mine, fetched=True) == pytest.approx((42 + 32.5 + 9600) * 1e-9)
    assert report.relu_traffic.millijoules(mine) == pytest.approx((96 + 520) * 1e-9)
    assert report.relu_traffic.millijoules(mine, fetched=True) == pytest.approx((80 + 520) * 1e-9)


def test_two_states_are_moved_twice():
    net = nn.Sequential(layer.Linear(3, 4, bias=False), neuron.Synaptic(alpha=0.9, beta=0.8))
    functional.set_step_mode(net, "m")
    assert counted(net, SPIKES).report().traffic.potentials == 2 * (4 * 2) * 2 * 4


@pytest.mark.parametrize(
    ("values", "bits"), [([0.0, 1, 1], 1), ([-1.0, 0, 1], 2), ([0.0, 2, 1], 32), ([0.5, 0, 1], 32)]
)
def test_what_a_spike_takes_depends_on_its_values(values, bits):
    net = layer.Linear(3, 4, bias=False)
    x = torch.tensor(values).expand(5, 3)
    assert counted(net, x).report().traffic.spikes_read == 3 * bits / 8


# ---- the first layer -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first_layer", ["once", "every_step"])
def test_a_static_input(first_layer):
    net = nn.Sequential(layer.Linear(3, 4), neuron.IFNode())
    with torch.no_grad():
        net[0].weight.fill_(0.5)
    functional.set_step_mode(net, "m")
    x = torch.tensor([[0.5, 0.0, 2.0], [0.25, 1.0, 0.75]])
    report = counted(net, direct(x, 3)).report(first_layer=first_layer, dataset="d")
    (row,) = report.layers
    times = 1 if first_layer == "once" else 3
    assert row.static and row.values == ("real",) and not row.ac.any()
    assert row.mac_steps.tolist() == [[8, 12], [8 * (times > 1), 12 * (times > 1)], [8 * (times > 1), 12 * (times > 1)]]
    assert report.energy().tolist() == pytest.approx([8 * times * 4.6e-9, 12 * times * 4.6e-9])
    assert row.dense == 12 * times and report.relu_mac == 12, "T is not in the net with ReLU"
    assert row.rate == 5 / 6 and row.rate_per_step.tolist() == [5 / 6] * 3
    assert report.traffic.weights_streamed == 16 * times * 4
    assert report.traffic.spikes_read == 3 * 4 * times
    assert ("counted once (same input at every step: 0)" in str(report).replace("\n            ", " ")) == (times == 1)
    assert ("T times (3)" in str(report)) == (times == 3)
    assert ("0 (once)" in str(report)) == (times == 1)


# ---- invariance ------------------------------------------------------------------------------------------------------


def test_one_step_at_a_time_is_the_same(report):
    net = two_layers("s")
    with torch.no_grad(), SopCounter(net) as sop:
        for b in range(2):
            for x in SPIKES[:, b : b + 1]:
                net(x)
            functional.reset_net(net)
    assert sop.report(dataset="two samples").to_dict(per_sample=True) == report.to_dict(per_sample=True)


def test_batches_are_the_same_as_one(report):
    apart = counted(two_layers(), SPIKES[:, :1], SPIKES[:, 1:]).report(dataset="two samples")
    assert apart.to_dict(per_sample=True) == report.to_dict(per_sample=True)


def test_runs_of_different_length():
    report = counted(two_layers(), SPIKES[:, :1], SPIKES[:1, 1:]).report()
    assert report.steps == 2 and any("T differs between runs: 1 to 2" in note for note in report.notes)
    assert report.layers[0].ac_steps.tolist() == [[3, 0], [3, 0]]
    assert report.dense == (40 + 20) / 2 and report.relu_mac == 20


# ---- what it says ----------------------------------------------------------------------------------------------------


def test_every_figure_stands_with_its_conditions(report):
    text = " ".join(str(report).split())
    for part in (
        "mode exact, T = 2, data set two samples, 2 samples, first layer at every step",
        "9.45e-09 mJ per sample = AC x 0.9 pJ + MAC x 4.6 pJ; median 9.45e-09 mJ, 95 % CI of the mean",
        "(Student t, n = 2); fp32: 32-bit floating point, 45 nm, 0.9 V (Horowitz, ISSCC 2014); operations only, ",
        "streams its weights once per evaluation (192 B)",
        "the same layers with ReLU, dense, one pass, no T: 20 MAC, 9.2e-08 mJ",
    ):
        assert part in text
    assert "note" not in text


def test_a_data_set_without_name_is_said():
    text = str(counted(two_layers(), SPIKES).report())
    assert "data set not named" in text and "report(dataset=...)" in text


def test_one_sample_has_no_interval():
    report = counted(two_layers(), SPIKES[:, :1]).report()
    assert report.to_dict()["ac"] == {"mean": 18, "median": 18, "ci95": None}
    assert "no confidence interval" in str(report)


def test_what_never_spikes_is_named():
    report = counted(two_layers(), torch.zeros(2, 2, 3)).report()
    assert [row["never_spikes"] for row in report.to_dict()["layers"]] == [True, True]
    assert "0: no operation, because its input never spikes" in str(report)


def test_a_rate_that_is_not_zero_never_looks_like_zero():
    x = torch.zeros(4, 2, 900)
    x[0, 0, 0] = 1
    net = nn.Sequential(layer.Linear(900, 2), neuron.IFNode())
    functional.set_step_mode(net, "m")
    report = counted(net, x).report()
    assert "<0.001" in str(report) and "never spikes" not in str(report)


class Words(nn.Module):
    """Two embeddings, which are not counted, and perhaps a linear layer, which is."""

    def __init__(self, linear: bool) -> None:
        super().__init__()
        self.a, self.b = nn.Embedding(5, 3), nn.Embedding(5, 3)
        self.fc = nn.Linear(3, 4) if linear else nn.Identity()

    def forward(self, x):
        return self.fc(self.a(x) + self.b(x))


def test_what_is_not_counted_is_one_row_with_its_reason():
    report = counted(Words(linear=True), torch.tensor([1, 4])).report()
    (missing,) = report.to_dict()["not_counted"]
    assert missing == {"layers": ["a", "b"], "operator": "aten.embedding", "why": "an embedding looks rows up"}
    assert "a, b: aten.embedding: not counted: an embedding looks rows up" in str(report).splitlines()
    assert any("lower bound" in note for note in report.notes)


def test_nothing_that_could_be_counted_is_an_error_and_no_zero():
    sop = counted(Words(linear=False), torch.tensor([1, 4]))
    with pytest.raises(StateError, match=r"nothing that ran could be counted \(aten.embedding in a, b: an embedding"):
        sop.report()


def test_no_sample_is_an_error():
    with pytest.raises(StateError, match="at least one sample"):
        counted(two_layers(), SPIKES[:, :0]).report()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "exakt"}, r"SopCounter.report.mode: must be one of .*'exakt'; did you mean 'exact'"),
        ({"first_layer": "twice"}, r"first_layer: must be 'once' or 'every_step', got 'twice'"),
        ({"cost": "fp8"}, r"energy cost: must be one of .*fp16.*got 'fp8'"),
        ({"memory": "tape"}, r"memory cost: must be one of dram, on_chip, small_cache, got 'tape'"),
        ({"dataset": 7}, r"dataset: must be a name, got 7"),
    ],
)
def test_a_slip_is_told(options, message):
    with pytest.raises(ArgumentError, match=message):
        counted(two_layers(), SPIKES).report(**options)


def test_a_chip_without_a_figure_for_macs_says_so():
    net = nn.Sequential(layer.Linear(3, 4), neuron.IFNode())
    functional.set_step_mode(net, "m")
    report = counted(net, torch.rand(2, 2, 3) + 0.1).report(cost="loihi")
    text = " ".join(str(report).split())
    assert "loihi has no figure for a multiply-accumulate: 24 of them per sample are not in the energy" in text
    assert "no figure" in str(report).splitlines()[1]
    assert "the memory of the synapses is in it" in text and "already in that figure" in text
    found = report.to_dict()
    assert found["layers"][0]["energy_mJ"] is None and found["relu"]["energy_mJ"] is None
    assert found["memory"]["included_in_energy"] is True
    assert ENERGY["loihi"].mac is None


# ---- for programs ----------------------------------------------------------------------------------------------------


def test_json_round_trip(report):
    assert json.loads(report.to_json(per_sample=True)) == report.to_dict(per_sample=True)
    assert json.loads(report.to_json()) == report.to_dict()
    assert report.to_dict(per_sample=True)["per_sample"]["ac"] == [18, 3]


def test_the_keys_are_stable(report):
    found = report.to_dict()
    assert found["format"] == "snncore.sop_report/1"
    assert list(found) == [
        "format", "mode", "first_layer", "dataset", "samples", "T", "ac", "mac", "energy_mJ", "interval", "dense",
        "cost", "memory", "relu", "layers", "not_counted", "notes",
    ]  # fmt: skip
    assert list(found["layers"][0]) == [
        "name", "kind", "input", "rate", "ac", "mac", "dense", "energy_mJ", "weights", "counted_once", "never_spikes",
        "per_step",
    ]  # fmt: skip
    assert found["layers"][0]["per_step"] == {"rate": [2 / 6, 3 / 6], "ac": [1.5, 2], "mac": [0, 0]}
    assert found["cost"] == {
        "name": "fp32", "ac_pJ": 0.9, "mac_pJ": pytest.approx(4.6), "value_bytes": 4, "source": ENERGY["fp32"].source,
    }  # fmt: skip
    assert found["relu"]["mac"] == 20


def test_the_table_fits_100_columns():
    net = nn.Sequential()
    net.add_module("a_layer_with_quite_a_long_name_that_does_not_fit", layer.Linear(300, 4000))
    net.add_module("n", neuron.IFNode())
    functional.set_step_mode(net, "m")
    report = counted(net, torch.ones(2, 3, 300)).report(dataset="a data set of many words " * 5)
    assert max(len(line) for line in str(report).splitlines()) <= 100
    head, row = str(report).splitlines()[:2]
    assert len(head) == len(row), "columns stand below their heads"
