"""The counter's block: what counts in it, what it installs and removes, and the calls in it."""

from __future__ import annotations

import threading

import pytest
import torch
from sop_nets import B, counted, frames, plain, spikes, spiking
from sop_reading import operations, same, total
from torch import nn
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from snncore.errors import ArgumentError, StateError
from snncore.metric import FiringRate, SopCounter

# ---- the block -------------------------------------------------------------------------------------------------------


def test_nothing_is_left_on_the_net_or_in_torch():
    net = spiking()
    sop = counted(net, frames())
    before = total(sop)
    hooks = [m._forward_hooks or m._forward_pre_hooks or m._forward_hooks_always_called for m in net.modules()]
    assert not any(hooks)
    assert not _get_current_dispatch_mode_stack()
    net(frames(seed=2))
    assert torch.equal(total(sop), before)


@pytest.mark.parametrize("where", ["block", "forward"])
def test_nothing_is_left_after_an_exception(where):
    class Fails(nn.Sequential):
        def forward(self, x):
            x = self[0](x)
            if fail:
                raise RuntimeError("on purpose")
            return self[2](x)

    net, fail = Fails(*plain()), False
    sop = SopCounter(net)
    with pytest.raises(RuntimeError, match="on purpose"), sop:
        net(spikes(B, 6))
        fail = where == "forward"
        net(spikes(B, 6))
        raise RuntimeError("on purpose")
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert not _get_current_dispatch_mode_stack()
    assert len(total(sop)) == (B if where == "forward" else 2 * B)


def test_a_forward_that_raises_counts_nothing_and_the_next_one_all():
    class Sometimes(nn.Sequential):
        def forward(self, x):
            x = self[0](x)
            if len(x) == 1:
                raise ValueError
            return self[2](x)

    net = Sometimes(*plain())
    with SopCounter(net) as sop:
        with pytest.raises(ValueError):
            net(spikes(1, 6))
        net(spikes(B, 6))
        with pytest.raises(ValueError):
            net(spikes(1, 6))
    assert same(sop, counted(net, spikes(B, 6)))
    assert sop.record.forwards == 1


def test_a_layer_whose_exception_the_net_catches_does_not_shift_the_names():
    class Catches(nn.Module):
        def __init__(self):
            super().__init__()
            self.bad, self.good = plain(), nn.Linear(6, 4, bias=False)

        def forward(self, x):
            try:
                self.bad(x[:, :-1])
            except RuntimeError:
                return self.good(x)

    net = Catches()
    sop = counted(net, spikes(B, 6))
    assert [(name, kind) for name, kind, *_ in operations(sop)] == [("good", "linear")]


