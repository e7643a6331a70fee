"""torch.library.opcheck on every op of the table: schema, fake kernel, autograd registration, and both under AOT."""

from __future__ import annotations

import pytest
import torch
from neuron.cases import weights

from snncore import ops
from snncore.ops.neuron import SURROGATE_NAMES, state_dtype

CHANNELS = 3
CONSTANTS = {"if": (), "lif": (0.25, 1.0), "leaky": (0.75, 0.0, 0.75)}  # as in csrc/neuron
RESET_HARD = 0

# what the inputs look like: dtype, state, params, transposed, keep_v_seq
VARIANTS = {
    "plain": (torch.float32, False, False, False, False),
    "state": (torch.float64, True, False, False, True),
    "params": (torch.float32, False, True, True, False),
    "all": (torch.float64, True, True, True, True),
    "bfloat16": (torch.bfloat16, True, True, False, True),
    "float16": (torch.float16, False, False, True, False),
}


def test_table_is_covered():
    assert set(CONSTANTS) == set(ops.NEURON_TABLE)
    for name, (_, _, constants) in ops.NEURON_TABLE.items():
        assert len(CONSTANTS[name]) == constants


def sample(neuron: str, variant: str, requires_grad: bool):
    """Return x_seq and the rest of the dynamics, in the order of the schema."""
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
    rest = (
        state if with_state else None,
        params if with_params and parameters else None,
        5,
        [0.0] * states,
        [1.5] * parameters + list(CONSTANTS[neuron]),
        0.75, RESET_HARD, -0.25, False, SURROGATE_NAMES.index("atan"), [2.0, 0.0], False,
    )  # fmt: skip
    return x, rest, keep


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("neuron", ops.NEURON_TABLE)
def test_forward(neuron, variant):
    x, rest, keep = sample(neuron, variant, requires_grad=True)
    done = torch.library.opcheck(getattr(torch.ops.snncore, f"{neuron}_forward").default, (x, *rest, keep))
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
    done = torch.library.opcheck(op, (*grads, x, *rest, want, want))
    assert set(done.values()) == {"SUCCESS"} and len(done) == 4, done


@pytest.mark.parametrize("neuron", ops.NEURON_TABLE)
def test_schema_passes_every_number_to_its_place(neuron):
    """The ABI does not compare C++ types with the schema: a number that arrives as another shows in the result."""
    x, rest, _ = sample(neuron, "all", requires_grad=False)
    op = getattr(torch.ops.snncore, f"{neuron}_forward")
    base = op(x, *rest, True)
    names = ["state_init", "params", "inner", "state_rest", "numbers", "v_threshold", "reset", "v_reset"]
    other = {
        "state_init": None, "params": None if ops.NEURON_TABLE[neuron][1] else "-", "inner": 10, "state_rest": "-",
        "numbers": [v + 0.5 for v in rest[4]] if rest[4] else "-", "v_threshold": 0.5, "reset": 1, "v_reset": -0.5,
    }  # fmt: skip
    for place, name in enumerate(names):
        if isinstance(other[name], str) or (name == "inner" and not ops.NEURON_TABLE[neuron][1]):
            continue
        changed = list(rest)
        changed[place] = other[name]
        if name in ("numbers", "params"):  # a tensor of params stands before the numbers
            changed[1] = None
        if name == "inner":
            changed[1] = rest[1]
        assert not torch.equal(op(x, *changed, True)[2], base[2]), f"{name} has no effect"
