"""What a neuron remembers and what it does not: kept state, reset, detach, copies, and the errors about them."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch

from neuron.cases import FEW, ROWS, close, evaluate, inputs
from snncore import functional, layer
from snncore.errors import SnncoreError, StateError
from snncore.neuron import NEURONS, IFNode, Leaky, LIFNode, ParametricLIFNode

few_rows = pytest.mark.parametrize("row", FEW, ids=lambda row: row.name)
each_engine = pytest.mark.parametrize("engine", ["native", "torch"])


@few_rows
@each_engine
def test_multi_step_leaves_nothing_behind(row, engine):
    node = row.make(torch.float32, engine=engine)
    x_seq = inputs(torch.float32)
    first = node(x_seq)
    assert node.state is None and node.v_seq is None
    assert node.v == node.rest()[0]
    assert torch.equal(node(x_seq), first)
    assert node(inputs(torch.float32, 3, (7, 3, 2))).shape == (3, 7, 3, 2)  # another batch needs no reset


@few_rows
@each_engine
def test_single_step_keeps_its_state_until_reset(row, engine):
    node = row.make(torch.float32, engine=engine, step_mode="s")
    x_seq = inputs(torch.float32)
    whole = row.make(torch.float32, engine=engine)(x_seq)
    assert node.v == node.rest()[0] and isinstance(node.v, float)
    for attempt in range(2):
        assert torch.equal(torch.stack([node(x) for x in x_seq]), whole), attempt
        assert len(node.state) == len(node.rest()) and node.v is node.state[0]
        assert all(s.shape == x_seq.shape[1:] for s in node.state)
        functional.reset_net(node)
        assert node.state is None and node.v == node.rest()[0]
    # run() neither takes nor touches the kept state
    node(x_seq[0])
    kept = node.state
    assert torch.equal(node.run(x_seq)[0], whole)
    assert node.state is kept


@few_rows
@each_engine
def test_rest_is_where_it_starts(row, engine):
    """No initial state is the same as one at rest."""
    node = row.make(torch.float64, engine=engine)
    x_seq = inputs(torch.float64)
    rest = tuple(torch.full(x_seq.shape[1:], value, dtype=torch.float64) for value in node.rest())
    got, want = node.run(x_seq), node.run(x_seq, rest)
    assert torch.equal(got[0], want[0])
    assert all(torch.equal(a, b) for a, b in zip(got[1], want[1], strict=True))


def test_a_hard_reset_goes_to_rest():
    for name, want in {"if-hard-0.25": -0.25, "if-hard": 0.0, "lif-soft": 0.0, "lif-none": 0.0}.items():
        assert ROWS[name].make().rest() == (want,)


@each_engine
def test_detach_keeps_the_value_and_cuts_the_graph(engine):
    node = LIFNode(engine=engine, store_v_seq=True)
    x = torch.full((4,), 0.4, requires_grad=True)
    node(x)
    value = node.v.clone()
    assert node.v.requires_grad
    functional.detach_net(node)
    assert torch.equal(node.v, value) and not node.v.requires_grad and not node.v_seq.requires_grad
    y = torch.full((4,), 0.4, requires_grad=True)
    node(y).sum().backward()
    assert x.grad is None and y.grad is not None
    IFNode().detach()  # nothing kept: nothing to do


@each_engine
def test_truncated_backpropagation_needs_no_reset(engine):
    node = ParametricLIFNode(engine=engine)
    for _ in range(3):
        node(torch.rand(4)).sum().backward()
        functional.detach_net(node)
    assert node.w.grad is not None


# ---- errors --------------------------------------------------------------------------------------------------------


@each_engine
@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda x: x[:1], "[1, 3]"),
        (lambda x: x.unsqueeze(-1), "[2, 3, 1]"),
        (lambda x: x.reshape(-1), "[6]"),
        (lambda x: x.double(), "torch.float64"),
        (lambda x: x.to("meta"), "meta"),
    ],
    ids=["batch", "dimension", "flat", "dtype", "device"],
)
def test_input_that_does_not_fit_the_kept_state(engine, change, text):
    node = LIFNode(engine=engine)
    x = torch.rand(2, 3)
    node(x)
    kept = node.state
    with pytest.raises(StateError, match=r"^LIFNode\.state: must fit x .*, got .*reset_net") as caught:
        node(change(x))
    assert text in str(caught.value)
    assert isinstance(caught.value, RuntimeError) and isinstance(caught.value, SnncoreError)
    assert node.state is kept, "the state was lost"
    node(x)
    node.reset()
    if engine == "torch" or text != "meta":
        node(change(x))


@each_engine
def test_half_and_float32_steps_share_a_float32_state(engine):
    node = IFNode(engine=engine)
    node(torch.rand(3).bfloat16())
    assert node.v.dtype == torch.float32
    assert node(torch.rand(3)).dtype == torch.float32


@each_engine
def test_run_refuses_a_state_that_does_not_fit(engine):
    node = LIFNode(engine=engine)
    x_seq = torch.rand(4, 2, 3)
    for state in (
        (torch.zeros(2, 4),),
        (torch.zeros(6),),
        (torch.zeros(2, 3).double(),),
        (torch.zeros(2, 3, device="meta"),),
    ):
        with pytest.raises(StateError, match=r"^LIFNode\.state: must fit x"):
            node.run(x_seq, state)
    for state in ((), (torch.zeros(2, 3), torch.zeros(2, 3)), torch.zeros(2, 3), 0.0, (0.0,)):
        with pytest.raises(SnncoreError, match="state"):  # wrong number of states, or no tuple of tensors
            node.run(x_seq, state)


@pytest.mark.parametrize("name", NEURONS)
def test_forgotten_reset(name):
    """backward a second time through kept state: the message names what was forgotten."""
    node = NEURONS[name]()
    x = torch.full((4,), 0.4, requires_grad=True)
    node(x).sum().backward()
    with pytest.raises(StateError, match="reset_net"):
        node(x).sum().backward()
    functional.reset_net(node)
    node(x).sum().backward()


def test_forgotten_reset_in_a_net():
    torch.manual_seed(0)
    net = torch.nn.Sequential(layer.Linear(4, 5), LIFNode(), layer.Linear(5, 3), Leaky(learn_beta=True))
    x = torch.rand(2, 4)
    for _ in range(2):
        net(x)
    net(x).sum().backward()
    with pytest.raises(StateError, match="reset_net"):
        net(x).sum().backward()
    functional.reset_net(net)
    net(x).sum().backward()


def test_backward_twice_through_one_call_is_torchs_own_affair_or_ours():
    """'m' keeps no state, so the advice must not be the only one; still it is an error and not silence."""
    node = LIFNode(step_mode="m")
    x = torch.rand(3, 4, requires_grad=True)
    loss = node(x).sum()
    loss.backward()
    with pytest.raises(RuntimeError, match="time"):
        loss.backward()


def test_retain_graph_is_allowed():
    node = LIFNode(step_mode="m")
    x = torch.rand(3, 4, requires_grad=True)
    loss = node(x).sum()
    loss.backward(retain_graph=True)
    once = x.grad.clone()
    loss.backward()
    assert torch.equal(x.grad, 2 * once)


def test_changing_x_in_place_is_noticed():
    node = LIFNode(step_mode="m", engine="native")
    x = torch.rand(3, 4, requires_grad=True)
    y = x * 1
    loss = node(y).sum()
    y.mul_(2)
    with pytest.raises(RuntimeError, match="inplace"):
        loss.backward()


# ---- not a parameter, not a buffer, not in a copy --------------------------------------------------------------------


def live_net():
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        layer.Linear(4, 5), LIFNode(store_v_seq=True), layer.Linear(5, 3), ParametricLIFNode(), Leaky(), IFNode()
    )
    net(torch.rand(2, 4))
    assert all(m.state is not None for m in net.modules() if isinstance(m, tuple(NEURONS.values())))
    return net


def test_state_is_no_part_of_the_module():
    net = live_net()
    assert set(net.state_dict()) == {"0.weight", "0.bias", "2.weight", "2.bias", "3.w"}
    assert not list(net.buffers())
    net.load_state_dict(net.state_dict())
    net.double()  # does not touch kept state: the next step says what to do
    with pytest.raises(StateError, match="reset_net"):
        net(torch.rand(2, 4).double())


def clones(net):
    yield "deepcopy", copy.deepcopy(net)
    yield "copy", copy.copy(net)
    yield "pickle", pickle.loads(pickle.dumps(net))
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    yield "torch.save", torch.load(file, weights_only=False)


def test_copies_of_a_live_net_start_from_rest():
    net = live_net()
    x = torch.rand(7, 4)
    fresh = live_net()
    functional.reset_net(fresh)
    want = fresh(x)
    for what, clone in clones(net):
        if what == "copy":  # shares its modules, as torch's shallow copies do
            continue
        for module in clone.modules():
            if isinstance(module, tuple(NEURONS.values())):
                assert module.state is None and module.v_seq is None, what
        assert torch.equal(clone(x), want), what
        assert all(
            torch.equal(a, b) for a, b in zip(clone.state_dict().values(), net.state_dict().values(), strict=True)
        )
    assert net[1].state is not None, "copying took the state from the original"


def test_copy_of_a_single_node():
    node = LIFNode()
    node(torch.rand(3, requires_grad=True))
    assert copy.copy(node).state is None
    assert node.state is not None


# ---- v_seq -----------------------------------------------------------------------------------------------------------


@few_rows
@each_engine
def test_v_seq(row, engine):
    x_seq = inputs(torch.float32)
    want = evaluate(row.make(torch.float32, engine=engine), x_seq)["v_seq"]
    node = row.make(torch.float32, engine=engine, store_v_seq=True)
    for _ in range(2):  # not appended to from call to call
        node(x_seq)
        assert torch.equal(node.v_seq, want)
    single = row.make(torch.float32, engine=engine, store_v_seq=True, step_mode="s")
    for t, x in enumerate(x_seq):
        single(x)
        assert torch.equal(single.v_seq, want[: t + 1])
    single.reset()
    assert single.v_seq is None
    off = row.make(torch.float32, engine=engine)
    off(x_seq)
    assert off.v_seq is None


def test_arguments_changed_later_take_effect_on_both_engines():
    x_seq = inputs(torch.float64)
    for engine in ("native", "torch"):
        node = LIFNode(step_mode="m", engine=engine)
        node(x_seq)
        for name, value in (
            ("v_threshold", 0.5), ("v_reset", 0.25), ("v_reset", 1), ("v_reset", None), ("v_reset", "none"),
            ("tau", 3.0), ("v_rest", 0.25), ("decay_input", False), ("detach_reset", True),
        ):  # fmt: skip
            setattr(node, name, value)
            made = LIFNode(
                node.tau, node.decay_input, v_rest=node.v_rest, v_threshold=node.v_threshold, v_reset=node.v_reset,
                detach_reset=node.detach_reset, step_mode="m", engine="torch",
            )  # fmt: skip
            got, want = evaluate(node, x_seq), evaluate(made, x_seq)
            for key in want:
                close(f"{engine}, {name}: {key}", got[key], want[key], 1e-12)


@each_engine
def test_leaky_follows_its_beta(engine):
    """A loaded or changed beta is the one in use, on both engines and in every dtype."""
    x_seq = inputs(torch.float32, 8, (4, 3))
    for beta in (torch.tensor(0.9), torch.tensor([0.9, 0.9, 0.9])):
        for learn in (False, True):
            node = Leaky(beta, learn_beta=learn, step_mode="m", engine=engine)
            node(x_seq)
            node.load_state_dict({"beta": torch.full_like(beta, 0.3)})
            assert torch.equal(node(x_seq), Leaky(torch.full_like(beta, 0.3), step_mode="m", engine="torch")(x_seq))
            with torch.no_grad():
                node.beta.fill_(0.6)
            assert torch.equal(node(x_seq), Leaky(torch.full_like(beta, 0.6), step_mode="m", engine="torch")(x_seq))
    fixed = Leaky(0.9, step_mode="m", engine=engine)
    fixed(x_seq)
    fixed.beta = 0.3
    assert torch.equal(fixed(x_seq), Leaky(0.3, step_mode="m", engine="torch")(x_seq))


def test_every_row_is_reset_by_reset_net():
    for row in ROWS.values():
        node = row.make(torch.float32, step_mode="s")
        node(inputs(torch.float32)[0])
        functional.reset_net(node)
        assert node.state is None