def test_a_hook_of_the_user_that_raises_does_not_shift_the_names():
    net = nn.Sequential(nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6)), nn.Linear(6, 2))

    def refuse(module, args):
        raise KeyError

    class Catches(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = net[0], net[1]

        def forward(self, x):
            try:
                self.a(x)
            except KeyError:
                return self.b(x)

    outer = Catches()
    handle = net[0][1].register_forward_pre_hook(refuse, prepend=True)
    sop = counted(outer, spikes(B, 6))
    handle.remove()
    assert [name for name, *_ in operations(sop)] == ["a.0", "b"]


def test_entering_twice_at_once_is_refused_and_again_later_adds():
    net = plain()
    sop = SopCounter(net)
    with sop:
        net(spikes(B, 6))
        with pytest.raises(StateError, match="twice"), sop:
            pass
        net(spikes(2, 6))
    with sop:
        net(spikes(1, 6))
    assert same(sop, counted(net, spikes(B, 6), spikes(2, 6), spikes(1, 6)))


def test_reports_before_anything_ran_or_of_nothing():
    net = plain()
    sop = SopCounter(net)
    with pytest.raises(StateError, match="no forward"):
        sop.report()
    with sop:
        net[0](spikes(B, 6))  # a layer on its own is not the net
    with pytest.raises(StateError, match="no forward"):
        sop.report()
    with pytest.raises(StateError, match="no convolution"):
        counted(nn.ReLU(), spikes(B, 6)).report()
    with pytest.raises(ArgumentError, match="exact"):
        counted(net, spikes(B, 6)).report("exakt")


def test_a_report_inside_the_block_and_after_an_exception():
    net = plain()
    sop = SopCounter(net)
    with pytest.raises(KeyError), sop:
        net(spikes(B, 6))
        inside = sop.report().samples
        net(spikes(B, 6))
        raise KeyError
    assert (inside, sop.report().samples) == (B, 2 * B)


def test_counters_nest_on_a_net_on_a_part_of_it_and_with_a_firing_rate():
    net, x = spiking(), frames()
    with SopCounter(net) as outer, FiringRate(net) as rate, SopCounter(net) as inner, SopCounter(net[2]) as part:
        net(x)
    with FiringRate(net) as alone:
        net(x)
    assert same(outer, inner) and same(outer, counted(net, x)) and rate.counts() == alone.counts()
    assert torch.equal(total(part), operations(outer)[1][2])


@pytest.mark.parametrize(
    ("argument", "value"),
    [("time_steps", 0), ("time_steps", True), ("time_steps", 2.0), ("batch_dim", 2), ("batch_dim", True)],
)
def test_arguments(argument, value):
    with pytest.raises(ArgumentError, match=f"SopCounter.{argument}: must be"):
        SopCounter(plain(), **{argument: value})


def test_nets_that_cannot_be_watched_are_refused():
    with pytest.raises(ArgumentError, match="must be a module"):
        SopCounter(plain().forward)
    with pytest.raises(ArgumentError, match="traced"):
        SopCounter(torch.jit.trace(plain(), spikes(B, 6)))
    parallel = nn.DataParallel(plain())
    assert same(counted(parallel, spikes(B, 6)), counted(parallel, spikes(B, 6)))
    parallel.device_ids = [0, 1]
    with pytest.raises(ArgumentError, match=r"net\.module"):
        SopCounter(parallel)


def test_a_traced_part_counts_under_the_name_of_what_holds_it():
    conv = nn.Conv1d(6, 4, 3)
    net, x = nn.Sequential(torch.jit.trace(conv, spikes(B, 6, 9)), nn.Flatten(), nn.Linear(28, 2)), spikes(B, 6, 9)
    sop = counted(net, x)
    assert [(name, kind) for name, kind, *_ in operations(sop)] == [("", "conv"), ("2", "linear")]
    assert torch.equal(operations(sop)[0][2], total(counted(conv, x)))


def test_another_thread_is_refused():
    net, caught = plain(), []

    def run():
        try:
            net(spikes(B, 6))
        except StateError as error:
            caught.append(error)

    with SopCounter(net):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    assert "thread" in str(caught[0])


# ---- calls -----------------------------------------------------------------------------------------------------------


def test_keyword_tensors_and_nested_arguments():
    class Takes(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 2)

        def forward(self, given=None, *, x=None):
            return self.layer(input=given["x"][0] if x is None else x)

    net, x = Takes(), spikes(B, 6)
    with SopCounter(net) as by_name:
        net(x=x)
    with SopCounter(net) as nested:
        net({"x": [x]})
    assert len(total(by_name)) == B and same(by_name, nested)
    with pytest.raises(ArgumentError, match="tensor"), SopCounter(net):
        net(None)


def test_a_shared_module_has_a_row_for_each_call():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, x):
            return self.layer((self.layer(x) > 0).float())

    net, x = Twice(), spikes(B, 6)
    rows = operations(counted(net, x, x))
    first, second = (x != 0).sum(1) * 6, (net.layer(x) > 0).sum(1) * 6
    assert [row[0] for row in rows] == ["layer", "layer"]
    assert torch.equal(rows[0][2], first.double().repeat(2)) and torch.equal(rows[1][2], second.double().repeat(2))


def test_a_net_that_calls_itself_is_one_forward():
    class Deeper(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 6, bias=False)

        def forward(self, x, depth=2):
            x = (self.layer(x) > 0).float()
            return self(x, depth - 1) if depth else x

    sop = counted(Deeper(), spikes(B, 6))
    assert sop.record.forwards == 1 and len(operations(sop)) == 3


def test_a_module_added_inside_the_block_counts_under_the_name_of_what_holds_it():
    net = nn.Sequential(nn.Sequential(nn.Linear(6, 4)))
    with SopCounter(net) as sop:
        net[0].append(nn.Linear(4, 2))
        net(spikes(B, 6))
    assert [(name, kind) for name, kind, *_ in operations(sop)] == [("0.0", "linear"), ("0", "linear")]


def test_an_empty_batch_and_then_a_full_one():
    net = spiking()
    with torch.no_grad():
        sop = counted(net, frames(0), frames(), frames(0))
        assert same(sop, counted(net, frames(0), frames(), frames(0)))
        assert torch.equal(total(sop), total(counted(net, frames())))
