"""Two ranks that divide a net (FSDP2) train what two with a copy each do, and what one does."""

from __future__ import annotations

import re
import shutil

import pytest
import torch
import torch.distributed as dist
from ranks_run import ce_double
from test_compiling import COMPILED, numbers
from test_ranks_train import two
from test_resume import metrics, the_run

from snncore.cli.train import main
from snncore.data import Batches, load
from snncore.encoding import direct
from snncore.errors import ConfigError
from snncore.profile import load as load_saved
from snncore.train.distributed import Ranks
from snncore.train.shares import even_parts, set_batches

pytestmark = [
    pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="torch has no gloo"),
    pytest.mark.usefixtures("own_nets"),
]

# 1,437 samples in batches of 256, the last of 157: 79 for rank 0 and 78 for rank 1.
# PLIF neurons, whose time constants have no axis to be divided along
COMMON = [
    *("-b", "256", "-T", "3", "--loss", "ce_double", "--threads", "1", "--device", "cpu", "--rank-timeout", "20"),
    *("--no-tensorboard", "--no-keep-freed-blocks", "--energy-samples", "2", "--model", "double_csnn"),
    *("--neuron", "plif", "--set", "neuron.args.v_threshold=0.3", "--lr-scheduler", "none"),
    *("--clip-grad-norm", "1", "--clip-grad-value", "0.5"),
    *("--save-every-epochs", "1", "--check-gradients"),
]
AVERAGED = [
    *(*COMMON, "--epochs", "2", "--opt", "adam", "--lr", "0.02", "--grad-accum", "2"),
    *("--model-ema", "--model-ema-steps", "2", "--model-ema-decay", "0.998"),
]
CHAIN = [*COMMON, "--sync-bn", "--opt", "adam", "--lr", "0.01"]
FSDP = ["--parallel", "fsdp"]


@pytest.fixture(scope="module")
def runs(own_nets, tmp_path_factory):
    """Runs on two ranks: name -> folder; "chain" begins on one rank, and is divided from its second epoch on."""
    folder = tmp_path_factory.mktemp("pair")
    assert main([*CHAIN, "--epochs", "1", "--output-dir", str(folder / "chain")]) == 0
    begun = ["--resume", str(the_run(folder / "chain")), *FSDP]
    jobs = {
        "ddp": AVERAGED,
        "fsdp": [*AVERAGED, *FSDP, "--checkpoint-activations"],
        "compiled": [*AVERAGED, *COMPILED],
        "second": [*begun, "--epochs", "2"],
        "third": [*begun, "--epochs", "3"],
    }
    into = {name: [] if "--resume" in words else ["--output-dir", str(folder / name)] for name, words in jobs.items()}
    found = two(folder, *({"arguments": [*words, *into[name]]} for name, words in jobs.items()))
    assert [code for code, _, _ in found] == [0, 0], found[0][1][-3000:] + found[1][1][-3000:]
    assert main([*CHAIN, "--epochs", "3", "--output-dir", str(folder / "alone")]) == 0
    return {name: the_run(folder / name) for name in (*(n for n in jobs if into[n]), "chain", "alone")}


def assert_close(left, right):
    """In float64; see test_ranks_train: sums in another order differ by 1e-16, and by less than 1e-9 some steps on."""
    assert numbers(left) == pytest.approx(numbers(right), rel=1e-9)
    one, other = (torch.load(path / "last.pt", weights_only=True) for path in (left, right))
    assert one["extra"].keys() == other["extra"].keys()
    pairs = [(one["model"], other["model"])]
    pairs += [(a["extra"]["ema"]["average"], b["extra"]["ema"]["average"]) for a, b in [(one, other)] if a["extra"]]
    pairs += [(a, b) for a, b in zip(one["optimizer"]["state"].values(), other["optimizer"]["state"].values(),
                                     strict=True)]  # fmt: skip
    for a, b in pairs:
        assert list(a) == list(b)
        for key, value in a.items():
            assert type(value) is torch.Tensor and value.dtype == b[key].dtype
            torch.testing.assert_close(value, b[key], rtol=1e-7, atol=1e-9, msg=key)


