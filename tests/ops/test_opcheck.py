"""torch.library.opcheck on every op of the table: schema, fake kernel, autograd registration, and both under AOT."""

from __future__ import annotations

import pytest
import torch
from neuron.cases import weights

from snncore import ops
from snncore.ops.neuron import Dynamics, state_dtype

CHANNELS = 3
CONSTANTS = {"if": (), "lif": (0.25, 1.0), "leaky": (0.75, 0.0, 0.75)}  # as in csrc/neuron

# what the inputs look like: dtype, state, params, transposed, what is kept of state_last and v_seq
VARIANTS = {
    "plain": (torch.float32, False, False, False, (False, False)),
    "state": (torch.float64, True, False, False, (True, True)),
    "params": (torch.float32, False, True, True, (True, False)),
    "all": (torch.float64, True, True, True, (True, True)),
    "bfloat16": (torch.bfloat16, True, True, False, (False, True)),
    "float16": (torch.float16, False, False, True, (True, False)),
}


def test_table_is_covered():
    assert set(CONSTANTS) == set(ops.NEURON_TABLE)
    for name, (_, _, constants) in ops.NEURON_TABLE.items():
        assert len(CONSTANTS[name]) == constants


def dynamics(neuron: str, **changes) -> Dynamics:
    states, parameters, _ = ops.NEURON_TABLE[neuron]
    given = {
        "neuron": neuron, "numbers": (*[1.5] * parameters, *CONSTANTS[neuron]), "state_rest": (0.0,) * states,
        "v_threshold": 0.75, "reset": "hard", "v_reset": -0.25, "detach_reset": False, "surrogate": "atan",
        "surrogate_args": (2.0, 0.0), "smooth": False,
    }  # fmt: skip
    return Dynamics(**{**given, **changes})


def sample(neuron: str, variant: str, requires_grad: bool):
    """Return x_seq; state, params, inner; and what is kept."""
    dtype, with_state, with_params, transposed, keep = VARIANTS[variant]
    states, parameters, _ = ops.NEURON_TABLE[neuron]
    generator = torch.Generator().manual_seed(0)
    shape = (4, 2, CHANNELS, 5)
    x = torch.rand(shape[::-1] if transposed else shape, generator=generator).to(dtype)
    x = x.permute(3, 2, 1, 0) if transposed else x
    x = x.detach().requires_grad_(requires_grad)
    full = state_dtype(dtype)
    state = torch.rand((states, *shape[1:]), generator=generator).to(full).requires_grad_(requires_grad)
    params = 0.5 + torch.rand((parameters, CHANNELS), generator=generator).to(full)
    params.requires_grad_(requires_grad and parameters > 0)
    return x, (state if with_state else None, params if with_params and parameters else None, 5), keep


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("neuron", ops.NEURON_TABLE)
def test_forward(neuron, variant):
    x, rest, keep = sample(neuron, variant, requires_grad=True)
    op = getattr(torch.ops.snncore, f"{neuron}_forward").default
    done = torch.library.opcheck(op, (x, *rest, *dynamics(neuron).arguments, *keep))
    assert set(done.values()) == {"SUCCESS"} and len(done) == 4, done


@pytest.mark.parametrize(
    ("variant", "given"),
    [*((variant, "all") for variant in VARIANTS), ("all", "spikes"), ("state", "state"), ("params", "nothing wanted")],
)
@pytest.mark.parametrize("neuron", ops.NEURON_TABLE)
def test_backward(neuron, variant, given):
    x, rest, _ = sample(neuron, variant, requires_grad=False)
    g_spike, g_v, g_last = weights(x)
    g_last = g_last.unsqueeze(0)
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
    done = torch.library.opcheck(op, (*grads, x, *rest, *dynamics(neuron).arguments, want, want))
    assert set(done.values()) == {"SUCCESS"} and len(done) == 4, done


@pytest.mark.parametrize("neuron", ops.NEURON_TABLE)
def test_every_argument_arrives_at_its_place(neuron):
    """The ABI does not compare C++ types with the schema: a number that arrives elsewhere shows in the result."""
    x, (state, params, inner), _ = sample(neuron, "all", requires_grad=False)
    x = x.detach()
    states, parameters, constants = ops.NEURON_TABLE[neuron]
    numbers = dynamics(neuron).numbers

    def run(state=state, params=params, inner=inner, **changes):
        d = dynamics(neuron, **changes)
        spikes, _, v_seq = ops.multi_step(d, x, state, params, inner, keep_v_seq=True)
        ones = torch.ones_like(spikes)
        op = getattr(torch.ops.snncore, f"{neuron}_backward")
        grad = op(ones, None, ones, x, state, params, inner, *d.arguments, False, False)[0]
        return {"v_seq": v_seq, "grad": grad}

    def differs(changed, base, which):
        return {key for key in base if not torch.equal(changed[key], base[key])} >= {which}

    base = run()
    assert differs(run(v_threshold=0.5), base, "v_seq")
    assert differs(run(v_reset=-0.5), base, "v_seq")
    assert differs(run(reset="soft"), base, "v_seq")
    assert differs(run(reset="none"), base, "v_seq")
    assert differs(run(reset="none"), run(reset="soft"), "v_seq")
    assert differs(run(state=None), base, "v_seq")
    assert differs(run(detach_reset=True), base, "grad") and not differs(run(detach_reset=True), base, "v_seq")
    assert differs(run(surrogate="sigmoid"), base, "grad")
    assert differs(run(surrogate_args=(3.0, 0.0)), base, "grad")
    leaky = {"surrogate": "leaky_k_relu"}
    assert differs(run(**leaky, surrogate_args=(2.0, 1.0)), run(**leaky, surrogate_args=(2.0, 0.5)), "grad")
    assert differs(run(smooth=True), base, "v_seq")
    assert differs(run(state=None, state_rest=(0.5,) * states), run(state=None), "v_seq")
    if parameters:
        assert differs(run(inner=10), base, "v_seq")
        assert differs(run(params=params + 0.25), base, "v_seq")
        assert differs(run(params=None), base, "v_seq")
        same = {"params": None, "inner": 1}
        for k in range(parameters):
            changed = tuple(v + 0.5 * (i == k) for i, v in enumerate(numbers))
            assert differs(run(**same, numbers=changed), run(**same), "v_seq"), f"parameter {k}"
    for k in range(parameters, parameters + constants):
        changed = tuple(v + 0.5 * (i == k) for i, v in enumerate(numbers))
        if neuron == "lif" and k == parameters + 1:  # decay_input: 0 or 1
            changed = (*numbers[:k], 0.0)
        if neuron == "leaky" and k == parameters:  # its own threshold, seen by the delayed reset alone
            changed = (*numbers[:k], -1.0, *numbers[k + 1 :])
        assert differs(run(numbers=changed), base, "v_seq"), f"constant {k - parameters}"
