"""Which operators are counted, whoever calls them; what is a weight; and that the rest is named, not silently zero."""

from __future__ import annotations

import math
import re

import pytest
import torch
import torch.nn.functional as F
from sop_reading import operations, same, total
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

from snncore.errors import StateError
from snncore.metric import SopCounter
from snncore.metric.sop import operators

B, N, D = 3, 5, 8


def spikes(*shape, rate=0.4, seed=0):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < rate).float()


def mask(t: Tensor) -> Tensor:
    return (t != 0).double()


class Net(nn.Module):
    """A net whose forward is a function of itself and its input."""

    def __init__(self, run, **parameters):
        super().__init__()
        self.run = run
        for name, value in parameters.items():
            setattr(self, name, value if isinstance(value, nn.Module) else nn.Parameter(value))

    def forward(self, *x):
        return self.run(self, *x)


def counted(net, *x, **options):
    with torch.no_grad(), SopCounter(net, **options) as sop:
        net(*x)
    return sop


def missing(sop):
    return dict(sop.record.uncounted)


WEIGHT = torch.randn(D, 6, generator=torch.Generator().manual_seed(1)) * (spikes(D, 6, rate=0.7, seed=2))


# ---- functional calls of a linear layer ------------------------------------------------------------------------------

LINEAR = {
    "F.linear": lambda net, x: F.linear(x, net.w.t()),
    "F.linear with bias": lambda net, x: F.linear(x, net.w.t(), net.b),
    "matmul": lambda net, x: torch.matmul(x, net.w),
    "@": lambda net, x: x @ net.w,
    "@ contiguous copy": lambda net, x: x.flip(0).flip(0) @ net.w,
    "einsum": lambda net, x: torch.einsum("bnd,de->bne", x, net.w),
    "einsum, output turned": lambda net, x: torch.einsum("bnd,de->ben", x, net.w),
    "tensordot": lambda net, x: torch.tensordot(x, net.w, 1),
    "bmm, weight expanded": lambda net, x: torch.bmm(x, net.w.expand(len(x), -1, -1)),
    "weight on the left": lambda net, x: net.w.t() @ x.transpose(1, 2),
    "mm, tokens folded": lambda net, x: x.flatten(0, 1).mm(net.w),
    "mm, out=": lambda net, x: torch.mm(x.flatten(0, 1), net.w, out=x.new_empty(len(x) * N, 6)),
    "addmm_": lambda net, x: x.new_zeros(len(x) * N, 6).addmm_(x.flatten(0, 1), net.w),
    "conv1d of width 1": lambda net, x: F.conv1d(x.transpose(1, 2), net.w.t().unsqueeze(2)),
    "unfold and mm": lambda net, x: F.linear(x.unfold(1, 1, 1).squeeze(-1), net.w.t()),
}


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("call", LINEAR)
def test_every_way_to_write_a_linear_layer(call, inference):
    net, x = Net(LINEAR[call], w=WEIGHT.clone(), b=torch.randn(6)), spikes(B, N, D)
    with torch.inference_mode(inference), torch.no_grad(), SopCounter(net) as sop:
        net(x)
    assert not missing(sop)
    ((_, kind, ac, mac),) = operations(sop)
    assert torch.equal(ac, (mask(x) @ mask(WEIGHT)).sum((1, 2))) and not mac.any(), kind


def test_tokens_that_come_before_the_samples():
    net, x = Net(lambda net, x: F.linear(x.transpose(0, 1), net.w.t()), w=WEIGHT.clone()), spikes(B, N, D)
    ((*_, ac, _),) = operations(counted(net, x))
    assert torch.equal(ac, (mask(x) @ mask(WEIGHT)).sum((1, 2)))


def test_rows_that_may_be_samples_by_steps_are_named():
    net = Net(lambda net, x: F.linear(x.transpose(0, 1), net.w.t()), w=WEIGHT.clone())
    sop = counted(net, spikes(4, B, D), batch_dim=1)
    assert "put the steps first" in missing(sop)["", "linear"] and not sop.record.layers


