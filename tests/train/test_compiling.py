"""A net that is compiled for the training learns what it learns without, and leaves the same files."""

from __future__ import annotations

import shutil

import pytest
import torch
from test_resume import metrics, the_run
from test_trainer import SMALL, Digits, launched, lines

from snncore.cli.train import main

pytestmark = pytest.mark.usefixtures("own_nets")

# In float64, where sums in another order flip no spike. aot_eager traces forward and backward as inductor does, and
# takes a tenth of its time.
COMMON = [
    *("--epochs", "2", "-b", "128", "-T", "3", "--threads", "1", "--device", "cpu", "--no-tensorboard"),
    *("--no-keep-freed-blocks", "--energy-samples", "2", "--save-every-epochs", "1", "--loss", "ce_double"),
    *("--model", "double_csnn", "--neuron", "plif", "--set", "neuron.args.v_threshold=0.3", "--val-split", "0.3"),
    *("--model-ema", "--model-ema-steps", "5"),
    *("--firing-rate-strength", "0.5", "--firing-rate-upper", "0.05", "--clip-grad-norm", "1", "--grad-accum", "2"),
]
COMPILED = ["--compile", "--compile-backend", "aot_eager"]


@pytest.fixture(autouse=True)
def no_older_graphs():
    torch._dynamo.reset()


@pytest.fixture(scope="module")
def runs(own_nets, tmp_path_factory):
    """The same run without and with --compile."""
    folders = []
    for name, more in (("plain", []), ("compiled", COMPILED)):
        folder = tmp_path_factory.mktemp(name)
        assert main([*COMMON, *more, "--output-dir", str(folder)]) == 0
        folders.append(the_run(folder))
    return folders


def numbers(folder):
    """All losses and accuracies of every epoch, and the firing rates at the end."""
    *epochs, last = metrics(folder)
    return [line[key] for line in epochs for key in line if "loss" in key or "accuracy" in key] + [
        last["best_test_accuracy"], *last["firing_rate"].values(),
    ]  # fmt: skip


def assert_close(left, right):
    """What is rounded in another order differs by 1e-16, and by less than 1e-9 after 16 steps."""
    assert numbers(left) == pytest.approx(numbers(right), rel=1e-9)
    one, other = (torch.load(path / "last.pt", weights_only=True) for path in (left, right))
    for a, b in ((one["model"], other["model"]), (one["extra"]["ema"]["average"], other["extra"]["ema"]["average"])):
        assert list(a) == list(b) and not any("_orig_mod" in key for key in a)
        assert all(torch.allclose(a[key], b[key], rtol=1e-9, atol=1e-12) for key in a)


def test_it_learns_what_it_does_without(runs):
    plain, compiled = runs
    assert_close(plain, compiled)
    assert metrics(plain)[1]["train_accuracy"] > 0.15, "a net that learns nothing shows nothing"
    assert "the net is compiled by aot_eager" in (compiled / "log.txt").read_text()
    assert len(metrics(compiled)[-1]["firing_rate"]) == 4
    assert (compiled / "energy.json").read_text() == (plain / "energy.json").read_text()


@pytest.mark.parametrize("first", [0, 1], ids=["begun without", "begun with"])
def test_it_goes_on_either_way(runs, tmp_path, first):
    shutil.copytree(runs[first], tmp_path / "run")
    more = ["--no-compile"] if first else COMPILED
    assert main(["--resume", str(tmp_path / "run" / "epoch-1.pt"), *more]) == 0
    assert ("compiled by" in (tmp_path / "run" / "log.txt").read_text().split("going on from")[1]) != bool(first)
    assert_close(runs[0], tmp_path / "run")


def test_it_really_is_compiled(tmp_path, capsys):
    """A compiler that cannot compile anything is heard of, in one line."""

    def breaks(graph, inputs):
        raise RuntimeError("no luck today")

    torch._dynamo.register_backend(breaks, name="breaks")
    arguments = [*COMMON, "--compile", "--compile-backend", "breaks", "--output-dir", str(tmp_path)]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert "--compile: must have a net and a machine that torch.compile can" in said and "no luck today" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["--compile", "--compile-backend", "inducto"], "did you mean 'inductor'"),
        (["--compile"], "No working C++ compiler"),
    ],
)
def test_what_is_missing_is_told_before_anything_is_made(tmp_path, capsys, typed, message):
    from torch._inductor import config

    with config.patch("cpp.cxx", (None, "no-such-compiler")):
        assert main([*COMMON, *typed, "--output-dir", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_trainer(tmp_path):
    """In float32, a few steps: accuracies may differ by a sample or two."""
    one = [*SMALL, "--epochs", "2"]
    plain, compiled = (launched(Digits(), *one, *more, path=tmp_path / "x") for more in ([], COMPILED))
    assert len(compiled.firing_rate) == len(plain.firing_rate) == 2
    assert "compiled by" in (compiled.folder / "log.txt").read_text()
    for left, right in zip(lines(plain.folder)[:2], lines(compiled.folder)[:2], strict=True):
        assert left["train_loss"] == pytest.approx(right["train_loss"], rel=1e-2)
    assert torch.load(compiled.folder / "last.pt", weights_only=True)["model"].keys() == (
        torch.load(plain.folder / "last.pt", weights_only=True)["model"].keys()
    )
