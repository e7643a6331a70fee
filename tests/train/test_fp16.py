"""Mixed precision in float16: what the scaler must leave as it is, what comes back, and what is told."""

from __future__ import annotations

import functools
import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from snncore import data, functional, layer, neuron
from snncore.cli.train import main
from snncore.errors import ArgumentError, NumericError
from snncore.train import Trainer
from snncore.train import loop as loop_module
from snncore.train.evaluate import mixed_precision
from snncore.train.stepper import Stepper


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def batches(count: int) -> list[torch.Tensor]:
    return list(torch.randn(count, 6, 4, generator=torch.Generator().manual_seed(1)))


def stepped(fp16: bool, xs, *, parts: int = 1, lost: tuple[int, ...] = (), optimizer=torch.optim.Adam, **clip):
    """Return net and stepper after one step on each of ``xs``; the gradients of the steps ``lost`` are not finite.

    All is computed in float32: the scales are powers of two, so that a scaler changes no bit of a step that it takes.
    """
    net = small_net()
    stepper = Stepper(net, optimizer(net.parameters(), lr=0.1), fp16=fp16, clip=clip)
    for k, x in enumerate(xs):
        for i, part in enumerate(x.chunk(parts)):
            with stepper.part(is_last=i == parts - 1):
                stepper.backward(net(part).square().mean() / parts)
        if k in lost:
            net[2].bias.grad[1] = float("inf")
        stepper.step()
    return net, stepper


def assert_same(left: nn.Module, right: nn.Module) -> None:
    for (name, a), b in zip(left.state_dict().items(), right.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize(
    "clip",
    [{}, {"max_norm": 0.05}, {"max_value": 0.01}, {"max_norm": 0.02, "max_value": 0.01}, {"check": True}],
    ids=str,
)
def test_gradients_are_unscaled_before_they_are_bounded(clip, parts):
    sgd = functools.partial(torch.optim.SGD, momentum=0.9)  # unlike Adam's, its steps are as long as the gradients
    plain, _ = stepped(False, batches(4), parts=parts, optimizer=sgd, **clip)
    scaled, stepper = stepped(True, batches(4), parts=parts, optimizer=sgd, **clip)
    assert stepper.scaler.get_scale() == 65536 and stepper.skipped == 0
    assert_same(plain, scaled)
    if clip.keys() - {"check"}:  # or this would not show that anything was bounded
        free, _ = stepped(False, batches(4), parts=parts, optimizer=sgd)
        assert not torch.equal(free[0].weight, scaled[0].weight)


@pytest.mark.parametrize("clip", [{}, {"max_norm": 0.05}, {"max_value": 0.01}, {"check": True}], ids=str)
@pytest.mark.parametrize("lost", [(0,), (1, 3), (4,)], ids=str)
def test_a_step_that_overflows_leaves_no_trace_but_in_the_scale(lost, clip):
    xs = batches(5)
    taken = [x for k, x in enumerate(xs) if k not in lost]
    want, one = stepped(False, taken, **{k: v for k, v in clip.items() if k != "check"})
    got, other = stepped(True, xs, lost=lost, **clip)
    assert_same(want, got)
    states = [stepper.optimizer.state_dict()["state"] for stepper in (one, other)]  # Adam's moments and number of steps
    for a, b in zip(states[0].values(), states[1].values(), strict=True):
        assert all(torch.equal(a[key], b[key]) for key in a)
    assert other.skipped == len(lost) and other.scaler.get_scale() == 65536 / 2 ** len(lost)
    assert all(parameter.grad is None for parameter in got.parameters())


def test_the_state_of_the_scaler_comes_back():
    _, before = stepped(True, batches(5), lost=(1,))
    _, after = stepped(True, [])
    after.load_state_dict(before.state_dict())
    assert after.state_dict() == before.state_dict()
    assert (after.scaler.get_scale(), after.state_dict()["_growth_tracker"], after.skipped) == (32768, 3, 1)
    assert stepped(False, batches(1))[1].state_dict() == {}  # no scaler, nothing to keep


@pytest.mark.parametrize("clip", [{}, {"max_norm": 1.0}, {"max_value": 1.0}], ids=str)
def test_gradients_that_no_scale_makes_finite_end_the_run(clip):
    with pytest.raises(
        NumericError, match=r"--amp fp16: must leave gradients finite.*; use --amp bf16 or off"
    ) as found:
        stepped(True, batches(50), lost=tuple(range(50)), **clip)
    assert "max_value" in clip or "first in 2.bias" in str(found.value)


def test_the_neurons_stay_on_the_fused_kernel_and_fire_as_their_definition():
    """``engine="native"`` raises where the kernel is not used; the plain loop fires at the same places."""
    found = {}
    for engine in ("native", "torch"):
        torch.manual_seed(0)
        net = nn.Sequential(
            layer.Conv2d(1, 4, 3, padding=1), layer.BatchNorm2d(4), neuron.LIFNode(engine=engine), layer.MaxPool2d(2),
            layer.Flatten(), layer.Linear(64, 10), neuron.IFNode(v_threshold=0.2, engine=engine),
        )  # fmt: skip
        functional.set_step_mode(net, "m")
        x_seq = torch.rand(3, 5, 1, 8, 8)
        with mixed_precision("fp16", x_seq.device):
            spike_seq = net(x_seq)
        assert spike_seq.dtype == torch.float16 and spike_seq.any()
        stepper = Stepper(net, torch.optim.SGD(net.parameters(), lr=0.1), fp16=True, clip={})
        stepper.backward(spike_seq.float().mean(0).square().mean())
        assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() and p.grad.any() for p in net.parameters())
        stepper.step()
        assert stepper.skipped == 0
        found[engine] = spike_seq, net
    assert torch.equal(found["native"][0], found["torch"][0])
    for name, weight in found["native"][1].state_dict().items():
        torch.testing.assert_close(weight, found["torch"][1].state_dict()[name], rtol=1e-3, atol=1e-4)