def test_windows_folded_into_the_batch():
    def run(net, x):
        return F.conv2d(windows(x), net.w)

    net, x = Net(run, w=torch.randn(3, 2, 3, 1)), spikes(B, 2, 8)
    ((*_, ac, _),) = operations(counted(net, x))
    ones = torch.ones(3, 2, 3, 1)
    assert torch.equal(ac, F.conv2d(windows(x), ones).view(B, -1).sum(1).double())


def windows(x):
    return x.unfold(2, 4, 4).permute(0, 2, 1, 3).reshape(-1, 2, 4, 1)


def last(x):
    return x.to(memory_format=torch.channels_last)


CONV = {
    "F.conv2d": (lambda net, x: F.conv2d(x, net.w, padding=1), {"padding": 1}),
    "same": (lambda net, x: F.conv2d(x, net.w, padding="same"), {"padding": 1}),
    "F.pad before": (lambda net, x: F.conv2d(F.pad(x, (1, 1, 1, 1)), net.w), {"padding": 1}),
    "channels_last": (lambda net, x: F.conv2d(last(x), net.w, padding=1), {"padding": 1}),
    "strided view": (lambda net, x: F.conv2d(x.repeat(1, 1, 2, 2)[:, :, ::2, ::2].contiguous(), net.w), {}),
    "cut out": (lambda net, x: F.conv2d(F.pad(x, (-1, -1, 0, 0)), net.w), {}),
    "expanded": (lambda net, x: F.conv2d(x[:, :1].expand(-1, 2, -1, -1), net.w), {}),
}  # fmt: skip


@pytest.mark.parametrize("call", CONV)
def test_functional_convolutions_on_any_layout(call):
    run, options = CONV[call]
    w, x = torch.randn(3, 2, 3, 3) * spikes(3, 2, 3, 3, rate=0.6), spikes(B, 2, 7, 7)
    seen = {"strided view": lambda x: x.repeat(1, 1, 2, 2)[:, :, ::2, ::2], "cut out": lambda x: x[..., 1:-1],
            "expanded": lambda x: x[:, :1].expand(-1, 2, -1, -1)}.get(call, lambda x: x)(x)  # fmt: skip
    sop = counted(Net(run, w=w), x)
    ((*_, ac, mac),) = operations(sop)
    assert torch.equal(ac, F.conv2d(mask(seen), mask(w), **options).flatten(1).sum(1)) and not mac.any()
    dense = F.conv2d(torch.ones_like(seen).double(), torch.ones_like(w).double(), **options).sum()
    (part,) = next(iter(sop.record.layers.values())).runs[0]
    assert part.geometry.dense * B == dense and part.geometry.inputs == seen[0].numel()


@pytest.mark.parametrize("mode", ["circular", "reflect", "replicate"])
def test_padding_with_copies_counts_the_copies(mode):
    net, x = nn.Conv2d(2, 3, 3, padding=1, padding_mode=mode, bias=False), spikes(B, 2, 7, 7)
    padded = F.pad(x, (1, 1, 1, 1), mode=mode)
    assert torch.equal(total(counted(net, x)), F.conv2d(mask(padded), mask(net.weight)).flatten(1).sum(1))


# ---- what is a weight ------------------------------------------------------------------------------------------------


def layer_counts(layer, x):
    return mask(x) @ mask(layer.weight.detach()).t().sum(1)


@pytest.mark.parametrize("at_root", [True, False])
def test_pruned_layers(at_root):
    layer = prune.l1_unstructured(nn.Linear(D, 6), "weight", amount=0.5)
    net, x = layer if at_root else nn.Sequential(layer, nn.ReLU()), spikes(B, D)
    with SopCounter(net) as sop:
        net(x)
        first = layer_counts(layer, x)
        layer.weight_mask.fill_(1)
        net(x)
    ((_, kind, ac, _),) = operations(sop)
    assert kind == "linear" and torch.equal(ac, torch.cat([first, mask(x).sum(1) * 6]))