@pytest.mark.parametrize("name", ["fsdp", "compiled"])
def test_a_divided_net_learns_what_copies_do(runs, name):
    assert_close(runs[name], runs["ddp"])
    assert metrics(runs["ddp"])[1]["train_accuracy"] > 0.15, "a net that learns nothing shows nothing"
    log = (runs[name] / "log.txt").read_text()
    held = re.search(r"divided: rank 0 has ([\d,]+) of ([\d,]+) parameters", log)
    assert (held is not None) == (name != "compiled")
    if held is not None:
        mine, of = (int(number.replace(",", "")) for number in held.groups())
        assert 0.5 <= mine / of < 0.55
    assert ("the net is compiled" in log) == (name == "compiled")
    assert (runs[name] / "energy.json").exists() == (name == "compiled")
    assert ("snncore-profile" in log) == (name != "compiled")


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_all_ranks_measure_the_average_that_is_kept(runs, name):
    """With the running statistics of rank 0, not those that each rank averaged itself."""
    *epochs, last = metrics(runs[name])
    best = max(epochs, key=lambda line: line["ema_test_accuracy"])
    assert (last["best_ema_test_accuracy"], last["best_ema_epoch"]) == (best["ema_test_accuracy"], best["epoch"])
    saved = load_saved(runs[name] / "best_ema.pt")
    (x, label) = next(iter(Batches(saved.test, len(saved.test), shuffle=False, seed=0)))
    with torch.no_grad():
        loss = ce_double(saved.net(direct(x, 3)), label)
    assert loss.item() == pytest.approx(best["ema_test_loss"], rel=1e-9) and loss < 2.3


def test_one_rank_and_divided_ones_go_on_with_each_others_checkpoints(runs, tmp_path):
    assert_close(runs["chain"], runs["alone"])
    assert metrics(runs["alone"])[2]["train_accuracy"] > 0.3
    assert "is of 1 ranks and this run has 2" in (runs["chain"] / "log.txt").read_text()
    shutil.copytree(runs["chain"], tmp_path / "run")
    assert main(["--resume", str(tmp_path / "run" / "epoch-2.pt"), "--epochs", "3", "--parallel", "ddp"]) == 0
    assert_close(tmp_path / "run", runs["alone"])


def test_the_checkpoint_is_that_of_the_plain_net(runs):
    saved = load_saved(runs["fsdp"])
    content = torch.load(runs["fsdp"] / "best.pt", weights_only=True)["model"]
    assert list(saved.net.state_dict()) == list(content)
    assert all(torch.equal(value, content[key]) for key, value in saved.net.state_dict().items())
    assert any(value.dim() == 0 and value.is_floating_point() for value in content.values())


@pytest.mark.parametrize(
    ("typed", "message"),
    [(["--amp", "fp16"], "--amp bf16"), (["--compile", "--compile-backend", "eager"], "use one of them")],
)
def test_what_cannot_be_divided_is_told(typed, message):
    from snncore.train.sharded import check_fsdp

    with pytest.raises(ConfigError, match=f"--parallel fsdp: must be without {typed[0]}.*{message}"):
        check_fsdp(typed[1] if typed[0] == "--amp" else "off", "--compile" in typed)


@pytest.mark.parametrize(("n", "batch"), [(2, 2), (3, 2), (5, 2), (9, 4), (129, 128), (359, 128), (16, 2), (41, 8)])
@pytest.mark.parametrize("size", [2, 3, 4])
def test_all_ranks_have_as_many_batches_and_see_each_sample_once(n, batch, size):
    if n < size:
        with pytest.raises(ConfigError, match=f"each of the {size} ranks in an evaluation, got {n}"):
            list(even_parts(torch.arange(n), batch, Ranks(0, size)))
        return
    ranks = [list(even_parts(torch.arange(n), batch, Ranks(rank, size))) for rank in range(size)]
    assert len({len(parts) for parts in ranks}) == 1
    assert all(len(places) for parts in ranks for places, _ in parts)
    assert sorted(place for parts in ranks for places, _ in parts for place in places.tolist()) == list(range(n))
    assert [total for _, total in ranks[0]] == [
        sum(len(parts[i][0]) for parts in ranks) for i in range(len(ranks[0]))
    ]  # fmt: skip


def test_the_loop_is_given_such_batches():
    digits = load("digits")[1].subset(range(41))
    batches = [list(set_batches(digits, 8, Ranks(rank, 2), train=False, seed=0, even=True)) for rank in range(2)]
    assert len(batches[0]) == len(batches[1]) and None not in batches[1]
    assert torch.equal(torch.cat([b.x for rank in batches for b in rank]), next(set_batches(
        digits, 41, Ranks(), train=False, seed=0)).x)  # fmt: skip
