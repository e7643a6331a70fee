"""The tables of presets: names and settings that exist, nets that can be built of them, and SOUL's configuration."""

from __future__ import annotations

import pytest
import torch

from snncore.config import flatten, merge
from snncore.data import DATASETS
from snncore.metric.sop import ENERGY
from snncore.model import MODELS
from snncore.neuron import NEURONS, BaseNode
from snncore.surrogate import MultiLevel, OpenMultiLevel
from snncore.train import PRESETS, Config, resolve
from snncore.train.build import build_net
from snncore.train.evaluate import forward

KINDS = ("base", "data", "model", "on_data", "neuron", "in_model")


def layer(preset="published", **settings):
    """``layer(model__T=3)`` is a layer with model.T = 3."""
    nested = {"train": {"preset": preset}}
    for key, value in settings.items():
        section, name = key.split("__")
        nested.setdefault(section, {})[name] = value
    return [("here", nested)]


# what makes a net small, whatever it is: (begin of its name, settings); the first that fits counts
TINY = [
    ("csnn", {"model__channels": 2}),
    ("mlp", {"model__hidden": [5]}),
    ("plif", {"model__channels": 2, "model__args": {"hidden": 6}}),
    ("spiking_vgg", {"model__channels": 1, "model__args": {"hidden": 6, "pool_size": 1}}),
    ("spiking_lenet", {"model__channels": 3}),
    ("spiking_resnext", {"model__channels": 16, "model__args": {"layers": (1, 1, 1, 1)}}),
    ("sew_resnext", {"model__channels": 16, "model__args": {"layers": (1, 1, 1, 1)}}),
    ("spikformer", {"model__args": {"dim": 96, "depth": 1}}),
    ("sdt", {"model__args": {"dim": 96, "depth": 1}}),
    ("qkformer", {"model__args": {"dim": 96, "depth": 4, "num_heads": 2}}),
    ("", {"model__channels": 2, "model__args": {"layers": (1, 1, 1, 1)}}),
]


def tiny(model):
    return dict(next(settings for begin, settings in TINY if model.startswith(begin)))


def test_names_in_the_tables_exist():
    for preset in PRESETS.values():
        assert set(preset.data) <= set(DATASETS)
        assert set(preset.model) <= set(MODELS)
        assert set(preset.neuron) <= set(NEURONS)
        assert {model for model, _ in preset.on_data} <= set(MODELS)
        assert {data for _, data in preset.on_data} <= set(DATASETS)
        assert {model for model, _ in preset.in_model} <= set(MODELS)
        assert {neuron for _, neuron in preset.in_model} <= set(NEURONS)
    published = PRESETS["published"]
    assert set(published.model) == set(MODELS) and set(published.neuron) == set(NEURONS)
    assert set(published.data) == set(DATASETS)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_in_the_tables_exists_and_can_have_its_value(name, kind):
    table = getattr(PRESETS[name], kind)
    for key, settings in {"base": table}.items() if kind == "base" else table.items():
        merge(Config, [(f"{name} {kind} {key}", settings)])


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("model", MODELS)
def test_every_preset_builds_its_net(preset, model):
    config = resolve(layer(preset, model__name=model, data__name="cifar10", **tiny(model))).config
    net = build_net(config, (3, 32, 32), 10)
    output = forward(net, torch.rand(1, 3, 32, 32), config)
    assert output.shape == (config.model.T, 1, 10)
    neurons = [module for module in net.modules() if isinstance(module, BaseNode)]
    assert neurons and {type(module) for module in neurons} == {NEURONS[config.neuron.name]}


@pytest.mark.parametrize("neuron", NEURONS)
def test_every_neuron_of_soul_builds_its_net(neuron):
    config = resolve(layer("soul", model__name="csnn", model__channels=1, neuron__name=neuron)).config
    forward(build_net(config, (3, 8, 8), 4), torch.rand(1, 3, 8, 8), config)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("neuron", ["if", "lif", "plif", "clif", "integer_lif"])
@pytest.mark.parametrize("model", ["sew_resnet18", "ms_resnet18", "spikformer_4_384", "plif_cifar10"])
def test_a_net_takes_another_neuron_than_its_own(preset, model, neuron):
    config = resolve(layer(preset, model__name=model, neuron__name=neuron, **tiny(model))).config
    build_net(config, (3, 32, 32), 10)