class Rounded(nn.Module):
    def forward(self, w):
        return w.mul(2).round() / 2


def test_parametrized_and_normalised_and_low_rank_weights():
    x = spikes(B, D)
    rounded = nn.Linear(D, 6)
    parametrize.register_parametrization(rounded, "weight", Rounded())
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(D, 6))
    lora = Net(
        lambda net, x: F.linear(x, net.w.t() + net.a @ net.b),
        w=WEIGHT.clone(),
        a=torch.randn(6, 2),
        b=torch.randn(2, D),
    )
    for net, weight in ((rounded, rounded.weight), (normed, normed.weight), (lora, torch.ones(6, D))):
        rows = [row for row in operations(counted(net, x)) if row[1] == "linear"]
        assert len(rows) == 1 and torch.equal(rows[0][2], mask(x) @ mask(weight.detach()).sum(0)), net
    assert missing(counted(lora, x)) == {
        ("", "linear"): "a product of weights with weights, no input of a sample is in it"
    }


CHANGES = {
    "in place": lambda layer: layer.weight.mul_(KEEP),
    "in place on .data": lambda layer: layer.weight.data.mul_(KEEP),
    ".data exchanged": lambda layer: setattr(layer.weight, "data", layer.weight.data * KEEP),
    "parameter exchanged": lambda layer: setattr(layer, "weight", nn.Parameter(layer.weight * KEEP)),
    "state loaded": lambda layer: layer.load_state_dict({"weight": layer.weight * KEEP}),
    "index assigned": lambda layer: layer.weight.__setitem__((slice(None), 2), 0.0),
    "foreach": lambda layer: torch._foreach_mul_([layer.weight.data], [KEEP]),
}
KEEP = spikes(6, D, rate=0.5, seed=7)


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_a_weight_that_changes_between_forwards(change, inference):
    torch.manual_seed(0)
    layer, x = nn.Linear(D, 6, bias=False), spikes(B, D)
    if inference and change in ("index assigned", "in place", "parameter exchanged", ".data exchanged"):
        pytest.skip("torch does not let a normal parameter be changed so in inference mode")
    with torch.inference_mode(inference), torch.no_grad(), SopCounter(layer) as sop:
        layer(x)
        CHANGES[change](layer)
        layer(x)
    after = layer_counts(layer, x)
    assert after.sum() < mask(x).sum() * 6
    assert torch.equal(total(sop), torch.cat([mask(x).sum(1) * 6, after]))


def test_a_weight_that_changes_between_two_blocks():
    layer, x = nn.Linear(D, 6, bias=False), spikes(B, D)
    sop = SopCounter(layer)
    for keep in (1.0, KEEP):
        with torch.no_grad():
            layer.weight.data.numpy()[:] *= keep if isinstance(keep, float) else keep.numpy()
            with sop:
                layer(x)
    assert torch.equal(total(sop)[B:], layer_counts(layer, x))


def test_memory_that_is_freed_and_taken_again_is_no_weight():
    net = Net(lambda net, x: x @ x.transpose(1, 2), w=torch.randn(64, 64))
    with SopCounter(net) as sop, torch.no_grad():
        net.w.data = torch.randn(2, 2)  # the old memory is free for the product's operands
        for seed in range(20):
            net(spikes(B, 64, 64, seed=seed))
    assert not missing(sop) and {row[1] for row in operations(sop)} == {"matmul"}


