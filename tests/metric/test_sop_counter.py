"""The counter's block: what counts in it, what it installs and removes, and whose samples and steps these are."""

from __future__ import annotations

import copy
import gc
import threading
import weakref

import pytest
import torch
from sop_reading import operations, per_step, same, total
from torch import nn
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack
from torch.utils.checkpoint import checkpoint

from snncore import functional, layer, ops
from snncore.encoding import direct
from snncore.errors import ArgumentError, StateError
from snncore.metric import FiringRate, SopCounter
from snncore.metric.sop import operators
from snncore.metric.sop.forward import Forward
from snncore.neuron import IFNode

T, B = 4, 3


def spiking(step_mode="m"):
    torch.manual_seed(0)
    net = nn.Sequential(
        layer.Conv2d(2, 4, 3, padding=1), IFNode(), layer.Conv2d(4, 3, 3, stride=2, bias=False), IFNode(),
        layer.Flatten(), layer.Linear(27, 5), IFNode(),
    )  # fmt: skip
    functional.set_step_mode(net, step_mode)
    return net


def images(n=B, seed=1):
    return torch.rand(n, 2, 7, 7, generator=torch.Generator().manual_seed(seed)) * 2


def frames(n=B, seed=1):
    return (torch.rand(T, n, 2, 7, 7, generator=torch.Generator().manual_seed(seed)) < 0.4).float()


def counted(net, *inputs, **options):
    with SopCounter(net, **options) as sop:
        for x in inputs:
            net(x)
    return sop


def plain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))


def spikes(*shape, rate=0.5):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(3)) < rate).float()


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


# ---- what is not a forward -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reentrant", [True, False])
def test_backward_and_recomputation_do_not_count(reentrant):
    class Checkpointed(nn.Module):
        def __init__(self, on):
            super().__init__()
            torch.manual_seed(0)
            self.a, self.b, self.on = nn.Linear(6, 6), plain(), on

        def forward(self, x):
            h = self.a(x)
            return checkpoint(self.b, h, use_reentrant=reentrant) if self.on else self.b(h)

    def train(on):
        net = Checkpointed(on)
        with SopCounter(net) as sop:
            for _ in range(2):
                net(spikes(B, 6)).sum().backward()
        return sop

    assert same(train(True), train(False))
    with torch.no_grad():
        alone = counted(Checkpointed(False), spikes(B, 6), spikes(B, 6))
    assert same(train(True), alone)


def test_a_backward_inside_the_forward_does_not_count():
    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 6, bias=False)

        def forward(self, x):
            x = x.requires_grad_()
            (g,) = torch.autograd.grad(self.layer(x).square().sum(), x)
            return g

    assert [row[0] for row in operations(counted(Inner(), spikes(B, 6)))] == ["layer"]


def test_training_in_the_block_follows_the_weights():
    net = plain()
    twin = copy.deepcopy(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    with SopCounter(net) as sop:
        for step in range(3):
            net(spikes(B, 6)).square().sum().backward()
            optimizer.step()
            with torch.no_grad():
                net[0].weight[:, step] = 0
    want = []
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.5)
    for step in range(3):
        want.append((spikes(B, 6) != 0).double() @ (twin[0].weight.detach() != 0).double().sum(0))
        twin(spikes(B, 6)).square().sum().backward()
        optimizer.step()
        with torch.no_grad():
            twin[0].weight[:, step] = 0
    assert torch.equal(operations(sop)[0][2], torch.cat(want))


# ---- how it is run ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["no_grad", "inference_mode", "compiled", "submodule compiled", "train"])
def test_the_same_counts_however_it_is_run(how):
    net = spiking().eval()
    want = counted(net, frames(), frames(2, seed=5))
    if how == "compiled":
        torch._dynamo.reset()
        net.compile(backend="eager")
        net(frames())  # a compiled frame exists already
    if how == "submodule compiled":
        torch._dynamo.reset()
        net[2].compile(backend="eager")
        net(frames())
    if how == "train":
        net.train()
    context = {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode}.get(how, torch.enable_grad)
    with context():
        assert same(counted(net, frames(), frames(2, seed=5)), want)


def test_a_compiled_wrapper_counts_under_its_own_names():
    torch._dynamo.reset()
    net = spiking().eval()
    compiled = torch.compile(net, backend="eager")
    compiled(frames())
    sop = counted(compiled, frames())
    assert torch.equal(total(sop), total(counted(net, frames())))
    assert [name for name, *_ in operations(sop)] == ["_orig_mod.0", "_orig_mod.2", "_orig_mod.5"]


