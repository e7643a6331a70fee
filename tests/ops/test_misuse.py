"""torch.ops.snncore called directly and wrongly: a RuntimeError that names op and argument, never foreign memory."""

from __future__ import annotations

import pytest
import torch

from snncore import ops
from snncore.neuron import IFNode, LIFNode

T, B, C, L = 4, 2, 3, 5
N = B * C * L
X = torch.rand(T, B, C, L)
# numbers of lif: rest; v_threshold, rate; v_rest, decay_input; v_reset, a, b
ARGUMENTS = {
    "x_seq": X,
    "state_init": torch.zeros(1, B, C, L),
    "params": torch.full((2, C), 0.5),
    "inner": L,
    "numbers": [0.0, 1.0, 0.5, 0.0, 1.0, 0.0, 4.0, 0.0],
    "reset": 0,
    "detach_reset": False,
    "detach_state": False,
    "surrogate": 0,
    "smooth": False,
}
GRADS = {
    "grad_spike_seq": torch.ones_like(X),
    "grad_state_last": torch.ones(1, B, C, L),
    "grad_v_seq": torch.ones_like(X),
}


def forward(**changes):
    wants = {"keep_state": True, "keep_v_seq": True, "samples": B}
    return torch.ops.snncore.lif_forward(**{**ARGUMENTS, **wants, **changes})


def backward(**changes):
    wants = {"want_grad_state": True, "want_grad_params": True}
    return torch.ops.snncore.lif_backward(**{**GRADS, **ARGUMENTS, **wants, **changes})


def test_the_arguments_above_are_good():
    spikes, last, v_seq, count = forward()
    assert torch.equal(count, (spikes != 0).flatten(2).sum(2))
    assert spikes.shape == v_seq.shape == X.shape and last.shape == (1, B, C, L)
    grad_x, grad_state, grad_params = backward()
    assert grad_x.shape == X.shape and grad_state.shape == (1, B, C, L) and grad_params.shape == (2, C)
    schema = str(torch.ops.snncore.lif_forward.default._schema)
    assert all(f" {name}" in schema for name in ARGUMENTS)


BOTH = {
    "x_seq": [
        X.long(), X.bool(), X.to(torch.complex64), torch.tensor(1.0), X.to(torch.float8_e4m3fn),
        X.double(),  # beside float32 states
    ],
    "state_init": [
        torch.zeros(1, B, C, L + 1), torch.zeros(1, B, C), torch.zeros(0), torch.zeros(2, B, C, L),
        torch.zeros(1, B, C, L).double(), torch.zeros(1, B, C, L).bfloat16(), torch.zeros(1, B, C, L).int(),
        torch.zeros(1, B, C, L, device="meta"),
    ],
    "params": [
        torch.full((2, C), 0.5).double(), torch.full((2, C), 0.5).half(), torch.full((C,), 0.5),
        torch.full((1, C), 0.5), torch.full((4, C), 0.5), torch.full((0, C), 0.5), torch.full((2, 0), 0.5),
        torch.full((2, C, 1), 0.5), torch.full((2, C + 1), 0.5), torch.full((3, C + 1), 0.5),
        torch.full((2, N + 1), 0.5), torch.tensor(0.5), torch.full((2, C), 0.5, device="meta"),
    ],
    "inner": [0, -1, -L, 7, N, 2**31, 2**62, 2**63 - 1, -(2**63)],
    "numbers": [[], [0.0] * 7, [0.0] * 9, [0.0] * 1000],
    "reset": [-1, 3, 2**40, -(2**63)],
    "surrogate": [-1, len(ops.SURROGATE_NAMES), 99, 2**32, -(2**63)],
    "smooth": [True],  # float32 x
}  # fmt: skip
ONLY_BACKWARD = {
    "grad_spike_seq": [
        torch.ones(T, B, C, L - 1), torch.ones(B, T, C, L), torch.ones(T, N), torch.ones(N, T), torch.ones(T * N),
        torch.ones(T, B, L, C), torch.ones(T + 1, B, C, L), torch.ones(0, B, C, L), torch.ones_like(X).double(),
        torch.ones_like(X).bfloat16(), torch.ones_like(X, device="meta"), torch.ones(1, 1, 1, 1),
    ],
    "grad_state_last": [
        torch.ones(1, B, C), torch.ones(2, B, C, L), torch.ones(1, B, C, L).double(), torch.ones(0),
        torch.ones(1, B, C, L, device="meta"),
    ],
    "grad_v_seq": [
        torch.ones(T - 1, B, C, L), torch.ones_like(X).double(), torch.ones_like(X).half(), torch.ones(0),
        torch.ones_like(X, device="meta"),
    ],
}  # fmt: skip
CALLS = [
    *((forward, name, value) for name, values in BOTH.items() for value in values),
    *((backward, name, value) for name, values in {**BOTH, **ONLY_BACKWARD}.items() for value in values),
]


def described(value):
    if isinstance(value, torch.Tensor):
        return f"{list(value.shape)}-{value.dtype}-{value.device}"
    return f"{len(value)} numbers" if isinstance(value, list) else getattr(value, "__name__", str(value))


@pytest.mark.parametrize(("call", "name", "value"), CALLS, ids=described)
def test_wrong_argument(call, name, value):
    with pytest.raises(RuntimeError) as caught:
        call(**{name: value})
    text = str(caught.value)
    assert f"snncore::lif_{call.__name__}" in text, text
    also = {"x_seq": ("state_init", "params", "grad_spike_seq"), "params": ("inner",)}.get(name, ())
    assert any(f"snncore::lif_{call.__name__}.{n}" in text for n in (name, *also)), text


