"""A script on `Trainer`, started by torchrun on two ranks, learns what it does on one with the same whole batch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from test_ranks_train import environment, free_port
from test_resume import metrics, the_run
from trainer_run import SmallTrainer

pytestmark = pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="torch has no gloo")

# 9 images to learn from in batches of 4, the last of 1, for which rank 1 has a stand-in; 5 to test on, the last of them
# on one rank only.
# Augmentation is drawn for each sample, mixtures for each rank's batch: without these.
COMMON = [
    *("--epochs", "2", "--lr-warmup-epochs", "0", "--mixup-alpha", "0", "--cutmix-alpha", "0", "--sync-bn"),
    *("--train-crop-size", "16", "--val-resize-size", "20", "--val-crop-size", "16", "--device", "cpu", "-j", "0"),
    *("--model-ema", "--model-ema-steps", "1", "--model-ema-decay", "0.99", "--model", "small"),
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    image = pytest.importorskip("PIL.Image", reason="reading a folder of images needs Pillow")
    root = tmp_path_factory.mktemp("photos")
    random = np.random.RandomState(0)
    for part, counts in (("train", (4, 3, 2)), ("val", (2, 2, 1))):
        for i, (name, count) in enumerate(zip(("cat", "dog", "owl"), counts, strict=True)):
            (root / part / name).mkdir(parents=True)
            for k in range(count):
                pixels = (random.rand(24, 22, 3) * 80 + i * 80).astype(np.uint8)
                image.fromarray(pixels).save(root / part / name / f"{k}.png")
    return root


@pytest.fixture(autouse=True)
def any_algorithm():
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def alone(photos, tmp_path_factory):
    trainer = SmallTrainer()
    words = [*COMMON, "--data-path", str(photos), "-b", "4", "--output-dir", str(tmp_path_factory.mktemp("one"))]
    return trainer.main(trainer.get_args_parser().parse_args(words)).folder


@pytest.mark.parametrize("more", [[], ["--parallel", "fsdp"]], ids=["copies", "divided"])
def test_two_ranks_learn_what_one_does(photos, alone, tmp_path, more):
    """In float64; see test_ranks_train: 1e-9 is room for sums in another order, and small beside any other error."""
    arguments = [*COMMON, *more, "--data-path", str(photos)]
    script = str(Path(__file__).with_name("trainer_run.py"))
    line = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--local-addr", "127.0.0.1"]
    line += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}", script, *arguments]
    line += ["-b", "2", "--output-dir", str(tmp_path / "two")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, env=environment())
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = metrics(alone), metrics(the_run(tmp_path / "two"))
    assert [list(line) for line in one] == [list(line) for line in two] and len(one) == 3
    for left, right in zip(one, two, strict=True):
        left.pop("firing_rate", None), right.pop("firing_rate", None)
        assert left == pytest.approx(right, rel=1e-9)
    contents = [torch.load(path / "last.pt", weights_only=True) for path in (alone, the_run(tmp_path / "two"))]
    averages = [content["extra"]["ema"]["average"] for content in contents]
    for a, b in ((contents[0]["model"], contents[1]["model"]), averages):
        assert list(a) == list(b)
        for key, value in a.items():
            torch.testing.assert_close(value, b[key], rtol=1e-7, atol=1e-9, msg=key)
    start = SmallTrainer().load_model(None, 3).state_dict()
    assert any(not torch.allclose(value, start[key]) for key, value in contents[0]["model"].items())
    log = (the_run(tmp_path / "two") / "log.txt").read_text()
    assert log.count("2 ranks share each batch of 4: 2 samples a rank") == log.count("epoch 2/2") == 1
    assert ("the net is divided" in log) == bool(more)