# ---- in a run -----------------------------------------------------------------------------------------------

# 1,437 samples in batches of 128: 12 steps an epoch
RUN = [*("--amp", "fp16", "--engine", "native", "--model", "mlp", "-T", "4", "--neuron", "lif", "--epochs", "2")]
RUN += [
    *("-b", "128", "--opt", "adam", "--lr", "0.01", "--loss", "ce_count", "--lr-scheduler", "cosine", "--model-ema")
]
RUN += [*("--model-ema-steps", "1", "--threads", "1", "--no-tensorboard", "--no-keep-freed-blocks")]


@pytest.fixture
def restless_scaler(monkeypatch):
    """A scale that overflows at first and grows every 4 steps, so that a few steps show all there is to get wrong."""
    scaler = functools.partial(torch.amp.GradScaler, init_scale=2.0**24, growth_interval=4)
    monkeypatch.setattr(torch.amp, "GradScaler", scaler)


def metrics(folder: Path) -> list[dict]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if "images_per_s" not in k and k != "seconds"} for line in found]


def the_run(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_stopped_amid_overflows_it_goes_on_to_the_same_bits(tmp_path, restless_scaler, monkeypatch):
    assert main(["--output-dir", str(tmp_path / "whole"), *RUN]) == 0

    class Killed(BaseException):
        pass

    step, calls = loop_module.Loop.train_step, []

    def killed(self, batch):
        calls.append(1)
        if len(calls) == 18:
            raise Killed
        step(self, batch)

    monkeypatch.setattr(loop_module.Loop, "train_step", killed)
    with pytest.raises(Killed):
        main(["--output-dir", str(tmp_path / "cut"), *RUN, "--save-every-steps", "5"])
    monkeypatch.undo()  # also of the scaler: everything about it has to come from the checkpoint
    cut = the_run(tmp_path / "cut")
    saved = torch.load(cut / "last.pt", weights_only=True)
    assert saved["position"]["step"] == 3 and saved["scaler"]["growth_interval"] == 4
    assert main(["--resume", str(cut)]) == 0
    whole = the_run(tmp_path / "whole")
    left, right = (torch.load(folder / "last.pt", weights_only=True) for folder in (whole, cut))
    assert left["scaler"] == right["scaler"]
    assert "of 12 steps, whose gradients overflowed float16" in (whole / "log.txt").read_text()
    for a, b in ((left["model"], right["model"]), (left["extra"]["ema"]["average"], right["extra"]["ema"]["average"])):
        assert all(torch.equal(a[key], b[key]) for key in a)
    assert str(left["optimizer"]) == str(right["optimizer"])
    assert metrics(whole) == metrics(cut)
    first, second, _ = metrics(whole)
    assert first["skipped_steps"] > 0 and first["test_accuracy"] < second["test_accuracy"] > 0.7


class Digits(Trainer):
    """A perceptron on the digits."""

    def load_data(self, args):
        return data.load("digits")

    def load_model(self, args, num_classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))


def launched(trainer, path, *typed):
    words = ["--device", "cpu", "--output-dir", str(path), "--epochs", "2", "-b", "128", "--lr-warmup-epochs", "0"]
    try:
        return trainer.main(trainer.get_args_parser().parse_args([*words, "--amp", "fp16", *typed]))
    finally:
        torch.use_deterministic_algorithms(False)


def test_an_overflow_moves_neither_weights_nor_the_schedule(tmp_path):
    """The average goes on averaging the weights there are."""
    weights = []

    class Overflows(Digits):
        def loss(self, args, y, label):
            weights.append({k: v.clone() for k, v in self.net.state_dict().items()})
            return super().loss(args, y, label) * (float("inf") if len(weights) == 4 else 1.0)

        def load_model(self, args, num_classes):
            self.net = super().load_model(args, num_classes)
            return self.net

    typed = ["--mixup-alpha", "0", "--cutmix-alpha", "0", "--model-ema", "--model-ema-steps", "1"]
    result = launched(Overflows(), tmp_path, *typed, "--model-ema-decay", "0.999")
    same = [all(torch.equal(a[k], b[k]) for k in a) for a, b in pairwise(weights[:12])]
    assert same == [k == 3 for k in range(11)]
    first, second, _ = metrics(result.folder)
    assert (first["skipped_steps"], second["skipped_steps"]) == (1, 0)
    assert (first["lr"], second["lr"]) == pytest.approx((0.1, 0.05))
    assert "passed over: 1 of 12 steps" in (result.folder / "log.txt").read_text()
    content = torch.load(result.folder / "last.pt", weights_only=True)
    averages = content["extra"]["ema"]
    assert averages["updates"] == 24 and all(t.isfinite().all() for t in averages["average"].values())
    assert content["scaler"]["scale"] == 32768


def test_a_net_of_halves_is_refused_before_a_folder_is_made(tmp_path):
    class Halves(Digits):
        def load_model(self, args, num_classes):
            return super().load_model(args, num_classes).half()

    with pytest.raises(ArgumentError, match=r"--amp: must be off or bf16 .* got fp16 and 1.weight"):
        launched(Halves(), tmp_path)
    assert not list(tmp_path.iterdir())
