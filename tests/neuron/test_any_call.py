"""Any call of any neuron: an answer that both engines agree on, or a refusal that names what was wrong.

``SNNCORE_EXAMPLES=10000`` runs longer, with other examples every time.
"""

from __future__ import annotations

import copy
import inspect
import logging
import math
import os
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from neuron.cases import CHANNELS, ROWS, Row, margins, tensors
from snncore import surrogate
from snncore.errors import ArgumentError, SnncoreError, StateError
from snncore.neuron import BaseNode
from snncore.ops.neuron import state_dtype

WHY = "hypothesis is not installed: pip install 'snncore[test]'"
hypothesis = pytest.importorskip("hypothesis", reason=WHY)
st = pytest.importorskip("hypothesis.strategies", reason=WHY)

LONG = os.environ.get("SNNCORE_EXAMPLES")
SETTINGS = hypothesis.settings(
    max_examples=int(LONG or 250), deadline=None, database=None, derandomize=LONG is None,
    suppress_health_check=list(hypothesis.HealthCheck),
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def quiet():
    """Thousands of neurons say that they run on the torch engine."""
    log = logging.getLogger("snncore")
    log.addFilter(_not_about_engines)
    yield
    log.removeFilter(_not_about_engines)


def _not_about_engines(record):
    return "torch engine" not in record.getMessage()


FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
GOOD: dict[str, list[Any]] = {
    "v_threshold": [1.0, 0.5, 2, torch.tensor(0.8), torch.tensor([0.6, 0.8, 1.2]), torch.nn.Parameter(torch.ones(3))],
    "v_reset": [0.0, -0.25, None, "none", 1],
    "surrogate_function": [*(s() for s in surrogate.SURROGATES.values()), surrogate.Sigmoid(torch.tensor(2.0)),
                           surrogate.ATan(torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))),
                           surrogate.LeakyKReLU(0.5, 1.0)],
    "detach_reset": [True, False],
    "store_v_seq": [True, False],
    "step_mode": ["m", "s"],
    "engine": ["native", "torch", "auto"],
}  # fmt: skip
JUNK: list[Any] = [
    None, "", "many", -1, 0, 0.0, 1e-9, -0.5, math.nan, math.inf, -math.inf, True, [], [0.5], {"a": 1}, object(), 1j,
    10**400, torch.zeros(0), torch.ones(2, 2), torch.tensor(math.nan), torch.tensor([1, 2]), torch.sigmoid,
    surrogate.ATan, lambda u: u,
]  # fmt: skip


def accepted(cls: type[BaseNode]) -> dict[str, str]:
    """Return the arguments of ``cls`` and of every neuron, and what they are annotated with."""
    kinds = [p for c in (cls, BaseNode) for p in inspect.signature(c.__init__).parameters.values()]
    return {p.name: str(p.annotation) for p in kinds if p.name != "self" and p.kind != p.VAR_KEYWORD}


@dataclass
class Call:
    """What is called, drawn at random; printed when it fails."""

    row: Row
    changes: dict[str, Any] = field(default_factory=dict)
    junk: dict[str, Any] = field(default_factory=dict)
    dtype: Any = torch.float32
    steps: int = 2
    shape: tuple[int, ...] = (2, 3)
    layout: str = "contiguous"
    values: str = "usual"
    state: str = "none"
    backward: bool = True
    seed: int = 0

    def __repr__(self) -> str:
        parts = {k: v for k, v in vars(self).items() if k != "row"}
        return f"Call({self.row.name}, {', '.join(f'{k}={v!r}' for k, v in parts.items())})"


@st.composite
def calls(draw: Any) -> Call:
    row = ROWS[draw(st.sampled_from(sorted(ROWS)))]
    names = accepted(row.node)
    changes = {
        name: draw(st.sampled_from(GOOD[name]))
        for name in draw(st.lists(st.sampled_from(sorted(set(GOOD) & set(names))), max_size=4, unique=True))
    }
    junk = {}
    if draw(st.integers(0, 3)) == 0:
        # a flag takes anything that is true or false
        no_flags = [name for name, kind in names.items() if kind != "bool"]
        junk = {draw(st.sampled_from(no_flags)): draw(st.sampled_from(JUNK))}
    sizes = st.integers(0, 4) | st.sampled_from([1, 2, CHANNELS, 17, 65])
    free = draw(st.lists(sizes, min_size=0, max_size=4))
    shape = draw(
        st.sampled_from([tuple(free), (2, CHANNELS), (2, CHANNELS, *free[:2]), (0, CHANNELS, 2), (1, CHANNELS)])
    )
    return Call(
        row, changes, junk,
        dtype=draw(st.sampled_from([*FLOATS, *FLOATS, torch.int64, torch.bool, torch.complex64])),
        steps=draw(st.integers(0, 6)),
        shape=shape,
        layout=draw(st.sampled_from(["contiguous", "transposed", "expanded", "sliced", "every other", "reversed"])),
        values=draw(st.sampled_from(["usual", "usual", "large", "odd", "zero"])),
        state=draw(st.sampled_from(["none", "good", "wrong shape", "wrong dtype", "wrong count", "no tensor"])),
        backward=draw(st.booleans()),
        seed=draw(st.integers(0, 1000)),
    )  # fmt: skip


