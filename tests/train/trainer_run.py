"""A script as people write it on `Trainer`, for torchrun and for test_trainer_ranks.py, which imports it too.

torchrun --nproc-per-node 2 trainer_run.py ARGUMENT...
"""

from __future__ import annotations

from snncore import neuron, surrogate
from snncore.model import spiking_resnet
from snncore.train import Trainer


class SmallTrainer(Trainer):
    """A small net in float64, where sums in another order flip no spike."""

    def get_args_parser(self, add_help=True):
        parser = super().get_args_parser(add_help)
        parser.add_argument("--T", type=int, default=3)
        return parser

    def preprocess_train_sample(self, args, x):
        return x.double().unsqueeze(0).repeat(args.T, 1, 1, 1, 1)

    preprocess_test_sample = preprocess_train_sample

    def process_model_output(self, args, y):
        return y.mean(0)

    def load_model(self, args, num_classes):
        return spiking_resnet.spiking_resnet18(
            layers=(1, 1, 1, 1), channels=4, stem="cifar", num_classes=num_classes,
            spiking_neuron=neuron.ParametricLIFNode, surrogate_function=surrogate.ATan(), v_threshold=0.5,
        ).double()  # fmt: skip


if __name__ == "__main__":
    trainer = SmallTrainer()
    trainer.main(trainer.get_args_parser().parse_args())
