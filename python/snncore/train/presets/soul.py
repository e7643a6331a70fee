"""The configuration of SOUL (github.com/yudi-mars/Soul, commit 6866a0a): base, data sets, models and neurons.

SOUL is run by scripts; this is what they start from, for the images there are here. What is called otherwise there:

- ``scheduler``: ``cosine`` is --lr-scheduler cosine, ``linear`` is step (its length and factor are preset below),
  ``warmup`` is warm_restarts (likewise). With other --epochs E give --lr-step-size E/4 and --lr-restart-epochs E/10.
- ``coding_schema: direct`` is what every static image is shown by here.
- models: lenet, mlp, spikingvgg11, sewresnet18, msresnet18, spikformer384, qkformer384 and so on are spiking_lenet,
  mlp, spiking_vgg11_bn, sew_resnet18, ms_resnet18, spikformer_4_384, qkformer_4_384; neurons: intlif and tlif are
  integer_lif and ternary_if. SOUL's lenet has 32, 64 and 96 channels with max-pools, its mlp no neurons in the last
  layer, its vgg a perceptron of convolutions: settings carry over, weights do not.
- neurons fire at the threshold here, above it there.
- its rmsprop has torch's own eps and alpha.
"""

from __future__ import annotations

from typing import Any

__all__ = ["BASE", "DATA", "MODEL", "NEURON", "TRAINING"]

# the part of basic.yaml that says how a net is trained
TRAINING: dict[str, Any] = {
    "model": {"T": 4},
    "neuron": {"name": "lif"},
    "data": {"batch_size": 64},
    "optim": {"name": "adam", "lr": 1e-3, "momentum": 0.9, "weight_decay": 0.0, "scheduler": "cosine"},
    "train": {"epochs": 150, "loss": "ce_mean"},
}

# and all of it, with the defaults of its command line where the two differ, for these win there
BASE: dict[str, Any] = {
    "model": {**TRAINING["model"], "name": "spiking_lenet"},
    "neuron": TRAINING["neuron"],
    "data": {**TRAINING["data"], "name": "cifar10", "workers": 4},
    "optim": {
        **TRAINING["optim"],
        "step_size": 37,  # 'linear': StepLR(int(epochs * 0.25), 0.1)
        "gamma": 0.1,
        "restart_epochs": 15,  # 'warmup': CosineAnnealingWarmRestarts(int(epochs * 0.1), T_mult=2)
        "restart_mult": 2,
    },
    "train": {**TRAINING["train"], "seed": 2025},
    "energy": {"cost": "fp32"},  # e_mac 4.6 pJ, e_ac 0.9 pJ
}

_CIFAR: dict[str, Any] = {"crop": 32, "crop_padding": 4, "flip": 0.5}
_32: dict[str, Any] = {"resize": 32, "interpolation": "nearest"}

DATA: dict[str, dict[str, Any]] = {
    "mnist": {"data": {**_32, "mean": [0.1307], "std": [0.3081]}},
    "fashion_mnist": {"data": {**_32, "mean": [0.5], "std": [0.5]}},
    "cifar10": {"data": {**_CIFAR, "mean": [0.4914, 0.4822, 0.4465], "std": [0.2023, 0.1994, 0.2010]}},
    # its jitter of the brightness is not there
    "cifar100": {"data": {**_CIFAR, "mean": [0.5071, 0.4867, 0.4408], "std": [0.2675, 0.2565, 0.2761]}},
    # its imagenet is Tiny-ImageNet
    "image_folder": {
        "data": {
            "train_crop_size": 224,
            "val_resize_size": 256,
            "val_crop_size": 224,
            "flip": 0.5,
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
        }
    },
}

_VGG: dict[str, Any] = {"model": {"args": {"hidden": 2048}}}
_SEW: dict[str, Any] = {"model": {"args": {"connect": "ADD", "zero_init_residual": False}}}
# the heads and patch splittings that its transformers have on images of every size
_SPIKFORMER: dict[str, Any] = {"model": {"args": {"num_heads": 8, "mlp_ratio": 4, "stem": "cifar"}}}
_QKFORMER: dict[str, Any] = {"model": {"args": {"num_heads": 8, "mlp_ratio": 4, "stem": "imagenet"}}}

MODEL: dict[str, dict[str, Any]] = {
    "mlp": {"model": {"hidden": [1024, 1024]}},
    "spiking_lenet": {},
    "spiking_vgg11_bn": _VGG,
    "spiking_vgg13_bn": _VGG,
    "spiking_vgg16_bn": _VGG,
    "spiking_vgg19_bn": _VGG,
    "sew_resnet18": _SEW,
    "sew_resnet34": _SEW,
    "sew_resnet50": _SEW,
    "ms_resnet18": {},
    "ms_resnet34": {},
    "spikformer_4_384": _SPIKFORMER,
    "spikformer_8_512": _SPIKFORMER,
    "qkformer_4_384": _QKFORMER,
}


def _leaky(surrogate: str, **args: Any) -> dict[str, Any]:
    common = {"v_threshold": 1.0, "v_reset": 0.0, "detach_reset": True}
    return {"neuron": {"surrogate": surrogate, "args": {**common, **args}}}


NEURON: dict[str, dict[str, Any]] = {
    "lif": _leaky("atan", tau=2.0, decay_input=True),
    "plif": _leaky("atan", init_tau=2.0, decay_input=False),
    "rplif": _leaky("atan", tau=2.0, decay_input=True, alpha=1.2),
    # its hard reset is not that of their publications, which is soft and part of the neurons here; clif ignores
    # detach_reset there
    "ilif": {
        "neuron": {
            "surrogate": "rect",
            "args": {"v_threshold": 1.0, "tau": 2.0, "decay_input": False, "detach_reset": True},
        }
    },
    "clif": {"neuron": {"surrogate": "rect", "args": {"v_threshold": 1.0, "tau": 2.0, "decay_input": False}}},
    # the conductance is one for all steps; as there, for each, with --set neuron.args.T=4
    "glif": {"neuron": {"surrogate": "atan", "args": {"tau": 0.25, "v_threshold": 0.5, "conduct": 0.5}}},
    # tau 4.0 keeps 1/4 of the potential there, as 4/3 does here
    "integer_lif": {
        "neuron": {
            "surrogate": None,
            "args": {"levels": 8, "normalize": True, "tau": 4 / 3, "v_threshold": 1.0, "detach_reset": True},
        }
    },
    # round() fires at half of its threshold of 1; windows of width 1 at both thresholds are its window [-1, 1]
    "ternary_if": {"neuron": {"surrogate": "rect", "args": {"v_threshold": 0.5, "v_reset": 0.0, "detach_reset": True}}},
    "ielif": {"neuron": {"surrogate": None, "args": {"levels": 4}}},
    "ltmd": {"neuron": {"surrogate": "rect"}},
    "stbif": {"neuron": {"surrogate": "atan", "args": {"v_threshold": 1.0}}},
    "izhikevich": {
        "neuron": {
            "surrogate": "sigmoid",
            "args": {
                "tau": 2.0,
                "v_c": 0.8,
                "a0": 1.0,
                "v_threshold": 1.0,
                "v_reset": 0.0,
                "v_rest": -0.1,
                "w_rest": 0.0,
                "tau_w": 2.0,
                "a": 0.0,
                "b": 0.0,
                "detach_reset": False,
            },
        }
    },
}
