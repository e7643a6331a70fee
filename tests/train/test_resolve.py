"""Which settings a run gets: presets by name, under what the user says, and nets that fit them."""

from __future__ import annotations

import re

import pytest
import torch

from snncore.config import options, to_dict
from snncore.errors import ArgumentError, ConfigError
from snncore.neuron import NEURONS, BaseNode, LIFNode
from snncore.surrogate import SURROGATES, ATan
from snncore.train import Config, resolve
from snncore.train.build import build_net
from snncore.train.evaluate import forward


def here(**settings):
    """``here(model__T=3)`` is a layer with model.T = 3."""
    nested = {}
    for key, value in settings.items():
        section, name = key.split("__")
        nested.setdefault(section, {})[name] = value
    return [("here", nested)]


def net_of(config, in_shape=(1, 8, 8)):
    return build_net(config, in_shape, 10)


def test_the_seeds_recipes():
    csnn = resolve(here(data__name="fashion_mnist")).config
    assert (csnn.model.name, csnn.model.T, csnn.neuron.name, csnn.neuron.surrogate) == ("csnn", 4, "if", "atan")
    assert (csnn.optim.name, csnn.optim.lr, csnn.optim.momentum, csnn.optim.scheduler) == ("sgd", 0.1, 0.9, "cosine")
    assert (csnn.data.batch_size, csnn.train.epochs, csnn.train.loss) == (128, 64, "mse_rate")
    assert sum(p.numel() for p in net_of(csnn, (1, 28, 28)).parameters()) == 13_014_656
    mlp = resolve(here(model__name="mlp", data__name="mnist")).config
    assert (mlp.model.T, mlp.neuron.name, dict(mlp.neuron.args)) == (25, "leaky", {"beta": 0.9})
    assert (mlp.optim.name, mlp.optim.lr, mlp.optim.scheduler, mlp.train.loss) == ("adam", 1e-3, "none", "ce_count")
    assert net_of(mlp, (1, 28, 28)).sizes == (784, 1000, 10)


def test_what_was_said_wins_over_every_preset():
    merged = resolve(here(model__T=7, optim__lr=0.5, neuron__name="lif", neuron__args={"tau": 3.0}))
    assert (merged.config.model.T, merged.config.optim.lr, merged.config.neuron.args["tau"]) == (7, 0.5, 3.0)
    assert merged.sources["model.T"] == merged.sources["neuron.args.tau"] == "here"
    assert merged.sources["model.channels"] == "preset of csnn on digits"
    assert merged.sources["optim.name"] == "preset of model csnn"
    assert merged.sources["optim.gamma"] == "packaged defaults"


def test_a_neuron_brings_its_own_arguments_only():
    assert dict(resolve(here(model__name="mlp", neuron__name="lif")).config.neuron.args) == {"tau": 2.0}
    assert resolve(here(model__name="mlp")).sources["neuron.args.beta"] == "preset of neuron leaky"


def test_the_order_of_layers():
    layers = [*here(model__T=2, optim__lr=0.2), ("later", {"model": {"T": 3}})]
    config = resolve(layers).config
    assert (config.model.T, config.optim.lr) == (3, 0.2)


@pytest.mark.parametrize("model", ["csnn", "mlp"])  # tests/model has every architecture with every neuron
@pytest.mark.parametrize("neuron", NEURONS)
def test_every_model_with_every_neuron_by_name(model, neuron):
    config = resolve(here(model__name=model, neuron__name=neuron, model__T=2)).config
    net = net_of(config)
    output = forward(net, torch.rand(3, 1, 8, 8), config)
    assert output.shape == (2, 3, 10) and output.dtype == torch.float32
    kinds = {type(module) for module in net.modules() if isinstance(module, BaseNode)}
    assert kinds == {NEURONS[neuron]}


def test_every_setting_reaches_its_neuron():
    config = resolve(
        here(neuron__name="lif", neuron__alpha=3.0, neuron__args={"v_reset": None, "tau": 4.0}, train__engine="torch")
    ).config
    for module in net_of(config).modules():
        if isinstance(module, BaseNode):
            assert isinstance(module, LIFNode)
            assert (module.tau, module.v_reset, module.engine, module.step_mode) == (4.0, None, "torch", "m")
            assert module.surrogate_function == ATan(3.0)


@pytest.mark.parametrize("name", SURROGATES)
def test_every_surrogate_by_name(name):
    net = net_of(resolve(here(neuron__surrogate=name, model__channels=1)).config)
    assert isinstance(net.conv_fc[2].surrogate_function, SURROGATES[name])


def test_mixed_precision_keeps_the_time_axis_and_fires_in_bfloat16():
    config = resolve(here(train__amp="bf16", model__channels=2)).config
    assert forward(net_of(config), torch.rand(3, 1, 8, 8), config).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model__name": "mlp", "model__channels": 3}, "model.channels (--channels): must be left out for mlp"),
        ({"model__hidden": [3]}, "model.hidden (--hidden): must be left out for csnn"),
        (
            {"neuron__surrogate": "squarewave_fourier_series", "neuron__alpha": 2},
            "neuron.alpha (--alpha): must be",
        ),
        ({"neuron__args": {"tau": 2.0}}, "tau"),
        ({"neuron__name": "lif", "neuron__args": {"tau": 0.5}}, "LIFNode.tau"),
        ({"neuron__name": "lif", "neuron__args": {"tau": "big"}}, "LIFNode.tau"),
        ({"model__args": {"chanels": 3}}, "did you mean 'channels'"),
    ],
)
def test_what_a_net_does_not_take_is_refused(settings, message):
    with pytest.raises(ArgumentError, match=re.escape(message)):
        net_of(resolve(here(**settings)).config)


def test_the_merged_configuration_is_a_fixed_point():
    for layers in ([], here(model__name="mlp", neuron__args={"reset_mechanism": "zero"}), here(neuron__name="plif")):
        config = resolve(layers).config
        again = resolve([("again", to_dict(config))])
        assert again.config == config
        assert set(again.sources.values()) == {"again"}


def test_every_setting_has_help_and_no_two_share_a_flag():
    flags = [flag for _, item, _ in options(Config) for flag in item.metadata["option"].flags]
    assert len(flags) == len(set(flags))
    assert all(item.metadata["option"].help for _, item, _ in options(Config))


def test_a_bad_value_in_a_layer_is_a_config_error():
    with pytest.raises(ConfigError, match=r"model.name \(--model\): must be one of csnn, mlp"):
        resolve(here(model__name="cssn"))