def test_a_gradient_of_the_wrong_shape_and_the_right_size():
    """Rows would be read with strides of another tensor, past its end."""
    x = torch.rand(6, 4)
    plain = {"x_seq": x, "state_init": None, "params": None, "inner": 1, "grad_state_last": None, "grad_v_seq": None}
    for shape in ((4, 6), (3, 8), (8, 3), (2, 12), (24, 1), (1, 24)):
        with pytest.raises(RuntimeError, match=r"lif_backward\.grad_spike_seq"):
            backward(**plain, grad_spike_seq=torch.ones(shape))


def test_channels_that_do_not_divide_the_lanes():
    x = torch.rand(3, 4)
    plain = {"x_seq": x, "state_init": None}
    none = {"grad_spike_seq": torch.ones_like(x), "grad_state_last": None, "grad_v_seq": None}
    for channels, inner in ((3, 1), (8, 1), (5, 1), (2, 3), (1, 3), (4, 2), (2, 2**62), (2**10, 2**60)):
        for call, more in ((forward, {}), (backward, none)):
            with pytest.raises(RuntimeError, match=r"lif_(forward|backward)\.(inner|params)"):
                call(**plain, **more, params=torch.full((2, channels), 0.5), inner=inner)
    for channels, inner in ((1, 1), (1, 4), (4, 1), (2, 2), (2, 1), (1, 2)):
        assert forward(**plain, params=torch.full((2, channels), 0.5), inner=inner)[0].shape == x.shape


def test_python_checks_types_before_the_op():
    for changes in (
        {"x_seq": None},
        {"x_seq": [1.0]},
        {"numbers": "0"},
        {"reset": "hard"},
        {"inner": 1.5},
        {"smooth": "no"},
    ):
        with pytest.raises((RuntimeError, TypeError)):
            forward(**changes)
    with pytest.raises((RuntimeError, TypeError)):
        torch.ops.snncore.lif_forward(X)
    with pytest.raises(AttributeError):
        torch.ops.snncore.no_such_neuron_forward(X)


def test_other_kinds_of_tensors():
    for x in (torch.eye(4).to_sparse(), torch.quantize_per_tensor(torch.rand(4, 4), 0.1, 0, torch.qint8)):
        with pytest.raises((RuntimeError, NotImplementedError)):
            torch.ops.snncore.if_forward(
                x, None, None, 1, [0.0, 1.0, 0.0, 4.0, 0.0], 0, False, False, 0, False, True, True, None
            )
    meta = forward(**{k: v.to("meta") for k, v in ARGUMENTS.items() if isinstance(v, torch.Tensor)})
    assert all(t.device.type == "meta" for t in meta) and meta[0].shape == X.shape


def test_params_of_a_neuron_without_parameters():
    """IF has none of its own: v_threshold alone, or with alpha."""
    arguments = (1, [0.0, 1.0, 0.0, 4.0, 0.0], 0, False, False, 0, False, True, True, None)
    for shape in ((0, 1), (3, 1), (3, N), (1, N + 1)):
        with pytest.raises(RuntimeError, match=r"if_forward\.(params|inner)"):
            torch.ops.snncore.if_forward(X, None, torch.ones(shape), *arguments)
    for shape in ((1, 1), (2, 1), (1, N), (2, N)):
        assert torch.ops.snncore.if_forward(X, None, torch.ones(shape), *arguments)[0].shape == X.shape


def test_too_large_to_allocate():
    """The allocator's own error, not an overflow."""
    x = torch.zeros(1).expand(2**20, 2**40)
    with pytest.raises((RuntimeError, MemoryError)):
        IFNode(step_mode="m", engine="native")(x)


def test_other_numbers_do_no_harm():
    """Numbers without sense give numbers without sense: spikes are still 0 or 1, and nothing crashes."""
    nan, inf = float("nan"), float("inf")
    for odd in (nan, inf, -inf, 0.0, 1e300, -1e300):
        for place in range(8):
            numbers = list(ARGUMENTS["numbers"])
            numbers[place] = odd
            for surrogate in range(len(ops.SURROGATE_NAMES)):
                spikes = forward(numbers=numbers, surrogate=surrogate)[0]
                assert ((spikes == 0) | (spikes == 1)).all()
                if ops.SURROGATE_NAMES[surrogate] != "squarewave_fourier_series":  # its a is a count of terms
                    backward(numbers=numbers, surrogate=surrogate)
    for odd in (nan, inf, -inf, 0.0, -1.0, 1e30):  # the same in every row of params, alpha included
        for row in range(3):
            params = torch.full((3, C), 0.5)
            params[row, 1] = odd
            for surrogate in range(len(ops.SURROGATE_NAMES)):
                if ops.SURROGATE_NAMES[surrogate] == "squarewave_fourier_series":
                    continue
                spikes = forward(params=params, surrogate=surrogate)[0]
                assert ((spikes == 0) | (spikes == 1)).all()
                assert backward(params=params, surrogate=surrogate)[2].shape == (3, C)
    x = torch.tensor([[nan, inf, -inf, 1e38, -1e38]]).repeat(3, 1)
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        spikes = LIFNode(step_mode="m", engine="native")(x.to(dtype))
        assert ((spikes == 0) | (spikes == 1)).all()
        assert spikes[0, 0] == 0 and spikes[0, 1] == 1 and spikes[0, 2] == 0


def test_a_count_of_terms_without_sense_ends():
    """squarewave_fourier_series takes its number of terms as a float: NaN, inf and negative must not crash."""
    square = ops.SURROGATE_NAMES.index("squarewave_fourier_series")
    for n in (float("nan"), float("inf"), -float("inf"), -1e300, -3.0, 0.0, 1.0):
        numbers = [*ARGUMENTS["numbers"][:6], n, 8.0]
        assert backward(numbers=numbers, surrogate=square)[0].shape == X.shape
