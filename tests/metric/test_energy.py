"""Published figures, statistics for few samples."""

from __future__ import annotations

import math

import pytest
import torch

from snncore.errors import ArgumentError
from snncore.metric.sop import ENERGY, MEMORY, EnergyCost, MemoryCost
from snncore.metric.sop.statistics import statistics, student_t


@pytest.mark.parametrize(
    ("name", "ac", "mac", "value_bytes"),
    [("fp32", 0.9, 4.6, 4), ("fp16", 0.4, 1.5, 2), ("int32", 0.1, 3.2, 4), ("int8", 0.03, 0.23, 1)],
)
def test_the_figures_of_horowitz(name, ac, mac, value_bytes):
    cost = ENERGY[name]
    assert (cost.ac, cost.mac, cost.value_bytes) == (ac, pytest.approx(mac), value_bytes)
    assert "Horowitz, ISSCC 2014" in cost.source and "45 nm" in cost.source and not cost.memory_included


@pytest.mark.parametrize(("name", "ac"), [("loihi", 23.6), ("truenorth", 26.0), ("darwin3", 5.47)])
def test_the_figures_of_chips(name, ac):
    cost = ENERGY[name]
    assert (cost.ac, cost.mac, cost.memory_included) == (ac, None, True) and "20" in cost.source


def test_every_preset_knows_its_name_and_source():
    for table in (ENERGY, MEMORY):
        for name, cost in table.items():
            assert cost.name == name and cost.source


def test_memory_figures_are_per_byte_of_a_64_bit_access():
    assert (MEMORY["on_chip"].weights, MEMORY["small_cache"].weights) == (100 / 8, 10 / 8)
    assert (MEMORY["dram"].weights, MEMORY["dram"].spikes) == (1300 / 8, 100 / 8)


def test_a_sum_of_picojoules_in_millijoules():
    assert ENERGY["fp32"].millijoules(ac=1e9, mac=2e9) == pytest.approx(0.9 + 2 * 4.6)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, "0.9", True, None])
@pytest.mark.parametrize("which", ["ac", "mac", "weights", "spikes", "potentials"])
def test_a_figure_must_be_one(which, value):
    if (which, value) == ("mac", None):
        assert EnergyCost(1.0, None, "mine").millijoules(1e9, 1e9) == 1
        return
    figures = {"ac": 1.0, "mac": 1.0} if which in ("ac", "mac") else {"weights": 1.0, "spikes": 1.0, "potentials": 1.0}
    kind = EnergyCost if which in ("ac", "mac") else MemoryCost
    with pytest.raises(ArgumentError, match=rf"{kind.__name__}.{which}: must be a finite number of picojoules"):
        kind(**{**figures, which: value}, source="mine")


@pytest.mark.parametrize("value", [0, 1.5, True])
def test_bytes_of_a_value(value):
    with pytest.raises(ArgumentError, match=r"EnergyCost.value_bytes: must be a positive integer"):
        EnergyCost(1.0, 1.0, "mine", value_bytes=value)


# two-sided 95 % points of Student's t, from the usual tables
@pytest.mark.parametrize(
    ("df", "t"),
    [
        (1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (5, 2.5706), (9, 2.2622), (10, 2.2281), (29, 2.0452),
        (30, 2.0423), (60, 2.0003), (120, 1.9799), (200, 1.9719), (201, 1.9718), (1000, 1.9623), (10**7, 1.95996),
    ],
)  # fmt: skip
def test_student(df, t):
    assert student_t(df) == pytest.approx(t, abs=6e-5)


def test_the_two_ways_to_student_agree_where_they_meet():
    assert student_t(200) - student_t(201) == pytest.approx(student_t(201) - student_t(202), rel=0.02)


def test_statistics():
    found = statistics(torch.tensor([4.0, 1.0, 2.0, 9.0], dtype=torch.float64))
    half = 3.182446305 * math.sqrt(38 / 3) / 2  # squared deviations from 4: 0, 9, 4, 25
    assert (found.mean, found.median) == (4.0, 3.0)
    assert (found.low, found.high) == (pytest.approx(4 - half), pytest.approx(4 + half))
    assert statistics(torch.tensor([5.0, 1.0, 2.0], dtype=torch.float64)).median == 2.0
    assert statistics(torch.tensor([7.0], dtype=torch.float64)).to_dict() == {"mean": 7, "median": 7, "ci95": None}
