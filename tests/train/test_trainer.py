"""``Trainer`` as people inherit from it: SpikingJelly's own script after its imports are changed, and the hooks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from snncore import data, functional, layer, neuron, surrogate, train
from snncore.errors import ArgumentError, ConfigError, UnknownNameError
from snncore.model import spiking_resnet
from snncore.train import Trainer
from snncore.train import trainer as train_classify
from snncore.train.arguments import changes, completed
from snncore.train.trainer_task import _parts

# From SpikingJelly's documentation, spikingjelly.activation_based.model.train_imagenet_example; only its imports are
# others here.


class SResNetTrainer(train_classify.Trainer):
    def preprocess_train_sample(self, args, x: torch.Tensor):
        # define how to process train sample before send it to model
        return x.unsqueeze(0).repeat(args.T, 1, 1, 1, 1)  # [N, C, H, W] -> [T, N, C, H, W]

    def preprocess_test_sample(self, args, x: torch.Tensor):
        # define how to process test sample before send it to model
        return x.unsqueeze(0).repeat(args.T, 1, 1, 1, 1)  # [N, C, H, W] -> [T, N, C, H, W]

    def process_model_output(self, args, y: torch.Tensor):
        return y.mean(0)  # return firing rate

    def get_args_parser(self, add_help=True):
        parser = super().get_args_parser()
        parser.add_argument('--T', type=int, help="total time-steps")  # fmt: skip
        parser.add_argument('--cupy', action="store_true", help="set the neurons to use cupy backend")  # fmt: skip
        return parser

    def get_tb_logdir_name(self, args):
        return super().get_tb_logdir_name(args) + f'_T{args.T}'  # fmt: skip

    def load_model(self, args, num_classes):
        if args.model in spiking_resnet.__all__:
            # fmt: off
            model = spiking_resnet.__dict__[args.model](pretrained=args.pretrained, spiking_neuron=neuron.IFNode,
                                                        surrogate_function=surrogate.ATan(), detach_reset=True)
            # fmt: on
            functional.set_step_mode(model, step_mode="m")  # fmt: skip
            if args.cupy:
                functional.set_backend(model, 'cupy', neuron.IFNode)  # fmt: skip

            return model
        else:
            raise ValueError(f"args.model should be one of {spiking_resnet.__all__}")


class MyTrainer(train_classify.Trainer):
    def set_optimizer(self, args, parameters):
        opt_name = args.opt.lower()
        if opt_name.startswith("adamax"):
            optimizer = torch.optim.Adamax(parameters, lr=args.lr, weight_decay=args.weight_decay)
            return optimizer
        else:
            return super().set_optimizer(args, parameters)


class Forgets(train_classify.Trainer):
    def get_args_parser(self, add_help=True):
        parser = super().get_args_parser()
        parser.add_argument('--do-something', type=str, help="do something")  # fmt: skip


def lines(folder: Path) -> list[dict]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if "images_per_s" not in k and k != "seconds"} for line in found]


def launched(trainer, *arguments: str, path: Path):
    words = [*arguments, "--device", "cpu", "--output-dir", str(path)]
    return trainer.main(trainer.get_args_parser().parse_args(words))


@pytest.fixture(autouse=True)
def any_algorithm():
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Six images of three classes to learn from, three to test on."""
    image = pytest.importorskip("PIL.Image", reason="reading a folder of images needs Pillow")
    root = tmp_path_factory.mktemp("photos")
    random = np.random.RandomState(0)
    for part, count in (("train", 2), ("val", 1)):
        for i, name in enumerate(("cat", "dog", "owl")):
            (root / part / name).mkdir(parents=True)
            for k in range(count):
                pixels = (random.rand(40, 48, 3) * 80 + i * 80).astype(np.uint8)
                image.fromarray(pixels).save(root / part / name / f"{k}.png")
    return root