@pytest.mark.parametrize("copied", [False, True])
def test_a_state_in_a_buffer_is_an_input(copied):
    class Stateful(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("before", torch.zeros(B, D))
            self.back = nn.Linear(D, 6, bias=False)

        def forward(self, x):
            y = self.back(self.before.abs() if copied else self.before)
            self.before.copy_(x)
            return y

    net, x = Stateful(), spikes(B, D)
    with SopCounter(net) as sop:
        net(x)
        net(x)
    assert torch.equal(total(sop), torch.cat([torch.zeros(B), mask(x).sum(1) * 6]).double()) and not missing(sop)


# ---- two activations -------------------------------------------------------------------------------------------------


def heads(seed):
    return spikes(B, 2, N, 4, seed=seed)


def attention_counts(q, k, v, a):
    scores = (mask(q) @ mask(k).transpose(-2, -1)).flatten(1).sum(1)
    return scores, (mask(a) @ mask(v)).flatten(1).sum(1)


def test_spiking_attention():
    def run(net, q, k, v):
        return (q @ k.transpose(-2, -1)) @ v

    q, k, v = heads(1), heads(2), heads(3)
    sop = counted(Net(run), q, k, v)
    one, two = operations(sop)
    want = attention_counts(q, k, v, q @ k.transpose(-2, -1))
    assert torch.equal(one[2], want[0]) and torch.equal(two[2], want[1])
    assert [row.values for row in sop.report().layers] == [("binary", "binary"), ("integer", "binary")]
    einsum = Net(lambda net, q, k, v: torch.einsum("bhnm,bhmd->bhnd", torch.einsum("bhnd,bhmd->bhnm", q, k), v))
    assert same(sop, counted(einsum, q, k, v))


@pytest.mark.parametrize("masked", ["", "causal", "boolean", "float"])
def test_fused_attention(masked):
    q, k, v = heads(1), heads(2), heads(3)
    allowed = torch.ones(N, N, dtype=torch.bool).tril(1)
    options = {
        "": {}, "causal": {"is_causal": True}, "boolean": {"attn_mask": allowed},
        "float": {"attn_mask": torch.zeros(N, N).masked_fill(~allowed, -math.inf), "scale": 2.0},
    }[masked]  # fmt: skip
    sop = counted(Net(lambda net, q, k, v: F.scaled_dot_product_attention(q, k, v, **options)), q, k, v)
    a = {"": torch.ones(N, N), "causal": torch.ones(N, N).tril()}.get(masked, allowed)
    want = attention_counts(q, k, v, a.expand(B, 2, N, N))
    one, two = operations(sop)
    assert torch.equal(one[2], want[0]) and torch.equal(two[2], want[1]) and not missing(sop)


def test_fused_attention_with_dropout_is_named():
    net = Net(lambda net, q: F.scaled_dot_product_attention(q, q, q, dropout_p=0.5))
    sop = counted(net, heads(1))
    assert not sop.record.layers or not missing(sop)  # torch may take it apart, and then it is counted


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("need_weights", [True, False])
def test_multihead_attention(batch_first, need_weights):
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(D, 2, batch_first=batch_first, bias=False)
    net = Net(lambda net, x: layer_call(net.layer, x, batch_first, need_weights), layer=layer)
    x = spikes(B, N, D)
    sop = counted(net, x)
    rows = operations(sop)
    assert [row[1] for row in rows] == ["linear", "linear", "matmul", "matmul"] or not missing(sop)
    assert torch.equal(rows[0][2], mask(x).sum((1, 2)) * 3 * D)


def layer_call(layer, x, batch_first, need_weights):
    x = x if batch_first else x.transpose(0, 1)
    return layer(x, x, x, need_weights=need_weights)[0]


# ---- named, not counted ----------------------------------------------------------------------------------------------

OUTSIDE = torch.randn(D, 6)
BYTES = torch.ones(32, 32, dtype=torch.int8)
SPARSE = (torch.eye(D) * 2).to_sparse_csr()
UNCOUNTED = {
    "nn.LSTM": (lambda net, x: net.layer(x)[0], {"layer": nn.LSTM(D, 4)}, "shows none of its steps"),
    "fast attention": (
        lambda net, x: net.layer(x, x, x)[0],
        {"layer": nn.MultiheadAttention(D, 2, batch_first=True).eval()},
        "set_fastpath_enabled",
    ),
    "bilinear": (lambda net, x: net.layer(x, x), {"layer": nn.Bilinear(D, D, 2)}, "bilinear"),
    "embedding": (lambda net, x: net.layer(x.long()), {"layer": nn.Embedding(2, 3)}, "looks rows up"),
    "a weight that is not the net's": (lambda net, x: x.flatten(0, 1) @ OUTSIDE, {}, "neither operand"),
    "a weight per sample": (lambda net, x: x @ net.w[:B], {"w": torch.randn(B, D, 6)}, "weight of its own"),
    "two weights": (lambda net, x: x + (net.w @ net.w).sum(), {"w": torch.randn(D, D)}, "weights with weights"),
    "matrix times vector": (lambda net, x: net.w @ x[0, 0], {"w": torch.randn(D, D)}, "one vector"),
    "sparse": (lambda net, x: torch.mm(SPARSE, x[0].t()), {}, "neither operand|sparse|dense"),
    "complex": (
        lambda net, x: F.linear(x.to(torch.complex64), net.w),
        {"w": torch.randn(6, D, dtype=torch.complex64)},
        "complex",
    ),
    "int8": (lambda net, x: torch._int_mm(BYTES, BYTES), {}, "quantized"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNCOUNTED)
def test_what_holds_synapses_and_is_not_counted_has_a_name(case):
    run, parameters, why = UNCOUNTED[case]
    sop = counted(Net(run, **parameters), spikes(B, N, D))
    assert re.search(why, " ".join(missing(sop).values())), missing(sop)
    assert not [row for row in sop.record.layers.values() if row.name == "layer" and case != "fast attention"]


def test_an_operator_of_somebody_else_that_takes_a_weight():
    with torch.library._scoped_library("snncore_test", "DEF") as library:
        library.define("fused(Tensor x, Tensor w) -> Tensor")
        library.define("harmless(Tensor x) -> Tensor")
        library.impl("fused", lambda x, w: x @ w, "CPU")
        library.impl("harmless", lambda x: x.clone(), "CPU")
        ops = torch.ops.snncore_test
        sop = counted(Net(lambda net, x: ops.fused(ops.harmless(x), net.w), w=WEIGHT.clone()), spikes(B, D))
        alone = Net(lambda net, x: ops.harmless(x), w=WEIGHT.clone())
        with pytest.raises(StateError, match="no convolution"):
            counted(alone, spikes(B, D)).report()
    assert list(missing(sop)) == [("", "snncore_test.fused")]


# every operator of torch that sounds as if it held synapses is counted, named, or listed here with the reason
HARMLESS = {
    "_fused_sdp_choice": "only chooses", "_cslt_sparse_mm_search": "only chooses",
    "_cudnn_rnn_flatten_weight": "rearranges weights", "_addmm_activation": "counted",
    "chain_matmul": "composite", "linalg_multi_dot": "composite",
}  # fmt: skip
SOUNDS = re.compile(
    r"conv|mm($|_)|linear|attention|lstm|gru|rnn|matmul|bilinear|embedding|(^|_)(dot|vdot|mv|addmv|ger)($|_)"
)
NOT_FORWARD = re.compile(  # nor is what prepares or converts a weight
    r"backward|^_no_grad|upsample|grid_sampler|_jvp|_prepack|pack_|_packed_weight|^_?convert|_params|choose_qparams|quantize|"
    r"conj|linear_(lr|comb)|_fw_grad|convolution_mode|reorder|to_mkldnn|sum_to|_padded_dense|fill_mem|is_vulkan|logits"
)


def test_no_operator_of_torch_is_overlooked():
    known = {packet.__name__ for packet in (*operators.COUNTED, *operators.UNCOUNTED)}
    overlooked = []
    for name in sorted(
        {schema.name.split("::")[1] for schema in torch._C._jit_get_all_schemas() if schema.name.startswith("aten::")}
    ):
        if not SOUNDS.search(name) or NOT_FORWARD.search(name) or name in known or name in HARMLESS:
            continue
        try:
            packet = getattr(torch.ops.aten, name)
            overloads = [getattr(packet, o) for o in packet.overloads()]
        except (AttributeError, RuntimeError):  # TorchScript's own
            continue
        if not all(overload._can_decompose() for overload in overloads):
            overlooked.append(name)
    assert not overlooked
