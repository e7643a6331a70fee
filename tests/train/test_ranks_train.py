"""Two processes train one net as one process does, and come back from whatever stops one of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from test_resume import assert_same_run, metrics, the_run

from snncore.cli.train import main
from snncore.errors import ConfigError, DistributedError
from snncore.train.distributed import Ranks, connected
from snncore.train.loop import Loop
from snncore.train.shares import places_of_rank, set_batches
from snncore.train.task import Batch, Plan

pytestmark = [
    pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="torch has no gloo"),
    pytest.mark.usefixtures("own_nets"),
]

HERE = Path(__file__).parent
# 1,437 samples in batches of 128, the last of 29: 15 for rank 0 and 14 for rank 1. 359 for the test: 180 and 180.
COMMON = [
    *("--epochs", "2", "-b", "128", "--loss", "ce_count", "--threads", "1", "--device", "cpu", "--rank-timeout", "20"),
    *("--no-tensorboard", "--no-keep-freed-blocks", "--energy-samples", "0"),
]
DOUBLE = [*COMMON, "-T", "4", "--loss", "ce_double"]
SYNC = [*DOUBLE, "--model", "double_csnn", "--sync-bn", "--save-every-epochs", "1"]
RANDOM = [
    "--crop",
    "8",
    "--crop-padding",
    "1",
    "--flip",
    "0.5",
    "--auto-augment",
    "ra",
    "--random-erase",
    "0.2",
    "-j",
    "1",
]
PLAIN = [*DOUBLE, *RANDOM, "--model", "double_mlp", "--neuron", "leaky", "--val-split", "0.33", "--grad-accum", "3"]
DROPOUT = [
    *(*COMMON, "--model", "dropout_net", "-T", "4", "--neuron", "plif", "--opt", "adam", "--lr", "0.02"),
    *("--flip", "0.5", "--mixup-alpha", "0.3", "--cutmix-alpha", "1", "--workers", "0"),
]
HALF = [*COMMON, "--model", "half_used", "-T", "4"]
OVERFLOWS = [*COMMON, "--model", "overflows", "-T", "2", "--amp", "fp16", "--unused-parameters", "no"]
TRAIN_STEP = "snncore.train.run.ConfigTask.train_output"  # of two ranks, the first call looks for unused parameters


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", **more}


def two(folder: Path, *jobs: dict, cwd: Path | None = None) -> list[tuple[int, str, dict]]:
    """Run ``jobs`` on two ranks; return exit code, what it printed to stderr, and its notes, of each."""
    folder.mkdir(exist_ok=True)
    (folder / "jobs.json").write_text(json.dumps({"out": str(folder), "jobs": jobs}))
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": "2"}
    line = [sys.executable, str(HERE / "ranks_run.py"), str(folder / "jobs.json")]
    started = [
        subprocess.Popen(
            line, cwd=cwd, env=environment(**group, RANK=str(r), LOCAL_RANK=str(r)), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for r in range(2)
    ]  # fmt: skip
    found = []
    try:
        for r, process in enumerate(started):
            _, said = process.communicate(timeout=100)
            notes = folder / f"{r}.json"
            found.append((process.returncode, said, json.loads(notes.read_text()) if notes.exists() else {}))
    finally:
        for process in started:
            process.kill()
    return found


def losses(path: Path) -> list[float]:
    return [line[key] for line in metrics(path) for key in line if key.endswith("_loss")]


@pytest.fixture(scope="module")
def pair(own_nets, tmp_path_factory):
    """Whole runs on two ranks: name -> folder; and what each rank wrote down."""
    folder = tmp_path_factory.mktemp("pair")
    names = {"sync": SYNC, "plain": PLAIN, "dropout": DROPOUT, "half": HALF, "overflows": OVERFLOWS}
    jobs = [{"arguments": [*args, "--output-dir", str(folder / name)]} for name, args in names.items()]
    found = two(folder, *jobs)
    assert [code for code, _, _ in found] == [0, 0], found[0][1][:3000] + found[1][1][:3000]
    return {name: the_run(folder / name) for name in names}, [notes for _, _, notes in found]


@pytest.mark.parametrize(("name", "arguments"), [("sync", SYNC), ("plain", PLAIN)])
def test_two_ranks_learn_what_one_does(pair, tmp_path, name, arguments):
    """The same batches, so the same mathematics; only the sums over a batch are taken in another order.

    Rounding differs by 1e-16 in float64 then, grows over 24 steps, and reaches no threshold: 1e-9 leaves room for that.
    In float32 it is 1e-7, which is enough to let a spike come or go once in a while; from there two runs are two
    runs, so nothing sharp can be said of them. A rank that weighted its samples wrongly, as 1/15 and 1/14 in the last
    batch instead of 1/29, would be 1e-3 off.
    """
    assert main([*arguments, "--output-dir", str(tmp_path)]) == 0
    one, several = metrics(the_run(tmp_path)), metrics(pair[0][name])
    assert losses(pair[0][name]) == pytest.approx(losses(the_run(tmp_path)), rel=1e-9)
    assert len(one) == len(several) == 3
    for left, right in zip(one, several, strict=True):  # counts of samples: exactly equal
        assert {k: v for k, v in left.items() if "accuracy" in k} == {k: v for k, v in right.items() if "accuracy" in k}
    assert one[-1]["firing_rate"] == pytest.approx(several[-1]["firing_rate"], rel=1e-12)


def test_all_ranks_end_with_the_same_weights(pair):
    first, second = (notes["weights"] for notes in pair[1])
    assert len(first) == 5 and first == second


def test_a_step_that_overflows_on_one_rank_is_passed_over_by_all(pair):
    assert [line["skipped_steps"] for line in metrics(pair[0]["overflows"])[:2]] == [1, 0]
    content = torch.load(pair[0]["overflows"] / "last.pt", weights_only=True)
    assert content["scaler"]["scale"] == 32768 and all(v.isfinite().all() for v in content["model"].values())


def test_ranks_have_random_numbers_of_their_own(pair):
    own = [rank["rng"] for rank in torch.load(pair[0]["dropout"] / "last.pt", weights_only=True)["ranks"]]
    assert len(own) == 2
    assert not torch.equal(own[0]["torch"], own[1]["torch"]) and own[0]["python"] != own[1]["python"]
    assert not torch.equal(own[0]["numpy"][1], own[1]["numpy"][1])


def test_rank_0_alone_writes(pair):
    folder, _ = pair
    assert sorted(path.name for path in folder["sync"].iterdir()) == [
        "best.pt", "config.yaml", "epoch-1.pt", "epoch-2.pt", "last.pt", "log.txt", "metrics.jsonl",
    ]  # fmt: skip
    log = (folder["sync"] / "log.txt").read_text()
    assert log.count("2 ranks share each batch of 128: 64 samples a rank") == 1 and log.count("epoch 2/2") == 1


def test_parameters_without_a_gradient_are_found_and_stay_as_they_are(pair):
    log = (pair[0]["half"] / "log.txt").read_text()
    assert "looked for at every step: idle.bias, idle.weight" in log
    assert "looked for" not in (pair[0]["sync"] / "log.txt").read_text()


def test_checkpoints_of_two_ranks_go_on_with_one(pair, tmp_path):
    shutil.copytree(pair[0]["sync"], tmp_path / "run")
    assert main(["--resume", str(tmp_path / "run" / "epoch-1.pt")]) == 0
    assert "epoch-1.pt is of 2 ranks and this run has 1" in (tmp_path / "run" / "log.txt").read_text()
    assert losses(tmp_path / "run") == pytest.approx(losses(pair[0]["sync"]), rel=1e-9)


@pytest.mark.parametrize(
    ("rank", "place", "count", "what"),
    [(0, TRAIN_STEP, 19, "SIGKILL"), (1, TRAIN_STEP, 17, "SIGKILL"), (0, "os.fsync", 7, "full_disk")],
    ids=["rank 0 killed", "rank 1 killed", "disk full"],
)
def test_when_one_fails_all_end_and_the_run_goes_on_to_the_same_bits(pair, tmp_path, rank, place, count, what):
    every = ["--save-every-steps", "5", "--output-dir", str(tmp_path / "logs")]
    began = time.monotonic()
    found = two(tmp_path / "a", {"arguments": [*DROPOUT, *every], "stop": [rank, place, count, what]})
    assert time.monotonic() - began < 60
    code, said, _ = found[1 - rank]
    assert code == 2 and "one of them failed or did not answer" in said and "Traceback" not in said, said
    if what == "full_disk":
        assert found[0][0] == 2 and "No space left on device" in found[0][1] and "Traceback" not in found[0][1]
    else:
        assert found[rank][0] == -signal.SIGKILL
    again = two(tmp_path / "b", {"arguments": ["--resume", "logs/" + the_run(tmp_path / "logs").name]}, cwd=tmp_path)
    assert [code for code, _, _ in again] == [0, 0], again[0][1]
    assert_same_run(pair[0]["dropout"], the_run(tmp_path / "logs"))


def test_a_stop_on_any_rank_stops_all_after_the_same_step(pair, tmp_path):
    into = ["--output-dir", str(tmp_path / "logs")]
    found = two(
        tmp_path / "out",
        {"arguments": [*DROPOUT, *into], "stop": [1, TRAIN_STEP, 17, "SIGINT"]},
        {"arguments": [*DROPOUT, *into, "--epochs", "2", "--resume", "auto", "--save-every-epochs", "2"]},
    )
    assert [notes["codes"] for _, _, notes in found] == [[130, 0]] * 2
    folder = the_run(tmp_path / "logs")
    assert "going on from" in (folder / "log.txt").read_text() and "epoch 2, step 5" in (folder / "log.txt").read_text()
    (folder / "epoch-2.pt").unlink()
    assert_same_run(pair[0]["dropout"], folder, ("save_every_epochs",))


def test_torchrun_starts_again_and_goes_on(pair, tmp_path):
    """``torchrun --max-restarts`` with ``--resume auto``, one rank killed in the middle of an epoch."""
    every = ["--save-every-steps", "5", "--resume", "auto", "--output-dir", str(tmp_path / "logs")]
    job = {"arguments": [*DROPOUT, *every], "stop": [1, TRAIN_STEP, 19, "SIGKILL"]}
    (tmp_path / "jobs.json").write_text(json.dumps({"out": str(tmp_path), "jobs": [job]}))
    line = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "1"]
    line += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}", "--local-addr", "127.0.0.1"]
    line += [str(HERE / "ranks_run.py"), str(tmp_path / "jobs.json")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, env=environment())
    assert done.returncode == 0, done.stderr
    assert "going on from" in (the_run(tmp_path / "logs") / "log.txt").read_text()
    assert_same_run(pair[0]["dropout"], the_run(tmp_path / "logs"))


# ---- one process, told it were one of several ------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("n", [1, 7, 8, 25])
@pytest.mark.parametrize("start", [0, 1])
def test_ranks_together_see_each_sample_of_each_batch_once(n, size, start):
    order = torch.randperm(n, generator=torch.Generator().manual_seed(n))
    parts = [list(places_of_rank(order, 12, start, Ranks(rank, size))) for rank in range(size)]
    batches = [torch.cat([places for places, _ in step]) for step in zip(*parts, strict=True)]
    assert [len(batch) for batch in batches] == [total for _, total in parts[0]]
    assert torch.equal(torch.cat(batches) if batches else order[:0], order[12 * start :])


def test_a_rank_without_samples_gets_a_stand_in_while_training_and_nothing_in_an_evaluation(digits):
    nine = digits.subset(range(9))
    for train in (True, False):
        shares = [list(set_batches(nine, 8, Ranks(rank, 4), train=train, seed=0)) for rank in range(4)]
        assert [len(share) for share in shares] == [2] * 4
        assert [share[1] and (share[1].count, share[1].total) for share in shares] == (
            [(1, 1), (0, 1), (0, 1), (0, 1)] if train else [(1, 1), None, None, None]
        )
        assert torch.equal(
            torch.cat([share[0].x for share in shares]), next(set_batches(nine, 8, Ranks(), train=train, seed=0)).x
        )


@pytest.mark.parametrize("total", [1, 2, 3, 5, 9, 11, 16])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_all_ranks_divide_a_batch_into_as_many_parts(total, size):
    """Or those that meet in every part, of a sharded net or in a norm, would wait for one that does not come."""
    seen = []
    for rank in range(size):
        share = Ranks(rank, size).part(total)
        count = share.stop - share.start
        x = torch.zeros(max(count, 1), 2)
        loop, passes = (
            mock.MagicMock(plan=Plan(epochs=1, batch_size=16, seed=0, grad_accum=4), ranks=Ranks(rank, size)),
            [],
        )
        loop.task.train_output = lambda model, x, passes=passes: passes.append(len(x)) or x
        Loop.train_step(loop, Batch(x, x[:, 0].long(), count, total))
        seen.append(passes)
    assert len({len(passes) for passes in seen}) == 1 and len(seen[0]) == max(1, min(4, total // size))
    assert all(0 not in passes for passes in seen)


@pytest.mark.parametrize("size", [1, 2])
def test_without_shuffling_the_samples_come_as_they_lie(digits, size):
    nine = digits.subset(range(9))
    ranks = [Ranks(rank, size) for rank in range(size)]
    shares = [list(set_batches(nine, 4, r, train=True, seed=0, epoch=1, start=1, shuffle=False)) for r in ranks]
    steps = [[b.x for b in step if b.count] for step in zip(*shares, strict=True)]
    assert torch.equal(torch.cat([x for step in steps for x in step]), nine.images[4:].float() / nine.scale)


@pytest.fixture
def digits():
    from snncore.data import load

    return load("digits")[1]


def test_a_batch_that_does_not_divide_says_what_does():
    with pytest.raises(ConfigError, match=r"--batch-size.*multiple of the 3 ranks.*got 128.*use 129"):
        Ranks(0, 3).share(128)
    assert Ranks(1, 4).share(128) == 32


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "without RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT; start with torchrun"),
        ({"RANK": "x", "LOCAL_RANK": "0", "MASTER_ADDR": "h", "MASTER_PORT": "1"}, "no number"),
    ],
)
def test_half_an_environment_is_an_error(monkeypatch, given, message):
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"WORLD_SIZE": "2", **given}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message), connected("cpu", 1.0):
        pass


def test_a_rank_that_does_not_come_is_an_error_within_the_time_stated(monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    given = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    began = time.monotonic()
    late = pytest.raises(DistributedError, match=r"rank 0: must hear from all other ranks within 1 s")
    with late, connected("cpu", 1.0):
        pass
    assert time.monotonic() - began < 20