def test_autocast_counts_what_the_layer_sees():
    net, x = spiking().eval(), images() / 7
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), SopCounter(net) as sop:
        net(direct(x, T))
        net(direct(x, T))  # autocast hands out the weight it has cast for the first
    assert [(name, kind) for name, kind, *_ in operations(sop)] == [("0", "conv"), ("2", "conv"), ("5", "linear")]
    half = copy.deepcopy(net).bfloat16()
    with torch.no_grad():
        assert same(sop, counted(half, direct(x.bfloat16(), T), direct(x.bfloat16(), T)))


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


# ---- counts that neurons hand over --------------------------------------------------------------------------------


class Direct(nn.Module):
    """Neurons whose spikes go straight into linear layers, and some whose spikes do not."""

    def __init__(self, neuron=IFNode, between=None):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.node = layer.Linear(6, 8), neuron(v_threshold=0.3)
        self.second, self.third = layer.Linear(8, 6), nn.Linear(8, 4, bias=False)
        self.between = between or (lambda spikes: spikes)
        functional.set_step_mode(self, "m")

    def forward(self, x):
        spikes = self.between(self.node(self.first(x)))
        once = self.second(spikes), self.third(spikes)
        again = self.between(self.node(self.first(x * 0.5)))  # the same neuron, other spikes
        return *once, self.third(spikes), self.third(again)


class Halves(IFNode):
    def forward(self, x):
        return super().forward(x) * 0.5


def zero_some(spikes):
    spikes[:, :, ::2] = 0
    return spikes


def zero_some_data(spikes):
    spikes.data[:, :, ::2].zero_()
    return spikes


BETWEEN = {
    "nothing": None, "in place": zero_some, "in place on .data": zero_some_data, "scaled": lambda spikes: spikes * 2,
    "turned": lambda spikes: spikes.transpose(0, 1).contiguous().transpose(0, 1), "flipped": lambda s: s.flip(2),
}  # fmt: skip


@pytest.mark.parametrize("neuron", [IFNode, Halves])
@pytest.mark.parametrize("between", BETWEEN)
def test_counts_of_neurons_equal_a_pass_over_their_spikes(between, neuron, monkeypatch):
    batches = [torch.rand(T, n, 6, generator=torch.Generator().manual_seed(n)) for n in (3, 3, 2)]

    def run():
        with torch.no_grad(), SopCounter(net) as sop:
            for x in batches:
                net(x)
                asked.append(net.node.count_spikes)
        return sop

    asked, net = [], Direct(neuron, BETWEEN[between])
    passes = []
    monkeypatch.setattr(operators, "spike_count", lambda *args: passes.append(1) or ops.spike_count(*args))
    by_neuron = run()
    first_passes = len(passes)
    used = between in ("nothing", "turned") and neuron is IFNode
    assert asked == [int(used and between == "nothing")] * 3
    assert net.node.count_spikes == 0
    monkeypatch.setattr(Forward, "spiked", lambda *args: None)
    assert same(run(), by_neuron)
    assert (len(passes) - first_passes > first_passes) == (asked[0] == 1)


def test_neurons_are_asked_once_and_released_after_an_exception():
    net, x = Direct(), torch.rand(T, B, 6)
    with pytest.raises(KeyError), SopCounter(net) as outer, SopCounter(net) as inner:
        net(x)
        net(x)
        assert net.node.count_spikes == 2
        raise KeyError
    assert net.node.count_spikes == 0 and same(outer, inner) and same(outer, counted(net, x, x))


# ---- memory ----------------------------------------------------------------------------------------------------------


def test_no_activation_and_no_derived_weight_is_kept_alive():
    class Pruned(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.mask = nn.Parameter(torch.randn(6, 6)), torch.ones(6, 6)
            self.register_buffer("zeros", torch.ones(6, 6))
            self.seen = []

        def forward(self, x):
            weight, x = self.weight * self.zeros, x.view(1, -1, 6)
            self.seen += [weakref.ref(weight.untyped_storage()), weakref.ref(x)]
            padded = nn.functional.pad(x, (0, 0, 0, 1))[:, :-1]
            self.seen.append(weakref.ref(padded))
            return nn.functional.linear(padded[0], weight)

    net = Pruned()
    with torch.no_grad(), SopCounter(net) as sop:
        for _ in range(50):
            net(spikes(B, 6))
        gc.collect()
        assert not any(ref() is not None for ref in net.seen)
        assert len(sop._weights._derived._refs) + len(sop._weights._facts) < 5
    assert operations(sop)[0][:2] == ("", "linear")
