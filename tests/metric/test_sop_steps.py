"""Whose samples and steps the counts are."""

from __future__ import annotations

import pytest
import torch
from sop_nets import B, T, counted, frames, images, spikes, spiking
from sop_reading import operations, per_step, same, total
from torch import nn

from snncore import functional, layer
from snncore.encoding import direct
from snncore.errors import StateError
from snncore.metric import SopCounter
from snncore.neuron import IFNode

# ---- samples and steps -----------------------------------------------------------------------------------------------


def test_single_step_equals_multi_step_with_a_reset_between_samples():
    many, single = spiking("m"), spiking("s")
    batches = [frames(), frames(2, seed=5), frames(2, seed=6)]
    want = counted(many, *batches)
    with SopCounter(single) as sop:
        for batch in batches:
            for x in batch:
                single(x)
            functional.reset_net(single)
    assert same(sop, want)
    assert per_step(sop) == per_step(want)
    assert sop.record.samples == [3, 2, 2] and sop.record.steps == [T] * 3


def test_single_step_without_a_reset_goes_on_with_the_same_samples():
    single = spiking("s")
    with SopCounter(single) as sop:
        for x in (*frames(), *frames(seed=9)):
            single(x)
    assert sop.record.samples == [B] and sop.record.steps == [2 * T]


def test_a_layer_that_rests_at_some_steps_keeps_the_others_in_place():
    class Every(nn.Module):
        def __init__(self):
            super().__init__()
            self.node, self.always, self.second = IFNode(), nn.Linear(6, 6), nn.Linear(6, 2)
            self.t = 0

        def forward(self, x):
            self.t += 1
            self.always(x)
            return self.second(x) if self.node(x).numel() and self.t % 2 == 0 else x

    with SopCounter(Every()) as sop:
        for _ in range(4):
            sop.net(torch.ones(1, 6))
    assert per_step(sop) == {"always": [6, 6, 6, 6], "second": [0, 6, 0, 6]}


class Loop(nn.Module):
    """Makes its steps inside: of an image [B, *], or of a sequence [T, B, *]."""

    def __init__(self, sequence):
        super().__init__()
        self.body, self.sequence = spiking("s"), sequence

    def forward(self, x):
        functional.reset_net(self.body)
        return sum(self.body(x[t] if self.sequence else x) for t in range(T))


def test_loops_over_time_inside_the_net():
    want = counted(spiking("m"), frames(), frames(2, seed=5))
    sop = counted(Loop(True), frames(), frames(2, seed=5), batch_dim=1)
    assert [t.tolist() for *_, t, _ in operations(sop)] == [t.tolist() for *_, t, _ in operations(want)]
    assert per_step(sop) == {f"body.{name}": steps for name, steps in per_step(want).items()}
    repeated = counted(spiking("m"), images().repeat(T, 1, 1, 1, 1))
    sop = counted(Loop(False), images(), time_steps=T)
    assert torch.equal(total(sop), total(repeated))
    assert per_step(sop) == {f"body.{name}": steps for name, steps in per_step(repeated).items()}


def test_a_layer_called_twice_in_each_step_of_a_loop():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 6, bias=False)

        def forward(self, x):
            for step in x:
                self.layer(self.layer(step) * 0)

    x = (torch.rand(T, B, 6) < 0.5).float()
    sop = counted(Twice(), x, batch_dim=1)
    first, second = (record.runs[0][0].counts[..., 0] for record in sop.record.layers.values())
    assert torch.equal(first, x.count_nonzero(2)) and not second.any()


def test_tokens_as_many_as_steps_on_a_static_input():
    net = nn.Sequential(layer.Linear(6, 5))
    functional.set_step_mode(net, "m")
    x = spikes(B, T, 6)
    sop = counted(net, direct(x, T))
    assert torch.equal(total(sop), x.sum((1, 2)).double() * 5) and not sop.record.uncounted


@pytest.mark.parametrize(("sequence", "options"), [(False, {}), (True, {}), (True, {"time_steps": T})])
def test_a_loop_that_is_not_told_is_an_error(sequence, options):
    x = frames() if sequence else images()
    with pytest.raises(StateError, match=r"time_steps|batch_dim"):
        counted(Loop(sequence), x, **options)


def test_a_net_that_takes_images_and_makes_all_steps_at_once():
    class Encodes(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = spiking("m")

        def forward(self, x):
            return self.body(direct(x, T)).mean(0)

    sop, want = counted(Encodes(), images(), time_steps=T), counted(spiking("m"), direct(images(), T))
    assert torch.equal(total(sop), total(want)) and sop.record.steps == want.record.steps
    with pytest.raises(StateError, match="time_steps"):
        counted(Encodes(), images())


def test_recurrent_containers_are_counted_step_by_step():
    torch.manual_seed(0)
    recurrent = layer.LinearRecurrent(IFNode(v_threshold=0.5), nn.Linear(6, 6), step_mode="m")
    x = (torch.rand(T, B, 6) < 0.5).float()
    sop = counted(recurrent, x)
    steps = per_step(sop)
    assert list(steps) == ["recurrent"] and steps["recurrent"][0] == 0 and min(steps["recurrent"][1:]) > 0
    assert not any(part.static for rec in sop.record.layers.values() for parts in rec.runs.values() for part in parts)


def test_a_static_first_layer_counts_once_or_at_every_step():
    net = spiking()
    static, repeated = counted(net, direct(images(), T)), counted(net, images().repeat(T, 1, 1, 1, 1))
    once, every = (operations(static, first_layer=rule) for rule in ("once", "every_step"))
    full = operations(repeated)
    assert torch.equal(once[0][3] * T, every[0][3]) and torch.equal(every[0][3], full[0][3]) and bool(every[0][3].all())
    for row in (1, 2):
        assert torch.equal(once[row][2], full[row][2]) and torch.equal(every[row][2], full[row][2])
