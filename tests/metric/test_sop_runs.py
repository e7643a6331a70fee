"""What is not a forward, ways to run a net, counts that neurons hand over, and memory."""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
from sop_nets import B, T, counted, frames, images, plain, spikes, spiking
from sop_reading import operations, same, total
from torch import nn
from torch.utils.checkpoint import checkpoint

from snncore import functional, layer
from snncore.encoding import direct
from snncore.metric import SopCounter
from snncore.metric.sop.forward import Forward
from snncore.neuron import IFNode

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
    passes, count = [], Forward.count
    monkeypatch.setattr(Forward, "count", lambda f, *args: passes.append(args[2:] in ((), (None,))) or count(f, *args))
    by_neuron = run()
    first_passes = sum(passes)
    used = between in ("nothing", "turned") and neuron is IFNode
    assert asked == [int(used and between == "nothing")] * 3
    assert net.node.count_spikes == 0
    monkeypatch.setattr(Forward, "spiked", lambda *args: None)
    assert same(run(), by_neuron)
    assert (sum(passes) - first_passes > first_passes) == (asked[0] == 1)


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
