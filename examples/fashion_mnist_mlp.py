"""A 784-512-512-10 perceptron on Fashion-MNIST, in float32, in float16 and in mixed precision.

The net, the numbers and the order of the data are those of PyTorch's quickstart tutorial, which Sophgo's torch-tpu
trains in three precisions as its first example: plain SGD with a rate of 1e-3, batches of 64 in the order of the files,
five epochs, seed 0. No neuron spikes here: the example shows what the training loop is asked for, and that what comes
out is known::

    python examples/fashion_mnist_mlp.py --data-path DIR             # float32
    python examples/fashion_mnist_mlp.py --data-path DIR --half      # parameters, activations and gradients in float16
    python examples/fashion_mnist_mlp.py --data-path DIR --amp fp16  # autocast and a loss scaler; bf16: autocast

docs/reproductions.md has what each precision reaches after each epoch.
"""

from __future__ import annotations

import argparse
from argparse import Namespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snncore import data
from snncore.train import Trainer

SETTINGS = {
    "model": "mlp",
    "device": "cpu",
    "batch_size": 64,
    "epochs": 5,
    "shuffle": False,
    "seed": 0,
    "opt": "sgd",
    "lr": 1e-3,
    "momentum": 0.0,
    "lr_scheduler": "none",
    "lr_warmup_epochs": 0,
    "label_smoothing": 0.0,
    "mixup_alpha": 0.0,
    "cutmix_alpha": 0.0,
}


class HalfLinear(nn.Linear):
    """A linear layer that keeps parameters, inputs, outputs and all gradients in float16 and sums in float32.

    Accelerators with float16 units usually compute so. On a CPU without them, torch's own float16 kernels take eight
    times as long for it.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, out_features] in the dtype of x [B, in_features]."""
        return F.linear(x.float(), self.weight.float(), self.bias.float()).to(x.dtype)


def mlp(linear: type[nn.Linear] = nn.Linear) -> nn.Sequential:
    """Return the net, for x [B, 1, 28, 28]."""
    return nn.Sequential(
        nn.Flatten(), linear(784, 512), nn.ReLU(), linear(512, 512), nn.ReLU(), linear(512, 10)
    )  # fmt: skip


class FashionMLP(Trainer):
    """Trains `mlp`."""

    def get_args_parser(self, add_help: bool = True) -> argparse.ArgumentParser:
        """Add ``--half``, and make the settings of the tutorial the defaults."""
        parser = super().get_args_parser(add_help)
        parser.add_argument("--half", action="store_true", help="a net in float16, without mixed precision")
        parser.set_defaults(**SETTINGS)
        return parser

    def load_data(self, args: Namespace) -> tuple[data.Dataset, data.Dataset]:
        """Return training and test set, with pixels in [0, 1]."""
        return data.load("fashion_mnist", args.data_path)

    def load_model(self, args: Namespace, num_classes: int) -> nn.Module:
        """Return the net with the weights that the seed gives; with ``--half`` rounded to float16."""
        torch.manual_seed(args.seed)
        return mlp(HalfLinear).half() if args.half else mlp()

    def preprocess_train_sample(self, args: Namespace, x: Tensor) -> Tensor:
        """Return the images as the net takes them."""
        return x.half() if args.half else x

    preprocess_test_sample = preprocess_train_sample

    def get_tb_logdir_name(self, args: Namespace) -> str:
        """Return the name of the run's folder."""
        return f"fashion_mnist_mlp_{'half' if args.half else args.amp}"


if __name__ == "__main__":
    trainer = FashionMLP()
    trainer.main(trainer.get_args_parser().parse_args())
