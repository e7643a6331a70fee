"""With the surrogate's smooth step as forward, backward is the true derivative: finite differences say so."""

from __future__ import annotations

import pytest
import torch

from neuron.cases import CHANNELS, ROWS, margins, run, surrogates

T, SHAPE = 3, (1, CHANNELS)
AWAY = 1e-3  # from every corner; finite differences step by 1e-6

# where a surrogate's gradient jumps, besides |u| = 0
CORNERS = {
    "piecewise_quadratic": lambda first, second: [1 / first],
    "piecewise_leaky_relu": lambda first, second: [first],
    "fake_numerical_gradient": lambda first, second: [1 / first],
    "log_tailed_relu": lambda first, second: [1.0],
    "multi_level": lambda first, second: [-first, second],
    "open_multi_level": lambda first, second: [-first, second],
    "rect": lambda first, second: [0.5 / first],
}


def smooth_node(row, surrogate, detach_reset=False):
    node = row.make(surrogate_function=surrogate, detach_reset=detach_reset, engine="native", store_v_seq=True)
    node.smooth = True
    return node


def smooth_inputs(node, name, surrogate):
    """Return x_seq and a state that keep every margin u away from the corners of this surrogate."""
    first, second = surrogate.numbers
    slopes = [first] if node.surrogate_alpha is None else node.surrogate_alpha.flatten().tolist()
    corners = torch.tensor([0.0, *(c for a in slopes for c in CORNERS.get(name, lambda first, second: [])(a, second))])
    threshold = torch.as_tensor(node.v_threshold).detach()
    if name == "straight_through":  # no corner anywhere; some rows hold a margin at 0 with it
        corners = torch.tensor([torch.inf])
    for seed in range(100):
        generator = torch.Generator().manual_seed(seed)
        x_seq = torch.randn(T, *SHAPE, generator=generator, dtype=torch.float64) * 0.8 + 0.5
        state = torch.randn(len(node.rest()), *SHAPE, generator=generator, dtype=torch.float64) * 0.4
        state += torch.tensor(node.rest(), dtype=torch.float64).view(-1, *(1,) * len(SHAPE))
        with torch.no_grad():
            _, _, v_seq = run(node, x_seq, state)
        # delayed resets jump where v is at threshold
        u = torch.cat([margins(node, x_seq, state).flatten(), (torch.cat([state[:1], v_seq]) - threshold).flatten()])
        if ((u.abs().unsqueeze(-1) - corners).abs() > AWAY).all():
            return x_seq, state
    raise AssertionError("no seed keeps away from the corners")


def hold(row, state):
    """Return a function that gives a state its value in ``state`` where the row holds it fixed."""
    held = torch.tensor([k in row.held for k in range(len(state))]).view(-1, *(1,) * len(SHAPE))
    value = state.detach().clone()
    return lambda s: torch.where(held, value, s)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_every_gradient(row):
    """To x_seq, the initial state and parameters, from spikes, the last state and v_seq, for every surrogate."""
    for name, surrogate in row.surrogates().items():
        node = smooth_node(row, surrogate)
        x_seq, state = (t.requires_grad_() for t in smooth_inputs(node, name, surrogate))
        fixed = hold(row, state)
        try:
            # the parameters are the node's own, moved in place
            torch.autograd.gradcheck(
                lambda x, s, *_, node=node, fixed=fixed: run(node, x, fixed(s)),
                (x_seq, state, *node.parameters()),
            )
        except RuntimeError as error:
            raise AssertionError(f"{name}: {error}") from None


def test_detach_reset_cuts_the_reset_alone():
    """gradcheck cannot see detach_reset; here the chain of two steps is differentiated by hand."""
    from snncore.neuron import IFNode

    for name, surrogate in surrogates().items():
        for v_reset in (0.25, None):
            x = torch.tensor([[0.7], [0.6]], dtype=torch.float64, requires_grad=True)
            node = IFNode(
                v_reset=v_reset, surrogate_function=surrogate, detach_reset=True, step_mode="m", store_v_seq=True
            )
            node.smooth = True
            v0 = torch.zeros(1, dtype=torch.float64)
            spike_seq, _, _ = node._run(x, (v0,))
            spike_seq[1].sum().backward()
            u = torch.tensor([0.7 - 1.0], dtype=torch.float64, requires_grad=True)
            s = surrogate.step(u).detach()
            dv_dh = 1 - s if v_reset is not None else torch.ones_like(s)
            v = (1 - s) * 0.7 + s * v_reset if v_reset is not None else 0.7 - s
            u1 = (v + 0.6 - 1.0).requires_grad_()
            surrogate.step(u1).sum().backward()
            torch.testing.assert_close(x.grad[1], u1.grad, msg=lambda m, name=name: f"{name}: {m}")
            torch.testing.assert_close(x.grad[0], u1.grad * dv_dh, msg=lambda m, name=name: f"{name}: {m}")