def test_the_published_script_runs_after_its_imports_are_changed(photos, tmp_path):
    words = ["--T", "2", "--model", "spiking_resnet18", "--data-path", str(photos), "--batch-size", "3", "--lr", "0.1"]
    small = ["--train-crop-size", "32", "--val-resize-size", "40", "--val-crop-size", "32", "--lr-warmup-epochs", "0"]
    result = launched(SResNetTrainer(), *words, *small, "--lr-scheduler", "cosa", "--epochs", "2", path=tmp_path)
    name = (
        "spiking_resnet18_b3_e2_sgd_lr0.1_wd0.0_ls0.1_ma0.2_ca1.0_sbn0_ra0_re0.1_aaugta_wide_size32_40_32_seed2020_T2"
    )
    assert result.folder == tmp_path / name and result.epochs == 2
    first, second, final = lines(result.folder)
    assert {"train_loss", "train_accuracy", "test_loss", "test_accuracy", "lr"} <= first.keys() and final["final"]
    assert (first["lr"], second["lr"]) == (0.1, 0.05)
    assert 0 <= result.test_accuracy <= 1 and all(rate >= 0 for rate in result.firing_rate.values())
    content = torch.load(result.folder / "last.pt", weights_only=True)
    assert content["model"]["fc.weight"].shape == (1000, 512) and content["config"]["T"] == 2
    tested = launched(SResNetTrainer(), *words, *small, "--test-only", "--resume", str(result.folder / "best.pt"),
                      "--epochs", "2", path=tmp_path)  # fmt: skip
    assert tested.test_accuracy == result.test_accuracy


def test_the_parser_that_is_not_returned_is_named():
    with pytest.raises(ArgumentError, match=r"Forgets\.get_args_parser: must return the parser.*'return parser'"):
        Forgets().get_args_parser()


class Digits(MyTrainer):
    """Handwritten digits in memory and a net with dropout, so that random numbers count."""

    def load_data(self, args):
        return data.load("digits")

    def load_model(self, args, num_classes):
        net = nn.Sequential(
            layer.Flatten(), layer.Dropout(0.2), layer.Linear(64, 30), neuron.LIFNode(),
            layer.Linear(30, num_classes), layer.BatchNorm1d(num_classes), neuron.LIFNode(),
        )  # fmt: skip
        functional.set_step_mode(net, "m")
        return net

    def preprocess_train_sample(self, args, x):
        return x.unsqueeze(0).repeat(4, 1, 1, 1, 1)

    preprocess_test_sample = preprocess_train_sample

    def process_model_output(self, args, y):
        return y.mean(0)


