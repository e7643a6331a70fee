"""The penalty on firing rates: its value by hand, its gradients, and that nothing of it stays."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import distributed, nn
from torch.utils.checkpoint import checkpoint

from snncore import layer, neuron, surrogate
from snncore.errors import ArgumentError, ConfigError, StateError
from snncore.functional import reset_net, set_step_mode
from snncore.train import FiringRatePenalty, TrainConfig
from snncore.train.regularise import make_penalty

T, B = 4, 3


class Drawn(neuron.IFNode):
    """A neuron that fires what it is told, differentiably."""

    def forward(self, x):
        return x


def drawn(seed=0, shape=(T, B, 2, 5)):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(*shape, generator=generator) < 0.4).float()


def by_definition(spikes, strength, lower, upper, power, per):
    total = []
    for b in range(spikes.shape[1]):
        rates = spikes[:, b].flatten(1).mean(0).tolist()
        if per == "layer":
            rates = [sum(rates) / len(rates)]
        for rate in rates:
            beyond = max(lower - rate, 0.0) + (max(rate - upper, 0.0) if upper is not None else 0.0)
            total.append(beyond**power)
    return strength * sum(total) / len(total)


@pytest.mark.parametrize("per", ["neuron", "layer"])
@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize(("lower", "upper"), [(0.613, None), (0.0, 0.313), (0.0, 0.0), (0.287, 0.57), (0.47, 0.47)])
@pytest.mark.parametrize("mode", ["m", "s"])
def test_the_definition(per, power, lower, upper, mode):
    net = nn.Sequential(Drawn(step_mode=mode), Drawn(step_mode=mode))
    net[1].register_forward_pre_hook(lambda module, args: 1.0 - args[0])  # so that the layers differ
    spikes = drawn().requires_grad_()
    options = {"lower": lower, "upper": upper, "power": power, "per": per}
    with FiringRatePenalty(net, 0.7, **options) as rates:
        for x in [spikes] if mode == "m" else spikes:
            net(x)
    found = rates.penalty()
    expected = sum(by_definition(s, 0.7, **options) for s in (spikes.detach(), 1.0 - spikes.detach()))
    assert found.shape == () and found.dtype == torch.float32
    assert found.item() == pytest.approx(expected, rel=1e-5)
    found.backward()
    shifted = torch.zeros_like(spikes)
    shifted[1, 2, 0, 3] = step = 1e-3
    values = [
        sum(by_definition(s.double(), 0.7, **options) for s in (moved, 1.0 - moved))
        for moved in (spikes.detach() + shifted, spikes.detach() - shifted)
    ]
    # at a kink the two sides differ, and any value between them is right
    if (lower, upper) not in [(0.0, 0.0)]:
        assert spikes.grad[1, 2, 0, 3].item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=0.02, abs=1e-6)


def make(mode="m", engine="auto", kind=neuron.LIFNode):
    torch.manual_seed(0)
    net = nn.Sequential(
        layer.Linear(6, 8),
        kind(surrogate_function=surrogate.ATan(), engine=engine),
        layer.Linear(8, 5),
        kind(surrogate_function=surrogate.ATan(), engine=engine),
    )
    with torch.no_grad():
        for linear in (net[0], net[2]):
            linear.weight.mul_(4.0)  # so that all of it fires, but not always
    set_step_mode(net, mode)
    return net


def shown(seed=0):
    return torch.rand(T, B, 6, generator=torch.Generator().manual_seed(seed)) * 2


def penalised(net, call=None, x=None, **options):
    """Return the penalty and the gradients it alone gives."""
    net.zero_grad()
    call, x = call or net, shown() if x is None else x
    with FiringRatePenalty(net, **{"strength": 1.0, "lower": 0.4, "upper": 0.5, "per": "neuron"} | options) as rates:
        if net[1].step_mode == "m":
            call(x)
        else:
            for step in x:
                call(step)
    value = rates.penalty()
    value.backward()
    reset_net(net)
    return value.detach(), [None if p.grad is None else p.grad.clone() for p in net.parameters()]


def close(a, b):
    assert len(a) == len(b)
    for one, other in zip(a, b, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("mode", ["m", "s"])
def test_fused_and_plain_kernels_and_both_modes_agree(mode):
    value, grads = penalised(make("m", "torch"))
    other, theirs = penalised(make(mode, "native"))
    assert value > 0 and torch.allclose(value, other)
    close(grads, theirs)
    assert all(g.abs().sum() > 0 for g in grads)


def test_silent_neurons_learn_to_fire_and_busy_ones_to_rest():
    for bias, bounds in ((-0.5, {"lower": 0.3, "upper": None}), (5.0, {"upper": 0.2, "lower": 0.0})):
        net = make()
        nn.init.constant_(net[0].bias, bias)
        optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
        values = []
        for _ in range(150):
            optimizer.zero_grad()
            with FiringRatePenalty(net, **bounds) as rates:
                net(shown())
            found = rates.penalty()
            found.backward()
            values.append(found.item())
            optimizer.step()
        assert values[0] > 0.05 and values[-1] < 0.3 * values[0]


@pytest.mark.parametrize("kind", [neuron.TernaryIFNode, neuron.TernaryLIFNode])
def test_a_negative_spike_is_a_spike(kind):
    net = nn.Sequential(kind(step_mode="m", surrogate_function=surrogate.ATan()))
    x = torch.tensor([3.0, -3.0, 0.0]).expand(T, 1, 3).clone().requires_grad_()
    with FiringRatePenalty(net, lower=0.9, power=1, per="neuron") as rates:
        spikes = net(x)
    found = rates.penalty()
    assert (spikes[:, 0, 1] < 0).all() and (spikes[:, 0, 2] == 0).all()
    expected = torch.relu(0.9 - spikes.detach().abs().mean(0)).mean()
    torch.testing.assert_close(found.detach(), expected)
    found.backward()
    assert (x.grad[:, 0, 2] < 0).any(), "a silent neuron is pushed up"


def test_what_does_not_spike_or_is_left_out_does_not_count():
    net = nn.Sequential(make(), neuron.NonSpikingLIFNode(step_mode="m"))
    plain = make()
    x = shown()
    with FiringRatePenalty(net, lower=0.5) as a, FiringRatePenalty(plain, lower=0.5) as b:
        net(x)
        plain(x)
    assert torch.equal(a.penalty(), b.penalty())
    both = FiringRatePenalty(plain, lower=0.5)
    each = [FiringRatePenalty(plain, lower=0.5, exclude=(name,)) for name in ("1", "3")]
    for one in (both, *each):
        with one:
            plain(x)
    first, second = (one.penalty() for one in each)
    assert first != second
    torch.testing.assert_close(both.penalty(), first + second)


def test_nothing_stays():
    net = make()
    with contextlib.suppress(KeyError), FiringRatePenalty(net, lower=0.5) as rates:
        net(shown())
        assert len(net[1]._forward_hooks) == 1
        raise KeyError
    assert not any(module._forward_hooks for module in net.modules())
    net(shown())
    with pytest.raises(StateError, match="must follow a forward pass with gradients"):
        rates.penalty()
    with rates:
        net(shown())
        with pytest.raises(StateError, match="entered twice"), rates:
            pass
    rates.penalty()
    assert not rates._rates and not rates._counts


def test_each_penalty_is_of_what_came_since_the_last():
    net = make()
    first, _ = penalised(net, x=shown(0))
    second, _ = penalised(net, x=shown(1))
    assert first != second
    with FiringRatePenalty(net, lower=0.4, upper=0.5, per="neuron") as rates:
        net(shown(0))
        assert torch.equal(rates.penalty().detach(), first)
        with torch.no_grad():
            net(shown(2))  # an evaluation in between
        net(shown(1))
        assert torch.equal(rates.penalty().detach(), second)
        net(shown(0))
        net(shown(1))
        torch.testing.assert_close(rates.penalty().detach(), first + second)
        net(shown(0))
    with rates:  # forgets what was left
        net(shown(1))
    assert torch.equal(rates.penalty().detach(), second)


def test_under_autocast():
    net = make()
    with FiringRatePenalty(net, lower=0.4, upper=0.5, per="neuron") as rates, torch.autocast("cpu", torch.bfloat16):
        assert net(shown()).dtype == torch.bfloat16
        net.zero_grad()
        found = rates.penalty()
    assert found.dtype == torch.float32
    found.backward()
    assert all(p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in net.parameters())


def test_a_part_that_is_recomputed_counts_once():
    net = make()
    value, grads = penalised(net)
    x = shown().requires_grad_()
    net.zero_grad()
    with FiringRatePenalty(net, lower=0.4, upper=0.5, per="neuron") as rates:
        checkpoint(net, x, use_reentrant=False)
        found = rates.penalty()
        found.backward()  # runs the net once more, inside the block
        with pytest.raises(StateError, match="must follow a forward pass"):
            rates.penalty()
    assert torch.equal(found.detach(), value)
    close([p.grad for p in net.parameters()], grads)


def test_under_ddp(tmp_path):
    value, grads = penalised(make())
    net = make()
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(net)
        found, theirs = penalised(net, wrapped)
    finally:
        distributed.destroy_process_group()
    assert torch.equal(found, value)
    close(theirs, grads)


def test_a_compiled_net_gives_the_same_in_one_block_around_everything():
    value, grads = penalised(make())
    net = make()
    compiled = torch.compile(net, fullgraph=True)
    with FiringRatePenalty(net, lower=0.4, upper=0.5, per="neuron") as rates:
        for _ in range(3):
            net.zero_grad()
            compiled(shown())
            found = rates.penalty()
            found.backward()
            torch.testing.assert_close(found.detach(), value)
            close([p.grad for p in net.parameters()], grads)
            net.eval()
            with torch.no_grad():
                compiled(shown(1))
            net.train()
    compiled(shown())
    assert not rates._rates
    with FiringRatePenalty(net, lower=0.4) as late:
        compiled(shown())
    with pytest.raises(StateError, match="a compiled net: only ever in it"):
        late.penalty()


def test_strength_0_does_nothing_at_all():
    net = make()
    with make_penalty(net, TrainConfig()) as rates:
        net(shown())
        assert not any(module._forward_hooks for module in net.modules())
    assert rates.penalty() == 0.0
    assert make_penalty(nn.Linear(1, 1), TrainConfig()).penalty() == 0.0


def test_the_configuration_says_it_all():
    options = {"lower": 0.1, "upper": 0.2, "power": 1, "per": "neuron", "strength": 3.0}
    found = make_penalty(make(), TrainConfig(**{f"firing_rate_{name}": value for name, value in options.items()}))
    assert {name: getattr(found, name) for name in options} == options
    with pytest.raises(ConfigError, match=r"train.firing_rate_.*must have a bound, got neither"):
        make_penalty(make(), TrainConfig(firing_rate_strength=0.1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": -1.0}, "at least 0"),
        ({"lower": -0.1, "upper": 1.0}, "at least 0"),
        ({}, "must have a bound"),
        ({"lower": 0.5, "upper": 0.4}, r"upper: must be at least lower = 0.5, got 0.4"),
        ({"lower": 0.5, "power": 3}, "power: must be 1 or 2"),
        ({"lower": 0.5, "per": "net"}, "per: must be 'neuron' or 'layer'"),
        ({"lower": 0.5, "exclude": ("2",)}, r"exclude: must name spiking neurons of the net, got '2'"),
        ({"lower": 0.5, "exclude": ("1", "3")}, "must have spiking neurons to bound, got none"),
    ],
)
def test_what_cannot_be_used(options, message):
    with pytest.raises(ArgumentError, match=message):
        FiringRatePenalty(make(), **options)