PUBLISHED = [
    # model, data set, what their authors say
    ("plif_cifar10", "cifar10", {"data.batch_size": 16, "optim.lr": 1e-3, "model.T": 8, "data.crop": 32}),
    ("plif_cifar10", "cifar10", {"neuron.args.detach_reset": True, "neuron.args.init_tau": 2.0}),
    ("plif_fashion_mnist", "fashion_mnist", {"data.mean": [0.2860], "data.crop": None, "train.loss": "mse_rate"}),
    ("sew_resnet34", "image_folder", {"optim.lr": 0.1, "data.batch_size": 256, "train.epochs": 320, "model.T": 4}),
    ("sew_resnet34", "image_folder", {"data.train_crop_size": 224, "data.val_resize_size": 256, "neuron.name": "if"}),
    ("spiking_resnet18", "image_folder", {"model.args.zero_init_residual": True, "data.auto_augment": None}),
    ("spiking_resnet18", "cifar10", {"model.args.stem": "cifar", "data.crop_padding": 4}),
    ("ms_resnet18", "image_folder", {"optim.weight_decay": 1e-5, "train.epochs": 125, "model.T": 6}),
    ("ms_resnet18", "image_folder", {"neuron.args.tau": 4 / 3, "neuron.alpha": 2.0, "data.train_crop_size": 176}),
    ("spikformer_4_384", "cifar10", {"optim.lr": 5e-4, "optim.warmup_decay": 0.02, "data.mixup_alpha": 0.5}),
    ("spikformer_4_384", "cifar10", {"data.crop": None, "data.random_erase": 0.25, "data.flip": 0.5}),
    ("spikformer_8_512", "image_folder", {"optim.weight_decay": 0.05, "data.cutmix_alpha": 1.0}),
    ("sdt_2_512", "cifar100", {"optim.lr": 3e-4, "data.batch_size": 64, "data.random_erase": 0.0}),
    ("qkformer_4_384", "cifar10", {"train.epochs": 400, "optim.lr": 1e-3, "optim.name": "adamw"}),
    ("qkformer_10_768", "image_folder", {"optim.lr": 6e-4, "train.epochs": 200, "optim.warmup_epochs": 5}),
    ("spiking_vgg11_bn", "cifar10", {"optim.name": "adam", "train.epochs": 150, "neuron.name": "lif"}),
    ("csnn", "image_folder", {"data.train_crop_size": 224, "data.val_crop_size": 224}),
    (
        "sdt_2_512",
        "image_folder",
        {"data.train_crop_size": 176, "data.val_resize_size": 232, "data.val_crop_size": 224},
    ),
    ("csnn", "mnist", {"data.crop": None, "data.mean": None, "data.flip": 0.0, "data.mixup_alpha": 0.0}),
]


@pytest.mark.parametrize(("model", "data", "wanted"), PUBLISHED)
def test_what_was_published(model, data, wanted):
    flat = flatten(resolve(layer(model__name=model, data__name=data)).config)
    assert {key: flat.get(key) for key in wanted} == wanted


# config/basic.yaml and the defaults of its command line
SOUL = {
    "model.name": "spiking_lenet", "model.T": 4, "neuron.name": "lif", "data.name": "cifar10", "data.batch_size": 64,
    "data.workers": 4, "optim.name": "adam", "optim.lr": 1e-3, "optim.momentum": 0.9, "optim.weight_decay": 0.0,
    "optim.scheduler": "cosine", "train.epochs": 150, "train.loss": "ce_mean", "train.seed": 2025,
    "data.crop": 32, "data.crop_padding": 4, "data.flip": 0.5, "data.std": [0.2023, 0.1994, 0.2010],
    "optim.step_size": 37, "optim.gamma": 0.1, "optim.restart_epochs": 15, "optim.restart_mult": 2,
    "neuron.surrogate": "atan", "neuron.args.tau": 2.0, "neuron.args.v_threshold": 1.0, "neuron.args.v_reset": 0.0,
    "neuron.args.decay_input": True, "neuron.args.detach_reset": True,
}  # fmt: skip
SOUL_OTHERWISE = [
    ({"neuron__name": "plif"}, {"neuron.args.init_tau": 2.0, "neuron.args.decay_input": False}),
    ({"neuron__name": "clif"}, {"neuron.surrogate": "rect", "neuron.args.decay_input": False}),
    ({"neuron__name": "integer_lif"}, {"neuron.args.levels": 8, "neuron.args.normalize": True}),
    ({"neuron__name": "izhikevich"}, {"neuron.surrogate": "sigmoid", "neuron.args.v_rest": -0.1}),
    ({"neuron__name": "klif"}, {"neuron.args.tau": 2.0}),  # it has none
    ({"data__name": "mnist"}, {"data.resize": 32, "data.interpolation": "nearest", "data.mean": [0.1307]}),
    ({"data__name": "image_folder"}, {"data.train_crop_size": 224, "data.val_resize_size": 256, "data.crop": None}),
    ({"model__name": "mlp"}, {"model.hidden": [1024, 1024], "optim.scheduler": "cosine", "model.T": 4}),
    ({"model__name": "csnn"}, {"optim.name": "adam", "train.loss": "ce_mean", "neuron.name": "lif"}),
    ({"model__name": "qkformer_4_384"}, {"model.args.num_heads": 8, "optim.name": "adam"}),
    ({"model__name": "spiking_vgg16_bn"}, {"model.args.hidden": 2048}),
]