def laid_out(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Return a tensor of x's shape, the same values or fewer, in memory as the call says."""
    if call.layout == "transposed" and x.dim() > 1:
        return x.transpose(0, -1).contiguous().transpose(0, -1)
    if call.layout == "expanded":
        return x[:1].expand(x.shape) if x.shape[0] else x
    if call.layout == "sliced":
        return torch.cat((x, x, x))[x.shape[0] : 2 * x.shape[0]]
    if call.layout == "every other":
        return torch.stack((x, x + 1), -1)[..., 0] if x.dtype != torch.bool else x
    if call.layout == "reversed":
        order = tuple(range(x.dim() - 1, -1, -1))
        return x.permute(order).contiguous().permute(order)
    return x


def current(call: Call, step_mode: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(call.seed)
    shape = (call.steps, *call.shape) if step_mode == "m" else call.shape
    x = torch.randn(shape, generator=generator, dtype=torch.float64) + 0.5
    if call.values == "large":
        x = x * 1e4
    if call.values == "zero":
        x = x * 0
    if call.values == "odd" and x.numel():
        flat = x.view(-1)
        for value in (math.inf, -math.inf, math.nan, 1e30, -1e30, 1e-40):
            flat[int(torch.randint(len(flat), (), generator=generator))] = value
    x = x.to(call.dtype)
    return laid_out(call, x) if x.dim() else x


def initial(call: Call, node: BaseNode, x: torch.Tensor) -> Any:
    shape = x.shape[1:]
    good = [torch.full(shape, value + 0.25, dtype=state_dtype(x.dtype)) for value in node.rest()]
    if call.state == "wrong shape":
        return tuple(torch.zeros(*shape, 2, dtype=s.dtype) for s in good)
    if call.state == "wrong dtype":
        return tuple(s.to(torch.bfloat16) for s in good)
    if call.state == "wrong count":
        return (*good, good[0])
    return {"none": None, "good": tuple(good), "no tensor": (0.0,) * len(good)}[call.state]


def make(call: Call) -> BaseNode | None:
    """Return the neuron, or None where it is rightly refused."""
    try:
        arguments = {k: v for k, v in call.row.arguments.items() if k not in call.changes}
        return call.row.node(**copy.deepcopy({"step_mode": "m", **arguments, **call.changes}) | call.junk)
    except ArgumentError as error:
        text = str(error)
        also = {"surrogate_function": ["surrogate_alpha"], "spike_grad": ["surrogate_function"]}
        names = [*call.changes, *call.junk, *call.row.arguments]
        names += [other for name in names for other in also.get(name, [])]
        assert any(f"{call.row.node.__name__}.{name}: must " in text for name in names), text
        assert call.junk or _clash(call), f"refused: {text}"
        return None


def _clash(call: Call) -> bool:
    """A class may fix the reset, the surrogate or a sign of what others take."""
    return bool(set(call.changes) & {"v_reset", "surrogate_function", "v_threshold", "detach_reset"})


NO_CHANNELS = {"decay"}  # TSLIFNode's four weights: several, and none of a channel


def must_refuse(call: Call, node: BaseNode, x: torch.Tensor) -> tuple[type[SnncoreError], list[str]] | None:
    """Return the error that is due and the names of which one must stand in it, or None."""
    if x.dtype not in FLOATS or x.dim() < (2 if node.step_mode == "m" else 1):
        return ArgumentError, [".x"]
    if node.step_mode == "m" and call.state not in ("none", "good"):
        return (ArgumentError if call.state == "no tensor" else StateError), [".state"]
    step = x.shape[1:] if node.step_mode == "m" else x.shape
    wide = {name: t.numel() for name, t in tensors(node).items() if t.numel() > 1 and name not in NO_CHANNELS}
    wrong = [name for name, numel in wide.items() if len(step) < 2 or step[1] != numel]
    return (ArgumentError, [f".{name}" for name in wrong]) if wrong else None


def evaluate(call: Call, node: BaseNode, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Call forward or run, and backward; every tensor that came of it, under its name."""
    x = x.detach()
    if x.dtype in FLOATS:
        x.requires_grad_(call.backward)
    if node.step_mode == "s":
        spike_seq = torch.stack([node(x), node(x)])
        last = node.state
    elif call.state == "none" and call.seed % 2:
        spike_seq, last = node(x), ()
    else:
        spike_seq, last = node.run(x, initial(call, node, x))
    out = {"spike_seq": spike_seq} | {f"state {k}": s for k, s in enumerate(last)}
    if node.store_v_seq and node.v_seq is not None:
        out["v_seq"] = node.v_seq
    if call.backward and any(o.requires_grad for o in out.values()):
        leaves = {"x": x, **dict(node.named_parameters())}
        loss = sum((o * (k + 1)).sum(dtype=torch.float64) for k, o in enumerate(out.values()))
        found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        out |= {
            f"grad.{n}": g if g is not None else torch.zeros_like(leaves[n]) for n, g in zip(leaves, found, strict=True)
        }
    return {name: value.detach() for name, value in out.items()}


def agree(call: Call, node: BaseNode, x: torch.Tensor, native: dict[str, Any], plain: dict[str, Any]) -> None:
    if call.steps == 0:  # a loop over nothing leaves no graph behind it
        native = {key: value for key, value in native.items() if key in plain}
    assert native.keys() == plain.keys()
    for key, want in plain.items():
        got = native[key]
        assert got.shape == want.shape and got.dtype == want.dtype, f"{key}: {got.shape} {got.dtype}, {want.dtype}"
        # a NaN that came in may come out again: surrogates of the two engines drop it at different places
        if not (key.startswith("grad") and bool(x.isnan().any())):
            assert not (got.isnan() & ~want.isnan()).any(), f"{key}: a NaN that the torch engine does not have"
    finite = all(v.isfinite().all() for v in plain.values())
    spikes = native["spike_seq"], plain["spike_seq"]
    if not finite or not torch.equal(*spikes):
        if finite and x.dtype == torch.float64 and call.values != "large":
            assert near_threshold(call, node, x), "spikes differ away from the threshold"
        return  # half types and large values round differently at a threshold; test_engines_agree.py looks closely
    if call.values == "large" and isinstance(node.surrogate_function, surrogate.SquarewaveFourierSeries):
        return  # a periodic surrogate turns the last digits of a large margin into its phase
    eps = max(torch.finfo(x.dtype).eps, 1e-12) * 64 * (call.steps + 8) * call.row.error
    for key, want in plain.items():
        got, want = native[key].double(), want.double()
        size = max(float(want.abs().max()), 1.0) if want.numel() else 1.0
        if key.startswith("grad.") and want.numel() < x.numel():  # a parameter's: a sum of terms that are as large as x
            size = max(size, float(x.detach().nan_to_num().abs().max()))
        assert ((got - want).abs() <= eps * size * max(1.0, want.numel() / 100)).all(), key


def near_threshold(call: Call, node: BaseNode, x: torch.Tensor) -> bool:
    if node.step_mode == "s":
        return True
    state = initial(call, node, x)
    u = margins(node, x, None if state is None else torch.stack(state))
    return bool((u.abs() < 1e-12).any())


@SETTINGS
@hypothesis.given(calls())
def test_any_call(call):
    node = make(call)
    if node is None:
        return
    if call.junk:  # what is taken must be of use
        ((name, value),) = call.junk.items()
        good = (bool, int, float, str, torch.Tensor)
        assert value is None or isinstance(value, good), f"{name} = {value!r} was taken"
        assert not isinstance(value, float) or math.isfinite(value), f"{name} = {value!r} was taken"
        return
    full = state_dtype(call.dtype) if call.dtype in FLOATS else torch.float32
    node = node.to(full)
    x = current(call, node.step_mode)
    due = must_refuse(call, node, x)
    other = copy.deepcopy(node)
    other.engine = "torch"
    results = []
    for each in (node, other):
        try:
            results.append(evaluate(call, each, x))
        except SnncoreError as error:
            assert due is not None, f"refused: {error}"
            assert isinstance(error, due[0]) and any(name in str(error) for name in due[1]), error
        else:
            assert due is None, f"must be refused with {due}"
    if due is None:
        agree(call, node, x, *results)
