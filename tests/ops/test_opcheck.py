"""torch.library.opcheck on every op of the table: schema, fake kernel, autograd registration, and both under AOT."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from neuron.cases import CHANNELS, ROWS, V_THRESHOLD, inputs, start, weights

from snncore import ops
from snncore.neuron import BaseNode
from snncore.ops.neuron import Dynamics, state_dtype

# what the inputs look like: dtype, state, params, transposed; what is kept of state_last and v_seq, samples to count
VARIANTS = {
    "plain": (torch.float32, False, False, False, (False, False, None)),
    "state": (torch.float64, True, False, False, (True, True, 2)),
    "params": (torch.float32, False, True, True, (True, False, 1)),
    "all": (torch.float64, True, True, True, (True, True, 10)),
    "alpha": (torch.float64, False, "and alpha", False, (True, True, None)),
    "bfloat16": (torch.bfloat16, True, True, False, (False, True, 30)),
    "float16": (torch.float16, False, False, True, (True, False, None)),
}


def nodes(neuron: str) -> list[BaseNode]:
    """Return the neurons of the table that run this kernel, each with other switches."""
    return [row.make() for row in ROWS.values() if row.node.native == neuron]


def own(node: BaseNode) -> tuple[float, ...]:
    """Return the parameters of ``node`` as numbers."""
    return tuple(float(torch.as_tensor(c).detach().mean()) for c in node.coefficients().values())


def dynamics(node: BaseNode, **changes) -> Dynamics:
    given = node._dynamics((V_THRESHOLD, *own(node)))
    return replace(given, **changes)


def test_table_is_covered():
    for name, (states, parameters, constants) in ops.NEURON_TABLE.items():
        assert nodes(name), f"no row runs {name}"
        for node in nodes(name):
            assert (len(node.rest()), len(own(node)), len(node.constants())) == (states, parameters, constants), name


def sample(neuron: str, variant: str, requires_grad: bool):
    """Return dynamics; x_seq; state, params, inner; and what is kept."""
    dtype, with_state, with_params, transposed, keep = VARIANTS[variant]
    node = nodes(neuron)[len(variant) % len(nodes(neuron))]
    generator = torch.Generator().manual_seed(0)
    shape = (4, 2, CHANNELS, 5)
    x = torch.rand(shape[::-1] if transposed else shape, generator=generator).to(dtype)
    x = x.permute(3, 2, 1, 0) if transposed else x
    x = x.detach().requires_grad_(requires_grad)
    full = state_dtype(dtype)
    state = start(node, dtype, shape[1:]).to(full).requires_grad_(requires_grad)
    rows = [V_THRESHOLD, *own(node), 2.0] if with_params == "and alpha" else [V_THRESHOLD, *own(node)]
    params = torch.tensor(rows, dtype=full).view(-1, 1) * (0.75 + torch.rand(1, CHANNELS, generator=generator).to(full))
    params.requires_grad_(requires_grad)
    return dynamics(node), x, (state if with_state else None, params if with_params else None, 5), keep


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("neuron", ops.NEURON_TABLE)
def test_forward(neuron, variant):
    d, x, rest, keep = sample(neuron, variant, requires_grad=True)
    op = getattr(torch.ops.snncore, f"{neuron}_forward").default
    done = torch.library.opcheck(op, (x, *rest, *d.arguments, *keep))
    assert set(done.values()) == {"SUCCESS"} and len(done) == 4, done


@pytest.mark.parametrize(
    ("variant", "given"),
    [*((variant, "all") for variant in VARIANTS), ("all", "spikes"), ("state", "state"), ("params", "nothing wanted")],
)
@pytest.mark.parametrize("neuron", ops.NEURON_TABLE)
def test_backward(neuron, variant, given):
    d, x, rest, _ = sample(neuron, variant, requires_grad=False)
    g_spike, g_v, g_last = weights(x, ops.NEURON_TABLE[neuron][0])
    transposed = VARIANTS[variant][3]
    if transposed:  # gradients come in any layout too
        g_spike = g_spike.transpose(0, 1).contiguous().transpose(0, 1)
        g_v = g_v.transpose(1, 2).contiguous().transpose(1, 2)
    grads = {
        "all": (g_spike, g_last, g_v),
        "spikes": (g_spike, None, None),
        "state": (None, g_last, None),
        "nothing wanted": (g_spike, None, g_v),
    }[given]
    want = given != "nothing wanted"
    op = getattr(torch.ops.snncore, f"{neuron}_backward").default
    done = torch.library.opcheck(op, (*grads, x, *rest, *d.arguments, want, want))
    assert set(done.values()) == {"SUCCESS"} and len(done) == 4, done


def results(d: Dynamics, x, state=None, params=None, inner=1):
    """Return v_seq and the gradient of x, of spikes and potentials."""
    spikes, _, v_seq, _ = ops.multi_step(d, x, state, params, inner, keep_v_seq=True)
    ones = torch.ones_like(spikes)
    op = getattr(torch.ops.snncore, f"{d.neuron}_backward")
    return {"v_seq": v_seq, "grad": op(ones, None, ones, x, state, params, inner, *d.arguments, False, False)[0]}


def changed(a, b):
    return {key for key in a if not torch.equal(a[key], b[key])}


@pytest.mark.parametrize("neuron", ["if", "lif"])
def test_every_argument_arrives_at_its_place(neuron):
    """The ABI does not compare C++ types with the schema: a number that arrives elsewhere shows in the result."""
    node = ROWS[f"{neuron}-hard-0.25"].make()
    x, state = inputs(torch.float64, 4), start(node, torch.float64)
    params = (
        torch.tensor([V_THRESHOLD, *own(node)], dtype=torch.float64).view(-1, 1)
        * torch.tensor([1.0, 0.7, 1.2]).double()
    )

    def run(state=state, params=params, inner=5, **changes):
        return results(dynamics(node, **changes), x, state, params, inner)

    base = run()
    assert "v_seq" in changed(run(v_reset=-0.5), base)
    assert "v_seq" in changed(run(reset="soft"), base)
    assert "v_seq" in changed(run(reset="none"), base)
    assert "v_seq" in changed(run(reset="none"), run(reset="soft"))
    assert "v_seq" in changed(run(state=None), base)
    assert changed(run(detach_reset=True), base) == {"grad"}
    assert changed(run(detach_state=True), base) == {"grad"}
    assert changed(run(detach_state=True), run(detach_reset=True)) == {"grad"}
    assert changed(run(surrogate="atan"), base) == {"grad"}
    assert changed(run(surrogate_args=(3.0, 0.0)), base) == {"grad"}
    leaky = {"surrogate": "leaky_k_relu"}
    pair = run(**leaky, surrogate_args=(2.0, 1.0)), run(**leaky, surrogate_args=(2.0, 0.5))
    assert changed(*pair) == {"grad"}
    assert "v_seq" in changed(run(smooth=True), base)
    assert "v_seq" in changed(run(state=None, state_rest=(0.5,)), run(state=None))
    assert "v_seq" in changed(run(inner=1), base)
    for k in range(len(params)):
        other = params.clone()
        other[k] *= 0.5
        assert "v_seq" in changed(run(params=other), base), f"row {k}"
    assert "v_seq" in changed(run(params=None), base)
    alpha = torch.full((1, CHANNELS), 3.0, dtype=torch.float64)
    assert changed(run(params=torch.cat((params, alpha))), base) == {"grad"}


# what a kernel does not read, as csrc/neuron says
UNREAD = {"stbif": {("params", 0)}}


@pytest.mark.parametrize("neuron", ops.NEURON_TABLE)
def test_every_number_has_an_effect(neuron):
    """Each resting value, parameter and constant, by itself, with the switches of one row or another."""
    xs = [inputs(torch.float64, 5) * scale for scale in (2.0, V_THRESHOLD)]  # the second meets ties in units of it
    places = {"state_rest": 0, "params": 1, "constants": 2}
    idle = {(field, k) for field, i in places.items() for k in range(ops.NEURON_TABLE[neuron][i] + (i == 1))}
    idle -= UNREAD.get(neuron, set())
    for node in nodes(neuron):
        base = dynamics(node)
        was = [results(base, x) for x in xs]
        for field, k in sorted(idle):
            values = getattr(base, field)
            for value in (values[k] + 0.5, values[k] - 0.5, 0.5 * values[k], 0.0, 1.0):
                other = replace(base, **{field: (*values[:k], value, *values[k + 1 :])})
                if any(changed(results(other, x), w) for x, w in zip(xs, was, strict=True)):
                    idle.discard((field, k))
                    break
        if not idle:
            return
    raise AssertionError(f"without effect: {sorted(idle)}")