def test_the_base_of_soul():
    cost = ENERGY[resolve(layer("soul")).config.energy.cost]
    assert (cost.mac, cost.ac) == (pytest.approx(4.6), 0.9)
    flat = flatten(resolve(layer("soul")).config)
    assert {key: flat.get(key) for key in SOUL} == SOUL


@pytest.mark.parametrize(("settings", "wanted"), SOUL_OTHERWISE)
def test_soul_by_neuron_data_set_and_model(settings, wanted):
    flat = flatten(resolve(layer("soul", **settings)).config)
    assert {key: flat.get(key) for key in wanted} == wanted


@pytest.mark.parametrize(
    ("settings", "window"),
    [
        (layer("soul", neuron__name="integer_lif"), MultiLevel(0.0, 8.0)),
        (layer(neuron__name="integer_lif"), MultiLevel(0.0, 4.0)),
        (layer(neuron__name="integer_lif", neuron__args={"levels": 2}), MultiLevel(0.0, 2.0)),
        (layer(neuron__name="ielif"), OpenMultiLevel(0.0, 4.0)),
    ],
)
def test_a_neurons_own_surrogate_goes_with_its_levels(settings, window):
    config = resolve([*settings, ("small", {"model": {"name": "csnn", "channels": 1}})]).config
    net = build_net(config, (1, 8, 8), 4)
    found = {m.surrogate_function for m in net.modules() if isinstance(m, BaseNode)}
    assert found == {window}


@pytest.mark.parametrize(
    ("key", "source"),
    [
        ("optim.gamma", "packaged defaults"),
        ("data.std", "preset of cifar10"),
        ("optim.lr", "preset of model spikformer_4_384"),
        ("data.mixup_alpha", "preset of spikformer_4_384 on cifar10"),
        ("neuron.args.tau", "preset of neuron lif"),
        ("neuron.args.detach_reset", "preset of lif in spikformer_4_384"),
        ("model.T", "file"),
        ("data.flip", "here"),
    ],
)
def test_every_value_knows_its_source(key, source):
    file = ("file", {"model": {"T": 2}, "data": {"flip": 0.1}})
    said = layer(model__name="spikformer_4_384", data__name="cifar10", data__flip=0.2)
    assert resolve([file, *said]).sources[key] == source


@pytest.mark.parametrize(
    ("key", "source"),
    [
        ("train.epochs", "preset soul"),
        ("data.crop", "preset soul of cifar10"),
        ("model.args.hidden", "preset soul of model spiking_vgg11_bn"),
        ("neuron.args.init_tau", "preset soul of neuron plif"),
        ("train.preset", "here"),
        ("optim.warmup_epochs", "packaged defaults"),
    ],
)
def test_every_value_of_soul_knows_its_source(key, source):
    merged = resolve(layer("soul", model__name="spiking_vgg11_bn", neuron__name="plif"))
    assert merged.sources[key] == source


def test_no_preset_comes_between_a_run_and_its_resumption(tmp_path):
    (tmp_path / "last.pt").touch()
    (tmp_path / "config.yaml").write_text("data: {name: cifar10, crop: null}\nneuron: {name: lif}\n")
    merged = resolve([("here", {"train": {"resume": str(tmp_path), "preset": "soul"}})])
    assert merged.config.neuron.name == "lif" and not merged.config.neuron.args
    assert merged.config.data.flip == 0.0 and merged.config.train.seed == 0
    assert set(merged.sources.values()) == {"packaged defaults", f"the run {tmp_path}", "here"}