SMALL = [
    "-b",
    "128",
    "--epochs",
    "3",
    "--lr-warmup-epochs",
    "1",
    "--model-ema",
    "--model-ema-steps",
    "5",
    "--opt",
    "adamax",
]
SMALL += ["--lr", "0.02", "--clip-grad-norm", "1", "--grad-accum", "2", "--norm-weight-decay", "0"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return launched(Digits(), *SMALL, path=tmp_path_factory.mktemp("whole")).folder


def test_it_learns_and_measures_the_average_too(whole):
    found = lines(whole)
    assert found[2]["test_accuracy"] > 0.5 and found[2]["test_accuracy5"] > 0.8
    assert found[2]["ema_test_accuracy"] != found[2]["test_accuracy"]
    assert [line["lr"] for line in found[:3]] == pytest.approx([0.0002, 0.02, 0.01])
    extra = torch.load(whole / "last.pt", weights_only=True)["extra"]
    assert extra.keys() == {"scheduler", "ema"}
    assert extra["ema"]["updates"] == 6  # steps 0, 5 and 10 of the two epochs after the warm-up


def test_stopped_in_the_middle_of_an_epoch_it_goes_on_to_the_same_bits(whole, tmp_path, monkeypatch):
    calls = []
    step = Digits.preprocess_train_sample

    def stops(self, args, x):
        calls.append(1)
        if len(calls) == 31:  # two parts a step: the 16th step, the 4th of the second epoch
            raise KeyboardInterrupt
        return step(self, args, x)

    monkeypatch.setattr(Digits, "preprocess_train_sample", stops)
    with pytest.raises(KeyboardInterrupt):
        launched(Digits(), *SMALL, "--save-every-steps", "5", path=tmp_path)
    monkeypatch.undo()
    result = launched(Digits(), *SMALL, "--resume", "latest", path=tmp_path)
    left, right = (torch.load(folder / "last.pt", weights_only=True) for folder in (whole, result.folder))
    assert "epoch 2, step 4" in (result.folder / "log.txt").read_text()
    for key in ("model", "optimizer", "position", "scaler"):
        assert str(left[key]) == str(right[key])
    assert all(torch.equal(left["model"][key], right["model"][key]) for key in left["model"])
    average = [content["extra"]["ema"]["average"] for content in (left, right)]
    assert all(torch.equal(average[0][key], average[1][key]) for key in average[0])
    assert lines(whole) == lines(result.folder)


def test_the_same_command_twice_gives_two_folders_and_clean_one(tmp_path):
    one = ["-b", "512", "--epochs", "1", "--lr-warmup-epochs", "0"]
    first = launched(Digits(), *one, path=tmp_path)
    second = launched(Digits(), *one, path=tmp_path)
    assert second.folder.name == first.folder.name + "-2"
    assert launched(Digits(), *one, "--clean", path=tmp_path).folder == first.folder


def test_print_logdir_prints_it_before_anything_is_loaded(tmp_path, capsys):
    assert launched(Trainer(), "--print-logdir", path=tmp_path) is None
    assert capsys.readouterr().out.startswith(str(tmp_path / "resnet18_b32_e90_sgd_lr0.1")) and not list(
        tmp_path.iterdir()
    )


@pytest.mark.parametrize(
    ("typed", "error", "message"),
    [
        (["--opt", "sdg"], UnknownNameError, "sgd"),
        (["--lr-scheduler", "cosine"], UnknownNameError, "--lr-scheduler: must be one of cosa, exp, none, step"),
        (["--lr-warmup-method", "exp"], UnknownNameError, "--lr-warmup-method: must be one of constant, linear"),
        (["--set", "lrr=1"], ConfigError, "--set: must be an argument"),
        (["--resume", "/nowhere/x.pt"], Exception, "/nowhere/x.pt"),
    ],
)
def test_a_slip_is_one_message(tmp_path, typed, error, message):
    with pytest.raises(error, match=message):
        launched(Digits(), *typed, path=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("hook", "value", "message"),
    [
        ("load_model", None, r"Digits\.load_model: must return a module, got None"),
        ("load_data", None, r"Digits\.load_data: must return \(train, test\)"),
        (
            "process_model_output",
            torch.zeros(4, 128, 10),
            r"process_model_output: must return scores \[128, classes\].*y\.mean",
        ),
    ],
)
def test_a_hook_that_returns_something_else_is_named(tmp_path, monkeypatch, hook, value, message):
    monkeypatch.setattr(Digits, hook, lambda *_: value)
    with pytest.raises(ArgumentError, match=message):
        launched(Digits(), "-b", "128", "--epochs", "1", path=tmp_path)


def test_other_arguments_do_not_go_on(whole):
    words = [*SMALL, "--lr", "0.5", "--resume", str(whole)]
    with pytest.raises(ConfigError, match=r"lr \(0.02 -> 0.5\)"):
        launched(Digits(), *words, path=whole.parent)


@pytest.mark.parametrize(
    ("scheduler", "averaged", "free"),
    [("none", False, True), ("cosa", False, False), ("CosA", False, False), ("none", True, False)],
)
def test_the_number_of_epochs_may_change_where_nothing_depends_on_it(scheduler, averaged, free):
    saved = {"lr_scheduler": scheduler, "model_ema": averaged, "epochs": 4}
    assert changes(saved, {**saved, "epochs": 5}) == ({} if free else {"epochs": (4, 5)})


def test_a_checkpoint_from_before_an_argument_goes_on_with_its_default(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "old")
    content = torch.load(whole / "last.pt", weights_only=True)
    del content["config"]["shuffle"]
    torch.save(content, tmp_path / "old" / "last.pt")
    words = [*SMALL, "--resume", str(tmp_path / "old")]
    with pytest.raises(ConfigError, match=r"got other shuffle \(True -> False\); leave"):
        launched(Digits(), *words, "--no-shuffle", path=tmp_path)
    assert launched(Digits(), *words, path=tmp_path).epochs == content["position"]["epoch"]


def test_latest_is_of_this_run_not_of_one_whose_name_begins_alike(tmp_path):
    one = ["-b", "512", "--epochs", "1", "--lr-warmup-epochs", "0", "--resume", "latest"]
    other = launched(Digits(), *one, "--seed", "10", path=tmp_path).folder
    first = launched(Digits(), *one, "--seed", "1", path=tmp_path).folder
    assert other.name == first.name + "0" and "going on" not in (first / "log.txt").read_text()
    os.utime(other / "last.pt")
    assert launched(Digits(), *one, "--seed", "1", path=tmp_path).folder == first


# The defaults of SpikingJelly's script.
PUBLISHED = {
    "data_path": "/datasets01/imagenet_full_size/061417/", "model": "resnet18", "device": "cuda", "batch_size": 32,
    "epochs": 90, "opt": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.0, "norm_weight_decay": None,
    "label_smoothing": 0.1, "mixup_alpha": 0.2, "cutmix_alpha": 1.0, "lr_scheduler": "cosa", "lr_warmup_epochs": 5,
    "lr_warmup_method": "linear", "lr_warmup_decay": 0.01, "lr_step_size": 30, "lr_gamma": 0.1, "output_dir": "./logs",
    "resume": None, "start_epoch": 0, "cache_dataset": False, "sync_bn": False, "test_only": False, "pretrained": False,
    "auto_augment": "ta_wide", "random_erase": 0.1, "world_size": 1, "dist_url": "env://", "model_ema": False,
    "model_ema_steps": 32, "model_ema_decay": 0.99998, "interpolation": "bilinear", "val_resize_size": 232,
    "val_crop_size": 224, "train_crop_size": 176, "clip_grad_norm": None, "ra_sampler": False, "ra_reps": 4,
    "prototype": False, "weights": None, "seed": 2020, "print_logdir": False, "clean": False,
    "disable_pinmemory": False, "disable_amp": False, "local_rank": None, "disable_uda": False,
}  # fmt: skip


def test_every_published_argument_is_there_with_its_default():
    found = vars(Trainer().get_args_parser().parse_args([]))
    assert {key: found.get(key, "absent") for key in PUBLISHED} == PUBLISHED
    assert found["workers"] is None  # theirs is 16, whatever the machine
    assert {"amp", "grad_accum", "val_split", "engine", "compile", "deterministic", "set"} <= found.keys()
    assert Trainer().get_args_parser().parse_args(["--local-rank=0", "-j", "2", "--wd", "1e-4"]).local_rank == 0


@pytest.mark.parametrize(
    ("typed", "amp"),
    [
        ([], "fp16"),
        (["--parallel", "fsdp"], "bf16"),
        (["--parallel", "fsdp", "--amp", "fp16"], "fp16"),
        (["--disable-amp"], "off"),
        (["--device", "cpu"], "off"),
    ],
)
def test_the_default_of_mixed_precision_is_one_that_can_be(monkeypatch, typed, amp):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert completed(Trainer().get_args_parser().parse_args(typed)).amp == amp


def test_set_wins_and_keeps_its_type(tmp_path):
    result = launched(Digits(), "-b", "512", "--set", "epochs=1", "--set", "lr-warmup-epochs=0", "--set", "lr=1e-2",
                      path=tmp_path)  # fmt: skip
    saved = torch.load(result.folder / "last.pt", weights_only=True)["config"]
    assert (saved["epochs"], saved["lr"], result.epochs) == (1, 0.01, 1)


@pytest.mark.parametrize("in_memory", ["neither", "train", "test"])
def test_validation_images_are_transformed_as_those_of_the_test(in_memory):
    bright, dark = (lambda image: image * 0 + 255), (lambda image: image * 0)
    train, test = data.load("digits")
    train = train if in_memory == "train" else train.with_transform(bright)
    test = test if in_memory == "test" else test.with_transform(dark)
    parts = _parts(train, test, 0.2, 0)
    of_train, of_validation = (parts[name].subset([0, 1]) for name in ("train", "validation"))
    first, second = (next(iter(data.Batches(s, 2, shuffle=False, seed=0)))[0] for s in (of_train, of_validation))
    assert (first == 1).all() == (in_memory != "train")
    assert (second == 0).all() == (in_memory != "test") and second.max() < 1.1
    assert isinstance(_parts(*data.load("digits"), 0.2, 0)["validation"], data.ImageSet)


@pytest.mark.parametrize(("typed", "as_they_lie"), [([], False), (["--shuffle"], False), (["--no-shuffle"], True)])
def test_the_order_of_the_training_samples(tmp_path, monkeypatch, typed, as_they_lie):
    seen = []
    step = Digits.preprocess_train_sample
    monkeypatch.setattr(
        Digits, "preprocess_train_sample", lambda self, args, x: [seen.append(x), step(self, args, x)][1]
    )
    one = ["-b", "500", "--epochs", "1", "--lr-warmup-epochs", "0", "--mixup-alpha", "0", "--cutmix-alpha", "0"]
    launched(Digits(), *one, *typed, path=tmp_path)
    train, _ = data.load("digits")
    assert torch.equal(torch.cat(seen), train.images.float() / train.scale) == as_they_lie


def test_what_has_no_effect_says_so(tmp_path):
    one = ["-b", "512", "--epochs", "1", "--lr-warmup-epochs", "0"]
    given = ["--cache-dataset", "--disable-pinmemory", "--world-size", "2", "--dist-url", "tcp://localhost:1"]
    for words, said in (([], 0), (given, 4)):
        log = (launched(Digits(), *one, *words, path=tmp_path).folder / "log.txt").read_text()
        assert log.count("has no effect: ") == said
        assert all(f"{flag} has no effect" in log for flag in words if flag.startswith("--"))


def test_it_is_on_the_loop_of_fit():
    assert train_classify.Loop is train.loop.Loop is train.run.Loop


def test_help_is_printed():
    code = "from snncore.train import Trainer; Trainer().get_args_parser().parse_args(['-h'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "--lr-warmup-decay" in done.stdout
