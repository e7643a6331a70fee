"""Losses by their definitions, and against snnTorch where it is installed."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
import torch.nn.functional as F

from snncore.errors import ArgumentError, ConfigError, UnknownNameError
from snncore.train import LOSSES, TrainConfig, make_loss

T, B, C = 5, 7, 4
LABELS = ("hard", "soft")
OPTIONS = {
    "tet": {"tet_lambda": 0.3, "tet_phi": 0.7},
    "mse_count": {"correct_rate": 0.9, "incorrect_rate": 0.25},
    "mse_membrane": {"on_target": 0.8, "off_target": -0.1},
}


def inputs(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    spike_seq = (torch.rand(T, B, C, generator=generator) < 0.4).to(dtype)
    return spike_seq, torch.randint(C, (B,), generator=generator)


def label_of(kind, label):
    return label if kind == "hard" else 0.7 * F.one_hot(label, C) + 0.3 * F.one_hot(label.roll(1), C)


def shares_of(label, smoothing):
    rows = label.tolist() if label.dim() == 2 else [[float(c == k) for c in range(C)] for k in label.tolist()]
    return [[(1 - smoothing) * share + smoothing / C for share in row] for row in rows]


def entropy(shares, logits):
    total = math.log(sum(math.exp(v) for v in logits))
    return -sum(share * (v - total) for share, v in zip(shares, logits, strict=True))


def by_definition(name, y, shares, tet_lambda=1e-3, tet_phi=1.0, correct_rate=1.0, incorrect_rate=0.0, **targets):
    if name not in LOSSES:
        pytest.fail(f"{name} has no definition here: add one")
    total = 0.0
    for b, share in enumerate(shares):
        counts = [sum(y[t][b][c] for t in range(T)) for c in range(C)]
        by_step = sum(entropy(share, y[t][b]) for t in range(T)) / T
        everything = [(c, y[t][b][c]) for t in range(T) for c in range(C)]
        if name == "mse_rate":
            total += sum((counts[c] / T - share[c]) ** 2 for c in range(C)) / C
        elif name == "ce_count":
            total += entropy(share, counts)
        elif name == "ce_mean":
            total += entropy(share, [count / T for count in counts])
        elif name == "ce_rate":
            total += by_step
        elif name == "tet":
            pull = sum((value - tet_phi) ** 2 for _, value in everything) / (T * C)
            total += (1 - tet_lambda) * by_step + tet_lambda * pull
        elif name == "mse_count":
            on, off = int(T * correct_rate), int(T * incorrect_rate)
            total += sum((counts[c] - (share[c] * on + (1 - share[c]) * off)) ** 2 for c in range(C)) / C / T
        elif name == "mse_membrane":
            on, off = targets.get("on_target", 1.0), targets.get("off_target", 0.0)
            total += sum((value - (share[c] * on + (1 - share[c]) * off)) ** 2 for c, value in everything) / (T * C)
        else:
            pytest.fail(f"{name} has no definition here: add one")
    return total / len(shares)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("given", [False, True], ids=["defaults", "options"])
def test_the_definition(name, dtype, kind, smoothing, given):
    options = OPTIONS.get(name, {}) if given else {}
    spike_seq, label = inputs(dtype)
    label = label_of(kind, label)
    found = LOSSES[name](spike_seq.requires_grad_(), label, label_smoothing=smoothing, **options)
    assert found.shape == () and found.dtype == torch.float32
    expected = by_definition(name, spike_seq.tolist(), shares_of(label, smoothing), **options)
    assert found.item() == pytest.approx(expected, rel=1e-5)
    found.backward()
    assert spike_seq.grad.shape == spike_seq.shape and spike_seq.grad.abs().sum() > 0


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_soft_label_of_one_class_is_the_class(name, smoothing):
    spike_seq, label = inputs()
    ones = F.one_hot(label, C)
    hard, *soft = (
        LOSSES[name](spike_seq, given, label_smoothing=smoothing)
        for given in (label, ones.float(), ones.double(), ones.bfloat16())
    )
    for found in soft:
        torch.testing.assert_close(found, hard, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("kind", LABELS)
def test_the_gradient_is_that_of_the_value(name, kind):
    spike_seq, label = inputs()
    label = label_of(kind, label)
    spike_seq.requires_grad_()
    LOSSES[name](spike_seq, label).backward()
    step = 1e-2
    for at in [(0, 0, 0), (T - 1, B - 1, C - 1), (2, 3, 1)]:
        shift = torch.zeros_like(spike_seq)
        shift[at] = step
        above, below = (LOSSES[name](spike_seq.detach() + sign * shift, label).item() for sign in (1, -1))
        assert spike_seq.grad[at].item() == pytest.approx((above - below) / (2 * step), rel=2e-2, abs=2e-5)


THEIRS = [
    ("ce_rate", "ce_rate_loss", {}),
    ("ce_count", "ce_count_loss", {}),
    ("mse_count", "mse_count_loss", {}),
    ("mse_count", "mse_count_loss", {"correct_rate": 0.8, "incorrect_rate": 0.2}),
    ("mse_count", "mse_count_loss", {"correct_rate": 0.55, "incorrect_rate": 0.39}),
    ("mse_membrane", "mse_membrane_loss", {}),
    ("mse_membrane", "mse_membrane_loss", {"on_target": 1.5, "off_target": 0.3}),
]


@pytest.mark.parametrize(("name", "theirs", "options"), THEIRS)
def test_snntorch_says_the_same(name, theirs, options):
    functional = pytest.importorskip("snntorch.functional", reason="snntorch is not installed")
    spike_seq, label = inputs()
    ours, other = (spike_seq.clone().requires_grad_() for _ in range(2))
    found, expected = LOSSES[name](ours, label, **options), getattr(functional, theirs)(**options)(other, label)
    torch.testing.assert_close(found, expected.squeeze(), rtol=1e-6, atol=0)
    found.backward()
    expected.sum().backward()
    torch.testing.assert_close(ours.grad, other.grad, rtol=1e-5, atol=1e-8)


# One sample, two steps, three classes.
def test_a_case_by_hand():
    y_seq = torch.tensor([[[1.0, 0.0, 0.0]], [[1.0, 1.0, 0.0]]])
    label = torch.tensor([0])
    assert LOSSES["mse_count"](y_seq, label).item() == pytest.approx((0 + 1 + 0) / 3 / 2)
    assert LOSSES["mse_rate"](y_seq, label).item() == pytest.approx(0.25 / 3)
    assert LOSSES["mse_membrane"](y_seq, label).item() == pytest.approx(1 / 6)
    assert LOSSES["ce_count"](y_seq, label).item() == pytest.approx(math.log(math.e**2 + math.e + 1) - 2)
    assert LOSSES["ce_mean"](y_seq, label).item() == pytest.approx(math.log(math.e + math.e**0.5 + 1) - 1)
    by_step = (math.log(math.e + 2) - 1 + math.log(2 * math.e + 1) - 1) / 2
    assert LOSSES["ce_rate"](y_seq, label).item() == pytest.approx(by_step)
    assert LOSSES["tet"](y_seq, label, tet_lambda=0.5, tet_phi=0.5).item() == pytest.approx(by_step / 2 + 0.125)


def test_a_wanted_count_is_not_one_less_for_a_rounding_error():
    y_seq = torch.zeros(100, 1, 2)
    found = LOSSES["mse_count"](y_seq, torch.tensor([0]), correct_rate=0.29)  # 100 * 0.29 is 28.999999999999996
    assert found.item() == pytest.approx(29**2 / 2 / 100)


@pytest.mark.parametrize("name", LOSSES)
def test_what_torch_would_broadcast_or_misread_is_refused(name):
    spike_seq, label = inputs()
    wrong = [
        (spike_seq[0], label, "unsqueeze"),
        (spike_seq.long(), label, "y_seq: must be floating"),
        (spike_seq, label[:1], "label: must be int64"),
        (spike_seq, label.float(), "label: must be int64"),
        (spike_seq, label.int(), "label: must be int64"),
        (spike_seq, F.one_hot(label, C), "label: must be int64"),
        (spike_seq, torch.zeros(B, C + 1), "label: must be int64"),
    ]
    for y_seq, target, message in wrong:
        with pytest.raises(ArgumentError, match=message):
            LOSSES[name](y_seq, target)
    for smoothing in (-0.1, 1.0, math.nan):
        with pytest.raises(ArgumentError, match="label_smoothing: must be in"):
            LOSSES[name](spike_seq, label, label_smoothing=smoothing)


@pytest.mark.parametrize(
    ("name", "option"), [("tet", "tet_lambda"), ("mse_count", "correct_rate"), ("mse_count", "incorrect_rate")]
)
@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_a_share_is_a_share(name, option, value):
    with pytest.raises(ArgumentError, match=rf"{name}.{option}: must be in \[0, 1\]"):
        LOSSES[name](*inputs(), **{option: value})
    with pytest.raises(ConfigError, match=rf"train.{option}: must be in \[0, 1\], got {value}"):
        make_loss(TrainConfig(loss=name, **{option: value}))
    make_loss(TrainConfig(loss="ce_rate", **{option: value}))  # which does not have it


@pytest.mark.parametrize("name", LOSSES)
def test_the_configuration_gives_a_loss_all_of_its_options(name):
    options = {key: value for group in OPTIONS.values() for key, value in group.items()} | {"label_smoothing": 0.2}
    takes = {key for key, item in inspect.signature(LOSSES[name]).parameters.items() if item.kind == item.KEYWORD_ONLY}
    assert takes <= options.keys()
    found = make_loss(TrainConfig(loss=name, **options))(*inputs())
    assert torch.equal(found, LOSSES[name](*inputs(), **{key: options[key] for key in takes}))
    assert torch.equal(make_loss(TrainConfig(loss=name))(*inputs()), LOSSES[name](*inputs()))  # the same defaults


def test_a_loss_that_is_added_need_not_smooth_but_does_not_pass_it_over(monkeypatch):
    monkeypatch.setitem(LOSSES, "mine", lambda y_seq, label: y_seq.sum())
    assert make_loss(TrainConfig(loss="mine"))(*inputs()) == inputs()[0].sum()
    with pytest.raises(ConfigError, match=r"train.label_smoothing: must be 0 for mine"):
        make_loss(TrainConfig(loss="mine", label_smoothing=0.1))
    with pytest.raises(UnknownNameError, match=r"ce_count, ce_mean, ce_rate.*did you mean 'ce_rate'"):
        make_loss(TrainConfig(loss="ce_rat"))
