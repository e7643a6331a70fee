"""What is measured is the net as it was trained."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from snncore import profile as room
from snncore.neuron import BaseNode
from snncore.train import Config, DataConfig, EnergyConfig, ModelConfig, TrainConfig, fit


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    config = Config(
        model=ModelConfig(channels=2, T=2),
        data=DataConfig(batch_size=400),
        energy=EnergyConfig(samples=0),
        train=TrainConfig(
            epochs=1,
            threads=1,
            tensorboard=False,
            keep_freed_blocks=False,
            output_dir=str(tmp_path_factory.mktemp("m")),
        ),
    )
    return room.load(fit(config).folder)


@pytest.mark.parametrize(
    ("amp", "dtype"), [("off", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)], ids=str
)
def test_counts_and_speed_are_those_of_the_precision_it_was_trained_in(saved, amp, dtype):
    config = dataclasses.replace(saved.config, train=dataclasses.replace(saved.config.train, amp=amp))
    seen = []
    last = [module for module in saved.net.modules() if isinstance(module, BaseNode)][-1]
    hook = last.register_forward_hook(lambda module, inputs, spike_seq: seen.append(spike_seq.dtype))
    room.profile(dataclasses.replace(saved, config=config), samples=2, rasters=0)
    counted = len(seen)
    room.profile(dataclasses.replace(saved, config=config), samples=2, rasters=0, speed_at=(1,))
    hook.remove()
    assert len(seen) > 2 * counted and set(seen) == {dtype}
